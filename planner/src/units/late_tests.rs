//! The check before the reloads, and requests that name what has no file.

use super::super::compare::How;
use super::super::facts::{ActiveState, ActiveUnit};
use super::super::set::UnitSet;
use super::*;
use crate::units::testing::{name, set};
use crate::units::{Change, Scope, Verdict};

fn facts<'a>(mode: Mode, new: &'a UnitSet, loaded: &'a [ActiveUnit]) -> Facts<'a> {
    static NOTHING: std::sync::LazyLock<Unfinished> = std::sync::LazyLock::new(Unfinished::default);
    Facts {
        mode,
        scope: Scope::System,
        old: new,
        new,
        loaded,
        mounts: None,
        managers: None,
        unfinished: &NOTHING,
    }
}

fn reload(unit: &str) -> Decisions {
    let mut decisions = Decisions::default();
    let cause = Cause::Changed {
        changes: vec![Change {
            section: "Service".into(),
            key: Some("ExecReload".into()),
            how: How::Changed,
            verdict: Verdict::Reload,
        }],
    };
    note(&mut decisions.reload, &name(unit), cause, Rule::Reload);
    decisions
}

/// Where a unit to be reloaded ends: `reload`, `start` or nowhere.
fn ends(mode: Mode, text: Option<&str>, seen: Seen) -> Result<&'static str, DecideError> {
    let entries: Vec<(&str, &str)> = text.iter().map(|text| ("a.service", *text)).collect();
    let new = set(&entries);
    let states = BTreeMap::from([(name("a.service"), seen)]);
    let checked = check_reloads(&facts(mode, &new, &[]), reload("a.service"), &states)?;
    Ok(match (checked.reload.len(), checked.start.len()) {
        (1, 0) => "reload",
        (0, 1) => "start",
        (0, 0) => "nowhere",
        _ => "both",
    })
}

#[test]
fn what_runs_is_reloaded_what_does_not_is_started() {
    let plain = Some("[Service]|ExecStart=/a");
    let refuses = Some("[Unit]|RefuseManualStart=yes");
    let manual = Some("[Unit]|X-OnlyManualStart=yes");
    let both = Some("[Unit]|RefuseManualStart=yes|X-OnlyManualStart=yes");
    for (text, seen, exact, right) in [
        (plain, Seen::Running, "reload", "reload"),
        (plain, Seen::NotRunning, "start", "start"),
        (refuses, Seen::NotRunning, "nowhere", "nowhere"),
        (manual, Seen::NotRunning, "start", "nowhere"),
        (both, Seen::NotRunning, "start", "nowhere"),
        (None, Seen::NotRunning, "nowhere", "nowhere"),
        (None, Seen::Running, "reload", "reload"),
    ] {
        assert_eq!(
            ends(Mode::Exact, text, seen),
            Ok(exact),
            "{text:?} {seen:?}"
        );
        assert_eq!(
            ends(Mode::Right, text, seen),
            Ok(right),
            "{text:?} {seen:?}"
        );
    }
}

/// nixpkgs: `GetUnit` fails for one unit, and the run ends with the stopped services down.
#[test]
fn a_state_that_cannot_be_read_ends_no_run() {
    let plain = Some("[Service]|ExecStart=/a");
    assert_eq!(ends(Mode::Right, plain, Seen::Unknown), Ok("reload"));
    let unit = name("a.service");
    let error = Err(DecideError::StateUnknown { unit });
    assert_eq!(ends(Mode::Exact, plain, Seen::Unknown), error);
    // A state that nobody asked for is as unknown.
    let new = set(&[]);
    let states = BTreeMap::new();
    let checked = check_reloads(&facts(Mode::Right, &new, &[]), reload("a.service"), &states);
    assert_eq!(checked, Ok(reload("a.service")));
}

#[test]
fn an_instance_is_started_from_its_template() {
    let new = set(&[("t@.service", "[Service]|ExecStart=/a")]);
    let states = BTreeMap::from([(name("t@1.2.service"), Seen::NotRunning)]);
    let check = |mode| check_reloads(&facts(mode, &new, &[]), reload("t@1.2.service"), &states);
    assert!(check(Mode::Exact).unwrap().start.is_empty());
    assert!(
        check(Mode::Right)
            .unwrap()
            .start
            .contains_key("t@1.2.service")
    );
}

#[test]
fn a_restart_of_what_has_no_file() {
    let loaded = [ActiveUnit {
        name: name("gen.service"),
        state: ActiveState::Active,
        substate: String::new(),
        fragment: Some("/run/systemd/generator/gen.service".into()),
        following: None,
    }];
    let new = set(&[]);
    let lists = ActivationLists {
        restart: vec![name("gen.service")],
        reload: vec![],
    };
    let add = |mode| add_activation(&facts(mode, &new, &loaded), Decisions::default(), &lists);
    let unit = name("gen.service");
    assert_eq!(add(Mode::Exact), Err(DecideError::NoFile { unit }));
    assert!(
        add(Mode::Right)
            .unwrap()
            .restart
            .contains_key("gen.service")
    );
}

#[test]
fn a_restart_of_what_was_stopped_changes_nothing() {
    let loaded = [ActiveUnit {
        name: name("a.service"),
        state: ActiveState::Active,
        substate: String::new(),
        fragment: Some("/etc/systemd/system/a.service".into()),
        following: None,
    }];
    let new = set(&[("a.service", "[Service]|ExecStart=/a")]);
    let mut stopped = Decisions::default();
    for reasons in [&mut stopped.stop, &mut stopped.start] {
        note(reasons, &name("a.service"), Cause::Removed, Rule::StopStart);
    }
    let lists = ActivationLists {
        restart: vec![name("a.service")],
        reload: vec![name("a.service")],
    };
    let facts = facts(Mode::Right, &new, &loaded);
    assert_eq!(add_activation(&facts, stopped.clone(), &lists), Ok(stopped));
}

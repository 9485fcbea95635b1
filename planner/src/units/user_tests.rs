//! Who moves, and what happens to it.

use super::super::facts::{ActiveState, Unfinished};
use super::super::set::UnitSet;
use super::*;
use crate::units::testing::{name, set};

const PRIVATE: &str = "/home/u/.config/systemd/user";

fn loaded(unit: &str, fragment: Option<&str>) -> ActiveUnit {
    ActiveUnit {
        name: name(unit),
        state: ActiveState::Active,
        substate: String::new(),
        fragment: fragment.map(Into::into),
        following: None,
    }
}

fn facts<'a>(
    mode: Mode,
    (old, new): (&'a UnitSet, &'a UnitSet),
    loaded: &'a [ActiveUnit],
) -> Facts<'a> {
    static NOTHING: std::sync::LazyLock<Unfinished> = std::sync::LazyLock::new(Unfinished::default);
    Facts {
        mode,
        scope: Scope::User,
        old,
        new,
        loaded,
        mounts: None,
        managers: None,
        unfinished: &NOTHING,
    }
}

#[test]
fn who_may_move() {
    let unit = set(&[("a.service", "[Service]")]);
    let none = set(&[]);
    let private = format!("{PRIVATE}/a.service");
    // Old generation, file of the running unit, whether it may move in mode Exact and in mode Right.
    for (old, fragment, exact, right) in [
        (&none, Some(private.as_str()), true, true),
        (&unit, Some(private.as_str()), true, true),
        (&none, Some("/usr/share/systemd/user/a.service"), true, true),
        (
            &unit,
            Some("/usr/share/systemd/user/a.service"),
            false,
            false,
        ),
        (&none, Some("/etc/systemd/user/a.service"), false, false),
        (&none, Some(""), true, false),
        (&none, None, false, false),
    ] {
        let units = [loaded("a.service", fragment)];
        let moves = |mode| candidates(&facts(mode, (old, &unit), &units), Some(PRIVATE)).len();
        assert_eq!(moves(Mode::Exact) == 1, exact, "{fragment:?}");
        assert_eq!(moves(Mode::Right) == 1, right, "{fragment:?}");
    }
    let units = [loaded("a.service", Some(&private))];
    let gone = facts(Mode::Right, (&unit, &none), &units);
    assert!(
        candidates(&gone, Some(PRIVATE)).is_empty(),
        "not in the new one"
    );
}

#[test]
fn what_happens_to_it() {
    // The new file; where it ends when it still runs, and when it was stopped.
    for (unit, text, running, stopped) in [
        ("a.service", "[Service]", "restart", "start"),
        ("a.timer", "[Timer]", "restart", "start"),
        ("a.path", "[Path]", "skip", "start"),
        (
            "a.service",
            "[Service]|X-ReloadIfChanged=true",
            "reload",
            "start",
        ),
        (
            "a.service",
            "[Service]|X-RestartIfChanged=false",
            "skip",
            "start",
        ),
        ("a.service", "[Unit]|RefuseManualStop=true", "skip", "start"),
        (
            "a.service",
            "[Unit]|RefuseManualStart=true",
            "restart",
            "skip",
        ),
        ("a.service", "[Unit]|X-OnlyManualStart=true", "skip", "skip"),
    ] {
        let (old, new) = (set(&[]), set(&[(unit, text)]));
        let end = |after: &[ActiveUnit], mode| {
            let facts = facts(mode, (&old, &new), &[]);
            let moved = migrate(&facts, &[name(unit)], after, &Decisions::default()).unwrap();
            let ends = [
                ("reload", moved.reload.len()),
                ("restart", moved.restart.len()),
                ("start", moved.start.len()),
                ("skip", moved.skip.len()),
            ];
            let mut ends = ends.into_iter().filter(|(_, units)| *units == 1);
            ends.next().map(|(end, _)| end)
        };
        let ours = [loaded(unit, Some(&format!("/etc/systemd/user/{unit}")))];
        let hidden = [loaded(unit, Some(&format!("{PRIVATE}/{unit}")))];
        for mode in [Mode::Exact, Mode::Right] {
            assert_eq!(end(&ours, mode), Some(running), "{text}");
            assert_eq!(end(&[], mode), Some(stopped), "{text}");
            assert_eq!(end(&hidden, mode), None, "{text}");
        }
    }
}

#[test]
fn active_targets_are_started_again_after_a_move() {
    let (old, new) = (set(&[]), set(&[("a.service", "[Service]")]));
    let facts = facts(Mode::Right, (&old, &new), &[]);
    let mut started = Decisions::default();
    for unit in ["x.target", "b.service"] {
        let cause = Cause::ActiveTarget;
        note(&mut started.start, &name(unit), cause, Rule::StartTarget);
    }
    let moved = migrate(&facts, &[name("a.service")], &[], &started).unwrap();
    assert!(moved.start.contains_key("x.target"));
    assert!(!moved.start.contains_key("b.service"));
    let nobody = migrate(&facts, &[], &[], &started).unwrap();
    assert!(nobody.is_empty() && nobody.start.is_empty());
}

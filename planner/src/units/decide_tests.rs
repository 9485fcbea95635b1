//! Laws that hold whatever the units are, and what the table of cases cannot say.

use std::collections::BTreeSet;

use proptest::prelude::*;

use super::super::facts::{ActiveState, Manager, Unfinished};
use super::super::phase::Phase;
use super::super::set::{Entry, UnitSet};
use super::*;
use crate::units::testing::{name, set};

const NAMES: [&str; 12] = [
    "a.service",
    "b.service",
    "a.socket",
    "b-x.socket",
    "t@.service",
    "t@one.service",
    "t@1.2.service",
    "t@.socket",
    "x.target",
    "c.timer",
    "d.mount",
    "p.path",
];

fn any_line() -> impl Strategy<Value = &'static str> {
    prop::sample::select(vec![
        "[Unit]",
        "After=y.target",
        "Description=1",
        "X-Reload-Triggers=1",
        "X-Restart-Triggers=1",
        "X-StopOnRemoval=false",
        "X-StopOnReconfiguration=true",
        "RefuseManualStop=true",
        "RefuseManualStart=true",
        "X-OnlyManualStart=true",
        "[Service]",
        "ExecStart=/a",
        "ExecReload=/b",
        "X-ReloadIfChanged=true",
        "X-RestartIfChanged=false",
        "X-StopIfChanged=false",
        "X-NotSocketActivated=true",
        "Sockets=a.socket b-x.socket",
        "[Socket]",
        "Accept=yes",
        "Service=b.service",
        "[Mount]",
        "Options=a",
    ])
}

fn any_entry() -> impl Strategy<Value = Entry> {
    prop_oneof![
        8 => prop::collection::vec(any_line(), 0..8)
            .prop_map(|lines| Entry::File(lines.join("\n").into_bytes())),
        1 => prop::sample::select(vec!["/dev/null", "a.service", "a.socket"])
            .prop_map(|target| Entry::Link(target.into())),
    ]
}

fn any_set() -> impl Strategy<Value = UnitSet> {
    let paths: Vec<String> = NAMES
        .iter()
        .map(|name| (*name).to_owned())
        .chain(
            [
                "a.service.d/x.conf",
                "t@one.service.d/x.conf",
                "service.d/x.conf",
            ]
            .map(Into::into),
        )
        .chain(["x.target.wants/a.socket", "x.target.wants/t@one.service"].map(Into::into))
        .collect();
    let entries = prop::collection::btree_map(prop::sample::select(paths), any_entry(), 0..14);
    entries.prop_map(UnitSet::new)
}

fn any_loaded() -> impl Strategy<Value = Vec<ActiveUnit>> {
    let state = prop::sample::select(vec![
        ActiveState::Active,
        ActiveState::Active,
        ActiveState::Active,
        ActiveState::Reloading,
        ActiveState::Failed,
        ActiveState::Inactive,
    ]);
    let runs = NAMES.iter().filter(|text| !name(text).is_template());
    let runs: Vec<&'static str> = runs.copied().collect();
    prop::collection::btree_map(prop::sample::select(runs), state, 0..10).prop_map(|units| {
        let units = units.into_iter();
        units.map(|(unit, state)| loaded(unit, state)).collect()
    })
}

fn loaded(unit: &str, state: ActiveState) -> ActiveUnit {
    ActiveUnit {
        name: name(unit),
        state,
        substate: String::new(),
        fragment: Some(format!("/etc/systemd/system/{unit}")),
        following: None,
    }
}

fn any_unfinished() -> impl Strategy<Value = Unfinished> {
    let names = || {
        let names = prop::sample::select(NAMES.to_vec());
        prop::collection::btree_set(names.prop_map(name), 0..3)
    };
    let lists = (names(), names(), names(), names());
    lists.prop_map(|(stop, reload, restart, start)| Unfinished {
        stop,
        reload,
        restart,
        start,
    })
}

fn facts<'a>(
    mode: Mode,
    (old, new): (&'a UnitSet, &'a UnitSet),
    loaded: &'a [ActiveUnit],
    unfinished: &'a Unfinished,
) -> Facts<'a> {
    Facts {
        mode,
        scope: Scope::System,
        old,
        new,
        loaded,
        mounts: None,
        managers: None,
        unfinished,
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(600))]

    #[test]
    fn equal_generations_only_start_active_targets(
        set in any_set(),
        loaded in any_loaded(),
    ) {
        let nothing = Unfinished::default();
        for mode in [Mode::Exact, Mode::Right] {
            let decisions = decide(&facts(mode, (&set, &set), &loaded, &nothing)).unwrap();
            // What runs although its file is masked or empty was masked by hand, and stops.
            for (unit, why) in decisions.stop.iter().chain(&decisions.left) {
                let masked = why.cause == Cause::Masked;
                prop_assert!(masked || unit.kind() == UnitType::Target, "{unit}: {why}");
            }
            for (unit, why) in &decisions.start {
                prop_assert!(why.is_routine(), "{unit}: {why}");
            }
            prop_assert!(decisions.reload.is_empty() && decisions.restart.is_empty());
            prop_assert!(decisions.skip.is_empty());
        }
    }

    #[test]
    fn one_unit_one_action(
        old in any_set(),
        new in any_set(),
        loaded in any_loaded(),
        unfinished in any_unfinished(),
    ) {
        let decisions = decide(&facts(Mode::Right, (&old, &new), &loaded, &unfinished)).unwrap();
        let maps = [&decisions.reload, &decisions.restart, &decisions.skip];
        for unit in NAMES.map(name) {
            let times = maps.iter().filter(|map| map.contains_key(&unit)).count();
            prop_assert!(times <= 1, "{unit} {times} times");
            if decisions.stop.contains_key(&unit) {
                prop_assert_eq!(times, 0, "{} is also stopped", unit);
            }
            prop_assert!(
                !decisions.restart.contains_key(&unit) || !decisions.start.contains_key(&unit)
            );
        }
    }

    #[test]
    fn what_stops_and_still_exists_starts_again(
        old in any_set(),
        new in any_set(),
        loaded in any_loaded(),
    ) {
        let nothing = Unfinished::default();
        for mode in [Mode::Exact, Mode::Right] {
            let decisions = decide(&facts(mode, (&old, &new), &loaded, &nothing)).unwrap();
            for (unit, why) in &decisions.stop {
                let stays_away = matches!(
                    why.cause,
                    Cause::Removed | Cause::Masked | Cause::Undeclared
                );
                let again = decisions.start.contains_key(unit);
                // In mode Exact a socket is trusted to start it, and a target may stay down.
                let trusted = mode == Mode::Exact
                    && (why.rule == Rule::SocketStarts || why.rule == Rule::StopTarget);
                // An empty file masks.
                let exists = matches!(
                    new.loaded(unit),
                    UnitSource::Present { text } if !text.is_empty()
                );
                let no_socket = unit.kind() == UnitType::Socket && !exists;
                prop_assert!(stays_away || again || trusted || no_socket, "{unit}: {why}");
            }
        }
    }

    #[test]
    fn only_what_is_or_was_there_is_touched(
        old in any_set(),
        new in any_set(),
        loaded in any_loaded(),
    ) {
        let nothing = Unfinished::default();
        let decisions = decide(&facts(Mode::Right, (&old, &new), &loaded, &nothing)).unwrap();
        for unit in decisions.stop.keys().chain(decisions.restart.keys()) {
            prop_assert!(loaded.iter().any(|loaded| loaded.name == *unit), "{unit}");
        }
        for unit in decisions.start.keys() {
            prop_assert!(new.loaded(unit).is_present(), "{unit} cannot be started");
        }
    }

    /// The second run after an interruption at any moment still does all that the first one had to.
    #[test]
    fn an_interrupted_run_is_resumed(
        old in any_set(),
        new in any_set(),
        loaded_before in any_loaded(),
        stopped in any::<bool>(),
        activated in any::<bool>(),
    ) {
        let nothing = Unfinished::default();
        let first = decide(&facts(Mode::Right, (&old, &new), &loaded_before, &nothing)).unwrap();
        let mut loaded_now = loaded_before;
        if stopped {
            loaded_now.retain(|unit| !first.stop.contains_key(&unit.name));
        }
        let old_now = if activated { &new } else { &old };
        let left = first.to_unfinished();
        let second = decide(&facts(Mode::Right, (old_now, &new), &loaded_now, &left)).unwrap();
        for unit in first.start.keys().chain(first.restart.keys()) {
            let again = second.start.contains_key(unit) || second.restart.contains_key(unit);
            prop_assert!(again, "{unit} is forgotten");
        }
        for unit in first.stop.keys().filter(|_| !stopped) {
            prop_assert!(second.stop.contains_key(unit), "{unit} runs on");
        }
    }

    #[test]
    fn a_group_gets_its_own_part(
        old in any_set(),
        new in any_set(),
        loaded in any_loaded(),
        group in prop::collection::btree_set(prop::sample::select(NAMES.to_vec()), 0..6),
    ) {
        let nothing = Unfinished::default();
        let all = decide(&facts(Mode::Right, (&old, &new), &loaded, &nothing)).unwrap();
        let group: BTreeSet<UnitName> = group.into_iter().map(name).collect();
        let part = all.only(&group);
        for unit in NAMES.map(name) {
            let expected = all.stop.get(&unit).filter(|_| group.contains(&unit));
            prop_assert_eq!(part.stop.get(&unit), expected);
        }
        prop_assert_eq!(part.only(&group), part);
    }

    #[test]
    fn decisions_survive_being_written_down(
        old in any_set(),
        new in any_set(),
        loaded in any_loaded(),
    ) {
        let nothing = Unfinished::default();
        let decisions = decide(&facts(Mode::Right, (&old, &new), &loaded, &nothing)).unwrap();
        let text = serde_json::to_string(&decisions).unwrap();
        prop_assert_eq!(serde_json::from_str::<Decisions>(&text).unwrap(), decisions);
    }
}

#[test]
fn the_manager_is_started_anew_for_another_program_or_settings() {
    let (empty, nothing) = (UnitSet::default(), Unfinished::default());
    let manager = |program: &str, settings: &str| Manager {
        program: Some(program.into()),
        settings: Some(settings.into()),
    };
    let running = manager("/a", "/s");
    for (new, expected) in [
        (manager("/a", "/s"), None),
        (manager("/b", "/s"), Some(Reexec::Program)),
        (manager("/a", "/t"), Some(Reexec::Settings)),
    ] {
        let mut facts = facts(Mode::Exact, (&empty, &empty), &[], &nothing);
        facts.managers = Some((&running, &new));
        assert_eq!(decide(&facts).unwrap().reexec, expected);
    }
}

#[test]
fn a_broken_file_of_the_new_generation_refuses_and_one_of_the_old_does_not() {
    let nothing = Unfinished::default();
    let good = set(&[("a.service", "[Service]|ExecStart=/a")]);
    let bad = set(&[("a.service", "[Service|ExecStart=/a")]);
    let units = [loaded("a.service", ActiveState::Active)];
    for mode in [Mode::Exact, Mode::Right] {
        let error = decide(&facts(mode, (&good, &bad), &units, &nothing)).unwrap_err();
        assert!(error.to_string().contains("a.service"), "{error}");
    }
    assert!(decide(&facts(Mode::Exact, (&bad, &good), &units, &nothing)).is_err());
    let decided = decide(&facts(Mode::Right, (&bad, &good), &units, &nothing)).unwrap();
    assert!(decided.start.contains_key("a.service"));
}

#[test]
fn jobs_come_in_the_order_that_sockets_need() {
    let nothing = Unfinished::default();
    let units = [
        loaded("a.service", ActiveState::Active),
        loaded("z.socket", ActiveState::Active),
        loaded("a.target", ActiveState::Active),
    ];
    let text = [
        ("a.target", "[Unit]|X-StopOnReconfiguration=1"),
        ("z.socket", "[Socket]|Service=a.service|ListenStream=1"),
    ];
    let with = |service: &str| {
        let mut entries = text.to_vec();
        entries.push(("a.service", service));
        set(&entries)
    };
    let (old, new) = (
        with("[Service]|ExecStart=/a"),
        with("[Service]|ExecStart=/b"),
    );
    let decided = decide(&facts(Mode::Right, (&old, &new), &units, &nothing)).unwrap();
    assert_eq!(
        jobs(&decided, Phase::Stop),
        ["stop z.socket", "stop a.service", "stop a.target"]
    );
    assert_eq!(
        jobs(&decided, Phase::Start),
        ["start z.socket", "start a.service", "start a.target"]
    );
    assert_eq!(jobs(&decided, Phase::Activate), [""; 0]);
}

/// The jobs of a phase, a bar between the waves.
fn jobs(decisions: &Decisions, phase: Phase) -> Vec<String> {
    let waves = decisions.jobs(phase);
    let mut told = Vec::new();
    for (at, wave) in waves.iter().enumerate() {
        told.extend((at > 0).then(|| String::from("|")));
        let jobs = wave.iter();
        told.extend(jobs.map(|job| format!("{:?} {}", job.verb, job.unit).to_lowercase()));
    }
    told
}

#[test]
fn a_service_is_down_while_its_socket_restarts() {
    let nothing = Unfinished::default();
    let units = [
        loaded("a.service", ActiveState::Active),
        loaded("a.socket", ActiveState::Active),
        loaded("c.timer", ActiveState::Active),
    ];
    let with = |socket: &str, timer: &str| {
        set(&[
            ("a.service", "[Service]|X-StopIfChanged=false"),
            ("a.socket", socket),
            ("c.timer", timer),
        ])
    };
    let (old, new) = (
        with("[Socket]|ListenStream=1", "[Timer]|OnCalendar=1"),
        with("[Socket]|ListenStream=2", "[Timer]|OnCalendar=2"),
    );
    let expected = [
        "stop a.service",
        "|",
        "restart a.socket",
        "|",
        "start a.service",
        "restart c.timer",
    ];
    let first = decide(&facts(Mode::Right, (&old, &new), &units, &nothing)).unwrap();
    assert_eq!(jobs(&first, Phase::Restart), expected);
    // Also in the run after an interrupted one, which sees no change any more.
    let left = first.to_unfinished();
    let second = decide(&facts(Mode::Right, (&new, &new), &units, &left)).unwrap();
    assert_eq!(jobs(&second, Phase::Restart), expected);
}

#[test]
fn every_phase_has_its_place() {
    for scope in [Scope::System, Scope::User] {
        for mode in [Mode::Exact, Mode::Right] {
            let order = Phase::order(scope, mode);
            let unique: BTreeSet<&Phase> = order.iter().collect();
            assert_eq!(unique.len(), order.len());
            let at = |phase| order.iter().position(|other| *other == phase).unwrap();
            assert!(at(Phase::Stop) < at(Phase::DaemonReload));
            assert!(at(Phase::DaemonReload) < at(Phase::Reload));
            assert!(at(Phase::Reload) < at(Phase::Restart));
            assert!(at(Phase::Restart) < at(Phase::Start));
        }
    }
}

//! Runs the table in `cases/` through the pure function, in both modes.

use std::collections::{BTreeMap, BTreeSet};

use serde::Deserialize;

use super::*;

/// The files of the table. `cases/README.md` explains the keys.
const FILES: [(&str, &str); 5] = [
    ("scope", include_str!("cases/scope.toml")),
    ("compare", include_str!("cases/compare.toml")),
    ("actions", include_str!("cases/actions.toml")),
    ("fstab", include_str!("cases/fstab.toml")),
    ("resume", include_str!("cases/resume.toml")),
];

#[derive(Deserialize)]
struct File {
    case: Vec<Case>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Case {
    name: String,
    facts: String,
    #[serde(default)]
    scope: Scope,
    old: BTreeMap<String, String>,
    new: BTreeMap<String, String>,
    #[serde(default)]
    run: Vec<UnitName>,
    #[serde(default)]
    states: BTreeMap<UnitName, ActiveState>,
    #[serde(default)]
    fragments: BTreeMap<UnitName, String>,
    #[serde(default)]
    following: BTreeMap<UnitName, String>,
    fstab_old: Option<String>,
    fstab_new: Option<String>,
    #[serde(default)]
    unfinished: Lists,
    #[serde(default)]
    activation: Lists,
    both: Option<Lists>,
    exact: Option<Lists>,
    right: Option<Lists>,
    live: Option<Live>,
    live_exact: Option<Live>,
}

/// Units by what is done to them.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields, default)]
struct Lists {
    stop: BTreeSet<UnitName>,
    reload: BTreeSet<UnitName>,
    restart: BTreeSet<UnitName>,
    start: BTreeSet<UnitName>,
    skip: BTreeSet<UnitName>,
    left: BTreeSet<UnitName>,
    swapoff: BTreeSet<String>,
}

/// What a real systemd shows afterwards.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
struct Live {
    kept: BTreeSet<UnitName>,
    restarted: BTreeSet<UnitName>,
    active: BTreeSet<UnitName>,
    inactive: BTreeSet<UnitName>,
}

fn cases() -> Vec<Case> {
    let read = |(name, text): &(&str, &str)| match toml::from_str::<File>(text) {
        Ok(file) => file.case,
        Err(error) => panic!("{name}: {error}"),
    };
    FILES.iter().flat_map(read).collect()
}

fn text_of(text: &str) -> String {
    text.replace("{sleep}", "[Service]|ExecStart=/bin/sleep infinity")
        .replace("{listen}", "[Socket]|ListenStream=/run/nixctl-case.sock")
        .replace('|', "\n")
}

fn set_of(files: &BTreeMap<String, String>) -> UnitSet {
    UnitSet::new(files.iter().map(|(path, content)| {
        let entry = match content.strip_prefix("-> ") {
            Some(target) => Entry::Link(target.into()),
            None => Entry::File(text_of(content).into_bytes()),
        };
        (path.clone(), entry)
    }))
}

impl Case {
    fn loaded(&self, old: &UnitSet) -> Vec<ActiveUnit> {
        let running = self.run.iter().map(|unit| (unit, ActiveState::Active));
        let others = self.states.iter().map(|(unit, state)| (unit, *state));
        running
            .chain(others)
            .map(|(unit, state)| ActiveUnit {
                name: unit.clone(),
                state,
                substate: String::new(),
                fragment: Some(self.fragment(unit, old)),
                following: self.following.get(unit).cloned(),
            })
            .collect()
    }

    fn fragment(&self, unit: &UnitName, old: &UnitSet) -> String {
        if let Some(given) = self.fragments.get(unit) {
            return given.clone();
        }
        let template = unit.template().filter(|_| !old.source(unit).is_present());
        format!(
            "{}/{}",
            self.scope.directory(),
            template.as_ref().unwrap_or(unit)
        )
    }

    fn decide(&self, mode: Mode) -> Result<Decisions, DecideError> {
        let (old, new) = (set_of(&self.old), set_of(&self.new));
        let fstab = |text: &Option<String>| {
            let text = text_of(text.as_deref().unwrap_or_default());
            Fstab::parse(&text, mode)
        };
        let fstabs = (fstab(&self.fstab_old), fstab(&self.fstab_new));
        let loaded = self.loaded(&old);
        let facts = Facts {
            mode,
            scope: self.scope,
            old: &old,
            new: &new,
            loaded: &loaded,
            mounts: Some(Mounts {
                old: &fstabs.0,
                new: &fstabs.1,
            }),
            managers: None,
            unfinished: &Unfinished {
                stop: self.unfinished.stop.clone(),
                reload: self.unfinished.reload.clone(),
                restart: self.unfinished.restart.clone(),
                start: self.unfinished.start.clone(),
            },
        };
        let lists = ActivationLists {
            restart: self.activation.restart.iter().cloned().collect(),
            reload: self.activation.reload.iter().cloned().collect(),
        };
        add_activation(&facts, decide(&facts)?, &lists)
    }

    fn expected(&self, mode: Mode) -> Lists {
        let own = match mode {
            Mode::Exact => &self.exact,
            Mode::Right => &self.right,
        };
        let expected = own.as_ref().or(self.both.as_ref());
        expected
            .cloned()
            .unwrap_or_else(|| panic!("{}: no {mode:?}", self.name))
    }
}

fn lists_of(decisions: &Decisions) -> Lists {
    let names = |reasons: &Reasons| reasons.keys().cloned().collect();
    Lists {
        stop: names(&decisions.stop),
        reload: names(&decisions.reload),
        restart: names(&decisions.restart),
        start: names(&decisions.start),
        skip: names(&decisions.skip),
        left: names(&decisions.left),
        swapoff: decisions.swapoff.clone(),
    }
}

#[test]
fn every_case_in_both_modes() {
    let mut failed = Vec::new();
    for case in cases() {
        for mode in [Mode::Exact, Mode::Right] {
            let expected = case.expected(mode);
            match case.decide(mode) {
                Ok(decisions) if lists_of(&decisions) == expected => {}
                Ok(decisions) => failed.push(format!(
                    "{mode:?}: {} ({})\n  expected {expected:?}\n  decided  {:?}",
                    case.name,
                    case.facts,
                    lists_of(&decisions)
                )),
                Err(error) => failed.push(format!("{mode:?}: {}: {error}", case.name)),
            }
        }
    }
    assert!(
        failed.is_empty(),
        "{} failed:\n{}",
        failed.len(),
        failed.join("\n")
    );
}

#[test]
fn the_table_is_large_and_sound() {
    let cases = cases();
    assert!(cases.len() >= 60, "{} cases", cases.len());
    let names: BTreeSet<&str> = cases.iter().map(|case| case.name.as_str()).collect();
    assert_eq!(names.len(), cases.len(), "a name twice");
    let live = cases.iter().filter(|case| case.live.is_some()).count();
    assert!(live >= 60, "{live} cases for a real systemd");
    for case in &cases {
        let ours = case.both.is_some() != (case.exact.is_some() && case.right.is_some());
        assert!(ours, "{}: both, or exact and right", case.name);
        assert!(!case.facts.is_empty(), "{}", case.name);
        assert!(
            case.live_exact.is_none() || case.live.is_some(),
            "{}",
            case.name
        );
    }
}

/// What a real systemd shall show follows from the decisions, as far as units of the table go.
#[test]
fn what_is_expected_of_a_real_systemd_fits_the_decisions() {
    for case in cases() {
        let modes = [(Mode::Right, &case.live), (Mode::Exact, &case.live_exact)];
        for (mode, live) in modes {
            let (Some(live), lists) = (live, case.expected(mode)) else {
                continue;
            };
            let stopped = |unit: &UnitName| lists.stop.contains(unit);
            let again = |unit: &UnitName| lists.start.contains(unit);
            for unit in &live.kept {
                let touched = stopped(unit) && case.expected(mode) != Lists::default();
                let refused = case
                    .old
                    .values()
                    .any(|text| text.contains("RefuseManualStop"));
                assert!(!touched || refused, "{mode:?} {}: {unit} kept", case.name);
                assert!(
                    !lists.restart.contains(unit),
                    "{mode:?} {}: {unit}",
                    case.name
                );
            }
            for unit in &live.inactive {
                assert!(
                    !lists.restart.contains(unit),
                    "{mode:?} {}: {unit}",
                    case.name
                );
            }
            for unit in &live.restarted {
                let again = lists.restart.contains(unit) || (stopped(unit) && again(unit));
                let dragged = case.facts.starts_with("1.11");
                assert!(again || dragged, "{mode:?} {}: {unit} restarted", case.name);
            }
        }
    }
}

#[test]
fn every_decision_has_a_reason_that_reads() {
    let mut seen = BTreeSet::new();
    for case in cases() {
        for mode in [Mode::Exact, Mode::Right] {
            let Ok(decisions) = case.decide(mode) else {
                continue;
            };
            let all = [
                &decisions.stop,
                &decisions.skip,
                &decisions.restart,
                &decisions.start,
            ];
            for reason in all.into_iter().flat_map(|reasons| reasons.values()) {
                let text = reason.to_string();
                assert!(text.contains(": ") && text.len() > 12, "{text}");
                assert!(!text.starts_with(':'), "{}: {text}", case.name);
                seen.insert(text);
            }
        }
    }
    assert!(seen.len() > 30, "{seen:#?}");
}

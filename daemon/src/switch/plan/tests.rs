use nixctl_planner::closure::PathInfo;
use nixctl_planner::component::{Content, Entry, Toplevel, UNIT_DIR};

use super::*;
use crate::switch::step::{SwitchStep, Toplevel as Top};

const MIB: u64 = 1 << 20;

fn path(name: &str) -> StorePath {
    // Nix's base 32 knows neither e, o, t nor u.
    let letter = |c: char| match c {
        'e' | 'o' | 't' | 'u' => 'x',
        c if c.is_ascii_alphanumeric() => c.to_ascii_lowercase(),
        _ => '0',
    };
    let hash: String = name
        .chars()
        .map(letter)
        .chain("0".repeat(32).chars())
        .take(32)
        .collect();
    StorePath::new(&format!("/nix/store/{hash}-{name}")).unwrap()
}

/// A generation of services, each with a package of its own of 100 MiB.
fn generation(graph: &mut Graph, version: &str, services: &[&str]) -> Toplevel {
    let top = path(&format!("nixos-{version}"));
    let mut toplevel = Toplevel::new(top.clone());
    let mut all = Vec::new();
    for service in services {
        let package = path(&format!("{service}-{version}"));
        add(graph, &package, 100 * MIB, &[]);
        let unit = path(&format!("unit-{service}-{version}"));
        add(graph, &unit, 1024, std::slice::from_ref(&package));
        let text = format!("[Service]\nExecStart={package}/bin/{service}\n");
        let entry = Entry {
            origin: Some(unit.clone()),
            content: Content::Text(text),
        };
        toplevel
            .etc
            .insert(format!("{UNIT_DIR}{service}.service"), entry);
        all.push(unit);
    }
    add(graph, &top, 4096, &all);
    toplevel
}

fn add(graph: &mut Graph, path: &StorePath, bytes: u64, references: &[StorePath]) {
    let info = PathInfo {
        path: path.clone(),
        nar_size: bytes,
        references: references.to_vec(),
        download_size: None,
    };
    graph.add(&info).unwrap();
}

/// Three services that all change; so many MiB are free.
fn facts(free: u64) -> SwitchFacts {
    let mut graph = Graph::new();
    let services = ["alpha", "beta", "gamma"];
    let old = generation(&mut graph, "1", &services);
    let new = generation(&mut graph, "2", &services);
    let present = graph.closure_of([&old.path]).unwrap();
    SwitchFacts {
        kind: OperationKind::Switch,
        request: SwitchRequest {
            toplevel: new.path.to_string(),
            ..SwitchRequest::default()
        },
        settings: SwitchSettings {
            reserve_bytes: 0,
            soak_seconds: 30,
            ..SwitchSettings::default()
        },
        graph,
        old,
        new,
        present,
        keep: PathSet::new(),
        booted: PathSet::new(),
        only_here: PathSet::new(),
        others: Vec::new(),
        stale: Vec::new(),
        free_bytes: free * MIB + budget::OVERHEAD,
        free_inodes: 100_000,
        boot: None,
        units: Decisions::default(),
        active: services.map(|it| format!("{it}.service")).into(),
        reboot: Vec::new(),
        inhibited: false,
        is_there: false,
        notes: Vec::new(),
    }
}

fn switch_steps(planned: &Planned) -> Vec<SwitchStep> {
    let steps = planned.steps.iter().map(|it| match &it.step {
        Step::Switch(step) => (**step).clone(),
        other => panic!("{other:?}"),
    });
    steps.collect()
}

/// One letter for each kind of step.
fn shape(planned: &Planned) -> String {
    let letters = switch_steps(planned).into_iter().map(|step| match step {
        SwitchStep::Forget(_) => 'x',
        SwitchStep::Fetch(_) => 'f',
        SwitchStep::Compose(_) => 'c',
        SwitchStep::Activate(_) => 'a',
        SwitchStep::Prove(_) => 'p',
        SwitchStep::Confirm { .. } => '?',
        SwitchStep::SetDefault(_) => 'd',
        SwitchStep::Release(_) => 'r',
    });
    letters.collect()
}

fn view(planned: &Planned) -> &nixctl_proto::plan::SwitchView {
    planned.view.switch.as_deref().unwrap()
}

#[test]
fn what_fits_goes_at_once_and_the_old_one_stays() {
    let planned = plan(&facts(400)).unwrap();
    assert_eq!(shape(&planned), "fapdr");
    assert_eq!(view(&planned).space.strategy, "atomic");
    assert_eq!(planned.view.refusal(), None);
    let steps = switch_steps(&planned);
    let SwitchStep::Release(release) = &steps[4] else {
        panic!("{steps:?}");
    };
    assert!(release.toplevels.is_empty() && release.paths.is_empty());
    let SwitchStep::Activate(activate) = &steps[1] else {
        panic!("{steps:?}");
    };
    assert!(activate.own_program);
}

#[test]
fn what_does_not_fit_at_once_goes_step_by_step() {
    let facts = facts(150);
    let planned = plan(&facts).unwrap();
    assert_eq!(planned.view.refusal(), None, "{:?}", planned.view.checks);
    let space = &view(&planned).space;
    assert_eq!(space.strategy, "stepwise");
    assert!(space.peak <= space.budget.unwrap() && space.atomic_peak > space.budget.unwrap());
    let steps = switch_steps(&planned);
    let shape = shape(&planned);
    assert!(
        shape.starts_with("fcapdr") && shape.ends_with("apdr"),
        "{shape}"
    );
    // Each hybrid stands on the one before, and the last step is the target itself.
    let mut before = Top::Path(facts.old.path.to_string());
    for step in &steps {
        match step {
            SwitchStep::Compose(it) => assert_eq!(it.base, before),
            SwitchStep::Activate(it) => {
                assert_eq!(it.from, before);
                before = it.to.clone();
            }
            SwitchStep::SetDefault(it) => {
                assert_eq!(it.toplevel, before);
                assert_eq!(it.hybrid, before != Top::Path(facts.new.path.to_string()));
            }
            _ => {}
        }
    }
    assert_eq!(before, Top::Path(facts.new.path.to_string()));
    let labels = steps.iter().filter_map(|step| match step {
        SwitchStep::Compose(it) => Some((it.label.clone(), it.units.clone())),
        _ => None,
    });
    let first = labels.into_iter().next().unwrap();
    assert_eq!(first.0, "1 of 4 components");
    assert_eq!(first.1.len(), 1);
    // A path is fetched once and released once, and nothing is released that the target needs.
    let mut seen = BTreeSet::new();
    for step in &steps {
        if let SwitchStep::Fetch(it) = step {
            assert!(it.paths.iter().all(|path| seen.insert(path.clone())));
        }
        if let SwitchStep::Release(it) = step {
            assert!(it.paths.iter().all(|path| !seen.contains(path)), "{it:?}");
        }
    }
}

#[test]
fn what_does_not_fit_at_all_is_refused_with_the_shortfall() {
    let planned = plan(&facts(50)).unwrap();
    let refusal = planned.view.refusal().unwrap();
    assert_eq!(refusal.code, Code::NoSpace);
    let space = &view(&planned).space;
    let missing = space.peak - space.budget.unwrap();
    assert!(
        refusal.message.contains(&format!("{missing} bytes more")),
        "{refusal}"
    );
    let mut asked = facts(150);
    asked.request.strategy = Strategy::Atomic;
    let planned = plan(&asked).unwrap();
    let refusal = planned.view.refusal().unwrap();
    assert!(refusal.message.contains("at once"), "{refusal}");
    let mut asked = facts(400);
    asked.request.budget = Some(310 * MIB);
    assert!(
        plan(&asked).unwrap().view.refusal().is_some(),
        "the budget that was asked for"
    );
}

#[test]
fn old_generations_go_only_where_that_is_allowed() {
    let with_other = |stays, drop_old| {
        let mut facts = facts(50);
        let other = generation(&mut facts.graph, "0", &["delta"]);
        let closure = facts.graph.closure_of([&other.path]).unwrap();
        facts.present.add_all(&closure);
        facts.others.push(Other {
            number: 7,
            path: other.path.to_string(),
            closure,
            stays,
        });
        facts.request.drop_old = drop_old;
        plan(&facts).unwrap()
    };
    let told = with_other(None, false);
    let refusal = told.view.refusal().unwrap();
    assert!(refusal.help.contains("--drop-old"), "{refusal:?}");
    let dropped = with_other(None, true);
    assert_eq!(dropped.view.refusal(), None, "{:?}", dropped.view.checks);
    assert!(shape(&dropped).starts_with("xf"), "{}", shape(&dropped));
    assert!(
        with_other(Some("it has proven itself"), true)
            .view
            .refusal()
            .is_some()
    );
}

#[test]
fn what_cannot_be_fetched_again_stays() {
    let mut facts = facts(150);
    let alpha = path("alpha-1");
    facts.only_here = facts.graph.closure_of([&alpha]).unwrap();
    facts.free_bytes += 100 * MIB;
    facts.request.strategy = Strategy::Stepwise;
    let planned = plan(&facts).unwrap();
    for step in switch_steps(&planned) {
        if let SwitchStep::Release(it) = step {
            assert!(!it.paths.contains(&alpha.to_string()), "{it:?}");
        }
    }
    let notes = planned.view.notes.join("\n");
    assert!(notes.contains("cannot be fetched again"), "{notes}");
}

#[test]
fn an_inhibited_target_only_becomes_the_default() {
    let mut facts = facts(400);
    facts.inhibited = true;
    facts.reboot = vec!["dbus must not change".to_owned()];
    let planned = plan(&facts).unwrap();
    assert_eq!(shape(&planned), "fdr");
    assert_eq!(view(&planned).reboot, facts.reboot);
}

#[test]
fn the_end_can_be_confirmed_and_is_watched_longer() {
    let mut facts = facts(150);
    facts.request.confirm_within = Some(20);
    facts.request.soak = Some(60);
    let planned = plan(&facts).unwrap();
    assert!(shape(&planned).ends_with("ap?dr"), "{}", shape(&planned));
    let windows: Vec<u64> = switch_steps(&planned)
        .iter()
        .filter_map(|step| match step {
            SwitchStep::Prove(it) => Some(it.window_seconds),
            _ => None,
        })
        .collect();
    assert_eq!(windows.last(), Some(&60));
    assert!(
        windows[..windows.len() - 1]
            .iter()
            .all(|window| *window == 6)
    );
}

#[test]
fn what_runs_already_needs_nothing() {
    let mut facts = facts(400);
    facts.is_there = true;
    let planned = plan(&facts).unwrap();
    assert!(planned.steps.is_empty() && planned.view.is_empty());
}

#[test]
fn what_an_earlier_switch_left_goes_first() {
    let mut facts = facts(400);
    let left = path("left");
    add(&mut facts.graph, &left, MIB, &[]);
    let mut closure = facts.graph.closure_of([&left]).unwrap();
    closure.add_all(&facts.graph.closure_of([&path("alpha-1")]).unwrap());
    facts.stale.push(Stale {
        roots: PathBuf::from("/roots/other"),
        links: vec!["x".to_owned()],
        closure,
    });
    let planned = plan(&facts).unwrap();
    let steps = switch_steps(&planned);
    let SwitchStep::Release(release) = &steps[0] else {
        panic!("{steps:?}");
    };
    assert_eq!(
        release.paths,
        [left.to_string()],
        "and nothing that is needed"
    );
}

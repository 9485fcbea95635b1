use nixctl_planner::closure::{PathInfo, StorePath};
use nixctl_planner::component::{Content, Entry, Toplevel, UNIT_DIR};
use nixctl_proto::request::Strategy;
use nixctl_proto::settings::ProbeSettings;

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
        let wanted = Entry {
            origin: None,
            content: Content::Link(format!("../{service}.service")),
        };
        let link = format!("{UNIT_DIR}multi-user.target.wants/{service}.service");
        toplevel.etc.insert(link, wanted);
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
        used: (0, 0),
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
fn a_hybrid_is_left_for_good() {
    let mut facts = facts(400);
    let whole = facts.old.path.clone();
    facts.old.path = path("nixctl-hybrid-1-nixos-2");
    let units = facts.graph.closure_of([&whole]).unwrap();
    let units: Vec<StorePath> = units
        .iter()
        .map(|id| facts.graph.path(id).clone())
        .filter(|it| it.name().starts_with("unit-"))
        .collect();
    add(&mut facts.graph, &facts.old.path, 4096, &units);
    facts.present = facts.graph.closure_of([&facts.old.path]).unwrap();
    facts.stale = vec![Stale {
        roots: "/roots/earlier".into(),
        links: vec!["hybrid-1".to_owned()],
        closure: facts.present.clone(),
    }];
    let planned = plan(&facts).unwrap();
    assert_eq!(shape(&planned), "rfapdrr");
    let steps = switch_steps(&planned);
    let SwitchStep::Release(behind) = &steps[5] else {
        panic!("{steps:?}");
    };
    assert_eq!(behind.roots, std::path::Path::new("/roots/earlier"));
    assert_eq!(behind.links, ["hybrid-1"]);
    let Some(SwitchStep::Release(release)) = steps.last() else {
        panic!("{steps:?}");
    };
    let hybrid = facts.old.path.to_string();
    assert_eq!(release.toplevels, [Top::Path(hybrid.clone())]);
    // What the hybrid was made from is gone already, whether it is named or not.
    let left = release.paths.iter().filter(|it| *it != whole.as_str());
    assert_eq!(left.count(), 7, "{:?}", release.paths);
    assert!(release.paths.contains(&hybrid));
    assert!(release.links.contains(&"hybrid-1".to_owned()));
}

/// The roots of the switch that brought it here are no reason to take its link away, and in steps they
/// must not hold what goes.
#[test]
fn what_an_earlier_switch_holds_goes_with_the_generation_that_goes() {
    for (free, leaves) in [(400, false), (150, true)] {
        let mut facts = facts(free);
        facts.stale = vec![Stale {
            roots: "/roots/earlier".into(),
            links: vec!["top".to_owned()],
            closure: facts.graph.closure_of([&facts.old.path]).unwrap(),
        }];
        let planned = plan(&facts).unwrap();
        let steps = switch_steps(&planned).into_iter();
        let mut releases = steps.filter_map(|step| match step {
            SwitchStep::Release(release) if !release.toplevels.is_empty() => Some(release),
            _ => None,
        });
        let first = releases.next().map(|release| release.roots.clone());
        assert_eq!(first.is_some(), leaves, "{free}");
        assert!(
            first.is_none_or(|roots| roots.ends_with("earlier")),
            "{free}"
        );
    }
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
    let notes = dropped.view.notes.join("\n");
    assert!(
        notes.contains("generations 7 are dropped first, which frees"),
        "{notes}"
    );
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

/// Too little room for any order, and these units are marked as not vital.
fn short_of_room(non_vital: &[&str], allowed: bool) -> SwitchFacts {
    let mut facts = facts(50);
    facts.settings.non_vital = non_vital.iter().map(|&it| it.to_owned()).collect();
    facts.request.allow_downtime = allowed;
    facts
}

#[test]
fn services_are_stopped_only_when_that_is_allowed_and_needed() {
    let told = plan(&short_of_room(&["beta.service"], false)).unwrap();
    let refusal = told.view.refusal().unwrap();
    let hint = "--allow-downtime: it fits with unit/beta down";
    assert!(refusal.help.contains(hint), "{refusal:?}");
    let nobody = plan(&short_of_room(&[], true)).unwrap();
    let refusal = nobody.view.refusal().unwrap();
    assert!(!refusal.help.contains("--allow-downtime"), "{refusal:?}");
    let mut roomy = short_of_room(&["beta.service"], true);
    roomy.free_bytes += 100 * MIB;
    let planned = plan(&roomy).unwrap();
    assert_eq!(planned.view.refusal(), None);
    assert!(view(&planned).downtime.is_empty(), "the third rung does");
}

#[test]
fn what_is_stopped_goes_whole_and_comes_back_whole() {
    let mut facts = short_of_room(&["beta.service", "nobody.service"], true);
    facts.settings.probes = vec![ProbeSettings {
        name: "beta answers".to_owned(),
        unit: "beta.service".to_owned(),
        tcp: "localhost:1".to_owned(),
        ..ProbeSettings::default()
    }];
    let planned = plan(&facts).unwrap();
    assert_eq!(planned.view.refusal(), None, "{:?}", planned.view.checks);
    let space = &view(&planned).space;
    assert!(space.peak <= space.budget.unwrap(), "{space:?}");
    let [down] = view(&planned).downtime.as_slice() else {
        panic!("{:?}", view(&planned).downtime);
    };
    assert_eq!((down.id.as_str(), down.from), ("unit/beta", 1));
    assert_eq!(down.units, ["beta.service"]);
    assert!(
        down.to > 1 && down.bytes >= 100 * MIB && down.seconds >= 10,
        "{down:?}"
    );
    let shape = shape(&planned);
    assert!(
        shape.starts_with("capdrf"),
        "nothing is fetched to stop: {shape}"
    );
    let steps = switch_steps(&planned);
    let hybrids: Vec<&crate::switch::step::Compose> = steps
        .iter()
        .filter_map(|step| match step {
            SwitchStep::Compose(it) => Some(it),
            _ => None,
        })
        .collect();
    let (unit, wants) = ("beta.service", "multi-user.target.wants/beta.service");
    let absent = [unit, wants].map(|it| format!("{UNIT_DIR}{it}"));
    assert_eq!(hybrids[0].absent, absent);
    assert!(
        hybrids[0].label.ends_with("without unit/beta"),
        "{:?}",
        hybrids[0].label
    );
    for later in &hybrids[1..] {
        assert!(later.absent.is_empty());
        let back = later.units.iter().any(|it| it == unit);
        assert_eq!(back, later.units.iter().any(|it| it == wants), "{later:?}");
    }
    // While it is down nobody asks whether it answers.
    let asked = steps.iter().filter_map(|step| match step {
        SwitchStep::Prove(it) => Some((it.units.contains(&unit.to_owned()), !it.probes.is_empty())),
        _ => None,
    });
    let asked: Vec<(bool, bool)> = asked.collect();
    assert_eq!(asked[0], (false, false));
    assert!(
        asked.iter().all(|(runs, probed)| runs == probed),
        "{asked:?}"
    );
    assert_eq!(asked.last(), Some(&(true, true)));
    let SwitchStep::Release(release) = &steps[4] else {
        panic!("{steps:?}");
    };
    assert!(release.paths.contains(&path("beta-1").to_string()));
}

#[test]
fn not_even_stopping_is_always_enough() {
    let mut facts = short_of_room(&["beta.service"], true);
    facts.request.budget = Some(250 * MIB);
    let planned = plan(&facts).unwrap();
    let refusal = planned.view.refusal().unwrap();
    assert!(
        refusal
            .message
            .contains("with all stopped that is not vital"),
        "{refusal}"
    );
    assert!(refusal.causes[0].contains("so none fits"), "{refusal:?}");
}

#[test]
fn each_step_is_watched_for_a_moment() {
    let mut facts = facts(150);
    facts.request.soak = Some(3);
    facts.settings.step_soak_seconds = 2;
    let planned = plan(&facts).unwrap();
    let windows = switch_steps(&planned)
        .into_iter()
        .filter_map(|step| match step {
            SwitchStep::Prove(it) => Some(it.window_seconds),
            _ => None,
        });
    let windows: Vec<u64> = windows.collect();
    let (last, others) = windows.split_last().unwrap();
    assert_eq!(*last, 3);
    assert!(
        !others.is_empty() && others.iter().all(|it| *it == 2),
        "{others:?}"
    );
}

#[test]
fn what_is_short_on_boot_or_of_inodes_is_refused() {
    let mut facts = facts(400);
    facts.boot = Some(boot::BootRoom {
        place: "/boot".into(),
        copies: vec![("linux".to_owned(), 10 * MIB)],
        free_bytes: 9 * MIB,
        free_inodes: u64::MAX,
    });
    let refusal = plan(&facts).unwrap().view.refusal().cloned().unwrap();
    assert!(refusal.message.contains("on /boot"), "{refusal}");
    facts.boot = None;
    facts.used = (300 * MIB, 30_000);
    facts.free_inodes = 29_000;
    let planned = plan(&facts).unwrap();
    let refusal = planned.view.refusal().unwrap();
    assert!(
        refusal.message.contains("inodes are needed on /nix"),
        "{refusal}"
    );
    assert!((30_000..31_000).contains(&planned.view.inodes_needed));
}

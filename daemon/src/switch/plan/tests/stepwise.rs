//! A switch in steps: their order, and how long each is watched.

use super::*;

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

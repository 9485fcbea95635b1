//! A switch in one go, and one that has nothing to do at once.

use super::*;

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
fn an_inhibited_target_only_becomes_the_default() {
    let mut facts = facts(400);
    facts.inhibited = true;
    facts.reboot = vec!["dbus must not change".to_owned()];
    let planned = plan(&facts).unwrap();
    assert_eq!(shape(&planned), "fdr");
    assert_eq!(view(&planned).reboot, facts.reboot);
}

#[test]
fn what_runs_already_needs_nothing() {
    let mut facts = facts(400);
    facts.is_there = true;
    let planned = plan(&facts).unwrap();
    assert!(planned.steps.is_empty() && planned.view.is_empty());
}

#[test]
fn what_fits_at_once_is_known_before_the_order_is() {
    for free in [0, 50, 100, 150, 200, 250, 300, 400] {
        for strategy in [Strategy::Auto, Strategy::Atomic, Strategy::Stepwise] {
            let mut facts = facts(free);
            facts.request.strategy = strategy;
            let both = [&facts.old.path, &facts.new.path];
            let both = facts.graph.closure_of(both).unwrap();
            let planned = plan(&facts).unwrap();
            let space = &planned.view.switch.as_deref().unwrap().space;
            let fits = space.strategy == "atomic" && planned.view.refusal().is_none();
            assert_eq!(
                ladder::fits_at_once(&facts, &both),
                fits,
                "{free} {strategy:?}"
            );
        }
    }
}

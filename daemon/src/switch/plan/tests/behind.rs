//! What a switch leaves behind: hybrids, roots of earlier switches, generations that are dropped.

use super::*;

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

//! Services that may be down for a while, where that makes room.

use super::*;

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

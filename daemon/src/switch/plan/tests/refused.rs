//! What does not fit is refused, and by how much.

use super::*;

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

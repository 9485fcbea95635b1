use proptest::prelude::*;

use super::super::sighting::Areas;
use super::super::timeline::Timeline;
use super::super::timeline::testing::{at, now};
use super::*;

const DAY: u64 = 24 * 3600 * 1000;

fn store() -> Sighting {
    Sighting::new("mount.lost", "/nix")
}

fn seen(all: &[Sighting]) -> BTreeSet<Sighting> {
    all.iter().cloned().collect()
}

fn look(breakers: &mut Breakers, all: &[Sighting], steady: u64) {
    let (seen, looked_at) = (seen(all), &Areas::All);
    let seen = &seen;
    breakers.look(Round { seen, looked_at }, at(steady), 0);
}

fn is_go(verdict: &Verdict) -> bool {
    matches!(verdict, Verdict::Go(_))
}

/// Tries once, and says when the next try may be.
fn try_in_vain(breakers: &mut Breakers, steady: u64) -> Verdict {
    assert!(is_go(&breakers.judge(&store(), at(steady))), "{steady}");
    assert!(breakers.began(&store(), at(steady)));
    breakers.failed(&store(), at(steady), 0, "no such disk");
    breakers.judge(&store(), at(steady))
}

#[test]
fn pauses_grow_until_it_is_open_and_say_why() {
    let mut breakers = Breakers::default();
    let mut steady = 0;
    for seconds in [5, 60, 300, 1800] {
        match try_in_vain(&mut breakers, steady) {
            Verdict::Rest { left, why } => {
                assert_eq!(left, Duration::from_secs(seconds));
                assert!(why.contains("no such disk"), "{why}");
                steady += millis(left);
            }
            other => panic!("{other:?}"),
        }
    }
    for days in [1, 2, 4, 7, 7] {
        match try_in_vain(&mut breakers, steady) {
            Verdict::Open { left, why } => {
                assert_eq!(left, Duration::from_millis(days * DAY));
                assert!(why.contains("times without help"), "{why}");
                steady += millis(left);
            }
            other => panic!("{other:?}"),
        }
    }
}

#[test]
fn a_fault_that_returns_at_once_is_repaired_three_times() {
    let mut breakers = Breakers::default();
    let (mut steady, mut repairs) = (0, 0);
    while steady < DAY {
        look(&mut breakers, &[store()], steady);
        if is_go(&breakers.judge(&store(), at(steady))) {
            repairs += 1;
            assert!(breakers.began(&store(), at(steady)));
            breakers.helped(&store(), at(steady));
            look(&mut breakers, &[], steady);
        }
        steady += 30_000;
    }
    assert_eq!(repairs, 3);
    match breakers.judge(&store(), at(steady)) {
        Verdict::Open { why, .. } => assert!(why.contains("came back 3 times"), "{why}"),
        other => panic!("{other:?}"),
    }
}

#[test]
fn a_fault_that_returns_every_two_hours_is_repaired_eight_times() {
    let mut breakers = Breakers::default();
    let mut repairs = 0;
    for round in 0..18 {
        let steady = round * DAY / 12;
        for later in [0, DAY / 24] {
            look(&mut breakers, &[store()], steady + later);
            if is_go(&breakers.judge(&store(), at(steady + later))) {
                repairs += 1;
                assert!(breakers.began(&store(), at(steady + later)));
                breakers.helped(&store(), at(steady + later));
                look(&mut breakers, &[], steady + later);
                break;
            }
        }
    }
    assert_eq!(repairs, 8);
}

#[test]
fn what_stays_well_for_a_day_is_forgotten() {
    let mut breakers = Breakers::default();
    assert!(breakers.began(&store(), at(0)));
    breakers.helped(&store(), at(0));
    breakers.take_changes();
    look(&mut breakers, &[], DAY - 1);
    assert!(breakers.take_changes().is_empty());
    look(&mut breakers, &[], DAY);
    assert_eq!(breakers.take_changes()[&store()], None);
    assert_eq!(breakers, Breakers::default());
}

#[test]
fn what_was_not_looked_for_is_not_forgotten() {
    let mut breakers = Breakers::default();
    assert!(breakers.began(&store(), at(0)));
    breakers.helped(&store(), at(0));
    let (seen, looked_at) = (&BTreeSet::new(), &Areas::one("tree"));
    breakers.look(Round { seen, looked_at }, at(9 * DAY), 0);
    assert_eq!(breakers.all.len(), 1);
}

#[test]
fn somebody_may_ask_for_one_more_try() {
    let mut breakers = Breakers::default();
    let mut steady = 0;
    let left = loop {
        match try_in_vain(&mut breakers, steady) {
            Verdict::Open { left, .. } => break left,
            Verdict::Rest { left, .. } => steady += millis(left),
            other => panic!("{other:?}"),
        }
    };
    breakers.asked(&store(), at(steady));
    match try_in_vain(&mut breakers, steady) {
        Verdict::Open { left: after, .. } => assert_eq!(after, left, "it is not held against it"),
        other => panic!("{other:?}"),
    }
    breakers.asked(&store(), at(steady));
    assert!(breakers.began(&store(), at(steady)));
    breakers.asked(&store(), at(steady));
    assert!(
        !is_go(&breakers.judge(&store(), at(steady))),
        "not twice at a time"
    );
}

#[test]
fn a_try_without_an_end_has_failed_some_time() {
    let mut breakers = Breakers::default();
    assert!(breakers.began(&store(), at(0)));
    look(&mut breakers, &[store()], millis(LOST) - 1);
    assert_eq!(breakers.all[&store()].stage, Stage::AtWork);
    look(&mut breakers, &[store()], millis(LOST));
    assert_eq!(breakers.all[&store()].failures, 1);
}

#[test]
fn there_is_room_for_so_many_and_no_more() {
    let mut breakers = Breakers::default();
    for number in 0..KEYS {
        let of = Sighting::new("tree.link", number.to_string());
        assert!(breakers.began(&of, at(0)));
    }
    assert!(!is_go(&breakers.judge(&store(), at(0))));
    assert!(!breakers.began(&store(), at(0)));
    assert_eq!(breakers.all.len(), KEYS);
    let known = Sighting::new("tree.link", "7");
    breakers.failed(&known, at(0), 0, &"why ".repeat(1000));
    let json = serde_json::to_string(&breakers.all[&known]).unwrap();
    assert!(json.len() < 1000, "{json}");
}

#[test]
fn ten_thousand_rounds_with_nothing_new_change_nothing() {
    let mut breakers = Breakers::default();
    let mut steady = 0;
    while !matches!(try_in_vain(&mut breakers, steady), Verdict::Open { .. }) {
        steady += millis(PAUSES[3]);
    }
    breakers.take_changes();
    for round in 0..10_000 {
        look(&mut breakers, &[store()], steady + round * 3_600_000);
        assert!(breakers.take_changes().is_empty());
    }
}

#[test]
fn the_next_try_is_known() {
    let mut breakers = Breakers::default();
    let other = Sighting::new("tree.owner", "/nix");
    assert_eq!(breakers.next_due(&seen(&[store()]), at(0)), None);
    for (of, tries) in [(store(), 2), (other.clone(), 1)] {
        for _ in 0..tries {
            assert!(breakers.began(&of, at(0)));
            breakers.failed(&of, at(0), 0, "");
        }
    }
    for (all, due) in [
        (vec![], None),
        (vec![store()], Some(60)),
        (vec![store(), other], Some(5)),
    ] {
        let due = due.map(Duration::from_secs);
        assert_eq!(breakers.next_due(&seen(&all), at(0)), due);
    }
}

/// One thing that happens to a fault that is always there or back at once.
#[derive(Debug, Clone)]
enum Happens {
    Time(u64),
    Clock(u64),
    Restart,
    Killed,
}

fn happens() -> impl Strategy<Value = Happens> {
    prop_oneof![
        6 => (0u64..4 * 3_600_000).prop_map(Happens::Time),
        1 => any::<u64>().prop_map(Happens::Clock),
        1 => Just(Happens::Restart),
        1 => Just(Happens::Killed),
    ]
}

proptest! {
    /// Whatever clocks, restarts and luck do: there is no storm, and no end of trying either.
    #[test]
    fn neither_a_storm_nor_a_block(
        all in proptest::collection::vec((happens(), any::<bool>()), 1..200),
    ) {
        let (mut boot, mut millis_up, mut wall) = (1, 0, 1_000_000_000);
        let mut line = Timeline::new(&now(boot, millis_up, wall));
        let mut breakers = Breakers::default();
        let mut tried: Vec<u64> = Vec::new();
        for (what, helps) in all {
            match what {
                Happens::Time(passed) => millis_up += passed,
                Happens::Clock(set) => wall = set,
                Happens::Restart => (boot, millis_up) = (boot + 1, 1000),
                Happens::Killed => {}
            }
            let at = line.count(&now(boot, millis_up, wall));
            if matches!(what, Happens::Restart | Happens::Killed) {
                breakers = Breakers::restored(breakers.all);
            }
            let (seen, looked_at) = (&seen(&[store()]), &Areas::All);
            breakers.look(Round { seen, looked_at }, at, 7);
            if is_go(&breakers.judge(&store(), at)) {
                prop_assert!(breakers.began(&store(), at));
                tried.push(at.steady);
                match helps {
                    true => breakers.helped(&store(), at),
                    false => breakers.failed(&store(), at, 7, "no"),
                }
            }
            let day = tried.iter().filter(|then| at.steady - **then < DAY).count();
            // Each of the returns of a day can have had one try less than is too often.
            prop_assert!(day <= RETURNS[1].0 * FAILURES as usize, "{day} tries in a day");
        }
        let at = line.at(&now(boot, millis_up, wall));
        let (seen, looked_at) = (&seen(&[store()]), &Areas::All);
        breakers.look(Round { seen, looked_at }, at, 7);
        let later = At { steady: at.steady + millis(LONGEST_OPEN), wall };
        prop_assert!(is_go(&breakers.judge(&store(), later)));
    }
}

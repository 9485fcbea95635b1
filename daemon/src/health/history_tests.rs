use std::collections::BTreeSet;

use proptest::prelude::*;

use super::super::sighting::Areas;
use super::super::timeline::testing::at;
use super::*;

fn finding(number: usize) -> Sighting {
    Sighting::new("tree.owner", number.to_string())
}

fn operation(number: u32) -> OperationId {
    OperationId::from_parts(1_700_000_000_000, number)
}

fn look(history: &mut History, seen: &[Sighting], steady: u64) -> Changes {
    let seen: BTreeSet<Sighting> = seen.iter().cloned().collect();
    let (seen, looked_at) = (&seen, &Areas::All);
    history.look(Round { seen, looked_at }, at(steady));
    history.take_changes()
}

fn whats(changes: &Changes) -> Vec<What> {
    changes.events.iter().map(|it| it.what.clone()).collect()
}

#[test]
fn a_finding_comes_is_tried_in_vain_is_tried_again_and_goes() {
    let mut history = History::default();
    let all = [finding(1)];
    assert_eq!(whats(&look(&mut history, &all, 10)), [What::Appeared]);
    for (number, how) in [(1, "failed: no such disk"), (2, "succeeded")] {
        let operation = operation(number);
        history.tried(&all[0], &operation, at(20));
        let tried = What::Tried {
            operation: operation.clone(),
        };
        assert_eq!(whats(&history.take_changes()), [tried]);
        assert!(
            look(&mut history, &all, 25).is_empty(),
            "while it is at work nothing is said"
        );
        history.ended(&operation, how);
        assert!(history.take_changes().events.is_empty());
        let (seen, why) = (&all[..usize::from(number == 1)], how.to_owned());
        let expected = match number {
            1 => What::DidNotHelp { operation, why },
            _ => What::Gone {
                after: 20,
                by: Some(operation),
            },
        };
        assert_eq!(whats(&look(&mut history, seen, 30)), [expected]);
    }
    assert!(history.standing().is_empty());
    let numbers: Vec<u64> = history.events().map(|event| event.number).collect();
    assert_eq!(numbers, [0, 1, 2, 3, 4]);
}

#[test]
fn what_goes_by_itself_was_helped_by_nobody() {
    let mut history = History::default();
    look(&mut history, &[finding(1)], 10);
    let gone = look(&mut history, &[], 90);
    let (after, by) = (80, None);
    assert_eq!(whats(&gone), [What::Gone { after, by }]);
    assert_eq!(gone.standing[&finding(1)], None);
}

#[test]
fn what_was_not_looked_for_stands() {
    let mut history = History::default();
    look(&mut history, &[finding(1)], 10);
    history.tried(&finding(1), &operation(1), at(15));
    history.ended(&operation(1), "succeeded");
    history.take_changes();
    let (seen, looked_at) = (&BTreeSet::new(), &Areas::one("mount"));
    history.look(Round { seen, looked_at }, at(20));
    assert!(history.take_changes().is_empty());
    assert_eq!(history.standing().len(), 1);
}

#[test]
fn ten_thousand_rounds_with_nothing_new_change_nothing() {
    let mut history = History::default();
    let all: Vec<Sighting> = (0..20).map(finding).collect();
    look(&mut history, &all, 0);
    let before = history.clone();
    for round in 0..10_000 {
        // 10,000 hours are more than a year: events are old by then.
        assert!(look(&mut history, &all, round * 3_600_000).is_empty());
    }
    assert_eq!(history, before);
}

#[test]
fn old_events_go_when_new_ones_come() {
    let mut history = History::default();
    look(&mut history, &[finding(1)], 0);
    let changes = look(&mut history, &[finding(1), finding(2)], AGE + 1);
    assert_eq!(changes.dropped, [0]);
    assert_eq!(history.events().count(), 1);
    assert_eq!(history.standing().len(), 2);
}

#[test]
fn one_that_comes_and_goes_leaves_the_others_their_past() {
    let mut history = History::default();
    let quiet: Vec<Sighting> = (1..50).map(finding).collect();
    look(&mut history, &quiet, 0);
    for round in 1..5000 {
        let seen = [&quiet[..], &[finding(0)]].concat();
        let seen = if round % 2 == 0 { &quiet } else { &seen };
        look(&mut history, seen, round);
    }
    assert_eq!(history.events().count(), EVENTS);
    for of in quiet {
        assert!(history.events().any(|event| event.of == of), "{of}");
    }
    let last = history.events().next_back().unwrap();
    assert_eq!((last.steady, &last.of), (4999, &finding(0)));
}

#[test]
fn only_so_many_are_followed() {
    let mut history = History::default();
    let all: Vec<Sighting> = (0..STANDING + 10).map(finding).collect();
    look(&mut history, &all, 0);
    assert_eq!(history.standing().len(), STANDING);
    assert!(look(&mut history, &all, 1).is_empty());
}

proptest! {
    /// The stored changes, applied one after the other, are the history; it is bounded, in order,
    /// and each finding appears and goes by turns.
    #[test]
    fn changes_add_up(
        rounds in proptest::collection::vec(
            (proptest::collection::vec(0usize..6, 0..6), any::<bool>(), any::<bool>()), 1..80),
    ) {
        let mut history = History::default();
        let (mut events, mut standing) = (BTreeMap::new(), BTreeMap::new());
        for (steady, (seen, is_tried, is_ended)) in rounds.into_iter().enumerate() {
            let seen: Vec<Sighting> = seen.into_iter().map(finding).collect();
            let mut all = vec![look(&mut history, &seen, steady as u64)];
            if let (true, Some(of)) = (is_tried, seen.first()) {
                history.tried(of, &operation(steady as u32), at(steady as u64));
                if is_ended {
                    history.ended(&operation(steady as u32), "over");
                }
                all.push(history.take_changes());
            }
            for changes in all {
                events.extend(changes.events.into_iter().map(|event| (event.number, event)));
                for number in changes.dropped {
                    events.remove(&number);
                }
                for (of, now) in changes.standing {
                    match now {
                        Some(now) => standing.insert(of, now),
                        None => standing.remove(&of),
                    };
                }
            }
            let seen: BTreeSet<&Sighting> = seen.iter().collect();
            prop_assert_eq!(standing.keys().collect::<BTreeSet<_>>(), seen);
        }
        let stored = History::restored(events.into_values().collect(), standing);
        prop_assert_eq!(&stored, &history);
        let mut there = BTreeMap::new();
        for event in history.events() {
            let was = there.get(&event.of).copied().unwrap_or(false);
            match event.what {
                What::Appeared => prop_assert!(!was),
                What::Gone { .. } => prop_assert!(was),
                What::Tried { .. } | What::DidNotHelp { .. } => prop_assert!(was),
            }
            there.insert(event.of.clone(), !matches!(event.what, What::Gone { .. }));
        }
    }
}

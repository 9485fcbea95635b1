use super::*;
use crate::health::timeline::testing::at;

const HOUR: u64 = 3_600_000;
const EVERY: Duration = Duration::from_secs(6 * 3600);

fn id(number: u32) -> OperationId {
    OperationId::from_parts(1, number)
}

fn begun(version: &str) -> Memory {
    Memory {
        tried: Some(Tried {
            operation: id(1),
            version: version.to_owned(),
        }),
        ..Memory::default()
    }
}

#[test]
fn what_failed_here_rests_and_then_is_abandoned() {
    let mut memory = begun("2.34.8");
    assert!(memory.ended(&id(1), Some("it cannot build".into()), at(0)));
    assert_eq!(memory.tried, None);
    let judged = |memory: &Memory, hours| memory.judge("2.34.8", at(hours * HOUR));
    assert!(matches!(judged(&memory, 7), Verdict::Rest { .. }));
    assert_eq!(judged(&memory, 8), Verdict::Go);
    assert_eq!(memory.judge("2.34.9", at(0)), Verdict::Go);
    for _ in 0..8 {
        memory.tried = begun("2.34.8").tried;
        assert!(memory.ended(&id(1), Some("again".into()), at(0)));
    }
    assert!(matches!(judged(&memory, 10_000), Verdict::Abandoned { .. }));
}

#[test]
fn only_what_was_begun_without_a_hand_counts_as_failed() {
    let mut memory = begun("2.34.8");
    assert!(!memory.ended(&id(2), Some("somebody else's".into()), at(0)));
    assert!(memory.tried.is_some());
    assert!(memory.ended(&id(1), Some("x".into()), at(0)));
    // What works is forgiven, whoever asked.
    assert!(memory.ended(&id(3), None, at(0)));
    assert_eq!(memory.judge("2.34.8", at(0)), Verdict::Go);
    assert!(!memory.ended(&id(3), None, at(0)));
}

#[test]
fn what_somebody_went_back_from_is_not_taken_again() {
    let mut memory = Memory::default();
    for version in ["2.26.3", "2.34.8"] {
        assert!(memory.sees(version));
        assert!(!memory.sees(version));
    }
    assert!(memory.sees("2.26.3"));
    let judge = |memory: &Memory, version: &str| memory.judge(version, at(HOUR));
    for version in ["2.34.8", "2.30.0"] {
        let verdict = judge(&memory, version);
        assert!(matches!(verdict, Verdict::Abandoned { .. }), "{version}");
    }
    assert_eq!(judge(&memory, "2.34.9"), Verdict::Go);
    // Taken off: that says nothing.
    assert!(!memory.sees(""));
    // Taken by hand.
    assert!(memory.sees("2.34.8"));
    assert_eq!(memory.left, "");
}

#[test]
fn it_is_read_after_boot_then_from_time_to_time_and_sooner_after_a_failure() {
    let mut pace = Pace::after_boot(0, EVERY, 999);
    assert!(!pace.is_due(19_999) && pace.is_due(20_000 + 600_000));
    assert!(Pace::after_boot(0, EVERY, 0).is_due(20_000));
    assert!(Pace::after_boot(0, Duration::from_secs(10), 999).is_due(11_000));
    pace.looked(1000, EVERY, true, 0);
    assert!(!pace.is_due(1000 + 6 * HOUR - 1) && pace.is_due(1000 + 6 * HOUR));
    for minutes in [1, 2, 4, 8] {
        pace.looked(0, EVERY, false, 0);
        assert_eq!(pace.due(), minutes * 60_000);
    }
    for _ in 0..100 {
        pace.looked(0, EVERY, false, 999);
    }
    assert!(pace.due() >= 6 * HOUR && pace.due() < 7 * HOUR);
    pace.looked(0, EVERY, true, 0);
    pace.looked(0, EVERY, false, 0);
    assert_eq!(pace.due(), 60_000);
}

#[test]
fn nothing_is_taken_on_an_old_feed() {
    let mut pace = Pace::default();
    pace.looked(0, EVERY, true, 0);
    let free = Ok(());
    let due_at = |pace: &Pace, now| due(true, pace, Some(&free), now);
    assert_eq!(due_at(&pace, 9_999), Due::Upgrade);
    // It may have been withdrawn meanwhile.
    assert_eq!(due_at(&pace, 10_000), Due::Read);
    assert!(pace.is_fresh(299_999) && !pace.is_fresh(300_000));
    // It could not be read, or was not believed: what was believed before is not acted on.
    let mut not_any_more = pace.clone();
    not_any_more.looked(100_000, EVERY, false, 0);
    assert_eq!(due_at(&not_any_more, 100_001), Due::Nothing);
    pace.looked(300_000, EVERY, false, 999);
    assert_eq!(due_at(&pace, 300_001), Due::Nothing);
    assert_eq!(due_at(&pace, 360_000), Due::Read);
    pace.looked(360_000, EVERY, true, 0);
    assert_eq!(due_at(&pace, 360_000), Due::Upgrade);
}

#[test]
fn what_was_read_while_something_held_it_is_read_again() {
    let mut pace = Pace::default();
    let (free, held) = (Ok(()), Err(Hold::Busy));
    pace.looked(5_000, EVERY, true, 0);
    pace.sees(Some(&held), 5_000);
    assert_eq!(due(true, &pace, Some(&free), 6_000), Due::Read);
    pace.looked(6_000, EVERY, true, 0);
    pace.sees(Some(&free), 6_001);
    assert_eq!(due(true, &pace, Some(&free), 6_001), Due::Upgrade);
}

#[test]
fn what_is_held_or_not_followed_is_not_taken() {
    let mut pace = Pace::default();
    pace.looked(0, EVERY, true, 0);
    let (free, held) = (Ok(()), Err(Hold::Busy));
    for (follows, hold, now, expected) in [
        (false, Some(&free), 1, Due::Nothing),
        (false, Some(&free), 7 * HOUR, Due::Nothing),
        (true, Some(&held), 1, Due::Nothing),
        (true, None, 1, Due::Nothing),
        (true, None, 7 * HOUR, Due::Read),
        (true, Some(&free), 7 * HOUR, Due::Read),
        (true, Some(&free), 1, Due::Upgrade),
    ] {
        assert_eq!(due(follows, &pace, hold, now), expected, "{hold:?} {now}");
    }
}

#[test]
fn chance_is_drawn_anew_for_each_opening_and_release() {
    let hour = Duration::from_secs(3600);
    let next = |before, version, hold: &Result<(), Hold>, now, chance| {
        Spread::next(before, version, hold, now, hour, chance)
    };
    let closed = Err(Hold::RolloutLater);
    assert_eq!(next(None, "1", &closed, 0, 500), None);
    let drawn = next(None, "1", &Ok(()), 1000, 500);
    assert_eq!(drawn.as_ref().unwrap().until, 1000 + HOUR / 2);
    for hold in [Ok(()), Err(Hold::Busy), Err(Hold::OnBattery)] {
        assert_eq!(next(drawn.clone(), "1", &hold, 5000, 900), drawn);
    }
    let other = next(drawn.clone(), "2", &Ok(()), 5000, 0).unwrap();
    assert_eq!(other.until, 5000);
    assert_eq!(next(drawn, "1", &closed, 5000, 0), None);
}

#[test]
fn nixctl_has_a_ladder_of_its_own() {
    let mut memory = begun("0.2.0");
    let judge = |memory: &Memory, kept| memory.judge_nixctl("0.2.0", "0.1.0", kept, at(0));
    assert_eq!(judge(&memory, None), Verdict::Go);
    assert_eq!(judge(&memory, Some("0.0.9")), Verdict::Go);
    // Somebody went back from it.
    let left = judge(&memory, Some("0.2.0"));
    assert!(matches!(left, Verdict::Abandoned { .. }), "{left:?}");
    assert!(memory.ended_nixctl(&id(1), Some("it hangs".into()), at(0)));
    assert!(matches!(judge(&memory, None), Verdict::Rest { .. }));
    assert_eq!(memory.judge("0.2.0", at(0)), Verdict::Go);
}

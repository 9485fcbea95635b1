use proptest::prelude::*;

use super::*;

const SECOND: u64 = 1000;
const MINUTE: u64 = 60 * SECOND;

fn pace(interval: u64, jitter: u64) -> Pace {
    Pace {
        interval: Duration::from_secs(interval),
        jitter: Duration::from_secs(jitter),
    }
}

/// One whose rounds after the boot are over.
fn begun(pace: Pace) -> Schedule {
    let mut schedule = Schedule::new(pace, 0);
    assert!(schedule.begin(0, 0).is_some());
    schedule.set_pace(pace, 0, 0);
    schedule
}

fn causes(due: &Due) -> Vec<Cause> {
    due.causes.iter().copied().collect()
}

#[test]
fn at_boot_everything_is_looked_at_at_once() {
    let mut schedule = Schedule::new(pace(3600, 0), 7);
    let due = schedule.begin(7, 0).unwrap();
    assert_eq!((&due.areas, causes(&due)), (&Areas::All, vec![Cause::Boot]));
    assert_eq!(schedule.begin(8, 0), None);
}

#[test]
fn the_timer_has_its_interval_and_some_chance() {
    for (chance, at) in [(0, 3600), (500, 3660), (999, 3719)] {
        let mut schedule = Schedule::new(pace(3600, 120), 0);
        assert!(!schedule.begin(0, chance).unwrap().is_thorough());
        let first = schedule.next().unwrap();
        assert_eq!((first.at, first.is_thorough()), (millis(AFTER_BOOT), true));
        schedule.begin(first.at, chance).unwrap();
        let due = schedule.next().unwrap();
        let later = (due.at - first.at) / SECOND;
        assert_eq!((later, causes(&due)), (at, vec![Cause::Timer]));
    }
    let mut schedule = begun(pace(0, 120));
    assert_eq!(schedule.next(), None, "nobody wants a timer");
    schedule.set_pace(pace(1, 0), 5 * MINUTE, 0);
    let least = millis(MIN_INTERVAL);
    assert_eq!(schedule.next().unwrap().at, 5 * MINUTE + least);
}

#[test]
fn a_round_of_some_areas_leaves_the_timer_alone() {
    let mut schedule = begun(pace(3600, 0));
    schedule.note(Cause::Files, Areas::one("conf"), MINUTE);
    assert_eq!(schedule.begin(MINUTE, 0), None, "more may follow");
    let due = schedule.begin(MINUTE + SECOND, 0).unwrap();
    assert_eq!(due.areas, Areas::one("conf"));
    assert_eq!(schedule.next().unwrap().at, 3600 * SECOND);
}

#[test]
fn only_events_have_a_moment_of_their_own() {
    let mut schedule = begun(pace(60, 0));
    assert_eq!(schedule.next_event(), None, "the timer can wait");
    schedule.set_remedy(Some((5 * SECOND, Areas::one("conf"))));
    assert_eq!(schedule.next_event(), Some(5 * SECOND));
    schedule.note(Cause::Files, Areas::one("conf"), 2 * SECOND);
    assert_eq!(schedule.next_event(), Some(3 * SECOND));
    schedule.busy();
    assert_eq!(schedule.next_event(), None);
}

#[test]
fn what_happens_together_is_one_round() {
    let mut schedule = begun(pace(3600, 0));
    for (millis, area) in [(0, "conf"), (300, "shell"), (900, "conf")] {
        schedule.note(Cause::Files, Areas::one(area), MINUTE + millis);
    }
    schedule.note(Cause::Unit, Areas::one("daemon"), MINUTE + 950);
    let due = schedule.begin(MINUTE + SECOND, 0).unwrap();
    assert_eq!(causes(&due), [Cause::Files, Cause::Unit]);
    for area in ["conf", "shell", "daemon"] {
        assert!(due.areas.holds(area), "{area}");
    }
    assert!(!due.areas.holds("mount"));
}

#[test]
fn rounds_wait_for_an_operation_and_follow_it() {
    let mut schedule = begun(pace(3600, 0));
    schedule.busy();
    schedule.note(Cause::Files, Areas::one("conf"), MINUTE);
    assert_eq!(schedule.next(), None);
    schedule.idle(2 * MINUTE);
    let due = schedule.begin(2 * MINUTE, 0).unwrap();
    assert_eq!(due.areas, Areas::All);
    assert_eq!(causes(&due), [Cause::Operation, Cause::Files]);
}

#[test]
fn a_remedy_is_tried_again_when_its_pause_is_over() {
    let mut schedule = begun(pace(3600, 0));
    schedule.set_remedy(Some((5 * MINUTE, Areas::one("mount"))));
    let due = schedule.next().unwrap();
    assert_eq!((due.at, causes(&due)), (5 * MINUTE, vec![Cause::Remedy]));
    assert_eq!(schedule.begin(5 * MINUTE, 0).unwrap().areas, due.areas);
    assert_eq!(schedule.next().unwrap().at, 3600 * SECOND, "once");
    schedule.set_remedy(Some((6 * MINUTE, Areas::one("mount"))));
    schedule.set_remedy(None);
    assert_eq!(schedule.next().unwrap().at, 3600 * SECOND);
}

#[test]
fn after_a_burst_rounds_are_rare_but_for_those_somebody_wants() {
    let mut schedule = begun(pace(3600, 0));
    let mut rounds = Vec::new();
    for tenth in 0..6000 {
        let now = tenth * 100;
        schedule.note(Cause::Files, Areas::one("conf"), now);
        if schedule.begin(now, 0).is_some() {
            rounds.push(now / SECOND);
        }
    }
    assert_eq!(rounds[..5], [1, 2, 3, 30, 60], "{rounds:?}");
    assert_eq!(rounds.len(), 22);
    let now = 600 * SECOND;
    schedule.note(Cause::Asked, Areas::one("tree"), now);
    let due = schedule.begin(now, 0).unwrap();
    assert!(due.areas.holds("tree") && due.causes.contains(&Cause::Asked));
}

#[test]
fn a_timer_that_must_wait_does_not_hold_up_who_asks() {
    let mut schedule = begun(pace(60, 0));
    for round in 1..=4 {
        schedule.note(Cause::Unit, Areas::one("daemon"), 56 * SECOND + round);
        assert!(schedule.begin(58 * SECOND + round, 0).is_some());
    }
    assert!(schedule.next().unwrap().at > 60 * SECOND);
    schedule.note(Cause::Asked, Areas::one("tree"), 61 * SECOND);
    let due = schedule.begin(61 * SECOND, 0).unwrap();
    assert_eq!(causes(&due), [Cause::Timer, Cause::Asked]);
}

proptest! {
    /// However much happens, rounds that nobody asked for are bounded; and what happened is
    /// looked at after a bounded time.
    #[test]
    fn neither_a_storm_nor_a_thing_forgotten(
        happens in proptest::collection::vec((0u64..20_000, 0usize..6), 1..300),
    ) {
        let mut schedule = begun(pace(600, 60));
        let (mut now, mut rounds, mut waiting) = (0, vec![0], None);
        for (passed, what) in happens {
            let until = now + passed;
            // Rounds are begun exactly when they are due.
            while let Some(due) = schedule.next().filter(|due| due.at <= until) {
                now = now.max(due.at);
                let due = schedule.begin(now, 500);
                prop_assert!(due.is_some());
                rounds.push(now);
                waiting = None;
            }
            now = until;
            let area = Areas::one("conf");
            match what {
                0 => schedule.note(Cause::Files, area, now),
                1 => schedule.note(Cause::Unit, area, now),
                2 => schedule.set_remedy(Some((now, area))),
                3 => schedule.idle(now),
                _ => continue,
            }
            waiting.get_or_insert(now);
            let due = schedule.next().map_or(u64::MAX, |due| due.at);
            prop_assert!(due <= waiting.unwrap_or(now) + millis(MIN_INTERVAL) + millis(SETTLE));
        }
        for (place, first) in rounds.iter().enumerate() {
            let end = first + 10 * MINUTE;
            let within = rounds[place..].iter().filter(|at| **at < end).count() as u64;
            prop_assert!(within <= BURST + 10 * MINUTE / millis(MIN_INTERVAL), "{within}");
        }
    }
}

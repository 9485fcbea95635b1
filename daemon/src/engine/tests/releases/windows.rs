//! Maintenance windows and a clock that is set: what the engine begins without a hand, and what it
//! does not begin, at the edges of windows and where clocks are put forward or back.

use std::sync::atomic::AtomicU64;

use nixctl_proto::date::Timestamp;

use super::*;
use crate::host::Clock;
use crate::host::clock::Moment;

/// A clock that shows what it is told.
#[derive(Debug, Default)]
struct SetClock(AtomicU64);

impl Clock for SetClock {
    fn now(&self) -> u64 {
        self.0.load(Ordering::SeqCst)
    }

    fn moment(&self) -> Moment {
        Moment {
            era: "set".to_owned(),
            millis: self.now(),
        }
    }
}

/// What is seen at a moment.
enum Seen {
    /// What is offered is taken.
    Begun,
    /// It is held until then.
    HeldUntil(&'static str),
}

use Seen::{Begun, HeldUntil};

fn millis(text: &str) -> u64 {
    let moment: jiff::Timestamp = text.parse().unwrap();
    u64::try_from(moment.as_millisecond()).unwrap()
}

/// Puts the clock from moment to moment, each later than the one before. Where the release was
/// begun, there is a new one at the next moment; it fails, so that each is begun once.
fn plays(window: &str, moments: &[(&str, Seen)]) {
    let (fixture, publisher) = (machine(), Publisher::default());
    publisher.fails.store(true, Ordering::SeqCst);
    let clock = Arc::new(SetClock::default());
    let mut settings = Settings::default();
    settings.upgrade.feed = FEED.to_owned();
    settings.upgrade.policy = UpgradePolicy::Auto;
    settings.upgrade.jitter_minutes = 0;
    settings.upgrade.windows = vec![window.to_owned()];
    settings.upgrade.wariness = nixctl_proto::settings::Wariness::new(0.5).unwrap();
    let (first, _) = &moments[0];
    clock.0.store(millis(first), Ordering::SeqCst);
    let mut host = fixture.host();
    host.clock = Arc::clone(&clock) as Arc<dyn Clock>;
    let engine = start_with(&fixture, &publisher, host, settings);
    // The feed that it begins with is read after a while; from now on another one is read at once.
    ask(&engine).unwrap_err();

    let mut begun = 0;
    let mut published = 0;
    for (now, seen) in moments {
        let what = format!("{window} at {now}");
        assert!(millis(now) >= clock.now(), "{what}");
        clock.0.store(millis(now), Ordering::SeqCst);
        if published == begun {
            published += 1;
            publisher.says(Ok(version(published, clock.now() / 1000)));
            follow(&engine, &format!("key-{published}"));
        }
        let offered = format!("2.40.{published}");
        match seen {
            HeldUntil(opens) => {
                until(&what, || {
                    let upgrade = engine.status().upgrade;
                    let opens = crate::payload::date::minute(millis(opens) / 1000);
                    (upgrade.available.as_str(), upgrade.hold.as_str())
                        == (offered.as_str(), "outside-window")
                        && upgrade.waits.contains(&opens)
                });
            }
            Begun => {
                until(&what, || upgrades(&engine).len() > begun);
                begun += 1;
                let id = upgrades(&engine)[0].id.clone();
                end_of(&engine, &id);
                let OperationRequest::Upgrade(request) = engine.request(&id).unwrap() else {
                    panic!("{what}: another operation");
                };
                assert_eq!(request.version, Some(offered), "{what}");
            }
        }
        assert_eq!(upgrades(&engine).len(), begun, "{what}");
    }
    stop(engine);
}

/// A feed with one release that everybody may take.
fn version(number: usize, now: u64) -> Feed {
    let mut release = release(&format!("2.40.{number}"), 1.0);
    release.rollout.start = Timestamp::new(now - 60);
    Feed {
        created: Timestamp::new(now - 60),
        expires: Timestamp::new(now + 400 * 86_400),
        ..feed(number as u64, vec![release])
    }
}

#[test]
fn a_window_is_kept_to_the_second() {
    let next = "2026-11-28T22:00+01";
    plays(
        "sat 22:00-04:00 Europe/Berlin",
        &[
            (
                "2026-11-21T21:59:59.999+01",
                HeldUntil("2026-11-21T22:00+01"),
            ),
            ("2026-11-21T22:00+01", Begun),
            ("2026-11-22T03:59:59.999+01", Begun),
            ("2026-11-22T04:00+01", HeldUntil(next)),
            ("2026-11-28T21:59:59.999+01", HeldUntil(next)),
            (next, Begun),
        ],
    );
}

/// On 2026-03-29 clocks in Berlin go from 02:00 +01 to 03:00 +02.
#[test]
fn berlin_in_spring() {
    let week = "2026-04-05T02:15+02";
    plays(
        "sun 02:15-02:45 Europe/Berlin",
        &[
            ("2026-03-29T01:59:59.999+01", HeldUntil(week)),
            ("2026-03-29T03:00+02", HeldUntil(week)),
            ("2026-04-05T02:14:59.999+02", HeldUntil(week)),
            (week, Begun),
        ],
    );
    let rest = "2026-03-29T03:00+02";
    plays(
        "sun 02:30-04:00 Europe/Berlin",
        &[
            ("2026-03-29T01:59:59.999+01", HeldUntil(rest)),
            (rest, Begun),
            ("2026-03-29T04:00+02", HeldUntil("2026-04-05T02:30+02")),
        ],
    );
}

/// On 2026-10-25 clocks in Berlin go from 03:00 +02 to 02:00 +01.
#[test]
fn berlin_in_autumn() {
    plays(
        "sun 02:15-02:45 Europe/Berlin",
        &[
            (
                "2026-10-25T02:14:59.999+02",
                HeldUntil("2026-10-25T02:15+02"),
            ),
            ("2026-10-25T02:15+02", Begun),
            ("2026-10-25T02:45+02", HeldUntil("2026-10-25T02:15+01")),
            (
                "2026-10-25T02:14:59.999+01",
                HeldUntil("2026-10-25T02:15+01"),
            ),
            ("2026-10-25T02:15+01", Begun),
            ("2026-10-25T02:45+01", HeldUntil("2026-11-01T02:15+01")),
        ],
    );
}

/// Clocks in New York go from 02:00 -05 to 03:00 -04 on 2026-03-08, and from 02:00 -04 to 01:00 -05
/// on 2026-11-01.
#[test]
fn new_york() {
    let night = "2026-03-09T02:00-04";
    plays(
        "daily 02:00-03:00 America/New_York",
        &[
            ("2026-03-08T01:59:59.999-05", HeldUntil(night)),
            ("2026-03-08T03:00-04", HeldUntil(night)),
            (night, Begun),
        ],
    );
    plays(
        "sun 00:30-01:30 America/New_York",
        &[
            ("2026-11-01T00:30-04", Begun),
            ("2026-11-01T01:30-04", HeldUntil("2026-11-01T01:00-05")),
            ("2026-11-01T01:00-05", Begun),
            ("2026-11-01T01:30-05", HeldUntil("2026-11-08T00:30-05")),
        ],
    );
}

/// Clocks on Lord Howe Island are put by half an hour: on 2026-04-05 from 02:00 +11 to 01:30 +10:30,
/// on 2026-10-04 from 02:00 +10:30 to 02:30 +11.
#[test]
fn lord_howe() {
    plays(
        "sun 01:40-01:50 Australia/Lord_Howe",
        &[
            ("2026-04-05T01:40+11", Begun),
            ("2026-04-05T01:50+11", HeldUntil("2026-04-05T01:40+10:30")),
            ("2026-04-05T01:40+10:30", Begun),
            (
                "2026-04-05T01:50+10:30",
                HeldUntil("2026-04-12T01:40+10:30"),
            ),
        ],
    );
    plays(
        "sun 02:10-03:00 Australia/Lord_Howe",
        &[
            (
                "2026-10-04T01:59:59.999+10:30",
                HeldUntil("2026-10-04T02:30+11"),
            ),
            ("2026-10-04T02:30+11", Begun),
            ("2026-10-04T03:00+11", HeldUntil("2026-10-11T02:10+11")),
        ],
    );
    let week = "2026-10-11T02:05+11";
    plays(
        "sun 02:05-02:25 Australia/Lord_Howe",
        &[
            ("2026-10-04T01:59:59.999+10:30", HeldUntil(week)),
            ("2026-10-04T02:30+11", HeldUntil(week)),
            (week, Begun),
        ],
    );
}

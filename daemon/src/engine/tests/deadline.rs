//! Deadlines of operations, which nobody moves by setting a clock.

use std::sync::atomic::AtomicU64;

use super::*;
use crate::host::Clock;
use crate::host::clock::{Moment, SystemClock};

/// A clock whose parts a test sets apart.
#[derive(Debug, Clone)]
struct TwoClocks {
    wall: Arc<AtomicU64>,
    boot: &'static str,
    passed: Arc<AtomicU64>,
}

impl TwoClocks {
    fn new(boot: &'static str, passed: u64) -> Self {
        TwoClocks {
            wall: Arc::new(AtomicU64::new(1_700_000_000_000)),
            boot,
            passed: Arc::new(AtomicU64::new(passed)),
        }
    }

    fn on(&self, fixture: &Fixture) -> Host {
        Host {
            clock: Arc::new(self.clone()),
            ..fixture.host()
        }
    }
}

impl Clock for TwoClocks {
    fn now(&self) -> u64 {
        self.wall.load(Ordering::SeqCst)
    }

    fn moment(&self) -> Moment {
        Moment {
            era: self.boot.to_owned(),
            millis: self.passed.load(Ordering::SeqCst),
        }
    }
}

fn within(seconds: u64) -> RequestOptions {
    RequestOptions {
        deadline: Some(seconds),
        ..RequestOptions::default()
    }
}

#[test]
fn setting_the_clock_forward_ends_nothing() {
    let fixture = Fixture::new();
    let clock = TwoClocks::new("a", 1000);
    let wall = Arc::clone(&clock.wall);
    let engine = fixture.engine_on(
        clock.on(&fixture),
        Plans(move |question: &Question<'_>| {
            wall.fetch_add(86_400_000, Ordering::SeqCst);
            Ok(planned(question.request.kind(), vec![file("/etc/a")]))
        }),
    );
    let id = engine.submit(install(), within(10), 0).unwrap();
    assert_eq!(end_of(&engine, &id).state, State::Succeeded);
    stop(engine);
}

/// A clock that was set back a day after the operation was asked for.
#[derive(Debug)]
struct SetBack(AtomicBool);

impl Clock for SetBack {
    fn now(&self) -> u64 {
        let first = self.0.swap(false, Ordering::SeqCst);
        SystemClock.now() - if first { 0 } else { 86_400_000 }
    }

    fn moment(&self) -> Moment {
        SystemClock.moment()
    }
}

#[test]
fn setting_the_clock_back_extends_nothing() {
    let fixture = Fixture::new();
    let host = Host {
        clock: Arc::new(SetBack(AtomicBool::new(true))),
        ..fixture.host()
    };
    let engine = fixture.engine_on(host, Plans(until_cancelled));
    let begin = Instant::now();
    let id = engine.submit(install(), within(1), 0).unwrap();
    let view = end_of(&engine, &id);
    assert_eq!(view.failure.unwrap().code, Code::Timeout);
    let took = begin.elapsed();
    assert!(took > Duration::from_millis(900), "{took:?}");
    assert!(took < Duration::from_secs(5), "{took:?}");
    stop(engine);
}

fn until_cancelled(question: &Question<'_>) -> Result<Planned, Failure> {
    while question.cancel.requested().is_none() {
        std::thread::sleep(Duration::from_millis(2));
    }
    Ok(planned(question.request.kind(), vec![file("/etc/a")]))
}

/// An operation with ten seconds is asked for at 50 s of a boot and the daemon ends at 56 s.
#[test]
fn what_was_used_up_counts_after_a_restart() {
    for (boot, passed, end) in [
        ("a", 59_000, State::Succeeded),
        // The daemon was down for the rest.
        ("a", 61_000, State::Failed),
        ("b", 3_000, State::Succeeded),
        ("b", 5_000, State::Failed),
    ] {
        let fixture = Fixture::new();
        let clock = TwoClocks::new("a", 50_000);
        let engine = fixture.engine_on(clock.on(&fixture), Plans(until_cancelled));
        let id = engine.submit(install(), within(10), 0).unwrap();
        while engine.show(&id).unwrap().state != State::Planning {
            std::thread::sleep(Duration::from_millis(2));
        }
        clock.passed.store(56_000, Ordering::SeqCst);
        stop(engine);
        drop(reopen(&fixture));
        let clock = TwoClocks::new(boot, passed);
        let engine = fixture.engine_on(clock.on(&fixture), Files(NAMES.to_vec()));
        assert_eq!(end_of(&engine, &id).state, end, "{boot} {passed}");
        stop(engine);
    }
}

#[test]
fn whoever_waits_for_a_deadline_ends_with_the_operation() {
    let fixture = Fixture::new();
    let engine = fixture.engine(Files(NAMES.to_vec()));
    let id = engine.submit(install(), within(3600), 0).unwrap();
    assert_eq!(end_of(&engine, &id).state, State::Succeeded);
    stop(engine);
    // Who holds the engine holds the database.
    drop(reopen(&fixture));
}

#[test]
fn a_deadline_ends_an_operation() {
    let fixture = Fixture::new();
    let planner = Plans(|question: &Question<'_>| {
        while question.cancel.requested() != Some(Stop::Cancelled) {
            std::thread::sleep(Duration::from_millis(2));
        }
        Ok(planned(question.request.kind(), vec![file("/etc/a")]))
    });
    let host = Host {
        clock: Arc::new(crate::host::clock::SystemClock),
        ..fixture.host()
    };
    let engine = fixture.engine_on(host, planner);
    let options = RequestOptions {
        deadline: Some(0),
        ..Default::default()
    };
    let view = end_of(&engine, &engine.submit(install(), options, 0).unwrap());
    assert_eq!(
        (view.state, view.failure.unwrap().code),
        (State::Failed, Code::Timeout)
    );
    assert!(fixture.tree().is_empty());
    stop(engine);
}

//! What clients are told: how far an operation is, and how the machine is after a start.

use std::sync::{Mutex, OnceLock};

use nixctl_proto::status::Health;
use tokio::sync::watch::Receiver;

use super::*;

type Seen = Arc<Mutex<Vec<f64>>>;

/// Reports the bytes of a download that breaks and begins anew, and notes what clients see.
struct Halting {
    view: Arc<OnceLock<Receiver<OperationView>>>,
    seen: Seen,
}

impl Worker for Halting {
    fn run(&self, _: &Task, progress: &dyn Progress, _: &Cancel) -> Result<(), PayloadError> {
        for done in [0, 40, 80, 0, 60, 100] {
            progress.bytes(done, 100);
            let shown = self.view.wait().borrow().progress;
            self.seen.lock().unwrap().push(shown);
        }
        Ok(())
    }
}

#[test]
fn progress_goes_by_bytes_and_never_back() {
    for (last, end) in [
        ("/etc/b", State::Succeeded),
        ("/missing/b", State::Reverted),
    ] {
        let fixture = Fixture::new();
        let (view, seen) = (Arc::new(OnceLock::new()), Seen::default());
        let waiting = Arc::clone(&view);
        let engine = Engine::start(EngineParts {
            host: fixture.host(),
            state_dir: fixture.state.path().join("state"),
            settings: Settings::default(),
            planner: Box::new(Plans(move |question: &Question<'_>| {
                waiting.wait();
                let steps = vec![file("/etc/a"), fetch_of(98 << 20), file(last)];
                Ok(planned(question.request.kind(), steps))
            })),
            worker: Box::new(Halting {
                view: Arc::clone(&view),
                seen: Arc::clone(&seen),
            }),
            switch: Box::new(crate::switch::carry::Machine),
            patience: Duration::ZERO,
            is_resident: false,
        })
        .unwrap();
        let id = engine.submit(install(), RequestOptions::default(), 0);
        let id = id.unwrap();
        let watched = engine.watch(&id).unwrap();
        assert!(view.set(watched.clone()).is_ok());
        let ended = end_of(&engine, &id);
        assert_eq!(ended.state, end);
        let share = if end == State::Succeeded { 1.0 } else { 0.0 };
        assert_eq!(ended.progress, share);
        assert_eq!(watched.borrow().progress, share);
        let seen = seen.lock().unwrap().clone();
        assert!(seen.is_sorted(), "{seen:?}");
        assert!((seen[1] - 0.402).abs() < 0.001, "{seen:?}");
        assert!((seen[5] - 0.99).abs() < 0.001, "{seen:?}");
        stop(engine);
    }
}

#[test]
fn a_new_daemon_knows_what_the_last_one_saw() {
    let fixture = Fixture::new();
    let engine = fixture.engine(Files(NAMES.to_vec()));
    assert!(engine.status().health_reason.contains("nothing here"));
    let id = engine.submit(install(), RequestOptions::default(), 0);
    end_of(&engine, &id.unwrap());
    // Whoever sees the end of a success knows how the machine is.
    assert!(engine.status().health_reason.contains("no Nix"));
    assert_eq!(engine.status().health, Health::Unknown);
    stop(engine);
    let store = reopen(&fixture);
    let known = crate::engine::handle::known(&store);
    let expected = "nixctl has installed no Nix here; the clock says 2023-11-14 \
                    (seen 2023-11-14 22:13 UTC)";
    assert_eq!(known, (Health::Unknown, expected.to_owned()));
}

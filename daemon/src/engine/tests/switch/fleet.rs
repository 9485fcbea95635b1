//! A switch in a fleet waits for its turn before it activates anything.

use std::sync::Mutex;

use super::*;
use crate::upgrade::turn::Ask;

/// A server that gives turns when it is told to.
#[derive(Clone, Default)]
struct Server {
    gives: Arc<AtomicBool>,
    asked: Arc<Mutex<Vec<Ask>>>,
}

impl Worker for Server {
    fn run(&self, task: &Task, _: &dyn Progress, _: &Cancel) -> Result<(), PayloadError> {
        let Task::Turn(asking) = task else {
            return Ok(());
        };
        if !self.gives.load(Ordering::SeqCst) {
            return Err(PayloadError::new(Code::Network, "the server is away"));
        }
        self.asked.lock().unwrap().push(asking.ask());
        Ok(())
    }
}

#[test]
fn nothing_is_activated_before_the_turn_has_come() {
    let fixture = Fixture::new();
    let world = World::new(fixture.root.path().to_owned());
    let id = "c988d2509fdf4cdcbed39037c56406fb\n";
    std::fs::write(fixture.root.path().join("etc/machine-id"), id).unwrap();
    let server = Server::default();
    let mut settings = Settings::default();
    settings.upgrade.fleet_lock_url = "https://lock.example".to_owned();
    let engine = Engine::start(EngineParts {
        host: world.host(),
        state_dir: fixture.state.path().join("state"),
        settings,
        planner: Box::new(Script(world.clone(), None)),
        worker: Box::new(server.clone()),
        switch: Box::new(world.clone()),
        patience: Duration::from_secs(5),
        is_resident: false,
    })
    .unwrap();
    let id = submit(&engine);
    let view = reaches(&engine, &id, State::Waiting);
    let waits = view.waiting_for.unwrap();
    assert!(waits.contains("the server is away"), "{waits}");
    let activated = || world.log().iter().any(|it| it.starts_with("activate"));
    assert!(!activated());
    server.gives.store(true, Ordering::SeqCst);
    let begin = Instant::now();
    while !engine.show(&id).unwrap().state.is_final() {
        let _ = engine.retry(&id, 0);
        assert!(begin.elapsed() < Duration::from_secs(20));
        std::thread::sleep(Duration::from_millis(20));
    }
    assert_eq!(end_of(&engine, &id).state, State::Succeeded);
    assert_eq!(world.state(), new_state());
    while *server.asked.lock().unwrap() != [Ask::Lock, Ask::Unlock] {
        assert!(begin.elapsed() < Duration::from_secs(20));
        std::thread::sleep(Duration::from_millis(20));
    }
    stop(engine);
}

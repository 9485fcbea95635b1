//! Switches: waiting, superseding, confirming, and every way of being cut off, over a machine that is
//! made of names.

use nixctl_proto::request::SwitchRequest;

use super::*;
use crate::engine::record::OperationRecord;
use crate::switch::boot::BootState;
use world::{World, lasting, passing, plan, replay, script};

mod cut;
mod fleet;
mod follow;
mod waiting;
mod world;

/// A planner that goes from wherever the machine is.
struct Script(World, Option<u64>);

impl Planner for Script {
    fn plan(&self, question: &Question<'_>) -> Result<Planned, Failure> {
        self.0.fails("plan").map_err(|failed| failed.failure)?;
        let running = self.0.state().0;
        let before = question.recorded.before.as_ref();
        self.0.things.lock().unwrap().back = before.map(|it| it.generation);
        let all = script(self.1);
        let rest = match running.as_str() {
            "old" => all,
            "hybrid-1" => all[7..].to_vec(),
            _ => Vec::new(),
        };
        let mut planned = plan(rest);
        planned.view.kind = question.request.kind();
        Ok(planned)
    }
}

fn switch() -> OperationRequest {
    OperationRequest::Switch(SwitchRequest {
        toplevel: "new".to_owned(),
        ..SwitchRequest::default()
    })
}

fn start(fixture: &Fixture, world: &World, confirm: Option<u64>) -> Engine {
    Engine::start(EngineParts {
        host: world.host(),
        state_dir: fixture.state.path().join("state"),
        settings: Settings::default(),
        planner: Box::new(Script(world.clone(), confirm)),
        worker: Box::new(Idle),
        switch: Box::new(world.clone()),
        patience: Duration::from_secs(5),
        is_resident: false,
    })
    .unwrap()
}

fn submit(engine: &Engine) -> OperationId {
    engine
        .submit(switch(), RequestOptions::default(), 0)
        .unwrap()
}

/// Waits until an operation is in a state.
fn reaches(engine: &Engine, id: &OperationId, state: State) -> OperationView {
    let begin = Instant::now();
    loop {
        let view = engine.show(id).unwrap();
        if view.state == state {
            return view;
        }
        assert!(
            begin.elapsed() < Duration::from_secs(20) && !view.state.is_final(),
            "{view:?}"
        );
        std::thread::sleep(Duration::from_millis(2));
    }
}

fn new_state() -> (String, String, Vec<String>) {
    let names = ["a2", "b2"].map(str::to_owned);
    ("new".to_owned(), "new".to_owned(), names.into())
}

fn old_state() -> (String, String, Vec<String>) {
    let names = ["a1", "b1"].map(str::to_owned);
    ("old".to_owned(), "old".to_owned(), names.into())
}

#[test]
fn a_switch_goes_step_by_step_to_its_target() {
    let fixture = Fixture::new();
    let world = World::new(fixture.root.path().to_owned());
    let engine = start(&fixture, &world, None);
    let id = submit(&engine);
    let view = end_of(&engine, &id);
    assert_eq!(view.state, State::Succeeded, "{view:?}");
    assert_eq!(world.state(), new_state());
    assert!(engine.proven().contains("new"));
    assert_eq!(engine.status().converged, 1.0);
    assert!(engine.planned(&id).unwrap().is_some());
    stop(engine);
}

#[test]
fn what_does_not_prove_itself_goes_back_to_where_it_began() {
    for at in ["prove:one", "prove:new", "activate:new", "compose:1"] {
        let fixture = Fixture::new();
        let world = World::new(fixture.root.path().to_owned());
        world.trouble(at, 1, lasting());
        let engine = start(&fixture, &world, None);
        let id = submit(&engine);
        let view = end_of(&engine, &id);
        assert_eq!(view.state, State::Reverted, "{at}: {view:?}");
        assert_eq!(view.exit(), nixctl_proto::Exit::Failed);
        assert_eq!(view.failure.unwrap().code, Code::NotHealthy);
        assert_eq!(world.state(), old_state(), "{at}");
        stop(engine);
    }
}

#[test]
fn what_was_before_is_recorded() {
    let fixture = Fixture::new();
    let world = World::new(fixture.root.path().to_owned());
    let profiles = fixture.root.path().join("nix/var/nix/profiles");
    std::fs::create_dir_all(&profiles).unwrap();
    std::os::unix::fs::symlink("old", profiles.join("system-7-link")).unwrap();
    std::os::unix::fs::symlink("system-7-link", profiles.join("system")).unwrap();
    let engine = start(&fixture, &world, None);
    let id = submit(&engine);
    assert_eq!(end_of(&engine, &id).state, State::Succeeded);
    stop(engine);
    let store = reopen(&fixture);
    let before = store.before(&id).unwrap().unwrap();
    assert_eq!((before.generation, before.path.as_str()), (7, "old"));
    assert_eq!(before.running, "old");
    let boot = store.boot("new").unwrap().unwrap();
    assert_eq!(boot.state, BootState::Awaits);
    assert_eq!(boot.before, Some((7, "old".to_owned())));
}

#[test]
fn in_the_middle_of_a_switch_the_way_back_is_to_its_beginning() {
    let fixture = Fixture::new();
    let world = World::new(fixture.root.path().to_owned());
    let profiles = fixture.root.path().join("nix/var/nix/profiles");
    std::fs::create_dir_all(&profiles).unwrap();
    std::os::unix::fs::symlink("old", profiles.join("system-7-link")).unwrap();
    std::os::unix::fs::symlink("system-7-link", profiles.join("system")).unwrap();
    world.trouble("fetch:b2", 99, passing("the cache"));
    let engine = start(&fixture, &world, None);
    let first = engine
        .submit(
            OperationRequest::Switch(SwitchRequest {
                toplevel: "new".to_owned(),
                from: Some("https://cache.example".to_owned()),
                ..SwitchRequest::default()
            }),
            RequestOptions::default(),
            0,
        )
        .unwrap();
    reaches(&engine, &first, State::Waiting);
    let recorded = engine.shared().recorded();
    let path = recorded.before.map(|it| it.path);
    assert_eq!(path.as_deref(), Some("old"), "while it waits");
    assert_eq!(recorded.from.as_deref(), Some("https://cache.example"));
    let second = submit(&engine);
    reaches(&engine, &second, State::Waiting);
    let recorded = engine.shared().recorded();
    let path = recorded.before.map(|it| it.path);
    assert_eq!(path.as_deref(), Some("old"), "superseded");
    engine.cancel(&second).unwrap();
    end_of(&engine, &second);
    let recorded = engine.shared().recorded();
    assert_eq!(recorded.before.map(|it| it.path).as_deref(), Some("old"));
    stop(engine);
}

#[test]
fn from_the_middle_of_a_switch_back_is_where_it_began() {
    let fixture = Fixture::new();
    let world = World::new(fixture.root.path().to_owned());
    let profiles = fixture.root.path().join("nix/var/nix/profiles");
    std::fs::create_dir_all(&profiles).unwrap();
    std::os::unix::fs::symlink("old", profiles.join("system-7-link")).unwrap();
    std::os::unix::fs::symlink("system-7-link", profiles.join("system")).unwrap();
    world.trouble("fetch:b2", 99, passing("needs the network"));
    let engine = start(&fixture, &world, None);
    let back = || world.things.lock().unwrap().back;
    let first = submit(&engine);
    reaches(&engine, &first, State::Waiting);
    assert_eq!(back(), None, "when it was planned");
    let second = submit(&engine);
    reaches(&engine, &second, State::Waiting);
    assert_eq!(engine.show(&first).unwrap().state, State::Cancelled);
    assert_eq!(back(), Some(7));
    engine.cancel(&second).unwrap();
    end_of(&engine, &second);
    let third = submit(&engine);
    reaches(&engine, &third, State::Waiting);
    assert_eq!(back(), Some(7), "the machine is where the first one ended");
    stop(engine);
}

//! Switches: waiting, superseding, confirming, and every way of being cut off, over a machine that is
//! made of names.

use nixctl_proto::request::SwitchRequest;

use super::*;
use crate::engine::record::OperationRecord;
use world::{World, lasting, passing, plan, replay, script};

mod cut;
mod waiting;
mod world;

/// A planner that goes from wherever the machine is.
struct Script(World, Option<u64>);

impl Planner for Script {
    fn plan(&self, question: &Question<'_>) -> Result<Planned, Failure> {
        let running = self.0.state().0;
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
    let before = reopen(&fixture).before(&id).unwrap().unwrap();
    assert_eq!((before.generation, before.path.as_str()), (7, "old"));
    assert_eq!(before.running, "old");
}

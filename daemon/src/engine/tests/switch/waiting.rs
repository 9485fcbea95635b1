//! Waiting for what may come, newer targets, and confirmations.

use super::*;

const SPACE: &str = "needs 83 MiB more on /nix";

fn machine() -> (Fixture, World) {
    let fixture = Fixture::new();
    let world = World::new(fixture.root.path().to_owned());
    (fixture, world)
}

/// An engine on a machine whose disk is full at a step, so many times.
fn lacking_space(at: &str, times: u32) -> (Fixture, World, Engine) {
    let (fixture, world) = machine();
    world.trouble(at, times, passing(SPACE));
    let engine = start(&fixture, &world, None);
    (fixture, world, engine)
}

/// Waits until something holds.
fn until(mut holds: impl FnMut() -> bool) {
    let begin = Instant::now();
    while !holds() {
        assert!(begin.elapsed() < Duration::from_secs(20));
        std::thread::sleep(Duration::from_millis(2));
    }
}

/// What was taken back.
fn undone(world: &World) -> Vec<String> {
    let log = world.log().into_iter();
    log.filter(|line| line.starts_with("undo")).collect()
}

#[test]
fn a_full_disk_is_waited_for_with_the_step_undone() {
    let (_fixture, world, engine) = lacking_space("fetch:b2", 2);
    let id = submit(&engine);
    let view = reaches(&engine, &id, State::Waiting);
    assert_eq!(view.waiting_for.as_deref(), Some(SPACE));
    assert!(
        engine
            .status()
            .convergence
            .ends_with(&format!("waiting: {SPACE}"))
    );
    until(|| {
        let retried = engine.retry(&id, 0).unwrap_or(id.clone());
        assert_eq!(retried, id);
        engine.show(&id).unwrap().state == State::Succeeded
    });
    assert_eq!(world.state(), new_state());
    assert_eq!(undone(&world), ["undo fetch:b2"; 2]);
    stop(engine);
}

#[test]
fn what_cannot_be_taken_back_yet_is_waited_for() {
    let fixture = Fixture::new();
    let world = World::new(fixture.root.path().to_owned());
    world.trouble("prove:new", 1, lasting());
    let away = "needs the network: nobody answers";
    world.trouble("undo release:a1", 2, passing(away));
    let engine = start(&fixture, &world, None);
    let id = submit(&engine);
    until(|| engine.show(&id).unwrap().waiting_for.as_deref() == Some(away));
    assert_eq!(engine.show(&id).unwrap().state, State::Reverting);
    // The next start of the daemon tries again at once.
    stop(engine);
    let engine = start(&fixture, &world, None);
    until(|| {
        // To retry what has ended would be a new operation.
        if engine.show(&id).unwrap().waiting_for.is_some() {
            let _ = engine.retry(&id, 0);
        }
        engine.show(&id).unwrap().state.is_final()
    });
    let view = engine.show(&id).unwrap();
    assert_eq!((view.state, view.waiting_for), (State::Reverted, None));
    assert_eq!(world.state(), old_state());
    stop(engine);
}

/// The machine must not be left between two generations because nobody can plan for a while.
#[test]
fn a_switch_in_the_place_of_another_is_planned_when_the_cache_answers() {
    let silent = || Failure::new(Code::CacheSilent, "cannot plan: nobody answers");
    let (_fixture, world, engine) = lacking_space("fetch:b2", 1);
    let first = submit(&engine);
    reaches(&engine, &first, State::Waiting);
    world.trouble("plan", 2, silent().into());
    let second = submit(&engine);
    let waits_for = || engine.show(&second).unwrap().waiting_for;
    until(|| waits_for().as_ref() == Some(&silent().message));
    assert_eq!(engine.show(&second).unwrap().state, State::Planning);
    until(|| {
        let _ = engine.retry(&second, 0);
        engine.show(&second).unwrap().state.is_final()
    });
    let view = engine.show(&second).unwrap();
    assert_eq!((view.state, view.waiting_for), (State::Succeeded, None));
    assert_eq!(world.state(), new_state());
    // One that takes nobody's place changes nothing by ending.
    world.trouble("plan", 1, silent().into());
    let third = submit(&engine);
    assert_eq!(end_of(&engine, &third).state, State::Failed);
    stop(engine);
}

#[test]
fn waiting_survives_the_daemon() {
    let (fixture, world, engine) = lacking_space("fetch:b2", 1);
    let id = submit(&engine);
    reaches(&engine, &id, State::Waiting);
    stop(engine);
    let engine = start(&fixture, &world, None);
    assert_eq!(end_of(&engine, &id).state, State::Succeeded);
    assert_eq!(world.state(), new_state());
    stop(engine);
}

#[test]
fn what_waits_can_be_cancelled_and_has_a_deadline() {
    for deadline in [None, Some(1)] {
        let (_fixture, world, engine) = lacking_space("fetch:b2", 99);
        let options = RequestOptions {
            deadline,
            ..RequestOptions::default()
        };
        let id = engine.submit(switch(), options, 0).unwrap();
        reaches(&engine, &id, State::Waiting);
        let (state, code) = match deadline {
            Some(_) => (State::Reverted, Code::Timeout),
            None => {
                engine.cancel(&id).unwrap();
                (State::Cancelled, Code::Cancelled)
            }
        };
        let view = end_of(&engine, &id);
        assert_eq!((view.state, view.failure.unwrap().code), (state, code));
        assert_eq!(world.state(), old_state());
        stop(engine);
    }
}

#[test]
fn a_newer_switch_goes_on_from_where_the_older_one_waits() {
    let (_fixture, world, engine) = lacking_space("fetch:b2", 1);
    let first = submit(&engine);
    reaches(&engine, &first, State::Waiting);
    let second = submit(&engine);
    assert_eq!(end_of(&engine, &second).state, State::Succeeded);
    let view = engine.show(&first).unwrap();
    assert_eq!(view.state, State::Cancelled);
    let text = format!("superseded by operation {second}");
    assert_eq!(view.failure.unwrap().message, text);
    assert_eq!(world.state(), new_state());
    assert_eq!(undone(&world), ["undo fetch:b2"], "nothing else");
    let kinds: Vec<String> = engine
        .journal(&first)
        .unwrap()
        .into_iter()
        .map(|l| l.record)
        .collect();
    assert!(kinds.contains(&"superseded".to_owned()), "{kinds:?}");
    stop(engine);
}

#[test]
fn of_the_switches_in_the_queue_only_the_newest_is_carried_out() {
    let (_fixture, world, engine) = lacking_space("fetch:a2", 1);
    let install = engine
        .submit(install(), RequestOptions::default(), 0)
        .unwrap();
    let ids: Vec<_> = (0..4).map(|_| submit(&engine)).collect();
    until(|| {
        engine.nudge();
        let _ = engine.retry(&ids[3], 0);
        engine.show(&ids[3]).unwrap().state == State::Succeeded
    });
    assert!(engine.show(&install).unwrap().state.is_final());
    for id in &ids[..3] {
        let view = engine.show(id).unwrap();
        assert_eq!(view.state, State::Cancelled, "{view:?}");
    }
    assert_eq!(world.state(), new_state());
    stop(engine);
}

#[test]
fn a_dry_run_supersedes_nothing() {
    let (_fixture, _world, engine) = lacking_space("fetch:b2", 1);
    let first = submit(&engine);
    reaches(&engine, &first, State::Waiting);
    let options = RequestOptions {
        dry_run: true,
        ..RequestOptions::default()
    };
    engine.submit(switch(), options, 0).unwrap();
    assert_eq!(end_of(&engine, &first).state, State::Succeeded);
    stop(engine);
}

#[test]
fn somebody_confirms_or_it_goes_back() {
    for confirm in [true, false] {
        let (fixture, world) = machine();
        let seconds = if confirm { 60 } else { 1 };
        let engine = start(&fixture, &world, Some(seconds));
        let id = submit(&engine);
        let begin = Instant::now();
        let asked = loop {
            let view = engine.show(&id).unwrap();
            let asks = view.waiting_for.unwrap_or_default();
            if asks.contains("confirm") {
                assert_eq!(view.state, State::Soaking);
                break engine.confirm(&OperationId::from_parts(1, 1));
            }
            assert!(begin.elapsed() < Duration::from_secs(20));
            std::thread::sleep(Duration::from_millis(2));
        };
        assert_eq!(asked.unwrap_err().code, Code::NotFound);
        if confirm {
            engine.confirm(&id).unwrap();
        }
        let view = end_of(&engine, &id);
        if confirm {
            assert_eq!(view.state, State::Succeeded, "{view:?}");
            assert_eq!(world.state(), new_state());
        } else {
            assert_eq!(view.state, State::Reverted, "{view:?}");
            assert_eq!(view.failure.unwrap().code, Code::NotConfirmed);
            assert_eq!(world.state(), old_state());
        }
        assert_eq!(engine.confirm(&id).unwrap_err().code, Code::NotConfirmable);
        stop(engine);
    }
}

#[test]
fn a_restart_of_the_machine_while_it_waits_to_be_confirmed_goes_back() {
    for reboots in [false, true] {
        let (fixture, world) = machine();
        let engine = start(&fixture, &world, Some(60));
        let id = submit(&engine);
        until(|| engine.show(&id).unwrap().step == 11);
        reaches(&engine, &id, State::Soaking);
        stop(engine);
        if reboots {
            world.reboot();
        }
        let engine = start(&fixture, &world, Some(60));
        if reboots {
            let view = end_of(&engine, &id);
            assert_eq!(view.state, State::Reverted, "{view:?}");
            assert_eq!(world.state(), old_state());
        } else {
            until(|| engine.confirm(&id).is_ok());
            assert_eq!(end_of(&engine, &id).state, State::Succeeded);
        }
        stop(engine);
    }
}

#[test]
fn a_newer_switch_does_not_wait_for_a_confirmation() {
    let (fixture, world) = machine();
    let engine = start(&fixture, &world, Some(600));
    let first = submit(&engine);
    reaches(&engine, &first, State::Soaking);
    until(|| engine.show(&first).unwrap().step == 11);
    let options = RequestOptions::default();
    let second = engine.submit(switch(), options, 0).unwrap();
    until(|| engine.show(&first).unwrap().state.is_final());
    assert_eq!(engine.show(&first).unwrap().state, State::Cancelled);
    until(|| engine.confirm(&second).is_ok());
    assert_eq!(end_of(&engine, &second).state, State::Succeeded);
    let undone = undone(&world);
    assert!(
        undone.contains(&"undo activate:new".to_owned()),
        "{undone:?}"
    );
    assert!(
        !undone.contains(&"undo default:hybrid-1".to_owned()),
        "{undone:?}"
    );
    stop(engine);
}

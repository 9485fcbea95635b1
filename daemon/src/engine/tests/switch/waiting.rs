//! Waiting for what may come, newer targets, and confirmations.

use super::*;

const SPACE: &str = "needs 83 MiB more on /nix";

#[test]
fn a_full_disk_is_waited_for_with_the_step_undone() {
    let fixture = Fixture::new();
    let world = World::new(fixture.root.path().to_owned());
    world.trouble("fetch:b2", 2, passing(SPACE));
    let engine = start(&fixture, &world, None);
    let id = submit(&engine);
    let view = reaches(&engine, &id, State::Waiting);
    assert_eq!(view.waiting_for.as_deref(), Some(SPACE));
    assert!(
        engine
            .status()
            .convergence
            .ends_with(&format!("waiting: {SPACE}"))
    );
    let begin = Instant::now();
    while engine.show(&id).unwrap().state != State::Succeeded {
        assert_eq!(
            engine
                .retry(&id, 0)
                .map_err(|it| it.code)
                .unwrap_or(id.clone()),
            id
        );
        assert!(begin.elapsed() < Duration::from_secs(20));
        std::thread::sleep(Duration::from_millis(5));
    }
    assert_eq!(world.state(), new_state());
    let undone = world
        .log()
        .into_iter()
        .filter(|line| line.starts_with("undo"));
    assert_eq!(undone.collect::<Vec<_>>(), ["undo fetch:b2"; 2]);
    stop(engine);
}

#[test]
fn waiting_survives_the_daemon() {
    let fixture = Fixture::new();
    let world = World::new(fixture.root.path().to_owned());
    world.trouble("fetch:b2", 1, passing(SPACE));
    let engine = start(&fixture, &world, None);
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
        let fixture = Fixture::new();
        let world = World::new(fixture.root.path().to_owned());
        world.trouble("fetch:b2", 99, passing(SPACE));
        let engine = start(&fixture, &world, None);
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
    let fixture = Fixture::new();
    let world = World::new(fixture.root.path().to_owned());
    world.trouble("fetch:b2", 1, passing(SPACE));
    let engine = start(&fixture, &world, None);
    let first = submit(&engine);
    reaches(&engine, &first, State::Waiting);
    let second = submit(&engine);
    assert_eq!(end_of(&engine, &second).state, State::Succeeded);
    let view = engine.show(&first).unwrap();
    assert_eq!(view.state, State::Cancelled);
    let text = format!("superseded by operation {second}");
    assert_eq!(view.failure.unwrap().message, text);
    assert_eq!(world.state(), new_state());
    let back = world
        .log()
        .into_iter()
        .filter(|line| line.starts_with("undo"));
    assert_eq!(back.collect::<Vec<_>>(), ["undo fetch:b2"], "nothing else");
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
    let fixture = Fixture::new();
    let world = World::new(fixture.root.path().to_owned());
    world.trouble("fetch:a2", 1, passing(SPACE));
    let engine = start(&fixture, &world, None);
    let install = engine
        .submit(install(), RequestOptions::default(), 0)
        .unwrap();
    let ids: Vec<_> = (0..4).map(|_| submit(&engine)).collect();
    let begin = Instant::now();
    while engine.show(&ids[3]).unwrap().state != State::Succeeded {
        engine.nudge();
        let _ = engine.retry(&ids[3], 0);
        assert!(begin.elapsed() < Duration::from_secs(20));
        std::thread::sleep(Duration::from_millis(5));
    }
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
    let fixture = Fixture::new();
    let world = World::new(fixture.root.path().to_owned());
    world.trouble("fetch:b2", 1, passing(SPACE));
    let engine = start(&fixture, &world, None);
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
        let fixture = Fixture::new();
        let world = World::new(fixture.root.path().to_owned());
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
        let fixture = Fixture::new();
        let world = World::new(fixture.root.path().to_owned());
        let engine = start(&fixture, &world, Some(60));
        let id = submit(&engine);
        while engine.show(&id).unwrap().step != 11 {
            std::thread::sleep(Duration::from_millis(2));
        }
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
            while engine.confirm(&id).is_err() {
                std::thread::sleep(Duration::from_millis(2));
            }
            assert_eq!(end_of(&engine, &id).state, State::Succeeded);
        }
        stop(engine);
    }
}

#[test]
fn a_newer_switch_does_not_wait_for_a_confirmation() {
    let fixture = Fixture::new();
    let world = World::new(fixture.root.path().to_owned());
    let engine = start(&fixture, &world, Some(600));
    let first = submit(&engine);
    reaches(&engine, &first, State::Soaking);
    while engine.show(&first).unwrap().step != 11 {
        std::thread::sleep(Duration::from_millis(2));
    }
    let options = RequestOptions::default();
    let second = engine.submit(switch(), options, 0).unwrap();
    let begin = Instant::now();
    while !engine.show(&first).unwrap().state.is_final() {
        assert!(begin.elapsed() < Duration::from_secs(20));
        std::thread::sleep(Duration::from_millis(2));
    }
    assert_eq!(engine.show(&first).unwrap().state, State::Cancelled);
    while engine.confirm(&second).is_err() {
        assert!(begin.elapsed() < Duration::from_secs(20));
        std::thread::sleep(Duration::from_millis(2));
    }
    assert_eq!(end_of(&engine, &second).state, State::Succeeded);
    let undone: Vec<String> = world
        .log()
        .into_iter()
        .filter(|line| line.starts_with("undo"))
        .collect();
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

//! Requests: their ids, the queue, and stops before anything was done.

use nixctl_proto::request::SwitchRequest;

use super::*;

#[test]
fn a_request_id_names_one_request_for_ever() {
    let fixture = Fixture::new();
    let engine = fixture.engine(Files(NAMES.to_vec()));
    let options = RequestOptions {
        request_id: Some("x".to_owned()),
        ..Default::default()
    };
    let id = engine.submit(install(), options.clone(), 0).unwrap();
    assert_eq!(engine.submit(install(), options.clone(), 0).unwrap(), id);
    let other = OperationRequest::Uninstall(UninstallRequest::default());
    assert_eq!(
        engine.submit(other, options.clone(), 0).unwrap_err().code,
        Code::Conflict
    );
    end_of(&engine, &id);
    stop(engine);
}

#[test]
fn a_machine_that_moved_on_is_refused() {
    let fixture = Fixture::new();
    let engine = fixture.engine(Files(NAMES.to_vec()));
    let options = RequestOptions {
        expected_current: Some("9.9".to_owned()),
        ..Default::default()
    };
    assert_eq!(
        engine.submit(install(), options, 0).unwrap_err().code,
        Code::Moved
    );
    stop(engine);
}

#[test]
fn a_switch_expects_the_generation_that_its_plan_was_made_from() {
    let fixture = Fixture::new();
    let engine = fixture.engine(Files(NAMES.to_vec()));
    let root = fixture.root.path();
    std::fs::create_dir_all(root.join("run")).unwrap();
    std::fs::create_dir_all(root.join("nix/store/a")).unwrap();
    std::os::unix::fs::symlink("/nix/store/a", root.join("run/current-system")).unwrap();
    let switch = |expected: &str| {
        let request = OperationRequest::Switch(SwitchRequest::default());
        let options = RequestOptions {
            expected_current: Some(expected.to_owned()),
            ..Default::default()
        };
        engine.submit(request, options, 0)
    };
    for expected in ["", "2.26.3", "/nix/store/b"] {
        assert_eq!(
            switch(expected).unwrap_err().code,
            Code::Moved,
            "{expected}"
        );
    }
    let id = switch("/nix/store/a").unwrap();
    end_of(&engine, &id);
    stop(engine);
}

#[test]
fn operations_queue_and_a_queued_one_is_cancelled_at_once() {
    let fixture = Fixture::new();
    let go = Arc::new(AtomicBool::new(false));
    let gate = Arc::clone(&go);
    let engine = fixture.engine(Plans(move |question: &Question<'_>| {
        while !gate.load(Ordering::SeqCst) && question.cancel.requested().is_none() {
            std::thread::sleep(Duration::from_millis(2));
        }
        Ok(planned(question.request.kind(), vec![file("/etc/a")]))
    }));
    let first = engine
        .submit(install(), RequestOptions::default(), 0)
        .unwrap();
    let second = engine
        .submit(install(), RequestOptions::default(), 0)
        .unwrap();
    assert!(first < second);
    assert_eq!(engine.show(&second).unwrap().state, State::Queued);
    engine.cancel(&second).unwrap();
    assert_eq!(engine.show(&second).unwrap().state, State::Cancelled);
    assert_eq!(
        engine.cancel(&second).unwrap_err().code,
        Code::NotCancellable
    );
    go.store(true, Ordering::SeqCst);
    assert_eq!(end_of(&engine, &first).state, State::Succeeded);
    stop(engine);
}

#[test]
fn cancelling_while_planning_changes_nothing() {
    let fixture = Fixture::new();
    let engine = fixture.engine(Plans(|question: &Question<'_>| {
        while question.cancel.requested().is_none() {
            std::thread::sleep(Duration::from_millis(2));
        }
        Ok(planned(question.request.kind(), vec![file("/etc/a")]))
    }));
    let id = engine
        .submit(install(), RequestOptions::default(), 0)
        .unwrap();
    while engine.show(&id).unwrap().state != State::Planning {
        std::thread::sleep(Duration::from_millis(2));
    }
    engine.cancel(&id).unwrap();
    assert_eq!(end_of(&engine, &id).state, State::Cancelled);
    assert!(fixture.tree().is_empty());
    stop(engine);
}

#[test]
fn a_request_id_is_its_users_own() {
    let fixture = Fixture::new();
    let engine = fixture.engine(Files(NAMES.to_vec()));
    let options = RequestOptions {
        request_id: Some("1/x".to_owned()),
        ..Default::default()
    };
    let first = engine.submit(install(), options.clone(), 1).unwrap();
    let other = OperationRequest::Uninstall(UninstallRequest::default());
    let second = engine.submit(other.clone(), options.clone(), 2).unwrap();
    assert_ne!(first, second);
    assert_eq!(engine.submit(install(), options.clone(), 1), Ok(first));
    assert_eq!(engine.submit(other, options, 2), Ok(second.clone()));
    end_of(&engine, &second);
    stop(engine);
}

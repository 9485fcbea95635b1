//! What becomes of an operation: its end, its failure, who watches it.

use super::*;

#[test]
fn installs_owns_and_takes_off() {
    let fixture = Fixture::new();
    std::fs::write(fixture.root.path().join("etc/b"), "mine").unwrap();
    let before = fixture.tree();
    let engine = fixture.engine(Files(NAMES.to_vec()));
    let view = end_of(
        &engine,
        &engine
            .submit(install(), RequestOptions::default(), 0)
            .unwrap(),
    );
    assert_eq!(view.state, State::Succeeded, "{view:?}");
    assert_eq!((view.step, view.steps), (3, 3));
    assert_eq!(fixture.tree().len(), 3);
    let off = OperationRequest::Uninstall(UninstallRequest::default());
    let view = end_of(
        &engine,
        &engine
            .submit(off.clone(), RequestOptions::default(), 0)
            .unwrap(),
    );
    assert_eq!(view.state, State::Succeeded, "{view:?}");
    assert_eq!(fixture.tree(), before);
    let view = end_of(
        &engine,
        &engine.submit(off, RequestOptions::default(), 0).unwrap(),
    );
    assert_eq!(view.notes, ["nothing to do"]);
    stop(engine);
}

#[test]
fn a_step_that_fails_undoes_all() {
    let fixture = Fixture::new();
    let engine = fixture.engine(Files(vec!["/etc/a", "/etc/b", "/missing/c"]));
    let view = end_of(
        &engine,
        &engine
            .submit(install(), RequestOptions::default(), 0)
            .unwrap(),
    );
    assert_eq!(view.state, State::Reverted);
    assert_eq!(view.failure.unwrap().code, Code::FileFailed);
    assert!(fixture.tree().is_empty());
    stop(engine);
}

#[test]
fn a_panic_costs_the_operation_and_not_the_daemon() {
    let fixture = Fixture::new();
    let engine = fixture.engine(Plans(|question: &Question<'_>| match question.request {
        OperationRequest::Install(_) => panic!("boom"),
        _ => Ok(planned(question.request.kind(), vec![file("/etc/a")])),
    }));
    let id = engine
        .submit(install(), RequestOptions::default(), 0)
        .unwrap();
    let view = end_of(&engine, &id);
    assert_eq!(
        (view.state, view.failure.unwrap().code),
        (State::Failed, Code::Internal)
    );
    let next = OperationRequest::SelfUninstall;
    let id = engine.submit(next, RequestOptions::default(), 0).unwrap();
    assert_eq!(end_of(&engine, &id).state, State::Succeeded);
    stop(engine);
}

#[test]
fn a_failed_operation_can_be_retried_and_a_good_one_not() {
    let fixture = Fixture::new();
    let engine = fixture.engine(Files(vec!["/later/a"]));
    let id = engine
        .submit(install(), RequestOptions::default(), 0)
        .unwrap();
    assert_eq!(end_of(&engine, &id).state, State::Reverted);
    std::fs::create_dir(fixture.root.path().join("later")).unwrap();
    let again = engine.retry(&id, 0).unwrap();
    assert_ne!(again, id);
    assert_eq!(end_of(&engine, &again).state, State::Succeeded);
    assert_eq!(
        engine.retry(&again, 0).unwrap_err().code,
        Code::NotRetryable
    );
    stop(engine);
}

#[test]
fn twenty_watchers_see_the_end() {
    let fixture = Fixture::new();
    let engine = fixture.engine(Files(NAMES.to_vec()));
    let id = engine
        .submit(install(), RequestOptions::default(), 0)
        .unwrap();
    let watchers: Vec<_> = (0..20).map(|_| engine.watch(&id).unwrap()).collect();
    end_of(&engine, &id);
    for watcher in watchers {
        assert_eq!(watcher.borrow().state, State::Succeeded);
    }
    assert_eq!(engine.watch(&id).unwrap().borrow().state, State::Succeeded);
    stop(engine);
}

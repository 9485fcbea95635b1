//! The engine over a real database and a real folder, with planners made for the case.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use nixctl_proto::plan::{Plan, PlanAction};
use nixctl_proto::request::{InstallRequest, OperationRequest, RequestOptions, UninstallRequest};
use nixctl_proto::settings::Settings;
use nixctl_proto::{Code, Failure, OperationId, OperationState as State, OperationView};

use super::record::{Entry, Record};
use super::step::{PlannedStep, Step};
use super::store::{Change as Batch, Store};
use super::{Engine, EngineParts, Planner, Question};
use crate::catalogue::Planned;
use crate::host::cancel::Stop;
use crate::host::fake;
use crate::host::{Cancel, Host};
use crate::payload::PayloadError;
use crate::payload::worker::{Task, Worker};
use crate::resource::{Progress, Resource, file::File};

/// Makes the files named, or takes off what is owned.
pub(super) struct Files(pub Vec<&'static str>);

pub(super) fn file(name: &str) -> Step {
    Step::Ensure(Resource::File(File {
        path: PathBuf::from(name),
        content: format!("content of {name}\n"),
        mode: 0o644,
        uid: nix::unistd::getuid().as_raw(),
        gid: nix::unistd::getgid().as_raw(),
        replace: true,
    }))
}

pub(super) fn planned(kind: nixctl_proto::OperationKind, steps: Vec<Step>) -> Planned {
    let view = Plan {
        kind,
        title: "test".to_owned(),
        steps: steps
            .iter()
            .map(|step| nixctl_proto::plan::PlanStep {
                id: step.describe().id,
                action: PlanAction::Create,
                summary: step.describe().summary,
                details: Vec::new(),
            })
            .collect(),
        checks: Vec::new(),
        bytes_needed: 0,
        inodes_needed: 0,
        notes: Vec::new(),
    };
    let steps = steps
        .into_iter()
        .map(|step| PlannedStep {
            step,
            action: PlanAction::Create,
        })
        .collect();
    Planned { steps, view }
}

impl Planner for Files {
    fn plan(&self, question: &Question<'_>) -> Result<Planned, Failure> {
        let steps = match question.request {
            OperationRequest::Uninstall(_) => question
                .owned
                .iter()
                .rev()
                .map(|owned| Step::Remove(owned.resource.clone(), owned.undo.clone()))
                .collect(),
            _ => self.0.iter().map(|name| file(name)).collect(),
        };
        Ok(planned(question.request.kind(), steps))
    }
}

/// A planner that is a function.
pub(super) struct Plans<F>(pub F);

impl<F: Fn(&Question<'_>) -> Result<Planned, Failure> + Send + Sync> Planner for Plans<F> {
    fn plan(&self, question: &Question<'_>) -> Result<Planned, Failure> {
        (self.0)(question)
    }
}

/// Does nothing, at once.
struct Idle;

impl Worker for Idle {
    fn run(&self, _: &Task, _: &dyn Progress, _: &Cancel) -> Result<(), PayloadError> {
        Ok(())
    }
}

pub(super) struct Fixture {
    pub root: tempfile::TempDir,
    pub state: tempfile::TempDir,
}

impl Fixture {
    pub fn new() -> Self {
        let fixture = Fixture {
            root: tempfile::tempdir().unwrap(),
            state: tempfile::tempdir().unwrap(),
        };
        std::fs::create_dir(fixture.root.path().join("etc")).unwrap();
        fixture
    }

    pub fn host(&self) -> Host {
        fake::host(self.root.path()).0
    }

    pub fn engine(&self, planner: impl Planner + 'static) -> Engine {
        self.engine_on(self.host(), planner)
    }

    pub fn engine_on(&self, host: Host, planner: impl Planner + 'static) -> Engine {
        Engine::start(EngineParts {
            host,
            state_dir: self.state.path().join("state"),
            settings: Settings::default(),
            planner: Box::new(planner),
            worker: Box::new(Idle),
            patience: Duration::from_millis(200),
        })
        .unwrap()
    }

    pub fn tree(&self) -> Vec<(String, Vec<u8>)> {
        let mut tree: Vec<_> = std::fs::read_dir(self.root.path().join("etc"))
            .unwrap()
            .map(|entry| entry.unwrap())
            .map(|entry| {
                let name = entry.file_name().into_string().unwrap();
                (name, std::fs::read(entry.path()).unwrap())
            })
            .collect();
        tree.sort();
        tree
    }
}

pub(super) fn install() -> OperationRequest {
    OperationRequest::Install(InstallRequest::default())
}

pub(super) fn end_of(engine: &Engine, id: &OperationId) -> OperationView {
    let begin = Instant::now();
    loop {
        let view = engine.show(id).unwrap();
        if view.state.is_final() && engine.is_idle() {
            return view;
        }
        assert!(
            begin.elapsed() < Duration::from_secs(20),
            "still {}",
            view.state
        );
        std::thread::sleep(Duration::from_millis(5));
    }
}

pub(super) fn stop(engine: Engine) {
    assert!(engine.shutdown(Duration::from_secs(10)));
}

/// Opens the database once the thread of a stopped engine has let go of it.
pub(super) fn reopen(fixture: &Fixture) -> Store {
    let begin = Instant::now();
    loop {
        match Store::open(&fixture.state.path().join("state")) {
            Ok(store) => return store,
            Err(error) => assert!(begin.elapsed() < Duration::from_secs(5), "{error}"),
        }
        std::thread::sleep(Duration::from_millis(2));
    }
}

const NAMES: [&str; 3] = ["/etc/a", "/etc/b", "/etc/c"];

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

/// For every record of a whole run: the daemon died right after it, before or after the effect
/// that follows it, and the next start comes to the same end.
#[test]
fn a_cut_after_every_record_comes_to_the_same_end() {
    let fixture = Fixture::new();
    let engine = fixture.engine(Files(NAMES.to_vec()));
    let id = engine
        .submit(install(), RequestOptions::default(), 0)
        .unwrap();
    end_of(&engine, &id);
    let after = fixture.tree();
    stop(engine);
    let store = reopen(&fixture);
    let record = store.operation(&id).unwrap().unwrap();
    let entries = store.journal(&id);
    let steps = store.steps(&id, record.steps).unwrap();
    drop(store);
    for cut in 1..entries.len() {
        for effect in [false, true] {
            let other = Fixture::new();
            rebuild(&other, &record, &entries[..cut], &steps, effect);
            let engine = other.engine(Files(NAMES.to_vec()));
            let view = end_of(&engine, &id);
            assert_eq!(view.state, State::Succeeded, "cut after record {cut}");
            assert_eq!(other.tree(), after, "cut after record {cut}");
            stop(engine);
        }
    }
}

/// Writes database and files as a daemon leaves them that dies after the last of `entries`.
fn rebuild(
    fixture: &Fixture,
    whole: &super::record::OperationRecord,
    entries: &[Entry],
    steps: &[PlannedStep],
    effect: bool,
) {
    let store = Store::open(&fixture.state.path().join("state")).unwrap();
    let mut record = whole.clone();
    record.finished = None;
    record.steps = 0;
    record.next_sequence = entries.len() as u32;
    let mut change = Batch::default();
    for (entry, sequence) in entries.iter().zip(0..) {
        change.entry(&record.id, sequence, entry).unwrap();
        match &entry.record {
            Record::Planned { .. } => {
                record.steps = steps.len() as u32;
                record.state = State::Running;
            }
            Record::State { state } => record.state = *state,
            Record::Done { step } => write(fixture, &steps[*step as usize].step),
            Record::Started { step, .. } if effect => write(fixture, &steps[*step as usize].step),
            _ => {}
        }
    }
    for (step, index) in steps.iter().zip(0..) {
        change.step(&record.id, index, step).unwrap();
    }
    change.operation(&record).unwrap();
    store.commit(change).unwrap();
}

fn write(fixture: &Fixture, step: &Step) {
    if let Step::Ensure(Resource::File(file)) = step {
        let path = fixture
            .root
            .path()
            .join(file.path.strip_prefix("/").unwrap());
        std::fs::write(path, &file.content).unwrap();
    }
}

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
    assert_eq!(
        engine.submit(install(), options, 1).unwrap_err().code,
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
fn a_damaged_database_is_set_aside_and_said() {
    let fixture = Fixture::new();
    let state = fixture.state.path().join("state");
    stop(fixture.engine(Files(NAMES.to_vec())));
    let mut bytes = std::fs::read(state.join("db/conf")).unwrap();
    bytes.iter_mut().for_each(|byte| *byte ^= 0xff);
    std::fs::write(state.join("db/conf"), bytes).unwrap();
    let engine = fixture.engine(Files(NAMES.to_vec()));
    let aside = std::fs::read_dir(&state).unwrap().flatten();
    let aside: Vec<_> = aside
        .filter(|e| e.file_name().to_string_lossy().starts_with("db.damaged-"))
        .collect();
    assert_eq!(aside.len(), 1);
    stop(engine);
}

#[test]
fn two_daemons_do_not_share_a_database() {
    let fixture = Fixture::new();
    let engine = fixture.engine(Files(NAMES.to_vec()));
    let second = Engine::start(EngineParts {
        host: fixture.host(),
        state_dir: fixture.state.path().join("state"),
        settings: Settings::default(),
        planner: Box::new(Files(NAMES.to_vec())),
        worker: Box::new(Idle),
        patience: Duration::ZERO,
    });
    assert_eq!(second.unwrap_err().code, Code::Busy);
    stop(engine);
}

#[test]
fn shutting_down_pauses_and_the_next_start_goes_on() {
    let fixture = Fixture::new();
    let slow = |question: &Question<'_>| {
        while question.cancel.requested() != Some(Stop::Shutdown) {
            std::thread::sleep(Duration::from_millis(2));
        }
        Ok(planned(question.request.kind(), vec![file("/etc/a")]))
    };
    let engine = fixture.engine(Plans(slow));
    let id = engine
        .submit(install(), RequestOptions::default(), 0)
        .unwrap();
    while engine.show(&id).unwrap().state != State::Planning {
        std::thread::sleep(Duration::from_millis(2));
    }
    stop(engine);
    assert!(fixture.tree().is_empty());
    let engine = fixture.engine(Files(NAMES.to_vec()));
    assert_eq!(end_of(&engine, &id).state, State::Succeeded);
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

/// An operation of schema 1 as the first nixctld wrote it: version byte, bincode, CRC-32.
const OPERATION_V1: &[u8] = include_bytes!("fixtures/operation-v1.bin");

#[test]
fn schema_1_is_migrated() {
    let fixture = Fixture::new();
    let state = fixture.state.path().join("state");
    std::fs::create_dir(&state).unwrap();
    let id = OperationId::from_parts(1_700_000_000_000, 7);
    let db = sled::open(state.join("db")).unwrap();
    db.insert(format!("o/{id}"), OPERATION_V1).unwrap();
    db.flush().unwrap();
    drop(db);
    let store = Store::open(&state).unwrap();
    let record = store.operation(&id).unwrap().unwrap();
    assert_eq!(record.state, State::Succeeded);
    assert_eq!(record.requested_by, 1000);
    assert!(record.notes.is_empty());
    drop(store);
    assert!(
        Store::open(Path::new(&state))
            .unwrap()
            .operation(&id)
            .unwrap()
            .is_some()
    );
}

#[test]
fn a_state_that_the_system_refuses_is_not_damaged() {
    let fixture = Fixture::new();
    let state = fixture.state.path().join("state");
    stop(fixture.engine(Files(NAMES.to_vec())));
    drop(reopen(&fixture));
    // A folder in the place of a file: EISDIR for everybody, root too.
    std::fs::rename(state.join("db/conf"), state.join("conf")).unwrap();
    std::fs::create_dir(state.join("db/conf")).unwrap();
    let failure = Engine::start(EngineParts {
        host: fixture.host(),
        state_dir: state.clone(),
        settings: Settings::default(),
        planner: Box::new(Files(NAMES.to_vec())),
        worker: Box::new(Idle),
        patience: Duration::ZERO,
    })
    .unwrap_err();
    assert_eq!(failure.code, Code::StateDamaged);
    let aside = std::fs::read_dir(&state).unwrap().flatten();
    let aside = aside.filter(|e| e.file_name().to_string_lossy().contains("damaged"));
    assert_eq!(aside.count(), 0);
}

#[test]
fn a_large_value_is_synced_with_the_rest() {
    let fixture = Fixture::new();
    let store = Store::open(&fixture.state.path().join("state")).unwrap();
    let id = OperationId::from_parts(1, 1);
    let kept = "x".repeat(3 << 20);
    let entry = Entry {
        time: 0,
        record: Record::Undone {
            step: 0,
            kept: Some(kept),
        },
    };
    let mut change = Batch::default();
    change.entry(&id, 0, &entry).unwrap();
    store.commit(change).unwrap();
    let blobs = fixture.state.path().join("state/db/blobs");
    assert_ne!(std::fs::read_dir(&blobs).unwrap().count(), 0);
    assert!(store.has_synced_all_of(&blobs));
    assert_eq!(store.journal(&id), [entry]);
}

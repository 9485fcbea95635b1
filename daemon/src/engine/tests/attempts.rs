//! How often an operation is begun again: crashes count, being asked to go down does not.

use super::*;
use crate::engine::record::OperationRecord;
use crate::resource::Undo;

/// Leaves the database of a daemon that died, having written these records.
fn died(fixture: &Fixture, records: &[Record]) -> OperationId {
    let id = OperationId::from_parts(1_700_000_000_000, 1);
    let steps = vec![file("/etc/a")];
    let mut record = OperationRecord {
        id: id.clone(),
        request: install(),
        options: RequestOptions::default(),
        requested_by: 0,
        created: 1_700_000_000_000,
        finished: None,
        state: State::Queued,
        failure: None,
        kept: Vec::new(),
        notes: Vec::new(),
        next_sequence: records.len() as u32,
        steps: 0,
        spent: 0,
        counted: None,
    };
    let store = Store::open(&fixture.state.path().join("state")).unwrap();
    let mut change = Batch::default();
    for (at, it) in records.iter().enumerate() {
        match it {
            Record::State { state } => record.state = *state,
            Record::Planned { .. } => record.steps = 1,
            _ => {}
        }
        let entry = Entry {
            time: 0,
            record: it.clone(),
        };
        change.entry(&id, at as u32, &entry).unwrap();
    }
    for (at, step) in planned(install().kind(), steps).steps.iter().enumerate() {
        change.step(&id, at as u32, step).unwrap();
    }
    change.operation(&record).unwrap();
    store.commit(change).unwrap();
    id
}

fn state(state: State) -> Record {
    Record::State { state }
}

fn started(attempt: u32) -> Record {
    let undo = Undo::Created;
    Record::Started {
        step: 0,
        attempt,
        undo,
    }
}

/// The journal of an operation in its first step, begun for the `attempt`th time.
fn in_step(attempt: u32) -> Vec<Record> {
    let title = String::new();
    let mut records = vec![
        state(State::Queued),
        state(State::Planning),
        Record::Planned { title },
        state(State::Running),
    ];
    records.extend((1..=attempt).map(started));
    records
}

#[test]
fn a_step_that_kills_the_daemon_each_time_is_given_up() {
    for (attempts, end) in [(4, State::Succeeded), (5, State::Reverted)] {
        let fixture = Fixture::new();
        let id = died(&fixture, &in_step(attempts));
        let engine = fixture.engine(Files(vec!["/etc/a"]));
        assert_eq!(end_of(&engine, &id).state, end, "{attempts} attempts");
        stop(engine);
    }
}

/// A step that stands still until it is told to stop, and then ends as if it had been stopped.
fn standing(fixture: &Fixture, reached: &Arc<AtomicBool>) -> Engine {
    let reached = Arc::clone(reached);
    let worker = Standing(reached);
    Engine::start(EngineParts {
        host: fixture.host(),
        state_dir: fixture.state.path().join("state"),
        settings: Settings::default(),
        planner: Box::new(Plans(|question: &Question<'_>| {
            Ok(planned(question.request.kind(), vec![fetch_of(9_000_000)]))
        })),
        worker: Box::new(worker),
        switch: Box::new(crate::switch::carry::Machine),
        patience: Duration::from_secs(5),
        is_resident: false,
    })
    .unwrap()
}

struct Standing(Arc<AtomicBool>);

impl Worker for Standing {
    fn run(&self, _: &Task, _: &dyn Progress, cancel: &Cancel) -> Result<(), PayloadError> {
        self.0.store(true, Ordering::SeqCst);
        while cancel.requested().is_none() {
            std::thread::sleep(Duration::from_millis(2));
        }
        Err(PayloadError::Stopped)
    }
}

fn wait_for(what: &AtomicBool) {
    let begin = Instant::now();
    while !what.swap(false, Ordering::SeqCst) {
        assert!(begin.elapsed() < Duration::from_secs(20));
        std::thread::sleep(Duration::from_millis(2));
    }
}

#[test]
fn a_step_may_be_handed_over_as_often_as_one_likes() {
    let fixture = Fixture::new();
    let reached = Arc::new(AtomicBool::new(false));
    let engine = standing(&fixture, &reached);
    let id = engine
        .submit(install(), RequestOptions::default(), 0)
        .unwrap();
    wait_for(&reached);
    stop(engine);
    for _ in 0..7 {
        let engine = standing(&fixture, &reached);
        wait_for(&reached);
        assert_eq!(engine.show(&id).unwrap().state, State::Running);
        stop(engine);
    }
    let engine = fixture.engine(Files(Vec::new()));
    assert_eq!(end_of(&engine, &id).state, State::Succeeded);
    stop(engine);
}

#[test]
fn planning_that_kills_the_daemon_each_time_is_given_up() {
    let fixture = Fixture::new();
    let id = died(&fixture, &[state(State::Queued), state(State::Planning)]);
    for _ in 0..4 {
        let begun = Arc::new(AtomicBool::new(false));
        let (planner, copy) = (Arc::clone(&begun), tempfile::tempdir().unwrap());
        let engine = fixture.engine(Plans(move |question: &Question<'_>| {
            planner.store(true, Ordering::SeqCst);
            while question.cancel.requested().is_none() {
                std::thread::sleep(Duration::from_millis(2));
            }
            Ok(planned(question.request.kind(), vec![file("/etc/a")]))
        }));
        wait_for(&begun);
        // What is on the disk now is what a killed daemon leaves.
        let state = fixture.state.path().join("state");
        copy_of(&state, copy.path());
        stop(engine);
        drop(reopen(&fixture));
        std::fs::remove_dir_all(&state).unwrap();
        copy_of(copy.path(), &state);
    }
    let engine = fixture.engine(Files(vec!["/etc/a"]));
    let view = end_of(&engine, &id);
    assert_eq!(view.state, State::Failed, "{view:?}");
    assert_eq!(view.failure.unwrap().code, Code::Internal);
    assert!(fixture.tree().is_empty());
    stop(engine);
}

fn copy_of(from: &Path, to: &Path) {
    std::fs::create_dir_all(to).unwrap();
    for entry in std::fs::read_dir(from).unwrap() {
        let entry = entry.unwrap();
        let target = to.join(entry.file_name());
        if entry.file_type().unwrap().is_dir() {
            copy_of(&entry.path(), &target);
        } else {
            std::fs::copy(entry.path(), target).unwrap();
        }
    }
}

#[test]
fn planning_may_be_handed_over_as_often_as_one_likes() {
    let fixture = Fixture::new();
    let id = died(&fixture, &[state(State::Queued), state(State::Planning)]);
    for _ in 0..7 {
        let begun = Arc::new(AtomicBool::new(false));
        let planner = Arc::clone(&begun);
        let engine = fixture.engine(Plans(move |question: &Question<'_>| {
            planner.store(true, Ordering::SeqCst);
            while question.cancel.requested().is_none() {
                std::thread::sleep(Duration::from_millis(2));
            }
            Ok(planned(question.request.kind(), vec![file("/etc/a")]))
        }));
        wait_for(&begun);
        stop(engine);
        drop(reopen(&fixture));
    }
    let engine = fixture.engine(Files(vec!["/etc/a"]));
    assert_eq!(end_of(&engine, &id).state, State::Succeeded);
    stop(engine);
}

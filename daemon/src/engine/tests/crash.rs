//! Operations that were cut off, and the next start.

use super::*;
use crate::engine::record::OperationRecord;

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
            let act = |step: &Step| write(&other, step);
            rebuild(&other, &record, &entries[..cut], &steps, effect, &act);
            let engine = other.engine(Files(NAMES.to_vec()));
            let view = end_of(&engine, &id);
            assert_eq!(view.state, State::Succeeded, "cut after record {cut}");
            assert_eq!(other.tree(), after, "cut after record {cut}");
            stop(engine);
        }
    }
}

/// Writes database and files as a daemon leaves them that dies after the last of `entries`; `act`
/// is what a step does.
pub(super) fn rebuild(
    fixture: &Fixture,
    whole: &OperationRecord,
    entries: &[Entry],
    steps: &[PlannedStep],
    effect: bool,
    act: &dyn Fn(&Step),
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
            Record::Done { step } => act(&steps[*step as usize].step),
            Record::Started { step, .. } if effect => act(&steps[*step as usize].step),
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

/// Does its work, but not before the daemon goes down.
struct Late;

impl Worker for Late {
    fn run(&self, _: &Task, _: &dyn Progress, cancel: &Cancel) -> Result<(), PayloadError> {
        while cancel.requested() != Some(Stop::Shutdown) {
            std::thread::sleep(Duration::from_millis(2));
        }
        Ok(())
    }
}

/// That it was done is otherwise written down with the beginning of the step after it.
#[test]
fn a_step_done_as_the_daemon_goes_down_is_written_down() {
    let fixture = Fixture::new();
    let two = |question: &Question<'_>| {
        let steps = vec![fetch_of(1), file("/etc/a")];
        Ok(planned(question.request.kind(), steps))
    };
    let engine = Engine::start(EngineParts {
        host: fixture.host(),
        state_dir: fixture.state.path().join("state"),
        settings: Settings::default(),
        planner: Box::new(Plans(two)),
        worker: Box::new(Late),
        switch: Box::new(crate::switch::carry::Machine),
        patience: Duration::from_millis(200),
        is_resident: false,
    })
    .unwrap();
    let id = engine
        .submit(install(), RequestOptions::default(), 0)
        .unwrap();
    while engine.show(&id).unwrap().step == 0 {
        std::thread::sleep(Duration::from_millis(2));
    }
    stop(engine);
    assert!(fixture.tree().is_empty());
    let journal = reopen(&fixture).journal(&id);
    let last = journal.last().map(|entry| &entry.record);
    assert!(matches!(last, Some(Record::Done { step: 0 })), "{last:?}");
}

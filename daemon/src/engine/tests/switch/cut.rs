//! A switch that is cut off after every record, by the end of the daemon or of the machine.

use super::*;
use crate::engine::record::Recovered;

/// How the cut happens.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Cut {
    Daemon,
    Machine,
}

/// A whole run, as its records.
struct Whole {
    record: OperationRecord,
    entries: Vec<Entry>,
    steps: Vec<PlannedStep>,
}

fn whole(trouble: Option<&str>) -> Whole {
    let fixture = Fixture::new();
    let world = World::new(fixture.root.path().to_owned());
    if let Some(step) = trouble {
        world.trouble(step, 1, lasting());
    }
    let engine = start(&fixture, &world, None);
    let id = submit(&engine);
    end_of(&engine, &id);
    stop(engine);
    let store = reopen(&fixture);
    let record = store.operation(&id).unwrap().unwrap();
    Whole {
        entries: store.journal(&id),
        steps: store.steps(&id, record.steps).unwrap(),
        record,
    }
}

/// Machine and database as they are after the first `cut` records; the step at work has had its
/// effect or not.
fn rebuild(fixture: &Fixture, whole: &Whole, cut: usize, effect: bool) -> World {
    let world = World::new(fixture.root.path().to_owned());
    let store = Store::open(&fixture.state.path().join("state")).unwrap();
    let mut record = OperationRecord {
        finished: None,
        failure: None,
        steps: 0,
        next_sequence: cut as u32,
        ..whole.record.clone()
    };
    let mut change = Batch::default();
    let mut recovered = Recovered::default();
    for (entry, sequence) in whole.entries[..cut].iter().zip(0u32..) {
        change.entry(&record.id, sequence, entry).unwrap();
        let last = sequence as usize + 1 == cut;
        match &entry.record {
            Record::Planned { .. } => record.steps = whole.steps.len() as u32,
            Record::State { state } => record.state = *state,
            Record::Failed { failure, .. } => record.failure = Some(failure.clone()),
            Record::Done { step } => replay(&world, &whole.steps, *step, None),
            Record::Started { step, .. } if last && effect => {
                replay(&world, &whole.steps, *step, None);
            }
            Record::Undone { step, .. } => {
                let undo = &recovered.started[step].1;
                replay(&world, &whole.steps, *step, Some(undo));
            }
            _ => {}
        }
        recovered.note(&entry.record);
    }
    // The undoing that was at work.
    if record.state == State::Reverting
        && effect
        && let Some((step, undo)) = recovered.next_undo()
    {
        replay(&world, &whole.steps, step, Some(&undo));
    }
    for (step, index) in whole.steps.iter().zip(0u32..) {
        change.step(&record.id, index, step).unwrap();
    }
    change.operation(&record).unwrap();
    store.commit(change).unwrap();
    world
}

fn every_cut(whole: &Whole, how: Cut, check: impl Fn(usize, &OperationView, &World)) {
    for cut in 1..whole.entries.len() {
        for effect in [false, true] {
            let fixture = Fixture::new();
            let world = rebuild(&fixture, whole, cut, effect);
            if how == Cut::Machine {
                world.reboot();
            }
            let engine = start(&fixture, &world, None);
            let view = end_of(&engine, &whole.record.id);
            check(cut, &view, &world);
            stop(engine);
        }
    }
}

#[test]
fn a_daemon_that_is_killed_after_any_record_reaches_the_target() {
    every_cut(&whole(None), Cut::Daemon, |cut, view, world| {
        assert_eq!(view.state, State::Succeeded, "cut {cut}: {view:?}");
        assert_eq!(world.state(), new_state(), "cut {cut}");
    });
}

#[test]
fn a_daemon_that_is_killed_while_it_undoes_ends_where_it_began() {
    for trouble in ["prove:one", "prove:new"] {
        let whole = whole(Some(trouble));
        let failed = |entry: &Entry| matches!(entry.record, Record::Failed { .. });
        let from = whole.entries.iter().position(failed).unwrap();
        every_cut(&whole, Cut::Daemon, |cut, view, world| {
            // Killed before the failure was known: this time all goes well. It becomes durable
            // together with the record after it.
            let (state, end) = match cut > from + 1 {
                true => (State::Reverted, old_state()),
                false => (State::Succeeded, new_state()),
            };
            assert_eq!(view.state, state, "{trouble}, cut {cut}: {view:?}");
            assert_eq!(world.state(), end, "{trouble}, cut {cut}");
        });
    }
}

#[test]
fn a_machine_that_stops_after_any_record_ends_at_the_target_or_where_it_began() {
    let whole = whole(None);
    every_cut(&whole, Cut::Machine, |cut, view, world| match view.state {
        State::Succeeded => assert_eq!(world.state(), new_state(), "cut {cut}"),
        State::Reverted => {
            assert_eq!(world.state(), old_state(), "cut {cut}");
            let text = &view.failure.as_ref().unwrap().message;
            assert!(text.contains("restarted"), "cut {cut}: {text}");
        }
        _ => panic!("cut {cut}: {view:?}"),
    });
}

#[test]
fn a_machine_that_stops_while_it_undoes_ends_where_it_began() {
    let whole = whole(Some("prove:new"));
    let failed = |entry: &Entry| matches!(entry.record, Record::Failed { .. });
    let from = whole.entries.iter().position(failed).unwrap();
    every_cut(&whole, Cut::Machine, |cut, view, world| {
        if cut > from + 1 {
            assert_eq!(view.state, State::Reverted, "cut {cut}: {view:?}");
            assert_eq!(world.state(), old_state(), "cut {cut}");
        }
    });
}

#[test]
fn what_restarts_the_machine_each_time_is_given_up() {
    let whole = whole(None);
    let started = |entry: &Entry| matches!(entry.record, Record::Started { step: 3, .. });
    let cut = whole.entries.iter().position(started).unwrap() + 1;
    let fixture = Fixture::new();
    let world = rebuild(&fixture, &whole, cut, true);
    // Each start of the daemon is after another restart, in the same step.
    for _ in 0..2 {
        world.reboot();
        let store = reopen(&fixture);
        let record = store.operation(&whole.record.id).unwrap().unwrap();
        let mut record = OperationRecord { ..record };
        let mut change = Batch::default();
        for it in [
            Record::Rebooted { step: 3 },
            whole.entries[cut - 1].record.clone(),
        ] {
            let entry = Entry {
                time: 0,
                record: it,
            };
            change
                .entry(&record.id, record.next_sequence, &entry)
                .unwrap();
            record.next_sequence += 1;
        }
        change.operation(&record).unwrap();
        store.commit(change).unwrap();
    }
    let engine = start(&fixture, &world, None);
    let view = end_of(&engine, &whole.record.id);
    assert_eq!(view.state, State::Reverted, "{view:?}");
    assert!(view.failure.unwrap().message.contains("again and again"));
    assert_eq!(world.state(), old_state());
    stop(engine);
}

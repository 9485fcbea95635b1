//! The thread that carries operations out, one after the other.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;

use nixctl_proto::OperationState as State;

use super::handle::Shared;
use super::record::OperationRecord;
use super::run::{Outcome, Run, RunError};
use crate::host::Cancel;

/// Works until the daemon goes down.
pub fn work(shared: &Arc<Shared>) {
    shared.note_ended_repairs();
    shared.note_ended_upgrade();
    shared.note_ended_follow();
    shared.post_sentinel();
    // What was cut off goes on first: looking may take long, and Nix's programs had better not
    // run between two steps.
    while !shared.is_going_down() {
        shared.beat();
        shared.keep_metrics();
        match next(shared) {
            Some(record) => {
                shared.pause_rounds();
                if carry_out(shared, record) == Outcome::Paused {
                    break;
                }
                shared.resume_rounds();
                shared.forget_old();
                shared.store.keep_reserve();
            }
            None => {
                shared.let_go_of_kernels();
                if !shared.make_round()
                    && !shared.begin_remedies()
                    && !shared.keep_releases()
                    && !shared.keep_following()
                {
                    let left = shared.until_reading(crate::pulse::left());
                    shared.sleep(shared.until_round(left));
                }
            }
        }
    }
    shared.stopped();
}

/// The operation that was cut off, else the oldest in the queue.
fn next(shared: &Shared) -> Option<OperationRecord> {
    let mut open: Vec<OperationRecord> = shared
        .store
        .operations()
        .into_iter()
        .filter(|record| !record.state.is_final())
        .collect();
    open.sort_by_key(|record| (record.state == State::Queued, record.id.clone()));
    open.into_iter().next()
}

fn carry_out(shared: &Arc<Shared>, record: OperationRecord) -> Outcome {
    let cancel = Cancel::default();
    // Read again: it may have been cancelled after it was chosen.
    let Some(record) = shared.begin(&record.id, &cancel) else {
        return Outcome::Ended;
    };
    let id = record.id.clone();
    shared.stop_at_deadline(&record, &cancel);
    let live = shared.live(&record);
    let outcome = match Run::pick_up(shared, record, cancel, live) {
        Ok(mut run) => guarded(&mut run),
        Err(error) => Err(error),
    };
    let outcome = outcome.unwrap_or_else(|error| {
        tracing::error!(OPERATION_ID = %id, "cannot go on with the operation: {error}");
        shared.stall(&error.to_string());
        Outcome::Paused
    });
    if let Ok(Some(record)) = shared.store.operation(&id) {
        shared.note_repair_end(&record);
        shared.note_upgrade_end(&record);
        shared.note_switch_end(&record);
    }
    shared.end(&id);
    outcome
}

/// Lets a panic cost the operation, not the daemon.
fn guarded(run: &mut Run<'_>) -> Result<Outcome, RunError> {
    for _ in 0..3 {
        match catch_unwind(AssertUnwindSafe(|| run.go())) {
            Ok(result) => return result,
            Err(panic) => run.give_up_after_panic(&words(panic.as_ref()))?,
        }
    }
    Ok(Outcome::Ended)
}

fn words(panic: &(dyn std::any::Any + Send)) -> String {
    panic
        .downcast_ref::<&str>()
        .map(|text| (*text).to_owned())
        .or_else(|| panic.downcast_ref::<String>().cloned())
        .unwrap_or_else(|| "the operation panicked".to_owned())
}

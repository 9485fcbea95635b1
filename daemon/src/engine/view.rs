//! Snapshots of operations for clients.

use nixctl_proto::{OperationState as State, OperationView};

use super::record::OperationRecord;

/// The snapshot of an operation as it is stored, without what only a running one knows.
pub fn of(record: &OperationRecord) -> OperationView {
    let ended = record.state.is_final();
    let all = matches!(record.state, State::Succeeded);
    OperationView {
        id: record.id.clone(),
        kind: record.request.kind(),
        state: record.state,
        waiting_for: None,
        requested_by: record.requested_by,
        reason: record.options.reason.clone().unwrap_or_default(),
        created: record.created,
        finished: record.finished,
        step: if all { record.steps } else { 0 },
        steps: record.steps,
        description: headline(record).to_owned(),
        bytes_done: 0,
        bytes_total: 0,
        progress: if all { 1.0 } else { 0.0 },
        cancellable: !ended
            && record.state != State::Reverting
            && record.state != State::Committing,
        failure: record.failure.clone(),
        kept: record.kept.clone(),
        notes: record.notes.clone(),
    }
}

fn headline(record: &OperationRecord) -> &'static str {
    match record.state {
        State::Queued => "waiting for its turn",
        State::Planning => "reading the machine",
        State::Waiting => "waiting",
        State::Running => "working",
        State::Soaking => "watching the result",
        State::Committing => "finishing",
        State::Succeeded => "done",
        State::Reverting => "undoing",
        State::Reverted => "undone",
        State::Failed => "refused",
        State::Cancelled => "cancelled",
        State::Attention => "needs attention",
    }
}

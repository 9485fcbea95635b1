//! What the engine knows of switches: confirmations, plans, what an earlier one began from, and
//! which operation supersedes which.

use std::collections::BTreeSet;

use nixctl_proto::plan::Plan;
use nixctl_proto::request::OperationRequest;
use nixctl_proto::settings::OnFailure;
use nixctl_proto::{Code, Failure, OperationId, OperationState as State};

use super::super::record::{Before, OperationRecord, Record};
use super::super::store::{Change as Batch, StoreError};
use super::super::switching::is_switch;
use super::super::{Change, Recorded};
use super::shared::{lock, stored};
use super::{Engine, Shared};
use crate::switch::boot::BootState;

impl Engine {
    /// Notes durably that the switch which waits for it is right.
    ///
    /// # Errors
    /// When it does not wait for that, does not exist, or the disk refuses.
    pub fn confirm(&self, id: &OperationId) -> Result<(), Failure> {
        let shared = &self.shared;
        let _one_at_a_time = lock(&shared.submitting);
        self.record(id)?;
        if lock(&shared.confirming).as_ref() != Some(id) {
            let text = format!("cannot confirm operation {id}: it does not wait for that");
            return Err(Failure::new(Code::NotConfirmable, text));
        }
        let mut change = Batch::default();
        change.confirmed(id).map_err(stored)?;
        shared.store.commit(change).map_err(stored)?;
        shared.wake();
        Ok(())
    }

    /// Store paths of the generations that have proven themselves.
    pub fn proven(&self) -> BTreeSet<String> {
        self.shared.store.proven()
    }

    /// The plan of an operation as it was made; of many store paths only the first are named.
    ///
    /// # Errors
    /// When there is no operation with this id, or its plan cannot be read.
    pub fn planned(&self, id: &OperationId) -> Result<Option<Plan>, Failure> {
        self.record(id)?;
        let json = self.shared.store.plan(id).map_err(stored)?;
        let read = |json: String| {
            serde_json::from_str(&json).map_err(|error| {
                let text = format!("cannot read the plan of operation {id}: {error}");
                Failure::new(Code::StateDamaged, text)
            })
        };
        json.map(read).transpose()
    }
}

impl Shared {
    /// What earlier operations left word of. A switch that is on its way, or ended there for a newer one,
    /// counts as the last: back is where it began. What was undone is passed over.
    pub(in super::super) fn recorded(&self) -> Recorded {
        let operations = self.store.operations();
        let mut moved = operations.iter().rev().filter(|it| self.has_moved(it));
        let last = moved.next();
        let from = last
            .into_iter()
            .chain(moved)
            .find_map(|it| store_of(&it.request));
        let boots = self.store.boots().into_iter();
        let booted = boots.filter(|(_, record)| record.state == BootState::Proven);
        let mut proven = self.store.proven();
        proven.extend(booted.map(|(path, _)| path));
        Recorded {
            before: last.and_then(|record| self.before(&record.id)),
            from,
            proven,
            fetched: self.store.fetched(),
            offer: None,
        }
    }

    /// Whether the machine stands where a switch has brought it: at its end, or on its way.
    fn has_moved(&self, record: &OperationRecord) -> bool {
        if !is_switch(&record.request) || record.steps == 0 {
            return false;
        }
        match record.state {
            State::Cancelled => self.was_superseded(&record.id),
            State::Failed | State::Reverted => false,
            _ => true,
        }
    }

    /// Whether a newer switch went on from where this one stood.
    pub(in super::super) fn was_superseded(&self, id: &OperationId) -> bool {
        let was = |record: &Record| matches!(record, Record::Superseded { .. });
        let entries = self.store.journal(id);
        entries.iter().any(|entry| was(&entry.record))
    }

    /// Where the switch began that this one supersedes, if it does: the machine is between the two.
    pub(in super::super) fn superseded_before(&self, id: &OperationId) -> Option<Before> {
        let operations = self.store.operations();
        let earlier = operations
            .iter()
            .rev()
            .find(|record| record.id < *id && is_switch(&record.request) && record.steps > 0)?;
        self.was_superseded(&earlier.id)
            .then(|| self.before(&earlier.id))?
    }

    fn before(&self, id: &OperationId) -> Option<Before> {
        self.store.before(id).unwrap_or_else(|error| {
            tracing::error!("{error}");
            None
        })
    }

    /// The newest switch that was asked for after this one and waits for its turn.
    pub(in super::super) fn newer_switch(&self, id: &OperationId) -> Option<OperationId> {
        let operations = self.store.operations().into_iter().rev();
        let mut newer = operations.filter(|record| record.id > *id && supersedes(record));
        newer.next().map(|record| record.id)
    }

    /// Ends the switches that wait for their turn: a newer one was asked for.
    pub(super) fn supersede_queued(&self, by: &OperationId) -> Result<(), StoreError> {
        let current = lock(&self.current).as_ref().map(|(id, _)| id.clone());
        for mut record in self.store.operations() {
            if record.id < *by && supersedes(&record) && current.as_ref() != Some(&record.id) {
                self.end_superseded(&mut record, by)?;
            }
        }
        Ok(())
    }
}

/// The store that a request names to copy from.
fn store_of(request: &OperationRequest) -> Option<String> {
    match request {
        OperationRequest::Switch(switch) => switch.from.clone(),
        OperationRequest::Rollback(rollback) => rollback.from.clone(),
        _ => None,
    }
}

/// Whether an operation that waits for its turn takes the place of older switches.
fn supersedes(record: &OperationRecord) -> bool {
    record.state == State::Queued && is_switch(&record.request) && !record.options.dry_run
}

/// Why an operation ended.
pub(in super::super) fn superseded(by: &OperationId) -> Failure {
    Failure::new(Code::Cancelled, format!("superseded by operation {by}"))
        .with_help(format!("follow the newer one with `nixctl watch {by}`"))
}

impl Shared {
    fn end_superseded(
        &self,
        record: &mut OperationRecord,
        by: &OperationId,
    ) -> Result<(), StoreError> {
        let time = self.host.clock.now();
        record.state = State::Cancelled;
        record.finished = Some(time);
        record.failure = Some(superseded(by));
        let mut change = Batch::default();
        let records = [
            Record::Superseded { by: by.clone() },
            Record::State {
                state: record.state,
            },
        ];
        for it in records {
            let entry = super::super::record::Entry { time, record: it };
            change.entry(&record.id, record.next_sequence, &entry)?;
            record.next_sequence += 1;
        }
        change.operation(record)?;
        self.store.commit(change)?;
        let live = self.live(record);
        live.send_replace(super::super::view::of(record));
        lock(&self.live).remove(&record.id);
        self.tell(Change::Status);
        Ok(())
    }
}

impl Shared {
    /// Whether a switch whose step failed stays where it is and waits, rather than going back.
    pub(in super::super) fn stays_on_failure(&self) -> bool {
        self.settings().switch.on_failure == OnFailure::Stay
    }
}

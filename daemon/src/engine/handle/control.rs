//! Stopping an operation, and going on with one that failed.

use nixctl_proto::request::{OperationRequest, RepairRequest, RequestOptions};
use nixctl_proto::{Code, Failure, OperationId, OperationState as State};

use super::super::record::{Entry, OperationRecord, Record, Recovered};
use super::super::store::Change as Batch;
use super::super::transition::{self, Event};
use super::super::{Change, record, view};
use super::Engine;
use super::shared::{lock, stored};
use crate::host::cancel::Stop;

impl Engine {
    /// Asks an operation to stop at the next step boundary and to be undone.
    ///
    /// # Errors
    /// When it has ended, is past the point of no return, or does not exist.
    pub fn cancel(&self, id: &OperationId) -> Result<(), Failure> {
        // Before looking: whether it can be cancelled changes only under this lock.
        let _one_at_a_time = lock(&self.shared.submitting);
        let view = self.show(id)?;
        if !view.cancellable {
            let why = if view.state.is_final() {
                "it has ended"
            } else {
                "it is past the point of no return"
            };
            return Err(Failure::new(
                Code::NotCancellable,
                format!("cannot cancel operation {id}: {why}"),
            ));
        }
        if let Some((current, cancel)) = lock(&self.shared.current).as_ref()
            && current == id
        {
            cancel.request(Stop::Cancelled);
            self.shared.wake();
            return Ok(());
        }
        self.cancel_queued(self.record(id)?)
    }

    /// Tries a failed operation again: one that needs attention goes on from where it stands, any
    /// other is asked for anew. Returns the operation to follow.
    ///
    /// # Errors
    /// When it did not fail, or does not exist.
    pub fn retry(&self, id: &OperationId, uid: u32) -> Result<OperationId, Failure> {
        let record = self.record(id)?;
        match record.state {
            State::Attention => self.resume(id),
            // It tries again by itself; now is as good a time as any.
            State::Planning | State::Waiting | State::Reverting => {
                self.shared.wake();
                Ok(record.id)
            }
            State::Failed | State::Reverted | State::Cancelled => {
                let options = RequestOptions {
                    request_id: None,
                    expected_current: None,
                    ..record.options
                };
                self.submit(by_hand(record.request), options, uid)
            }
            state => Err(Failure::new(
                Code::NotRetryable,
                format!("cannot retry operation {id}: it is {state}"),
            )),
        }
    }

    fn cancel_queued(&self, mut record: OperationRecord) -> Result<(), Failure> {
        if record.state != State::Queued {
            return Err(Failure::new(
                Code::NotCancellable,
                format!(
                    "cannot cancel operation {}: it is {}",
                    record.id, record.state
                ),
            ));
        }
        self.enter(&mut record, Event::CancelledEarly)?;
        let live = self.shared.live(&record);
        live.send_replace(view::of(&record));
        lock(&self.shared.live).remove(&record.id);
        Ok(())
    }

    fn resume(&self, id: &OperationId) -> Result<OperationId, Failure> {
        let _one_at_a_time = lock(&self.shared.submitting);
        let mut record = self.record(id)?;
        self.check_resumable(&record)?;
        let steps = self
            .shared
            .store
            .steps(&record.id, record.steps)
            .map_err(stored)?;
        let entries = self.shared.store.journal(&record.id);
        let recovered = Recovered::read(entries.iter().map(|entry| &entry.record));
        let event = if recovered.is_past_return(&steps) {
            record.failure = None;
            Event::RetryForwards
        } else {
            // What is told at the end is why it is being undone, not that undoing failed once.
            record.failure = record::first_failure(&entries).or(record.failure);
            Event::RetryUndoing
        };
        record.finished = None;
        self.enter(&mut record, event)?;
        self.shared.live(&record);
        self.shared.tell(Change::Status);
        self.shared.wake();
        Ok(record.id)
    }

    /// What an operation read of the machine before its steps is true only until another one has
    /// changed the same things: going on from there would undo the work of the other one.
    fn check_resumable(&self, record: &OperationRecord) -> Result<(), Failure> {
        let refuse = |why: String| {
            let text = format!("cannot retry operation {}: {why}", record.id);
            Err(Failure::new(Code::NotRetryable, text))
        };
        if record.state != State::Attention {
            return refuse(format!("it is {}", record.state));
        }
        let later = self.shared.store.operations().into_iter().find(|other| {
            other.id > record.id
                && is_about_daemon(other) == is_about_daemon(record)
                && has_changed_things(other)
        });
        match later {
            Some(later) => refuse(format!(
                "operation {} is at work or has changed the machine since",
                later.id
            )),
            None => Ok(()),
        }
    }

    fn enter(&self, record: &mut OperationRecord, event: Event) -> Result<(), Failure> {
        record.state = transition::next(record.state, event)
            .map_err(|error| Failure::from_error(Code::Internal, &error))?;
        let time = self.shared.host.clock.now();
        if record.state.is_final() {
            record.finished = Some(time);
        }
        let mut change = Batch::default();
        let entry = Entry {
            time,
            record: Record::State {
                state: record.state,
            },
        };
        change
            .entry(&record.id, record.next_sequence, &entry)
            .map_err(stored)?;
        record.next_sequence += 1;
        change.operation(record).map_err(stored)?;
        self.shared.store.commit(change).map_err(stored)
    }
}

/// Whether an operation is about the daemon itself: what those own and what others own is apart.
fn is_about_daemon(record: &OperationRecord) -> bool {
    matches!(
        record.request,
        OperationRequest::SelfInstall(_)
            | OperationRequest::SelfUninstall
            | OperationRequest::SelfUpgrade(_)
    )
}

/// Whether the machine is another one because of an operation, or may be soon.
fn has_changed_things(record: &OperationRecord) -> bool {
    match record.state {
        State::Queued | State::Failed | State::Cancelled | State::Reverted => false,
        // What is at work is planned from the machine as it is now.
        State::Planning => true,
        _ => record.steps > 0,
    }
}

/// What somebody tries again is asked for, though the daemon had begun it by itself.
fn by_hand(request: OperationRequest) -> OperationRequest {
    match request {
        OperationRequest::Repair(repair) => OperationRequest::Repair(RepairRequest {
            automatic: false,
            ..repair
        }),
        other => other,
    }
}

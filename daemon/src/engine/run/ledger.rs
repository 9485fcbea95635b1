//! What a run writes and shows: its journal, its state, what is owned, and the snapshot that
//! clients see.

use nixctl_proto::{Failure, OperationState as State, OperationView};

use super::super::record::{Entry, Owned, Ownership, Record, joined};
use super::super::store::Change;
use super::super::transition::{self, Event};
use super::super::view;
use super::{Result, Run};

impl Run<'_> {
    /// Records what a finished or undone step means for what is owned. A resource that an earlier
    /// operation made keeps that operation's undo data besides what is new, and is not given up
    /// with this one.
    pub(super) fn own(&self, change: &mut Change, ownership: Ownership<'_>) -> Result<()> {
        let owned = self.shared.store.owned();
        let find = |resource: &crate::resource::Resource| {
            let id = resource.describe().id;
            owned
                .iter()
                .find(|owned| owned.resource.describe().id == id)
        };
        match ownership {
            Ownership::Take(resource, undo) => {
                let fresh = Owned {
                    order: owned.last().map_or(0, |last| last.order + 1),
                    by: self.record.id.clone(),
                    resource: resource.clone(),
                    undo,
                };
                let entry = match find(resource) {
                    Some(earlier) => Owned {
                        resource: resource.clone(),
                        undo: joined(&earlier.undo, fresh.undo),
                        ..earlier.clone()
                    },
                    None => fresh,
                };
                change.own(&entry)?;
            }
            Ownership::Drop(resource) => {
                let reverting = self.record.state == State::Reverting;
                let mine = find(resource).is_none_or(|earlier| earlier.by == self.record.id);
                if mine || !reverting {
                    change.disown(resource);
                }
            }
            Ownership::Same => {}
        }
        Ok(())
    }

    pub(super) fn fail(&mut self, step: Option<u32>, failure: Failure, event: Event) -> Result<()> {
        tracing::error!(
            OPERATION_ID = %self.record.id, STEP = step.map_or(0, |step| step + 1),
            "{}: {}", failure.code, failure.message
        );
        self.record.failure = Some(failure.clone());
        self.enter_with(event, vec![Record::Failed { step, failure }])
    }

    pub(super) fn enter(&mut self, event: Event) -> Result<()> {
        self.enter_with(event, Vec::new())
    }

    pub(super) fn enter_with(&mut self, event: Event, records: Vec<Record>) -> Result<()> {
        self.enter_in(Change::default(), event, records)
    }

    pub(super) fn enter_in(
        &mut self,
        change: Change,
        event: Event,
        mut records: Vec<Record>,
    ) -> Result<()> {
        let state = transition::next(self.record.state, event)?;
        self.record.state = state;
        if state.is_final() {
            self.record.finished = Some(self.shared.host.clock.now());
        }
        records.push(Record::State { state });
        self.journal_in(change, records)?;
        tracing::info!(OPERATION_ID = %self.record.id, "{} is {state}", self.record.request.kind());
        self.publish_record();
        Ok(())
    }

    pub(super) fn journal(&mut self, records: Vec<Record>) -> Result<()> {
        self.journal_in(Change::default(), records)
    }

    /// Writes records, the operation, and whatever else is in `change`, as one durable batch.
    pub(super) fn journal_in(&mut self, mut change: Change, records: Vec<Record>) -> Result<()> {
        for record in records {
            let entry = Entry {
                time: self.shared.host.clock.now(),
                record,
            };
            change.entry(&self.record.id, self.record.next_sequence, &entry)?;
            self.record.next_sequence += 1;
            self.recovered.note(&entry.record);
        }
        change.operation(&self.record)?;
        self.shared.store.commit(change)?;
        Ok(())
    }

    pub(super) fn say(&self, text: &str) {
        self.live
            .send_modify(|view| text.clone_into(&mut view.description));
    }

    pub(super) fn show_step(&self, index: u32, text: &str) {
        let undoing = self.record.state == State::Reverting;
        let word = if undoing { "undoing: " } else { "" };
        tracing::info!(OPERATION_ID = %self.record.id, STEP = index + 1, "{word}{text}");
        let cancellable = !undoing && !self.recovered.is_past_return(&self.steps);
        self.live.send_modify(|view| {
            view.step = index + 1;
            text.clone_into(&mut view.description);
            view.bytes_done = 0;
            view.bytes_total = 0;
            view.cancellable = cancellable;
            view.progress = f64::from(index) / f64::from(view.steps.max(1));
        });
    }

    pub(super) fn publish_record(&self) {
        self.live.send_modify(|live| {
            let fresh = view::of(&self.record);
            let step = if fresh.state.is_final() && fresh.step > 0 {
                fresh.step
            } else {
                live.step
            };
            *live = OperationView { step, ..fresh };
        });
    }
}

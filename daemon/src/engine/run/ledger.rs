//! What a run writes and shows: its journal, its state, what is owned, and the snapshot that
//! clients see.

use nixctl_proto::{Failure, OperationState as State, OperationView};

use super::super::ownership::{Ownership, joined};
use super::super::record::{Earlier, Entry, Owned, Record};
use super::super::step::Step;
use super::super::store::Change;
use super::super::transition::{self, Event};
use super::super::view;
use super::{Result, Run};
use crate::resource::{Resource, Undo};

impl Run<'_> {
    /// Enters in the list of what is owned what a step has made or taken away, and keeps beside the
    /// journal what the list said before. A resource that an earlier operation made keeps that
    /// operation's undo data besides what is new.
    pub(super) fn own(
        &self,
        change: &mut Change,
        index: u32,
        ownership: Ownership<'_>,
    ) -> Result<()> {
        let resource = match &ownership {
            Ownership::Take(resource, _) | Ownership::Drop(resource) => *resource,
            Ownership::Same => return Ok(()),
        };
        let owned = self.shared.store.owned();
        let earlier = find(&owned, resource).cloned();
        match ownership {
            Ownership::Take(resource, undo) => {
                let entry = match &earlier {
                    Some(earlier) => Owned {
                        resource: resource.clone(),
                        undo: joined(&earlier.undo, undo),
                        ..earlier.clone()
                    },
                    None => self.fresh(&owned, resource, undo),
                };
                change.own(&entry)?;
                self.remember_source(change, resource)?;
            }
            Ownership::Drop(resource) => change.disown(resource),
            Ownership::Same => {}
        }
        let id = &self.record.id;
        if self.shared.store.earlier(id, index)?.is_none() {
            change.earlier(id, index, &Earlier { owned: earlier })?;
        }
        Ok(())
    }

    /// Remembers where a release was fetched from: should it be damaged, it is looked for there.
    fn remember_source(&self, change: &mut Change, resource: &Resource) -> Result<()> {
        let Resource::Payload(payload) = resource else {
            return Ok(());
        };
        let of_it = |step: &'_ Step| match step {
            Step::Fetch(fetch) if fetch.release.sha256 == payload.archive.sha256 => {
                Some(fetch.release.clone())
            }
            _ => None,
        };
        match self.steps.iter().find_map(|it| of_it(&it.step)) {
            Some(release) => Ok(change.fetched(&release)?),
            None => Ok(()),
        }
    }

    /// Puts back what the list of what is owned said before a step, if the step has changed it.
    pub(super) fn give_back(&self, change: &mut Change, index: u32) -> Result<()> {
        let step = &self.steps[index as usize].step;
        match self.shared.store.earlier(&self.record.id, index)? {
            Some(Earlier { owned: Some(owned) }) => change.own(&owned)?,
            Some(Earlier { owned: None }) => {
                if let Step::Ensure(it) | Step::Adopt(it, _) | Step::Remove(it, _) = step {
                    change.disown(it);
                }
            }
            None if self.recovered.done.contains(&index) => self.give_back_unknown(change, step)?,
            None => {}
        }
        Ok(())
    }

    /// The same for a step that was done by a daemon of schema 2, which did not keep what was
    /// owned before.
    fn give_back_unknown(&self, change: &mut Change, step: &Step) -> Result<()> {
        let owned = self.shared.store.owned();
        match Ownership::of_undone(step) {
            Ownership::Take(resource, undo) if find(&owned, resource).is_none() => {
                change.own(&self.fresh(&owned, resource, undo))?;
            }
            Ownership::Drop(resource)
                if find(&owned, resource).is_some_and(|it| it.by == self.record.id) =>
            {
                change.disown(resource);
            }
            Ownership::Take(..) | Ownership::Drop(_) | Ownership::Same => {}
        }
        Ok(())
    }

    fn fresh(&self, owned: &[Owned], resource: &Resource, undo: Undo) -> Owned {
        Owned {
            order: owned.last().map_or(0, |last| last.order + 1),
            by: self.record.id.clone(),
            resource: resource.clone(),
            undo,
        }
    }

    pub(super) fn fail(&mut self, step: Option<u32>, failure: Failure, event: Event) -> Result<()> {
        self.fail_in(Change::default(), step, failure, event)
    }

    pub(super) fn fail_in(
        &mut self,
        change: Change,
        step: Option<u32>,
        failure: Failure,
        event: Event,
    ) -> Result<()> {
        tracing::error!(
            OPERATION_ID = %self.record.id, STEP = step.map_or(0, |step| step + 1),
            "{}: {}", failure.code, failure.message
        );
        self.record.failure = Some(failure.clone());
        self.enter_in(change, event, vec![Record::Failed { step, failure }])
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
        // In this order: whoever reads the operation and then the way to the target sees of the way
        // no less.
        self.show_convergence();
        self.publish_record();
        if matches!(state, State::Succeeded | State::Reverted) {
            self.forget_recipes();
            self.forget_kept();
        }
        Ok(())
    }

    pub(super) fn journal(&mut self, records: Vec<Record>) -> Result<()> {
        self.journal_in(Change::default(), records)
    }

    /// Writes records, the operation, and whatever else is in `change`, as one durable batch; with
    /// it goes what was left for later.
    pub(super) fn journal_in(&mut self, change: Change, records: Vec<Record>) -> Result<()> {
        self.journal_later(change, records)?;
        self.shared
            .store
            .commit(std::mem::take(&mut self.unwritten))?;
        Ok(())
    }

    /// The same, but written with the next batch: where nothing on the machine is changed before.
    /// Whoever reads the database meanwhile sees none of it.
    pub(super) fn journal_later(&mut self, mut change: Change, records: Vec<Record>) -> Result<()> {
        for record in records {
            let entry = Entry {
                time: self.shared.host.clock.now(),
                record,
            };
            change.entry(&self.record.id, self.record.next_sequence, &entry)?;
            self.record.next_sequence += 1;
            self.recovered.note(&entry.record);
        }
        self.record.count(self.shared.host.clock.moment());
        change.operation(&self.record)?;
        self.unwritten.append(change);
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
        });
        self.show_progress(index, if undoing { 1.0 } else { 0.0 });
    }

    /// Shows how far the operation is with this share of a step done. It does not go back on the
    /// way forwards, and not forwards on the way back.
    pub(super) fn show_progress(&self, index: u32, within: f64) {
        let share = self.scale.at(index, within);
        let undoing = self.record.state == State::Reverting;
        self.live.send_modify(|view| {
            view.progress = if undoing {
                view.progress.min(share)
            } else {
                view.progress.max(share)
            };
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
            let progress = if fresh.state.is_final() {
                fresh.progress
            } else {
                live.progress
            };
            let waits = self.recovered.waiting.as_ref();
            let waits = waits.filter(|_| fresh.state == State::Waiting);
            *live = OperationView {
                step,
                progress,
                waiting_for: waits.map(|waiting| waiting.reason.clone()),
                ..fresh
            };
        });
    }
}

fn find<'o>(owned: &'o [Owned], resource: &Resource) -> Option<&'o Owned> {
    let id = resource.describe().id;
    owned
        .iter()
        .find(|owned| owned.resource.describe().id == id)
}

//! Waiting for what may come: space, a network, somebody who looks.
//!
//! What was begun and cannot go on is undone first, so that the machine stands on something proven
//! while it waits. Whatever wakes the thread makes it try again: a new request, `retry`, other
//! settings, the end of the pause.

use super::super::backoff;
use super::super::record::Record;
use super::super::store::Change;
use super::super::transition::Event;
use super::{Result, Run};
use crate::host::cancel::Stop;
use crate::resource::Undo;

impl Run<'_> {
    /// Begins to wait. Steps from `floor` on are undone first.
    pub(super) fn wait(&mut self, floor: u32, reason: String) -> Result<()> {
        let tries = self.recovered.waiting.as_ref().map_or(0, |it| it.tries) + 1;
        tracing::warn!(OPERATION_ID = %self.record.id, "waiting: {reason}");
        self.has_rested = false;
        // Whoever asked for something until now is seen in the next round, before the pause.
        self.shared.forget_wakes();
        self.enter_with(
            Event::Wait,
            vec![Record::Waiting {
                floor,
                tries,
                reason,
            }],
        )
    }

    /// One round of waiting. Says whether the daemon goes down instead.
    pub(super) fn waiting(&mut self) -> Result<bool> {
        if self.is_asked_to_stop()? {
            return Ok(false);
        }
        let Some(waiting) = self.recovered.waiting.clone() else {
            return self.enter(Event::Resume).map(|()| false);
        };
        if let Some((index, undo)) = self.recovered.next_undo()
            && index >= waiting.floor
            && !self.has_rested
        {
            return self.unwind(index, &undo, waiting.floor);
        }
        if let Some(by) = self.superseded_by() {
            return self.end_superseded(&by).map(|()| false);
        }
        if self.has_rested {
            return self.enter(Event::Resume).map(|()| false);
        }
        self.shared
            .keep_following_beside(&self.record, &self.cancel);
        self.shared
            .sleep(backoff::pause(waiting.tries, backoff::chance()));
        self.has_rested = true;
        Ok(false)
    }

    /// Undoes a step before the waiting begins.
    fn unwind(&mut self, index: u32, undo: &Undo, floor: u32) -> Result<bool> {
        let step = self.steps[index as usize].step.clone();
        match self.undo_step(index, undo) {
            Ok(undone) => {
                let kept = undone.into_kept();
                let kept = (!kept.is_empty()).then(|| kept.join("; "));
                let mut change = Change::default();
                self.give_back(&mut change, index)?;
                self.journal_in(change, vec![Record::Undone { step: index, kept }])?;
                Ok(false)
            }
            Err(failed) if failed.stopped => match self.cancel.requested() {
                Some(Stop::Shutdown) => Ok(true),
                _ => self.stop_now().map(|()| false),
            },
            Err(failed) if index == floor => {
                // On a full disk even that may not work. It is taken up where it stands; this
                // attempt does not count.
                tracing::warn!(
                    OPERATION_ID = %self.record.id, STEP = index + 1,
                    "cannot undo while waiting: {}: {}",
                    step.describe().summary, failed.failure.message
                );
                self.journal(vec![Record::Paused { step: Some(index) }])?;
                self.shared.sleep(backoff::pause(1, backoff::chance()));
                self.has_rested = true;
                Ok(false)
            }
            Err(failed) => self
                .fail(Some(index), failed.failure, Event::StepFailed)
                .map(|()| false),
        }
    }

    /// Waits before what cannot be done yet is tried again where an operation has no state of its own
    /// for that: a step that is undone needs what a cache has, or room for it; so may a plan. Whoever
    /// asks to go on, or the end of the daemon, ends the pause.
    pub(super) fn rest(&mut self, reason: &str) {
        self.rests += 1;
        tracing::warn!(OPERATION_ID = %self.record.id, "{} waits: {reason}", self.record.state);
        self.live
            .send_modify(|view| view.waiting_for = Some(reason.to_owned()));
        self.shared
            .sleep(backoff::pause(self.rests, backoff::chance()));
    }

    /// Leaves for undoing when somebody cancelled or the deadline has passed. Says whether it did.
    pub(super) fn is_asked_to_stop(&mut self) -> Result<bool> {
        let cancelled = self.cancel.requested() == Some(Stop::Cancelled);
        if !cancelled && !self.is_late() {
            return Ok(false);
        }
        self.stop_now().map(|()| true)
    }

    fn stop_now(&mut self) -> Result<()> {
        let event = if self.is_late() {
            Event::StepFailed
        } else {
            Event::CancelAsked
        };
        self.fail(None, self.stop_reason(), event)
    }
}

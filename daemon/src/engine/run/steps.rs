//! The steps, forwards and backwards.

use std::time::Duration;

use nixctl_proto::request::OperationRequest;
use nixctl_proto::{Code, Failure};

use super::super::ownership::Ownership;
use super::super::record::Record;
use super::super::releases::turn_of;
use super::super::step::{PlannedStep, Step, StepFailure};
use super::super::store::Change;
use super::super::switching::{confirmation, is_last_watch};
use super::super::transition::Event;
use super::super::weight::Scale;
use super::told::Told;
use super::{MAX_ATTEMPTS, PAUSES, Result, Run, State, never_ended};
use crate::host::cancel::Stop;
use crate::payload::Manifest;
use crate::resource::{Context, Undo, Undone};
use crate::takeover::step::SelfStep;
use crate::upgrade::temp_roots::{TempRoots, TempRootsError, unregistered};

/// What is done when all steps are.
const LOOKING: &str = "looking at the result";

impl Run<'_> {
    /// All steps are done: a repair has to have helped, and an upgrade to have made nothing worse. Says
    /// whether the daemon goes down instead.
    fn finish(&mut self) -> Result<bool> {
        let (id, cancel) = (&self.record.id, &self.cancel);
        let proven = match &self.record.request {
            OperationRequest::Repair(request) => {
                self.say(LOOKING);
                self.shared.prove_repair(id, request, &self.steps, cancel)
            }
            OperationRequest::Upgrade(_) => {
                self.say(LOOKING);
                self.shared.prove_upgrade(cancel).map(|()| Vec::new())
            }
            _ => Ok(Vec::new()),
        };
        match proven {
            Ok(left) => {
                let left = left.iter().map(|of| format!("{of}: it is still there"));
                self.record.notes.extend(left);
                self.enter(Event::StepsDone).map(|()| false)
            }
            Err(_) if self.cancel.requested() == Some(Stop::Shutdown) => Ok(true),
            Err(_) if self.cancel.requested().is_some() => self
                .fail(None, self.stop_reason(), Event::CancelAsked)
                .map(|()| false),
            Err(failure) => {
                let event = self.way_back();
                self.fail(None, failure, event).map(|()| false)
            }
        }
    }

    /// Carries the next step out. Says whether the daemon goes down instead.
    pub(super) fn forward(&mut self) -> Result<bool> {
        let Some(index) = self.recovered.next(self.record.steps) else {
            return self.finish();
        };
        let past_return = self.recovered.is_past_return(&self.steps);
        if let Some(done) = self.again.take()
            && let Err(failed) = self.carry_out_again(done)
        {
            return self.step_failed(index, failed);
        }
        if self.make_way(index)? {
            return Ok(false);
        }
        if past_return {
            self.shared.only_shutdown(&mut self.cancel, &self.live);
        } else {
            if self.cancel.requested() == Some(Stop::Cancelled) {
                return self
                    .fail(None, self.stop_reason(), Event::CancelAsked)
                    .map(|()| false);
            }
            if self.is_late() {
                return self
                    .fail(None, self.stop_reason(), Event::StepFailed)
                    .map(|()| false);
            }
        }
        self.hold_release(index);
        let earlier = self.recovered.started.get(&index).cloned();
        let attempt = earlier.as_ref().map_or(1, |(attempts, _)| attempts + 1);
        if attempt > MAX_ATTEMPTS && !past_return {
            let failure = never_ended(&format!("step {}", index + 1));
            return self
                .fail(Some(index), failure, Event::StepFailed)
                .map(|()| false);
        }
        let step = self.steps[index as usize].step.clone();
        self.show_step(index, &step.describe().summary);
        let undo = match earlier {
            Some((_, undo)) => Ok(undo),
            None => self.prepare_step(&step, index),
        };
        let undo = match undo {
            Ok(undo) => undo,
            Err(failed) => return self.step_failed(index, failed),
        };
        if step.is_irreversible()
            && self.shared.only_shutdown(&mut self.cancel, &self.live) == Some(Stop::Cancelled)
        {
            return self
                .fail(None, self.stop_reason(), Event::CancelAsked)
                .map(|()| false);
        }
        let mut change = Change::default();
        if let Some(turn) = turn_of(&step) {
            self.shared.note_slot(&mut change, &self.record.id, turn)?;
        }
        let record = Record::Started {
            step: index,
            attempt,
            undo: undo.clone(),
        };
        self.journal_in(change, vec![record])?;
        if let Some(seconds) = confirmation(&self.steps, index) {
            return self.confirm(index, seconds, &undo);
        }
        if is_last_watch(&self.steps, index) {
            self.enter(Event::Soak)?;
        }
        let progress = Told::new(self, index);
        // Past the point of no return there is only the way forwards.
        let pauses: &[Duration] = match self.recovered.is_past_return(&self.steps) {
            true => &PAUSES,
            false => &[],
        };
        let result = self.tried(index, pauses, &undo, || {
            self.apply_step(&step, &self.context(&progress), &undo)
        });
        let result = result.and_then(|undone| Ok((undone, self.rest_after(index)?)));
        let notes = progress.into_notes();
        self.record.notes.extend(notes);
        match result {
            Ok((undone, rest)) => self.step_done(index, &undo, undone, rest).map(|()| false),
            Err(failed) => self.step_failed(index, failed),
        }
    }

    /// Holds what was unpacked until it is registered, and no longer. Where that cannot be, a garbage
    /// collection at this time makes the operation fail and be undone, and no worse.
    fn hold_release(&mut self, index: u32) {
        let Some(sha256) = unregistered(&self.steps, index) else {
            self.held = None;
            return;
        };
        if self.held.is_some() {
            return;
        }
        let fs = &self.shared.host.fs;
        let manifest = Manifest::load(fs, sha256).map_err(TempRootsError::from);
        let held = manifest.and_then(|it| match it {
            Some(manifest) => TempRoots::hold(fs, &manifest),
            None => Ok(None),
        });
        self.held = held.unwrap_or_else(|error| {
            tracing::warn!(OPERATION_ID = %self.record.id, "cannot keep garbage collections away: {error}");
            None
        });
    }

    /// Carries out a step that was done before.
    fn carry_out_again(&self, index: u32) -> std::result::Result<(), StepFailure> {
        let Some((_, undo)) = self.recovered.started.get(&index).cloned() else {
            return Ok(());
        };
        let step = self.steps[index as usize].step.clone();
        self.show_step(index, &step.describe().summary);
        let progress = Told::new(self, index);
        self.apply_step(&step, &self.context(&progress), &undo)
            .map(drop)
    }

    /// `rest`: the steps after it from now on, where those are other ones than were planned.
    fn step_done(
        &mut self,
        index: u32,
        undo: &Undo,
        undone: Undone,
        rest: Option<Vec<PlannedStep>>,
    ) -> Result<()> {
        let step = self.steps[index as usize].step.clone();
        let mut change = Change::default();
        if let Some(rest) = rest {
            self.steps.truncate(index as usize + 1);
            for (planned, at) in rest.iter().zip(index + 1..) {
                change.step(&self.record.id, at, planned)?;
            }
            self.steps.extend(rest);
            self.record.steps = u32::try_from(self.steps.len()).unwrap_or(u32::MAX);
            self.scale = Scale::of(&self.steps);
            let steps = self.record.steps;
            self.live.send_modify(|view| view.steps = steps);
        }
        self.own(&mut change, index, Ownership::of_done(&step, undo, &undone))?;
        self.keep(&undone.into_kept());
        self.remember_default(&mut change, index)?;
        let records = vec![Record::Done { step: index }];
        match self.record.state {
            State::Soaking => self.enter_in(change, Event::Proven, records)?,
            _ if self.goes_on_at_once(index) => self.journal_later(change, records)?,
            _ => self.journal_in(change, records)?,
        }
        self.show_progress(index, 1.0);
        self.show_convergence();
        Ok(())
    }

    /// Whether the next thing after a step is to begin another, which is written down before it
    /// changes anything: one flush then lies between the two. Steps of a switch wait, are confirmed
    /// and look up in the database what was done: each of them is written down at once.
    fn goes_on_at_once(&self, index: u32) -> bool {
        let plain = |step: &Step| !matches!(step, Step::Switch(_) | Step::SelfUpgrade(_));
        let at = index as usize;
        let both = self.steps.get(at).zip(self.steps.get(at + 1));
        both.is_some_and(|(done, next)| plain(&done.step) && plain(&next.step))
    }

    fn apply_step(
        &self,
        step: &Step,
        context: &Context<'_>,
        undo: &Undo,
    ) -> std::result::Result<Undone, StepFailure> {
        match (step, undo) {
            (Step::Switch(step), Undo::Switch(undo)) => {
                self.shared.switch.apply(step, context, undo)
            }
            (Step::SelfUpgrade(SelfStep::HandOver(over)), _) => self.hand_over(over),
            (Step::SelfUpgrade(SelfStep::Prove), _) => self.prove_self(),
            (step, undo) => step.apply(context, undo),
        }
    }

    /// Undoes a step and writes that to the disk.
    pub(super) fn undo_step(
        &self,
        index: u32,
        undo: &Undo,
    ) -> std::result::Result<Undone, StepFailure> {
        let step = self.steps[index as usize].step.clone();
        self.show_step(index, &step.describe().summary);
        if self.is_gone(undo) {
            return Ok(Undone::Clean);
        }
        let progress = Told::new(self, index);
        self.tried(index, &PAUSES, undo, || {
            let context = self.context(&progress);
            match (&step, undo) {
                (Step::Switch(step), Undo::Switch(undo)) => {
                    self.shared.switch.undo(step, &context, undo)
                }
                (Step::SelfUpgrade(SelfStep::HandOver(over)), _) => self.take_back(over),
                (step, undo) => step.undo(&context, undo),
            }
        })
    }

    fn sync_step(&self, index: u32) -> std::result::Result<(), StepFailure> {
        let host = &self.shared.host;
        match &self.steps[index as usize].step {
            Step::Switch(step) => self.shared.switch.sync(step, host),
            step => step.sync(host),
        }
    }

    fn step_failed(&mut self, index: u32, failed: StepFailure) -> Result<bool> {
        if failed.stopped {
            match self.cancel.requested() {
                Some(Stop::Shutdown) => return Ok(true),
                Some(Stop::Cancelled) if !self.recovered.is_past_return(&self.steps) => {
                    let reason = self.stop_reason();
                    return self
                        .fail(Some(index), reason, Event::CancelAsked)
                        .map(|()| false);
                }
                Some(Stop::Cancelled) | None => {}
            }
        }
        let event = self.way_back();
        if event == Event::StepFailed {
            if let Some(reason) = failed.waits {
                return self.wait(index, reason).map(|()| false);
            }
            if let Some(floor) = self.stays_at(index) {
                return self.wait(floor, failed.failure.message).map(|()| false);
            }
        }
        let begun = self.recovered.started.get(&index).cloned();
        match begun {
            // Nobody undoes it, and something of it may be there.
            Some((_, undo)) if event == Event::StepFailedForGood => {
                self.fail_owning(index, &undo, failed.failure, event)
            }
            _ => self.fail(Some(index), failed.failure, event),
        }
        .map(|()| false)
    }

    /// Adds to what was kept; two resources can have come upon the same path.
    fn keep(&mut self, kept: &[String]) {
        for line in kept {
            if !self.record.kept.contains(line) {
                self.record.kept.push(line.clone());
            }
        }
    }

    /// Fails with a step that may have left something on the machine: that stays owned, so that
    /// taking it off and repairing know of it.
    fn fail_owning(
        &mut self,
        index: u32,
        undo: &Undo,
        failure: Failure,
        event: Event,
    ) -> Result<()> {
        let mut change = Change::default();
        let step = self.steps[index as usize].step.clone();
        match &step {
            Step::Remove(..) => self.give_back(&mut change, index)?,
            step => {
                let whole = Ownership::of_done(step, undo, &Undone::Clean);
                self.own(&mut change, index, whole)?;
            }
        }
        self.fail_in(change, Some(index), failure, event)
    }

    /// Carries out or undoes a step, once more after each pause as long as that fails, and writes
    /// to the disk what it changed.
    fn tried(
        &self,
        index: u32,
        pauses: &[Duration],
        undo: &Undo,
        mut attempt: impl FnMut() -> std::result::Result<Undone, StepFailure>,
    ) -> std::result::Result<Undone, StepFailure> {
        let mut result = attempt();
        for pause in pauses {
            match &result {
                // It has its own time to come, and that is not soon.
                Err(failed) if self.record.state == State::Reverting && failed.waits.is_some() => {
                    break;
                }
                Err(failed) if !failed.stopped => tracing::warn!(
                    OPERATION_ID = %self.record.id, STEP = index + 1,
                    "{}; trying again", failed.failure.message
                ),
                _ => break,
            }
            std::thread::sleep(*pause);
            result = attempt();
        }
        let undone = result?;
        if *undo != Undo::Nothing {
            self.sync_step(index)?;
        }
        Ok(undone)
    }

    /// Undoes the last step. Says whether the daemon goes down instead.
    pub(super) fn backward(&mut self) -> Result<bool> {
        self.shared.only_shutdown(&mut self.cancel, &self.live);
        self.held = None;
        let Some((index, undo)) = self.recovered.next_undo() else {
            let cancelled = self
                .record
                .failure
                .as_ref()
                .is_some_and(|f| f.code == Code::Cancelled);
            let event = if cancelled {
                Event::UndoneCancelled
            } else {
                Event::Undone
            };
            return self.enter(event).map(|()| false);
        };
        let step = self.steps[index as usize].step.clone();
        match self.undo_step(index, &undo) {
            Ok(undone) => {
                let mut change = Change::default();
                match Ownership::of_left(&step, &undo, &undone) {
                    Ownership::Same => self.give_back(&mut change, index)?,
                    left => self.own(&mut change, index, left)?,
                }
                change.drop_earlier(&self.record.id, index);
                let kept = undone.into_kept();
                self.keep(&kept);
                let kept = (!kept.is_empty()).then(|| kept.join("; "));
                self.journal_in(change, vec![Record::Undone { step: index, kept }])?;
                self.rests = 0;
                self.live.send_modify(|view| view.waiting_for = None);
                self.show_progress(index, 0.0);
                Ok(false)
            }
            Err(StepFailure {
                waits: Some(reason),
                ..
            }) => {
                self.rest(&reason);
                Ok(false)
            }
            Err(failed) if failed.stopped && self.cancel.requested() == Some(Stop::Shutdown) => {
                Ok(true)
            }
            // The version of before puts all back at once, whatever of it this one cannot undo.
            Err(failed) if self.is_taken_back(index, &failed) => Ok(true),
            Err(failed) => {
                let mut failure = Failure::new(
                    Code::NotUndone,
                    format!("cannot undo step {}: {}", index + 1, failed.failure.message),
                );
                failure.causes = failed.failure.causes;
                failure
                    .causes
                    .extend(self.record.failure.iter().map(|first| {
                        format!(
                            "it was being undone because: {}: {}",
                            first.code, first.message
                        )
                    }));
                self.fail_owning(index, &undo, failure, Event::UndoFailed)
                    .map(|()| false)
            }
        }
    }
}

//! One operation from where it stands to its end, a durable record before and after each effect.

use std::time::Duration;

use nixctl_proto::{Code, Failure, OperationState as State, OperationView};
use tokio::sync::watch;

use super::Question;
use super::handle::Shared;
use super::record::{OperationRecord, Ownership, Record, Recovered};
use super::step::{PlannedStep, StepFailure};
use super::store::{Change, StoreError};
use super::transition::{self, Event};
use crate::host::Cancel;
use crate::host::cancel::Stop;
use crate::resource::{Context, Undo, Undone};

mod ledger;
mod told;

use told::Told;

/// Starts of one step after which it is given up: the daemon died in it each time.
const MAX_ATTEMPTS: u32 = 5;
/// Pauses before a step that must not fail is tried again.
const PAUSES: [Duration; 3] = [
    Duration::from_millis(500),
    Duration::from_secs(2),
    Duration::from_secs(5),
];

/// How the work on an operation ended for now.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Outcome {
    /// It is in a final state.
    Ended,
    /// The daemon is going down; the next start goes on from the journal.
    Paused,
}

/// The work cannot go on: the journal cannot be written.
#[derive(Debug, thiserror::Error)]
pub enum RunError {
    /// The database.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// A bug of ours.
    #[error(transparent)]
    Illegal(#[from] transition::Illegal),
}

type Result<T> = std::result::Result<T, RunError>;

/// An operation at work.
pub struct Run<'a> {
    shared: &'a Shared,
    record: OperationRecord,
    steps: Vec<PlannedStep>,
    recovered: Recovered,
    cancel: Cancel,
    live: watch::Sender<OperationView>,
}

impl<'a> Run<'a> {
    /// Picks an operation up from its journal.
    ///
    /// # Errors
    /// When its plan cannot be read.
    pub fn pick_up(
        shared: &'a Shared,
        record: OperationRecord,
        cancel: Cancel,
        live: watch::Sender<OperationView>,
    ) -> Result<Self> {
        let steps = shared.store.steps(&record.id, record.steps)?;
        let entries = shared.store.journal(&record.id);
        let recovered = Recovered::read(entries.iter().map(|entry| &entry.record));
        Ok(Run {
            shared,
            record,
            steps,
            recovered,
            cancel,
            live,
        })
    }

    /// Works until the operation has ended or the daemon goes down.
    ///
    /// # Errors
    /// When the journal cannot be written: nothing more is touched then.
    pub fn go(&mut self) -> Result<Outcome> {
        loop {
            if self.record.state.is_final() {
                return Ok(Outcome::Ended);
            }
            if self.cancel.requested() == Some(Stop::Shutdown) {
                return Ok(Outcome::Paused);
            }
            self.shared.beat();
            let paused = match self.record.state {
                State::Queued => self.enter(Event::Begin).map(|()| false)?,
                State::Planning => self.plan()?,
                State::Waiting => self.enter(Event::Resume).map(|()| false)?,
                State::Running => self.forward()?,
                State::Soaking => self.enter(Event::StepsDone).map(|()| false)?,
                State::Committing => self.enter(Event::Committed).map(|()| false)?,
                State::Reverting => self.backward()?,
                State::Succeeded
                | State::Reverted
                | State::Failed
                | State::Cancelled
                | State::Attention => false,
            };
            if paused {
                return Ok(Outcome::Paused);
            }
        }
    }

    /// Puts an operation whose work panicked on the way back, or to attention.
    ///
    /// # Errors
    /// When the journal cannot be written.
    pub fn give_up_after_panic(&mut self, what: &str) -> Result<()> {
        let failure = Failure::new(Code::Internal, format!("internal error: {what}"));
        match self.record.state {
            State::Queued => {
                self.enter(Event::Begin)?;
                self.fail(None, failure, Event::Refused)
            }
            State::Planning => self.fail(None, failure, Event::Refused),
            State::Running | State::Waiting | State::Soaking => {
                if self.record.state == State::Waiting {
                    self.enter(Event::Resume)?;
                }
                let event = self.way_back();
                self.fail(None, failure, event)
            }
            State::Reverting => self.fail(None, failure, Event::UndoFailed),
            State::Committing => self.enter(Event::Committed),
            State::Succeeded
            | State::Reverted
            | State::Failed
            | State::Cancelled
            | State::Attention => Ok(()),
        }
    }

    fn plan(&mut self) -> Result<bool> {
        self.say("reading the machine");
        if self.cancel.requested() == Some(Stop::Cancelled) {
            return self.stop_planning().map(|()| false);
        }
        let settings = self.shared.settings();
        let owned = self.shared.store.owned();
        let planned = self.shared.planner.plan(&Question {
            request: &self.record.request,
            host: &self.shared.host,
            settings: &settings,
            owned: &owned,
            cancel: &self.cancel,
        });
        match self.cancel.requested() {
            Some(Stop::Shutdown) => return Ok(true),
            Some(Stop::Cancelled) => {
                return self.stop_planning().map(|()| false);
            }
            None => {}
        }
        let planned = match planned {
            Ok(planned) => planned,
            Err(failure) => return self.fail(None, failure, Event::Refused).map(|()| false),
        };
        self.record.notes.extend(planned.view.notes.iter().cloned());
        if let Some(failure) = planned.view.refusal() {
            return self
                .fail(None, failure.clone(), Event::Refused)
                .map(|()| false);
        }
        if planned.view.is_empty() || self.record.options.dry_run {
            let title = planned.view.title.clone();
            self.record.notes.push(if self.record.options.dry_run {
                format!("dry run: nothing was changed ({title})")
            } else {
                "nothing to do".to_owned()
            });
            return self
                .enter_with(Event::NothingToDo, vec![Record::Planned { title }])
                .map(|()| false);
        }
        self.record.steps = u32::try_from(planned.steps.len()).unwrap_or(u32::MAX);
        let mut change = Change::default();
        for (step, index) in planned.steps.iter().zip(0u32..) {
            change.step(&self.record.id, index, step)?;
        }
        self.steps = planned.steps;
        self.enter_in(
            change,
            Event::Planned,
            vec![Record::Planned {
                title: planned.view.title,
            }],
        )?;
        Ok(false)
    }

    fn stop_planning(&mut self) -> Result<()> {
        let event = if self.is_late() {
            Event::Refused
        } else {
            Event::CancelledEarly
        };
        self.fail(None, self.stop_reason(), event)
    }

    fn forward(&mut self) -> Result<bool> {
        let Some(index) = self.recovered.next(self.record.steps) else {
            return self.enter(Event::StepsDone).map(|()| false);
        };
        let past_return = self.recovered.is_past_return(&self.steps);
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
        let earlier = self.recovered.started.get(&index).cloned();
        let attempt = earlier.as_ref().map_or(1, |(attempts, _)| attempts + 1);
        if attempt > MAX_ATTEMPTS && !past_return {
            let failure = Failure::new(
                Code::Internal,
                format!(
                    "internal error: step {} was begun {MAX_ATTEMPTS} times and never ended",
                    index + 1
                ),
            );
            return self
                .fail(Some(index), failure, Event::StepFailed)
                .map(|()| false);
        }
        let step = self.steps[index as usize].step.clone();
        self.show_step(index, &step.describe().summary);
        let progress = Told::new(self);
        let context = self.context(&progress);
        let undo = match earlier {
            Some((_, undo)) => Ok(undo),
            None => step.prepare(&context),
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
        self.journal(vec![Record::Started {
            step: index,
            attempt,
            undo: undo.clone(),
        }])?;
        let progress = Told::new(self);
        let mut result = step.apply(&self.context(&progress), &undo);
        if self.recovered.is_past_return(&self.steps) {
            for pause in PAUSES {
                match &result {
                    Err(failed) if !failed.stopped => tracing::warn!(
                        OPERATION_ID = %self.record.id, STEP = index + 1,
                        "{}; trying again", failed.failure.message
                    ),
                    _ => break,
                }
                std::thread::sleep(pause);
                result = step.apply(&self.context(&progress), &undo);
            }
        }
        if result.is_ok() && undo != Undo::Nothing {
            let synced = step.sync(&self.shared.host);
            result = synced.and(result);
        }
        let notes = progress.into_notes();
        self.record.notes.extend(notes);
        match result {
            Ok(undone) => self.step_done(index, &undo, undone).map(|()| false),
            Err(failed) => self.step_failed(index, failed),
        }
    }

    fn step_done(&mut self, index: u32, undo: &Undo, undone: Undone) -> Result<()> {
        let step = self.steps[index as usize].step.clone();
        let mut change = Change::default();
        self.own(&mut change, Ownership::of_done(&step, undo, &undone))?;
        self.keep(&undone.into_kept());
        self.journal_in(change, vec![Record::Done { step: index }])
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
        self.fail(Some(index), failed.failure, event)
            .map(|()| false)
    }

    fn backward(&mut self) -> Result<bool> {
        self.shared.only_shutdown(&mut self.cancel, &self.live);
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
        self.show_step(index, &step.describe().summary);
        let progress = Told::new(self);
        let mut result = step.undo(&self.context(&progress), &undo);
        for pause in PAUSES {
            match &result {
                Err(failed) if !failed.stopped => tracing::warn!(
                    OPERATION_ID = %self.record.id, STEP = index + 1,
                    "{}; trying again", failed.failure.message
                ),
                _ => break,
            }
            std::thread::sleep(pause);
            result = step.undo(&self.context(&progress), &undo);
        }
        if result.is_ok() && undo != Undo::Nothing {
            let synced = step.sync(&self.shared.host);
            result = synced.and(result);
        }
        match result {
            Ok(undone) => {
                let mut change = Change::default();
                self.own(&mut change, Ownership::of_undone(&step, &undo, &undone))?;
                let kept = undone.into_kept();
                self.keep(&kept);
                let kept = (!kept.is_empty()).then(|| kept.join("; "));
                self.journal_in(change, vec![Record::Undone { step: index, kept }])?;
                Ok(false)
            }
            Err(failed) if failed.stopped && self.cancel.requested() == Some(Stop::Shutdown) => {
                Ok(true)
            }
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
                self.fail(Some(index), failure, Event::UndoFailed)
                    .map(|()| false)
            }
        }
    }

    /// Adds to what was kept; two resources can have come upon the same path.
    fn keep(&mut self, kept: &[String]) {
        for line in kept {
            if !self.record.kept.contains(line) {
                self.record.kept.push(line.clone());
            }
        }
    }

    fn way_back(&self) -> Event {
        if self.recovered.is_past_return(&self.steps) {
            Event::StepFailedForGood
        } else {
            Event::StepFailed
        }
    }

    fn is_late(&self) -> bool {
        self.record.options.deadline.is_some_and(|seconds| {
            let end = self
                .record
                .created
                .saturating_add(seconds.saturating_mul(1000));
            self.shared.host.clock.now() > end
        })
    }

    /// Why a stop was asked for: its own deadline, or somebody.
    fn stop_reason(&self) -> Failure {
        if self.is_late() {
            Failure::new(
                Code::Timeout,
                "cannot finish the operation: its deadline has passed",
            )
        } else {
            cancelled()
        }
    }

    fn context<'c>(&'c self, progress: &'c Told) -> Context<'c> {
        Context {
            host: &self.shared.host,
            progress,
            cancel: &self.cancel,
            worker: self.shared.worker.as_ref(),
        }
    }
}

fn cancelled() -> Failure {
    Failure::new(Code::Cancelled, "the operation was cancelled")
}

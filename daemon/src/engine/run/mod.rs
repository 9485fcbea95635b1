//! One operation from where it stands to its end, a durable record before and after each effect.

use std::time::Duration;

use nixctl_proto::plan::Plan;
use nixctl_proto::request::OperationRequest;
use nixctl_proto::{Code, Failure, OperationState as State, OperationView};
use tokio::sync::watch;

use super::handle::Shared;
use super::record::{OperationRecord, Record, Recovered};
use super::step::{PlannedStep, Step};
use super::store::{Change, StoreError};
use super::transition::{self, Event};
use super::weight::Scale;
use crate::host::Cancel;
use crate::host::cancel::Stop;
use crate::resource::Context;
use crate::upgrade::quiet;
use crate::upgrade::step::UpgradeStep;
use crate::upgrade::temp_roots::TempRoots;
use nixctl_proto::health::check::Area;

mod hand_over;
mod ledger;
mod planning;
mod steps;
mod switch;
mod told;
mod waiting;

use told::Told;

/// Starts of one step, or of planning, after which it is given up: the daemon died in it each time.
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
    scale: Scale,
    /// The plan as people see it, of operations that store it.
    plan: Option<Plan>,
    /// Whether an earlier daemon ended while it planned.
    was_planning: bool,
    /// Whether it has waited its time, or was picked up while it waited, and shall try again.
    has_rested: bool,
    /// How often what is being planned or undone had to wait for something that may come.
    rests: u32,
    /// That a step was done, to be written down with the beginning of the next one.
    unwritten: Change,
    /// A step that has to be carried out once more before the next one: what it brought about ended
    /// with the daemon that did it.
    again: Option<u32>,
    /// Keeps garbage collections from a release that is not registered yet.
    held: Option<TempRoots>,
}

impl<'a> Run<'a> {
    /// Picks an operation up from its journal.
    ///
    /// # Errors
    /// When its plan cannot be read, or the journal cannot be written.
    pub fn pick_up(
        shared: &'a Shared,
        record: OperationRecord,
        cancel: Cancel,
        live: watch::Sender<OperationView>,
    ) -> Result<Self> {
        let steps = shared.store.steps(&record.id, record.steps)?;
        let entries = shared.store.journal(&record.id);
        let recovered = Recovered::read(entries.iter().map(|entry| &entry.record));
        let mut run = Run {
            shared,
            scale: Scale::of(&steps),
            was_planning: record.state == State::Planning,
            record,
            steps,
            recovered,
            cancel,
            live,
            plan: None,
            has_rested: true,
            rests: 0,
            unwritten: Change::default(),
            again: None,
            held: None,
        };
        run.again = quiet_again(&run.steps, &run.recovered);
        run.plan = run.stored_plan()?;
        run.forgive_pause()?;
        run.notice_reboot()?;
        run.publish_record();
        Ok(run)
    }

    /// Does not count the last attempt when the daemon was asked to go down in it.
    fn forgive_pause(&mut self) -> Result<()> {
        if !self.shared.store.was_paused(&self.record.id)? {
            return Ok(());
        }
        let step = self.recovered.at_work();
        let counted = match self.record.state {
            State::Planning => true,
            State::Running | State::Soaking => step.is_some(),
            _ => false,
        };
        let mut change = Change::default();
        change.drop_paused(&self.record.id);
        let record = counted.then_some(Record::Paused { step });
        self.journal_in(change, record.into_iter().collect())
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
                return self.pause();
            }
            self.shared.beat();
            let paused = match self.record.state {
                State::Queued => self.enter(Event::Begin).map(|()| false)?,
                State::Planning => self.plan()?,
                State::Waiting => self.waiting()?,
                State::Running => self.forward()?,
                // Cut off in it: the step that watches is begun again.
                State::Soaking => self.enter(Event::Proven).map(|()| false)?,
                State::Committing => self.commit().map(|()| false)?,
                State::Reverting => self.backward()?,
                State::Succeeded
                | State::Reverted
                | State::Failed
                | State::Cancelled
                | State::Attention => false,
            };
            if paused {
                return self.pause();
            }
        }
    }

    /// Leaves the operation to the next start, which may be far off: nobody is kept waiting until then.
    /// What it has used up of a deadline is written down, because that may be after a reboot.
    fn pause(&mut self) -> Result<Outcome> {
        if self.record.options.deadline.is_some() || !self.unwritten.is_empty() {
            self.journal(Vec::new())?;
        }
        if matches!(self.record.request, OperationRequest::Upgrade(_))
            && !self.recovered.started.is_empty()
            && let Err(error) = quiet::go_on(&self.shared.host)
        {
            tracing::warn!(OPERATION_ID = %self.record.id, "cannot let nix-daemon go on: {error}");
        }
        Ok(Outcome::Paused)
    }

    /// Ends a success. Whoever sees it can ask at once how the machine is, so that is looked at first.
    fn commit(&mut self) -> Result<()> {
        self.say("looking at the result");
        if !self.shared.is_judged() {
            // One that ends early is made again when the operation is over.
            let _ = self.shared.look(&Area::ALL, false, &self.cancel);
        }
        self.enter(Event::Committed)
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

    fn way_back(&self) -> Event {
        if self.recovered.is_past_return(&self.steps) {
            Event::StepFailedForGood
        } else {
            Event::StepFailed
        }
    }

    /// Whether the daemon itself asked for it: what it tries is written down with the request.
    fn is_automatic(&self) -> bool {
        matches!(&self.record.request, OperationRequest::Repair(it) if it.automatic)
    }

    fn is_late(&self) -> bool {
        let left = self.record.left(&self.shared.host.clock.moment());
        left.is_some_and(|left| left.is_zero())
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

/// The step that kept nix-daemon from serving, when it was done by an earlier daemon and the new version
/// does not serve yet.
fn quiet_again(steps: &[PlannedStep], recovered: &Recovered) -> Option<u32> {
    let is_done = |index: &u32| recovered.done.contains(index);
    let upgrade = |wanted: fn(&UpgradeStep) -> bool| {
        let mut all = (0u32..).zip(steps);
        all.find_map(|(index, it)| match &it.step {
            Step::Upgrade(step) if wanted(step) => Some(index),
            _ => None,
        })
    };
    let restart = upgrade(|it| matches!(it, UpgradeStep::Restart(_)))?;
    let quiet = upgrade(|it| matches!(it, UpgradeStep::Quiet(_)))?;
    (is_done(&quiet) && !is_done(&restart)).then_some(quiet)
}

fn cancelled() -> Failure {
    Failure::new(Code::Cancelled, "the operation was cancelled")
}

fn never_ended(what: &str) -> Failure {
    let text = format!("internal error: {what} was begun {MAX_ATTEMPTS} times and never ended");
    Failure::new(Code::Internal, text)
}

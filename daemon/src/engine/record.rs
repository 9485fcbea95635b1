//! What is stored: operations, their journals, and what is owned. Plain data, and the pure
//! reading of a journal that may have been cut off after any record.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use nixctl_proto::request::{OperationRequest, RequestOptions};
use nixctl_proto::status::Health;
use nixctl_proto::{Code, Failure, OperationId, OperationState};
use serde::{Deserialize, Serialize};

use super::step::PlannedStep;
use crate::host::clock::Moment;
use crate::resource::{Resource, Undo};

/// An operation as it is stored.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct OperationRecord {
    /// Identity.
    pub id: OperationId,
    /// What was asked for, canonical and immutable.
    pub request: OperationRequest,
    /// With which options.
    pub options: RequestOptions,
    /// User id of who asked.
    pub requested_by: u32,
    /// When, milliseconds since 1970.
    pub created: u64,
    /// When it ended, milliseconds since 1970.
    pub finished: Option<u64>,
    /// Where it stands.
    pub state: OperationState,
    /// Why it failed.
    pub failure: Option<Failure>,
    /// What was left on purpose.
    pub kept: Vec<String>,
    /// What the user should know.
    pub notes: Vec<String>,
    /// Sequence number of the next journal record.
    pub next_sequence: u32,
    /// Number of planned steps, 0 before planning.
    pub steps: u32,
    /// Milliseconds since it was asked for, as far as they were counted: see [`Self::count`].
    pub spent: u64,
    /// Up to when they were counted; `None` before the first time.
    pub counted: Option<Moment>,
}

impl OperationRecord {
    /// Counts the time that has passed. Not by the wall clock, which somebody may set, and of the
    /// time that the machine was off nothing.
    pub fn count(&mut self, now: Moment) {
        let passed = self.counted.as_ref().map_or(0, |last| now.since(last));
        self.spent = self.spent.saturating_add(passed);
        self.counted = Some(now);
    }

    /// What is left until its deadline at that moment; `None` when it has none.
    pub fn left(&self, now: &Moment) -> Option<Duration> {
        let deadline = self.options.deadline?.saturating_mul(1000);
        let passed = self.counted.as_ref().map_or(0, |last| now.since(last));
        let spent = self.spent.saturating_add(passed);
        Some(Duration::from_millis(deadline.saturating_sub(spent)))
    }
}

/// A journal record with its time.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Entry {
    /// Milliseconds since 1970.
    pub time: u64,
    /// The record.
    pub record: Record,
}

/// One record of an operation's journal.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum Record {
    /// The plan is stored beside the journal, a key for each step.
    Planned {
        /// One line for people.
        title: String,
    },
    /// About to carry out a step; written before anything is touched.
    Started {
        /// Index of the step from 0.
        step: u32,
        /// How often it has been started, from 1.
        attempt: u32,
        /// What undoing needs, read before the first attempt.
        undo: Undo,
    },
    /// The step was carried out and read back.
    Done {
        /// Index of the step.
        step: u32,
    },
    /// A step, or the planning, failed.
    Failed {
        /// Index of the step; `None` for planning.
        step: Option<u32>,
        /// Why.
        failure: Failure,
    },
    /// The step was undone.
    Undone {
        /// Index of the step.
        step: u32,
        /// What was left on purpose.
        kept: Option<String>,
    },
    /// The state changed.
    State {
        /// New state.
        state: OperationState,
    },
    /// About to plan once more: the daemon ended while it planned.
    Planning {
        /// How often planning has been begun.
        attempt: u32,
    },
    /// The daemon was asked to go down in the attempt before; that one does not count.
    Paused {
        /// Index of the step at work; `None` for planning.
        step: Option<u32>,
    },
    /// Something is missing that may come.
    Waiting {
        /// Steps from this one on are undone before the waiting begins.
        floor: u32,
        /// How often it has waited since a step was last done, from 1.
        tries: u32,
        /// What it waits for.
        reason: String,
    },
    /// The machine was restarted, and with that the step is not done any more.
    Rebooted {
        /// Index of the step.
        step: u32,
    },
    /// A newer operation goes on from here.
    Superseded {
        /// The newer one.
        by: OperationId,
    },
}

/// What a switch found before it began, to which a rollback goes.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Before {
    /// Number of the profile's current generation; 0 for none.
    pub generation: u64,
    /// Store path that it led to; empty for none.
    pub path: String,
    /// Store path of the running system.
    pub running: String,
}

/// What an operation waits for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Waiting {
    /// Steps from this one on are undone before the waiting begins.
    pub floor: u32,
    /// How often it has waited since a step was last done.
    pub tries: u32,
    /// What it waits for.
    pub reason: String,
}

/// A resource that nixctl owns, with what undoing it needs.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Owned {
    /// Position in the order of making.
    pub order: u64,
    /// Operation that made it.
    pub by: OperationId,
    /// The resource.
    pub resource: Resource,
    /// Undo data of its making.
    pub undo: Undo,
}

/// What was said of a resource in the list of what is owned before a step changed that.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Earlier {
    /// Its entry; `None` when it was not owned.
    pub owned: Option<Owned>,
}

/// How the machine was judged, and when.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Judgement {
    /// Milliseconds since 1970.
    pub time: u64,
    /// The judgement.
    pub health: Health,
    /// One line on why.
    pub reason: String,
}

/// What a journal says of an operation's steps, wherever it was cut off.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Recovered {
    /// How often planning was begun.
    pub planning: u32,
    /// Started steps: how often, and the undo data of the first attempt.
    pub started: BTreeMap<u32, (u32, Undo)>,
    /// Steps that were carried out and read back.
    pub done: BTreeSet<u32>,
    /// Steps that were undone.
    pub undone: BTreeSet<u32>,
    /// What it waited for last, if no step was done since.
    pub waiting: Option<Waiting>,
    /// Steps that a restart of the machine undid: how often.
    pub rebooted: BTreeMap<u32, u32>,
}

impl Recovered {
    /// Reads a journal from its beginning to wherever it ends.
    pub fn read<'a>(entries: impl IntoIterator<Item = &'a Record>) -> Self {
        let mut recovered = Recovered::default();
        for record in entries {
            recovered.note(record);
        }
        recovered
    }

    /// Takes one more record into account.
    pub fn note(&mut self, record: &Record) {
        match record {
            Record::Started {
                step,
                attempt,
                undo,
            } => {
                self.undone.remove(step);
                self.done.remove(step);
                self.started
                    .entry(*step)
                    .and_modify(|(attempts, _)| *attempts = *attempt)
                    .or_insert_with(|| (*attempt, undo.clone()));
            }
            Record::Done { step } => {
                self.done.insert(*step);
                self.waiting = None;
            }
            Record::Waiting {
                floor,
                tries,
                reason,
            } => {
                self.waiting = Some(Waiting {
                    floor: *floor,
                    tries: *tries,
                    reason: reason.clone(),
                });
            }
            Record::Rebooted { step } => {
                self.done.remove(step);
                self.started.remove(step);
                *self.rebooted.entry(*step).or_default() += 1;
            }
            Record::Undone { step, .. } => {
                self.undone.insert(*step);
                self.done.remove(step);
                self.started.remove(step);
            }
            Record::State {
                state: OperationState::Planning,
            } => self.planning = 1,
            Record::Planning { attempt } => self.planning = *attempt,
            Record::Paused { step: None } => self.planning = self.planning.saturating_sub(1),
            Record::Paused { step: Some(step) } => {
                if let Some((attempts, _)) = self.started.get_mut(step) {
                    *attempts = attempts.saturating_sub(1);
                }
            }
            Record::Planned { .. }
            | Record::Failed { .. }
            | Record::State { .. }
            | Record::Superseded { .. } => {}
        }
    }

    /// The step to carry out next, of `steps`; `None` when all are done.
    pub fn next(&self, steps: u32) -> Option<u32> {
        (0..steps).find(|step| !self.done.contains(step))
    }

    /// The step that was being carried out.
    pub fn at_work(&self) -> Option<u32> {
        let open = |step: &&u32| !self.done.contains(step);
        self.started.keys().find(open).copied()
    }

    /// The step to undo next, with its undo data: the last one that was started and not undone.
    pub fn next_undo(&self) -> Option<(u32, Undo)> {
        self.started
            .iter()
            .next_back()
            .map(|(step, (_, undo))| (*step, undo.clone()))
    }

    /// Whether a step was started after which there is no way back.
    pub fn is_past_return(&self, steps: &[PlannedStep]) -> bool {
        self.started.keys().any(|index| {
            steps
                .get(*index as usize)
                .is_some_and(|planned| planned.step.is_irreversible())
        })
    }
}

/// Why an operation that could not be undone was being undone.
pub fn first_failure(entries: &[Entry]) -> Option<Failure> {
    let failures = entries
        .iter()
        .rev()
        .filter_map(|entry| match &entry.record {
            Record::Failed { failure, .. } => Some(failure),
            _ => None,
        });
    let mut failures = failures.filter(|failure| failure.code != Code::NotUndone);
    failures.next().cloned()
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// A run of `steps` steps that fails at `fail` (if any) and is undone, as records.
    fn history(steps: u32, fail: Option<u32>) -> Vec<Record> {
        let mut records = vec![Record::Planned {
            title: String::new(),
        }];
        for step in 0..steps {
            records.push(Record::Started {
                step,
                attempt: 1,
                undo: Undo::Created,
            });
            if fail == Some(step) {
                for back in (0..=step).rev() {
                    records.push(Record::Undone {
                        step: back,
                        kept: None,
                    });
                }
                return records;
            }
            records.push(Record::Done { step });
        }
        records
    }

    proptest! {
        #[test]
        fn a_cut_off_journal_resumes_at_the_first_step_that_is_not_done(
            steps in 1u32..12, cut in 0usize..40,
        ) {
            let records = history(steps, None);
            let cut = cut.min(records.len());
            let recovered = Recovered::read(&records[..cut]);
            let done = records[..cut].iter().filter(|r| matches!(r, Record::Done { .. })).count();
            prop_assert_eq!(
                recovered.next(steps),
                if (done as u32) < steps { Some(done as u32) } else { None }
            );
        }

        #[test]
        fn a_cut_off_undoing_goes_on_backwards_and_ends_with_nothing_started(
            steps in 1u32..12, fail in 0u32..12, cut in 0usize..60,
        ) {
            let fail = fail.min(steps - 1);
            let records = history(steps, Some(fail));
            let cut = cut.min(records.len());
            let mut recovered = Recovered::read(&records[..cut]);
            let mut last = u32::MAX;
            while let Some((step, _)) = recovered.next_undo() {
                prop_assert!(step < last);
                last = step;
                recovered.note(&Record::Undone { step, kept: None });
            }
            prop_assert!(recovered.started.is_empty() && recovered.done.is_empty());
        }
    }

    #[test]
    fn the_undo_data_of_the_first_attempt_is_kept() {
        let recovered = Recovered::read(&[
            Record::Started {
                step: 0,
                attempt: 1,
                undo: Undo::Created,
            },
            Record::Started {
                step: 0,
                attempt: 2,
                undo: Undo::Nothing,
            },
        ]);
        assert_eq!(recovered.next_undo(), Some((0, Undo::Created)));
        assert_eq!(recovered.started[&0].0, 2);
    }
}

//! What is stored: operations, their journals, and what is owned. Plain data, and the pure
//! reading of a journal that may have been cut off after any record.

use std::collections::{BTreeMap, BTreeSet};

use nixctl_proto::request::{OperationRequest, RequestOptions};
use nixctl_proto::{Code, Failure, OperationId, OperationState};
use serde::{Deserialize, Serialize};

use super::step::{PlannedStep, Step};
use crate::resource::nix_conf::NixConfUndo;
use crate::resource::users::UsersUndo;
use crate::resource::{Resource, Undo, Undone};

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

/// What a journal says of an operation's steps, wherever it was cut off.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Recovered {
    /// Started steps: how often, and the undo data of the first attempt.
    pub started: BTreeMap<u32, (u32, Undo)>,
    /// Steps that were carried out and read back.
    pub done: BTreeSet<u32>,
    /// Steps that were undone.
    pub undone: BTreeSet<u32>,
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
            }
            Record::Undone { step, .. } => {
                self.undone.insert(*step);
                self.done.remove(step);
                self.started.remove(step);
            }
            Record::Planned { .. } | Record::Failed { .. } | Record::State { .. } => {}
        }
    }

    /// The step to carry out next, of `steps`; `None` when all are done.
    pub fn next(&self, steps: u32) -> Option<u32> {
        (0..steps).find(|step| !self.done.contains(step))
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

/// Undo data of a resource that was owned already and was made once more: what the first making
/// needs, and what the second one added to it.
pub fn joined(earlier: &Undo, fresh: Undo) -> Undo {
    match (earlier, fresh) {
        (Undo::Nothing, fresh) => fresh,
        (Undo::NixConf(earlier), Undo::NixConf(fresh)) => {
            // Comments belong to the line below them, so the lines stay together.
            let is_new = fresh.added.iter().any(|line| !earlier.added.contains(line));
            let mut added = earlier.added.clone();
            added.extend(fresh.added.into_iter().filter(|_| is_new));
            Undo::NixConf(NixConfUndo {
                created: earlier.created || fresh.created,
                added,
            })
        }
        (Undo::Users(earlier), Undo::Users(fresh)) => {
            let users = union(&earlier.users, fresh.users);
            let mut members = union(&earlier.members, fresh.members);
            members.retain(|member| !users.contains(member));
            Undo::Users(UsersUndo {
                users,
                members,
                group: earlier.group || fresh.group,
            })
        }
        (earlier, _) => earlier.clone(),
    }
}

fn union(earlier: &[String], fresh: Vec<String>) -> Vec<String> {
    let mut all = earlier.to_vec();
    all.extend(fresh.into_iter().filter(|name| !earlier.contains(name)));
    all
}

/// What a step means for what is owned.
#[derive(Debug)]
pub enum Ownership<'a> {
    /// The resource is owned from now on.
    Take(&'a Resource, Undo),
    /// The resource is not owned any more.
    Drop(&'a Resource),
    /// Nothing changes.
    Same,
}

impl<'a> Ownership<'a> {
    /// What a step that was done means.
    pub fn of_done(step: &'a Step, undo: &Undo, undone: &Undone) -> Self {
        match step {
            Step::Ensure(resource) | Step::Adopt(resource, _) => {
                Ownership::Take(resource, step.owned_undo(undo))
            }
            // A store that was kept stays ours, so that a later uninstall can take it off.
            Step::Remove(Resource::NixTree(tree), _) if tree.keep => Ownership::Same,
            // So does one of which not all could go.
            Step::Remove(Resource::NixTree(_), _) if matches!(undone, Undone::Left(_)) => {
                Ownership::Same
            }
            Step::Remove(resource, _) => Ownership::Drop(resource),
            Step::Fetch(_) | Step::SelfTest(_) | Step::Discard(_) => Ownership::Same,
        }
    }

    /// What a step that was undone means.
    pub fn of_undone(step: &'a Step, undo: &Undo, undone: &Undone) -> Self {
        match step {
            Step::Ensure(resource @ Resource::NixTree(_)) if matches!(undone, Undone::Left(_)) => {
                Ownership::Take(resource, step.owned_undo(undo))
            }
            Step::Ensure(resource) | Step::Adopt(resource, _) => Ownership::Drop(resource),
            Step::Remove(Resource::NixTree(tree), _) if tree.keep => Ownership::Same,
            Step::Remove(resource, undo) => Ownership::Take(resource, undo.clone()),
            Step::Fetch(_) | Step::SelfTest(_) | Step::Discard(_) => Ownership::Same,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn a_store_that_is_kept_stays_owned() {
        use crate::resource::nix_tree::NixTree;
        let step = |keep| {
            let tree = Resource::NixTree(NixTree { store_gid: 0, keep });
            Step::Remove(tree, Undo::Created)
        };
        let stays = |keep, undone| {
            matches!(
                Ownership::of_done(&step(keep), &Undo::Created, undone),
                Ownership::Same
            )
        };
        let left = Undone::Left(vec!["/nix/mine: it is busy".to_owned()]);
        assert!(stays(true, &Undone::Clean) && !stays(false, &Undone::Clean));
        assert!(stays(false, &left));
        let kept = Undone::Kept("/nix is a mount point and stays, empty".to_owned());
        assert!(!stays(false, &kept));
        let of_undone = |keep| {
            matches!(
                Ownership::of_undone(&step(keep), &Undo::Created, &Undone::Clean),
                Ownership::Same
            )
        };
        assert!(of_undone(true) && !of_undone(false));
        // An install that is undone and cannot take all of its tree back off owns the rest.
        let made = Step::Ensure(Resource::NixTree(NixTree {
            store_gid: 0,
            keep: false,
        }));
        assert!(matches!(
            Ownership::of_undone(&made, &Undo::Created, &left),
            Ownership::Take(..)
        ));
        assert!(matches!(
            Ownership::of_undone(&made, &Undo::Created, &Undone::Clean),
            Ownership::Drop(_)
        ));
    }

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

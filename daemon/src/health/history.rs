//! What broke when, what was done about it, and whether that helped.
//!
//! Pure: what stood before and what a round saw give events, and the changes to store. A round with
//! nothing new changes nothing. The number of events, their age and the number of findings that
//! stand are bounded; where events must go, they go from the finding that has the most, so that one
//! that comes and goes does not wash away the others' past. Age is measured on the
//! [`timeline`](super::timeline), because a clock set forward must not wipe the history.

use std::collections::{BTreeMap, VecDeque};

use nixctl_proto::OperationId;
use serde::{Deserialize, Serialize};

use super::sighting::{Round, Sighting};
use super::timeline::At;

/// Events that are kept.
pub const EVENTS: usize = 1000;
/// Findings that stand at a time and are followed; further ones are when others are gone.
pub const STANDING: usize = 1000;
/// How long an event is kept, in milliseconds: half a year. Older ones go when new ones come.
pub const AGE: u64 = 182 * 24 * 3600 * 1000;
/// Longest reason that is kept, in characters.
const REASON_CHARS: usize = 300;

/// Something that happened to a finding.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Event {
    /// Counts up from 0; no two have the same.
    pub number: u64,
    /// Milliseconds since 1970.
    pub time: u64,
    /// Milliseconds on the timeline.
    pub steady: u64,
    /// The finding.
    pub of: Sighting,
    /// What happened.
    pub what: What,
}

/// What happened to a finding.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum What {
    /// It was not there before.
    Appeared,
    /// A remedy was begun.
    Tried {
        /// Operation that carries it out.
        operation: OperationId,
    },
    /// It is still there after the remedy.
    DidNotHelp {
        /// Operation that carried it out.
        operation: OperationId,
        /// How that ended.
        why: String,
    },
    /// It is not there any more.
    Gone {
        /// How long it was there, in milliseconds.
        after: u64,
        /// Operation of the remedy that helped; `None`: it went by itself or by other hands.
        by: Option<OperationId>,
    },
}

/// A finding that is there.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Standing {
    /// Since when, milliseconds since 1970.
    pub since: u64,
    /// Since when, milliseconds on the timeline.
    pub steady: u64,
    /// The remedy that is being tried.
    pub tried: Option<Try>,
}

/// A remedy that is being tried.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Try {
    /// Operation that carries it out.
    pub operation: OperationId,
    /// How it ended; `None` while it goes on.
    pub ended: Option<String>,
}

/// What is to be stored.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Changes {
    /// New events.
    pub events: Vec<Event>,
    /// Numbers of events that are forgotten, new ones perhaps among them.
    pub dropped: Vec<u64>,
    /// Findings that stand, `None` for those that do no more.
    pub standing: BTreeMap<Sighting, Option<Standing>>,
}

impl Changes {
    /// Whether there is nothing to store.
    pub fn is_empty(&self) -> bool {
        self.events.is_empty() && self.dropped.is_empty() && self.standing.is_empty()
    }
}

/// Events and the findings that stand.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct History {
    events: VecDeque<Event>,
    standing: BTreeMap<Sighting, Standing>,
    changes: Changes,
}

impl History {
    /// What was stored; the events in the order of their numbers.
    pub fn restored(events: Vec<Event>, standing: BTreeMap<Sighting, Standing>) -> History {
        let events = events.into();
        let changes = Changes::default();
        History {
            events,
            standing,
            changes,
        }
    }

    /// All events, the oldest first.
    pub fn events(&self) -> impl DoubleEndedIterator<Item = &Event> {
        self.events.iter()
    }

    /// The findings that stand.
    pub fn standing(&self) -> &BTreeMap<Sighting, Standing> {
        &self.standing
    }

    /// Takes in what a round saw.
    pub fn look(&mut self, round: Round<'_>, at: At) {
        self.note_gone(round, at);
        self.note_vain(round, at);
        for of in round.seen {
            if self.standing.len() < STANDING && !self.standing.contains_key(of) {
                let standing = Standing {
                    since: at.wall,
                    steady: at.steady,
                    tried: None,
                };
                self.stand(of, standing);
                self.add(of, What::Appeared, at);
            }
        }
    }

    /// A remedy is begun.
    pub fn tried(&mut self, of: &Sighting, operation: &OperationId, at: At) {
        let Some(mut standing) = self.standing.get(of).cloned() else {
            return;
        };
        standing.tried = Some(Try {
            operation: operation.clone(),
            ended: None,
        });
        self.stand(of, standing);
        let operation = operation.clone();
        self.add(of, What::Tried { operation }, at);
    }

    /// The operation of a remedy ended, and how. Whether it helped is said by the next round that
    /// looks for its findings.
    pub fn ended(&mut self, operation: &OperationId, how: &str) {
        let all = self.standing.clone();
        for (of, mut standing) in all {
            if let Some(tried) = &mut standing.tried
                && tried.operation == *operation
                && tried.ended.is_none()
            {
                tried.ended = Some(how.chars().take(REASON_CHARS).collect());
                self.stand(&of, standing);
            }
        }
    }

    /// What changed since this was last called.
    pub fn take_changes(&mut self) -> Changes {
        std::mem::take(&mut self.changes)
    }

    /// The latest moment that is remembered, on the timeline.
    pub fn latest(&self) -> u64 {
        let events = self.events.iter().map(|event| event.steady);
        let standing = self.standing.values().map(|standing| standing.steady);
        events.chain(standing).max().unwrap_or(0)
    }

    fn note_gone(&mut self, round: Round<'_>, at: At) {
        let is_gone = |of: &&Sighting| round.misses(of);
        let gone: Vec<Sighting> = self.standing.keys().filter(is_gone).cloned().collect();
        for of in gone {
            let Some(was) = self.standing.remove(&of) else {
                continue;
            };
            self.changes.standing.insert(of.clone(), None);
            let what = What::Gone {
                after: at.steady.saturating_sub(was.steady),
                by: was.tried.map(|tried| tried.operation),
            };
            self.add(&of, what, at);
        }
    }

    fn note_vain(&mut self, round: Round<'_>, at: At) {
        let all = self.standing.clone();
        for (of, mut standing) in all {
            if !round.sees(&of) {
                continue;
            }
            match standing.tried.take() {
                Some(Try {
                    operation,
                    ended: Some(why),
                }) => {
                    self.stand(&of, standing);
                    self.add(&of, What::DidNotHelp { operation, why }, at);
                }
                _ => continue,
            }
        }
    }

    fn stand(&mut self, of: &Sighting, standing: Standing) {
        let known = Some(standing.clone());
        self.changes.standing.insert(of.clone(), known);
        self.standing.insert(of.clone(), standing);
    }

    fn add(&mut self, of: &Sighting, what: What, at: At) {
        let event = Event {
            number: self.events.back().map_or(0, |last| last.number + 1),
            time: at.wall,
            steady: at.steady,
            of: of.clone(),
            what,
        };
        self.changes.events.push(event.clone());
        self.events.push_back(event);
        let is_old = |event: &Event| at.steady.saturating_sub(event.steady) > AGE;
        while self.events.front().is_some_and(is_old) {
            self.drop_at(0);
        }
        while self.events.len() > EVENTS {
            let place = self.oldest_of_the_most();
            self.drop_at(place);
        }
    }

    fn drop_at(&mut self, place: usize) {
        if let Some(event) = self.events.remove(place) {
            self.changes.dropped.push(event.number);
        }
    }

    /// Where the oldest event stands of the finding that has the most. Never the last event: by it
    /// the next one gets its number.
    fn oldest_of_the_most(&self) -> usize {
        let mut numbers: BTreeMap<&Sighting, (usize, usize)> = BTreeMap::new();
        for (place, event) in self.events.iter().enumerate() {
            numbers.entry(&event.of).or_insert((0, place)).0 += 1;
        }
        let most = numbers
            .into_values()
            .max_by_key(|(number, place)| (*number, usize::MAX - place));
        most.map_or(0, |(_, place)| place)
    }
}

#[cfg(test)]
#[path = "history_tests.rs"]
mod tests;

//! Whether a remedy may be tried: pauses that grow, and a circuit breaker for each finding.
//!
//! ```text
//!             began            helped            quiet for a day
//!   (unknown) -----> at work ---------> helped ------------------> (unknown)
//!                     | ^ |                | it came back
//!              failed | | | failed         |
//!                     v | | too often      v too often in a while
//!                  resting|<---------------+
//!                         v
//!                        open --- after a day, or when somebody asks: one try ---> at work
//! ```
//!
//! A try counts from its beginning; one that ends the daemon goes on as the same operation, which has
//! a limit of its own.
//! Time is that of the [`timeline`](super::timeline): a set clock neither blocks nor hurries.
//! Pure; every answer says why.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::sighting::{Round, Sighting};
use super::timeline::At;
use crate::engine::backoff::pause_between;

/// Tries in a row that may fail.
pub const FAILURES: u32 = 5;
/// How often a finding may come back after it was repaired, and within how long.
pub const RETURNS: [(usize, Duration); 2] = [(3, hours(1)), (8, hours(24))];
/// How long nothing is tried at first, once that was too often; doubles with each vain try.
pub const FIRST_OPEN: Duration = hours(24);
/// How long at most.
pub const LONGEST_OPEN: Duration = hours(7 * 24);
/// The pauses after the first tries that failed, and after the first returns that are too quick: what
/// was only not there yet is tried again soon.
pub const PAUSES: [Duration; 4] = [
    Duration::from_secs(5),
    Duration::from_secs(60),
    Duration::from_secs(300),
    Duration::from_secs(1800),
];
/// How long is waited where too many findings are remembered.
const NO_ROOM: Duration = Duration::from_secs(60);
/// Findings that are remembered at a time; of others none is tried until one of them is forgotten.
pub const KEYS: usize = 256;
/// Time without trouble after which a finding's past is forgotten.
const QUIET: Duration = hours(24);
/// Time after which a try that nobody told the end of has failed.
const LOST: Duration = hours(6);
/// Longest reason that is kept, in characters.
const REASON_CHARS: usize = 300;

const fn hours(number: u64) -> Duration {
    Duration::from_secs(number * 3600)
}

/// Whether a remedy may be tried.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Verdict {
    /// Now, and why.
    Go(String),
    /// It is being tried already.
    Trying,
    /// After a pause.
    Rest {
        /// How long it still is.
        left: Duration,
        /// Why.
        why: String,
    },
    /// Not for a long time, or when somebody asks for it: trying did not help.
    Open {
        /// How long it still is.
        left: Duration,
        /// Why.
        why: String,
    },
}

/// What is remembered of one finding's remedies.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Breaker {
    stage: Stage,
    /// When that stage began, on the timeline.
    since: u64,
    /// Tries in a row that failed.
    failures: u32,
    /// When it came back after a repair, on the timeline.
    returns: Vec<u64>,
    /// How often it was open in a row.
    opened: u32,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
enum Stage {
    AtWork,
    Resting { millis: u64, why: String },
    Helped,
    Open { millis: u64, why: String },
    Asked,
    Returned { why: String },
}

/// The latest moment that these remember, on the timeline.
pub fn latest(all: &BTreeMap<Sighting, Breaker>) -> u64 {
    let moments = all.values().map(|breaker| breaker.since);
    moments.max().unwrap_or(0)
}

/// What is to be stored: breakers by finding, `None` for the forgotten.
pub type Changes = BTreeMap<Sighting, Option<Breaker>>;

/// The breakers of all findings.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Breakers {
    all: BTreeMap<Sighting, Breaker>,
    changed: BTreeSet<Sighting>,
}

impl Breakers {
    /// What was stored. A try that was at work then goes on with its operation.
    pub fn restored(all: BTreeMap<Sighting, Breaker>) -> Breakers {
        let changed = BTreeSet::new();
        Breakers { all, changed }
    }

    /// Whether a remedy may be tried.
    pub fn judge(&self, of: &Sighting, at: At) -> Verdict {
        match self.all.get(of) {
            None if self.all.len() >= KEYS => Verdict::Rest {
                left: NO_ROOM,
                why: format!("the remedies of {KEYS} other findings are not settled yet"),
            },
            None => Verdict::Go("nothing was tried yet".to_owned()),
            Some(breaker) => breaker.judge(at),
        }
    }

    /// Whether the last try failed.
    pub fn was_vain(&self, of: &Sighting) -> bool {
        let breaker = self.all.get(of);
        breaker.is_some_and(|it| it.failures > 0 || it.opened > 0)
    }

    /// A try begins; to be stored before it does. False: it must not, there is no room to count it.
    #[must_use]
    pub fn began(&mut self, of: &Sighting, at: At) -> bool {
        let breaker = match self.all.remove(of) {
            Some(breaker) => breaker,
            None if self.all.len() >= KEYS => return false,
            None => Breaker::new(at),
        };
        self.put(of, breaker.at(Stage::AtWork, at));
        true
    }

    /// A try failed, or the finding is still there after it.
    pub fn failed(&mut self, of: &Sighting, at: At, chance: u32, why: &str) {
        if let Some(breaker) = self.all.remove(of) {
            self.put(of, breaker.failed(at, chance, why));
        }
    }

    /// The finding is gone after a try.
    pub fn helped(&mut self, of: &Sighting, at: At) {
        if let Some(breaker) = self.all.remove(of) {
            self.put(of, breaker.helped(at));
        }
    }

    /// Somebody wants it tried once more, whatever it was judged.
    pub fn asked(&mut self, of: &Sighting, at: At) {
        if let Some(mut breaker) = self.all.remove(of) {
            // Their try is not held against it.
            breaker.opened = breaker.opened.saturating_sub(1);
            let stage = match breaker.stage {
                Stage::AtWork => Stage::AtWork,
                _ => Stage::Asked,
            };
            self.put(of, breaker.at(stage, at));
        }
    }

    /// Takes in what a round saw: what came back after it was repaired, and what has been quiet.
    pub fn look(&mut self, round: Round<'_>, at: At, chance: u32) {
        let all: Vec<Sighting> = self.all.keys().cloned().collect();
        for of in all {
            let Some(breaker) = self.all.get(&of) else {
                continue;
            };
            let age = at.steady.saturating_sub(breaker.since);
            match &breaker.stage {
                Stage::Helped if round.sees(&of) => {
                    let breaker = breaker.clone().returned(at, chance);
                    self.put(&of, breaker);
                }
                Stage::AtWork if age >= millis(LOST) => {
                    self.failed(&of, at, chance, "nobody told how it ended");
                }
                Stage::AtWork => {}
                stage if round.misses(&of) && age >= stage.length() + millis(QUIET) => {
                    self.all.remove(&of);
                    self.changed.insert(of);
                }
                _ => {}
            }
        }
    }

    /// When the first of these findings may be tried again that may not be now.
    pub fn next_due(&self, seen: &BTreeSet<Sighting>, at: At) -> Option<Duration> {
        let left = |of: &Sighting| match self.judge(of, at) {
            // Its end is a reason to look.
            Verdict::Go(_) | Verdict::Trying => None,
            Verdict::Rest { left, .. } | Verdict::Open { left, .. } => Some(left),
        };
        seen.iter().filter_map(left).min()
    }

    /// What changed since this was last called.
    pub fn take_changes(&mut self) -> Changes {
        let changed = std::mem::take(&mut self.changed);
        let now = |of: Sighting| {
            let breaker = self.all.get(&of).cloned();
            (of, breaker)
        };
        changed.into_iter().map(now).collect()
    }

    fn put(&mut self, of: &Sighting, breaker: Breaker) {
        self.all.insert(of.clone(), breaker);
        self.changed.insert(of.clone());
    }
}

impl Breaker {
    fn new(at: At) -> Breaker {
        Breaker {
            stage: Stage::AtWork,
            since: at.steady,
            failures: 0,
            returns: Vec::new(),
            opened: 0,
        }
    }

    fn at(mut self, stage: Stage, at: At) -> Breaker {
        self.stage = stage;
        self.since = at.steady;
        self
    }

    fn judge(&self, at: At) -> Verdict {
        let passed = at.steady.saturating_sub(self.since);
        let left = Duration::from_millis(self.stage.length().saturating_sub(passed));
        match &self.stage {
            Stage::AtWork => Verdict::Trying,
            Stage::Helped => Verdict::Go("it helped before".to_owned()),
            Stage::Asked => Verdict::Go("somebody asked for it".to_owned()),
            Stage::Returned { why } => Verdict::Go(why.clone()),
            Stage::Resting { why, .. } | Stage::Open { why, .. } if left.is_zero() => {
                Verdict::Go(format!("the pause is over: {why}"))
            }
            Stage::Resting { why, .. } => Verdict::Rest {
                left,
                why: why.clone(),
            },
            Stage::Open { why, .. } => Verdict::Open {
                left,
                why: why.clone(),
            },
        }
    }

    fn failed(mut self, at: At, chance: u32, why: &str) -> Breaker {
        self.failures = self.failures.saturating_add(1);
        let tries = self.failures;
        let why = format!("tried {} without help, last: {why}", times(tries as usize));
        if tries >= FAILURES || self.opened > 0 {
            return self.open(at, chance, &why);
        }
        let millis = pause(tries, chance);
        self.at(Stage::resting(millis, &why), at)
    }

    fn helped(mut self, at: At) -> Breaker {
        self.failures = 0;
        self.at(Stage::Helped, at)
    }

    fn returned(mut self, at: At, chance: u32) -> Breaker {
        let all = RETURNS.iter().map(|(_, within)| millis(*within));
        let longest = all.max().unwrap_or(0);
        self.returns
            .retain(|then| at.steady.saturating_sub(*then) < longest);
        self.returns.push(at.steady);
        let number = self.returns.len();
        let why = format!(
            "it was repaired and came back {} within a day",
            times(number)
        );
        if self.opened > 0 || self.returns_too_often(at) {
            return self.open(at, chance, &why);
        }
        // A disk may be pulled twice; what comes back again and again is another matter.
        let tries = u32::try_from(number - 1).unwrap_or(u32::MAX);
        if tries == 0 {
            let why = shortened(&why);
            return self.at(Stage::Returned { why }, at);
        }
        let millis = pause(tries, chance);
        self.at(Stage::resting(millis, &why), at)
    }

    fn returns_too_often(&self, at: At) -> bool {
        RETURNS.iter().any(|(most, within)| {
            let recent = |then: &&u64| at.steady.saturating_sub(**then) < millis(*within);
            self.returns.iter().filter(recent).count() >= *most
        })
    }

    fn open(mut self, at: At, chance: u32, why: &str) -> Breaker {
        self.opened = self.opened.saturating_add(1);
        let millis = millis(pause_between(FIRST_OPEN, LONGEST_OPEN, self.opened, chance));
        let why = shortened(why);
        self.at(Stage::Open { millis, why }, at)
    }
}

impl Stage {
    fn resting(millis: u64, why: &str) -> Stage {
        let why = shortened(why);
        Stage::Resting { millis, why }
    }

    /// How long it lasts, where time ends it.
    fn length(&self) -> u64 {
        match self {
            Stage::Resting { millis, .. } | Stage::Open { millis, .. } => *millis,
            Stage::AtWork | Stage::Helped | Stage::Asked | Stage::Returned { .. } => 0,
        }
    }
}

/// The pause after so many tries (from 1), in milliseconds.
fn pause(tries: u32, chance: u32) -> u64 {
    let place = tries.saturating_sub(1) as usize;
    let whole = PAUSES.get(place).unwrap_or(&PAUSES[PAUSES.len() - 1]);
    millis(pause_between(*whole, *whole, 1, chance))
}

fn times(number: usize) -> String {
    match number {
        1 => "once".to_owned(),
        2 => "twice".to_owned(),
        _ => format!("{number} times"),
    }
}

fn shortened(text: &str) -> String {
    text.chars().take(REASON_CHARS).collect()
}

fn millis(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}

#[cfg(test)]
#[path = "breaker_tests.rs"]
mod tests;

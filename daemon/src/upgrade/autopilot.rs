//! What is due without a hand: reading the feed, and taking what it offers. Pure.
//!
//! The feed is read again right before an upgrade begins by itself, so that a release which was
//! withdrawn is not taken by whoever has not begun. What failed here, and what somebody went back
//! from, is remembered: see [`super::ladder`]. Times are milliseconds of a clock that nobody can
//! set, unless it is said otherwise.

use std::cmp::Ordering;
use std::time::Duration;

use nixctl_proto::OperationId;
use nixctl_proto::feed::compare;
use serde::{Deserialize, Serialize};

use super::hold::Hold;
use super::ladder::{Failed, Ladders, Verdict};
use super::offer::Offered;
use crate::health::look::upgrade::Trouble;
use crate::health::timeline::At;

/// What the ladder knows Nix by.
const PRODUCT: &str = "nix";
/// What it knows nixctl by.
const NIXCTL: &str = "nixctl";
/// A feed that was read longer ago is read again before somebody who asks is told what it offers.
pub const FRESH: Duration = Duration::from_secs(5 * 60);
/// The same before anything is begun by itself: long enough for what is done between the two, and
/// no more, since a release may be withdrawn meanwhile.
const RIGHT_BEFORE: Duration = Duration::from_secs(10);
/// Shortest time between two readings.
const AGAIN: Duration = Duration::from_secs(60);
/// After the daemon has begun, before the feed is read.
const AFTER_BOOT: Duration = Duration::from_secs(20);
/// Longest time that chance adds to that.
const BOOT_JITTER: Duration = Duration::from_secs(600);

/// What is remembered over restarts.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Memory {
    /// Failures here.
    pub ladders: Ladders,
    /// The upgrade that was begun last without a hand, until its end is noted.
    pub tried: Option<Tried>,
    /// The version of Nix that was there last.
    pub has: String,
    /// The version that somebody went back from; empty: nobody did.
    pub left: String,
    /// What was offered last.
    pub offered: Option<Offered>,
    /// Why the feed was not gone by last.
    pub trouble: Option<Trouble>,
    /// When it was read last and believed, in milliseconds since 1970; 0: never.
    pub read: u64,
    /// Its serial then.
    pub serial: u64,
}

/// An upgrade that was begun without a hand.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Tried {
    /// The operation.
    pub operation: OperationId,
    /// Where it goes.
    pub version: String,
}

impl Memory {
    /// Whether another says the same but for when the feed was read, which alone is worth no write.
    pub fn says_as(&self, other: &Memory) -> bool {
        let read = other.read;
        Memory {
            read,
            ..self.clone()
        } == *other
    }

    /// Notes which Nix is there; empty: none. One that is older than the last says that somebody went
    /// back, and the one that was left is not taken again. True: that is to be stored.
    #[must_use]
    pub fn sees(&mut self, version: &str) -> bool {
        if version.is_empty() || version == self.has {
            return false;
        }
        if !self.has.is_empty() && compare(version, &self.has) == Ordering::Less {
            self.left.clone_from(&self.has);
        } else if compare(version, &self.left) != Ordering::Less {
            self.left.clear();
        }
        version.clone_into(&mut self.has);
        true
    }

    /// Whether a version may be taken without a hand, by what became of earlier tries.
    pub fn judge(&self, version: &str, at: At) -> Verdict {
        if !self.left.is_empty() && compare(version, &self.left) != Ordering::Greater {
            let why = format!("somebody went back from Nix {}", self.left);
            return Verdict::Abandoned { why };
        }
        self.ladders.judge(PRODUCT, version, false, at)
    }

    /// The same of nixctl itself. `kept`: the version before the one in use; a newer one says that
    /// somebody went back from it.
    pub fn judge_nixctl(&self, version: &str, in_use: &str, kept: Option<&str>, at: At) -> Verdict {
        let left = kept.filter(|kept| compare(kept, in_use) == Ordering::Greater);
        if let Some(left) = left.filter(|left| compare(version, left) != Ordering::Greater) {
            let why = format!("somebody went back from nixctl {left}");
            return Verdict::Abandoned { why };
        }
        self.ladders.judge(NIXCTL, version, false, at)
    }

    /// Notes how an upgrade of Nix ended: `None` for well. True: that is to be stored.
    #[must_use]
    pub fn ended(&mut self, id: &OperationId, failed: Option<Failed<'_>>, at: At) -> bool {
        self.ended_of(PRODUCT, id, failed, at)
    }

    /// The same of nixctl itself.
    #[must_use]
    pub fn ended_nixctl(&mut self, id: &OperationId, failed: Option<Failed<'_>>, at: At) -> bool {
        self.ended_of(NIXCTL, id, failed, at)
    }

    fn ended_of(&mut self, of: &str, id: &OperationId, failed: Option<Failed<'_>>, at: At) -> bool {
        let is_ours = |tried: &mut Tried| tried.operation == *id;
        let tried = self.tried.take_if(is_ours);
        match (failed, &tried) {
            (None, _) => self.ladders.worked(of) || tried.is_some(),
            (Some(why), Some(tried)) => {
                let version = &tried.version;
                self.ladders.failed(of, version, false, why, at);
                true
            }
            (Some(_), None) => false,
        }
    }
}

/// When the feed is read.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Pace {
    due: u64,
    /// When it was read last, and when it was believed last.
    last: Option<u64>,
    believed: Option<u64>,
    /// When something held what is offered, as was seen last.
    held: Option<u64>,
    failures: u32,
}

impl Pace {
    /// The daemon has begun.
    pub fn after_boot(now: u64, every: Duration, chance: u32) -> Pace {
        let jitter = part(BOOT_JITTER.min(every / 10), chance);
        Pace {
            due: now
                .saturating_add(millis(AFTER_BOOT.min(every)))
                .saturating_add(jitter),
            ..Pace::default()
        }
    }

    /// Other settings name another feed.
    pub fn at_once(now: u64) -> Pace {
        Pace {
            due: now,
            ..Pace::default()
        }
    }

    /// It was read, and believed or not. After a failure it is read sooner, again and again later.
    pub fn looked(&mut self, now: u64, every: Duration, is_believed: bool, chance: u32) {
        self.last = Some(now);
        let pause = match is_believed {
            true => {
                self.believed = Some(now);
                self.failures = 0;
                every
            }
            false => {
                self.failures = self.failures.saturating_add(1);
                let doubled = 1u32.checked_shl(self.failures - 1).unwrap_or(u32::MAX);
                AGAIN.saturating_mul(doubled).min(every)
            }
        };
        let jitter = part(pause / 10, chance);
        self.due = now.saturating_add(millis(pause)).saturating_add(jitter);
    }

    /// Whether the time has come.
    pub fn is_due(&self, now: u64) -> bool {
        now >= self.due
    }

    /// When it comes.
    pub fn due(&self) -> u64 {
        self.due
    }

    /// Whether what was believed last is as of now, and nothing spoke against it since.
    pub fn is_fresh(&self, now: u64) -> bool {
        self.is_believed() && self.is_within(now, FRESH)
    }

    /// Notes what holds what is offered, if anything does.
    pub fn sees(&mut self, hold: Option<&Result<(), Hold>>, now: u64) {
        if matches!(hold, Some(Err(_))) {
            self.held = Some(now);
        }
    }

    /// Whether it was read right before, and believed: not while something still held what it offers.
    fn is_of_now(&self, now: u64) -> bool {
        let is_after = self.held.is_none() || self.believed > self.held;
        self.is_believed() && is_after && self.is_within(now, RIGHT_BEFORE)
    }

    /// Whether it was believed when it was read last.
    fn is_believed(&self) -> bool {
        self.believed.is_some() && self.believed == self.last
    }

    fn is_within(&self, now: u64, time: Duration) -> bool {
        let passed = self.believed.map(|then| now.saturating_sub(then));
        passed.is_some_and(|passed| passed < millis(time))
    }

    /// Whether it was read since then.
    pub fn was_read_since(&self, then: u64) -> bool {
        self.last.is_some_and(|last| last > then)
    }

    /// Whether it may be read though the time has not come: somebody waits for what it says.
    pub fn may_read(&self, now: u64) -> bool {
        let passed = self.last.map(|then| now.saturating_sub(then));
        passed.is_none_or(|passed| passed >= millis(AGAIN))
    }
}

/// What is due.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Due {
    /// Nothing.
    Nothing,
    /// To read the feed.
    Read,
    /// To take what it offers.
    Upgrade,
}

/// What is due: nothing where no feed is followed. `hold` is what stands against taking what is
/// offered; `None`: nothing is offered.
pub fn due(follows: bool, pace: &Pace, hold: Option<&Result<(), Hold>>, now: u64) -> Due {
    if !follows {
        return Due::Nothing;
    }
    if pace.is_due(now) {
        return Due::Read;
    }
    match hold {
        Some(Ok(())) if pace.is_of_now(now) => Due::Upgrade,
        Some(Ok(())) if pace.is_believed() || pace.may_read(now) => Due::Read,
        _ => Due::Nothing,
    }
}

/// How long chance puts a version off.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Spread {
    version: String,
    /// Until then, in milliseconds since 1970.
    pub until: u64,
}

impl Spread {
    /// Drawn when nothing but what passes stands against a version any more, and drawn anew when
    /// that was otherwise in between: else all machines would begin when the window opens.
    pub fn next(
        before: Option<Spread>,
        version: &str,
        hold: &Result<(), Hold>,
        now: u64,
        most: Duration,
        chance: u32,
    ) -> Option<Spread> {
        let passes = |hold: &Hold| {
            matches!(
                hold,
                Hold::OnBattery
                    | Hold::Metered
                    | Hold::Inhibited { .. }
                    | Hold::Jitter { .. }
                    | Hold::Busy
                    | Hold::FleetLock { .. }
            )
        };
        if hold.as_ref().err().is_some_and(|hold| !passes(hold)) {
            return None;
        }
        let same = before.filter(|it| it.version == version);
        same.or_else(|| {
            Some(Spread {
                version: version.to_owned(),
                until: now.saturating_add(part(most, chance)),
            })
        })
    }
}

fn millis(time: Duration) -> u64 {
    u64::try_from(time.as_millis()).unwrap_or(u64::MAX)
}

/// A part of a time by chance, in milliseconds.
fn part(of: Duration, chance: u32) -> u64 {
    millis(of).saturating_mul(u64::from(chance % 1000)) / 1000
}

#[cfg(test)]
#[path = "autopilot_tests.rs"]
mod tests;

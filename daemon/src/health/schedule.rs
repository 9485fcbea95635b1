//! When the next round of checks is, and of which areas.
//!
//! A round of everything is due at boot, after every operation and each time the timer ends;
//! a round of some areas when their files changed, a unit failed or a remedy's pause is over;
//! whatever somebody asks for is due at once. What belongs together is waited for a moment. Rounds
//! that nobody asked for have a small allowance, which grows by one in each
//! [`MIN_INTERVAL`]: one event is answered at once, a flood of them costs no more than a round
//! in that time. Pure; times are milliseconds of a clock that nobody can set.

use std::collections::BTreeSet;
use std::time::Duration;

use super::sighting::Areas;

/// The shortest time between two rounds that nobody asked for, over a long time.
pub const MIN_INTERVAL: Duration = Duration::from_secs(30);
/// Rounds that may follow one another faster than that.
pub const BURST: u64 = 4;
/// When everything is looked at thoroughly after the daemon has begun.
pub const AFTER_BOOT: Duration = Duration::from_secs(90);
/// How long events are waited for that belong to the first.
pub const SETTLE: Duration = Duration::from_secs(1);

/// Why a round is due.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Cause {
    /// The daemon has begun.
    Boot,
    /// An operation ended.
    Operation,
    /// Files changed.
    Files,
    /// A unit failed, or a mount came or went.
    Unit,
    /// The pause of a remedy is over.
    Remedy,
    /// The time between two rounds of everything is over.
    Timer,
    /// Other settings are in force.
    Settings,
    /// The release feed was looked at.
    Feed,
    /// Somebody wants to know.
    Asked,
}

/// How often everything is looked at.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Pace {
    /// Between two rounds of everything; zero: there is no timer.
    pub interval: Duration,
    /// What chance adds to that at most.
    pub jitter: Duration,
}

/// A round that is due.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Due {
    /// When, in milliseconds; it may be past.
    pub at: u64,
    /// What is looked at.
    pub areas: Areas,
    /// Why.
    pub causes: BTreeSet<Cause>,
}

impl Due {
    /// Whether what takes long is looked at as well: not while the machine boots, and not after an
    /// operation, which has proven itself.
    pub fn is_thorough(&self) -> bool {
        let thorough = |cause: &Cause| match cause {
            Cause::Files | Cause::Remedy | Cause::Timer | Cause::Settings | Cause::Asked => true,
            Cause::Boot | Cause::Operation | Cause::Unit | Cause::Feed => false,
        };
        self.causes.iter().any(thorough)
    }
}

/// What is waited for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Schedule {
    pace: Pace,
    /// When everything is looked at next if nothing happens.
    timer: Option<u64>,
    /// What happened since the last round.
    pending: Option<Due>,
    /// When a remedy may be tried again, and where.
    remedy: Option<(u64, Areas)>,
    /// Rounds that are allowed, in milliseconds of [`MIN_INTERVAL`], at the time beside it.
    allowance: (u64, u64),
    is_busy: bool,
}

impl Schedule {
    /// The daemon has begun: everything is due at once.
    pub fn new(pace: Pace, now: u64) -> Schedule {
        let causes = BTreeSet::from([Cause::Boot]);
        let boot = Due {
            at: now,
            areas: Areas::All,
            causes,
        };
        Schedule {
            pace,
            timer: (pace.interval > Duration::ZERO).then(|| now.saturating_add(millis(AFTER_BOOT))),
            pending: Some(boot),
            remedy: None,
            allowance: (BURST * millis(MIN_INTERVAL), now),
            is_busy: false,
        }
    }

    /// Other settings: the timer begins anew.
    pub fn set_pace(&mut self, pace: Pace, now: u64, chance: u32) {
        self.pace = pace;
        self.timer = self.next_timer(now, chance);
    }

    /// Something happened.
    pub fn note(&mut self, cause: Cause, areas: Areas, now: u64) {
        if areas.is_empty() {
            return;
        }
        let at = match cause {
            Cause::Boot | Cause::Asked => now,
            _ => now.saturating_add(millis(SETTLE)),
        };
        let pending = self.pending.get_or_insert(Due {
            at,
            areas: Areas::NONE,
            causes: BTreeSet::new(),
        });
        pending.at = pending.at.min(at);
        pending.areas.add(areas);
        pending.causes.insert(cause);
    }

    /// An operation is at work, which changes what is looked at: rounds wait for its end.
    pub fn busy(&mut self) {
        self.is_busy = true;
    }

    /// It ended.
    pub fn idle(&mut self, now: u64) {
        self.is_busy = false;
        self.note(Cause::Operation, Areas::All, now);
    }

    /// It ended, and what it changed has been looked at.
    pub fn rested(&mut self) {
        self.is_busy = false;
    }

    /// When a remedy may be tried again that must wait; `None`: there is none.
    pub fn set_remedy(&mut self, at: Option<(u64, Areas)>) {
        self.remedy = at;
    }

    /// The next round; `None`: nothing is due until something happens.
    pub fn next(&self) -> Option<Due> {
        let all = self.events().into_iter().chain(self.timer());
        Some(self.joined(all.min_by_key(|due| due.at)?))
    }

    /// When the next round is due that something asks for; the timer can wait for a moment at
    /// which the daemon is awake anyway.
    pub fn next_event(&self) -> Option<u64> {
        self.events().iter().map(|due| due.at).min()
    }

    fn events(&self) -> Vec<Due> {
        if self.is_busy {
            return Vec::new();
        }
        let allowed = self.next_allowed();
        let pending = self.pending.clone().map(|mut pending| {
            let is_free = pending.causes.contains(&Cause::Asked);
            pending.at = pending.at.max(if is_free { 0 } else { allowed });
            pending
        });
        let remedy = self.remedy.clone().map(|(at, areas)| Due {
            at: at.max(allowed),
            areas,
            causes: BTreeSet::from([Cause::Remedy]),
        });
        [pending, remedy].into_iter().flatten().collect()
    }

    fn timer(&self) -> Option<Due> {
        let at = self.timer.filter(|_| !self.is_busy)?;
        Some(Due {
            at: at.max(self.next_allowed()),
            areas: Areas::All,
            causes: BTreeSet::from([Cause::Timer]),
        })
    }

    /// Begins the round that is due by now. `None`: none is.
    pub fn begin(&mut self, now: u64, chance: u32) -> Option<Due> {
        let due = self.next().filter(|due| due.at <= now)?;
        self.pending = None;
        if due.causes.contains(&Cause::Remedy) {
            self.remedy = None;
        }
        if due.areas == Areas::All && due.is_thorough() {
            self.timer = self.next_timer(now, chance);
        }
        let left = self.allowance(now).saturating_sub(millis(MIN_INTERVAL));
        self.allowance = (left, now);
        Some(due)
    }

    /// With what else is due by then.
    fn joined(&self, mut due: Due) -> Due {
        let pending = self.pending.iter().filter(|it| it.at <= due.at);
        for one in pending {
            due.areas.add(one.areas.clone());
            due.causes.extend(&one.causes);
        }
        if self.timer.is_some_and(|at| at <= due.at) {
            due.areas = Areas::All;
            due.causes.insert(Cause::Timer);
        }
        if let Some((at, areas)) = &self.remedy
            && *at <= due.at
        {
            due.areas.add(areas.clone());
            due.causes.insert(Cause::Remedy);
        }
        due
    }

    fn next_timer(&self, now: u64, chance: u32) -> Option<u64> {
        let (interval, jitter) = (millis(self.pace.interval), millis(self.pace.jitter));
        let part = jitter.saturating_mul(u64::from(chance % 1000)) / 1000;
        (interval > 0).then(|| {
            let interval = interval.max(millis(MIN_INTERVAL));
            now.saturating_add(interval).saturating_add(part)
        })
    }

    fn allowance(&self, now: u64) -> u64 {
        let (allowed, then) = self.allowance;
        let grown = allowed.saturating_add(now.saturating_sub(then));
        grown.min(BURST * millis(MIN_INTERVAL))
    }

    /// When a round is allowed.
    fn next_allowed(&self) -> u64 {
        let (allowed, then) = self.allowance;
        then.saturating_add(millis(MIN_INTERVAL).saturating_sub(allowed))
    }
}

fn millis(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}

#[cfg(test)]
#[path = "schedule_tests.rs"]
mod tests;

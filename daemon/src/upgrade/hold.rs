//! Whether now is a moment for an upgrade, and if not, what holds it.
//!
//! [`decide`] names one reason, the one that lasts longest, so that somebody who reads it learns
//! what to wait for or to change. The order, first to last:
//!
//! 1. what somebody must change: `policy-off`, `notify-only`, `halted`, `abandoned`;
//! 2. what waits for a time: `ladder`, `rollout-later`, `outside-window`;
//! 3. what passes: `on-battery`, `metered`, `inhibited`, `jitter`, `busy`;
//! 4. `fleet-lock`, last, because asking for it takes it: decide without it, ask when nothing else
//!    holds, and decide again.
//!
//! Whoever asks for the upgrade has decided about most of that: then only `halted`, `inhibited`,
//! `busy` and `fleet-lock` hold. Pure; moments are milliseconds since 1970.

use std::fmt;

use nixctl_proto::settings::UpgradePolicy;
use serde::{Deserialize, Serialize};

use super::ladder::Verdict;
use crate::payload::date;

/// Whether a maintenance window is open.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Opening {
    /// It is, or there are none.
    Open,
    /// The next one opens then.
    Opens(u64),
    /// The windows cannot be used, and why.
    Unusable(String),
}

/// What is known now.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Facts {
    /// Somebody asks for this upgrade.
    pub asked: bool,
    /// What the settings say.
    pub policy: UpgradePolicy,
    /// The release was halted by whoever publishes it.
    pub halted: bool,
    /// What came of earlier tries.
    pub ladder: Verdict,
    /// The rollout of the release has come to this machine.
    pub admitted: bool,
    /// Maintenance windows.
    pub window: Opening,
    /// The machine is on battery, and the settings mind.
    pub on_battery: bool,
    /// The network is metered, and the settings mind.
    pub metered: bool,
    /// Who holds it up, and why.
    pub inhibited: Option<(String, String)>,
    /// Chance has put it off until then.
    pub jitter: Option<u64>,
    /// Another operation runs or waits.
    pub busy: bool,
    /// Why the fleet's lock was not given; `None`: it was, there is none, or it was not asked yet.
    pub fleet_lock: Option<String>,
    /// Now.
    pub now: u64,
}

/// What holds an upgrade.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "kebab-case")]
pub enum Hold {
    /// The settings want none.
    PolicyOff,
    /// The settings want them told only.
    NotifyOnly,
    /// No window is open.
    OutsideWindow {
        /// When the next one opens; `None`: the windows cannot be used.
        opens: Option<u64>,
        /// Why they cannot; empty otherwise.
        why: String,
    },
    /// There is no mains power.
    OnBattery,
    /// The network costs.
    Metered,
    /// A program asks for it.
    Inhibited {
        /// Which one, in its own words.
        who: String,
        /// Why.
        why: String,
    },
    /// The fleet's lock is not free, or its server is away.
    FleetLock {
        /// Which of that.
        why: String,
    },
    /// It failed, and is left alone for a while.
    Ladder {
        /// Until when.
        until: u64,
        /// How it failed.
        why: String,
    },
    /// It failed too often.
    Abandoned {
        /// How.
        why: String,
    },
    /// The rollout has not come to this machine yet.
    RolloutLater,
    /// Whoever publishes the release has halted it.
    Halted,
    /// Chance spreads the machines over a while.
    Jitter {
        /// Until when.
        until: u64,
    },
    /// Another operation runs or waits.
    Busy,
}

impl Hold {
    /// Every kind, for metrics.
    pub const KINDS: [&'static str; 13] = [
        "policy-off",
        "notify-only",
        "halted",
        "abandoned",
        "ladder",
        "rollout-later",
        "outside-window",
        "on-battery",
        "metered",
        "inhibited",
        "jitter",
        "busy",
        "fleet-lock",
    ];

    /// Short and stable, for programs; the same word that JSON has.
    pub fn kind(&self) -> &'static str {
        match self {
            Hold::PolicyOff => "policy-off",
            Hold::NotifyOnly => "notify-only",
            Hold::OutsideWindow { .. } => "outside-window",
            Hold::OnBattery => "on-battery",
            Hold::Metered => "metered",
            Hold::Inhibited { .. } => "inhibited",
            Hold::FleetLock { .. } => "fleet-lock",
            Hold::Ladder { .. } => "ladder",
            Hold::Abandoned { .. } => "abandoned",
            Hold::RolloutLater => "rollout-later",
            Hold::Halted => "halted",
            Hold::Jitter { .. } => "jitter",
            Hold::Busy => "busy",
        }
    }

    /// When it ends by itself, where that is known.
    pub fn until(&self) -> Option<u64> {
        match self {
            Hold::OutsideWindow { opens, .. } => *opens,
            Hold::Ladder { until, .. } | Hold::Jitter { until } => Some(*until),
            _ => None,
        }
    }
}

impl fmt::Display for Hold {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let minute = |millis: &u64| date::minute(millis / 1000);
        match self {
            Hold::PolicyOff => f.write_str("the settings say `upgrade.policy = \"off\"`"),
            Hold::NotifyOnly => {
                f.write_str("the settings want upgrades told, not carried out by themselves")
            }
            Hold::OutsideWindow {
                opens: Some(opens), ..
            } => {
                write!(f, "the next maintenance window opens at {}", minute(opens))
            }
            Hold::OutsideWindow { opens: None, why } => {
                write!(f, "no maintenance window is ever open: {why}")
            }
            Hold::OnBattery => f.write_str("the machine is on battery"),
            Hold::Metered => f.write_str("the network is metered"),
            Hold::Inhibited { who, why } => write!(f, "{who} asks to wait: {why}"),
            Hold::FleetLock { why } => write!(f, "it is not this machine's turn: {why}"),
            Hold::Ladder { until, why } => {
                write!(f, "{why}; it is tried again at {}", minute(until))
            }
            Hold::Abandoned { why } => {
                write!(f, "{why}; it is not tried again, another one is")
            }
            Hold::RolloutLater => f.write_str("the rollout has not come to this machine yet"),
            Hold::Halted => f.write_str("whoever publishes the release has halted it"),
            Hold::Jitter { until } => {
                write!(f, "it was put off until {}, by chance", minute(until))
            }
            Hold::Busy => f.write_str("another operation runs or waits"),
        }
    }
}

/// Whether now is a moment for it.
///
/// # Errors
/// What holds it; of several, the first in the order above.
pub fn decide(facts: &Facts) -> Result<(), Hold> {
    let first = match facts.asked {
        true => holds_for_all(facts),
        false => [lasting(facts), timed(facts), passing(facts)]
            .into_iter()
            .flatten()
            .next(),
    };
    match first.or_else(|| fleet_lock(facts)) {
        Some(hold) => Err(hold),
        None => Ok(()),
    }
}

/// What stands against an upgrade that somebody asks for too.
fn holds_for_all(facts: &Facts) -> Option<Hold> {
    match facts {
        Facts { halted: true, .. } => Some(Hold::Halted),
        Facts {
            inhibited: Some(by),
            ..
        } => Some(inhibited(by)),
        Facts { busy: true, .. } => Some(Hold::Busy),
        _ => None,
    }
}

/// What somebody must change.
fn lasting(facts: &Facts) -> Option<Hold> {
    match (facts.policy, &facts.ladder) {
        (UpgradePolicy::Off, _) => Some(Hold::PolicyOff),
        (UpgradePolicy::Notify, _) => Some(Hold::NotifyOnly),
        (UpgradePolicy::Auto, _) if facts.halted => Some(Hold::Halted),
        (UpgradePolicy::Auto, Verdict::Abandoned { why }) => {
            Some(Hold::Abandoned { why: why.clone() })
        }
        (UpgradePolicy::Auto, _) => None,
    }
}

/// What waits for a time.
fn timed(facts: &Facts) -> Option<Hold> {
    if let Verdict::Rest { until, why } = &facts.ladder {
        let (until, why) = (*until, why.clone());
        return Some(Hold::Ladder { until, why });
    }
    if !facts.admitted {
        return Some(Hold::RolloutLater);
    }
    let (opens, why) = match &facts.window {
        Opening::Open => return None,
        Opening::Opens(then) => (Some(*then), String::new()),
        Opening::Unusable(why) => (None, why.clone()),
    };
    Some(Hold::OutsideWindow { opens, why })
}

/// What passes.
fn passing(facts: &Facts) -> Option<Hold> {
    match facts {
        Facts {
            on_battery: true, ..
        } => Some(Hold::OnBattery),
        Facts { metered: true, .. } => Some(Hold::Metered),
        Facts {
            inhibited: Some(by),
            ..
        } => Some(inhibited(by)),
        Facts {
            jitter: Some(until),
            now,
            ..
        } if until > now => Some(Hold::Jitter { until: *until }),
        Facts { busy: true, .. } => Some(Hold::Busy),
        _ => None,
    }
}

fn fleet_lock(facts: &Facts) -> Option<Hold> {
    let why = facts.fleet_lock.clone()?;
    Some(Hold::FleetLock { why })
}

fn inhibited((who, why): &(String, String)) -> Hold {
    Hold::Inhibited {
        who: who.clone(),
        why: why.clone(),
    }
}

#[cfg(test)]
#[path = "hold_tests.rs"]
mod tests;

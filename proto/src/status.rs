//! What `nixctl status` shows.

use serde::{Deserialize, Serialize};

use crate::operation::OperationView;

/// Overall judgement of the machine's Nix.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Health {
    /// Everything owned is as it should be.
    Healthy,
    /// Works, but something differs.
    Degraded,
    /// Does not work.
    Broken,
    /// Nothing is owned, or nothing was looked at yet.
    Unknown,
}

impl Health {
    /// The word used on D-Bus and in JSON.
    pub fn as_str(self) -> &'static str {
        match self {
            Health::Healthy => "healthy",
            Health::Degraded => "degraded",
            Health::Broken => "broken",
            Health::Unknown => "unknown",
        }
    }
}

/// The daemon's answer to "how is it?".
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Status {
    /// Version of the daemon.
    pub version: String,
    /// Version of the Nix that nixctl owns; empty when it owns none.
    pub nix_version: String,
    /// Overall judgement.
    pub health: Health,
    /// One line on why the health is what it is.
    pub health_reason: String,
    /// Share of the target that is reached, 0 to 1; 1 when there is none.
    pub converged: f64,
    /// The operation that runs or waits, if any.
    pub active: Option<OperationView>,
    /// How many operations wait behind it.
    pub queued: u32,
    /// Number of the generation that runs; 0 when the system has none, or runs one without.
    pub current_generation: u64,
    /// Number of the generation that the machine goes to; the current one when it is there.
    pub target_generation: u64,
    /// Whether what runs differs from what is booted in a way that only a reboot can change.
    pub reboot_needed: bool,
    /// Which generation the daemon left by itself after a boot into it, and why; empty when the newest
    /// besides the one that runs was not left.
    pub boot_failure: String,
    /// How far the target is reached, as `12 of 40 components, waiting: needs 83 MiB more on /nix`;
    /// empty when the machine is there.
    pub convergence: String,
    /// When the daemon looked at the machine last, milliseconds since 1970; 0: never.
    #[serde(default)]
    pub health_seen: u64,
    /// What limits the judgement, such as an operation at work; empty for nothing.
    #[serde(default)]
    pub health_note: String,
    /// How many findings there are.
    #[serde(default)]
    pub findings: u32,
    /// What is known of releases.
    #[serde(default)]
    pub upgrade: Box<UpgradeStatus>,
}

/// What is known of releases, and what an upgrade waits for.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct UpgradeStatus {
    /// Newer version of Nix that the release feed offers this machine; empty: none.
    pub available: String,
    /// What holds the upgrade to it, or the newest release where none is offered, in words; empty:
    /// nothing does.
    pub waits: String,
    /// The same as a word that does not change, such as `outside-window`.
    pub hold: String,
    /// When the feed was read and believed last, in milliseconds since 1970; 0: never.
    pub feed_read: u64,
    /// Why the feed is not gone by; empty for nothing.
    pub feed_trouble: String,
    /// The slot of the fleet that this machine has, in words; empty: it has none.
    pub fleet_lock: String,
    /// Who asks that nothing begins, each as one line.
    pub inhibitors: Vec<String>,
    /// Which generation the feed of `[system] follow` names for this machine, and how far that is, in
    /// words; empty: none is followed.
    #[serde(default)]
    pub following: String,
    /// The same as a word that does not change: `unread`, `unnamed`, `there`, `under-way`, `held` or
    /// `due`; empty: none is followed.
    #[serde(default)]
    pub follow_state: String,
}

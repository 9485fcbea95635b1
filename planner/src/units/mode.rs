//! The two ways of deciding, and the two managers that are decided for.

use serde::{Deserialize, Serialize};

/// Whether the faults of switch-to-configuration are kept.
///
/// [`Mode::Right`] differs in these points, each named where it is decided:
/// - unit files are read as systemd reads them (continued lines, quotes, booleans in any case), with the
///   drop-ins of the prefix, the type and the aliases; an empty unit file masks;
/// - an instance name may hold dots; an instance that becomes masked stops; a unit that is just
///   reloading counts as active; only units directly in the unit directory are ours;
/// - a changed socket is restarted together with its service, and a new socket takes its running service
///   over; a service that ran comes back with its sockets; what serves a single connection is left alone;
/// - a service that cannot reload is restarted instead; added options of a mount mean a reload;
/// - a target is only stopped when it is also started again;
/// - fstab: `#` begins a comment only at the beginning of a line, options for systemd alone mean nothing to a
///   mounted file system, a mount that is not active is not touched, and what the system stands on is
///   neither stopped nor restarted;
/// - a state that cannot be read never ends the run; an inactive unit is started instead of reloaded only
///   when it may be started;
/// - an interrupted run also remembers what it had to stop, and nothing is started that is gone.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Mode {
    /// As switch-to-configuration decides, faults included.
    Exact,
    /// What it gets wrong, done right.
    #[default]
    Right,
}

/// The manager whose units are decided about.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Scope {
    /// The system's.
    #[default]
    System,
    /// That of a user who is logged in.
    User,
}

impl Scope {
    /// The directory of the units that a generation brings, below the root.
    #[must_use]
    pub fn directory(self) -> &'static str {
        match self {
            Scope::System => "/etc/systemd/system",
            Scope::User => "/etc/systemd/user",
        }
    }
}

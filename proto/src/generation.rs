//! Generations of the system: the numbered links of its profile, and what is known of each.

use serde::{Deserialize, Serialize};

/// One generation.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Generation {
    /// Its number in the profile.
    pub number: u64,
    /// Store path of its toplevel.
    pub path: String,
    /// When it was made, milliseconds since 1970; 0 when unknown.
    pub created: u64,
    /// Whether it runs now.
    pub current: bool,
    /// Whether the machine boots it next time.
    pub default: bool,
    /// Whether the machine was booted into it.
    pub booted: bool,
    /// Whether it ran and passed its health checks.
    pub proven: bool,
    /// Whether the machine was healthy after a boot into it.
    pub proven_by_boot: bool,
    /// Whether it became the default and was not healthy after a boot yet: until it is, the daemon
    /// may go back by itself.
    pub awaits_boot: bool,
    /// Why the daemon went back from it by itself; empty when it did not.
    pub boot_failure: String,
    /// Whether it is a step of a switch: some components new, some old.
    pub hybrid: bool,
    /// Its name for people, such as `12 of 40 components`; empty when it has none.
    pub label: String,
}

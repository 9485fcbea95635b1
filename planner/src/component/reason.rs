//! Why pieces change together, and why a piece waits for the final step.

use std::fmt;

use serde::{Deserialize, Serialize};

use super::piece::ComponentId;

/// Why two pieces change together.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum LinkReason {
    /// A socket, timer or path starts a service of another name.
    Starts {
        /// The socket, timer or path.
        starter: String,
        /// What it starts.
        unit: String,
    },
    /// A unit names a path under `/etc`.
    Reads {
        /// The unit.
        unit: String,
        /// The path.
        path: String,
    },
    /// A unit names the store path that an entry of `etc` leads to, as restart triggers do.
    Watches {
        /// The unit.
        unit: String,
        /// The path under `/etc`.
        path: String,
    },
    /// An entry of `etc` has the name of a unit, whose program reads it without being told.
    SameName {
        /// The unit's family.
        unit: String,
        /// The entry.
        path: String,
    },
    /// An entry of `etc` names a path in another one.
    Includes {
        /// The entry.
        path: String,
        /// What it names.
        included: String,
    },
    /// A unit and a changed line in a list of users or of folders name the same thing.
    BothName {
        /// The unit.
        unit: String,
        /// The list, as a path under `/etc`.
        list: String,
        /// What both name: `user redis`, `/run/redis`.
        what: String,
    },
    /// A unit stops and starts with another one.
    Bound {
        /// The unit.
        unit: String,
        /// The setting: `BindsTo`, `PartOf`.
        setting: String,
        /// The other one.
        other: String,
    },
    /// A unit is another name of another one.
    Alias {
        /// The other name.
        alias: String,
        /// The unit.
        unit: String,
    },
    /// Each must come before the other.
    Circle {
        /// One.
        id: ComponentId,
        /// The other.
        other: ComponentId,
    },
}

impl fmt::Display for LinkReason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Starts { starter, unit } => write!(f, "{starter} starts {unit}"),
            Self::Reads { unit, path } => write!(f, "unit {unit} reads /etc/{path}"),
            Self::Watches { unit, path } => {
                write!(f, "unit {unit} is to restart when /etc/{path} changes")
            }
            Self::SameName { unit, path } => write!(f, "/etc/{path} has the name of unit {unit}"),
            Self::Includes { path, included } => write!(f, "/etc/{path} names /etc/{included}"),
            Self::BothName { unit, list, what } => {
                write!(f, "unit {unit} and /etc/{list} both name {what}")
            }
            Self::Bound {
                unit,
                setting,
                other,
            } => write!(f, "unit {unit} has {setting}={other}"),
            Self::Alias { alias, unit } => write!(f, "{alias} is another name of {unit}"),
            Self::Circle { id, other } => write!(f, "{id} and {other} each need the other first"),
        }
    }
}

/// Why a piece waits for the final step.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum DeferReason {
    /// Part of what everything runs on: systemd, D-Bus, name lookups, polkit, Nix.
    Core {
        /// What it is.
        what: String,
    },
    /// A kind of unit that cannot be changed alone: mounts, swap space, targets, slices.
    UnitKind {
        /// The unit.
        unit: String,
    },
    /// A unit of early boot, which must fit the initrd and the other units there.
    EarlyBoot {
        /// The unit.
        unit: String,
        /// What shows it.
        sign: String,
    },
    /// A drop-in for many units.
    ManyUnits {
        /// Its folder.
        folder: String,
    },
    /// A unit file that cannot be read.
    Unreadable {
        /// Why.
        why: String,
    },
    /// An entry of `etc` that everything reads.
    EverythingReads {
        /// The entry.
        path: String,
    },
    /// An entry of `etc` of which nobody knows who reads it.
    NobodyNames {
        /// The entry.
        path: String,
    },
    /// A user or group that the final step makes or changes.
    User {
        /// The unit that runs as it.
        unit: String,
        /// The user or group.
        user: String,
    },
    /// A unit that must be there comes only with the final step, or must stay until then.
    Needs {
        /// The unit that needs it.
        unit: String,
        /// What it needs.
        needed: String,
    },
    /// It changes together with something that waits.
    With {
        /// What waits.
        id: ComponentId,
        /// Why they change together.
        link: LinkReason,
    },
    /// It must come after something that waits.
    AfterFinal {
        /// What waits.
        id: ComponentId,
    },
}

impl fmt::Display for DeferReason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Core { what } => write!(f, "everything runs on {what}"),
            Self::UnitKind { unit } => write!(f, "{unit} is of a kind that cannot change alone"),
            Self::EarlyBoot { unit, sign } => write!(f, "{unit} belongs to early boot ({sign})"),
            Self::ManyUnits { folder } => write!(f, "{folder} is for many units"),
            Self::Unreadable { why } => f.write_str(why),
            Self::EverythingReads { path } => write!(f, "everything reads /etc/{path}"),
            Self::NobodyNames { path } => write!(f, "no unit names /etc/{path}"),
            Self::User { unit, user } => {
                write!(f, "{unit} runs as {user}, which the final step sets up")
            }
            Self::Needs { unit, needed } => {
                write!(f, "{unit} needs {needed}, which changes in the final step")
            }
            Self::With { id, link } => write!(f, "{id} waits, and {link}"),
            Self::AfterFinal { id } => write!(f, "it must come after {id}, which waits"),
        }
    }
}

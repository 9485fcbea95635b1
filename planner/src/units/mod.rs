//! Unit files, what changed between two of them, and what is to be done with a running unit because of it.
//!
//! The way of the data: the entries of a generation's unit directory become a [`UnitSet`]; under valid
//! names ([`UnitName`]) it gives unit files ([`UnitFile`]) with their drop-ins applied in systemd's order
//! ([`dropin`]); two of them are compared ([`compare`](compare::compare)); and [`decide`](decide::decide) says what
//! follows for every unit that runs, each with its [`Reason`], to be carried out [`Phase`] by phase.
//! Facts: switch-to-configuration-ng, whose faults [`Mode::Exact`] keeps and [`Mode::Right`] does not.

#[cfg(test)]
mod cases;
pub mod compare;
pub mod decide;
pub mod decisions;
pub mod dropin;
pub mod facts;
pub mod file;
pub mod fstab;
mod ini;
pub mod late;
pub mod mode;
mod modified;
pub mod name;
pub mod phase;
pub mod reason;
pub mod set;
mod sockets;
#[cfg(test)]
mod testing;
pub mod user;

pub use compare::{Change, Comparison, How, Verdict};
pub use decide::{DecideError, decide};
pub use decisions::{Decisions, Job, Reasons, Reexec, Verb};
pub use facts::{ActivationLists, ActiveState, ActiveUnit, Facts, Manager, Mounts, Unfinished};
pub use file::{Dialect, FileError, Section, UnitFile};
pub use fstab::Fstab;
pub use late::{Seen, add_activation, check_reloads};
pub use mode::{Mode, Scope};
pub use name::{NameError, UnitName, UnitType, escape_path, unescape_path};
pub use phase::Phase;
pub use reason::{Cause, MountChange, Reason, Rule};
pub use set::{Entry, UnitSet, UnitSource};

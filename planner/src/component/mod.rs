//! Cutting a toplevel into what can be changed by itself, what must change together, and the final rest.
//!
//! The way of the data: two generations as data ([`Toplevel`]) are laid beside each other in pieces
//! (`piece`): one per family of units, entry of `etc` and package of `sw`. Each piece may have a
//! reason to wait for the final step (`defer`); links say which must change together and in which
//! order (`link`); groups follow from them (`group`). What is not understood is final, so that a
//! mistake here costs disk, never a broken machine. [`cut`](fn@cut) puts it together with the
//! closures; every path of both closures is in a component, kept, or final.

mod absence;
mod account;
mod cut;
mod defer;
mod group;
mod instance;
mod link;
mod need;
mod piece;
mod reason;
mod snippet;
mod toplevel;
mod unit;

pub use absence::{Absences, Refusal, absences};
pub use cut::{Component, Cut, CutError, Deferred, FinalRest, Side, cut};
pub use group::{After, Group};
pub use instance::{Instance, InstanceComponent};
pub use piece::{ComponentId, ComponentKind};
pub use reason::{DeferReason, LinkReason};
pub use toplevel::{Content, Entry, Toplevel, UNIT_DIR};

#[cfg(test)]
mod cut_tests;
#[cfg(test)]
mod law_tests;
#[cfg(test)]
mod testing;

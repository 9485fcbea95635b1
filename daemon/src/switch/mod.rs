//! The stepwise switch: a NixOS-shaped profile goes from one generation to the next in small,
//! proven steps, on disks where both do not fit.
//!
//! `toplevel` and `store` read what there is, the crate `nixctl-planner` decides, `plan`
//! turns the decisions into [`step::SwitchStep`]s for the engine, and the rest carries them out:
//! `store` speaks to Nix, `compose` makes hybrid generations, `activate` makes one the running
//! system, `prove` looks whether it is healthy, `profile` makes it the default of the next boot.
//! At every instant the boot default is a proven generation whose closure is complete.

pub mod activate;
pub mod boot;
pub mod booted_root;
pub mod carry;
pub mod compose;
pub mod converge;
pub mod difference;
pub mod error;
mod fetch;
pub mod files;
mod forget;
pub mod identity;
pub mod plan;
pub mod profile;
pub mod prove;
#[cfg(test)]
mod real;
mod release;
pub mod rollback;
pub mod running;
pub mod step;
pub mod store;
#[cfg(test)]
pub(crate) mod testing;
#[cfg(test)]
mod testing_caches;
#[cfg(test)]
mod testing_nix;
pub mod toplevel;
pub mod units;

pub use error::SwitchError;
pub use store::closure::{ClosureReader, ReadError};
pub use store::locate::Located;
pub use store::source::{BadStoreUrl, Source, StoreUrl};
pub use toplevel::{Limits, ToplevelError, read_toplevel};

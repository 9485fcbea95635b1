//! The stepwise switch: a NixOS-shaped profile goes from one generation to the next in small,
//! proven steps, on disks where both do not fit.
//!
//! `toplevel` and `closure` read what there is, the crate `nixctl-planner` decides, `plan`
//! turns the decisions into [`step::SwitchStep`]s for the engine, and the rest carries them out:
//! `store` speaks to Nix, `compose` makes hybrid generations, `activate` makes one the running
//! system, `prove` looks whether it is healthy, `profile` makes it the default of the next boot.
//! At every instant the boot default is a proven generation whose closure is complete.

pub mod activate;
pub mod activate_error;
mod activate_program;
pub mod budget;
pub mod carry;
pub mod closure;
pub mod compose;
mod compose_merge;
mod compose_script;
mod compose_stage;
mod compose_tree;
pub mod converge;
pub mod difference;
pub mod error;
pub mod facts;
mod facts_roots;
mod fetch;
mod forget;
pub mod generations;
pub mod identity;
pub mod internal_json;
mod path_info;
mod peek;
pub mod plan;
mod plan_steps;
mod plan_view;
pub mod profile;
pub mod prove;
mod prove_probe;
#[cfg(test)]
mod real_plan_tests;
#[cfg(test)]
mod real_testing;
#[cfg(test)]
mod real_tests;
mod release;
pub mod rollback;
pub mod running;
mod source;
pub mod step;
pub mod store;
pub mod store_delete;
pub mod store_fetch;
#[cfg(test)]
pub(crate) mod testing;
#[cfg(test)]
mod testing_nix;
pub mod toplevel;
mod tree;
pub mod units;
pub mod units_facts;
mod units_jobs;
mod units_lock;
mod units_log;
pub mod units_progress;
pub mod units_read;
pub mod units_settle;
mod units_users;

pub use closure::{ClosureReader, ReadError};
pub use error::SwitchError;
pub use source::{BadStoreUrl, Source, StoreUrl};
pub use toplevel::{Limits, ToplevelError, read_toplevel};

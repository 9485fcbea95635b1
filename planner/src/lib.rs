//! The pure decisions of the stepwise switch: facts in, plan with reasons out.
//!
//! Nothing here reads a file, starts a process or waits: the daemon gathers the facts and carries the
//! plans out, the client shows them. Every decision returns its reason, and the same facts always
//! give the same plan.

pub mod closure;
pub mod component;
pub mod order;
pub mod units;

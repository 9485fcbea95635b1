//! The steps and the planner with a real Nix, on a relocated store.

mod cache_tests;
mod plan_tests;
mod testing;
mod tests;

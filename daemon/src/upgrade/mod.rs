//! Upgrades: of Nix, and of nixctl itself.
//!
//! | file | subject |
//! |---|---|
//! | [`feed`] | fetches the release feed and believes it or says why not |
//! | [`rollout`], [`machine`] | which release this machine may take now |
//! | [`window`], [`zone`] | maintenance windows by the clock of a time zone |
//! | [`ladder`] | pauses after failures of a release |
//! | [`inhibit`] | those who ask that nothing begins now |
//! | [`fleet_lock`] | the gate of a fleet of machines |
//! | [`hold`] | whether now is a moment, and why not |
//! | [`metrics`] | what a monitoring system reads |

pub mod feed;
pub mod fleet_lock;
pub mod hold;
pub mod inhibit;
pub mod ladder;
pub mod machine;
pub mod metrics;
pub mod rollout;
pub mod window;
pub mod zone;

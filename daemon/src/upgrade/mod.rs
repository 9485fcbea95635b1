//! Upgrades: what the release feed says, and when this machine's turn has come.
//!
//! [`feed`] fetches what is published and believes it or says why not; [`rollout`] decides from it
//! and from the machine's [`machine`] id which release may be taken now, always with the reason.

pub mod feed;
pub mod machine;
pub mod rollout;

//! Replacing Nix by another version of it: which, when, and how.
//!
//! [`feed`] fetches what is published and believes it or says why not; [`rollout`] decides from it
//! and from the machine's [`machine`] id which release may be taken now, always with the reason; and
//! [`offer`] says what that means here. [`autopilot`] decides what is due without a hand.
//! Whether now is a moment says [`hold`], from maintenance windows ([`window`], [`zone`]), pauses
//! after failures ([`ladder`]) and those who ask that nothing begins ([`inhibit`]); [`fleet_lock`] is
//! the gate of a fleet of machines, and [`metrics`] is what a monitoring system reads. [`follow`] is about the
//! generation that a feed names for this machine, in the same way.
//!
//! The new release lies in the store beside the old one before anything else happens. Then nobody new
//! is served, builds that run end, and a copy of the database is made; only with that at hand does
//! the new version touch the database, and the profile lead to it. nix-daemon is started again, and
//! has to build and to leave nothing worse than it was. Until then everything is undone by itself:
//! the profile leads back to the recorded generation, and a database that the new version has written
//! in another form is put back, with what was registered since. Meanwhile [`temp_roots`] keeps garbage
//! collections away from the new release.

pub mod autopilot;
pub mod back;
pub mod busy;
pub mod copy;
pub mod default;
pub mod feed;
pub mod fleet_lock;
pub mod follow;
pub mod forget;
pub mod hold;
pub mod inhibit;
pub mod kept;
pub mod ladder;
pub mod machine;
pub mod metrics;
pub mod offer;
pub mod owned;
pub mod plan;
pub mod quiet;
pub mod reading;
pub mod restart;
pub mod rollout;
pub mod schema;
pub mod step;
pub mod temp_roots;
pub mod turn;
pub mod window;
pub mod zone;

/// Service of Nix's daemon.
const SERVICE: &str = crate::catalogue::linux::SERVICE_UNIT;
/// The socket that starts it.
const SOCKET: &str = crate::catalogue::linux::SOCKET_UNIT;
/// Largest list of what a profile holds that is read.
const MAX_LIST: u64 = 1 << 20;

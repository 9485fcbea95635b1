//! The lab: throw-away machines with a real systemd, a real bus, a real polkit and a real Nix.
//!
//! [`prepare`] says what the host lacks and installs it, [`image`] builds the Debian roots, [`dist`]
//! makes release tarballs of Nix out of Debian's packages, [`server`] serves them inside a machine,
//! [`machine`] boots, breaks and reboots machines, [`snapshot`] says what changed in one, [`world`]
//! is a machine that nixctl is on, with a release server beside it, [`generation`] turns Debian's
//! services into NixOS-shaped generations and machines that run them, [`damage`] breaks machines in
//! all the ways that real ones were broken.
//! Everything lives under `target/lab` of the workspace. Linux and root only; [`require`] says so.

pub mod damage;
pub mod dist;
pub mod error;
pub mod exec;
pub mod generation;
pub mod image;
pub mod machine;
pub mod paths;
pub mod prepare;
pub mod product;
pub mod progress;
pub mod server;
pub mod snapshot;
pub mod world;

pub use error::{Error, Result};
pub use exec::{Background, Output};
pub use machine::Machine;
pub use world::World;

/// True when a machine test may run here. Otherwise prints why not and returns false, so that the
/// test can return early; panics instead when `CI` is set, where skipping would hide a failure.
///
/// ```no_run
/// if !nixctl_lab::require() {
///     return;
/// }
/// ```
#[must_use]
pub fn require() -> bool {
    let missing = prepare::missing();
    if missing.is_empty() {
        return true;
    }
    let reasons = missing.join("; ");
    assert!(
        std::env::var_os("CI").is_none(),
        "the lab is needed but cannot run: {reasons}"
    );
    eprintln!("skipped, the lab cannot run here: {reasons}");
    false
}

/// The same for a machine whose /nix is a disk of its own.
#[must_use]
pub fn require_disks() -> bool {
    let missing = generation::missing_for_disks(generation::FileSystem::Ext4);
    if let Some(reason) = &missing {
        eprintln!("skipped, no disks for machines here: {reason}");
    }
    require() && missing.is_none()
}

/// True when the long tests were asked for (`nixctl-lab test --full`).
#[must_use]
pub fn full() -> bool {
    std::env::var_os("NIXCTL_LAB_FULL").is_some()
}

//! Installs a release without nixctl: the start of tests about adoption, upgrade and foreign traces.

use std::path::Path;
use std::time::Duration;

use super::Release;
use crate::Machine;
use crate::error::Result;

const SCRIPT: &str = include_str!("by_hand.sh");

/// Unpacks, registers, makes `users` build users, sets the default profile and starts the daemon.
pub fn install_by_hand(machine: &Machine, release: &Release, users: u32) -> Result<()> {
    let tarball = "/var/tmp/nix-release.tar.zst";
    machine.copy_in(&release.tar_zst, Path::new(tarball), 0o644)?;
    machine
        .command(&["sh", "-c", SCRIPT, "sh", tarball, &users.to_string()])
        .deadline(Duration::from_secs(120))
        .run()?
        .ok()?;
    machine.exec(&["rm", "-f", tarball])?.ok().map(drop)
}

//! Releases that do not work, each in another way: the newer release with another nix-daemon.
//!
//! Their store paths have the names of the real ones, and the same registration: nobody compares
//! hashes of what a checksum has proven.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::time::Duration;

use super::Release;
use crate::error::{Context, Result};
use crate::exec::Run;
use crate::paths;

/// Deadline of unpacking and packing.
const DEADLINE: Duration = Duration::from_secs(120);

/// What is wrong with the daemon of a release.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Broken {
    /// It ends at once.
    Ends,
    /// It takes connections and never says a word.
    Hangs,
    /// It serves, and cannot build.
    CannotBuild,
}

impl Broken {
    /// All of them.
    pub const ALL: [Self; 3] = [Self::Ends, Self::Hangs, Self::CannotBuild];

    fn script(self, nix: &str) -> String {
        let does = match self {
            Self::Ends => "echo 'cannot go on' >&2; exit 1".to_owned(),
            Self::Hangs => "exec sleep 100000".to_owned(),
            Self::CannotBuild => {
                let wrong = "--option build-users-group nixctl-lab-nobody";
                format!("exec {nix}/libexec/real/nix-daemon \"$@\" {wrong}")
            }
        };
        format!("#!/bin/sh\n{does}\n")
    }
}

impl Release {
    /// The `.tar.zst` of this release, broken so, and with another version.
    pub fn broken(&self, how: Broken, version: &str) -> Result<Vec<u8>> {
        self.repacked(Some(how), version)
    }

    /// The `.tar.zst` of this release, as it is, under another version.
    pub fn renamed(&self, version: &str) -> Result<Vec<u8>> {
        self.repacked(None, version)
    }

    fn repacked(&self, how: Option<Broken>, version: &str) -> Result<Vec<u8>> {
        let scratch = paths::lab("scratch")?.join(paths::unique("repacked"));
        let made = self.repack_in(&scratch, how, version);
        paths::remove_tree(&scratch)?;
        made
    }

    fn repack_in(&self, scratch: &Path, how: Option<Broken>, version: &str) -> Result<Vec<u8>> {
        fs::create_dir_all(scratch).context(|| "make a folder for a release")?;
        let (archive, folder) = (self.tar_zst.to_string_lossy(), scratch.to_string_lossy());
        let unpack = Run::new(&["tar", "--zstd", "-xf", &archive, "-C", &folder]);
        unpack.deadline(DEADLINE).run()?.ok()?;
        let top = scratch.join(self.top());
        if let Some(how) = how {
            self.break_in(&top, how)?;
        }
        let renamed = format!("nix-{version}-{}", self.system);
        fs::rename(&top, scratch.join(&renamed)).context(|| "name a release")?;
        let argv = [
            "tar",
            "--zstd",
            "--owner=0",
            "--group=0",
            "-cf",
            "out.tar.zst",
            &renamed,
        ];
        let pack = Run::new(&argv).in_dir(scratch).deadline(DEADLINE);
        pack.run()?.ok()?;
        fs::read(scratch.join("out.tar.zst")).context(|| "read a release")
    }
    /// Puts another daemon into the unpacked release.
    fn break_in(&self, top: &Path, how: Broken) -> Result<()> {
        let name = self.nix.trim_start_matches("/nix/store/");
        let nix = top.join("store").join(name);
        let unlock = Run::new(&["chmod", "-R", "u+w", &nix.to_string_lossy()]);
        unlock.run()?.ok()?;
        let (daemon, real) = (nix.join("bin/nix-daemon"), nix.join("libexec/real"));
        fs::create_dir_all(&real).context(|| "make a folder in a release")?;
        let moved = fs::rename(&daemon, real.join("nix-daemon"));
        moved.context(|| "move the daemon of a release")?;
        // It was a link beside the program.
        if fs::symlink_metadata(real.join("nix-daemon")).is_ok_and(|it| it.is_symlink()) {
            fs::remove_file(real.join("nix-daemon")).context(|| "remove a link")?;
            std::os::unix::fs::symlink("../../bin/nix", real.join("nix-daemon"))
                .context(|| "make a link")?;
        }
        fs::write(&daemon, how.script(&self.nix)).context(|| "write a daemon")?;
        let executable = fs::Permissions::from_mode(0o555);
        fs::set_permissions(&daemon, executable).context(|| "make a daemon executable")
    }
}

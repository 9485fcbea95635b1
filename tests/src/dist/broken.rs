//! Releases that do not work, each in another way: the newer release with another nix-daemon.
//!
//! Their store paths have the names of the real ones; what is registered of them is what they are.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::time::Duration;

use sha2::{Digest, Sha256};

use super::Release;
use super::relocate::chroot_run;
use crate::error::{Context, Error, Result};
use crate::exec::Run;
use crate::paths::{self, hex};

/// Deadline of unpacking and packing.
const DEADLINE: Duration = Duration::from_secs(120);

/// Every program of a release whose database has the schema 11.
const NEWER_SCHEMA: &str = include_str!("newer_schema.sh");

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
        let scratch = paths::lab("scratch")?.join(paths::unique("broken"));
        let made = self.break_in(&scratch, how, version);
        paths::remove_tree(&scratch)?;
        made
    }

    /// The `.tar.zst` of this release, as it is, under another version.
    pub fn renamed(&self, version: &str) -> Result<Vec<u8>> {
        let scratch = paths::lab("scratch")?.join(paths::unique("renamed"));
        let made = self.repack(&scratch, version, |_| Ok(()));
        paths::remove_tree(&scratch)?;
        made
    }

    /// The `.tar.zst` of this release with another version, whose database has the schema 11.
    ///
    /// Its programs are scripts before the real ones: the number beside the database is 11, and the
    /// real ones see 10 in its place, each in a mount namespace of its own.
    pub fn with_newer_schema(&self, version: &str) -> Result<Vec<u8>> {
        let scratch = paths::lab("scratch")?.join(paths::unique("schema"));
        let made = self.repack(&scratch, version, |nix| {
            let (bin, real) = (nix.join("bin"), nix.join("libexec/real"));
            fs::create_dir_all(nix.join("libexec")).context(|| "make a folder in a release")?;
            fs::rename(&bin, &real).context(|| "move the programs of a release")?;
            fs::create_dir(&bin).context(|| "make a folder in a release")?;
            let script = NEWER_SCHEMA.replace("@real@", &format!("{}/libexec/real", self.nix));
            for entry in fs::read_dir(&real).context(|| "list programs")? {
                let name = entry.context(|| "list programs")?.file_name();
                write_program(&bin.join(name), &script)?;
            }
            Ok(())
        });
        paths::remove_tree(&scratch)?;
        made
    }

    fn break_in(&self, scratch: &Path, how: Broken, version: &str) -> Result<Vec<u8>> {
        self.repack(scratch, version, |nix| {
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
            write_program(&daemon, &how.script(&self.nix))
        })
    }

    /// Unpacks it, changes its Nix, and packs it as another version.
    fn repack(
        &self,
        scratch: &Path,
        version: &str,
        change: impl FnOnce(&Path) -> Result<()>,
    ) -> Result<Vec<u8>> {
        fs::create_dir_all(scratch).context(|| "make a folder for a release")?;
        let (archive, folder) = (self.tar_zst.to_string_lossy(), scratch.to_string_lossy());
        let unpack = Run::new(&["tar", "--zstd", "-xf", &archive, "-C", &folder]);
        unpack.deadline(DEADLINE).run()?.ok()?;
        let top = scratch.join(self.top());
        let name = self.nix.trim_start_matches("/nix/store/");
        let nix = top.join("store").join(name);
        let unlock = Run::new(&["chmod", "-R", "u+w", &nix.to_string_lossy()]);
        unlock.run()?.ok()?;
        change(&nix)?;
        self.register(scratch, &top)?;
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
}

impl Release {
    /// Has `.reginfo` say what its Nix has become, which that itself is asked.
    fn register(&self, scratch: &Path, top: &Path) -> Result<()> {
        let root = scratch.join("root");
        let (inside, store) = (root.join("nix/store"), top.join("store"));
        for folder in ["nix", "proc", "root", "tmp"] {
            fs::create_dir_all(root.join(folder)).context(|| "make a root")?;
        }
        fs::rename(&store, &inside).context(|| "move a store")?;
        let real = format!("{}/libexec/real/nix-store", self.nix);
        let is_moved = root.join(real.trim_start_matches('/')).exists();
        let program = match is_moved {
            true => real,
            false => format!("{}/bin/nix-store", self.nix),
        };
        let nar = chroot_run(&root, &[&program, "--dump", &self.nix]);
        let nar = nar.run()?.ok()?.bytes;
        fs::rename(&inside, &store).context(|| "move a store")?;
        let registration = top.join(".reginfo");
        let text = fs::read_to_string(&registration).context(|| "read .reginfo")?;
        let mut lines: Vec<String> = text.lines().map(str::to_owned).collect();
        // Its path comes first of all that is said of it; as a reference it is repeated below.
        let place = lines.iter().position(|line| *line == self.nix);
        let place = place.ok_or_else(|| Error::new("register a release", "it has no Nix"))?;
        lines[place + 1] = hex(&Sha256::digest(&nar));
        lines[place + 2] = nar.len().to_string();
        let text = lines.join("\n") + "\n";
        fs::write(&registration, text).context(|| "write .reginfo")
    }
}

fn write_program(path: &Path, script: &str) -> Result<()> {
    fs::write(path, script).context(|| "write a program")?;
    let executable = fs::Permissions::from_mode(0o555);
    fs::set_permissions(path, executable).context(|| "make a program executable")
}

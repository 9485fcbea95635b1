//! Machines that run a generation: /nix is a disk of its own, Nix is in it, and process 1 comes from
//! the generation that the boot entry names.
//!
//! The root is the lab's Debian, whose systemd and bus go on being used. Where Debian has its own
//! units in /etc, the generation's take their place. The boot loader and the first stage are one
//! small script outside /nix.

use std::fs;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::time::Duration;

use super::disk::{Disk, FileSystem, Space};
use super::store::Packages;
use super::{Generation, parts};
use crate::Machine;
use crate::dist::Release;
use crate::dist::relocate::make_dir;
use crate::error::{Context, Error, Result};
use crate::exec::Run;
use crate::machine::Builder;
use crate::world;

/// The profile that Nix itself is in, as nixctl installs it.
pub const NIX_PROFILE: &str = "/nix/var/nix/profiles/nixctl";
/// The profile of generations.
pub const SYSTEM_PROFILE: &str = "/nix/var/nix/profiles/system";
/// What process 1 is at first.
const BOOT: &str = "/usr/sbin/lab-boot";
/// Most bytes that a machine may write beside its disk when that is kept in memory.
const WRITES: u64 = 512 << 20;
/// Deadline of filling a disk.
const DEADLINE: Duration = Duration::from_secs(300);
/// Registers paths in the store of a disk. Arguments: the packages' root, the disk, nix-store.
const LOAD: &str = "mount --bind \"$2\" \"$1/nix\" && mount -t proc proc \"$1/proc\" && \
                    exec chroot \"$1\" \"$3\" --load-db";

/// What a machine is at the start, beside the generation.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Start {
    /// Debian, with Nix just lying in the store: needs no build of the product.
    Plain,
    /// nixctl's daemon runs, and has installed Nix.
    Nixctl,
}

/// A machine and its disk.
#[derive(Debug)]
pub struct Host {
    /// The machine.
    pub machine: Machine,
    /// What is mounted at /nix.
    pub disk: Disk,
}

/// A plain machine that runs a generation, with an ext4 of so many MiB for /nix.
pub fn machine(generation: &Generation, disk_mib: u64) -> Result<Host> {
    let disk = Disk::new(disk_mib, FileSystem::Ext4)?;
    Host::boot("generation", generation, disk, Start::Plain, |builder| {
        builder
    })
}

impl Host {
    /// A machine with this empty disk, booted into the generation, which is number 1 of the system
    /// profile and the boot default.
    pub fn boot(
        name: &str,
        generation: &Generation,
        disk: Disk,
        start: Start,
        change: impl FnOnce(Builder) -> Builder,
    ) -> Result<Self> {
        let mut builder = Machine::builder(name);
        if start == Start::Nixctl {
            builder = builder.over(&world::root(world::Stage::Nix)?);
        }
        let mut machine = around(change(builder), &disk).create()?;
        prepare_root(&machine, generation, start)?;
        disk.mounted(|nix| fill(nix, &machine, generation, start))?;
        empty(&machine.root().join("nix"))?;
        machine.boot_again()?;
        let host = Self { machine, disk };
        host.switch(generation, "boot")?.ok()?;
        host.machine.exec(&["rm", "/boot/loader/record"])?.ok()?;
        Ok(host)
    }

    /// A machine with nixctl as another one was left that is off, in memory: with a copy of what that
    /// one has written, and its disk.
    pub fn resume(name: &str, written: &Path, disk: Disk) -> Result<Self> {
        let root = world::root(world::Stage::Nix)?;
        let builder = Machine::builder(name).over(&root).written(written);
        let builder = builder.disk(WRITES);
        let machine = around(builder, &disk).boot()?;
        Ok(Self { machine, disk })
    }

    /// Runs a generation's own `switch-to-configuration`.
    pub fn switch(&self, generation: &Generation, verb: &str) -> Result<crate::Output> {
        let program = format!("{}/bin/switch-to-configuration", generation.toplevel);
        self.machine
            .command(&[&*program, verb])
            .deadline(DEADLINE)
            .run()
    }

    /// A command of Nix, as root.
    pub fn nix(&self, words: &[&str]) -> Run {
        let program = format!("{NIX_PROFILE}/bin/{}", words.first().unwrap_or(&"nix"));
        let mut all = vec![program.as_str()];
        all.extend(words.iter().skip(1));
        self.machine.command(&all).deadline(DEADLINE)
    }

    /// How full /nix is.
    pub fn space(&self) -> Result<Space> {
        let words = ["df", "--block-size=1", "--output=size,used,avail", "/nix"];
        let output = self.machine.exec(&words)?.ok()?;
        Space::parse(&output.stdout).ok_or_else(|| Error::new("read df", output.stdout))
    }

    /// The toplevel that runs.
    pub fn current(&self) -> Result<String> {
        let words = ["readlink", "-f", "/run/current-system"];
        Ok(self.machine.exec(&words)?.ok()?.text().to_owned())
    }
}

/// What every machine with a generation has around it.
fn around(builder: Builder, disk: &Disk) -> Builder {
    // The network is its own, so its own services may set it up and break it.
    builder
        .argument("--capability=CAP_NET_ADMIN")
        .bind(disk.device(), "/dev/nix-disk")
        .init(BOOT)
}

/// Takes away what the generation brings itself, and puts the first stage in.
fn prepare_root(machine: &Machine, generation: &Generation, start: Start) -> Result<()> {
    crate::paths::remove_tree(&machine.root().join("etc/systemd/system"))?;
    machine.write_file(BOOT, parts::BOOT, 0o755)?;
    if start == Start::Plain {
        let text = format!(
            "experimental-features = nix-command\nbuild-users-group =\nsubstituters =\n\
             trusted-public-keys = {}\n",
            generation.public_key
        );
        machine.write_file("/etc/nix/nix.conf", text, 0o644)?;
    }
    make_dir(&machine.root().join("nix"))
}

/// Fills the disk: Nix, the closure, their registration, the profile.
fn fill(nix: &Path, machine: &Machine, generation: &Generation, start: Start) -> Result<()> {
    let packages = Packages::get()?;
    let store = nix.join("store");
    make_dir(&store)?;
    let _ = fs::remove_dir(nix.join("lost+found"));
    if start == Start::Nixctl {
        // `/.` is the folder's content, without the folder.
        copy_all(&[machine.root().join("nix/.")], nix)?;
    } else {
        plain_nix(nix, packages.root().as_path(), packages.release())?;
    }
    let paths = generation.closure.iter().map(|path| {
        let found = generation.on_host(&path.path);
        found.ok_or_else(|| Error::new(format!("copy {}", path.path), "it is not there"))
    });
    let paths: Vec<PathBuf> = paths.collect::<Result<_>>()?;
    copy_all(&paths, &store)?;
    let text = fs::read(&generation.registration);
    let text = text.context(|| "read a generation's registration")?;
    load(&packages, nix, text)?;
    let profile = nix.join(SYSTEM_PROFILE.trim_start_matches("/nix/"));
    profile_link(&profile, &generation.toplevel)
}

/// Nix as it lies in the packages' root, and a profile of it where nixctl would have one.
fn plain_nix(nix: &Path, root: &Path, release: &Release) -> Result<()> {
    let paths: Vec<PathBuf> = release
        .paths
        .iter()
        .map(|path| root.join(path.path.trim_start_matches('/')))
        .collect();
    for folder in [
        "var/nix/db",
        "var/nix/daemon-socket",
        "var/nix/gcroots/per-user",
    ] {
        make_dir(&nix.join(folder))?;
    }
    let roots = nix.join("var/nix/gcroots/profiles");
    symlink("/nix/var/nix/profiles", &roots).context(|| "link the profiles' roots")?;
    copy_all(&paths, &nix.join("store"))?;
    let packages = Packages::get()?;
    let reginfo = root.join("nix/.reginfo");
    load(
        &packages,
        nix,
        fs::read(&reginfo).context(|| "read the release's registration")?,
    )?;
    let profile = nix.join(NIX_PROFILE.trim_start_matches("/nix/"));
    profile_link(&profile, &release.nix)
}

fn load(packages: &Packages, nix: &Path, text: Vec<u8>) -> Result<()> {
    let (root, nix) = (packages.root(), nix.to_string_lossy());
    let program = format!("{}/bin/nix-store", packages.release().nix);
    let root = root.to_string_lossy();
    let words = [
        "unshare", "--mount", "sh", "-c", LOAD, "sh", &root, &nix, &program,
    ];
    Run::new(&words)
        .label("nix-store --load-db")
        .env("HOME", "/root")
        .input(text)
        .deadline(DEADLINE)
        .run()?
        .ok()
        .map(drop)
}

/// `NAME-1-link` and `NAME`, as Nix makes them.
fn profile_link(profile: &Path, path: &str) -> Result<()> {
    let name = profile.file_name().unwrap_or_default().to_string_lossy();
    let first = format!("{name}-1-link");
    make_dir(profile.parent().unwrap_or(profile))?;
    symlink(path, profile.with_file_name(&first)).context(|| format!("link {first}"))?;
    symlink(&first, profile).context(|| format!("link {name}"))
}

fn copy_all(from: &[PathBuf], to: &Path) -> Result<()> {
    let mut words = vec!["cp".to_owned(), "--archive".to_owned()];
    words.extend(from.iter().map(|path| path.display().to_string()));
    words.push(format!("{}/", to.display()));
    Run::new(&words)
        .label("fill a disk")
        .deadline(DEADLINE)
        .run()?
        .ok()
        .map(drop)
}

/// Removes what is in a folder, but not the folder, which is a mount point.
fn empty(dir: &Path) -> Result<()> {
    for entry in fs::read_dir(dir).context(|| format!("read {}", dir.display()))? {
        crate::paths::remove_tree(&entry.context(|| "read a folder")?.path())?;
    }
    Ok(())
}

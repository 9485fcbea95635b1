//! The machines that damage is done to: where their store is, and what people have made their own.

use crate::Machine;
use crate::error::Result;
use crate::generation::{Disk, FileSystem};
use crate::machine::Builder;
use crate::world::{Stage, root};

/// What people have changed before anything breaks.
const MINE: &str = include_str!("mine.sh");
/// The store becomes a folder elsewhere, which fstab binds to /nix.
const BIND: &str = "mkdir /srv/nix && cp -a /nix/. /srv/nix && find /nix -mindepth 1 -delete && \
    echo '/srv/nix /nix none bind,nofail 0 0' >>/etc/fstab";
/// The store is on a disk, which fstab names. A path in /dev would be left out in a container.
const ON_DISK: &str = "find /nix -mindepth 1 -delete && ln -s /dev/lab-disk /srv/disk && \
    echo '/srv/disk /nix ext4 nofail 0 0' >>/etc/fstab";
/// nixctld does not run until the next boot.
const RESTS: &str = "systemctl stop nixctld.socket nixctld.service";
/// MiB of a disk for the store.
const DISK: u64 = 400;

/// Where the store of a machine is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Ground {
    /// In the root file system.
    Plain,
    /// In a folder that fstab binds to /nix.
    Bound,
    /// On a disk of its own that fstab names.
    Disk,
}

/// A healthy machine that was switched off: what every trial begins as.
#[derive(Debug)]
pub struct Healthy {
    machine: Machine,
    disk: Option<Disk>,
}

impl Ground {
    /// All of them.
    pub const ALL: [Self; 3] = [Self::Plain, Self::Bound, Self::Disk];

    pub(super) fn name(self) -> &'static str {
        match self {
            Self::Plain => "plain",
            Self::Bound => "bound",
            Self::Disk => "disk",
        }
    }

    /// What this host lacks for it.
    #[must_use]
    pub fn missing(self) -> Option<String> {
        match self {
            Self::Disk => crate::generation::missing_for_disks(FileSystem::Ext4),
            Self::Plain | Self::Bound => None,
        }
    }

    /// Makes the healthy machine.
    pub fn prepare(self) -> Result<Healthy> {
        let disk = match self {
            Self::Disk => Some(Disk::new(DISK, FileSystem::Ext4)?),
            Self::Plain | Self::Bound => None,
        };
        let builder = Machine::builder("healthy").over(&root(Stage::Nix)?);
        let mut machine = with(builder, disk.as_ref()).create()?;
        // What is done to it here is no damage that nixctld should have in its history.
        machine.sh(RESTS)?.ok()?;
        match &disk {
            None if self == Self::Bound => drop(machine.sh(BIND)?.ok()?),
            None => {}
            Some(disk) => {
                let nix = machine.root().join("nix/.");
                disk.mounted(|target| crate::paths::copy_tree(&nix, target))?;
                machine.sh(ON_DISK)?.ok()?;
            }
        }
        machine.boot_again()?;
        machine.sh(MINE)?.ok()?;
        machine.power_off()?;
        Ok(Healthy { machine, disk })
    }
}

impl Healthy {
    /// A machine just like it, off, with a disk of its own.
    pub fn copy(&self) -> Result<(Machine, Option<Disk>)> {
        let disk = self.disk.as_ref().map(Disk::copy).transpose()?;
        let builder = Machine::builder("damaged")
            .over(self.machine.lower())
            .written(self.machine.upper());
        Ok((with(builder, disk.as_ref()).create()?, disk))
    }
}

/// The disk, when there is one.
fn with(builder: Builder, disk: Option<&Disk>) -> Builder {
    match disk {
        Some(disk) => builder.bind(disk.device(), "/dev/lab-disk"),
        None => builder,
    }
}

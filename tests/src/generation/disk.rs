//! Disks of a machine: a file of so many MiB behind a loop device, with a file system.
//!
//! The file is unlinked and the device set to vanish with its last user as soon as both exist, so
//! that nothing is left on the host even when the test process is killed.

use std::fs::{self, File};
use std::path::{Path, PathBuf};

use crate::error::{Context, Error, Result};
use crate::exec::Run;
use crate::paths;

/// A file system in memory, when the host has one.
const MEMORY: &str = "/dev/shm";

/// What a disk is formatted with.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum FileSystem {
    /// Without reserved blocks.
    Ext4,
    /// From 110 MiB on.
    Btrfs,
    /// From 300 MiB on.
    Xfs,
}

impl FileSystem {
    /// The command that makes one.
    fn command(self) -> &'static [&'static str] {
        match self {
            Self::Ext4 => &["mkfs.ext4", "-q", "-F", "-m", "0"],
            Self::Btrfs => &["mkfs.btrfs", "-q", "-f"],
            Self::Xfs => &["mkfs.xfs", "-q", "-f"],
        }
    }
}

/// A disk. It is there for as long as this value lives, or a machine has it mounted.
#[derive(Debug)]
pub struct Disk {
    device: PathBuf,
    _open: File,
}

/// Bytes of a mounted file system.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Space {
    /// All of it.
    pub size: u64,
    /// In use.
    pub used: u64,
    /// Left for whoever writes.
    pub available: u64,
}

/// What this host lacks for disks with this file system; none when it can have them.
#[must_use]
pub fn missing(kind: FileSystem) -> Option<String> {
    let program = kind.command()[0];
    let found = ["/usr/sbin", "/sbin", "/usr/bin"]
        .iter()
        .any(|dir| Path::new(dir).join(program).exists());
    if !Path::new("/dev/loop-control").exists() {
        return Some("the host has no loop devices (no /dev/loop-control)".to_owned());
    }
    (!found).then(|| format!("the host has no {program}"))
}

impl Disk {
    /// A new disk of so many MiB.
    pub fn new(mib: u64, kind: FileSystem) -> Result<Self> {
        if let Some(reason) = missing(kind) {
            return Err(Error::new("make a disk", reason));
        }
        let disk = Self::attach(|path| {
            let file = File::create(path).context(|| format!("create {}", path.display()))?;
            file.set_len(mib << 20).context(|| "size a disk")
        })?;
        let device = disk.device.to_string_lossy();
        let mut words = kind.command().to_vec();
        words.push(&device);
        Run::new(&words).run()?.ok()?;
        Ok(disk)
    }

    /// A disk in memory, where the host has room for that, with the content of a file that
    /// [`Disk::save`] has written: what trials need is not how slow a disk is.
    pub fn of(image: &Path) -> Result<Self> {
        let memory = Path::new(MEMORY).join(paths::unique("nixctl-lab-disk"));
        Self::attach_at(&memory, |path| copy(image, path))
            .or_else(|_| Self::attach(|path| copy(image, path)))
    }

    /// Another disk with the same content.
    pub fn copy(&self) -> Result<Self> {
        Self::of(&self.device)
    }

    /// Writes everything that is on the disk to a file.
    pub fn save(&self, image: &Path) -> Result<()> {
        copy(&self.device, image)
    }

    fn attach(fill: impl FnOnce(&Path) -> Result<()>) -> Result<Self> {
        Self::attach_at(&paths::lab("scratch")?.join(paths::unique("disk")), fill)
    }

    fn attach_at(path: &Path, fill: impl FnOnce(&Path) -> Result<()>) -> Result<Self> {
        let disk = fill(path).and_then(|()| Self::behind(path));
        let _ = fs::remove_file(path);
        disk
    }

    fn behind(path: &Path) -> Result<Self> {
        let words = ["losetup", "--find", "--show", &path.to_string_lossy()];
        let device = PathBuf::from(Run::new(&words).run()?.ok()?.text());
        let open = File::open(&device).context(|| format!("open {}", device.display()));
        // In use as it is, it goes when its last user does.
        Run::new(&["losetup", "--detach", &device.to_string_lossy()])
            .run()?
            .ok()?;
        Ok(Self {
            device,
            _open: open?,
        })
    }

    /// The device on the host.
    #[must_use]
    pub fn device(&self) -> &Path {
        &self.device
    }

    /// Mounts the disk on the host while `work` runs; the machine should be off.
    pub fn mounted<T>(&self, work: impl FnOnce(&Path) -> Result<T>) -> Result<T> {
        let dir = paths::lab("scratch")?.join(paths::unique("mount"));
        fs::create_dir(&dir).context(|| format!("create {}", dir.display()))?;
        let (device, target) = (self.device.to_string_lossy(), dir.to_string_lossy());
        Run::new(&["mount", &device, &target]).run()?.ok()?;
        let result = work(&dir);
        Run::new(&["umount", &target]).run()?.ok()?;
        fs::remove_dir(&dir).context(|| format!("remove {}", dir.display()))?;
        result
    }
}

/// Copies a device or file; what is zero takes no space.
fn copy(from: &Path, to: &Path) -> Result<()> {
    let (from, to) = (from.to_string_lossy(), to.to_string_lossy());
    Run::new(&["cp", "--sparse=always", &from, &to])
        .run()?
        .ok()
        .map(drop)
}

impl Space {
    /// Reads what `df --block-size=1 --output=size,used,avail` prints.
    pub fn parse(text: &str) -> Option<Self> {
        let mut numbers = text.lines().nth(1)?.split_whitespace().map(str::parse);
        let mut next = || numbers.next()?.ok();
        Some(Self {
            size: next()?,
            used: next()?,
            available: next()?,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::Space;

    #[test]
    fn df_is_read() {
        let text = "1B-blocks Used Avail\n  100    60    40\n";
        let space = Space {
            size: 100,
            used: 60,
            available: 40,
        };
        assert_eq!(Space::parse(text), Some(space));
        assert_eq!(Space::parse("nothing"), None);
    }
}

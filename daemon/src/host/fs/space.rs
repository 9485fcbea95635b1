//! Room on a file system.

use std::fs::File;
use std::io::{self, Read};
use std::os::fd::AsFd;
use std::path::Path;

use nix::sys::statvfs::{FsFlags, fstatvfs};
use rustix::fs::{FallocateFlags, fallocate};
use rustix::io::Errno;

use super::{Fs, FsError, failing, is_absent, open};

/// Room on a file system.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Space {
    /// Bytes free, without what the file system holds back for root.
    pub free_bytes: u64,
    /// Bytes in use.
    pub used_bytes: u64,
    /// Inodes in use; 0 where they are not counted.
    pub used_inodes: u64,
    /// Inodes free; `u64::MAX` where the file system does not count them (btrfs).
    pub free_inodes: u64,
    /// Whether it is mounted read-only.
    pub read_only: bool,
    /// Whether programs may not run from it.
    pub noexec: bool,
}

impl Space {
    /// Room on the file system of an open file or folder.
    ///
    /// # Errors
    /// When it cannot be read.
    // The widths of these fields differ between Linux and macOS.
    #[allow(clippy::useless_conversion)]
    pub fn of(file: impl AsFd) -> io::Result<Space> {
        let stat = fstatvfs(file)?;
        let fragment: u64 = stat.fragment_size().into();
        Ok(Space {
            free_bytes: u64::from(stat.blocks_available()).saturating_mul(fragment),
            used_bytes: u64::from(stat.blocks())
                .saturating_sub(stat.blocks_free().into())
                .saturating_mul(fragment),
            used_inodes: u64::from(stat.files()).saturating_sub(stat.files_free().into()),
            free_inodes: match stat.files() {
                0 => u64::MAX,
                _ => stat.files_available().into(),
            },
            read_only: stat.flags().contains(FsFlags::ST_RDONLY),
            noexec: noexec(stat.flags()),
        })
    }
}

/// Makes an empty file that long, and keeps the room for it.
///
/// # Errors
/// When there is no room, or the file cannot be written.
pub fn allocate(file: &mut File, bytes: u64) -> io::Result<()> {
    match fallocate(&*file, FallocateFlags::empty(), 0, bytes) {
        // Not every file system can keep room; musl does not write instead, as glibc does.
        Err(Errno::OPNOTSUPP | Errno::NOSYS) => write_zeroes(file, bytes),
        answer => Ok(answer?),
    }
}

fn write_zeroes(file: &mut File, bytes: u64) -> io::Result<()> {
    io::copy(&mut io::repeat(0).take(bytes), file).map(drop)
}

impl Fs {
    /// Room on the file system that holds `path`, or its nearest existing parent.
    ///
    /// # Errors
    /// When it cannot be read.
    pub fn space(&self, path: &Path) -> Result<Space, FsError> {
        let fail = failing("look at", path);
        let mut nearest = path;
        let dir = loop {
            match open::directory(self.root(), nearest) {
                Ok(dir) => break dir,
                Err(error) if is_absent(&error) => match nearest.parent() {
                    Some(parent) => nearest = parent,
                    None => return Err(fail(error)),
                },
                Err(error) => return Err(fail(error)),
            }
        };
        Space::of(dir).map_err(fail)
    }
}

#[cfg(target_os = "linux")]
fn noexec(flags: FsFlags) -> bool {
    flags.contains(FsFlags::ST_NOEXEC)
}

/// macOS does not tell it through this call.
#[cfg(not(target_os = "linux"))]
fn noexec(_flags: FsFlags) -> bool {
    false
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::MetadataExt;

    use super::*;

    #[test]
    fn room_is_kept_for_a_file() {
        let mut file = tempfile::tempfile().unwrap();
        allocate(&mut file, 1 << 20).unwrap();
        let meta = file.metadata().unwrap();
        assert_eq!(meta.len(), 1 << 20);
        assert!(meta.blocks() * 512 >= 1 << 20, "{} blocks", meta.blocks());
    }

    #[test]
    fn a_file_system_that_keeps_no_room_is_written_to() {
        let mut file = tempfile::tempfile().unwrap();
        write_zeroes(&mut file, 100_000).unwrap();
        assert_eq!(file.metadata().unwrap().len(), 100_000);
    }

    #[test]
    fn a_path_that_is_not_there_has_the_room_of_its_parent() {
        let dir = tempfile::tempdir().unwrap();
        let fs = Fs::at(dir.path());
        std::fs::write(dir.path().join("file"), "").unwrap();
        let root = fs.space(Path::new("/")).unwrap();
        assert!(root.free_bytes > 0 && !root.read_only);
        for path in ["/nix/store/x", "/file"] {
            let there = fs.space(Path::new(path)).unwrap();
            assert_eq!(
                (there.read_only, there.noexec),
                (root.read_only, root.noexec)
            );
        }
    }
}

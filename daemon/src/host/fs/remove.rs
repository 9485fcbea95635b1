//! Removing a whole tree, however deep, without following a link or entering another mount.
//!
//! One folder is open at a time. Going down opens a name in it, going up opens `..` and compares
//! device and inode with what was there on the way down: a tree that is moved meanwhile ends the
//! work instead of leading it elsewhere. What cannot be removed is left, the rest goes on, and the
//! first reason is told.

use std::ffi::{OsStr, OsString};
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::path::{Path, PathBuf};

use nix::errno::Errno;
use nix::fcntl::AtFlags;
use nix::sys::stat::{FchmodatFlags, FileStat, Mode, SFlag, fchmod, fchmodat, fstat, fstatat};
use nix::unistd::{UnlinkatFlags, unlinkat};

use super::open::{listable, sync_dir};
use super::{Fs, FsError, entries, failing};
use crate::host::Cancel;

/// Files removed between two looks at whether to stop.
const FILES_PER_LOOK: usize = 256;

impl Fs {
    /// Removes everything below a folder and the folder itself, without following links and
    /// without entering mount points, which are left; write bits are set on folders as needed.
    /// Nothing happens when it is not there.
    ///
    /// # Errors
    /// With the first path that could not be removed; the others are gone.
    pub fn remove_tree(&self, path: &Path) -> Result<(), FsError> {
        self.remove_tree_with(path, &Cancel::default())
    }

    /// As [`Fs::remove_tree`], ending early when asked to stop.
    ///
    /// # Errors
    /// As [`Fs::remove_tree`]; [`FsError::is_stopped`] tells that it was asked to stop.
    pub fn remove_tree_with(&self, path: &Path, cancel: &Cancel) -> Result<(), FsError> {
        let fail = failing("remove", path);
        let Some(place) = self.find(path).map_err(&fail)? else {
            return Ok(());
        };
        match unlinkat(
            &place.dir,
            place.name.as_os_str(),
            UnlinkatFlags::NoRemoveDir,
        ) {
            Ok(()) => return sync_dir(&place.dir).map_err(fail),
            Err(Errno::ENOENT) => return Ok(()),
            // What Linux and POSIX say of a folder.
            Err(Errno::EISDIR | Errno::EPERM) => {}
            Err(errno) => return Err(fail(errno.into())),
        }
        let mut walk = Walk {
            top: path,
            cancel,
            levels: Vec::new(),
            first: None,
            files: 0,
        };
        walk.remove_folder(&place.dir, &place.name)?;
        match walk.first {
            Some(error) => Err(error),
            None => sync_dir(&place.dir).map_err(fail),
        }
    }
}

/// A folder on the way down.
struct Level {
    name: OsString,
    /// Device and inode, by which it is known again.
    identity: (u64, u64),
    /// Folders in it that are still to be removed.
    folders: Vec<OsString>,
}

struct Walk<'a> {
    top: &'a Path,
    cancel: &'a Cancel,
    levels: Vec<Level>,
    first: Option<FsError>,
    files: usize,
}

impl Walk<'_> {
    fn remove_folder(&mut self, parent: &OwnedFd, name: &OsStr) -> Result<(), FsError> {
        let Some(mut here) = self.enter(parent, name)? else {
            return Ok(());
        };
        while let Some(level) = self.levels.last_mut() {
            if let Some(child) = level.folders.pop() {
                if let Some(next) = self.enter(&here, &child)? {
                    here = next;
                }
                continue;
            }
            let done = self
                .levels
                .pop()
                .map(|level| level.name)
                .unwrap_or_default();
            if self.levels.is_empty() {
                self.remove(parent, &done, UnlinkatFlags::RemoveDir);
            } else {
                here = self.leave(&here)?;
                self.remove(&here, &done, UnlinkatFlags::RemoveDir);
            }
        }
        Ok(())
    }

    /// Opens a folder and removes all in it that is no folder; `None` when it must be left.
    fn enter(&mut self, parent: &OwnedFd, name: &OsStr) -> Result<Option<OwnedFd>, FsError> {
        self.look_whether_to_stop()?;
        let opened = open_folder(parent, name).and_then(|dir| {
            let stat = fstat(&dir)?;
            make_writable(&dir, &stat);
            Ok((entries(listable(&dir, OsStr::new("."))?)?, stat, dir))
        });
        let (found, stat, dir) = match opened {
            Ok(opened) => opened,
            Err(Errno::ENOENT) => return Ok(None),
            // Exchanged for something else since it was listed.
            Err(Errno::ENOTDIR | Errno::ELOOP) => {
                self.remove(parent, name, UnlinkatFlags::NoRemoveDir);
                return Ok(None);
            }
            Err(errno) => {
                self.note(name, reason(errno));
                return Ok(None);
            }
        };
        self.levels.push(Level {
            name: name.to_owned(),
            identity: identity(&stat),
            folders: Vec::new(),
        });
        let mut folders = Vec::new();
        for (name, folder) in found {
            if folder.unwrap_or_else(|| is_folder(&dir, &name)) {
                folders.push(name);
            } else {
                self.remove(&dir, &name, UnlinkatFlags::NoRemoveDir);
                self.files += 1;
                if self.files.is_multiple_of(FILES_PER_LOOK) {
                    self.look_whether_to_stop()?;
                }
            }
        }
        if let Some(level) = self.levels.last_mut() {
            level.folders = folders;
        }
        Ok(Some(dir))
    }

    /// Opens the folder above, which must be the one that was come from.
    fn leave(&self, here: &OwnedFd) -> Result<OwnedFd, FsError> {
        let expected = self.levels.last().map(|level| level.identity);
        let above = listable(here, OsStr::new(".."))
            .and_then(|dir| fstat(&dir).map(|stat| (identity(&stat), dir)))
            .map_err(|errno| self.error(OsStr::new(""), errno.into()))?;
        if Some(above.0) == expected {
            Ok(above.1)
        } else {
            let moved = io::Error::other("it was moved while it was being removed");
            Err(self.error(OsStr::new(""), moved))
        }
    }

    fn remove(&mut self, dir: &OwnedFd, name: &OsStr, flag: UnlinkatFlags) {
        match unlinkat(dir, name, flag) {
            Ok(()) | Err(Errno::ENOENT) => {}
            Err(errno) => self.note(name, reason(errno)),
        }
    }

    fn look_whether_to_stop(&self) -> Result<(), FsError> {
        match self.cancel.requested() {
            None => Ok(()),
            Some(_) => {
                let stop = io::Error::new(io::ErrorKind::Interrupted, "it was asked to stop");
                Err(self.error(OsStr::new(""), stop))
            }
        }
    }

    fn note(&mut self, name: &OsStr, reason: io::Error) {
        if self.first.is_none() {
            self.first = Some(self.error(name, reason));
        }
    }

    /// An error about a name in the folder that is open.
    fn error(&self, name: &OsStr, source: io::Error) -> FsError {
        let below: PathBuf = self
            .levels
            .iter()
            .skip(1)
            .map(|level| &level.name)
            .collect();
        let mut path = self.top.join(below);
        if !name.is_empty() && !self.levels.is_empty() {
            path.push(name);
        }
        FsError {
            action: "remove",
            path,
            source,
        }
    }
}

fn reason(errno: Errno) -> io::Error {
    match errno {
        Errno::EXDEV => io::Error::other("another file system is mounted there"),
        errno => errno.into(),
    }
}

// The widths of these fields differ between Linux and macOS.
#[allow(clippy::unnecessary_cast, clippy::cast_sign_loss)]
fn identity(stat: &FileStat) -> (u64, u64) {
    (stat.st_dev as u64, stat.st_ino as u64)
}

fn is_folder(dir: &OwnedFd, name: &OsStr) -> bool {
    fstatat(dir, name, AtFlags::AT_SYMLINK_NOFOLLOW)
        .is_ok_and(|stat| stat.st_mode & SFlag::S_IFMT.bits() == SFlag::S_IFDIR.bits())
}

/// Folders of the store are read-only; root need not care, but a daemon without that capability
/// does. What fails here shows when the first entry cannot be removed.
fn make_writable(dir: &OwnedFd, stat: &FileStat) {
    let mode = Mode::from_bits_truncate(stat.st_mode);
    if !mode.contains(Mode::S_IRWXU) {
        let _ = fchmod(dir, mode | Mode::S_IRWXU);
    }
}

/// Opens a folder of the same mount; `EXDEV` when it is another one.
fn open_folder(parent: &OwnedFd, name: &OsStr) -> nix::Result<OwnedFd> {
    match open_same_mount(parent, name) {
        Err(Errno::EACCES) => {
            fchmodat(parent, name, Mode::S_IRWXU, FchmodatFlags::NoFollowSymlink)?;
            open_same_mount(parent, name)
        }
        answer => answer,
    }
}

/// The kernel knows mounts, bind mounts of the same device among them.
#[cfg(target_os = "linux")]
fn open_same_mount(parent: &OwnedFd, name: &OsStr) -> nix::Result<OwnedFd> {
    use nix::fcntl::{OFlag, OpenHow, ResolveFlag, openat2};
    let how = OpenHow::new()
        .flags(OFlag::O_RDONLY | OFlag::O_DIRECTORY | OFlag::O_NOFOLLOW | OFlag::O_CLOEXEC)
        .resolve(ResolveFlag::RESOLVE_NO_XDEV | ResolveFlag::RESOLVE_NO_SYMLINKS);
    match openat2(parent, name, how) {
        Err(Errno::ENOSYS | Errno::EPERM | Errno::EAGAIN) => open_same_device(parent, name),
        answer => answer,
    }
}

#[cfg(not(target_os = "linux"))]
fn open_same_mount(parent: &OwnedFd, name: &OsStr) -> nix::Result<OwnedFd> {
    open_same_device(parent, name)
}

fn open_same_device(parent: &OwnedFd, name: &OsStr) -> nix::Result<OwnedFd> {
    let dir = listable(parent.as_fd(), name)?;
    let same = fstat(parent)?.st_dev == fstat(&dir)?.st_dev;
    if same { Ok(dir) } else { Err(Errno::EXDEV) }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::{PermissionsExt, symlink};

    use super::*;
    use crate::host::cancel::Stop;

    fn rooted() -> (tempfile::TempDir, Fs) {
        let dir = tempfile::tempdir().unwrap();
        let fs = Fs::at(dir.path());
        (dir, fs)
    }

    #[test]
    fn a_store_with_read_only_folders_goes_and_links_are_not_followed() {
        let (dir, fs) = rooted();
        std::fs::create_dir_all(dir.path().join("keep/inside")).unwrap();
        std::fs::create_dir_all(dir.path().join("nix/store/a/b")).unwrap();
        std::fs::write(dir.path().join("nix/store/a/b/file"), "x").unwrap();
        symlink("/keep", dir.path().join("nix/store/a/link")).unwrap();
        symlink(dir.path().join("keep"), dir.path().join("nix/out")).unwrap();
        for (path, mode) in [
            ("nix/store/a/b", 0o555),
            ("nix/store/a", 0o555),
            ("nix/store", 0),
        ] {
            let mode = std::fs::Permissions::from_mode(mode);
            std::fs::set_permissions(dir.path().join(path), mode).unwrap();
        }
        fs.remove_tree(Path::new("/nix")).unwrap();
        assert!(!dir.path().join("nix").exists());
        assert!(dir.path().join("keep/inside").is_dir());
        fs.remove_tree(Path::new("/nix")).unwrap();
    }

    #[test]
    fn a_file_or_a_link_is_a_tree_too() {
        let (dir, fs) = rooted();
        std::fs::create_dir(dir.path().join("keep")).unwrap();
        symlink("keep", dir.path().join("link")).unwrap();
        fs.remove_tree(Path::new("/link")).unwrap();
        assert!(dir.path().join("keep").is_dir());
        assert!(!dir.path().join("link").exists());
    }

    #[test]
    fn depth_is_no_limit() {
        let (dir, fs) = rooted();
        let mut here =
            nix::fcntl::open(dir.path(), nix::fcntl::OFlag::O_DIRECTORY, Mode::empty()).unwrap();
        for _ in 0..3000 {
            nix::sys::stat::mkdirat(&here, "deep", Mode::S_IRWXU).unwrap();
            here = listable(&here, OsStr::new("deep")).unwrap();
        }
        fs.remove_tree(Path::new("/deep")).unwrap();
        assert!(!dir.path().join("deep").exists());
    }

    #[test]
    fn it_stops_when_asked() {
        let (dir, fs) = rooted();
        std::fs::create_dir(dir.path().join("tree")).unwrap();
        let cancel = Cancel::default();
        cancel.request(Stop::Cancelled);
        let error = fs
            .remove_tree_with(Path::new("/tree"), &cancel)
            .unwrap_err();
        assert!(error.is_stopped());
        assert!(dir.path().join("tree").is_dir());
    }

    /// Needs the right to mount, so it says nothing elsewhere.
    #[cfg(target_os = "linux")]
    #[test]
    fn a_mount_inside_is_left_and_named() {
        use nix::mount::{MntFlags, MsFlags, mount, umount2};

        let (dir, fs) = rooted();
        for path in ["tree/sub/mnt", "tree/other", "data"] {
            std::fs::create_dir_all(dir.path().join(path)).unwrap();
        }
        std::fs::write(dir.path().join("data/precious"), "").unwrap();
        let target = dir.path().join("tree/sub/mnt");
        let bind = MsFlags::MS_BIND;
        if mount(
            Some(&dir.path().join("data")),
            &target,
            None::<&str>,
            bind,
            None::<&str>,
        )
        .is_err()
        {
            return;
        }
        let result = fs.remove_tree(Path::new("/tree"));
        umount2(&target, MntFlags::MNT_DETACH).unwrap();
        let error = result.unwrap_err();
        assert_eq!(error.path, Path::new("/tree/sub/mnt"));
        assert!(dir.path().join("data/precious").exists());
        assert!(!dir.path().join("tree/other").exists());
    }
}

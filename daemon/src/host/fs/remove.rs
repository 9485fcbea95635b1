//! Removing a whole tree, however deep, without following a link or entering another mount.
//!
//! One folder is open at a time. Going down opens a name in it, going up opens `..` and compares
//! device and inode with what was there on the way down: a tree that is moved meanwhile ends the
//! work instead of leading it elsewhere. What cannot be removed is left, with the folders that lead
//! to it, and the rest goes on.

use std::ffi::{OsStr, OsString};
use std::io;
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};

use nix::errno::Errno;
use nix::fcntl::AtFlags;
use nix::sys::stat::{FileStat, Mode, SFlag, fchmod, fstat, fstatat};
use nix::unistd::{UnlinkatFlags, unlinkat};

use super::border::open_folder;
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
        let left = self.remove_what_goes(path, cancel, &mut || {})?;
        left.into_iter().next().map_or(Ok(()), Err)
    }

    /// As [`Fs::remove_tree_with`], where what the operating system does not let go (a mount,
    /// what is busy, what may not be removed even by root) is no failure: it is left as it is,
    /// with the folders that lead to it, and told with the reason. `each` is called again and
    /// again on the way.
    ///
    /// # Errors
    /// With the first path that could not be removed for another reason; the others are gone.
    pub fn remove_what_goes(
        &self,
        path: &Path,
        cancel: &Cancel,
        each: &mut dyn FnMut(),
    ) -> Result<Vec<FsError>, FsError> {
        let fail = failing("remove", path);
        let Some(place) = self.find_to_remove(path).map_err(&fail)? else {
            return Ok(Vec::new());
        };
        let mut walk = Walk {
            top: path,
            cancel,
            each,
            levels: Vec::new(),
            left: Vec::new(),
            failure: None,
            files: 0,
        };
        match unlinkat(
            &place.dir,
            place.name.as_os_str(),
            UnlinkatFlags::NoRemoveDir,
        ) {
            Ok(()) => {}
            Err(Errno::ENOENT) => return Ok(Vec::new()),
            // What Linux and POSIX say of a folder.
            Err(Errno::EISDIR | Errno::EPERM) => walk.remove_folder(&place.dir, &place.name)?,
            Err(errno) => walk.note(OsStr::new(""), reason(errno)),
        }
        match walk.failure {
            Some(error) => Err(error),
            None => sync_dir(&place.dir).map(|()| walk.left).map_err(fail),
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
    /// Its mode, when it had to be changed to remove what is in it.
    mode: Option<Mode>,
    /// Whether something in it is left, and so it is too.
    stays: bool,
}

struct Walk<'a> {
    top: &'a Path,
    cancel: &'a Cancel,
    each: &'a mut dyn FnMut(),
    levels: Vec<Level>,
    /// What the operating system did not let go.
    left: Vec<FsError>,
    /// The first other failure.
    failure: Option<FsError>,
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
            let Some(done) = self.levels.pop() else { break };
            if done.stays {
                self.keep(&here, &done);
            }
            if !self.levels.is_empty() {
                here = self.leave(&here)?;
            }
            if !done.stays {
                let above = if self.levels.is_empty() {
                    parent
                } else {
                    &here
                };
                self.remove(above, &done.name, UnlinkatFlags::RemoveDir);
            }
        }
        Ok(())
    }

    /// A folder that stays gets its mode back, and the one above it stays too.
    fn keep(&mut self, folder: &OwnedFd, level: &Level) {
        if let Some(mode) = level.mode {
            // It was us who changed it, so it can be changed.
            let _ = fchmod(folder, mode);
        }
        if let Some(above) = self.levels.last_mut() {
            above.stays = true;
        }
    }

    /// Opens a folder and removes all in it that is no folder; `None` when it must be left.
    fn enter(&mut self, parent: &OwnedFd, name: &OsStr) -> Result<Option<OwnedFd>, FsError> {
        self.look_whether_to_stop()?;
        let opened = open_folder(parent, name).and_then(|dir| {
            let stat = fstat(&dir)?;
            let mode = make_writable(&dir, &stat);
            Ok((entries(listable(&dir, OsStr::new("."))?)?, stat, mode, dir))
        });
        let (found, stat, mode, dir) = match opened {
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
            mode,
            stays: false,
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

    fn look_whether_to_stop(&mut self) -> Result<(), FsError> {
        (self.each)();
        match self.cancel.requested() {
            None => Ok(()),
            Some(_) => {
                let stop = io::Error::new(io::ErrorKind::Interrupted, "it was asked to stop");
                Err(self.error(OsStr::new(""), stop))
            }
        }
    }

    /// Notes why a name in the folder that is open stays.
    fn note(&mut self, name: &OsStr, reason: io::Error) {
        let error = self.error(name, reason);
        if let Some(level) = self.levels.last_mut() {
            level.stays = true;
        }
        if error.is_left() {
            self.left.push(error);
        } else {
            self.failure.get_or_insert(error);
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
        let mut path = self.top.to_owned();
        path.extend(&below);
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
        Errno::EXDEV => io::Error::new(
            io::ErrorKind::CrossesDevices,
            "another file system is mounted there",
        ),
        errno => errno.into(),
    }
}

/// Device and inode: what a file or folder is known by.
// The widths of these fields differ between Linux and macOS.
#[allow(clippy::unnecessary_cast, clippy::cast_sign_loss)]
pub(super) fn identity(stat: &FileStat) -> (u64, u64) {
    (stat.st_dev as u64, stat.st_ino as u64)
}

fn is_folder(dir: &OwnedFd, name: &OsStr) -> bool {
    fstatat(dir, name, AtFlags::AT_SYMLINK_NOFOLLOW)
        .is_ok_and(|stat| stat.st_mode & SFlag::S_IFMT.bits() == SFlag::S_IFDIR.bits())
}

/// Folders of the store are read-only; root need not care, but a daemon without that capability
/// does. What fails here shows when the first entry cannot be removed. The mode that was there is
/// returned when it was changed.
fn make_writable(dir: &OwnedFd, stat: &FileStat) -> Option<Mode> {
    let mode = Mode::from_bits_truncate(stat.st_mode);
    let changed = !mode.contains(Mode::S_IRWXU) && fchmod(dir, mode | Mode::S_IRWXU).is_ok();
    changed.then_some(mode)
}

#[cfg(test)]
#[path = "remove_tests.rs"]
mod tests;

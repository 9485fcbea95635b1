//! What is asked of before anything is changed: whether a link leads the change into the store.
//!
//! On a system that is switched from generation to generation, folders such as
//! /etc/systemd/system can be links into the store. What is written there would damage a store path,
//! which belongs to Nix and to nobody else. So a change is refused when a link led below /nix/store;
//! who names a path below /nix/store means it. Where the folder that was opened really lies is told
//! by device and inode, going up from it: no name, mount or missing /proc can deceive that.

use std::io;
use std::os::fd::OwnedFd;
use std::path::Path;

use nix::errno::Errno;
use nix::fcntl::AtFlags;
use nix::sys::stat::{fstat, fstatat};

use super::open::{self, Place};
use super::remove::identity;
use super::{Fs, is_absent, look};

const STORE: &str = "/nix/store";

/// Folders gone up before it counts as a loop: more than a path can name.
const MAX_LEVELS: u32 = 4096;

/// A change that was refused.
#[derive(Debug, thiserror::Error)]
#[error("it lies in the store, by way of a link")]
pub struct InStore;

impl From<InStore> for io::Error {
    /// Of no kind of the operating system's: what helps against those does not help here.
    fn from(refused: InStore) -> Self {
        io::Error::other(refused)
    }
}

impl Fs {
    /// The open folder that holds the path, where a name may be made, replaced or changed.
    pub(super) fn place_to_change(&self, path: &Path) -> io::Result<Place> {
        let (place, in_store) = self.place_and_whether_in_store(path)?;
        if in_store {
            return Err(InStore.into());
        }
        Ok(place)
    }

    /// The open folder that holds the path, where a name may be removed; `None` when that folder is
    /// not there, or when there is nothing that would have to be refused.
    pub(super) fn find_to_remove(&self, path: &Path) -> io::Result<Option<Place>> {
        match self.place_and_whether_in_store(path) {
            Ok((place, false)) => Ok(Some(place)),
            Ok((place, true)) if look(&place)?.is_none() => Ok(None),
            Ok((_, true)) => Err(InStore.into()),
            Err(error) if is_absent(&error) => Ok(None),
            Err(error) => Err(error),
        }
    }

    fn place_and_whether_in_store(&self, path: &Path) -> io::Result<(Place, bool)> {
        if path.starts_with(STORE) {
            return Ok((self.place(path)?, false));
        }
        let (place, linked) = open::place_and_whether_linked(self.root(), path)?;
        let in_store = linked && lies_in_store(self.root(), &place)?;
        Ok((place, in_store))
    }
}

/// Whether the place is the store or below it, wherever the store itself really is.
fn lies_in_store(root: &Path, place: &Place) -> io::Result<bool> {
    let store = match open::directory(root, Path::new(STORE)) {
        Ok(store) => identity(&fstat(store)?),
        Err(error) if is_absent(&error) => return Ok(false),
        Err(error) => return Err(error),
    };
    let itself = fstatat(
        &place.dir,
        place.name.as_os_str(),
        AtFlags::AT_SYMLINK_NOFOLLOW,
    );
    if itself.is_ok_and(|stat| identity(&stat) == store) {
        return Ok(true);
    }
    is_at_or_below(place.dir.try_clone()?, store)
}

/// Goes up to where there is nothing above.
fn is_at_or_below(mut here: OwnedFd, folder: (u64, u64)) -> io::Result<bool> {
    let mut seen = identity(&fstat(&here)?);
    for _ in 0..MAX_LEVELS {
        if seen == folder {
            return Ok(true);
        }
        here = open::above(&here)?;
        let above = identity(&fstat(&here)?);
        if above == seen {
            return Ok(false);
        }
        seen = above;
    }
    Err(Errno::ELOOP.into())
}

#[cfg(test)]
#[path = "store_tests.rs"]
mod tests;

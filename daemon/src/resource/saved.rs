//! What several resources share: looking at a path, putting back what was there, and the words
//! for what is left alone.

use std::path::Path;

use super::file::{Rights, SavedFile};
use super::{ResourceError, Result, Undo, Undone};
use crate::host::Host;
use crate::host::fs::Kind;

/// Bytes of a file that are read, or kept to be put back.
const LIMIT: u64 = 16 << 20;

/// What is at a path, links not followed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Seen {
    /// Nothing.
    Nothing,
    /// Something that can be put back.
    Saved(SavedFile),
    /// A file of more bytes than are read.
    Large,
    /// Something else, in words.
    Other(&'static str),
}

/// Looks at a path.
pub(crate) fn look(host: &Host, path: &Path) -> Result<Seen> {
    look_within(host, path, LIMIT)
}

/// Looks at a path, reading no file of more than `limit` bytes.
pub(super) fn look_within(host: &Host, path: &Path, limit: u64) -> Result<Seen> {
    let Some(meta) = host.fs.meta(path)? else {
        return Ok(Seen::Nothing);
    };
    let (mode, uid, gid) = (meta.mode, meta.uid, meta.gid);
    Ok(match meta.kind {
        Kind::File if meta.size > limit => Seen::Large,
        Kind::File => match host.fs.read(path, limit)? {
            Some(content) => Seen::Saved(SavedFile::Regular {
                content,
                mode,
                uid,
                gid,
            }),
            None => Seen::Nothing,
        },
        Kind::Link => match host.fs.read_link(path)? {
            Some(target) => Seen::Saved(SavedFile::Link { target }),
            None => Seen::Nothing,
        },
        Kind::Directory => Seen::Saved(SavedFile::Directory { mode, uid, gid }),
        Kind::Other => Seen::Other("a device, socket or pipe"),
    })
}

/// Puts back what was at a path in the place of a file, a link or nothing. Idempotent.
pub(crate) fn put_back(host: &Host, path: &Path, saved: &SavedFile) -> Result<()> {
    match saved {
        SavedFile::Regular {
            content,
            mode,
            uid,
            gid,
        } => {
            host.fs.write(path, content, *mode, Some((*uid, *gid)))?;
        }
        SavedFile::Link { target } => {
            host.fs.remove_file(path)?;
            host.fs.symlink(target, path)?;
        }
        SavedFile::Directory { mode, uid, gid } => {
            host.fs.set_owner(path, *uid, *gid)?;
            host.fs.set_mode(path, *mode)?;
        }
    }
    Ok(())
}

impl Seen {
    /// What is there, in words.
    pub(crate) fn words(&self) -> &'static str {
        match self {
            Seen::Nothing => "nothing",
            Seen::Saved(SavedFile::Regular { .. }) => "a file with other content",
            Seen::Saved(SavedFile::Link { .. }) => "a symbolic link",
            Seen::Saved(SavedFile::Directory { .. }) => "a directory",
            Seen::Large => "a large file",
            Seen::Other(words) => words,
        }
    }

    /// What bringing it back will need once it was taken away, beside what is known of it.
    pub(super) fn to_be_removed(&self) -> Undo {
        match *self {
            Seen::Nothing => Undo::Nothing,
            Seen::Saved(
                SavedFile::Regular { mode, uid, gid, .. } | SavedFile::Directory { mode, uid, gid },
            ) => Undo::Rights(Rights { mode, uid, gid }),
            Seen::Saved(SavedFile::Link { .. }) | Seen::Large | Seen::Other(_) => Undo::Created,
        }
    }
}

/// Something that is not ours is in the place.
pub(crate) fn foreign(id: String, seen: impl Into<String>) -> ResourceError {
    ResourceError::Foreign {
        id,
        seen: seen.into(),
    }
}

/// The journal has undo data of another kind of resource: a bug of ours.
pub(crate) fn mismatch(id: String) -> ResourceError {
    let seen = "internal error: the undo data is of another kind of resource".to_owned();
    ResourceError::Drifted { id, seen }
}

/// It stays because a user changed it.
pub(super) fn kept_changed(path: &Path) -> Undone {
    Undone::Kept(format!(
        "{}: it was changed after the install, it stays",
        path.display()
    ))
}

/// Mode and owner in words.
pub(crate) fn rights(mode: u32, uid: u32, gid: u32) -> String {
    format!("mode {mode:04o}, owner {uid}:{gid}")
}

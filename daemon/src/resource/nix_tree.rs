//! The folders below /nix, with the modes Nix expects (`installers.md` 2.1).
//!
//! Undoing takes away everything below /nix that was not there before, and /nix itself when it
//! was made by us and is no mount point. It is by far the largest removal there is: it can be
//! stopped and taken up again at any path.

use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use super::{Context, Description, Presence, ResourceError, Result, Undo, Undone};
use crate::host::fs::{Kind, Meta};
use crate::host::{FsError, Host};
use crate::payload::files::is_mount_point;

const NIX: &str = "/nix";
const STORE: &str = "store";
/// Folders below /nix, parents first.
const FOLDERS: [&str; 15] = [
    STORE,
    "var",
    "var/log",
    "var/log/nix",
    "var/log/nix/drvs",
    "var/nix",
    "var/nix/db",
    "var/nix/gcroots",
    "var/nix/gcroots/per-user",
    "var/nix/profiles",
    "var/nix/profiles/per-user",
    "var/nix/temproots",
    "var/nix/userpool",
    "var/nix/daemon-socket",
    "var/nix/builds",
];
const FOLDER_MODE: u32 = 0o755;
/// Members of the group may add to the store, and nobody may take away what is another's.
const SHARED_STORE_MODE: u32 = 0o1775;

/// /nix and its folders.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct NixTree {
    /// Group of /nix/store, which is sticky and writable for it; 0 for single-user installs.
    pub store_gid: u32,
    /// Whether undoing leaves everything in place (uninstall --keep-store).
    pub keep: bool,
}

impl NixTree {
    /// What it is, for people.
    pub fn describe(&self) -> Description {
        let (mode, gid) = (self.store_mode(), self.store_gid);
        Description {
            id: "nix-tree:/nix".to_owned(),
            summary: "create the folders below /nix".to_owned(),
            details: std::iter::once(format!(
                "/nix/store with the mode {mode:04o} and group {gid}"
            ))
            .chain(FOLDERS[1..].iter().map(|path| format!("/nix/{path}")))
            .collect(),
        }
    }

    /// Whether it is on the machine as it should be.
    pub fn probe(&self, host: &Host) -> Result<Presence> {
        match host.fs.meta(NIX.as_ref())? {
            None => return Ok(Presence::Absent),
            Some(meta) if meta.kind != Kind::Directory => {
                return Ok(Presence::Foreign(format!("/nix is {}", word(meta.kind))));
            }
            Some(_) => {}
        }
        let mut missing = Vec::new();
        for path in FOLDERS {
            match host.fs.meta(&below(path))? {
                None => missing.push(path),
                Some(meta) if meta.kind != Kind::Directory => {
                    return Ok(Presence::Foreign(format!(
                        "/nix/{path} is {}",
                        word(meta.kind)
                    )));
                }
                Some(meta) if path == STORE && !self.is_right_store(&meta) => {
                    return Ok(Presence::Drifted(self.wrong_store(&meta)));
                }
                Some(_) => {}
            }
        }
        Ok(match missing.as_slice() {
            [] => Presence::Present,
            all if all.len() == FOLDERS.len() => Presence::Absent,
            some => Presence::Drifted(format!("/nix lacks {}", some.join(", "))),
        })
    }

    /// Reads what undoing will need: which names in /nix, and which of the folders, were there.
    pub fn prepare(&self, host: &Host) -> Result<Undo> {
        match self.probe(host)? {
            Presence::Present => return Ok(Undo::Nothing),
            Presence::Foreign(seen) => {
                return Err(ResourceError::Foreign {
                    id: self.describe().id,
                    seen,
                });
            }
            Presence::Absent | Presence::Drifted(_) => {}
        }
        if host.fs.meta(NIX.as_ref())?.is_none() {
            return Ok(Undo::Created);
        }
        let names = host.fs.list(NIX.as_ref())?;
        let mut there: Vec<String> = names
            .into_iter()
            .map(|name| name.to_string_lossy().into_owned())
            .collect();
        for path in FOLDERS {
            if path.contains('/') && host.fs.meta(&below(path))?.is_some() {
                there.push(path.to_owned());
            }
        }
        Ok(Undo::Entries(there))
    }

    /// Makes it so.
    pub fn apply(&self, context: &Context<'_>, undo: &Undo) -> Result<()> {
        let _ = undo;
        let fs = &context.host.fs;
        if fs.meta(NIX.as_ref())?.is_none() {
            fs.create_dir(NIX.as_ref(), FOLDER_MODE)?;
            set_owner(context.host, NIX.as_ref(), 0)?;
        }
        for path in FOLDERS.map(below) {
            let is_store = path == below(STORE);
            let mode = if is_store {
                self.store_mode()
            } else {
                FOLDER_MODE
            };
            let gid = if is_store { self.store_gid } else { 0 };
            match fs.meta(&path)? {
                None => fs.create_dir(&path, mode)?,
                Some(meta) if is_store && !self.is_right_store(&meta) => {}
                Some(_) => continue,
            }
            set_owner(context.host, &path, gid)?;
            // After the owner: changing it can clear bits of the mode.
            fs.set_mode(&path, mode)?;
        }
        Ok(())
    }

    /// Takes it back to what it was.
    pub fn undo(&self, context: &Context<'_>, undo: &Undo) -> Result<Undone> {
        let before: &[String] = match undo {
            Undo::Nothing => return Ok(Undone::Clean),
            Undo::Entries(names) => names,
            _ => &[],
        };
        if context.host.fs.meta(NIX.as_ref())?.is_none() {
            return Ok(Undone::Clean);
        }
        if self.keep {
            return Ok(Undone::Kept(
                "/nix stays with its store and database, as asked".to_owned(),
            ));
        }
        self.remove_new(context, before)?;
        if *undo != Undo::Created {
            return Ok(Undone::Clean);
        }
        if is_mount_point(&context.host.fs, NIX.as_ref()) {
            return Ok(Undone::Kept(
                "/nix is a mount point and stays, empty".to_owned(),
            ));
        }
        if context.host.fs.remove_dir(NIX.as_ref())? {
            return Ok(Undone::Clean);
        }
        Ok(Undone::Kept(
            "/nix stays: something in it could not be removed".to_owned(),
        ))
    }

    fn remove_new(&self, context: &Context<'_>, before: &[String]) -> Result<()> {
        let fs = &context.host.fs;
        let was_there = |name: &str| before.iter().any(|it| it == name);
        let freed = Freed::start(context);
        for name in fs.list(NIX.as_ref())? {
            if was_there(&name.to_string_lossy()) {
                continue;
            }
            let path = Path::new(NIX).join(&name);
            if name == STORE {
                // Path by path: the removal can be followed, and stopped between two.
                for inside in fs.list(&path)? {
                    self.remove(context, &path.join(inside))?;
                    freed.report(context);
                }
            }
            self.remove(context, &path)?;
            freed.report(context);
        }
        for path in FOLDERS.iter().rev().filter(|path| !was_there(path)) {
            if fs.meta(&below(path))?.is_some() {
                fs.remove_dir(&below(path))?;
            }
        }
        Ok(())
    }

    fn remove(&self, context: &Context<'_>, path: &Path) -> Result<()> {
        let stopped = || ResourceError::Stopped {
            id: self.describe().id,
        };
        if context.cancel.requested().is_some() {
            return Err(stopped());
        }
        let removed = context.host.fs.remove_tree_with(path, context.cancel);
        removed.map_err(|error: FsError| {
            if error.is_stopped() {
                stopped()
            } else {
                error.into()
            }
        })
    }

    fn store_mode(&self) -> u32 {
        if self.store_gid == 0 {
            FOLDER_MODE
        } else {
            SHARED_STORE_MODE
        }
    }

    fn is_right_store(&self, meta: &Meta) -> bool {
        (meta.mode, meta.uid, meta.gid) == (self.store_mode(), 0, self.store_gid)
    }

    fn wrong_store(&self, meta: &Meta) -> String {
        let (mode, gid) = (self.store_mode(), self.store_gid);
        format!(
            "/nix/store has the mode {:04o} and belongs to {}:{}, and should have {mode:04o} and 0:{gid}",
            meta.mode, meta.uid, meta.gid
        )
    }
}

/// Bytes that came free on the file system since the start: what people see of the removal.
struct Freed(u64);

impl Freed {
    fn start(context: &Context<'_>) -> Freed {
        Freed(Freed::free(context))
    }

    fn free(context: &Context<'_>) -> u64 {
        context
            .host
            .fs
            .space(NIX.as_ref())
            .map_or(0, |space| space.free_bytes)
    }

    fn report(&self, context: &Context<'_>) {
        context
            .progress
            .bytes(Freed::free(context).saturating_sub(self.0), 0);
    }
}

fn below(path: &str) -> PathBuf {
    Path::new(NIX).join(path)
}

fn set_owner(host: &Host, path: &Path, gid: u32) -> Result<()> {
    match host.fs.meta(path)? {
        Some(meta) if (meta.uid, meta.gid) == (0, gid) => Ok(()),
        _ => Ok(host.fs.set_owner(path, 0, gid)?),
    }
}

fn word(kind: Kind) -> &'static str {
    match kind {
        Kind::File => "a file",
        Kind::Directory => "a folder",
        Kind::Link => "a symbolic link",
        Kind::Other => "neither file nor folder",
    }
}

#[cfg(test)]
#[path = "nix_tree_tests.rs"]
mod tests;

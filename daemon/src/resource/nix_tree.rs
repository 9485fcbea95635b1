//! The folders below /nix, with the modes Nix expects (`installers.md` 2.1).
//!
//! Undoing takes away everything below /nix that was not there before, and /nix itself when it
//! was made by us and is no mount point. It is by far the largest removal there is: it can be
//! stopped and taken up again at any path. What the operating system does not let go stays, and
//! with it the tree stays ours, so that a later uninstall takes off the rest.

use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use serde::{Deserialize, Serialize};

use super::removal::Removal;
use super::{Context, Description, Presence, ResourceError, Result, Undo, Undone};
use crate::host::Host;
use crate::host::fs::{Kind, Meta};
use crate::host::mounts::is_mount_point;

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
/// Least time between two reports of what came free: asking costs a system call.
const REPORT_EVERY: Duration = Duration::from_millis(50);

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
        let removal = self.remove_new(context, before)?;
        match removal.end() {
            Undone::Clean if *undo == Undo::Created => remove_nix(context),
            undone => Ok(undone),
        }
    }

    fn remove_new(&self, context: &Context<'_>, before: &[String]) -> Result<Removal> {
        let fs = &context.host.fs;
        let was_there = |name: &str| before.iter().any(|it| it == name);
        let id = self.describe().id;
        let mut removal = Removal::default();
        let mut freed = Freed::start(context);
        for name in fs.list(NIX.as_ref())? {
            if !was_there(&name.to_string_lossy()) {
                let path = Path::new(NIX).join(&name);
                removal.tree(context, &path, &id, &mut || freed.report(context))?;
            }
        }
        freed.report_now(context);
        for path in FOLDERS.iter().rev().filter(|path| !was_there(path)) {
            // What lies in a folder that was not there either was dealt with above.
            let top = path.split('/').next().unwrap_or(path);
            if was_there(top) {
                removal.empty_folder(context, &below(path))?;
            }
        }
        Ok(removal)
    }

    /// Mode of the store.
    pub fn store_mode(&self) -> u32 {
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

/// Removes /nix itself, from which all is gone that can go.
fn remove_nix(context: &Context<'_>) -> Result<Undone> {
    let fs = &context.host.fs;
    if is_mount_point(fs, NIX.as_ref()) {
        return Ok(Undone::Kept(
            "/nix is a mount point and stays, empty".to_owned(),
        ));
    }
    let mut removal = Removal::default();
    removal.empty_folder(context, NIX.as_ref())?;
    match removal.end() {
        Undone::Clean if fs.meta(NIX.as_ref())?.is_some() => Ok(Undone::Left(vec![
            "/nix: something came into it while it was being removed, it stays".to_owned(),
        ])),
        undone => Ok(undone),
    }
}

/// Bytes that came free on the file system since the start: what people see of the removal.
struct Freed {
    before: u64,
    reported: Instant,
}

impl Freed {
    fn start(context: &Context<'_>) -> Freed {
        Freed {
            before: Freed::free(context),
            reported: Instant::now(),
        }
    }

    fn free(context: &Context<'_>) -> u64 {
        context
            .host
            .fs
            .space(NIX.as_ref())
            .map_or(0, |space| space.free_bytes)
    }

    fn report(&mut self, context: &Context<'_>) {
        if self.reported.elapsed() >= REPORT_EVERY {
            self.report_now(context);
        }
    }

    fn report_now(&mut self, context: &Context<'_>) {
        self.reported = Instant::now();
        context
            .progress
            .bytes(Freed::free(context).saturating_sub(self.before), 0);
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

//! The store paths of a release: unpacked beside the store, checked, moved in, synced.
//!
//! The work is a worker's. What says that it is done is the release's manifest, written last;
//! undoing takes away the paths that were not in the store before.

use std::path::Path;

use serde::{Deserialize, Serialize};

use super::removal::Removal;
use super::{Context, Description, Presence, Result, Undo, Undone};
use crate::host::Host;
use crate::payload::worker::Task;
use crate::payload::{Manifest, place};

/// A release archive that was fetched and verified by an earlier step.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Payload {
    /// The archive.
    pub archive: crate::payload::Archive,
}

impl Payload {
    /// What it is, for people.
    pub fn describe(&self) -> Description {
        let archive = &self.archive;
        Description {
            id: format!("payload:{}", archive.sha256),
            summary: format!("unpack Nix {} into /nix/store", archive.version),
            details: vec![
                format!("archive: {}", archive.path().display()),
                format!("sha256: {}", archive.sha256),
                format!("system: {}", archive.system),
            ],
        }
    }

    /// Whether it is on the machine as it should be.
    pub fn probe(&self, host: &Host) -> Result<Presence> {
        let Some(manifest) = Manifest::load(&host.fs, &self.archive.sha256)? else {
            return Ok(Presence::Absent);
        };
        if let Some(missing) = first_missing(host, &manifest)? {
            return Ok(Presence::Drifted(format!("{missing} is not in the store")));
        }
        if place::has_leftovers(&host.fs)? {
            return Ok(Presence::Drifted(
                "an unpacking folder was left behind".to_owned(),
            ));
        }
        Ok(Presence::Present)
    }

    /// Reads what undoing will need.
    pub fn prepare(&self, host: &Host) -> Result<Undo> {
        if self.probe(host)? == Presence::Present {
            return Ok(Undo::Nothing);
        }
        let names = host.fs.list(place::STORE.as_ref())?;
        // Names that are not UTF-8 are no store paths and never ours.
        Ok(Undo::Entries(
            names
                .into_iter()
                .filter_map(|name| name.into_string().ok())
                .collect(),
        ))
    }

    /// Makes it so.
    pub fn apply(&self, context: &Context<'_>, undo: &Undo) -> Result<()> {
        let _ = undo;
        if self.probe(context.host)? == Presence::Present {
            return Ok(());
        }
        let task = Task::Unpack(self.archive.clone());
        Ok(context
            .worker
            .run(&task, context.progress, context.cancel)?)
    }

    /// Takes it back to what it was.
    pub fn undo(&self, context: &Context<'_>, undo: &Undo) -> Result<Undone> {
        let fs = &context.host.fs;
        let before = match undo {
            Undo::Nothing => return Ok(Undone::Clean),
            Undo::Entries(names) => names.as_slice(),
            _ => &[],
        };
        let id = self.describe().id;
        let mut removal = Removal::default();
        for dir in place::UNPACK_DIRS {
            removal.tree(context, dir.as_ref(), &id, &mut || {})?;
        }
        let begun = Manifest::load_begun(fs, &self.archive.sha256)?;
        for path in begun.iter().flat_map(|manifest| &manifest.paths) {
            let path = Path::new(path);
            let was_there = path
                .file_name()
                .is_some_and(|name| before.iter().any(|it| *name == **it));
            if !was_there {
                removal.tree(context, path, &id, &mut || {})?;
            }
        }
        Manifest::remove(fs, &self.archive.sha256)?;
        Ok(removal.end())
    }
}

fn first_missing<'a>(host: &Host, manifest: &'a Manifest) -> Result<Option<&'a String>> {
    for path in &manifest.paths {
        if host.fs.meta(Path::new(path))?.is_none() {
            return Ok(Some(path));
        }
    }
    Ok(None)
}

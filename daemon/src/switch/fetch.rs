//! Step Fetch: store paths come onto the disk, held by links that no garbage collection passes over.
//!
//! Only paths that no other one of the step refers to get a link, named by their base name; the
//! rest hangs on them. What an attempt before a crash or a power cut has brought is read and compared
//! with its hash: Nix calls a path valid before its contents are on the disk.

use std::collections::BTreeSet;
use std::path::Path;

use crate::host::Fs;
use crate::host::fs::Kind;
use crate::resource::{Context, Description, Undone};
use crate::switch::booted_root;
use crate::switch::error::{Result, SwitchError};
use crate::switch::step::{FetchPaths, SwitchUndo};
use crate::switch::store::fetch::Wanted;
use crate::switch::store::{NixStore, Registered};

/// Room that is left for the journals of Nix and of nixctl.
const RESERVE: u64 = 8 << 20;
/// Store paths named in a description.
const NAMED: usize = 20;

impl FetchPaths {
    /// What it does, for people.
    pub fn describe(&self) -> Description {
        let from = match &self.from {
            Some(from) => format!("{from}, besides Nix's own substituters"),
            None => "Nix's own substituters".to_owned(),
        };
        let mut details = vec![format!("from {from}"), format!("{} bytes", self.bytes)];
        details.extend(self.paths.iter().take(NAMED).cloned());
        if let Some(more) = self.paths.len().checked_sub(NAMED + 1) {
            details.push(format!("and {} more", more + 1));
        }
        Description {
            id: format!("fetch:{}", self.roots.display()),
            summary: format!("fetch {} store paths", self.paths.len()),
            details,
        }
    }

    /// Reads what undoing will need: what is there already.
    ///
    /// # Errors
    /// When the store cannot be asked.
    pub fn prepare(&self, context: &Context<'_>) -> Result<SwitchUndo> {
        let store = self.store(context)?;
        Ok(SwitchUndo::Fetch {
            links: names(&context.host.fs, &self.roots)?,
            valid: store.valid(&self.paths)?.into_iter().collect(),
        })
    }

    /// Fetches them and makes the links.
    ///
    /// # Errors
    /// When they cannot be fetched, for want of space or of a cache among others.
    pub fn apply(&self, context: &Context<'_>, undo: &SwitchUndo) -> Result<Undone> {
        let SwitchUndo::Fetch { valid: before, .. } = undo else {
            return Err(SwitchError::Internal(
                "undo data of another step".to_owned(),
            ));
        };
        let store = self.store(context)?;
        let brought = self.brought_before(&store, before)?;
        self.check_space(context, brought)?;
        let wanted = Wanted {
            paths: &self.paths,
            bytes: self.bytes,
            from: self.from.as_deref(),
        };
        store.fetch(wanted, context.progress)?;
        let registered = store.registered(&self.paths)?;
        make_roots_folder(&context.host.fs, &self.roots)?;
        for top in tops(&registered) {
            let name = top.trim_start_matches("/nix/store/");
            let link = self.roots.join(name);
            if context.host.fs.read_link(&link)?.as_deref() != Some(Path::new(top)) {
                context.host.fs.symlink(Path::new(top), &link)?;
            }
        }
        // A collection may have run between the fetching and the links.
        store.fetch(wanted, context.progress)?;
        Ok(Undone::Clean)
    }

    /// Takes the links off again, and what was not there before out of the store.
    ///
    /// # Errors
    /// When it cannot be removed.
    pub fn undo(&self, context: &Context<'_>, undo: &SwitchUndo) -> Result<Undone> {
        let SwitchUndo::Fetch { links, valid } = undo else {
            return Ok(Undone::Clean);
        };
        let fs = &context.host.fs;
        let own: BTreeSet<&str> = self
            .paths
            .iter()
            .map(|path| path.trim_start_matches("/nix/store/"))
            .collect();
        for name in names(fs, &self.roots)? {
            if own.contains(name.as_str()) && !links.contains(&name) {
                fs.remove_file(&self.roots.join(name))?;
            }
        }
        remove_roots_folder(fs, &self.roots)?;
        let valid: BTreeSet<&String> = valid.iter().collect();
        let new: Vec<String> = self
            .paths
            .iter()
            .filter(|path| !valid.contains(path))
            .cloned()
            .collect();
        booted_root::leave(fs, &new)?;
        let deleted = self.store(context)?.delete(&new)?;
        Ok(match deleted.alive.first() {
            None => Undone::Clean,
            Some(path) => Undone::Kept(format!(
                "{} store paths are in use by others meanwhile, such as {path}",
                deleted.alive.len()
            )),
        })
    }

    /// Bytes of what an earlier attempt brought, all of it as it should be.
    fn brought_before(&self, store: &NixStore<'_>, before: &[String]) -> Result<u64> {
        let before: BTreeSet<&String> = before.iter().collect();
        let valid = store.valid(&self.paths)?.into_iter();
        let brought: Vec<String> = valid.filter(|path| !before.contains(path)).collect();
        if brought.is_empty() {
            return Ok(0);
        }
        let damaged = store.damaged(&brought)?;
        store.repair(&damaged, self.from.as_deref())?;
        let registered = store.registered(&brought)?;
        Ok(registered.iter().map(|path| path.bytes).sum())
    }

    /// Waiting for space before anything is fetched is better than stopping in the middle.
    fn check_space(&self, context: &Context<'_>, brought: u64) -> Result<()> {
        let open = self.bytes.saturating_sub(brought);
        let free = context.host.fs.space(Path::new("/nix/store"))?.free_bytes;
        match open.saturating_add(RESERVE).checked_sub(free) {
            Some(lacking) if open > 0 && lacking > 0 => Err(SwitchError::NoSpace {
                what: self.describe().summary,
                place: "/nix".to_owned(),
                lacking,
            }),
            _ => Ok(()),
        }
    }

    fn store<'a>(&self, context: &Context<'a>) -> Result<NixStore<'a>> {
        NixStore::find(context, "fetch store paths")
    }
}

/// Those that no other one refers to.
fn tops(registered: &[Registered]) -> Vec<&str> {
    let mut referred = BTreeSet::new();
    for one in registered {
        let others = one.references.iter().filter(|path| **path != one.path);
        referred.extend(others.map(String::as_str));
    }
    let tops = registered.iter().map(|one| one.path.as_str());
    tops.filter(|path| !referred.contains(path)).collect()
}

/// Names of the links in the folder of roots.
pub(super) fn names(fs: &Fs, roots: &Path) -> Result<Vec<String>> {
    let names = fs.list(roots)?.into_iter();
    Ok(names.filter_map(|name| name.into_string().ok()).collect())
}

/// Makes the folder of roots, with its parents.
pub(super) fn make_roots_folder(fs: &Fs, roots: &Path) -> Result<()> {
    let parents: Vec<&Path> = roots.ancestors().collect();
    for folder in parents.into_iter().rev().skip(1) {
        match fs.meta(folder)? {
            Some(meta) if meta.kind == Kind::Directory => {}
            _ => fs.create_dir(folder, 0o755)?,
        }
    }
    Ok(())
}

/// Removes the folder of roots once it is empty, but for links that were cut off.
pub(super) fn remove_roots_folder(fs: &Fs, roots: &Path) -> Result<()> {
    fs.sweep_temporaries(roots)?;
    fs.remove_dir(roots)?;
    Ok(())
}

#[cfg(test)]
#[path = "fetch_tests.rs"]
mod tests;

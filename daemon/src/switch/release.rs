//! Step Release: what no bootable generation needs any more goes, decided by Nix.
//!
//! Before anything else it is made sure that the boot default's and the running system's closures are
//! not touched. Undoing fetches again what went, and composes the hybrids again from their recipes.

use std::collections::BTreeSet;
use std::path::Path;

use crate::host::Fs;
use crate::resource::{Context, Description, Undone};
use crate::switch::booted_root::{BOOTED_ROOT, system_at};
use crate::switch::compose;
use crate::switch::error::{Result, SwitchError};
use crate::switch::fetch::{make_roots_folder, remove_roots_folder};
use crate::switch::forget::put_generations_back;
use crate::switch::profile::{Generations, generation_link, hybrid_link};
use crate::switch::running::{BOOTED_SYSTEM, CURRENT_SYSTEM, kernel_parts};
use crate::switch::step::{Release, SwitchUndo, Toplevel};
use crate::switch::store::NixStore;
use crate::switch::store::fetch::Wanted;

/// How the names of the trees end that hybrids are made of.
const TREES: [&str; 2] = ["-etc", "-system-path"];

impl Release {
    /// What it does, for people.
    pub fn describe(&self) -> Description {
        let toplevels = self.toplevels.iter().map(Toplevel::name);
        let mut details: Vec<String> = toplevels.map(|name| format!("leave {name}")).collect();
        details.push(format!(
            "{} store paths, as far as nothing needs them",
            self.paths.len()
        ));
        Description {
            id: format!("release:{}", self.roots.display()),
            summary: format!(
                "delete {} store paths of the generation before",
                self.paths.len()
            ),
            details,
        }
    }

    /// Reads what undoing will need: the links that are there.
    ///
    /// # Errors
    /// When a link cannot be read.
    pub fn prepare(&self, context: &Context<'_>) -> Result<SwitchUndo> {
        let fs = &context.host.fs;
        let mut links = Vec::new();
        for name in self.names()? {
            let target = fs.read_link(&self.roots.join(&name))?;
            if let Some(target) = target.and_then(|it| Some(it.to_str()?.to_owned())) {
                links.push((name, target));
            }
        }
        let generations = Generations::read(fs, &self.profile)?.recorded();
        Ok(SwitchUndo::Release { links, generations })
    }

    /// Takes the links off and lets Nix delete what is dead then. Says what is still needed.
    ///
    /// # Errors
    /// When there is no boot default, or Nix cannot be asked.
    pub fn apply(&self, context: &Context<'_>, undo: &SwitchUndo) -> Result<Undone> {
        let SwitchUndo::Release { links, .. } = undo else {
            return Err(SwitchError::Internal(
                "undo data of another step".to_owned(),
            ));
        };
        let fs = &context.host.fs;
        let store = NixStore::find(context, "release store paths")?;
        let generations = Generations::read(fs, &self.profile)?;
        // After a crash the links may be gone already: the journal knows where they led.
        let left = self.left(links);
        let systems = self.systems(&store, &generations, &left)?;
        let needed = store.closure(&systems)?;
        let hybrids = hybrids(&store, links)?;
        if self.leaves_booted(fs, &left)? {
            // It would hold everything of the generation that is left until the next boot, which
            // makes it anew. What the kernel needs has roots of its own.
            fs.remove_file(Path::new(BOOTED_ROOT))?;
        }
        for (number, path) in &generations.all {
            let goes = left.contains(path) && generations.current != Some(*number);
            if goes && !systems.contains(path) {
                fs.remove_file(&generation_link(&self.profile, *number))?;
            }
        }
        for (name, target) in links {
            if !systems.contains(target) {
                fs.remove_file(&self.roots.join(name))?;
            }
        }
        remove_roots_folder(fs, &self.roots)?;
        let dead: BTreeSet<&String> = self.paths.iter().chain(&hybrids).collect();
        let dead: Vec<String> = dead
            .into_iter()
            .filter(|it| !needed.contains(*it))
            .cloned()
            .collect();
        let deleted = store.delete(&dead)?;
        context.progress.note(&format!(
            "{} store paths deleted, {} bytes freed",
            deleted.deleted.len(),
            deleted.freed
        ));
        Ok(match deleted.alive.first() {
            None => Undone::Clean,
            Some(path) => Undone::Kept(format!(
                "{} store paths are still needed by something else, such as {path}{}",
                deleted.alive.len(),
                store.holders(path)
            )),
        })
    }

    /// Fetches again what went, composes hybrids again, and makes the links.
    ///
    /// # Errors
    /// When something cannot be fetched, for want of space or of a cache among others.
    pub fn undo(&self, context: &Context<'_>, undo: &SwitchUndo) -> Result<Undone> {
        let SwitchUndo::Release { links, generations } = undo else {
            return Ok(Undone::Clean);
        };
        let fs = &context.host.fs;
        let store = NixStore::find(context, "bring store paths back")?;
        let wanted = Wanted {
            paths: &self.paths,
            bytes: 0,
            from: self.from.as_deref(),
        };
        store.fetch(wanted, context.progress)?;
        make_roots_folder(fs, &self.roots)?;
        for (name, target) in links {
            if store.valid(std::slice::from_ref(target))?.is_empty() {
                self.compose_again(context, name, target)?;
            }
            fs.symlink(Path::new(target), &self.roots.join(name))?;
        }
        let booted = Path::new(BOOTED_ROOT);
        if self.leaves_booted(fs, &self.left(links))? && fs.read_link(booted)?.is_none() {
            fs.symlink(Path::new(BOOTED_SYSTEM), booted)?;
        }
        put_generations_back(context, &self.profile, generations)
    }

    /// What must not be touched: the boot default, what runs, and what was booted. Of a booted
    /// generation that is left only what its kernel may still ask for.
    fn systems(
        &self,
        store: &NixStore<'_>,
        generations: &Generations,
        left: &BTreeSet<String>,
    ) -> Result<Vec<String>> {
        let fs = &store.host.fs;
        let default = generations
            .default_path()
            .ok_or_else(|| SwitchError::Link {
                what: "release store paths".to_owned(),
                path: self.profile.display().to_string(),
                why: "leads to no generation".to_owned(),
            })?;
        let mut systems = vec![default.to_owned()];
        systems.extend(system_at(fs, CURRENT_SYSTEM)?);
        match system_at(fs, BOOTED_SYSTEM)? {
            Some(booted) if left.contains(&booted) => {
                systems.extend(kernel_parts(fs, Path::new(&booted))?);
            }
            // An earlier step has left it; what the kernel needs has roots of its own since then.
            Some(booted) if store.valid(std::slice::from_ref(&booted))?.is_empty() => {}
            booted => systems.extend(booted),
        }
        Ok(systems)
    }

    /// Whether the generation that was booted is left, and is not what runs.
    fn leaves_booted(&self, fs: &Fs, left: &BTreeSet<String>) -> Result<bool> {
        let booted = system_at(fs, BOOTED_SYSTEM)?.filter(|booted| left.contains(booted));
        Ok(booted.is_some() && booted != system_at(fs, CURRENT_SYSTEM)?)
    }

    /// Store paths of the toplevels that are left.
    fn left(&self, links: &[(String, String)]) -> BTreeSet<String> {
        let path = |toplevel: &Toplevel| match toplevel {
            Toplevel::Path(path) => Some(path.clone()),
            Toplevel::Hybrid(number) => {
                let name = format!("hybrid-{number}");
                let link = links.iter().find(|link| link.0 == name);
                link.map(|(_, target)| target.clone())
            }
        };
        self.toplevels.iter().filter_map(path).collect()
    }

    /// Names of the links in the folder of roots that go.
    fn names(&self) -> Result<Vec<String>> {
        let hybrids = self.toplevels.iter().filter_map(|toplevel| match toplevel {
            Toplevel::Hybrid(number) => Some(format!("hybrid-{number}")),
            Toplevel::Path(_) => None,
        });
        let mut names: Vec<String> = self.links.iter().cloned().chain(hybrids).collect();
        names.sort();
        names.dedup();
        match names
            .iter()
            .find(|name| name.contains('/') || *name == "..")
        {
            Some(name) => Err(SwitchError::Internal(format!(
                "`{name}` is no name of a link"
            ))),
            None => Ok(names),
        }
    }

    fn compose_again(&self, context: &Context<'_>, name: &str, target: &str) -> Result<()> {
        let incomplete = || SwitchError::Incomplete {
            what: format!("bring the link {name} back"),
            path: target.to_owned(),
        };
        let number = name.strip_prefix("hybrid-").and_then(|it| it.parse().ok());
        let number = number.ok_or_else(incomplete)?;
        debug_assert_eq!(hybrid_link(&self.roots, number), self.roots.join(name));
        match compose::again(context, &self.roots, number)? == target {
            true => Ok(()),
            false => Err(incomplete()),
        }
    }
}

/// The hybrids among these links, with the trees that were made for them: while one of those is
/// there, Nix keeps what it names, dead as it may be.
fn hybrids(store: &NixStore<'_>, links: &[(String, String)]) -> Result<BTreeSet<String>> {
    let hybrids = links.iter().filter(|link| link.0.starts_with("hybrid-"));
    let hybrids: Vec<String> = hybrids.map(|(_, target)| target.clone()).collect();
    let there: Vec<String> = store.valid(&hybrids)?.into_iter().collect();
    let mut all: BTreeSet<String> = hybrids.into_iter().collect();
    if !there.is_empty() {
        let is_tree = |path: &String| TREES.iter().any(|name| path.ends_with(name));
        all.extend(store.closure(&there)?.into_iter().filter(is_tree));
    }
    Ok(all)
}

#[cfg(test)]
#[path = "release_tests.rs"]
mod tests;

//! Step Forget: old generations of the profile go, and what only they needed.
//!
//! There is no way back for what nobody can give again. Undoing puts the links back as far as the
//! store paths are still there, and says which are not.

use std::path::Path;

use crate::resource::{Context, Description, Undone};
use crate::switch::error::Result;
use crate::switch::profile::{Generations, generation_link};
use crate::switch::step::{Forget, SwitchUndo};
use crate::switch::store::NixStore;

impl Forget {
    /// What it does, for people.
    pub fn describe(&self) -> Description {
        let numbers = self
            .generations
            .iter()
            .map(|(number, _)| number.to_string());
        let numbers: Vec<String> = numbers.collect();
        let mut details: Vec<String> = self.generations.iter().map(|it| it.1.clone()).collect();
        details.push("this cannot be undone once the store paths are gone".to_owned());
        Description {
            id: format!("forget:{}", self.profile.display()),
            summary: format!("delete the old generations {}", numbers.join(", ")),
            details,
        }
    }

    /// Reads what undoing will need: the generations that are there.
    ///
    /// # Errors
    /// When the profile cannot be read.
    pub fn prepare(&self, context: &Context<'_>) -> Result<SwitchUndo> {
        let generations = Generations::read(&context.host.fs, &self.profile)?;
        Ok(SwitchUndo::Release {
            links: Vec::new(),
            generations: generations.recorded(),
        })
    }

    /// Deletes them; one that is the default by now, or another one than was planned, stays.
    ///
    /// # Errors
    /// When a link cannot be removed or Nix cannot be asked.
    pub fn apply(&self, context: &Context<'_>, undo: &SwitchUndo) -> Result<Undone> {
        let _ = undo;
        let fs = &context.host.fs;
        let now = Generations::read(fs, &self.profile)?;
        for (number, path) in &self.generations {
            if now.current != Some(*number) && now.all.get(number) == Some(path) {
                fs.remove_file(&generation_link(&self.profile, *number))?;
            }
        }
        let store = NixStore::find(context, "delete old generations")?;
        let deleted = store.delete(&self.paths)?;
        Ok(match deleted.alive.first() {
            None => Undone::Clean,
            Some(path) => Undone::Kept(format!(
                "{} of {} store paths are still needed, such as {path}{}",
                deleted.alive.len(),
                self.paths.len(),
                store.holders(path)
            )),
        })
    }

    /// Puts the links back whose store paths are still there.
    ///
    /// # Errors
    /// When a link cannot be made or Nix cannot be asked.
    pub fn undo(&self, context: &Context<'_>, undo: &SwitchUndo) -> Result<Undone> {
        let SwitchUndo::Release { generations, .. } = undo else {
            return Ok(Undone::Clean);
        };
        put_generations_back(context, &self.profile, generations)
    }
}

/// Makes the links of generations again that are missing; says of which the store path is not there
/// any more.
pub(super) fn put_generations_back(
    context: &Context<'_>,
    profile: &Path,
    generations: &[(u64, String)],
) -> Result<Undone> {
    let fs = &context.host.fs;
    let now = Generations::read(fs, profile)?;
    let missing: Vec<&(u64, String)> = generations
        .iter()
        .filter(|(number, path)| now.all.get(number) != Some(path))
        .collect();
    if missing.is_empty() {
        return Ok(Undone::Clean);
    }
    let paths: Vec<String> = missing.iter().map(|(_, path)| path.clone()).collect();
    let valid = NixStore::find(context, "put generations back")?.valid(&paths)?;
    let mut gone = Vec::new();
    for (number, path) in missing {
        if valid.contains(path) {
            fs.symlink(Path::new(path), &generation_link(profile, *number))?;
        } else {
            gone.push(number.to_string());
        }
    }
    Ok(match gone.as_slice() {
        [] => Undone::Clean,
        gone => Undone::Kept(format!(
            "the generations {} cannot come back, their store paths are gone",
            gone.join(", ")
        )),
    })
}

#[cfg(test)]
#[path = "forget_tests.rs"]
mod tests;

//! The copy of the database from before its form changed, kept for going back.
//!
//! Copies are made regularly, and the oldest of them go. The last one of an older form is the only
//! way back to a version that reads no other, so it has a second name here, which nobody else knows:
//! `form-NUMBER-NAME`, in the folder of the copies. There is one for each form.

use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use super::schema::{SCHEMA, number};
use super::step::line;
use crate::health::database::{COPIES_DIR, copies};
use crate::host::Host;
use crate::payload::PayloadError;
use crate::resource::{Context, Description, Result, Undo, Undone};

/// What the second names begin with.
const PREFIX: &str = "form-";

/// A copy that is kept.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Kept {
    /// The form of the database in it.
    pub form: u32,
    /// Its name among the copies.
    pub copy: String,
}

impl Kept {
    fn read(name: &str) -> Option<Kept> {
        let (form, copy) = name.strip_prefix(PREFIX)?.split_once('-')?;
        let kept = Kept {
            form: form.parse().ok()?,
            copy: copy.to_owned(),
        };
        // What is spelled otherwise is not ours.
        (kept.name() == name).then_some(kept)
    }

    fn name(&self) -> String {
        format!("{PREFIX}{}-{}", self.form, self.copy)
    }

    /// Where it lies.
    pub fn path(&self) -> PathBuf {
        Path::new(COPIES_DIR).join(self.name())
    }

    /// Gives it back its name among the copies, from where it may have gone.
    ///
    /// # Errors
    /// When the folder cannot be read or written.
    pub fn bring_back(&self, host: &Host) -> Result<()> {
        let copy = Path::new(COPIES_DIR).join(&self.copy);
        if host.fs.meta(&copy)?.is_none() {
            host.fs.link(&self.path(), &copy)?;
        }
        Ok(())
    }
}

/// All that are kept, by their forms.
///
/// # Errors
/// When their folder cannot be read.
pub fn all(host: &Host) -> Result<Vec<Kept>> {
    let names = host.fs.list(Path::new(COPIES_DIR))?;
    let mut all: Vec<Kept> = names
        .iter()
        .filter_map(|name| Kept::read(name.to_str()?))
        .collect();
    all.sort_unstable();
    Ok(all)
}

/// The newest whose form is that one or an older one.
///
/// # Errors
/// When their folder cannot be read.
pub fn readable(host: &Host, form: u32) -> Result<Option<Kept>> {
    Ok(all(host)?.into_iter().rfind(|it| it.form <= form))
}

/// The copy is kept, where the form has changed since.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Keep {
    /// The form before.
    pub before: u32,
    /// When the copy was planned, milliseconds since 1970.
    pub at: u64,
}

impl Keep {
    pub(super) fn describe(&self) -> Description {
        let summary = "keep the copy of the database, if its form has changed".to_owned();
        line("keep:database", summary)
    }

    pub(super) fn prepare(&self, _host: &Host) -> Result<Undo> {
        Ok(Undo::Nothing)
    }

    pub(super) fn apply(&self, context: &Context<'_>, _undo: &Undo) -> Result<()> {
        let host = context.host;
        let now = number(host, Path::new(SCHEMA))?;
        if now.is_none_or(|now| now <= self.before) {
            return Ok(());
        }
        let copies = copies::all(&host.fs).map_err(PayloadError::from)?;
        // What was copied later is of the new form.
        let Some(copy) = copies.iter().rfind(|it| it.at <= self.at) else {
            return Ok(());
        };
        let kept = Kept {
            form: self.before,
            copy: copy.name(),
        };
        let of_form: Vec<Kept> = all(host)?
            .into_iter()
            .filter(|it| it.form == kept.form)
            .collect();
        // Done before, and the copy has lost its first name meanwhile.
        if of_form.iter().any(|it| *it > kept) {
            return Ok(());
        }
        if !of_form.contains(&kept) {
            host.fs.link(&copy.path(), &kept.path())?;
        }
        for other in of_form.iter().filter(|it| **it != kept) {
            host.fs.remove_file(&other.path())?;
        }
        Ok(())
    }

    /// It is in nobody's way.
    pub(super) fn undo(&self, _context: &Context<'_>, _undo: &Undo) -> Result<Undone> {
        Ok(Undone::Clean)
    }
}

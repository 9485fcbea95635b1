//! The way back from [`super::restore`]: what was set aside comes into its place again.
//!
//! Each move is one that can be repeated from the top. What took the place meanwhile is a copy, or a
//! database that Nix made from what was written down, and can be made again: it goes.

use std::path::Path;

use super::restore::{LOGS, NEW, NOTHING, SCHEMA, aside_folder};
use super::{DATABASE, DatabaseError, Job, Report, beside};

impl Job<'_> {
    /// Puts back what was set aside. May be repeated after it was cut off, and does nothing when
    /// nothing was set aside.
    pub(super) fn put_back(&self, aside: &str) -> Result<Report, DatabaseError> {
        let (fs, database, aside) = (self.fs, Path::new(DATABASE), aside_folder(aside)?);
        if fs.meta(&aside)?.is_none() {
            return Ok(Report::PutBack);
        }
        let _lock = self.lock()?;
        let (old, none) = (aside.join("db.sqlite"), aside.join(NOTHING));
        let (is_kept, was_none) = (fs.meta(&old)?.is_some(), fs.meta(&none)?.is_some());
        if is_kept || was_none {
            for suffix in LOGS {
                fs.remove_file(&beside(database, suffix))?;
            }
        }
        fs.remove_file(Path::new(NEW))?;
        if is_kept {
            fs.rename(&old, database)?;
            // Of two names of one file none goes by renaming.
            fs.remove_file(&old)?;
        } else if was_none {
            fs.remove_file(database)?;
            fs.remove_file(&none)?;
        }
        for suffix in LOGS {
            let log = aside.join(format!("db.sqlite{suffix}"));
            let place = beside(database, suffix);
            if fs.meta(&log)?.is_some() && fs.meta(&place)?.is_none() {
                fs.rename(&log, &place)?;
            }
        }
        let schema = aside.join("schema");
        if fs.meta(&schema)?.is_some() {
            fs.rename(&schema, Path::new(SCHEMA))?;
        }
        fs.remove_dir(&aside)?;
        Ok(Report::PutBack)
    }
}

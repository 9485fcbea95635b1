//! A copy of the database before another version of Nix writes to it.
//!
//! It is needed only to go back from a version that has brought the database into another form. Then
//! the copy takes its place, and what was registered since is registered again.

use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use super::schema::{SCHEMA, number};
use super::step::line;
use crate::health::database::{COPIES_DIR, Report, Work, carry_out, copies};
use crate::health::mend::Mend;
use crate::health::mend::database::Restore;
use crate::host::Host;
use crate::payload::PayloadError;
use crate::resource::saved::mismatch;
use crate::resource::{Context, Description, Result, Undo, Undone};

/// The database is copied.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Copy {
    /// Store path of the Nix that reads the copy.
    pub nix: String,
    /// How many copies are kept.
    pub keep: u32,
    /// Bytes that must stay free.
    pub reserve: u64,
    /// When it was planned, milliseconds since 1970.
    pub at: u64,
}

impl Copy {
    pub(super) fn describe(&self) -> Description {
        line("copy:database", "copy Nix's database".to_owned())
    }

    /// The form of the database.
    pub(super) fn prepare(&self, host: &Host) -> Result<Undo> {
        let number = number(host, Path::new(SCHEMA))?;
        Ok(Undo::Entries(number.iter().map(u32::to_string).collect()))
    }

    pub(super) fn apply(&self, context: &Context<'_>, undo: &Undo) -> Result<()> {
        let Undo::Entries(before) = undo else {
            return Err(mismatch(self.describe().id));
        };
        if before.is_empty() {
            return Ok(());
        }
        let work = Work::Copy {
            keep: self.keep.max(1),
            reserve: self.reserve,
            at: self.at,
        };
        let Context {
            host,
            worker,
            progress,
            cancel,
        } = context;
        match carry_out(*worker, &host.fs, work, *progress, cancel)? {
            Report::Copied { .. } | Report::Unchanged { .. } => Ok(()),
            other => Err(PayloadError::new(
                nixctl_proto::Code::Internal,
                format!("cannot copy Nix's database: it ended as {other:?}"),
            )
            .into()),
        }
    }

    pub(super) fn undo(&self, context: &Context<'_>, undo: &Undo) -> Result<Undone> {
        let Undo::Entries(before) = undo else {
            return Err(mismatch(self.describe().id));
        };
        let host = context.host;
        let Some(before) = before.first() else {
            return Ok(Undone::Clean);
        };
        let mark = self.mark();
        let is_begun = host.fs.meta(&mark)?.is_some();
        let now = number(host, Path::new(SCHEMA))?.map(|it| it.to_string());
        if !is_begun && now.as_ref() == Some(before) {
            return Ok(Undone::Clean);
        }
        // Its number is the old one before all is done.
        host.fs.write(&mark, b"", 0o600, None)?;
        host.fs
            .write(Path::new(SCHEMA), before.as_bytes(), 0o644, None)?;
        let copies = copies::all(&host.fs).map_err(PayloadError::from)?;
        let restore = Mend::Database(Restore {
            nix: self.nix.clone(),
            // The newest is the one that was made for this.
            copies: copies.last().map(copies::Copy::name).into_iter().collect(),
            at: self.at,
        });
        // Nobody is served meanwhile, and nobody is to be served after it.
        restore.apply(context, &Undo::Entries(Vec::new()))?;
        host.fs.remove_file(&mark)?;
        Ok(Undone::Clean)
    }

    fn mark(&self) -> PathBuf {
        Path::new(COPIES_DIR).join(format!("going-back-{}", self.at))
    }
}

#[cfg(test)]
#[path = "copy_tests.rs"]
pub(super) mod tests;

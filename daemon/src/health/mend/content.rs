//! A small file whose content is known is written.

use std::path::PathBuf;

use serde::{Deserialize, Serialize};

use super::line;
use crate::host::Host;
use crate::host::fs::Kind;
use crate::resource::file::SavedFile;
use crate::resource::saved::{Seen, foreign, look, mismatch, put_back};
use crate::resource::{Context, Description, ResourceError, Result, Undo, Undone};

/// The file, and what belongs into it.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Content {
    /// Absolute path.
    pub path: PathBuf,
    /// Content.
    pub content: String,
    /// Permission bits.
    pub mode: u32,
}

impl Content {
    pub(super) fn describe(&self) -> Description {
        let path = self.path.display();
        line(format!("content:{path}"), format!("write {path} again"))
    }

    pub(super) fn prepare(&self, host: &Host) -> Result<Undo> {
        Ok(match look(host, &self.path)? {
            Seen::Nothing => Undo::Created,
            Seen::Saved(saved @ SavedFile::Regular { .. }) => Undo::File(saved),
            seen => return Err(foreign(self.describe().id, seen.words())),
        })
    }

    pub(super) fn apply(&self, context: &Context<'_>, _undo: &Undo) -> Result<()> {
        let fs = &context.host.fs;
        if self.is_written(context.host)? {
            return Ok(());
        }
        if fs
            .meta(&self.path)?
            .is_some_and(|meta| meta.kind != Kind::File)
        {
            let what = "something that is no file";
            return Err(foreign(self.describe().id, what));
        }
        Ok(fs.write(&self.path, self.content.as_bytes(), self.mode, None)?)
    }

    pub(super) fn verify(&self, host: &Host) -> Result<()> {
        if self.is_written(host)? {
            return Ok(());
        }
        Err(ResourceError::Drifted {
            id: self.describe().id,
            seen: "it has other content".to_owned(),
        })
    }

    pub(super) fn undo(&self, context: &Context<'_>, undo: &Undo) -> Result<Undone> {
        let host = context.host;
        if !self.is_written(host)? {
            return Ok(Undone::Clean);
        }
        match undo {
            Undo::Created => host.fs.remove_file(&self.path)?,
            Undo::File(saved) => put_back(host, &self.path, saved)?,
            _ => return Err(mismatch(self.describe().id)),
        }
        Ok(Undone::Clean)
    }

    fn is_written(&self, host: &Host) -> Result<bool> {
        Ok(matches!(look(host, &self.path)?,
            Seen::Saved(SavedFile::Regular { content, .. }) if content == self.content.as_bytes()))
    }
}

#[cfg(test)]
mod tests {
    use super::super::Mend;
    use super::super::testing::check_laws;
    use super::*;
    use crate::resource::testing::Machine;

    #[test]
    fn laws() {
        let path = "/etc/schema";
        let mend = || {
            Mend::Content(Content {
                path: path.into(),
                content: "10".to_owned(),
                mode: 0o644,
            })
        };
        for before in [None, Some(""), Some("1")] {
            let machine = Machine::new();
            if let Some(before) = before {
                machine.put(path, before);
                machine.chmod(path, 0o600);
            }
            check_laws(&machine, &mend());
        }
        let machine = Machine::new();
        std::os::unix::fs::symlink("/etc/passwd", machine.path(path)).unwrap();
        assert!(mend().prepare(&machine.host).is_err());
    }
}

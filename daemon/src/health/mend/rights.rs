//! Owner and mode of one path, as they should be.

use std::path::PathBuf;

use serde::{Deserialize, Serialize};

use super::line;
use crate::host::Host;
use crate::host::fs::{Kind, Meta};
use crate::resource::file::Rights as Before;
use crate::resource::saved::{foreign, rights};
use crate::resource::{Context, Description, ResourceError, Result, Undo, Undone};

/// A path and the rights it should have. Never a link.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Rights {
    /// Absolute path.
    pub path: PathBuf,
    /// Permission bits.
    pub mode: u32,
    /// Owner.
    pub uid: u32,
    /// Group.
    pub gid: u32,
}

impl Rights {
    pub(super) fn describe(&self) -> Description {
        let path = self.path.display();
        let wanted = rights(self.mode, self.uid, self.gid);
        line(
            format!("rights:{path}"),
            format!("give {path} back {wanted}"),
        )
    }

    pub(super) fn prepare(&self, host: &Host) -> Result<Undo> {
        Ok(match self.look(host)? {
            None => Undo::Nothing,
            Some(meta) if self.is_right(meta) => Undo::Nothing,
            Some(meta) => Undo::Rights(Before {
                mode: meta.mode,
                uid: meta.uid,
                gid: meta.gid,
            }),
        })
    }

    pub(super) fn apply(&self, context: &Context<'_>, undo: &Undo) -> Result<()> {
        if *undo == Undo::Nothing {
            return Ok(());
        }
        self.give(context.host, self.mode, self.uid, self.gid)
    }

    pub(super) fn verify(&self, host: &Host) -> Result<()> {
        match self.look(host)? {
            Some(meta) if !self.is_right(meta) => Err(ResourceError::Drifted {
                id: self.describe().id,
                seen: rights(meta.mode, meta.uid, meta.gid),
            }),
            _ => Ok(()),
        }
    }

    pub(super) fn undo(&self, context: &Context<'_>, undo: &Undo) -> Result<Undone> {
        if let Undo::Rights(Before { mode, uid, gid }) = *undo {
            self.give(context.host, mode, uid, gid)?;
        }
        Ok(Undone::Clean)
    }

    fn give(&self, host: &Host, mode: u32, uid: u32, gid: u32) -> Result<()> {
        let Some(meta) = self.look(host)? else {
            return Ok(());
        };
        if (meta.uid, meta.gid) != (uid, gid) {
            host.fs.set_owner(&self.path, uid, gid)?;
        }
        // After the owner: changing it can clear bits of the mode.
        Ok(host.fs.set_mode(&self.path, mode)?)
    }

    fn look(&self, host: &Host) -> Result<Option<Meta>> {
        match host.fs.meta(&self.path)? {
            Some(meta) if meta.kind == Kind::Link => {
                Err(foreign(self.describe().id, "a symbolic link"))
            }
            meta => Ok(meta),
        }
    }

    fn is_right(&self, meta: Meta) -> bool {
        (meta.mode, meta.uid, meta.gid) == (self.mode, self.uid, self.gid)
    }
}

#[cfg(test)]
mod tests {
    use super::super::Mend;
    use super::super::testing::check_laws;
    use super::*;
    use crate::resource::testing::{Machine, own_ids};

    fn mend() -> Mend {
        let (uid, gid) = own_ids();
        Mend::Rights(Rights {
            path: "/etc/x".into(),
            mode: 0o1775,
            uid,
            gid,
        })
    }

    #[test]
    fn laws() {
        let machine = Machine::new();
        check_laws(&machine, &mend());
        std::fs::create_dir(machine.path("/etc/x")).unwrap();
        for mode in [0o700, 0o1775] {
            machine.chmod("/etc/x", mode);
            check_laws(&machine, &mend());
        }
    }

    #[test]
    fn a_link_keeps_what_it_leads_to_safe() {
        let machine = Machine::new();
        std::os::unix::fs::symlink("/run", machine.path("/etc/x")).unwrap();
        assert!(mend().prepare(&machine.host).is_err());
        assert!(mend().apply(&machine.context(), &Undo::Created).is_err());
    }
}

//! What other programs put right: labels of SELinux, and store paths that Nix fetches again.
//!
//! Neither has a way back, and neither needs one: labels follow from the policy, and a store path
//! is exchanged by Nix as a whole or not at all.

use std::path::PathBuf;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::line;
use crate::host::{Command, Host};
use crate::resource::nix_command;
use crate::resource::{Context, Description, Result, Undo, Undone};

/// Every file below the path is looked at.
const RESTORECON_DEADLINE: Duration = Duration::from_secs(600);

/// Labels below a path.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Relabel {
    /// Absolute path.
    pub path: PathBuf,
}

/// A store path that is registered, and missing or damaged.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct RepairPath {
    /// Store path of the Nix that does it.
    pub nix: String,
    /// Store path.
    pub path: String,
}

impl Relabel {
    pub(super) fn describe(&self) -> Description {
        let path = self.path.display();
        line(
            format!("relabel:{path}"),
            format!("give everything below {path} its SELinux label"),
        )
    }

    pub(super) fn prepare(&self, _host: &Host) -> Result<Undo> {
        Ok(Undo::Nothing)
    }

    pub(super) fn apply(&self, context: &Context<'_>, _undo: &Undo) -> Result<()> {
        let host = context.host;
        let command = Command::new("restorecon")
            .arg("-RF")
            .arg(host.fs.real(&self.path).to_string_lossy())
            .deadline(RESTORECON_DEADLINE);
        host.exec.run(&command, context.cancel)?;
        Ok(())
    }

    pub(super) fn verify(&self, _host: &Host) -> Result<()> {
        Ok(())
    }

    pub(super) fn undo(&self, _context: &Context<'_>, _undo: &Undo) -> Result<Undone> {
        Ok(Undone::Clean)
    }
}

impl RepairPath {
    pub(super) fn describe(&self) -> Description {
        let path = &self.path;
        line(
            format!("repair-path:{path}"),
            format!("have Nix fetch {path} again"),
        )
    }

    pub(super) fn prepare(&self, _host: &Host) -> Result<Undo> {
        Ok(Undo::Nothing)
    }

    pub(super) fn apply(&self, context: &Context<'_>, _undo: &Undo) -> Result<()> {
        let args = ["--repair-path", self.path.as_str()];
        let command = nix_command::command_of(context.host, &self.nix, "nix-store", &args);
        nix_command::run(context.host, &command, context.cancel)?;
        Ok(())
    }

    pub(super) fn verify(&self, host: &Host) -> Result<()> {
        if host.fs.meta(self.path.as_ref())?.is_some() {
            return Ok(());
        }
        Err(crate::resource::ResourceError::Drifted {
            id: self.describe().id,
            seen: "it is still not in the store".to_owned(),
        })
    }

    pub(super) fn undo(&self, _context: &Context<'_>, _undo: &Undo) -> Result<Undone> {
        Ok(Undone::Clean)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::host::fake::Answer;
    use crate::resource::testing::Machine;

    #[test]
    fn labels_are_given_below_the_path() {
        let machine = Machine::new();
        let path = PathBuf::from("/nix");
        let relabel = Relabel { path };
        assert!(relabel.apply(&machine.context(), &Undo::Nothing).is_err());
        machine.exec.install("restorecon");
        relabel.apply(&machine.context(), &Undo::Nothing).unwrap();
        let expected = format!("restorecon -RF {}/nix", machine.dir.path().display());
        assert_eq!(machine.exec.lines().last(), Some(&expected));
    }

    #[test]
    fn a_path_that_cannot_be_fetched_is_an_error() {
        let machine = Machine::new();
        let path = "/nix/store/0123456789abcdfghijklmnpqrsvwxyz-x".to_owned();
        let repair = RepairPath {
            nix: "/nix/store/1123456789abcdfghijklmnpqrsvwxyz-nix-2.26.3".to_owned(),
            path: path.clone(),
        };
        std::fs::create_dir_all(machine.path("/proc/self")).unwrap();
        machine.put("/dev/ptmx", "");
        machine
            .exec
            .answer("chroot", &[], Answer::code(1, "cannot repair path"));
        assert!(repair.apply(&machine.context(), &Undo::Nothing).is_err());
        assert!(repair.verify(&machine.host).is_err());
        machine.put(&path, "");
        repair.verify(&machine.host).unwrap();
    }
}

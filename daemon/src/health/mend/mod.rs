//! Small repairs that are no resource: nothing is owned because of them.
//!
//! Plain data for the journal, with the same five functions as every resource: `describe`,
//! `prepare` (reads what undoing will need), `apply`, `verify` and `undo`, all idempotent, so that
//! one that was cut off anywhere is finished or taken back. None deletes anything of value: what
//! has to go from its place is set aside under a name that tells where it was.

pub mod aside;
pub mod conf_line;
pub mod content;
pub mod database;
pub mod group_name;
pub mod managed;
pub mod nix_repair;
pub mod refetch;
pub mod rights;
pub mod unit;

use serde::{Deserialize, Serialize};

use crate::host::Host;
use crate::resource::{Context, Description, Result, Undo, Undone};

/// One small repair.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub enum Mend {
    /// Starts a unit of the machine, such as the mount of the store.
    Start(unit::Start),
    /// Takes the link to /dev/null out of a unit's place.
    Unmask(unit::Unmask),
    /// Forgets that a unit has failed.
    Clear(unit::Clear),
    /// Restarts a unit.
    Restart(unit::Restart),
    /// Moves a link or file out of the way.
    SetAside(aside::SetAside),
    /// Makes a line of nix.conf a comment.
    ConfLine(conf_line::ConfLine),
    /// Puts owner and mode of one path right.
    Rights(rights::Rights),
    /// Writes a small file whose content is known.
    Content(content::Content),
    /// Writes a file that the user put under care.
    Managed(managed::Managed),
    /// Puts Nix's database back together.
    Database(database::Restore),
    /// Registers Nix's own paths in its database.
    Register(nix_repair::Register),
    /// Gives the labels of the policy to everything below a path.
    Relabel(nix_repair::Relabel),
    /// Has Nix fetch a store path again.
    RepairPath(nix_repair::RepairPath),
    /// Fetches the release of Nix again, and exchanges what is missing or damaged.
    Refetch(refetch::Refetch),
    /// Gives a group its name back.
    GroupName(group_name::GroupName),
}

macro_rules! each {
    ($self:expr, $it:ident => $call:expr) => {
        match $self {
            Mend::Start($it) => $call,
            Mend::Unmask($it) => $call,
            Mend::Clear($it) => $call,
            Mend::Restart($it) => $call,
            Mend::SetAside($it) => $call,
            Mend::ConfLine($it) => $call,
            Mend::Rights($it) => $call,
            Mend::Content($it) => $call,
            Mend::Managed($it) => $call,
            Mend::Database($it) => $call,
            Mend::Register($it) => $call,
            Mend::Relabel($it) => $call,
            Mend::RepairPath($it) => $call,
            Mend::Refetch($it) => $call,
            Mend::GroupName($it) => $call,
        }
    };
}

impl Mend {
    /// The same as it goes into a plan that is made now (milliseconds since 1970): what it takes from
    /// its place gets names of its own.
    #[must_use]
    pub fn planned(mut self, now: u64) -> Mend {
        match &mut self {
            Mend::Managed(it) => it.at = now,
            Mend::Database(it) => it.at = now,
            _ => {}
        }
        self
    }

    /// Removes what was kept for undoing, when the operation is over. Idempotent; what was moved out
    /// of the way stays.
    ///
    /// # Errors
    /// When it cannot be removed.
    pub fn forget(&self, host: &Host) -> Result<()> {
        match self {
            Mend::Managed(it) => it.forget(host),
            _ => Ok(()),
        }
    }

    /// What it does, for people.
    pub fn describe(&self) -> Description {
        each!(self, it => it.describe())
    }

    /// Reads what undoing will need. Changes nothing.
    ///
    /// # Errors
    /// When the machine cannot be read, or what is there may not be touched.
    pub fn prepare(&self, host: &Host) -> Result<Undo> {
        each!(self, it => it.prepare(host))
    }

    /// Does it. Idempotent, also when an earlier attempt was cut off anywhere.
    ///
    /// # Errors
    /// When it could not be done; then `undo` is called.
    pub fn apply(&self, context: &Context<'_>, undo: &Undo) -> Result<()> {
        each!(self, it => it.apply(context, undo))
    }

    /// Reads the result back.
    ///
    /// # Errors
    /// When it is not as it should be.
    pub fn verify(&self, host: &Host) -> Result<()> {
        each!(self, it => it.verify(host))
    }

    /// Takes it back to what `prepare` saw. Idempotent, and safe when `apply` never ran.
    ///
    /// # Errors
    /// When it could not be done.
    pub fn undo(&self, context: &Context<'_>, undo: &Undo) -> Result<Undone> {
        each!(self, it => it.undo(context, undo))
    }

    /// A path on the file system that has to be synced after it, where its own writes were not.
    pub fn unsynced(&self) -> Option<&std::path::Path> {
        match self {
            Mend::Rights(it) => Some(&it.path),
            Mend::Relabel(it) => Some(&it.path),
            Mend::GroupName(_) => Some(std::path::Path::new("/etc")),
            Mend::Managed(it) => Some(&it.path),
            Mend::RepairPath(_) | Mend::Refetch(_) | Mend::Database(_) | Mend::Register(_) => {
                Some(std::path::Path::new("/nix"))
            }
            Mend::Start(_)
            | Mend::Unmask(_)
            | Mend::Clear(_)
            | Mend::Restart(_)
            | Mend::SetAside(_)
            | Mend::ConfLine(_)
            | Mend::Content(_) => None,
        }
    }
}

/// A description without details.
fn line(id: String, summary: String) -> Description {
    Description {
        id,
        summary,
        details: Vec::new(),
    }
}

#[cfg(test)]
pub(crate) mod testing {
    use super::*;
    use crate::resource::testing::Machine;

    /// The laws of a mend: preparing changes nothing, undoing what never ran changes nothing,
    /// applying twice is applying once, and undoing brings back what was there, twice over.
    pub(crate) fn check_laws(machine: &Machine, mend: &Mend) {
        let context = machine.context();
        let before = machine.state();
        let undo = mend.prepare(&machine.host).unwrap();
        assert_eq!(machine.state(), before, "preparing changed something");
        mend.undo(&context, &undo).unwrap();
        assert_eq!(machine.state(), before, "undoing nothing changed something");
        for _ in 0..2 {
            mend.apply(&context, &undo).unwrap();
            let after = machine.state();
            mend.verify(&machine.host).unwrap();
            mend.apply(&context, &undo).unwrap();
            assert_eq!(machine.state(), after, "applying twice is not once");
            for _ in 0..2 {
                mend.undo(&context, &undo).unwrap();
                assert_eq!(machine.state(), before, "undoing did not bring it back");
            }
        }
        let text = bytes(mend);
        assert_eq!(serde_json::from_str::<Mend>(&text).unwrap(), *mend);
    }

    fn bytes(mend: &Mend) -> String {
        serde_json::to_string(mend).unwrap()
    }
}

//! Small repairs that are no resource: nothing is owned because of them.
//!
//! Plain data for the journal, with the same five functions as every resource: `describe`,
//! `prepare` (reads what undoing will need), `apply`, `verify` and `undo`, all idempotent, so that
//! one that was cut off anywhere is finished or taken back. None deletes anything of value: what
//! has to go from its place is set aside under a name that tells where it was.

pub mod aside;
pub mod conf_line;
pub mod content;
pub mod nix_repair;
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
    /// Gives the labels of the policy to everything below a path.
    Relabel(nix_repair::Relabel),
    /// Has Nix fetch a store path again.
    RepairPath(nix_repair::RepairPath),
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
            Mend::Relabel($it) => $call,
            Mend::RepairPath($it) => $call,
        }
    };
}

impl Mend {
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
            Mend::RepairPath(_) => Some(std::path::Path::new("/nix")),
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

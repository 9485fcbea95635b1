//! The steps that only an upgrade has: plain data for the journal.
//!
//! Each has the five functions of every step. Nothing is owned because of them.

use serde::{Deserialize, Serialize};

use super::back::{GoBack, Reopen, Returnable};
use super::copy::Copy;
use super::default::Exchange;
use super::forget::{Disown, Forget};
use super::kept::Keep;
use super::quiet::Quiet;
use super::restart::Restart;
use super::schema::Readable;
use super::turn::Turn;
use crate::host::Host;
use crate::resource::{Context, Description, Result, Undo, Undone};

/// One step.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum UpgradeStep {
    /// Sees that the new version reads the database as it is.
    Readable(Readable),
    /// Lets builds end, and keeps new connections waiting.
    Quiet(Quiet),
    /// Copies the database.
    Copy(Copy),
    /// Exchanges Nix in the default profile.
    Exchange(Exchange),
    /// Starts nix-daemon again.
    Restart(Restart),
    /// Lets go of a release that is not needed any more.
    Forget(Forget),
    /// Takes a thing of that release from the list of what is owned.
    Disown(Disown),
    /// Waits for this machine's turn in its fleet.
    Turn(Turn),
    /// Sees that an older version can be gone back to, by a copy of the database if need be.
    Returnable(Returnable),
    /// Puts that copy back.
    GoBack(GoBack),
    /// Has nix-daemon serve again after that.
    Reopen(Reopen),
    /// Keeps the copy from before a change of the database's form.
    Keep(Keep),
}

macro_rules! each {
    ($self:expr, $it:ident => $call:expr) => {
        match $self {
            UpgradeStep::Readable($it) => $call,
            UpgradeStep::Quiet($it) => $call,
            UpgradeStep::Copy($it) => $call,
            UpgradeStep::Exchange($it) => $call,
            UpgradeStep::Restart($it) => $call,
            UpgradeStep::Forget($it) => $call,
            UpgradeStep::Disown($it) => $call,
            UpgradeStep::Turn($it) => $call,
            UpgradeStep::Returnable($it) => $call,
            UpgradeStep::GoBack($it) => $call,
            UpgradeStep::Reopen($it) => $call,
            UpgradeStep::Keep($it) => $call,
        }
    };
}

impl UpgradeStep {
    /// What it does, for people.
    pub fn describe(&self) -> Description {
        each!(self, it => it.describe())
    }

    /// Reads what undoing will need. Changes nothing.
    ///
    /// # Errors
    /// When the machine cannot be read.
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

    /// Takes it back to what `prepare` saw. Idempotent, and safe when `apply` never ran.
    ///
    /// # Errors
    /// When it could not be done.
    pub fn undo(&self, context: &Context<'_>, undo: &Undo) -> Result<Undone> {
        each!(self, it => it.undo(context, undo))
    }

    /// A path on the file system that has to be synced after it.
    pub fn unsynced(&self) -> Option<&'static str> {
        match self {
            UpgradeStep::Copy(_)
            | UpgradeStep::Exchange(_)
            | UpgradeStep::Forget(_)
            | UpgradeStep::GoBack(_) => Some("/nix"),
            UpgradeStep::Readable(_)
            | UpgradeStep::Returnable(_)
            | UpgradeStep::Reopen(_)
            | UpgradeStep::Keep(_)
            | UpgradeStep::Quiet(_)
            | UpgradeStep::Restart(_)
            | UpgradeStep::Turn(_)
            | UpgradeStep::Disown(_) => None,
        }
    }
}

/// A description without details.
pub(super) fn line(id: &str, summary: String) -> Description {
    Description {
        id: id.to_owned(),
        summary,
        details: Vec::new(),
    }
}

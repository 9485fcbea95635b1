//! The steps of a switch as the engine carries them out, whatever room each of them lives in.

use std::path::Path;

use crate::engine::step::StepFailure;
use crate::host::Host;
use crate::resource::{Context, Description, ResourceError, Undone};
use crate::switch::activate::error::ActivateError;
use crate::switch::error::SwitchError;
use crate::switch::prove::ProveError;
use crate::switch::step::{SwitchStep, SwitchUndo};

/// Carries the steps of a switch out. The engine waits for confirmations itself:
/// [`SwitchStep::Confirm`] gets here only to be undone, which is nothing.
pub trait Carry: Send + Sync {
    /// Reads what undoing the step will need. Changes nothing.
    ///
    /// # Errors
    /// When the machine cannot be read.
    fn prepare(&self, step: &SwitchStep, context: &Context<'_>) -> Result<SwitchUndo, StepFailure>;

    /// Carries it out.
    ///
    /// # Errors
    /// When it could not be done; [`StepFailure::waits`] says whether it may work later.
    fn apply(
        &self,
        step: &SwitchStep,
        context: &Context<'_>,
        undo: &SwitchUndo,
    ) -> Result<Undone, StepFailure>;

    /// Undoes it, also when `apply` never ran or was cut off.
    ///
    /// # Errors
    /// When it could not be done.
    fn undo(
        &self,
        step: &SwitchStep,
        context: &Context<'_>,
        undo: &SwitchUndo,
    ) -> Result<Undone, StepFailure>;

    /// Writes what it changed to the disk.
    ///
    /// # Errors
    /// When the operating system reports lost writes.
    fn sync(&self, step: &SwitchStep, host: &Host) -> Result<(), StepFailure>;
}

/// Carries them out on this machine.
#[derive(Debug, Clone, Copy, Default)]
pub struct Machine;

impl SwitchStep {
    /// What it does, for people.
    pub fn describe(&self) -> Description {
        match self {
            SwitchStep::Forget(it) => it.describe(),
            SwitchStep::Fetch(it) => it.describe(),
            SwitchStep::Compose(it) => it.describe(),
            SwitchStep::Activate(it) => it.describe(),
            SwitchStep::Prove(it) => it.describe(),
            SwitchStep::Confirm { seconds } => Description {
                id: "confirm".to_owned(),
                summary: format!("wait up to {seconds} s for somebody to confirm"),
                details: vec!["nixctl confirm, over a new connection".to_owned()],
            },
            SwitchStep::SetDefault(it) => it.describe(),
            SwitchStep::Release(it) => it.describe(),
        }
    }
}

impl Carry for Machine {
    fn prepare(&self, step: &SwitchStep, context: &Context<'_>) -> Result<SwitchUndo, StepFailure> {
        Ok(match step {
            SwitchStep::Forget(it) => it.prepare(context)?,
            SwitchStep::Fetch(it) => it.prepare(context)?,
            SwitchStep::Compose(it) => it.prepare(context)?,
            SwitchStep::Activate(it) => it.prepare(context)?,
            SwitchStep::Prove(it) => it.prepare(context)?,
            SwitchStep::Confirm { .. } => waiting(context.host),
            SwitchStep::SetDefault(it) => it.prepare(context)?,
            SwitchStep::Release(it) => it.prepare(context)?,
        })
    }

    fn apply(
        &self,
        step: &SwitchStep,
        context: &Context<'_>,
        undo: &SwitchUndo,
    ) -> Result<Undone, StepFailure> {
        Ok(match step {
            SwitchStep::Forget(it) => it.apply(context, undo)?,
            SwitchStep::Fetch(it) => it.apply(context, undo)?,
            SwitchStep::Compose(it) => it.apply(context, undo)?,
            SwitchStep::Activate(it) => it.apply(context, undo)?,
            SwitchStep::Prove(it) => it.apply(context, undo)?,
            SwitchStep::Confirm { .. } => Undone::Clean,
            SwitchStep::SetDefault(it) => it.apply(context, undo)?,
            SwitchStep::Release(it) => it.apply(context, undo)?,
        })
    }

    fn undo(
        &self,
        step: &SwitchStep,
        context: &Context<'_>,
        undo: &SwitchUndo,
    ) -> Result<Undone, StepFailure> {
        Ok(match step {
            SwitchStep::Forget(it) => it.undo(context, undo)?,
            SwitchStep::Fetch(it) => it.undo(context, undo)?,
            SwitchStep::Compose(it) => it.undo(context, undo)?,
            SwitchStep::Activate(it) => it.undo(context, undo)?,
            SwitchStep::Prove(it) => it.undo(context, undo)?,
            SwitchStep::Confirm { .. } => Undone::Clean,
            SwitchStep::SetDefault(it) => it.undo(context, undo)?,
            SwitchStep::Release(it) => it.undo(context, undo).map_err(waits_for_a_cache)?,
        })
    }

    fn sync(&self, step: &SwitchStep, host: &Host) -> Result<(), StepFailure> {
        match step {
            SwitchStep::Forget(_)
            | SwitchStep::Fetch(_)
            | SwitchStep::Compose(_)
            | SwitchStep::SetDefault(_)
            | SwitchStep::Release(_) => {
                let synced = host.fs.sync_file_system(Path::new("/nix"));
                Ok(synced.map_err(ResourceError::from)?)
            }
            SwitchStep::Activate(it) => Ok(it.sync(host)?),
            SwitchStep::Prove(_) | SwitchStep::Confirm { .. } => Ok(()),
        }
    }
}

impl From<SwitchError> for StepFailure {
    fn from(error: SwitchError) -> Self {
        StepFailure {
            failure: error.failure(),
            stopped: error.is_stopped(),
            waits: error.waits(),
        }
    }
}

impl From<ActivateError> for StepFailure {
    fn from(error: ActivateError) -> Self {
        StepFailure {
            failure: error.failure(),
            stopped: error.is_stopped(),
            waits: error.waits(),
        }
    }
}

impl From<ProveError> for StepFailure {
    fn from(error: ProveError) -> Self {
        StepFailure {
            failure: error.failure(),
            stopped: error.is_stopped(),
            waits: error.waits(),
        }
    }
}

/// What was released was to be had from a cache then. One that has lost it may have it again, and
/// there is no other way back.
fn waits_for_a_cache(error: SwitchError) -> StepFailure {
    let comes = matches!(error, SwitchError::Unavailable { .. });
    let comes = comes.then(|| format!("needs a cache that has what was released: {error}"));
    let failure = StepFailure::from(error);
    StepFailure {
        waits: failure.waits.clone().or(comes),
        ..failure
    }
}

/// When waiting begins, by a clock that nobody can set.
pub fn waiting(host: &Host) -> SwitchUndo {
    let moment = host.clock.moment();
    SwitchUndo::Waiting {
        since: moment.millis,
        boot: moment.era,
    }
}

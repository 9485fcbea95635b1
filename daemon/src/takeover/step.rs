//! The steps that only a replacement of nixctl itself has: plain data for the journal.
//!
//! Nothing is owned because of them. Handing over and proving are carried out by the engine, because
//! one ends the daemon and the other needs what the daemon has seen.

use std::path::{Path, PathBuf};

use nixctl_proto::{Code, Failure};
use serde::{Deserialize, Serialize};

use super::archive::SelfArchive;
use super::hand_over::HandOver;
use super::note::{Note, Phase};
use super::{Edition, PROGRAMS, drop_in, fault, keeper_path, place};
use crate::engine::step::StepFailure;
use crate::host::Host;
use crate::payload::worker::Task;
use crate::payload::{DOWNLOADS_DIR, Fetch};
use crate::resource::{Context, Description, ResourceError, Undo, Undone};

/// One step.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum SelfStep {
    /// Fetches and checks the archive.
    Fetch(Fetch),
    /// Unpacks its programs beside those in use.
    Unpack(SelfArchive),
    /// Has them say what they are.
    Describe {
        /// Folder with the programs.
        folder: PathBuf,
        /// Version that they must be of.
        version: String,
    },
    /// The other version takes over.
    HandOver(HandOver),
    /// systemd reads its unit files again.
    Reload,
    /// It has to serve, and to leave nothing worse.
    Prove,
    /// From here on there is no way back but another operation.
    Settle,
}

impl SelfStep {
    /// What it does, for people.
    pub fn describe(&self) -> Description {
        let line = |id: &str, summary: String| Description {
            id: id.to_owned(),
            summary,
            details: Vec::new(),
        };
        match self {
            SelfStep::Fetch(fetch) => {
                let (version, source) = (&fetch.release.version, &fetch.release.source);
                Description {
                    details: vec![format!("SHA-256 {}", fetch.release.sha256)],
                    ..line(
                        &format!("fetch:{}", fetch.release.sha256),
                        format!("fetch nixctl {version} from {source} and check it"),
                    )
                }
            }
            SelfStep::Unpack(archive) => line(
                &format!("unpack:{}", archive.folder.display()),
                format!("unpack its programs into {}", archive.folder.display()),
            ),
            SelfStep::Describe { folder, version } => line(
                "describe",
                format!(
                    "start the programs in {}, and see that they are nixctl {version} and fit",
                    folder.display()
                ),
            ),
            SelfStep::HandOver(it) => it.describe(),
            SelfStep::Reload => line(
                "reload",
                "have systemd read its unit files again".to_owned(),
            ),
            SelfStep::Prove => line(
                "prove",
                "see that nixctld serves, and that nothing is worse than before".to_owned(),
            ),
            SelfStep::Settle => line("settle", "stay with it".to_owned()),
        }
    }

    /// Reads what undoing will need. Changes nothing.
    pub fn prepare(&self) -> Undo {
        match self {
            SelfStep::Fetch(_) | SelfStep::Describe { .. } | SelfStep::Prove => Undo::Nothing,
            SelfStep::Unpack(_) | SelfStep::HandOver(_) | SelfStep::Reload | SelfStep::Settle => {
                Undo::Created
            }
        }
    }

    /// Does it. Idempotent, also when an earlier attempt was cut off anywhere.
    ///
    /// # Errors
    /// When it could not be done; then `undo` is called.
    pub fn apply(&self, context: &Context<'_>) -> Result<Undone, StepFailure> {
        let host = context.host;
        match self {
            SelfStep::Fetch(fetch) => {
                let task = Task::Fetch(fetch.clone());
                let worker = context.worker;
                worker.run(&task, context.progress, context.cancel)?;
            }
            SelfStep::Unpack(archive) => {
                let task = Task::UnpackSelf(archive.clone());
                let worker = context.worker;
                worker.run(&task, context.progress, context.cancel)?;
            }
            SelfStep::Describe { folder, version } => {
                let edition = Edition::of(host, folder, context.cancel);
                check(edition, version)?;
            }
            SelfStep::Reload => reload(host)?,
            SelfStep::Settle => settle(host)?,
            SelfStep::HandOver(_) | SelfStep::Prove => return Err(not_here()),
        }
        Ok(Undone::Clean)
    }

    /// Takes it back. Idempotent, and safe when `apply` never ran.
    ///
    /// # Errors
    /// When it could not be done.
    pub fn undo(&self, context: &Context<'_>) -> Result<Undone, StepFailure> {
        let fs = &context.host.fs;
        match self {
            SelfStep::Fetch(fetch) => {
                let path = Path::new(DOWNLOADS_DIR).join(&fetch.release.sha256);
                fs.remove_file(&path).map_err(ResourceError::from)?;
            }
            SelfStep::Unpack(archive) => {
                fs.sweep_temporaries(&archive.folder)
                    .map_err(ResourceError::from)?;
                for name in PROGRAMS {
                    let path = archive.folder.join(name);
                    fs.remove_file(&path).map_err(ResourceError::from)?;
                }
            }
            SelfStep::Reload => reload(context.host)?,
            SelfStep::Prove if fault::is_stuck() => {
                let text = "cannot undo it: it was built to fail";
                return Err(Failure::new(Code::FileFailed, text).into());
            }
            SelfStep::Describe { .. } | SelfStep::Prove | SelfStep::Settle => {}
            SelfStep::HandOver(_) => return Err(not_here()),
        }
        Ok(Undone::Clean)
    }

    /// Whether there is no way back once it was begun.
    pub fn is_irreversible(&self) -> bool {
        matches!(self, SelfStep::Settle)
    }
}

/// Whether programs are what was asked for and can follow those that run.
pub(super) fn check(
    edition: Result<Edition, String>,
    version: &str,
) -> Result<Edition, StepFailure> {
    let cannot = |why: String| {
        let text = format!("cannot use nixctl {version}: {why}");
        StepFailure::from(Failure::new(Code::Unusable, text))
    };
    let edition = edition.map_err(cannot)?;
    if edition.version != version {
        let why = format!("it says that it is {}", edition.version);
        return Err(cannot(why));
    }
    Edition::own()
        .can_be_followed_by(&edition)
        .map_err(cannot)?;
    Ok(edition)
}

fn reload(host: &Host) -> Result<(), StepFailure> {
    if host.services.is_running() {
        host.services.reload().map_err(ResourceError::from)?;
    }
    Ok(())
}

/// Says first that there is no way back: whatever is cut off after that is only left to be cleared.
fn settle(host: &Host) -> Result<(), StepFailure> {
    let Some(mut note) = Note::load(&host.fs).map_err(ResourceError::from)? else {
        return Ok(());
    };
    note.phase = Phase::Proven;
    note.save(&host.fs).map_err(ResourceError::from)?;
    clear(host, &note)
}

/// Takes away what a take-over needed, the note last: systemd first, which would miss the keeper.
pub(super) fn clear(host: &Host, note: &Note) -> Result<(), StepFailure> {
    let fs = &host.fs;
    let drop_in = Path::new(drop_in(&note.programs).path);
    fs.remove_file(drop_in).map_err(ResourceError::from)?;
    if let Some(folder) = drop_in.parent() {
        fs.remove_dir(folder).map_err(ResourceError::from)?;
    }
    reload(host)?;
    if let Some(keeper) = keeper_path(&note.programs) {
        fs.remove_file(&keeper).map_err(ResourceError::from)?;
    }
    place::forget_state(fs).map_err(ResourceError::from)?;
    Ok(Note::remove(fs).map_err(ResourceError::from)?)
}

/// The engine carries these out.
fn not_here() -> StepFailure {
    let text = "internal error: handing over was taken for an ordinary step";
    Failure::new(Code::Internal, text).into()
}

//! A step of a plan: plain data that goes into the journal.

use std::path::{Path, PathBuf};

use nixctl_proto::plan::PlanAction;
use nixctl_proto::{Code, Failure};
use serde::{Deserialize, Serialize};

use crate::health::database::COPIES_DIR;
use crate::health::mend::Mend;
use crate::health::self_test::SelfTest;
use crate::host::Host;
use crate::payload::worker::Task;
use crate::payload::{DOWNLOADS_DIR, Fetch, PayloadError};
use crate::resource::nix_conf::NixConfUndo;
use crate::resource::program;
use crate::resource::{Context, Description, Resource, ResourceError, Undo, Undone};
use crate::switch::step::SwitchStep;
use crate::takeover::step::SelfStep;
use crate::upgrade::step::UpgradeStep;

/// One step.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum Step {
    /// Makes a resource, which is owned from then on.
    Ensure(Resource),
    /// Takes an owned resource away, with the undo data of its making.
    Remove(Resource, Undo),
    /// Fetches and checks an archive.
    Fetch(Fetch),
    /// Proves that Nix works.
    SelfTest(SelfTest),
    /// Removes what is our own and not needed any more: a download, a program that was put aside,
    /// or the copies of a database that is gone.
    Discard(PathBuf),
    /// Makes a resource like [`Step::Ensure`], but owns it with this undo data besides what was
    /// read before ([`Step::owned_undo`]): others made it, and it is ours from now on, to be taken
    /// off at the end. Undoing the step itself (the operation failed) goes back to what was read.
    Adopt(Resource, Undo),
    /// A step of a switch from one generation to another.
    Switch(Box<SwitchStep>),
    /// A small repair, of which nothing is owned afterwards.
    Mend(Mend),
    /// A step that only an upgrade has.
    Upgrade(UpgradeStep),
    /// A step that only a replacement of nixctl itself has.
    SelfUpgrade(SelfStep),
}

/// A step as it was planned: what it does, and what it looked like to the planner.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct PlannedStep {
    /// The step.
    pub step: Step,
    /// What the planner saw that it would do.
    pub action: PlanAction,
}

/// Why a step failed, with whether it was asked to stop.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StepFailure {
    /// For people and the journal.
    pub failure: Failure,
    /// Whether it ended because it was asked to.
    pub stopped: bool,
    /// What would have to come before it may work, when that can be waited for.
    pub waits: Option<String>,
}

impl Step {
    /// Whether there is no way back once it was started: what it takes away cannot be made again.
    pub fn is_irreversible(&self) -> bool {
        match self {
            Step::Remove(Resource::NixTree(tree), _) => !tree.keep,
            Step::Remove(Resource::Payload(_), _) => true,
            // The database goes whole, and with it what users have built and installed.
            Step::Remove(Resource::Registration(_), Undo::Created) => true,
            Step::Discard(path) => program::is_aside(path) || is_copies(path),
            Step::Remove(..)
            | Step::Ensure(_)
            | Step::Adopt(..)
            | Step::Fetch(_)
            | Step::SelfTest(_) => false,
            // What is released or forgotten can be fetched again, or was meant to go whatever
            // becomes of the rest; the way back is planned for.
            Step::Switch(_) => false,
            // What leaves its place is kept, and what Nix exchanges is whole before and after.
            Step::Mend(_) => false,
            Step::Upgrade(_) => false,
            Step::SelfUpgrade(step) => step.is_irreversible(),
        }
    }
}

impl Step {
    /// What it does, for people.
    pub fn describe(&self) -> Description {
        let plain = |id: String, summary: String| Description {
            id,
            summary,
            details: Vec::new(),
        };
        match self {
            Step::Ensure(resource) => resource.describe(),
            Step::Adopt(resource, _) => {
                let it = resource.describe();
                Description {
                    summary: format!("take over: {}", it.summary),
                    ..it
                }
            }
            Step::Remove(resource, made) => resource.describe_removal(made),
            Step::Fetch(fetch) => {
                let release = &fetch.release;
                Description {
                    details: vec![format!("SHA-256 {}", release.sha256)],
                    ..plain(
                        format!("fetch:{}", release.sha256),
                        format!(
                            "fetch Nix {} from {} and check it",
                            release.version, release.source
                        ),
                    )
                }
            }
            Step::SelfTest(test) => {
                let who = if test.daemon {
                    "as root and as an ordinary user"
                } else {
                    "as root"
                };
                plain(
                    "self-test".to_owned(),
                    format!(
                        "build something {who}, in every shell ({})",
                        test.shells.join(", ")
                    ),
                )
            }
            Step::Switch(step) => step.describe(),
            Step::Mend(mend) => mend.describe(),
            Step::Upgrade(step) => step.describe(),
            Step::SelfUpgrade(step) => step.describe(),
            Step::Discard(path) => {
                let what = if program::is_aside(path) {
                    "remove for good the program that was put aside at"
                } else if is_copies(path) {
                    "remove the copies of Nix's database in"
                } else {
                    "remove the download"
                };
                plain(
                    format!("discard:{}", path.display()),
                    format!("{what} {}", path.display()),
                )
            }
        }
    }

    /// Reads what undoing the step will need. Changes nothing.
    ///
    /// # Errors
    /// When the machine cannot be read.
    pub fn prepare(&self, context: &Context<'_>) -> Result<Undo, StepFailure> {
        match self {
            Step::Ensure(resource) | Step::Adopt(resource, _) => {
                resource.prepare(context.host).map_err(StepFailure::from)
            }
            // What cannot even be looked at shall still come off.
            Step::Remove(resource, _) => Ok(resource
                .prepare_removal(context.host)
                .unwrap_or(Undo::Created)),
            Step::Mend(mend) => mend.prepare(context.host).map_err(StepFailure::from),
            Step::Upgrade(step) => step.prepare(context.host).map_err(StepFailure::from),
            Step::SelfUpgrade(step) => Ok(step.prepare()),
            Step::Fetch(_) | Step::SelfTest(_) | Step::Discard(_) => Ok(Undo::Nothing),
            Step::Switch(_) => Err(not_here()),
        }
    }

    /// Carries it out and reads the result back. Says what was left on purpose.
    ///
    /// # Errors
    /// When it could not be done; the step is then undone.
    pub fn apply(&self, context: &Context<'_>, undo: &Undo) -> Result<Undone, StepFailure> {
        match self {
            Step::Ensure(resource) | Step::Adopt(resource, _) => {
                resource.apply(context, undo)?;
                resource.verify(context.host)?;
                Ok(Undone::Clean)
            }
            Step::Mend(mend) => {
                mend.apply(context, undo)?;
                mend.verify(context.host)?;
                Ok(Undone::Clean)
            }
            Step::Remove(resource, made) => Ok(resource.take_away(context, made)?),
            Step::Upgrade(step) => {
                step.apply(context, undo)?;
                Ok(Undone::Clean)
            }
            Step::SelfUpgrade(step) => step.apply(context),
            Step::Fetch(fetch) => {
                let task = Task::Fetch(fetch.clone());
                context
                    .worker
                    .run(&task, context.progress, context.cancel)?;
                Ok(Undone::Clean)
            }
            Step::SelfTest(test) => {
                test.run(context)?;
                Ok(Undone::Clean)
            }
            Step::Discard(path) => {
                let fs = &context.host.fs;
                let removed = match is_copies(path) {
                    true => fs.remove_tree_with(path, context.cancel),
                    false => fs.remove_file(path),
                };
                removed.map_err(ResourceError::from)?;
                Ok(Undone::Clean)
            }
            Step::Switch(_) => Err(not_here()),
        }
    }

    /// Removes what was kept for undoing it, when the operation is over.
    ///
    /// # Errors
    /// When it cannot be removed.
    pub fn forget(&self, host: &Host) -> Result<(), StepFailure> {
        match self {
            Step::Mend(mend) => Ok(mend.forget(host)?),
            _ => Ok(()),
        }
    }

    /// Undoes it, also when `apply` never ran or was cut off. Says what was left on purpose.
    ///
    /// # Errors
    /// When it could not be done.
    pub fn undo(&self, context: &Context<'_>, undo: &Undo) -> Result<Undone, StepFailure> {
        match self {
            Step::Ensure(resource) | Step::Adopt(resource, _) => Ok(resource.undo(context, undo)?),
            Step::Mend(mend) => Ok(mend.undo(context, undo)?),
            Step::Upgrade(step) => Ok(step.undo(context, undo)?),
            Step::SelfUpgrade(step) => step.undo(context),
            Step::Remove(resource, made) => {
                match resource.restore(context, made, undo) {
                    Ok(()) => Ok(Undone::Clean),
                    // Taking it away left what a user had changed, and so does this.
                    Err(ResourceError::Foreign { id, seen }) => {
                        Ok(Undone::Kept(format!("{id}: {seen}, it stays as it is")))
                    }
                    Err(error) => Err(error.into()),
                }
            }
            Step::Fetch(fetch) => {
                let path = Path::new(DOWNLOADS_DIR).join(&fetch.release.sha256);
                context
                    .host
                    .fs
                    .remove_file(&path)
                    .map_err(ResourceError::from)?;
                Ok(Undone::Clean)
            }
            Step::SelfTest(_) | Step::Discard(_) => Ok(Undone::Clean),
            Step::Switch(_) => Err(not_here()),
        }
    }
}

impl Step {
    /// Writes what the step, or undoing it, changed to the disk, so that the record that says so
    /// is true after a power cut. Nothing is left to do where each write was synced by itself;
    /// programs of others do not do that, and neither does changing a mode or an owner.
    ///
    /// # Errors
    /// When the operating system reports lost writes.
    pub fn sync(&self, host: &Host) -> Result<(), StepFailure> {
        let resource = match self {
            Step::Ensure(it) | Step::Adopt(it, _) | Step::Remove(it, _) => it,
            Step::Mend(mend) => return sync_at(mend.unsynced(), host),
            Step::Upgrade(step) => return sync_at(step.unsynced().map(Path::new), host),
            // Each file of it was synced when it was written.
            Step::SelfUpgrade(_) => return Ok(()),
            Step::Fetch(_) | Step::SelfTest(_) | Step::Discard(_) => return Ok(()),
            Step::Switch(_) => return Err(not_here()),
        };
        let paths: &[&str] = match resource {
            Resource::Group(_) | Resource::BuildUsers(_) | Resource::Service(_) => &["/etc"],
            Resource::Directory(_) | Resource::Program(_) => &[],
            Resource::Tmpfiles(_)
            | Resource::NixTree(_)
            | Resource::Registration(_)
            | Resource::Profile(_) => &["/nix"],
            // Policy modules are kept in one of the first two, labels are on the last.
            Resource::Selinux(_) => &["/etc", "/var/lib", "/nix"],
            Resource::File(_) | Resource::Block(_) | Resource::NixConf(_) => return Ok(()),
            // The worker syncs what it unpacked.
            Resource::Payload(_) => return Ok(()),
        };
        let own = match resource {
            Resource::Directory(directory) => Some(directory.path.as_path()),
            Resource::Program(program) => Some(program.path.as_path()),
            _ => None,
        };
        for path in paths.iter().map(Path::new).chain(own) {
            // What is not there was removed, and that was synced.
            if host.fs.meta(path).map_err(ResourceError::from)?.is_some() {
                let synced = host.fs.sync_file_system(path);
                synced.map_err(ResourceError::from)?;
            }
        }
        Ok(())
    }
}

impl Step {
    /// Undo data that an owned resource gets, from what was read before it was made. Lines that
    /// we add to nix.conf go together with those that are taken over; anything else that is taken
    /// over goes as if we had made it.
    pub fn owned_undo(&self, read: &Undo) -> Undo {
        match (self, read) {
            (Step::Adopt(_, Undo::NixConf(theirs)), Undo::NixConf(ours)) => {
                let added = theirs.added.iter().chain(&ours.added).cloned().collect();
                Undo::NixConf(NixConfUndo {
                    created: theirs.created || ours.created,
                    added,
                })
            }
            (Step::Adopt(_, undo), _) => undo.clone(),
            _ => read.clone(),
        }
    }
}

impl From<ResourceError> for StepFailure {
    fn from(error: ResourceError) -> Self {
        let waits = match &error {
            ResourceError::NotItsTurn { .. } => Some(error.to_string()),
            _ => None,
        };
        StepFailure {
            failure: error.failure(),
            stopped: error.is_stopped(),
            waits,
        }
    }
}

impl From<PayloadError> for StepFailure {
    fn from(error: PayloadError) -> Self {
        ResourceError::from(error).into()
    }
}

impl From<Failure> for StepFailure {
    fn from(failure: Failure) -> Self {
        StepFailure {
            failure,
            stopped: false,
            waits: None,
        }
    }
}

/// Whether a path is where the copies of Nix's database lie.
fn is_copies(path: &Path) -> bool {
    path == Path::new(COPIES_DIR)
}

/// Syncs the file system of a path, where there is one.
fn sync_at(path: Option<&Path>, host: &Host) -> Result<(), StepFailure> {
    if let Some(path) = path
        && host.fs.meta(path).map_err(ResourceError::from)?.is_some()
    {
        host.fs
            .sync_file_system(path)
            .map_err(ResourceError::from)?;
    }
    Ok(())
}

/// The steps of a switch are carried out by [`crate::switch::carry::Carry`].
fn not_here() -> StepFailure {
    let text = "internal error: a step of a switch was taken for one of a resource";
    Failure::new(Code::Internal, text).into()
}

#[cfg(test)]
#[path = "step_tests.rs"]
mod tests;

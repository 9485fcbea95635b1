//! What the version that has taken over does next: the daemon's own files as it wants them, and the
//! list of what is owned as it is now.

use std::path::{Path, PathBuf};

use nixctl_proto::Failure;

use super::hand_over::{HandOver, sha256};
use super::plan::{is_of_a_version, line};
use super::step::SelfStep;
use super::{PROGRAMS, is_in_library};
use crate::catalogue::facts::Facts;
use crate::catalogue::own;
use crate::engine::step::PlannedStep;
use crate::engine::{Owned, Question, Step};
use crate::host::Host;
use crate::resource::file::File;
use crate::resource::program::Program;
use crate::resource::{Presence, Resource, ResourceError, Undo};

/// The rest of the operation.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Renewal {
    /// The steps after the hand-over.
    pub steps: Vec<PlannedStep>,
    /// Files that they make and that the version of before does not know.
    pub made: Vec<PathBuf>,
}

/// Plans it. `rest` is what the version of before had planned after the hand-over.
///
/// # Errors
/// When the machine cannot be read.
pub fn plan_rest(
    question: &Question<'_>,
    facts: &Facts,
    over: &HandOver,
    rest: &[PlannedStep],
) -> Result<Renewal, Failure> {
    let (host, owned) = (question.host, question.owned);
    let mut steps = programs(host, over)?;
    let mut made = Vec::new();
    let mut units = false;
    for step in own::install(facts, &[]) {
        let Step::Ensure(resource) = step else {
            continue;
        };
        let seen = resource.probe(host).map_err(failed)?;
        let is_owned = owned.iter().any(|it| is_same(&it.resource, &resource));
        if seen == Presence::Present && is_owned {
            continue;
        }
        if let Resource::File(file) = &resource {
            units |= file.path.starts_with("/etc/systemd");
            if seen == Presence::Absent {
                made.push(file.path.clone());
            }
        }
        steps.push(Step::Ensure(replacing(owned, resource)));
    }
    if units {
        steps.push(Step::SelfUpgrade(SelfStep::Reload));
    }
    steps.extend([SelfStep::Prove, SelfStep::Settle].map(Step::SelfUpgrade));
    steps.extend(let_go(owned, over));
    let discards = rest.iter().map(|it| &it.step);
    steps.extend(
        discards
            .filter(|it| matches!(it, Step::Discard(_)))
            .cloned(),
    );
    let planned = steps.into_iter().map(|step| PlannedStep {
        action: line(&step).action,
        step,
    });
    Ok(Renewal {
        steps: planned.collect(),
        made,
    })
}

fn failed(error: ResourceError) -> Failure {
    error.failure()
}

/// What is in place already is entered in the list of what is owned.
fn programs(host: &Host, over: &HandOver) -> Result<Vec<Step>, Failure> {
    let mut steps = Vec::new();
    for name in PROGRAMS {
        let (kept, used) = (over.to_folder.join(name), over.programs.join(name));
        let sha256 = sha256(&host.fs, &kept).map_err(|error| error.failure())?;
        let program = |from: &Path, path: &Path| {
            Resource::Program(Program {
                from: from.to_owned(),
                sha256: sha256.clone(),
                path: path.to_owned(),
            })
        };
        steps.push(Step::Adopt(program(&used, &kept), Undo::Created));
        steps.push(Step::Ensure(program(&kept, &used)));
    }
    Ok(steps)
}

/// A file of ours that is there in another form is replaced.
fn replacing(owned: &[Owned], resource: Resource) -> Resource {
    let Resource::File(file) = resource else {
        return resource;
    };
    let is_ours = owned
        .iter()
        .any(|it| matches!(&it.resource, Resource::File(it) if it.path == file.path));
    Resource::File(File {
        replace: is_ours,
        ..file
    })
}

fn is_same(one: &Resource, other: &Resource) -> bool {
    match (one, other) {
        (Resource::File(one), Resource::File(other)) => {
            *one == File {
                replace: one.replace,
                ..other.clone()
            }
        }
        _ => one == other,
    }
}

/// Versions that neither run from now on nor are what is gone back to.
fn let_go(owned: &[Owned], over: &HandOver) -> Vec<Step> {
    let is_needless = |path: &Path| {
        let stays = [&over.from_folder, &over.to_folder];
        is_in_library(path) && is_of_a_version(path) && !stays.iter().any(|it| path.starts_with(it))
    };
    let mut steps = Vec::new();
    let mut asides = Vec::new();
    for Owned { resource, undo, .. } in owned.iter().rev() {
        let path = match resource {
            Resource::Program(it) => &it.path,
            Resource::Directory(it) => &it.path,
            _ => continue,
        };
        if !is_needless(path) {
            continue;
        }
        if let Resource::Program(program) = resource {
            asides.push(Step::Discard(program.aside()));
        }
        steps.push(Step::Remove(resource.clone(), undo.clone()));
    }
    steps.extend(asides);
    steps
}

//! What replacing nixctl itself does: from what is owned and what is asked for to steps.
//!
//! Only the version that runs can plan up to the hand-over. What the other one wants of the machine
//! only that one knows: it goes on with a plan of its own ([`super::renew`]).

use std::cmp::Ordering;
use std::path::{Path, PathBuf};

use nixctl_proto::feed::compare;
use nixctl_proto::plan::{Plan, PlanAction, PlanCheck, PlanStep};
use nixctl_proto::request::{InstallRequest, SelfUpgradeRequest};
use nixctl_proto::{Code, Failure, OperationKind};

use super::archive::SelfArchive;
use super::hand_over::{HandOver, sha256};
use super::step::SelfStep;
use super::{PROGRAMS, is_in_library, is_library, library, version_folder, version_of};
use crate::catalogue::own::is_own;
use crate::catalogue::{Planned, linux};
use crate::engine::step::PlannedStep;
use crate::engine::{Owned, Question, Step};
use crate::host::{Fs, FsError, Host};
use crate::payload::{DOWNLOADS_DIR, Release};
use crate::resource::directory::Directory;
use crate::resource::program::Program;
use crate::resource::{Description, Presence, Resource, ResourceError};

/// What an exchange needs beside the programs: the copy of the state, and files.
const MARGIN: u64 = 16 << 20;

/// The version in use.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Installed {
    /// Folder of the programs.
    programs: PathBuf,
    /// Folder in which versions are kept.
    library: &'static Path,
    /// Folder in which this one is, or will be, kept.
    folder: PathBuf,
    /// SHA-256 of its programs, in the order of [`PROGRAMS`].
    sha256: [String; 2],
    /// Bytes of both.
    bytes: u64,
}

/// Where it goes.
#[derive(Debug, Clone)]
enum Target {
    /// To a release that is fetched, into this folder.
    Fetched(Release, PathBuf),
    /// To one that is kept in this folder.
    Kept(PathBuf),
}

/// Plans it.
///
/// # Errors
/// nixctl cannot replace itself here, or there is nothing to go to.
pub fn plan(
    question: &Question<'_>,
    request: &SelfUpgradeRequest,
    find: impl FnOnce(&InstallRequest) -> Result<Release, Failure>,
) -> Result<Planned, Failure> {
    let host = question.host;
    let version = nixctl_proto::version();
    if host.is_image() || !host.services.is_running() {
        return Err(not_here(
            "systemd does not run it, so nobody would start it again",
        ));
    }
    let installed = installed(host, question.owned, version)?;
    let wanted = match &question.recorded.offer {
        None => request.wanted(),
        Some(Ok(offered)) => offered.wanted(),
        Some(Err(why)) => return Ok(nothing(format!("nixctl {version} stays: {why}"))),
    };
    let is_current = |folder: &Path| folder == installed.folder;
    let kept = |folder: &Path| folder_is_whole(host, question.owned, folder);
    let target = if request.rollback {
        let previous = previous(question.owned, &installed.folder).filter(|it| kept(it));
        Target::Kept(previous.ok_or_else(|| {
            let text = "cannot go back: no other version of nixctl is kept";
            Failure::new(Code::NothingBefore, text)
                .with_help("name a source: `nixctl daemon upgrade --source URL-or-PATH`")
        })?)
    } else if wanted.source.is_none() {
        match &wanted.version {
            Some(named) if named == version => {
                return Ok(nothing(format!("nixctl {version} is here already")));
            }
            named => {
                let of_version = named.as_deref().and_then(|named| {
                    folders(question.owned).find(|it| version_of(it) == Some(named))
                });
                Target::Kept(of_version.filter(|it| kept(it)).ok_or_else(no_source)?)
            }
        }
    } else {
        let release = find(&wanted)?;
        let folder = version_folder(installed.library, &release.version, &release.sha256);
        if is_current(&folder) {
            return Ok(nothing(format!("nixctl {version} is here already")));
        }
        match kept(&folder) {
            true => Target::Kept(folder),
            false => Target::Fetched(release, folder),
        }
    };
    planned(question, request, version, &installed, &target)
}

fn not_here(why: &str) -> Failure {
    let text = format!("nixctl cannot replace itself: {why}");
    Failure::new(Code::NotReplaceable, text)
}

fn no_source() -> Failure {
    let text = "cannot find another nixctl: no release feed is followed, and no source was named";
    Failure::new(Code::BadSource, text)
        .with_help("name one: `nixctl daemon upgrade --source nixctl-VERSION-SYSTEM.tar.xz`")
}

fn nothing(title: String) -> Planned {
    with_steps(title, Vec::new(), Vec::new(), 0)
}

/// The programs in use, which have to be as they were put there.
fn installed(host: &Host, owned: &[Owned], version: &str) -> Result<Installed, Failure> {
    let in_use = |name: &str| {
        owned.iter().find_map(|it| match &it.resource {
            Resource::Program(program)
                if !is_in_library(&program.path) && program.path.ends_with(name) =>
            {
                Some(program)
            }
            _ => None,
        })
    };
    let others = || not_here("its programs were put on this machine by others");
    let [client, daemon] = PROGRAMS.map(in_use);
    let (client, daemon) = client.zip(daemon).ok_or_else(others)?;
    let programs = daemon.path.parent().unwrap_or(Path::new("/"));
    let library = library(programs).ok_or_else(others)?;
    let mut bytes = 0;
    for program in [client, daemon] {
        let seen = Resource::Program(program.clone()).probe(host);
        if seen.map_err(|error| error.failure())? != Presence::Present {
            let path = program.path.display();
            return Err(not_here(&format!("{path} is not as it was put there")));
        }
        bytes += size(&host.fs, &program.path)?;
    }
    let kept = owned.iter().find_map(|it| match &it.resource {
        Resource::Program(it) if is_in_library(&it.path) && it.sha256 == daemon.sha256 => {
            it.path.parent()
        }
        _ => None,
    });
    let fresh = || version_folder(library, version, &daemon.sha256);
    Ok(Installed {
        programs: programs.to_owned(),
        library,
        folder: kept.map_or_else(fresh, Path::to_owned),
        sha256: [client.sha256.clone(), daemon.sha256.clone()],
        bytes,
    })
}

fn size(fs: &Fs, path: &Path) -> Result<u64, Failure> {
    let file = |error: FsError| ResourceError::from(error).failure();
    let opened = fs.open(path).map_err(file)?;
    let meta = opened.and_then(|file| file.metadata().ok());
    Ok(meta.map_or(0, |meta| meta.len()))
}

/// Folders of the versions that are kept, the newest first.
fn folders(owned: &[Owned]) -> impl Iterator<Item = PathBuf> + '_ {
    owned.iter().rev().filter_map(|it| match &it.resource {
        Resource::Program(it) if is_in_library(&it.path) && it.path.ends_with(PROGRAMS[1]) => {
            it.path.parent().map(Path::to_owned)
        }
        _ => None,
    })
}

/// Folder of the version before the one in use.
pub fn previous(owned: &[Owned], current: &Path) -> Option<PathBuf> {
    folders(owned).find(|folder| folder != current)
}

/// The version before the one in use, which is kept.
pub fn previous_version(owned: &[Owned]) -> Option<String> {
    let in_use = owned.iter().find_map(|it| match &it.resource {
        Resource::Program(it) if !is_in_library(&it.path) && it.path.ends_with(PROGRAMS[1]) => {
            Some(&it.sha256)
        }
        _ => None,
    })?;
    let others = owned.iter().rev().find_map(|it| match &it.resource {
        Resource::Program(it)
            if is_in_library(&it.path)
                && it.path.ends_with(PROGRAMS[1])
                && it.sha256 != *in_use =>
        {
            it.path.parent()
        }
        _ => None,
    });
    version_of(others?).map(str::to_owned)
}

/// Whether a path of the library is of one of its versions, rather than the library itself.
pub(super) fn is_of_a_version(path: &Path) -> bool {
    let folder = match PROGRAMS.iter().any(|name| path.ends_with(name)) {
        true => path.parent(),
        false => Some(path),
    };
    folder.is_some_and(|folder| version_of(folder).is_some() && !is_library(folder))
}

/// Whether both programs of a folder are owned and as they should be.
fn folder_is_whole(host: &Host, owned: &[Owned], folder: &Path) -> bool {
    PROGRAMS.iter().all(|name| {
        let path = folder.join(name);
        owned.iter().any(|it| {
            let is_it = matches!(&it.resource, Resource::Program(it) if it.path == path);
            is_it && matches!(it.resource.probe(host), Ok(Presence::Present))
        })
    })
}

fn planned(
    question: &Question<'_>,
    request: &SelfUpgradeRequest,
    version: &str,
    installed: &Installed,
    target: &Target,
) -> Result<Planned, Failure> {
    let host = question.host;
    let (to, folder) = match target {
        Target::Fetched(release, folder) => (release.version.clone(), folder),
        Target::Kept(folder) => (version_of(folder).unwrap_or_default().to_owned(), folder),
    };
    if let Target::Kept(folder) = target {
        let there = sha256(&host.fs, &folder.join(PROGRAMS[1]));
        let there = there.map_err(|error| error.failure())?;
        if there == installed.sha256[1] {
            return Ok(nothing(format!("nixctl {to} is here already")));
        }
    }
    let mut steps = Vec::new();
    if let Target::Fetched(release, _) = target {
        let fetch = match linux::fetch(release, &question.settings.install) {
            Step::Fetch(fetch) => Step::SelfUpgrade(SelfStep::Fetch(fetch)),
            other => other,
        };
        steps.push(fetch);
    }
    steps.extend(keep_current(installed));
    if let Target::Fetched(release, folder) = target {
        steps.push(directory(folder));
        steps.push(Step::SelfUpgrade(SelfStep::Unpack(SelfArchive {
            sha256: release.sha256.clone(),
            version: release.version.clone(),
            system: release.system.clone(),
            folder: folder.clone(),
        })));
    }
    let own_files = question.owned.iter().filter_map(|it| match &it.resource {
        Resource::File(file) if is_own(&it.resource) => Some(file.clone()),
        _ => None,
    });
    steps.extend(
        [
            SelfStep::Describe {
                folder: folder.clone(),
                version: to.clone(),
            },
            SelfStep::HandOver(HandOver {
                from: version.to_owned(),
                to: to.clone(),
                from_folder: installed.folder.clone(),
                to_folder: folder.clone(),
                programs: installed.programs.clone(),
                files: own_files.collect(),
            }),
            SelfStep::Prove,
            SelfStep::Settle,
        ]
        .map(Step::SelfUpgrade),
    );
    let mut bytes = installed.bytes.saturating_mul(2).saturating_add(MARGIN);
    if let Target::Fetched(release, _) = target {
        steps.push(Step::Discard(
            Path::new(DOWNLOADS_DIR).join(&release.sha256),
        ));
        bytes = bytes.saturating_add(release.size.unwrap_or(installed.bytes));
    }
    let checks = vec![
        direction(version, &to, request),
        space(host, &installed.programs, bytes)?,
    ];
    let title = format!("replace nixctl {version} by {to}");
    Ok(with_steps(title, steps, checks, bytes))
}

/// The version in use is kept beside itself, to go back to.
fn keep_current(installed: &Installed) -> Vec<Step> {
    let parent = installed.library.parent().unwrap_or(installed.library);
    let mut steps: Vec<Step> = [parent, installed.library, &installed.folder]
        .map(directory)
        .into();
    for (name, sha256) in PROGRAMS.iter().zip(&installed.sha256) {
        steps.push(Step::Ensure(Resource::Program(Program {
            from: installed.programs.join(name),
            sha256: sha256.clone(),
            path: installed.folder.join(name),
        })));
    }
    steps
}

fn directory(path: impl AsRef<Path>) -> Step {
    Step::Ensure(Resource::Directory(Directory {
        path: path.as_ref().to_owned(),
        mode: 0o755,
        uid: 0,
        gid: 0,
        lenient: true,
    }))
}

/// Whether it may go that way.
fn direction(from: &str, to: &str, request: &SelfUpgradeRequest) -> PlanCheck {
    let way = match compare(to, from) {
        Ordering::Less => "older than",
        Ordering::Equal => "another build of",
        Ordering::Greater => "newer than",
    };
    let is_refused = compare(to, from) == Ordering::Less && !request.may_be_older;
    PlanCheck {
        id: "direction".to_owned(),
        seen: format!("{to} is {way} {from}"),
        failure: is_refused.then(|| {
            let text = format!("cannot replace nixctl {from} by {to}: it is older");
            Failure::new(Code::OlderRefused, text)
        }),
    }
}

fn space(host: &Host, folder: &Path, needed: u64) -> Result<PlanCheck, Failure> {
    let space = host.fs.space(folder);
    let free = space
        .map_err(|error| ResourceError::from(error).failure())?
        .free_bytes;
    let seen = format!(
        "{free} bytes are free at {}, {needed} are needed",
        folder.display()
    );
    Ok(PlanCheck {
        id: "space".to_owned(),
        failure: (free < needed)
            .then(|| Failure::new(Code::NoSpace, format!("cannot replace nixctl: {seen}"))),
        seen,
    })
}

fn with_steps(title: String, steps: Vec<Step>, checks: Vec<PlanCheck>, bytes: u64) -> Planned {
    let lines: Vec<PlanStep> = steps.iter().map(line).collect();
    let steps = steps.into_iter().zip(&lines);
    Planned {
        steps: steps
            .map(|(step, line)| PlannedStep {
                step,
                action: line.action,
            })
            .collect(),
        view: Plan {
            kind: OperationKind::SelfUpgrade,
            title,
            steps: lines,
            checks,
            bytes_needed: bytes,
            inodes_needed: 0,
            notes: Vec::new(),
            switch: None,
        },
        repair: None,
    }
}

/// A step as people see it.
pub(super) fn line(step: &Step) -> PlanStep {
    let Description {
        id,
        summary,
        details,
    } = step.describe();
    let action = match step {
        Step::Ensure(_) | Step::SelfUpgrade(SelfStep::Unpack(_)) => PlanAction::Create,
        Step::SelfUpgrade(SelfStep::HandOver(_)) => PlanAction::Change,
        Step::Remove(..) => PlanAction::Remove,
        _ => PlanAction::Run,
    };
    PlanStep {
        id,
        action,
        summary,
        details,
    }
}

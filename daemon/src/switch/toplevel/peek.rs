//! A look at a generation that is not in the store yet: its link trees and small files, from the cache
//! they will come from, in a folder of our own.
//!
//! A toplevel names everything it consists of, but Nix has a path only together with its whole
//! closure. So the archives of the small paths near the toplevel are read by themselves, for the plan
//! alone. Nothing of it is used as a system: that is fetched, and checked, by Nix. What was copied
//! goes when the switch is over.

use std::path::Path;
use std::time::Duration;

use nixctl_planner::closure::{Graph, PathSet, StorePath};
use nixctl_planner::component::{Content, Entry, Toplevel};
use nixctl_proto::{Code, Failure};

use crate::host::{Cancel, ExecError, Fs, FsError, Host};
use crate::payload::STATE_DIR;
use crate::payload::files::private_dir;
use crate::resource::nix_command;
use crate::switch::compose::state_folder;
use crate::switch::plan::steps::roots_of;
use crate::switch::store::source::Source;

/// Folder of the copies, in that of the switch.
const FOLDER: &str = "peek";
/// Largest archive that is read, of the toplevel and of what it refers to itself.
const MAX_NEAR_BYTES: u64 = 4 << 20;
/// Largest archive farther away.
const MAX_BYTES: u64 = 512 << 10;
/// References followed from the toplevel: to `etc`, to its units, to their files.
const MAX_DEPTH: u32 = 3;
/// Most archives that are read.
const MAX_PATHS: usize = 3000;
/// For one archive.
const DEADLINE: Duration = Duration::from_secs(60);

/// Why a generation could not be looked at.
#[derive(Debug, thiserror::Error)]
pub enum PeekError {
    /// A file of ours.
    #[error(transparent)]
    Fs(#[from] FsError),
    /// Nix, or the cache.
    #[error("cannot look at the generation in {from}: {source}")]
    Exec {
        /// Where it is.
        from: Source,
        /// Why.
        source: ExecError,
    },
}

impl PeekError {
    /// The error for people, with its code.
    pub fn failure(&self) -> Failure {
        let code = match self {
            PeekError::Fs(error) => crate::resource::error::fs_code(&error.source),
            PeekError::Exec {
                source: ExecError::Stopped { .. },
                ..
            } => Code::Cancelled,
            PeekError::Exec { .. } => Code::CannotFetch,
        };
        Failure::from_error(code, self)
    }
}

/// What can be seen of a generation.
#[derive(Debug)]
pub struct Peek {
    /// Where it can be read: the store paths are below `/nix/store` as ever.
    pub fs: Fs,
}

/// Copies what is small and near a toplevel.
///
/// # Errors
/// When the cache does not answer, or nothing can be written.
pub fn look(
    host: &Host,
    nix: &StorePath,
    from: &Source,
    graph: &Graph,
    target: &StorePath,
    cancel: &Cancel,
) -> Result<Peek, PeekError> {
    let folder = state_folder(&roots_of(target)).join(FOLDER);
    let store = folder.join("nix/store");
    let own: Vec<&Path> = store.ancestors().collect();
    let below = own.iter().rev().filter(|path| path.starts_with(STATE_DIR));
    for path in below {
        private_dir(&host.fs, path)?;
    }
    for path in near(graph, target) {
        let to = store.join(path.base_name());
        // What is there is whole: a store path never changes, and others may be reading it.
        if host.fs.meta(&to)?.is_none() {
            copy(host, nix, from, &path, &to, cancel)?;
        }
    }
    Ok(Peek {
        fs: Fs::at(host.fs.real(&folder)),
    })
}

/// Copies one path, under another name until it is whole.
fn copy(
    host: &Host,
    nix: &StorePath,
    from: &Source,
    path: &StorePath,
    to: &Path,
    cancel: &Cancel,
) -> Result<(), PeekError> {
    let archive = dump(host, nix, from, path, cancel)?;
    let part = to.with_file_name(format!(
        ".{}.{}",
        path.hash_part(),
        host.clock.moment().millis
    ));
    host.fs.remove_tree(&part)?;
    let text = part.display().to_string();
    let restore = nix_command::command_of(host, nix.as_str(), "nix-store", &["--restore", &text]);
    let restored = host
        .exec
        .run(&restore.stdin(archive).deadline(DEADLINE), cancel);
    restored.map_err(failing(from))?;
    match host.fs.rename(&part, to) {
        // Somebody else was quicker.
        Err(_) if host.fs.meta(to)?.is_some() => Ok(host.fs.remove_tree(&part)?),
        renamed => Ok(renamed?),
    }
}

fn dump(
    host: &Host,
    nix: &StorePath,
    from: &Source,
    path: &StorePath,
    cancel: &Cancel,
) -> Result<Vec<u8>, PeekError> {
    let command = match from {
        Source::Local => {
            let args = ["--dump", path.as_str()];
            nix_command::command_of(host, nix.as_str(), "nix-store", &args)
        }
        Source::Cache(url) => {
            let args = [
                "--extra-experimental-features",
                "nix-command",
                "store",
                "dump-path",
            ];
            let command = nix_command::command_of(host, nix.as_str(), "nix", &args);
            command.args(["--store", url.as_str(), path.as_str()])
        }
    };
    let output = host.exec.run(&command.deadline(DEADLINE), cancel);
    Ok(output.map_err(failing(from))?.stdout)
}

fn failing(from: &Source) -> impl Fn(ExecError) -> PeekError + '_ {
    |source| PeekError::Exec {
        from: from.clone(),
        source,
    }
}

/// The paths to read: breadth first, the small ones, not too far away.
fn near(graph: &Graph, target: &StorePath) -> Vec<StorePath> {
    let mut seen = PathSet::new();
    let mut found = Vec::new();
    let mut level: Vec<_> = graph.id(target).into_iter().collect();
    for depth in 0..=MAX_DEPTH {
        let most = if depth < 2 { MAX_NEAR_BYTES } else { MAX_BYTES };
        let mut next = Vec::new();
        for id in level {
            let small = graph.nar_size(id) <= most;
            if !seen.insert(id) || !small || found.len() >= MAX_PATHS {
                continue;
            }
            found.push(graph.path(id).clone());
            next.extend(graph.references(id).iter().copied());
        }
        level = next;
    }
    found
}

/// Makes entries whose place was not looked into what they would be in the store: a path of which
/// only the name is known. A `sw` too large to be copied is told by what it refers to.
pub fn settle(toplevel: &mut Toplevel, graph: &Graph, sw: Option<&Path>) {
    let sw = sw.map(|target| target.to_string_lossy().into_owned());
    let sw = sw.and_then(|target| Some(StorePath::containing(&target).ok()?.0));
    if let Some(sw) = sw.filter(|sw| !toplevel.scaffold.contains(sw)) {
        let references = graph.id(&sw).map(|id| graph.references(id));
        let packages = references.into_iter().flatten();
        toplevel.packages = packages.map(|id| graph.path(*id).clone()).collect();
        toplevel.scaffold.insert(sw);
    }
    let lists = [&mut toplevel.etc, &mut toplevel.rest];
    for entry in lists.into_iter().flat_map(|list| list.values_mut()) {
        let Content::Link(target) = &entry.content else {
            continue;
        };
        if let Ok((origin, _)) = StorePath::containing(target) {
            *entry = Entry {
                origin: Some(origin),
                content: Content::Opaque(target.clone()),
            };
        }
    }
}

#[cfg(test)]
mod tests {
    use nixctl_planner::closure::PathInfo;

    use super::*;

    fn path(name: &str) -> StorePath {
        StorePath::new(&format!("/nix/store/{}-{name}", "0".repeat(32))).unwrap()
    }

    #[test]
    fn only_what_is_small_and_near_is_read() {
        let mut graph = Graph::new();
        for (name, size, references) in [
            ("top", 10, vec!["etc", "kernel"]),
            ("etc", 10, vec!["units", "top"]),
            ("kernel", MAX_NEAR_BYTES + 1, vec!["modules"]),
            ("modules", 1, vec![]),
            ("units", 1, vec!["unit"]),
            ("unit", 1, vec!["far"]),
            ("far", 1, vec![]),
        ] {
            graph
                .add(&PathInfo {
                    path: path(name),
                    nar_size: size,
                    references: references.into_iter().map(path).collect(),
                    download_size: None,
                })
                .unwrap();
        }
        let near: Vec<String> = near(&graph, &path("top"))
            .iter()
            .map(|p| p.name().to_owned())
            .collect();
        assert_eq!(near, ["top", "etc", "units", "unit"]);
    }

    #[test]
    fn what_was_not_looked_into_is_a_path_all_the_same() {
        let mut toplevel = Toplevel::new(path("top"));
        let link = |target: &str| Entry {
            origin: None,
            content: Content::Link(target.to_owned()),
        };
        let zone = format!("{}/share/zoneinfo", path("tzdata"));
        toplevel.etc.insert("zoneinfo".to_owned(), link(&zone));
        toplevel.etc.insert("mtab".to_owned(), link("/proc/mounts"));
        let sw = path("sw");
        settle(&mut toplevel, &Graph::new(), Some(Path::new(sw.as_str())));
        assert!(toplevel.scaffold.contains(&sw));
        assert_eq!(toplevel.etc["zoneinfo"].origin, Some(path("tzdata")));
        assert_eq!(toplevel.etc["mtab"], link("/proc/mounts"));
    }
}

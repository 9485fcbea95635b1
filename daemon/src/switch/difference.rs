//! How the packages of two generations differ, for people: names, versions, bytes.

use std::path::Path;
use std::time::Duration;

use nixctl_planner::closure::{ClosureDiff, Graph, PackageChange, StorePath, VersionCount, diff};
use nixctl_proto::plan::DiffEntry;
use nixctl_proto::{Code, Failure};

use crate::catalogue::facts::links::{exists, follow};
use crate::host::{Cancel, Fs, FsError, Host};
use crate::switch::{ClosureReader, ReadError, Source};

/// Where a Nix may be, the best one first.
const PLACES: [&str; 3] = [
    "/nix/var/nix/profiles/nixctl",
    "/nix/var/nix/profiles/default",
    "/run/current-system/sw",
];
/// For both closures: they are read from the store, not from a network.
const DEADLINE: Duration = Duration::from_secs(60);

/// Why two generations cannot be compared.
#[derive(Debug, thiserror::Error)]
pub enum DifferenceError {
    /// No Nix to ask.
    #[error("cannot compare {from} and {to}: this machine has no Nix in its store to be asked")]
    NoNix {
        /// The one.
        from: StorePath,
        /// The other.
        to: StorePath,
    },
    /// A store path that is not on this machine.
    #[error("cannot compare {path}: it is not on this machine")]
    NotThere {
        /// The path.
        path: StorePath,
    },
    /// A link on the way to Nix cannot be read.
    #[error(transparent)]
    Fs(#[from] FsError),
    /// A closure cannot be read.
    #[error(transparent)]
    Read(#[from] ReadError),
}

impl DifferenceError {
    /// As clients are told.
    pub fn failure(&self) -> Failure {
        let code = match self {
            DifferenceError::NoNix { .. } => Code::MissingTool,
            DifferenceError::Fs(_) => Code::FileFailed,
            DifferenceError::NotThere { .. } | DifferenceError::Read(ReadError::Missing { .. }) => {
                Code::NotFound
            }
            DifferenceError::Read(_) => Code::CommandFailed,
        };
        let failure = Failure::from_error(code, self);
        match code {
            Code::NotFound => failure.with_help("name generations that are on this machine"),
            _ => failure,
        }
    }
}

/// Compares two store paths that are on this machine.
///
/// # Errors
/// When there is no Nix, or a closure is not there.
pub fn between(
    host: &Host,
    from: &StorePath,
    to: &StorePath,
) -> Result<Vec<DiffEntry>, DifferenceError> {
    for path in [from, to] {
        if host.fs.meta(Path::new(path.as_str()))?.is_none() {
            return Err(DifferenceError::NotThere { path: path.clone() });
        }
    }
    let nix = nix_of(&host.fs)?.ok_or_else(|| DifferenceError::NoNix {
        from: from.clone(),
        to: to.clone(),
    })?;
    let cancel = Cancel::default();
    let reader = ClosureReader::new(host, &nix, &cancel).deadline(DEADLINE);
    let mut graph = Graph::new();
    for path in [from, to] {
        reader.read(&mut graph, &Source::Local, std::slice::from_ref(path))?;
    }
    let old = graph.closure_of([from]).map_err(ReadError::from)?;
    let new = graph.closure_of([to]).map_err(ReadError::from)?;
    Ok(entries(diff(&graph, &old, &new)))
}

/// A comparison as clients see it.
pub fn entries(difference: ClosureDiff) -> Vec<DiffEntry> {
    let entry = |change: PackageChange| DiffEntry {
        bytes: i64::try_from(change.delta()).unwrap_or(i64::MAX),
        name: change.name,
        old: versions(change.old),
        new: versions(change.new),
    };
    difference.packages.into_iter().map(entry).collect()
}

/// Versions, each with the number of its builds where there are more than one.
fn versions(all: Vec<VersionCount>) -> Vec<String> {
    let text = |one: VersionCount| match one.paths {
        0 | 1 => one.version,
        paths => format!("{} x{paths}", one.version).trim_start().to_owned(),
    };
    all.into_iter().map(text).collect()
}

/// Store path of the machine's best Nix, if one is in the store.
fn nix_of(fs: &Fs) -> Result<Option<StorePath>, FsError> {
    for place in PLACES {
        let Some(followed) = follow(fs, &Path::new(place).join("bin/nix"))? else {
            continue;
        };
        let names: Vec<&str> = followed.store_names().collect();
        for name in names.into_iter().rev() {
            let Ok(path) = StorePath::from_base_name(name) else {
                continue;
            };
            if exists(fs, &Path::new(path.as_str()).join("bin/nix"))? {
                return Ok(Some(path));
            }
        }
    }
    Ok(None)
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::symlink;

    use nixctl_planner::closure::PackageChangeKind;

    use super::*;
    use crate::resource::testing::Machine;

    fn path(name: &str) -> StorePath {
        StorePath::from_base_name(&format!("0123456789abcdfghijklmnpqrsvwxyz-{name}")).unwrap()
    }

    #[test]
    fn versions_are_named_and_counted() {
        let count = |version: &str, paths| VersionCount {
            version: version.to_owned(),
            paths,
        };
        let change = PackageChange {
            name: "glibc".to_owned(),
            kind: PackageChangeKind::Changed,
            old: vec![count("2.40", 1), count("2.41", 3)],
            new: vec![count("", 2)],
            removed_bytes: 7,
            added_bytes: 2,
        };
        let difference = ClosureDiff {
            packages: vec![change],
            old_size: 0,
            new_size: 0,
            union_size: 0,
            old_paths: 0,
            new_paths: 0,
            shared_paths: 0,
        };
        let expected = DiffEntry {
            name: "glibc".to_owned(),
            old: vec!["2.40".to_owned(), "2.41 x3".to_owned()],
            new: vec!["x2".to_owned()],
            bytes: -5,
        };
        assert_eq!(entries(difference), [expected]);
    }

    #[test]
    fn what_is_not_there_is_not_compared() {
        let machine = Machine::new();
        let (there, missing) = (path("sys-web-1"), path("sys-web-2"));
        let real = machine.host.fs.real(Path::new(there.as_str()));
        std::fs::create_dir_all(real).unwrap();
        for (to, code) in [(&missing, Code::NotFound), (&there, Code::MissingTool)] {
            let failure = between(&machine.host, &there, to).unwrap_err().failure();
            assert_eq!(failure.code, code);
        }
    }

    #[test]
    fn nix_is_found_through_the_links_of_profiles() {
        let folder = tempfile::tempdir().unwrap();
        let fs = Fs::at(folder.path());
        let at = |path: &str| folder.path().join(path.trim_start_matches('/'));
        assert_eq!(nix_of(&fs).unwrap(), None);
        let nix = path("nix-2.34.8");
        std::fs::create_dir_all(at(nix.as_str()).join("bin")).unwrap();
        std::fs::write(at(nix.as_str()).join("bin/nix"), "").unwrap();
        std::fs::create_dir_all(at("/run/current-system/sw")).unwrap();
        symlink(format!("{nix}/bin"), at("/run/current-system/sw/bin")).unwrap();
        assert_eq!(nix_of(&fs).unwrap(), Some(nix.clone()));

        let own = path("nix-2.26.3");
        let environment = path("user-environment");
        for store in [&own, &environment] {
            std::fs::create_dir_all(at(store.as_str()).join("bin")).unwrap();
        }
        std::fs::write(at(own.as_str()).join("bin/nix"), "").unwrap();
        symlink(
            format!("{own}/bin/nix"),
            at(environment.as_str()).join("bin/nix"),
        )
        .unwrap();
        std::fs::create_dir_all(at("/nix/var/nix/profiles")).unwrap();
        symlink("nixctl-1-link", at("/nix/var/nix/profiles/nixctl")).unwrap();
        symlink(
            environment.as_str(),
            at("/nix/var/nix/profiles/nixctl-1-link"),
        )
        .unwrap();
        assert_eq!(nix_of(&fs).unwrap(), Some(own));
    }
}

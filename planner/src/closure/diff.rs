//! What changes between two closures, by package name: versions that come and go, and bytes.
//!
//! Paths in both closures do not count. A package whose paths change but not its versions was
//! rebuilt, usually because something below it changed.

use std::cmp::Ordering;
use std::collections::{BTreeMap, HashMap};

use serde::{Deserialize, Serialize};

use super::graph::Graph;
use super::name::{compare_versions, parts};
use super::set::PathSet;

/// The difference of two closures.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ClosureDiff {
    /// Packages with paths that differ, by name.
    pub packages: Vec<PackageChange>,
    /// Bytes of the old closure.
    pub old_size: u64,
    /// Bytes of the new closure.
    pub new_size: u64,
    /// Bytes of both together: what an atomic switch needs.
    pub union_size: u64,
    /// Number of paths of the old closure.
    pub old_paths: usize,
    /// Number of paths of the new closure.
    pub new_paths: usize,
    /// Number of paths that are in both.
    pub shared_paths: usize,
}

impl ClosureDiff {
    /// New size less old size.
    pub fn delta(&self) -> i128 {
        i128::from(self.new_size) - i128::from(self.old_size)
    }
}

/// What happens to one package.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct PackageChange {
    /// Name of the package.
    pub name: String,
    /// What happens.
    pub kind: PackageChangeKind,
    /// Its versions in the old closure, ascending; those with paths in both closures too, where
    /// other paths of it change.
    pub old: Vec<VersionCount>,
    /// Its versions in the new closure.
    pub new: Vec<VersionCount>,
    /// Bytes of the paths only the old closure has.
    pub removed_bytes: u64,
    /// Bytes of the paths only the new closure has.
    pub added_bytes: u64,
}

impl PackageChange {
    /// Bytes that come less bytes that go.
    pub fn delta(&self) -> i128 {
        i128::from(self.added_bytes) - i128::from(self.removed_bytes)
    }
}

/// What happens to a package.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum PackageChangeKind {
    /// Only the new closure has it.
    Added,
    /// Only the old closure has it.
    Removed,
    /// Its newest version is newer.
    Upgraded,
    /// Its newest version is older.
    Downgraded,
    /// The set of its versions or outputs changes, the newest one stays.
    Changed,
    /// Other paths, the same versions.
    Rebuilt,
}

/// A version, and how many paths have it (outputs, or builds that differ).
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct VersionCount {
    /// The version; empty when the name has none.
    pub version: String,
    /// Number of paths.
    pub paths: usize,
}

/// Compares two closures of a graph.
pub fn diff(graph: &Graph, old: &PathSet, new: &PathSet) -> ClosureDiff {
    let removed = old.difference(new);
    let added = new.difference(old);
    let mut packages: HashMap<&str, Sides<'_>> = HashMap::new();
    for (set, side) in [(old, Side::Old), (new, Side::New)] {
        for id in set.iter() {
            let (name, version, _) = parts(graph.path(id).name());
            let changes = removed.contains(id) || added.contains(id);
            let sides = packages.entry(name).or_default();
            sides.count(side, version, changes.then(|| graph.nar_size(id)));
        }
    }
    let mut packages: Vec<PackageChange> = packages
        .into_iter()
        .filter(|(_, sides)| sides.changed)
        .map(|(name, sides)| sides.into_change(name))
        .collect();
    packages.sort_unstable_by(|a, b| a.name.cmp(&b.name));
    ClosureDiff {
        packages,
        old_size: graph.size(old),
        new_size: graph.size(new),
        union_size: graph.union_size(old, new),
        old_paths: old.len(),
        new_paths: new.len(),
        shared_paths: old.len() - removed.len(),
    }
}

/// The paths of one package in both closures.
#[derive(Default)]
struct Sides<'a> {
    old: BTreeMap<&'a str, usize>,
    new: BTreeMap<&'a str, usize>,
    removed_bytes: u64,
    added_bytes: u64,
    changed: bool,
}

#[derive(Clone, Copy)]
enum Side {
    Old,
    New,
}

impl<'a> Sides<'a> {
    fn count(&mut self, side: Side, version: &'a str, changed: Option<u64>) {
        let (versions, bytes) = match side {
            Side::Old => (&mut self.old, &mut self.removed_bytes),
            Side::New => (&mut self.new, &mut self.added_bytes),
        };
        *versions.entry(version).or_default() += 1;
        if let Some(size) = changed {
            *bytes += size;
            self.changed = true;
        }
    }

    fn into_change(self, name: &str) -> PackageChange {
        let (old, new) = (ascending(self.old), ascending(self.new));
        PackageChange {
            name: name.to_owned(),
            kind: kind(&old, &new),
            old,
            new,
            removed_bytes: self.removed_bytes,
            added_bytes: self.added_bytes,
        }
    }
}

fn ascending(versions: BTreeMap<&str, usize>) -> Vec<VersionCount> {
    let mut versions: Vec<VersionCount> = versions
        .into_iter()
        .map(|(version, paths)| VersionCount {
            version: version.to_owned(),
            paths,
        })
        .collect();
    versions.sort_by(|a, b| compare_versions(&a.version, &b.version));
    versions
}

fn kind(old: &[VersionCount], new: &[VersionCount]) -> PackageChangeKind {
    let (Some(newest_old), Some(newest_new)) = (old.last(), new.last()) else {
        return if old.is_empty() {
            PackageChangeKind::Added
        } else {
            PackageChangeKind::Removed
        };
    };
    match compare_versions(&newest_old.version, &newest_new.version) {
        Ordering::Less => PackageChangeKind::Upgraded,
        Ordering::Greater => PackageChangeKind::Downgraded,
        Ordering::Equal if old == new => PackageChangeKind::Rebuilt,
        Ordering::Equal => PackageChangeKind::Changed,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::closure::testing::path_of;
    use crate::closure::{PathInfo, StorePath};

    /// `(hash seed, name, size)` of the old and of the new paths.
    fn compared(old: &[(&str, &str, u64)], new: &[(&str, &str, u64)]) -> ClosureDiff {
        let mut graph = Graph::new();
        let mut set = |paths: &[(&str, &str, u64)]| -> PathSet {
            let mut add = |path: StorePath, nar_size| {
                let info = PathInfo {
                    path,
                    nar_size,
                    references: Vec::new(),
                    download_size: None,
                };
                graph.add(&info).unwrap()
            };
            paths
                .iter()
                .map(|(seed, name, size)| add(path_of(&format!("{seed}{name}"), name), *size))
                .collect()
        };
        let (old, new) = (set(old), set(new));
        diff(&graph, &old, &new)
    }

    fn versions(side: &[VersionCount]) -> String {
        side.iter()
            .map(|it| format!("{}x{}", it.version, it.paths))
            .collect::<Vec<_>>()
            .join(" ")
    }

    #[test]
    fn packages_by_what_happens_to_them() {
        use PackageChangeKind::{Added, Changed, Downgraded, Rebuilt, Removed, Upgraded};
        let old = [
            ("1", "glibc-2.39", 30),
            ("1", "redis-7.0", 10),
            ("1", "nano-8.0", 5),
            ("1", "old-thing", 7),
            ("1", "jq-1.7", 2),
            ("1", "ssl-3.0", 4),
            ("1", "ssl-3.0-bin", 1),
            ("1", "same-1", 9),
            ("1", "lib-1.9", 3),
        ];
        let new = [
            ("2", "glibc-2.40", 33),
            ("2", "redis-7.0", 11),
            ("2", "nano-7.9", 5),
            ("2", "new-thing-1", 8),
            ("2", "jq-1.7", 2),
            ("2", "ssl-3.0", 4),
            ("1", "same-1", 9),
            ("1", "lib-1.9", 3),
            ("2", "lib-1.10", 4),
        ];
        let diff = compared(&old, &new);
        let seen: Vec<_> = diff
            .packages
            .iter()
            .map(|it| (&*it.name, it.kind, it.delta()))
            .collect();
        assert_eq!(
            seen,
            [
                ("glibc", Upgraded, 3),
                ("jq", Rebuilt, 0),
                ("lib", Upgraded, 4),
                ("nano", Downgraded, 0),
                ("new-thing", Added, 8),
                ("old-thing", Removed, -7),
                ("redis", Rebuilt, 1),
                ("ssl", Changed, -1),
            ]
        );
        let lib = &diff.packages[2];
        assert_eq!(
            (versions(&lib.old), versions(&lib.new)),
            ("1.9x1".into(), "1.9x1 1.10x1".into())
        );
        assert_eq!((diff.old_size, diff.new_size, diff.delta()), (71, 79, 8));
        assert_eq!(
            (diff.old_paths, diff.new_paths, diff.shared_paths),
            (9, 9, 2)
        );
        assert_eq!(diff.union_size, 71 + 79 - 12);
    }

    #[test]
    fn equal_closures_differ_in_nothing() {
        let paths = [("1", "a-1", 5)];
        let diff = compared(&paths, &paths);
        assert!(diff.packages.is_empty());
        assert_eq!((diff.delta(), diff.union_size), (0, 5));
    }
}

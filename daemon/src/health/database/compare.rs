//! What a copy and the store folder do not have in common.

use std::collections::BTreeSet;
use std::path::Path;

use nixctl_planner::closure::is_store_name;
use serde::{Deserialize, Serialize};

use super::copies;
use super::open::failing;
use super::{DatabaseError, Job, UNREGISTERED};

/// Where store paths lie.
pub(super) const STORE: &str = "/nix/store";
/// Ends of the names of what Nix puts beside store paths while it works.
const NOT_PATHS: [&str; 3] = [".lock", ".chroot", ".check"];
/// Names that are shown of those that are too many.
pub(super) const SHOWN: usize = 20;

/// What a copy and the store folder do not have in common.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Comparison {
    /// Paths that the copy knows and the store has.
    pub common: u64,
    /// Paths in the store that the copy does not know: to be registered again, or Nix will take
    /// them for rubbish. All of them are in [`UNREGISTERED`].
    pub unregistered: u64,
    /// The first of them.
    pub some_unregistered: Vec<String>,
    /// Paths that the copy knows and the store does not have any more.
    pub gone: u64,
    /// The first of them.
    pub some_gone: Vec<String>,
}

impl Job<'_> {
    /// Compares a copy, or the database, with the store folder, and writes down what is not
    /// registered in it.
    pub(super) fn compare(&self, copy: Option<&str>) -> Result<Comparison, DatabaseError> {
        let known = match copy {
            Some(copy) => self.known(&copies::named(self.fs, copy)?.path())?,
            None => self.registered()?,
        };
        let there = self.there()?;
        let unregistered: Vec<&String> = there.difference(&known).collect();
        let gone: Vec<&String> = known.difference(&there).collect();
        self.write_list(UNREGISTERED, &unregistered)?;
        let some = |all: &[&String]| all.iter().take(SHOWN).map(|it| (*it).clone()).collect();
        let number = |all: usize| u64::try_from(all).unwrap_or(u64::MAX);
        Ok(Comparison {
            common: number(known.intersection(&there).count()),
            unregistered: number(unregistered.len()),
            some_unregistered: some(&unregistered),
            gone: number(gone.len()),
            some_gone: some(&gone),
        })
    }

    /// The store paths that the database in the place knows: none when there is none yet.
    pub(super) fn registered(&self) -> Result<BTreeSet<String>, DatabaseError> {
        let database = Path::new(super::DATABASE);
        match self.fs.meta(database)? {
            None => Ok(BTreeSet::new()),
            Some(_) => self.known(database),
        }
    }

    /// The store paths that a database knows.
    pub(super) fn known(&self, path: &Path) -> Result<BTreeSet<String>, DatabaseError> {
        let connection = self.open(path)?;
        self.watched(&connection, "read", path, || {
            let read = || -> rusqlite::Result<BTreeSet<String>> {
                let mut all = connection.prepare("SELECT path FROM ValidPaths")?;
                let rows = all.query_map([], |row| row.get(0))?;
                rows.collect()
            };
            read().map_err(failing("read", path))
        })
    }

    /// Writes store paths, one a line.
    pub(super) fn write_list(&self, list: &str, paths: &[&String]) -> Result<(), DatabaseError> {
        let lines: String = paths.iter().map(|path| format!("{path}\n")).collect();
        Ok(self
            .fs
            .write(Path::new(list), lines.as_bytes(), 0o600, None)?)
    }

    /// The store paths that are in the store folder.
    fn there(&self) -> Result<BTreeSet<String>, DatabaseError> {
        let names = self.fs.list(Path::new(STORE))?;
        let is_path = |name: &&str| {
            is_store_name(name.as_bytes()) && !NOT_PATHS.iter().any(|end| name.ends_with(end))
        };
        let names = names.iter().filter_map(|name| name.to_str());
        let paths = names.filter(is_path).map(|name| format!("{STORE}/{name}"));
        Ok(paths.collect())
    }
}

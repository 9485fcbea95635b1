//! Archives of store paths that are in caches only, fetched to look into them.
//!
//! What was looked for and is not here is wanted, and fetched in rounds: `nix-store --export` gives
//! many archives in one answer, over one connection, and checks each against the hash that the cache
//! itself gave. That keeps damage out, not malice: whether a cache is trusted is Nix's decision when it
//! really fetches. An archive larger than an answer is read as far as the answer goes.

use std::cell::RefCell;
use std::collections::{BTreeMap, BTreeSet, HashMap};

use nixctl_planner::closure::{Graph, StorePath};

use crate::host::exec::STDOUT_LIMIT;
use crate::switch::store::closure::{ClosureReader, ReadError};
use crate::switch::store::locate::Located;
use crate::switch::store::source::Source;
use crate::switch::toplevel::Limits;
use crate::switch::toplevel::nar::{Node, read_export};
use crate::switch::toplevel::tree::{Place, Reach};

/// Bytes of the archives that are asked for at a time: what surely fits into an answer.
const BATCH: u64 = STDOUT_LIMIT as u64 * 3 / 4;

/// Paths asked for at a time: what surely fits into a command line.
const MOST_ASKED: usize = 1000;

/// What an export says of an archive, and of each reference: their lengths.
const AROUND: u64 = 1024;
const REFERENCE: u64 = 300;

static UNREAD: Node = Node::Unread;

/// What is known of the store paths that are not here.
#[derive(Debug)]
pub(in crate::switch) struct Nars<'a> {
    graph: &'a Graph,
    located: &'a Located,
    /// Those that were asked for.
    trees: HashMap<StorePath, Node>,
    /// Those that were looked for in vain.
    wanted: RefCell<BTreeSet<StorePath>>,
    /// Largest file that is kept.
    text: u64,
    /// Bytes that may still be fetched.
    left: u64,
}

impl<'a> Nars<'a> {
    /// For folders all of whose entries are needed.
    pub(super) const TREE: Reach = Reach {
        whole: BATCH,
        within: STDOUT_LIMIT as u64 * 4,
    };

    /// Nothing is known yet.
    pub(super) fn new(graph: &'a Graph, located: &'a Located, limits: Limits) -> Self {
        Nars {
            graph,
            located,
            trees: HashMap::new(),
            wanted: RefCell::default(),
            text: limits.text,
            left: limits.nars,
        }
    }

    /// Whether a store path is in a cache only.
    pub(super) fn is_remote(&self, path: &StorePath) -> bool {
        self.located.cache_of(path).is_some()
    }

    /// What is at a place, links not followed; nothing when there is surely nothing. An archive of at
    /// most `most` bytes is wanted when it is not here.
    pub(super) fn look(&self, place: &Place, most: u64) -> Option<&Node> {
        let Some(mut node) = self.trees.get(&place.store) else {
            if self.size(&place.store) <= most {
                self.wanted.borrow_mut().insert(place.store.clone());
            }
            return Some(&UNREAD);
        };
        for name in place.rest.split('/').filter(|name| !name.is_empty()) {
            node = match node {
                Node::Folder(folder) => match folder.entries.get(name.as_bytes()) {
                    Some(node) => node,
                    None if folder.is_whole => return None,
                    None => return Some(&UNREAD),
                },
                Node::Unread => return Some(&UNREAD),
                Node::File(..) | Node::Link(_) => return None,
            };
        }
        Some(node)
    }

    /// Fetches what is wanted, as far as the limit allows; false when nothing was wanted.
    pub(super) fn fetch(&mut self, closures: &ClosureReader<'_>) -> Result<bool, ReadError> {
        let wanted = self.wanted.take();
        if wanted.is_empty() {
            return Ok(false);
        }
        for (from, paths) in self.batches(wanted) {
            self.fetch_batch(closures, &from, &paths)?;
        }
        Ok(true)
    }

    /// What is asked of whom. What is beyond the limit stays unread.
    fn batches(&mut self, wanted: BTreeSet<StorePath>) -> Vec<(Source, Vec<StorePath>)> {
        let mut by_cache: BTreeMap<String, (Source, Vec<StorePath>)> = BTreeMap::new();
        for path in wanted {
            let Some(from) = self.located.cache_of(&path) else {
                continue;
            };
            let size = self.exported_size(&path);
            self.trees.insert(path.clone(), Node::Unread);
            if let Some(left) = self.left.checked_sub(size) {
                self.left = left;
                let (_, paths) = by_cache
                    .entry(from.to_string())
                    .or_insert_with(|| (from.clone(), Vec::new()));
                paths.push(path);
            }
        }
        let mut batches = Vec::new();
        for (from, paths) in by_cache.into_values() {
            for batch in self.split(paths) {
                batches.push((from.clone(), batch));
            }
        }
        batches
    }

    /// So many at a time as fit into an answer; those that do not fit each by itself.
    fn split(&self, paths: Vec<StorePath>) -> Vec<Vec<StorePath>> {
        let mut batches: Vec<Vec<StorePath>> = Vec::new();
        let mut bytes = u64::MAX;
        for path in paths {
            let more = self.exported_size(&path);
            let sum = bytes.saturating_add(more);
            match batches.last_mut() {
                Some(batch) if sum <= BATCH && batch.len() < MOST_ASKED => {
                    bytes = sum;
                    batch.push(path);
                }
                _ => {
                    bytes = more;
                    batches.push(vec![path]);
                }
            }
        }
        batches
    }

    fn fetch_batch(
        &mut self,
        closures: &ClosureReader<'_>,
        from: &Source,
        paths: &[StorePath],
    ) -> Result<(), ReadError> {
        let command = closures.ask.nix_store(from, "--export");
        let command = command.args(paths.iter().map(StorePath::as_str));
        let stdout = closures.ask.run(from, command)?;
        let answer = |why: String| ReadError::Answer {
            from: from.clone(),
            why,
        };
        // What may be fetched is counted by what the cache says; so it must keep to that.
        let said = paths.iter().map(|path| self.exported_size(path));
        if stdout.len() as u64 > said.fold(0, u64::saturating_add) {
            return Err(answer("an archive is larger than it says".to_owned()));
        }
        let exported = read_export(stdout.as_slice(), self.text)
            .map_err(|error| answer(format!("an archive is damaged: {error}")))?;
        let is_cut = stdout.len() >= STDOUT_LIMIT;
        for one in exported {
            let path = match (&one.path, paths) {
                (Some(path), _) => path.as_str(),
                // The only one that was asked for, cut off before its name.
                (None, [only]) if is_cut => only.as_str(),
                (None, _) if is_cut => continue,
                (None, _) => return Err(answer("an archive is cut off".to_owned())),
            };
            let Some(asked) = paths.iter().find(|asked| asked.as_str() == path) else {
                return Err(answer(format!("an archive of `{path}` was not asked for")));
            };
            let said = self.size(asked);
            if one.path.is_some() && one.size != said {
                let why = format!(
                    "the archive of {path} has {} bytes instead of {said}",
                    one.size
                );
                return Err(answer(why));
            }
            self.trees.insert(asked.clone(), one.node);
        }
        match paths
            .iter()
            .find(|path| self.trees.get(path) == Some(&UNREAD))
        {
            Some(path) if !is_cut => Err(answer(format!("there is no archive of {path}"))),
            _ => Ok(()),
        }
    }

    fn size(&self, path: &StorePath) -> u64 {
        let id = self.graph.id(path);
        id.map_or(u64::MAX, |id| self.graph.nar_size(id))
    }

    fn exported_size(&self, path: &StorePath) -> u64 {
        let references = self.graph.id(path);
        let references = references.map_or(0, |id| self.graph.references(id).len() as u64);
        let around = AROUND + references.saturating_mul(REFERENCE);
        self.size(path).saturating_add(around)
    }
}

#[cfg(test)]
#[path = "nars_tests.rs"]
mod tests;

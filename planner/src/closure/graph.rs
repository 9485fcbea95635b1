//! The graph of store paths: interned, with sizes and references, and the closures over it.

use std::collections::HashMap;

use serde::{Deserialize, Serialize};

use super::path::StorePath;
use super::set::PathSet;

/// What Nix knows of a path.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct PathInfo {
    /// The path.
    pub path: StorePath,
    /// Bytes of its NAR.
    pub nar_size: u64,
    /// Paths it refers to, itself among them when it does.
    pub references: Vec<StorePath>,
    /// Compressed bytes to be fetched, where a binary cache said so.
    pub download_size: Option<u64>,
}

/// Number of a path in its graph.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct PathId(u32);

impl PathId {
    /// The number as an index.
    pub fn index(self) -> usize {
        self.0 as usize
    }

    pub(super) fn from_index(index: usize) -> Self {
        // Graphs refuse to grow beyond this, so nothing is cut off.
        PathId(u32::try_from(index).unwrap_or(u32::MAX))
    }
}

/// Why a graph or a closure could not be made.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ClosureError {
    /// A root that nothing is known of.
    #[error("cannot compute the closure of {path}: nothing is known of it")]
    UnknownRoot {
        /// The root.
        path: StorePath,
    },
    /// A reference that nothing is known of.
    #[error("cannot compute the closure: {referrer} refers to {path}, which is missing")]
    Missing {
        /// The path that is missing.
        path: StorePath,
        /// A path that refers to it.
        referrer: StorePath,
    },
    /// Sizes or numbers beyond what can be counted.
    #[error("cannot add {path} to the graph: {why}")]
    TooBig {
        /// The path that was one too many.
        path: StorePath,
        /// What overflowed.
        why: &'static str,
    },
}

/// What a graph holds of one path; without it only the name is known.
#[derive(Debug, Clone)]
struct Node {
    nar_size: u64,
    download_size: Option<u64>,
    references: Box<[PathId]>,
}

/// Store paths with their sizes and references.
#[derive(Debug, Clone, Default)]
pub struct Graph {
    paths: Vec<StorePath>,
    nodes: Vec<Option<Node>>,
    ids: HashMap<StorePath, PathId>,
    total: u64,
}

impl Graph {
    /// An empty graph.
    pub fn new() -> Self {
        Self::default()
    }

    /// Adds a path. What is known first stays: a path that is in the store already is not fetched,
    /// so what the store says of it counts, whatever a cache says.
    ///
    /// # Errors
    /// [`ClosureError::TooBig`].
    pub fn add(&mut self, info: &PathInfo) -> Result<PathId, ClosureError> {
        let id = self.intern(&info.path)?;
        if self.nodes[id.index()].is_some() {
            return Ok(id);
        }
        // With a total that fits, no sum over a set can overflow later.
        let total = self.total.checked_add(info.nar_size);
        self.total = total.ok_or_else(|| ClosureError::TooBig {
            path: info.path.clone(),
            why: "the sum of all sizes does not fit 64 bits",
        })?;
        let mut references = Vec::with_capacity(info.references.len());
        for reference in &info.references {
            let reference = self.intern(reference)?;
            if reference != id {
                references.push(reference);
            }
        }
        references.sort_unstable();
        references.dedup();
        self.nodes[id.index()] = Some(Node {
            nar_size: info.nar_size,
            download_size: info.download_size,
            references: references.into(),
        });
        Ok(id)
    }

    /// Number of interned paths, those of which only the name is known among them.
    pub fn len(&self) -> usize {
        self.paths.len()
    }

    /// Whether it holds nothing.
    pub fn is_empty(&self) -> bool {
        self.paths.is_empty()
    }

    /// The number of a path, if it was ever named.
    pub fn id(&self, path: &StorePath) -> Option<PathId> {
        self.ids.get(path).copied()
    }

    /// The path with this number.
    pub fn path(&self, id: PathId) -> &StorePath {
        &self.paths[id.index()]
    }

    /// Whether more than the name of a path is known.
    pub fn is_known(&self, path: &StorePath) -> bool {
        self.id(path)
            .is_some_and(|id| self.nodes[id.index()].is_some())
    }

    /// Bytes of a path's NAR; 0 when only its name is known.
    pub fn nar_size(&self, id: PathId) -> u64 {
        self.node(id).map_or(0, |node| node.nar_size)
    }

    /// Compressed bytes of a path, where a cache said so.
    pub fn download_size(&self, id: PathId) -> Option<u64> {
        self.node(id)?.download_size
    }

    /// What a path refers to, itself left out.
    pub fn references(&self, id: PathId) -> &[PathId] {
        self.node(id).map_or(&[], |node| &node.references)
    }

    /// Bytes of all paths of a set.
    pub fn size(&self, set: &PathSet) -> u64 {
        set.iter().map(|id| self.nar_size(id)).sum()
    }

    /// Bytes of what is in either set.
    pub fn union_size(&self, a: &PathSet, b: &PathSet) -> u64 {
        self.size(&a.union(b))
    }

    /// Bytes of what is in the first set and not in the second.
    pub fn difference_size(&self, a: &PathSet, b: &PathSet) -> u64 {
        self.size(&a.difference(b))
    }

    /// The paths of a set, sorted by name.
    pub fn sorted(&self, set: &PathSet) -> Vec<StorePath> {
        let mut paths: Vec<StorePath> = set.iter().map(|id| self.path(id).clone()).collect();
        paths.sort_unstable();
        paths
    }

    /// The roots and everything they refer to, however many references away.
    ///
    /// # Errors
    /// When something is missing: it is named, and who refers to it.
    pub fn closure_of<'a>(
        &self,
        roots: impl IntoIterator<Item = &'a StorePath>,
    ) -> Result<PathSet, ClosureError> {
        let mut ids = Vec::new();
        for root in roots {
            let known = self.id(root).filter(|id| self.node(*id).is_some());
            ids.push(known.ok_or_else(|| ClosureError::UnknownRoot { path: root.clone() })?);
        }
        self.closure_of_ids(ids)
    }

    /// The same by number.
    ///
    /// # Errors
    /// As [`Graph::closure_of`].
    pub fn closure_of_ids(
        &self,
        roots: impl IntoIterator<Item = PathId>,
    ) -> Result<PathSet, ClosureError> {
        let mut closure = PathSet::new();
        let mut open: Vec<PathId> = Vec::new();
        for root in roots {
            if closure.insert(root) {
                open.push(root);
            }
        }
        while let Some(id) = open.pop() {
            let node = self.node(id).ok_or_else(|| ClosureError::UnknownRoot {
                path: self.path(id).clone(),
            })?;
            for reference in &node.references {
                if self.node(*reference).is_none() {
                    return Err(ClosureError::Missing {
                        path: self.path(*reference).clone(),
                        referrer: self.path(id).clone(),
                    });
                }
                if closure.insert(*reference) {
                    open.push(*reference);
                }
            }
        }
        Ok(closure)
    }

    fn node(&self, id: PathId) -> Option<&Node> {
        self.nodes.get(id.index())?.as_ref()
    }

    fn intern(&mut self, path: &StorePath) -> Result<PathId, ClosureError> {
        if let Some(id) = self.ids.get(path) {
            return Ok(*id);
        }
        if self.paths.len() >= u32::MAX as usize {
            return Err(ClosureError::TooBig {
                path: path.clone(),
                why: "it has as many paths as can be numbered",
            });
        }
        let id = PathId::from_index(self.paths.len());
        self.paths.push(path.clone());
        self.nodes.push(None);
        self.ids.insert(path.clone(), id);
        Ok(id)
    }
}

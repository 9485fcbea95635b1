//! Closures that lie in several stores: what is in the machine's own counts, the rest comes from the
//! first cache that has it.
//!
//! A cache that has the closure of all that is missing says so in one answer, for which Nix fetches
//! many narinfo files at a time. Else the references are followed a level at a time, and every level
//! is asked of one store after the other.

use std::collections::{HashMap, HashSet};

use nixctl_planner::closure::{Graph, PathSet, StorePath};

use crate::host::ExecError;
use crate::switch::store::closure::{ClosureReader, MOST_PATHS, ReadError, add};
use crate::switch::store::source::{Source, StoreUrl};
use crate::switch::store::trouble::{NETWORK, says};

/// Roots that fit into one command line with room to spare.
const MOST_ROOTS: usize = 1000;

/// Where the paths of a graph lie.
#[derive(Debug, Clone)]
pub struct Located {
    caches: Vec<Cache>,
    /// The cache of each path that is not in the store.
    remote: HashMap<StorePath, usize>,
}

#[derive(Debug, Clone)]
struct Cache {
    source: Source,
    state: State,
}

/// What is known of a cache.
#[derive(Debug, Clone, PartialEq, Eq)]
enum State {
    /// It is asked for whole closures.
    Whole,
    /// It lacked a part of one, and is asked path by path.
    Parts,
    /// It does not answer.
    Silent,
}

impl Located {
    /// Nothing is located yet; the store and these caches will be asked, in this order.
    pub fn new(caches: impl IntoIterator<Item = StoreUrl>) -> Self {
        let mut seen = HashSet::new();
        let caches = caches.into_iter().map(Source::Cache);
        let caches = caches.filter(|source| seen.insert(source.to_string()));
        Located {
            caches: caches
                .map(|source| Cache {
                    source,
                    state: State::Whole,
                })
                .collect(),
            remote: HashMap::new(),
        }
    }

    /// The cache that a path comes from; nothing when it is in the store or was never located.
    pub fn cache_of(&self, path: &StorePath) -> Option<&Source> {
        let cache = self.caches.get(*self.remote.get(path)?)?;
        Some(&cache.source)
    }

    /// How many paths are not in the store.
    pub fn remote_count(&self) -> usize {
        self.remote.len()
    }

    /// Those who answered.
    fn sources(&self) -> Vec<Source> {
        let answers = |cache: &&Cache| cache.state != State::Silent;
        let caches = self.caches.iter().filter(answers);
        let caches = caches.map(|cache| cache.source.clone());
        std::iter::once(Source::Local).chain(caches).collect()
    }
}

impl ClosureReader<'_> {
    /// The binary caches that Nix is set up with, but for those that may not be asked here.
    ///
    /// # Errors
    /// When Nix does not say.
    pub fn configured(&self) -> Result<Vec<StoreUrl>, ReadError> {
        let stdout = self
            .ask
            .run(&Source::Local, self.ask.setting("substituters"))?;
        let urls = String::from_utf8_lossy(&stdout);
        let urls = urls.split_whitespace().map(StoreUrl::new);
        Ok(urls
            .filter_map(|url| {
                url.inspect_err(|error| tracing::warn!("a binary cache is passed over: {error}"))
                    .ok()
            })
            .collect())
    }

    /// Adds the closure of the roots to the graph, wherever its parts lie. What the graph knows is
    /// not asked for and not located again.
    ///
    /// # Errors
    /// When something is nowhere; a cache that did not answer is named beside it.
    pub fn locate(
        &self,
        graph: &mut Graph,
        located: &mut Located,
        roots: &[StorePath],
    ) -> Result<(), ReadError> {
        for cache in &mut located.caches {
            cache.state = State::Whole;
        }
        let mut silent = None;
        loop {
            let open = unknown(graph, roots);
            if open.is_empty() {
                return Ok(());
            }
            if graph.len() > MOST_PATHS {
                return Err(ReadError::TooMany {
                    from: Source::Local,
                });
            }
            let Some(path) = self.level(graph, located, open, &mut silent)? else {
                continue;
            };
            return Err(ReadError::Nowhere {
                path,
                asked: located.sources(),
                silent: silent.map(Box::new),
            });
        }
    }

    /// Makes all of these known, but for one that is nowhere. `silent` is what a cache that does not
    /// answer said.
    fn level(
        &self,
        graph: &mut Graph,
        located: &mut Located,
        open: Vec<StorePath>,
        silent: &mut Option<ReadError>,
    ) -> Result<Option<StorePath>, ReadError> {
        let mut missing = self.known_to(graph, &Source::Local, open)?;
        for number in 0..located.caches.len() {
            if missing.is_empty() {
                break;
            }
            if located.caches[number].state == State::Silent {
                continue;
            }
            match self.cache(graph, located, number, missing.clone()) {
                Ok(left) => missing = left,
                Err(error) if is_refusal(&error) => {
                    located.caches[number].state = State::Silent;
                    *silent = Some(error);
                }
                Err(error) => return Err(error),
            }
        }
        Ok(missing.into_iter().next())
    }

    /// Asks one cache; what it does not have is left.
    fn cache(
        &self,
        graph: &mut Graph,
        located: &mut Located,
        number: usize,
        missing: Vec<StorePath>,
    ) -> Result<Vec<StorePath>, ReadError> {
        let source = located.caches[number].source.clone();
        let mut asked = missing.clone();
        if located.caches[number].state == State::Whole && missing.len() <= MOST_ROOTS {
            match self.names(&source, &missing) {
                Ok(mut names) => {
                    // Parts of it may be here, and are not to be fetched then.
                    let known: HashSet<&StorePath> = missing.iter().collect();
                    names.retain(|path| !graph.is_known(path) && !known.contains(path));
                    asked.extend(self.known_to(graph, &Source::Local, names)?);
                }
                Err(error) if is_refusal(&error) && !is_silence(&error) => {
                    located.caches[number].state = State::Parts;
                }
                Err(error) => return Err(error),
            }
        }
        let left = self.known_to(graph, &source, asked.clone())?;
        let left: HashSet<StorePath> = left.into_iter().collect();
        let found = asked.into_iter().filter(|path| !left.contains(path));
        located.remote.extend(found.map(|path| (path, number)));
        Ok(missing
            .into_iter()
            .filter(|path| left.contains(path))
            .collect())
    }

    /// Asks one store; what it does not have is left.
    fn known_to(
        &self,
        graph: &mut Graph,
        from: &Source,
        paths: Vec<StorePath>,
    ) -> Result<Vec<StorePath>, ReadError> {
        let mut left = Vec::new();
        self.infos(from, paths, |asked, answers| {
            add(graph, answers)?;
            left.extend(asked.iter().filter(|path| !graph.is_known(path)).cloned());
            Ok(())
        })?;
        Ok(left)
    }
}

/// Whether Nix said no, which for one store of several is not the end.
fn is_refusal(error: &ReadError) -> bool {
    matches!(
        error,
        ReadError::Exec {
            source: ExecError::Failed { .. },
            ..
        }
    )
}

/// Whether a cache does not answer at all, rather than that it lacks something. What was tried again
/// before counts no more.
fn is_silence(error: &ReadError) -> bool {
    let ReadError::Exec {
        from: Source::Cache(_),
        source: ExecError::Failed { stderr, .. },
    } = error
    else {
        return false;
    };
    let mut lines = stderr.lines().rev().map(str::trim);
    lines
        .find(|line| line.starts_with("error:"))
        .is_some_and(|last| says(&NETWORK, last))
}

/// Whether the graph knows all that the roots lead to.
pub(in crate::switch) fn is_whole(graph: &Graph, roots: &[StorePath]) -> bool {
    unknown(graph, roots).is_empty()
}

/// What the roots lead to and the graph knows no more of than its name.
fn unknown(graph: &Graph, roots: &[StorePath]) -> Vec<StorePath> {
    let mut unknown = Vec::new();
    let mut seen = PathSet::new();
    let mut open = Vec::new();
    for root in roots {
        match graph.id(root) {
            Some(id) if seen.insert(id) => open.push(id),
            Some(_) => {}
            None => unknown.push(root.clone()),
        }
    }
    unknown.sort_unstable();
    unknown.dedup();
    while let Some(id) = open.pop() {
        if !graph.is_known(graph.path(id)) {
            unknown.push(graph.path(id).clone());
        }
        open.extend(graph.references(id).iter().filter(|it| seen.insert(**it)));
    }
    unknown
}

#[cfg(test)]
#[path = "locate_tests.rs"]
mod tests;

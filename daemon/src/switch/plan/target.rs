//! Finding the target of a switch: what of it is in the store, which caches have the rest, and what it
//! looks like. Nothing is fetched for it, and nothing is written.

use std::cell::OnceCell;
use std::slice::from_ref;

use nixctl_planner::closure::{Graph, StorePath};
use nixctl_planner::component::{Content, Toplevel};
use nixctl_proto::request::SwitchRequest;
use nixctl_proto::{Code, Failure};

use crate::switch::plan::facts::bad_target;
use crate::switch::store::locate::is_whole;
use crate::switch::toplevel::{Known, read_located_toplevel};
use crate::switch::{ClosureReader, Limits, Located, ReadError, StoreUrl, ToplevelError};

/// Caches that may have parts of the target: the one named, and those of the machine's Nix, which
/// asks them as well when it fetches.
#[derive(Debug)]
pub(super) struct Caches<'a> {
    closures: &'a ClosureReader<'a>,
    named: Option<StoreUrl>,
    configured: OnceCell<Vec<StoreUrl>>,
}

impl<'a> Caches<'a> {
    /// Those of a request.
    pub(super) fn new(closures: &'a ClosureReader<'a>, request: &SwitchRequest) -> Self {
        let named = request.from.as_ref();
        Caches {
            closures,
            named: named.and_then(|from| StoreUrl::new(from).ok()),
            configured: OnceCell::new(),
        }
    }

    /// Those of Nix, which is asked when somebody wants to know.
    fn configured(&self) -> &[StoreUrl] {
        self.configured.get_or_init(|| {
            self.closures.configured().unwrap_or_else(|error| {
                tracing::warn!("only the cache that was named is asked: {error}");
                Vec::new()
            })
        })
    }

    /// All of them, the one that was named first.
    fn all(&self) -> impl Iterator<Item = StoreUrl> {
        self.named.iter().chain(self.configured()).cloned()
    }

    /// Those that what goes can be fetched from again: the one named, else those of Nix.
    pub(super) fn lasting(&self) -> &[StoreUrl] {
        match &self.named {
            Some(named) => from_ref(named),
            None => self.configured(),
        }
    }
}

/// Where the parts of the target lie; its closure is in the graph then.
pub(super) fn locate(
    closures: &ClosureReader<'_>,
    graph: &mut Graph,
    caches: &Caches<'_>,
    target: &StorePath,
) -> Result<Located, Failure> {
    if is_whole(graph, from_ref(target)) {
        return Ok(Located::new([]));
    }
    let mut located = Located::new(caches.all());
    let found = closures.locate(graph, &mut located, from_ref(target));
    found.map_err(|error| unread(target, &error))?;
    Ok(located)
}

/// That the target, or a part of it, cannot be read.
fn unread(target: &StorePath, error: &ReadError) -> Failure {
    let failure = error.failure();
    let why = match failure.code {
        Code::BadTarget => "it is not in the store, and no cache has all of it",
        Code::CacheSilent => "a cache that may have it does not answer",
        Code::CacheDamaged => "a cache gives something else than it promises",
        _ => return failure,
    };
    let text = format!("cannot switch to {target}: {why}");
    Failure::new(failure.code, text).with_cause(failure.message)
}

/// What the target is, and what was seen of its files.
pub(super) fn look<'a>(
    closures: &ClosureReader<'a>,
    graph: &'a Graph,
    located: &'a Located,
    target: &StorePath,
) -> Result<Known<'a>, Failure> {
    let limits = Limits::default();
    let known = read_located_toplevel(closures, graph, located, target, limits);
    let known = known.map_err(|error| match error {
        ToplevelError::Read(error) => unread(target, &error),
        error => bad_target(target.as_str(), &error.to_string()),
    })?;
    match known.toplevel.etc.is_empty() {
        true => Err(bad_target(target.as_str(), "it has no etc/")),
        false => Ok(known),
    }
}

/// What is not known of the units before they are fetched.
pub(super) fn unread_units(toplevel: &Toplevel, located: &Located) -> Option<String> {
    let is_unread = |origin: &StorePath| located.cache_of(origin).is_some();
    let unread = toplevel.unit_entries().filter(|(_, entry)| {
        matches!(entry.content, Content::Opaque(_)) && entry.origin.as_ref().is_some_and(is_unread)
    });
    match unread.count() {
        0 => None,
        count => Some(format!(
            "{count} unit files are in large packages that are not here yet: what happens to these units \
             is decided when they are"
        )),
    }
}

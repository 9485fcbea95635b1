//! Reading a toplevel of which some is in the store and the rest in caches only.
//!
//! What a round of reading finds to be missing is fetched, into memory and a few archives at a time, before the
//! next one; the last round has missed nothing.

use nixctl_planner::closure::{Graph, StorePath};
use nixctl_planner::component::Toplevel;

use crate::host::Fs;
use crate::switch::store::closure::ClosureReader;
use crate::switch::store::locate::Located;
use crate::switch::toplevel::nars::Nars;
use crate::switch::toplevel::tree::{Reach, View};
use crate::switch::toplevel::{Limits, Reader, ToplevelError};

/// Rounds of fetching what the archives of the round before lead to. NixOS needs five.
const ROUNDS: usize = 24;

/// A toplevel with what was fetched of it.
#[derive(Debug)]
pub(in crate::switch) struct Known<'a> {
    /// What it is.
    pub toplevel: Toplevel,
    fs: &'a Fs,
    nars: Nars<'a>,
}

impl Known<'_> {
    /// Its files, wherever they lie. What was not fetched is unread.
    pub fn files(&self) -> View<'_> {
        View {
            fs: self.fs,
            nars: Some(&self.nars),
            reach: Reach::default(),
        }
    }
}

/// Reads a toplevel whose closure was located: what is in the store there, the rest out of archives
/// that the caches have. Large ones are not fetched: a file in one of them counts as opaque, as a
/// large file does. Nothing is written to the store.
///
/// # Errors
/// As [`read_toplevel`], and when a cache does not answer, or with something else than archives.
pub(in crate::switch) fn read_located_toplevel<'a>(
    closures: &ClosureReader<'a>,
    graph: &'a Graph,
    located: &'a Located,
    path: &StorePath,
    limits: Limits,
) -> Result<Known<'a>, ToplevelError> {
    let mut known = Known {
        toplevel: Toplevel::new(path.clone()),
        fs: &closures.ask.host.fs,
        nars: Nars::new(graph, located, limits),
    };
    for _ in 0..ROUNDS {
        let result = Reader::new(known.files(), path, limits).read(graph);
        // Only a round that missed nothing has seen all.
        if !known.nars.fetch(closures)? {
            known.toplevel = result?;
            return Ok(known);
        }
    }
    Err(ToplevelError::TooMuch {
        toplevel: path.clone(),
        limit: format!("{ROUNDS} links from archive to archive"),
    })
}

//! Store paths, their sizes and references, and what a set of them needs: the closures of a switch.
//!
//! A [`Graph`] interns every path once; from then on sets of paths are bit sets ([`PathSet`]) over
//! the interned numbers, so that thousands of closures over a hundred thousand paths stay cheap.
//! Sizes are NAR sizes in bytes, as Nix's database and narinfo give them: they can be known before
//! anything is downloaded. A graph may hold paths of which only the name is known, because
//! something refers to them; a closure that needs one is an error that names it and who refers
//! to it. References that go in a circle are no problem, although Nix makes none.

mod diff;
mod graph;
mod many;
mod name;
mod path;
mod set;

pub use diff::{ClosureDiff, PackageChange, PackageChangeKind, VersionCount, diff};
pub use graph::{ClosureError, Graph, PathId, PathInfo};
pub use name::{PackageName, compare_versions};
pub use path::{BadStorePath, STORE_DIR, StorePath, is_store_name, store_paths_in};
pub use set::PathSet;

#[cfg(test)]
mod graph_tests;
#[cfg(test)]
pub(crate) mod testing;

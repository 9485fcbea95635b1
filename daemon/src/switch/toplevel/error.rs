//! Why a toplevel could not be read.

use nixctl_planner::closure::StorePath;

use crate::host::FsError;
use crate::switch::store::closure::ReadError;

/// Why a toplevel could not be read.
#[derive(Debug, thiserror::Error)]
pub enum ToplevelError {
    /// A file could not be read.
    #[error(transparent)]
    Fs(#[from] FsError),
    /// A cache did not give what it has.
    #[error(transparent)]
    Read(#[from] ReadError),
    /// Links that lead to each other.
    #[error("cannot read {path}: its links lead in a circle")]
    Loop {
        /// The path.
        path: String,
    },
    /// A part that must be a folder in the store.
    #[error("cannot read {path}: {why}")]
    Shape {
        /// The path.
        path: String,
        /// What it is instead.
        why: String,
    },
    /// More than is read of a toplevel.
    #[error("cannot read {toplevel}: it has more than {limit}")]
    TooMuch {
        /// The toplevel.
        toplevel: StorePath,
        /// The limit.
        limit: String,
    },
}

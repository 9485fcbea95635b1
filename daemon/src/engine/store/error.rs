//! Why the database could not be used.

use std::path::PathBuf;

use nixctl_proto::OperationId;

use super::schema;

/// Why the database could not be used.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// sled or the operating system refused.
    #[error("cannot {action} the database {}", path.display())]
    Database {
        /// What was tried.
        action: &'static str,
        /// Where.
        path: PathBuf,
        /// Reason.
        source: sled::Error,
    },
    /// A file beside it.
    #[error("cannot {action} {}", path.display())]
    File {
        /// What was tried.
        action: &'static str,
        /// Where.
        path: PathBuf,
        /// Reason.
        source: std::io::Error,
    },
    /// Another process has it open.
    #[error("cannot open the database {}: another nixctld is using it", path.display())]
    InUse {
        /// Where.
        path: PathBuf,
    },
    /// A value is damaged.
    #[error("cannot read the value of `{key}`: {why}")]
    Damaged {
        /// Key.
        key: String,
        /// Reason.
        why: String,
    },
    /// Made by a newer nixctld.
    #[error(
        "cannot use the database: its schema is {found}, and this nixctld knows {}",
        schema()
    )]
    Newer {
        /// Version found.
        found: u32,
    },
    /// An older nixctld has no words for an operation that it would have to go on with.
    #[error(
        "cannot write the state in schema {schema}: operation {id}, which has not ended, cannot be said in it"
    )]
    Unsayable {
        /// The operation.
        id: OperationId,
        /// The older schema.
        schema: u32,
    },
}

impl StoreError {
    /// Why the operating system refused, if it did (a full or read-only disk, too many open
    /// files): that says nothing of the state of the database.
    pub fn refusal(&self) -> Option<&std::io::Error> {
        let error = match self {
            StoreError::Database {
                source: sled::Error::Io(source),
                ..
            }
            | StoreError::File { source, .. } => source,
            _ => return None,
        };
        Some(error).filter(|error| error.raw_os_error().is_some())
    }
}

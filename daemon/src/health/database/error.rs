//! Why something could not be done with the database.

use std::path::PathBuf;

use nixctl_proto::Code;
use rusqlite::ErrorCode;

use crate::host::FsError;
use crate::payload::PayloadError;

/// Why something could not be done with the database.
#[derive(Debug, thiserror::Error)]
pub enum DatabaseError {
    /// A file.
    #[error(transparent)]
    Fs(#[from] FsError),
    /// SQLite refused.
    #[error("cannot {action} the database {}: {source}", path.display())]
    Sqlite {
        /// What was tried.
        action: &'static str,
        /// The database.
        path: PathBuf,
        /// Reason.
        source: rusqlite::Error,
    },
    /// It is not sound.
    #[error("cannot use the database {}: {why}", path.display())]
    NotSound {
        /// The database.
        path: PathBuf,
        /// What is wrong with it.
        why: String,
    },
    /// The disk has no room for a copy.
    #[error(
        "cannot copy Nix's database: {needed} bytes are needed beside the reserve, {free} are free"
    )]
    NoSpace {
        /// Bytes that the copy takes, and those that must stay free.
        needed: u64,
        /// Bytes that are free.
        free: u64,
    },
    /// Somebody has it open.
    #[error("cannot put a copy into the place of the database {}: Nix is using it", path.display())]
    InUse {
        /// The database.
        path: PathBuf,
    },
    /// There is no such copy.
    #[error("cannot use the copy `{name}` of the database: there is none of that name")]
    NoCopy {
        /// Name as it was given.
        name: String,
    },
    /// The name would lead elsewhere.
    #[error("cannot set the database aside as `{name}`: that is no plain name")]
    BadName {
        /// Name as it was given.
        name: String,
    },
    /// It took too long.
    #[error("cannot {action} the database {}: it takes too long", path.display())]
    Deadline {
        /// What was tried.
        action: &'static str,
        /// The database.
        path: PathBuf,
    },
    /// It was asked to stop.
    #[error("cannot finish the work on the database: it was asked to stop")]
    Stopped,
    /// The report of the child.
    #[error("cannot read how the work on the database ended: {why}")]
    Report {
        /// Reason.
        why: String,
    },
}

impl DatabaseError {
    fn code(&self) -> Code {
        match self {
            DatabaseError::Fs(error) => crate::resource::error::fs_code(&error.source),
            DatabaseError::Sqlite { source, .. } => match source.sqlite_error_code() {
                Some(ErrorCode::DiskFull) => Code::DiskFull,
                Some(ErrorCode::DatabaseBusy | ErrorCode::DatabaseLocked) => Code::Busy,
                Some(ErrorCode::ReadOnly) => Code::ReadOnly,
                _ => Code::FileFailed,
            },
            DatabaseError::NotSound { .. } => Code::Drifted,
            DatabaseError::NoSpace { .. } => Code::NoSpace,
            DatabaseError::InUse { .. } => Code::Busy,
            DatabaseError::NoCopy { .. } => Code::NotFound,
            DatabaseError::BadName { .. } => Code::InvalidArgument,
            DatabaseError::Deadline { .. } => Code::Timeout,
            DatabaseError::Stopped => Code::Cancelled,
            DatabaseError::Report { .. } => Code::Internal,
        }
    }
}

impl From<DatabaseError> for PayloadError {
    fn from(error: DatabaseError) -> PayloadError {
        match error {
            DatabaseError::Stopped => PayloadError::Stopped,
            error => PayloadError::new(error.code(), error.to_string()),
        }
    }
}

//! Why settings cannot be used.

use std::path::PathBuf;

use super::health::POLICY_KEY;
use crate::code::Code;
use crate::failure::Failure;

/// Why settings cannot be read, used or changed.
#[derive(Debug, thiserror::Error)]
pub enum SettingsError {
    /// The operating system refused.
    #[error("cannot read {}: {source}", path.display())]
    Read {
        /// File or folder.
        path: PathBuf,
        /// Reason of the operating system.
        source: std::io::Error,
    },
    /// The file is of a kind, size or owner that is not accepted.
    #[error("cannot use {}: {why}", path.display())]
    Refused {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        why: String,
    },
    /// A line cannot be understood.
    #[error("cannot use {} line {line}: {why}", path.display())]
    Line {
        /// The file.
        path: PathBuf,
        /// Line, from 1.
        line: usize,
        /// What is wrong with it.
        why: String,
    },
    /// A key to be set does not exist.
    #[error("cannot set {key}: {why}")]
    NoSuchKey {
        /// The key as it was given.
        key: String,
        /// That it does not exist, and what may have been meant.
        why: String,
    },
    /// A value to be set is not one for its key.
    #[error("cannot set {key}: {why}")]
    BadValue {
        /// The key.
        key: String,
        /// What is wrong with the value.
        why: String,
    },
}

impl From<SettingsError> for Failure {
    fn from(error: SettingsError) -> Failure {
        let code = match error {
            SettingsError::NoSuchKey { .. } => Code::NotFound,
            SettingsError::BadValue { .. } => Code::InvalidArgument,
            SettingsError::Read { .. }
            | SettingsError::Refused { .. }
            | SettingsError::Line { .. } => Code::BadSettings,
        };
        let failure = Failure::new(code, error.to_string());
        match error {
            SettingsError::NoSuchKey { key, .. } if key.starts_with(POLICY_KEY) => {
                failure.with_help("list the checks with `nixctl check --list`")
            }
            SettingsError::NoSuchKey { .. } => {
                failure.with_help("list the keys with `nixctl config`")
            }
            _ => failure,
        }
    }
}

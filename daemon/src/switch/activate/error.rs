//! Why a generation could not be made the running one.

use std::fmt;

use nixctl_planner::units::DecideError;
use nixctl_proto::{Code, Failure};
use serde::{Deserialize, Serialize};

use crate::host::{FsError, ServiceError};
use crate::resource::error::fs_code;
use crate::switch::error::SwitchError;

/// A unit that is not as it should be, or a phase that did not succeed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct UnitFailure {
    /// The unit, or what else was acted on.
    pub unit: String,
    /// What happened.
    pub why: String,
    /// The last lines of its log.
    pub lines: Vec<String>,
}

impl fmt::Display for UnitFailure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.why.contains(&self.unit) {
            f.write_str(&self.why)
        } else {
            write!(f, "{}: {}", self.unit, self.why)
        }
    }
}

/// Why a generation could not be made the running one.
#[derive(Debug, thiserror::Error)]
pub enum ActivateError {
    /// A file.
    #[error(transparent)]
    Fs(#[from] FsError),
    /// The service manager.
    #[error(transparent)]
    Service(#[from] ServiceError),
    /// The unit files of a generation.
    #[error(transparent)]
    Decide(#[from] DecideError),
    /// The generation cannot be found.
    #[error(transparent)]
    Toplevel(#[from] SwitchError),
    /// Nothing can be started here.
    #[error("cannot activate {toplevel}: this machine has no running service manager")]
    NoManager {
        /// The generation.
        toplevel: String,
    },
    /// Another program is at it.
    #[error("cannot activate {toplevel}: another program is switching this machine")]
    Busy {
        /// The generation.
        toplevel: String,
    },
    /// It was carried out, and something failed.
    #[error("cannot activate {toplevel}: {}", listed(failures))]
    Failed {
        /// The generation.
        toplevel: String,
        /// What failed.
        failures: Vec<UnitFailure>,
    },
    /// What was written down before cannot be understood.
    #[error("internal error: the record of an activation cannot be read: {why}")]
    Record {
        /// What is wrong with it.
        why: String,
    },
    /// The daemon ends; its next start goes on.
    #[error("cannot finish the activation of {toplevel}: it was asked to stop")]
    Stopped {
        /// The generation.
        toplevel: String,
    },
}

fn listed(failures: &[UnitFailure]) -> String {
    let texts: Vec<String> = failures.iter().map(ToString::to_string).collect();
    texts.join("; ")
}

impl ActivateError {
    /// Whether the work ended because it was asked to.
    pub fn is_stopped(&self) -> bool {
        matches!(self, ActivateError::Stopped { .. })
    }

    /// What it waits for, when trying again later may help.
    pub fn waits(&self) -> Option<String> {
        match self {
            ActivateError::Busy { .. } => Some("another program is switching this machine".into()),
            _ => None,
        }
    }

    /// The error for people, with its code; the last lines of each log are the causes.
    pub fn failure(&self) -> Failure {
        let code = match self {
            ActivateError::Fs(error) => fs_code(&error.source),
            ActivateError::Toplevel(error) => error.failure().code,
            ActivateError::Service(ServiceError::Deadline { .. }) => Code::Timeout,
            ActivateError::Service(ServiceError::Unreachable { .. }) => Code::NoServiceManager,
            ActivateError::Busy { .. } => Code::Busy,
            ActivateError::Stopped { .. } => Code::Cancelled,
            ActivateError::Decide(_) => Code::BadTarget,
            ActivateError::Failed { .. } => Code::UnitFailed,
            ActivateError::Service(_)
            | ActivateError::NoManager { .. }
            | ActivateError::Record { .. } => Code::ServiceFailed,
        };
        let mut failure = Failure::from_error(code, self);
        if let ActivateError::Failed { failures, .. } = self {
            for it in failures.iter().filter(|it| !it.lines.is_empty()) {
                let text = format!("log of {}: {}", it.unit, it.lines.join(" | "));
                failure = failure.with_cause(text);
            }
        }
        failure
    }
}

impl From<serde_json::Error> for ActivateError {
    fn from(error: serde_json::Error) -> Self {
        let why = error.to_string();
        ActivateError::Record { why }
    }
}

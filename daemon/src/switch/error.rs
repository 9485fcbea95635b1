//! Why a step of a switch could not be done, and whether waiting may help.
//!
//! Two things end by themselves: a full disk and a lost network. An error that says what it waits for
//! ([`SwitchError::waits`]) lets the operation wait and try again; every other one is a failure.

use nixctl_proto::{Code, Failure};

use crate::host::{ExecError, FsError, ServiceError};
use crate::resource::ResourceError;

/// Result of everything a step of a switch does.
pub type Result<T> = std::result::Result<T, SwitchError>;

/// Why a step of a switch could not be done.
#[derive(Debug, thiserror::Error)]
pub enum SwitchError {
    /// A file.
    #[error(transparent)]
    Fs(#[from] FsError),
    /// A command.
    #[error(transparent)]
    Exec(#[from] ExecError),
    /// A unit, or the service manager.
    #[error(transparent)]
    Service(#[from] ServiceError),
    /// No Nix to do it with.
    #[error("cannot {what}: no Nix was found, neither nixctl's own nor another one")]
    NoNix {
        /// What was to be done.
        what: String,
    },
    /// Nix said no, for a reason of its own.
    #[error("cannot {what}: {why}")]
    Nix {
        /// What was to be done.
        what: String,
        /// What Nix complained of.
        why: String,
    },
    /// The disk is too small for what is to come.
    #[error("cannot {what}: {} more are needed on {place}", Bytes(*lacking))]
    NoSpace {
        /// What was to be done.
        what: String,
        /// Where.
        place: String,
        /// Bytes that are missing; at least one.
        lacking: u64,
    },
    /// A file system is full, and nobody knows by how much.
    #[error("cannot {what}: {place} is full ({})", room(*free_bytes, *free_inodes))]
    Full {
        /// What was to be done.
        what: String,
        /// A folder on it.
        place: String,
        /// Bytes that are free all the same.
        free_bytes: u64,
        /// Inodes that are.
        free_inodes: u64,
    },
    /// A cache or the network does not answer.
    #[error("cannot {what}: {why}")]
    Network {
        /// What was to be done.
        what: String,
        /// What Nix complained of.
        why: String,
    },
    /// Everybody answered, and nobody has it or may be believed.
    #[error("cannot fetch {path}{}: {why}", more(*others))]
    Unavailable {
        /// The first of the store paths.
        path: String,
        /// How many others there are.
        others: usize,
        /// What Nix complained of.
        why: String,
    },
    /// A closure of which a part is not there.
    #[error("cannot {what}: {path} is not in the store")]
    Incomplete {
        /// What was to be done.
        what: String,
        /// The store path that is missing.
        path: String,
    },
    /// What was named is no generation of a system.
    #[error("cannot switch to {target}: {why}")]
    BadTarget {
        /// What was named.
        target: String,
        /// What is wrong with it.
        why: String,
    },
    /// A link of a profile or of the roots that is not as it must be.
    #[error("cannot {what}: {path} {why}")]
    Link {
        /// What was to be done.
        what: String,
        /// The link.
        path: String,
        /// What is wrong with it.
        why: String,
    },
    /// A hybrid that cannot be put together from these parts.
    #[error("cannot compose the hybrid generation {number}: {why}")]
    Compose {
        /// Number of the hybrid.
        number: u32,
        /// Why.
        why: String,
    },
    /// A generation's own program failed: `activate`, or `switch-to-configuration`.
    #[error("cannot carry out `{line}`: it ended with {code}{}", tail(why))]
    Program {
        /// Command line.
        line: String,
        /// Exit code, or 128 plus the signal.
        code: i32,
        /// End of its output.
        why: String,
    },
    /// The work was asked to stop.
    #[error("cannot finish {what}: it was asked to stop")]
    Stopped {
        /// What was being done.
        what: String,
    },
    /// A case that should not be.
    #[error("internal error: {0}")]
    Internal(String),
}

impl SwitchError {
    /// Whether the work ended because it was asked to.
    pub fn is_stopped(&self) -> bool {
        match self {
            SwitchError::Stopped { .. } | SwitchError::Exec(ExecError::Stopped { .. }) => true,
            SwitchError::Fs(error) => error.is_stopped(),
            _ => false,
        }
    }

    /// What has to happen before another try has a chance, for the line of `nixctl status`;
    /// nothing when waiting does not help.
    pub fn waits(&self) -> Option<String> {
        match self {
            SwitchError::NoSpace { place, lacking, .. } => {
                Some(format!("needs {} more on {place}", Bytes(*lacking)))
            }
            SwitchError::Full {
                place,
                free_bytes,
                free_inodes,
                ..
            } => {
                let room = room(*free_bytes, *free_inodes);
                Some(format!("needs space on {place} ({room})"))
            }
            SwitchError::Network { why, .. } => Some(format!("needs the network: {why}")),
            SwitchError::Fs(error) if self.failure().code == Code::DiskFull => {
                Some(format!("needs space for {}", error.path.display()))
            }
            _ => None,
        }
    }

    /// The error for people, with its code.
    pub fn failure(&self) -> Failure {
        let code = match self {
            SwitchError::Fs(error) if error.is_stopped() => Code::Cancelled,
            SwitchError::Fs(error) => crate::resource::error::fs_code(&error.source),
            SwitchError::Exec(ExecError::Missing { .. }) | SwitchError::NoNix { .. } => {
                Code::MissingTool
            }
            SwitchError::Exec(ExecError::Deadline { .. })
            | SwitchError::Service(ServiceError::Deadline { .. }) => Code::Timeout,
            SwitchError::Service(ServiceError::Unreachable { .. }) => Code::NoServiceManager,
            SwitchError::Exec(ExecError::Stopped { .. }) | SwitchError::Stopped { .. } => {
                Code::Cancelled
            }
            SwitchError::Exec(ExecError::Start { .. } | ExecError::Failed { .. })
            | SwitchError::Nix { .. }
            | SwitchError::Compose { .. }
            | SwitchError::Program { .. } => Code::CommandFailed,
            SwitchError::Service(_) => Code::ServiceFailed,
            SwitchError::NoSpace { .. } | SwitchError::Full { .. } => Code::DiskFull,
            SwitchError::Network { .. } | SwitchError::Unavailable { .. } => Code::CannotFetch,
            SwitchError::Incomplete { .. } => Code::Incomplete,
            SwitchError::BadTarget { .. } => Code::BadTarget,
            SwitchError::Link { .. } => Code::FileFailed,
            SwitchError::Internal(_) => Code::Internal,
        };
        Failure::from_error(code, self)
    }
}

impl From<ResourceError> for SwitchError {
    fn from(error: ResourceError) -> Self {
        match error {
            ResourceError::Fs(error) => error.into(),
            ResourceError::Exec(error) => error.into(),
            ResourceError::Service(error) => error.into(),
            ResourceError::Stopped { id } => SwitchError::Stopped { what: id },
            other => SwitchError::Internal(other.to_string()),
        }
    }
}

/// Bytes for people.
struct Bytes(u64);

impl std::fmt::Display for Bytes {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self.0.div_ceil(1 << 20) {
            0 | 1 => write!(f, "{} KiB", self.0.div_ceil(1 << 10)),
            mebibytes => write!(f, "{mebibytes} MiB"),
        }
    }
}

/// What is left of a file system that is full: small change, or bytes without an inode.
fn room(bytes: u64, inodes: u64) -> String {
    match inodes {
        0 => "no inode free".to_owned(),
        _ => format!("{bytes} bytes free"),
    }
}

fn more(others: usize) -> String {
    match others {
        0 => String::new(),
        others => format!(" and {others} others"),
    }
}

fn tail(text: &str) -> String {
    match text.trim() {
        "" => String::new(),
        text => format!(": {text}"),
    }
}

#[cfg(test)]
mod tests {
    use std::io;

    use super::*;

    fn file(kind: io::ErrorKind) -> SwitchError {
        SwitchError::Fs(FsError {
            action: "write",
            path: "/nix/x".into(),
            source: kind.into(),
        })
    }

    #[test]
    fn only_space_and_network_are_waited_for() {
        let what = || "fetch it".to_owned();
        let why = || "because".to_owned();
        let no_space = SwitchError::NoSpace {
            what: what(),
            place: "/nix".to_owned(),
            lacking: 83 << 20,
        };
        assert_eq!(
            no_space.waits().as_deref(),
            Some("needs 83 MiB more on /nix")
        );
        let full = |free_inodes| SwitchError::Full {
            what: what(),
            place: "/nix/store".to_owned(),
            free_bytes: 512,
            free_inodes,
        };
        for (inodes, room) in [(7, "512 bytes free"), (0, "no inode free")] {
            let waits = full(inodes).waits().unwrap();
            assert_eq!(waits, format!("needs space on /nix/store ({room})"));
            let text = format!("cannot fetch it: /nix/store is full ({room})");
            assert_eq!(full(inodes).to_string(), text);
        }
        let network = SwitchError::Network {
            what: what(),
            why: why(),
        };
        assert_eq!(
            network.waits().as_deref(),
            Some("needs the network: because")
        );
        assert!(file(io::ErrorKind::StorageFull).waits().is_some());
        for error in [
            file(io::ErrorKind::PermissionDenied),
            SwitchError::Nix {
                what: what(),
                why: why(),
            },
            SwitchError::Stopped { what: what() },
        ] {
            assert_eq!(error.waits(), None, "{error}");
        }
    }

    #[test]
    fn stops_and_codes() {
        let stopped = SwitchError::Exec(ExecError::Stopped {
            line: "x".to_owned(),
        });
        assert!(stopped.is_stopped() && file(io::ErrorKind::Interrupted).is_stopped());
        assert_eq!(stopped.failure().code, Code::Cancelled);
        assert!(!file(io::ErrorKind::NotFound).is_stopped());
    }

    #[test]
    fn bytes_are_rounded_up() {
        for (bytes, text) in [
            (1, "1 KiB"),
            (1 << 20, "1024 KiB"),
            ((1 << 20) + 1, "2 MiB"),
        ] {
            assert_eq!(Bytes(bytes).to_string(), text);
        }
    }
}

//! Why a resource could not be read, made or taken away.

use nixctl_proto::{Code, Failure};

use crate::host::accounts::AccountsError;
use crate::host::{ExecError, FsError, ServiceError};
use crate::payload::PayloadError;

/// Why a resource could not be read, made or taken away.
#[derive(Debug, thiserror::Error)]
pub enum ResourceError {
    /// A file.
    #[error(transparent)]
    Fs(#[from] FsError),
    /// A command.
    #[error(transparent)]
    Exec(#[from] ExecError),
    /// A unit.
    #[error(transparent)]
    Service(#[from] ServiceError),
    /// A download or an archive.
    #[error(transparent)]
    Payload(#[from] PayloadError),
    /// Read back and not as it should be.
    #[error("cannot confirm {id}: {seen}")]
    Drifted {
        /// Resource.
        id: String,
        /// What was seen, and what was expected.
        seen: String,
    },
    /// Something that is not ours is in the place.
    #[error("cannot take the place of {id}: {seen}")]
    Foreign {
        /// Resource.
        id: String,
        /// What is there.
        seen: String,
    },
    /// A tool is missing.
    #[error("cannot {what}: none of {tools} is installed")]
    MissingTool {
        /// What was to be done.
        what: String,
        /// The tools that could have done it.
        tools: String,
    },
    /// Nix was installed and does not work.
    #[error("cannot {what}: {why}")]
    SelfTest {
        /// What was tried, and as whom.
        what: String,
        /// What came of it, with the end of the output.
        why: String,
    },
    /// A store path is missing or damaged, and Nix could not fetch it again.
    #[error("cannot repair {path}: {why}; {roots}")]
    Unrepaired {
        /// Store path.
        path: String,
        /// What Nix said.
        why: String,
        /// What needs it, in words.
        roots: String,
    },
    /// The release of Nix could not be had again.
    #[error("cannot fetch Nix {version} again: {}", in_words(.attempts))]
    NotFetched {
        /// Version of Nix.
        version: String,
        /// Every way that was tried, in this order.
        attempts: Vec<Attempt>,
    },
    /// Nix's database could not be put back together.
    #[error("cannot put Nix's database back together: {why}")]
    Database {
        /// Reason.
        why: String,
    },
    /// Builds went on for longer than they had.
    #[error("cannot replace Nix: {running} of its connections are still at work after {seconds} s")]
    BuildsRunning {
        /// Connections of nix-daemon.
        running: usize,
        /// Seconds that they had.
        seconds: u64,
    },
    /// A version of Nix does not read the database that is there.
    #[error(
        "cannot use Nix {version}: its databases have the schema {reads}, and the one that is there has {found}"
    )]
    SchemaNewer {
        /// The version.
        version: String,
        /// The newest schema that it reads.
        reads: u32,
        /// The schema of the database.
        found: u32,
    },
    /// The same, and no copy is left to go back to.
    #[error(
        "cannot go back to Nix {version}: it reads databases up to the schema {reads}, the one that is there has {found}, and no copy from before that change was kept"
    )]
    NoOlderCopy {
        /// The version.
        version: String,
        /// The newest schema that it reads.
        reads: u32,
        /// The schema of the database.
        found: u32,
    },
    /// The fleet has not given this machine its turn.
    #[error("it is not this machine's turn: {why}")]
    NotItsTurn {
        /// What its server says, or that it is away.
        why: String,
    },
    /// The work was asked to stop.
    #[error("cannot finish {id}: it was asked to stop")]
    Stopped {
        /// Resource.
        id: String,
    },
}

/// A way that was tried in vain.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Attempt {
    /// From where, or with what.
    pub how: String,
    /// Why it did not come off.
    pub why: String,
    /// The same as a code.
    pub code: Code,
}

impl std::fmt::Display for Attempt {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}: {}", self.how, self.why)
    }
}

fn in_words(attempts: &[Attempt]) -> String {
    if attempts.is_empty() {
        return "nobody is known who has it".to_owned();
    }
    let lines: Vec<String> = attempts.iter().map(Attempt::to_string).collect();
    lines.join("; ")
}

impl ResourceError {
    /// Whether the work ended because it was asked to.
    pub fn is_stopped(&self) -> bool {
        match self {
            ResourceError::Stopped { .. } | ResourceError::Exec(ExecError::Stopped { .. }) => true,
            ResourceError::Fs(error) => error.is_stopped(),
            ResourceError::Payload(error) => error.is_stopped(),
            _ => false,
        }
    }

    /// The error for people, with its code.
    pub fn failure(&self) -> Failure {
        if let ResourceError::Payload(error) = self {
            return error.failure();
        }
        let code = match self {
            ResourceError::Fs(error) if error.is_stopped() => Code::Cancelled,
            ResourceError::Fs(error) => fs_code(&error.source),
            ResourceError::Exec(ExecError::Missing { .. }) | ResourceError::MissingTool { .. } => {
                Code::MissingTool
            }
            ResourceError::Exec(ExecError::Deadline { .. })
            | ResourceError::Service(ServiceError::Deadline { .. }) => Code::Timeout,
            ResourceError::Service(ServiceError::Unreachable { .. }) => Code::NoServiceManager,
            ResourceError::Exec(ExecError::Stopped { .. }) | ResourceError::Stopped { .. } => {
                Code::Cancelled
            }
            ResourceError::Exec(ExecError::Start { .. } | ExecError::Failed { .. })
            | ResourceError::Unrepaired { .. }
            | ResourceError::Database { .. } => Code::CommandFailed,
            ResourceError::NotFetched { attempts, .. } => {
                attempts.first().map_or(Code::BadSource, |it| it.code)
            }
            ResourceError::Service(_) => Code::ServiceFailed,
            ResourceError::Payload(error) => error.code(),
            ResourceError::SelfTest { .. } => Code::SelfTestFailed,
            ResourceError::BuildsRunning { .. } => Code::BuildsRunning,
            ResourceError::NotItsTurn { .. } => Code::Busy,
            ResourceError::SchemaNewer { .. } | ResourceError::NoOlderCopy { .. } => {
                Code::SchemaNewer
            }
            ResourceError::Drifted { .. } => Code::Drifted,
            ResourceError::Foreign { .. } => Code::Leftovers,
        };
        Failure::from_error(code, self)
    }
}

impl From<AccountsError> for ResourceError {
    fn from(error: AccountsError) -> Self {
        match error {
            AccountsError::Fs(error) => error.into(),
            AccountsError::Exec(error) => error.into(),
        }
    }
}

/// Code for an error of the operating system on a file.
pub fn fs_code(error: &std::io::Error) -> Code {
    match error.kind() {
        std::io::ErrorKind::StorageFull | std::io::ErrorKind::QuotaExceeded => Code::DiskFull,
        std::io::ErrorKind::ReadOnlyFilesystem => Code::ReadOnly,
        _ => Code::FileFailed,
    }
}

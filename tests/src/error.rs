//! The lab's one error type: what could not be done, and why, in one sentence.

use std::time::Duration;

/// Result of every lab function.
pub type Result<T> = std::result::Result<T, Error>;

/// Why the lab could not do something.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// Anything that failed, said in the form "cannot <do what>: <why>".
    #[error("cannot {what}: {why}")]
    Failed {
        /// What was attempted, as a verb with its object.
        what: String,
        /// The reason, usually of the operating system or of a command.
        why: String,
    },
    /// A command ended with a failure where success was needed.
    #[error("`{command}` failed with status {status}:\n{output}")]
    Command {
        /// The command line, shortened for reading.
        command: String,
        /// Exit status, or 128 + the signal's number.
        status: i32,
        /// The end of what it printed.
        output: String,
    },
    /// A command or a wait took too long; what it had started was killed.
    #[error("{what} took longer than {} s\n{output}", deadline.as_secs_f32())]
    Timeout {
        /// What was waited for.
        what: String,
        /// The time it was given.
        deadline: Duration,
        /// The end of what was printed until then.
        output: String,
    },
}

impl Error {
    /// An error that reads "cannot WHAT: WHY".
    pub fn new(what: impl Into<String>, why: impl std::fmt::Display) -> Self {
        Self::Failed {
            what: what.into(),
            why: why.to_string(),
        }
    }
}

/// Adds "cannot WHAT" to an error of the operating system.
pub trait Context<T> {
    /// Says what was attempted; the text is made only when it failed.
    fn context<S: Into<String>>(self, what: impl FnOnce() -> S) -> Result<T>;
}

impl<T, E: std::fmt::Display> Context<T> for std::result::Result<T, E> {
    fn context<S: Into<String>>(self, what: impl FnOnce() -> S) -> Result<T> {
        self.map_err(|why| Error::new(what(), why))
    }
}

//! External commands, each under a deadline, in a process group of its own, with a clean
//! environment and bounded output.

mod pipe;
mod process;
mod system;

use std::fmt::Debug;
use std::path::PathBuf;
use std::time::Duration;

use super::cancel::Cancel;
pub use system::{LeashedExec, SystemExec};

/// Bytes kept of standard output; the rest is read and dropped. An output of this length is one that
/// may have been cut off.
pub const STDOUT_LIMIT: usize = 16 << 20;

/// Characters at the end of standard error that an error shows.
const STDERR_SHOWN: usize = 2000;

/// A command to run. Nothing of the daemon's environment reaches it but `PATH` and `LANG=C`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Command {
    /// Program: a name looked up in the usual folders, or an absolute path.
    pub program: String,
    /// Arguments after the program's name.
    pub args: Vec<String>,
    /// Variables added to the clean environment.
    pub env: Vec<(String, String)>,
    /// Bytes for standard input; empty means /dev/null.
    pub stdin: Vec<u8>,
    /// User and group to run as, instead of the daemon's own.
    pub run_as: Option<(u32, u32)>,
    /// Time after which the whole process group is killed.
    pub deadline: Duration,
}

impl Command {
    /// A command with a deadline of 30 seconds.
    pub fn new(program: impl Into<String>) -> Self {
        Command {
            program: program.into(),
            args: Vec::new(),
            env: Vec::new(),
            stdin: Vec::new(),
            run_as: None,
            deadline: Duration::from_secs(30),
        }
    }

    /// Adds one argument.
    pub fn arg(mut self, arg: impl Into<String>) -> Self {
        self.args.push(arg.into());
        self
    }

    /// Adds arguments.
    pub fn args<S: Into<String>>(mut self, args: impl IntoIterator<Item = S>) -> Self {
        self.args.extend(args.into_iter().map(Into::into));
        self
    }

    /// Adds a variable.
    pub fn env(mut self, name: impl Into<String>, value: impl Into<String>) -> Self {
        self.env.push((name.into(), value.into()));
        self
    }

    /// Sets standard input.
    pub fn stdin(mut self, bytes: impl Into<Vec<u8>>) -> Self {
        self.stdin = bytes.into();
        self
    }

    /// Sets the deadline.
    pub fn deadline(mut self, deadline: Duration) -> Self {
        self.deadline = deadline;
        self
    }

    /// Runs it as another user.
    pub fn run_as(mut self, uid: u32, gid: u32) -> Self {
        self.run_as = Some((uid, gid));
        self
    }

    /// The command as a person would type it, for messages.
    pub fn line(&self) -> String {
        std::iter::once(&self.program)
            .chain(&self.args)
            .cloned()
            .collect::<Vec<_>>()
            .join(" ")
    }
}

/// What a command left behind.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Output {
    /// Exit code, or 128 plus the signal that ended it.
    pub code: i32,
    /// Standard output, at most [`STDOUT_LIMIT`].
    pub stdout: Vec<u8>,
    /// Standard error, at most 1 MiB.
    pub stderr: Vec<u8>,
}

impl Output {
    /// Standard output as text, damaged characters replaced, white space trimmed at the end.
    pub fn text(&self) -> String {
        String::from_utf8_lossy(&self.stdout).trim_end().to_owned()
    }

    /// Takes a code other than 0 for an error of `command`.
    ///
    /// # Errors
    /// [`ExecError::Failed`].
    pub fn success(&self, command: &Command) -> Result<(), ExecError> {
        if self.code == 0 {
            return Ok(());
        }
        let stderr = String::from_utf8_lossy(&self.stderr);
        let start = stderr
            .char_indices()
            .rev()
            .nth(STDERR_SHOWN)
            .map_or(0, |(at, _)| at);
        Err(ExecError::Failed {
            line: command.line(),
            code: self.code,
            stderr: stderr.get(start..).unwrap_or_default().to_owned(),
        })
    }
}

/// Why a command did not do its work.
#[derive(Debug, thiserror::Error)]
pub enum ExecError {
    /// No such program.
    #[error("cannot run `{program}`: it is not installed")]
    Missing {
        /// Program that was looked for.
        program: String,
    },
    /// The operating system would not start it.
    #[error("cannot start `{line}`")]
    Start {
        /// Command line.
        line: String,
        /// Reason of the operating system.
        source: std::io::Error,
    },
    /// The deadline passed; the process group was killed.
    #[error("cannot finish `{line}`: it did not end within {} s", deadline.as_secs())]
    Deadline {
        /// Command line.
        line: String,
        /// The deadline.
        deadline: Duration,
    },
    /// The work was asked to stop; the process group was killed.
    #[error("cannot finish `{line}`: it was asked to stop")]
    Stopped {
        /// Command line.
        line: String,
    },
    /// It ended with a code other than 0.
    #[error("cannot carry out `{line}`: it ended with {code}{}", tail(stderr))]
    Failed {
        /// Command line.
        line: String,
        /// Exit code, or 128 plus the signal.
        code: i32,
        /// End of its standard error.
        stderr: String,
    },
}

fn tail(stderr: &str) -> String {
    let text = stderr.trim();
    if text.is_empty() {
        String::new()
    } else {
        format!(": {text}")
    }
}

/// Runs commands.
pub trait Exec: Send + Sync + Debug {
    /// Runs it to its end. A code other than 0 is an output, not an error.
    ///
    /// # Errors
    /// When it could not be started, passed its deadline or was asked to stop.
    fn output(&self, command: &Command, cancel: &Cancel) -> Result<Output, ExecError>;

    /// As [`Exec::output`], but hands over what it says on standard error as it comes, however
    /// much that is; the output has none of it.
    ///
    /// # Errors
    /// As [`Exec::output`].
    fn follow(
        &self,
        command: &Command,
        cancel: &Cancel,
        said: &mut dyn FnMut(&[u8]),
    ) -> Result<Output, ExecError> {
        let mut output = self.output(command, cancel)?;
        said(&std::mem::take(&mut output.stderr));
        Ok(output)
    }

    /// Where a program is, if it is installed.
    fn find(&self, program: &str) -> Option<PathBuf>;
}

impl dyn Exec {
    /// Runs it to its end; a code other than 0 is an error.
    ///
    /// # Errors
    /// As [`Exec::output`], and [`ExecError::Failed`].
    pub fn run(&self, command: &Command, cancel: &Cancel) -> Result<Output, ExecError> {
        let output = self.output(command, cancel)?;
        output.success(command).map(|()| output)
    }
}

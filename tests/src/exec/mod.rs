//! Running commands with a deadline: the only place of the lab that starts processes.
//!
//! A [`Run`] is a command line with environment, input and deadline. A run that is late is killed
//! with everything below it, by process id. Output is collected by threads, and a daemon that keeps
//! the pipe open cannot hold the caller for longer than a moment after the command itself ended.

mod background;

use std::ffi::{OsStr, OsString};
use std::io::Write;
use std::os::unix::process::{CommandExt, ExitStatusExt};
use std::path::PathBuf;
use std::process::{Command, ExitStatus, Stdio};
use std::sync::LazyLock;
use std::time::{Duration, Instant};

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

pub use background::Background;

use crate::error::{Context, Error, Result};

/// Deadline of a run that names none.
pub const DEADLINE: Duration = Duration::from_secs(60);
/// How often a running command is looked at.
const TICK: Duration = Duration::from_millis(2);
/// Where root's tools are, which the search path of a user may lack.
const SYSTEM_FOLDERS: [&str; 2] = ["/usr/sbin", "/sbin"];
/// The search path of every command on the host.
static SEARCH_PATH: LazyLock<OsString> = LazyLock::new(|| {
    search_path(&std::env::var_os("PATH").unwrap_or_else(|| "/usr/bin:/bin".into()))
});
/// How much output an error message quotes.
const QUOTE: usize = 4000;

/// What a finished command left.
#[derive(Clone)]
pub struct Output {
    /// Exit status, or 128 + the number of the signal that ended it.
    pub status: i32,
    /// Standard output, invalid UTF-8 replaced.
    pub stdout: String,
    /// Standard error, invalid UTF-8 replaced.
    pub stderr: String,
    /// Wall-clock time it took.
    pub took: Duration,
    /// Standard output as it was.
    pub bytes: Vec<u8>,
    command: String,
}

impl std::fmt::Debug for Output {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        writeln!(
            f,
            "`{}` ended with {} after {:?}",
            self.command, self.status, self.took
        )?;
        writeln!(f, "stdout: {}", self.stdout.trim_end())?;
        write!(f, "stderr: {}", self.stderr.trim_end())
    }
}

impl Output {
    /// True when the status is 0.
    #[must_use]
    pub fn success(&self) -> bool {
        self.status == 0
    }

    /// Turns a failure into an error that quotes the output.
    pub fn ok(self) -> Result<Self> {
        if self.success() {
            return Ok(self);
        }
        let output = tail(&format!("{}{}", self.stdout, self.stderr));
        Err(Error::Command {
            command: self.command,
            status: self.status,
            output,
        })
    }

    /// Standard output without white space around it.
    #[must_use]
    pub fn text(&self) -> &str {
        self.stdout.trim()
    }
}

/// A command line that is about to run.
#[derive(Debug)]
pub struct Run {
    command: Command,
    label: String,
    input: Vec<u8>,
    deadline: Duration,
}

impl Run {
    /// The command `argv[0]` with its arguments, in a session of its own, without input.
    pub fn new<S: AsRef<str>>(argv: &[S]) -> Self {
        let mut words = argv.iter().map(AsRef::as_ref);
        let mut command = Command::new(words.next().unwrap_or("true"));
        command.args(words);
        command.process_group(0);
        // Programs of the system are found, and speak one language, whoever runs the lab.
        command.env("PATH", &*SEARCH_PATH).env("LC_ALL", "C");
        let label = argv.iter().map(AsRef::as_ref).collect::<Vec<_>>().join(" ");
        Self {
            command,
            label: shorten(&label),
            input: Vec::new(),
            deadline: DEADLINE,
        }
    }

    /// The words that error messages show instead of the command line.
    #[must_use]
    pub fn label(mut self, label: &str) -> Self {
        self.label = shorten(label);
        self
    }

    /// Sets one environment variable.
    #[must_use]
    pub fn env(mut self, name: &str, value: &str) -> Self {
        self.command.env(name, value);
        self
    }

    /// Starts from an empty environment.
    #[must_use]
    pub fn clean_env(mut self) -> Self {
        self.command.env_clear();
        self
    }

    /// Runs in this folder.
    #[must_use]
    pub fn in_dir(mut self, dir: &std::path::Path) -> Self {
        self.command.current_dir(dir);
        self
    }

    /// Gives these bytes as standard input.
    #[must_use]
    pub fn input(mut self, bytes: impl Into<Vec<u8>>) -> Self {
        self.input = bytes.into();
        self
    }

    /// Sets the deadline.
    #[must_use]
    pub fn deadline(mut self, deadline: Duration) -> Self {
        self.deadline = deadline;
        self
    }

    /// Runs to the end. A status other than 0 is no error here (see [`Output::ok`]); being late is.
    pub fn run(self) -> Result<Output> {
        let (deadline, input) = (self.deadline, self.input.clone());
        let mut background = self.spawn()?;
        if let Some(mut pipe) = background.take_input() {
            // A thread, since a command that does not read must not keep us from its deadline.
            std::thread::spawn(move || pipe.write_all(&input));
        }
        background.wait(deadline)
    }

    /// Starts the command and returns at once; its input stays open.
    pub fn spawn(mut self) -> Result<Background> {
        let started = Instant::now();
        let child = self
            .command
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .context(|| format!("start `{}`", self.label))?;
        Ok(Background::new(child, self.label, started))
    }

    /// Runs with the caller's own terminal, for a person; returns the exit status.
    pub fn interactive(mut self) -> Result<i32> {
        self.command.process_group(nix::unistd::getpgrp().as_raw());
        let status = self
            .command
            .status()
            .context(|| format!("start `{}`", self.label))?;
        Ok(code(status))
    }
}

/// Kills a process and its descendants with SIGKILL, parents first so that none is replaced.
pub fn kill_tree(root: u32) {
    let mut todo = vec![root];
    while let Some(next) = todo.pop() {
        let _ = kill(pid(next), Signal::SIGSTOP);
        todo.extend(children(next));
        let _ = kill(pid(next), Signal::SIGKILL);
    }
}

/// A search path with root's folders at its end; what it had comes first.
fn search_path(given: &OsStr) -> OsString {
    let folders = std::env::split_paths(given).chain(SYSTEM_FOLDERS.map(PathBuf::from));
    std::env::join_paths(folders).unwrap_or_else(|_| given.to_owned())
}

/// The children of a process, of all its threads.
#[must_use]
pub fn children(of: u32) -> Vec<u32> {
    let Ok(threads) = std::fs::read_dir(format!("/proc/{of}/task")) else {
        return Vec::new();
    };
    threads
        .flatten()
        .filter_map(|thread| std::fs::read_to_string(thread.path().join("children")).ok())
        .flat_map(|list| {
            list.split(' ')
                .filter_map(|id| id.parse().ok())
                .collect::<Vec<_>>()
        })
        .collect()
}

fn pid(id: u32) -> Pid {
    Pid::from_raw(i32::try_from(id).unwrap_or(i32::MAX))
}

fn code(status: ExitStatus) -> i32 {
    status
        .code()
        .or_else(|| status.signal().map(|signal| 128 + signal))
        .unwrap_or(-1)
}

fn shorten(text: &str) -> String {
    let line = text.replace('\n', " ");
    if line.len() <= 200 {
        line
    } else {
        format!("{}...", line.chars().take(200).collect::<String>())
    }
}

fn tail(text: &str) -> String {
    let skip = text.chars().count().saturating_sub(QUOTE);
    text.chars().skip(skip).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn status_and_both_streams_are_kept() {
        let output = Run::new(&["sh", "-c", "cat; echo err >&2; exit 3"])
            .input("in")
            .run()
            .unwrap();
        assert_eq!(
            (output.status, output.text(), output.stderr.as_str()),
            (3, "in", "err\n")
        );
        assert!(output.ok().is_err());
    }

    #[test]
    fn a_late_command_is_killed_with_its_children() {
        let script = "sleep 61 & echo $!; wait";
        let error = Run::new(&["sh", "-c", script])
            .deadline(Duration::from_millis(200))
            .run()
            .unwrap_err();
        let Error::Timeout { output, .. } = error else {
            panic!("{error}")
        };
        let stat = format!("/proc/{}/stat", output.trim());
        let until = Instant::now() + Duration::from_secs(2);
        while std::fs::read_to_string(&stat).is_ok_and(|stat| !stat.contains(" Z ")) {
            assert!(Instant::now() < until, "the sleep still runs");
            std::thread::sleep(TICK);
        }
    }

    #[test]
    fn roots_tools_are_found_whatever_the_path_is() {
        assert_eq!(search_path("/bin".as_ref()), "/bin:/usr/sbin:/sbin");
        let chroot = Run::new(&["sh", "-c", "echo $LC_ALL; command -v chroot"]);
        let output = chroot.run().unwrap().ok().unwrap();
        assert!(output.text().starts_with("C\n/"), "{output:?}");
    }

    #[test]
    fn a_daemon_that_keeps_the_pipe_does_not_hold_the_caller() {
        let output = Run::new(&["sh", "-c", "sleep 5 & echo started"])
            .run()
            .unwrap();
        assert_eq!(output.text(), "started");
        assert!(output.took < Duration::from_secs(2));
    }
}

//! A running command: its process group and its pipes.

use std::io;
use std::os::fd::AsFd;
use std::os::unix::process::CommandExt;
use std::process::{Child, ChildStdin, ExitStatus, Stdio};
use std::time::{Duration, Instant};

use nix::errno::Errno;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::signal::{Signal, killpg};
use nix::unistd::Pid;

use super::pipe::{Feed, Pipe};
use super::system::PATH;
use super::{Command, STDOUT_LIMIT};

/// Bytes kept of standard error; the rest is read and dropped.
pub(super) const STDERR_LIMIT: usize = 1 << 20;

/// Waits between two looks at the process grow from the first to the second.
const SHORTEST_WAIT: Duration = Duration::from_millis(1);
const LONGEST_WAIT: Duration = Duration::from_millis(20);

/// Between asking a process group to end and killing it.
pub(super) const TERM_GRACE: Duration = Duration::from_secs(2);

/// For output that is still on its way when the process has ended but others hold its pipes.
const DRAIN_GRACE: Duration = Duration::from_millis(250);

/// A running command and what it said so far.
pub(super) struct Process {
    child: Child,
    stdin: Option<Feed>,
    pub(super) stdout: Pipe,
    pub(super) stderr: Pipe,
    wait: Duration,
}

impl Process {
    pub(super) fn spawn(mut builder: std::process::Command, command: &Command) -> io::Result<Self> {
        builder
            .args(&command.args)
            .env_clear()
            .env("PATH", PATH)
            .env("LANG", "C")
            .envs(command.env.iter().map(|(name, value)| (name, value)))
            .current_dir("/")
            .process_group(0)
            .stdin(if command.stdin.is_empty() {
                Stdio::null()
            } else {
                Stdio::piped()
            })
            .stdout(Stdio::piped())
            .stderr(Stdio::piped());
        if let Some((uid, gid)) = command.run_as {
            // For root the standard library also drops the supplementary groups.
            builder.uid(uid).gid(gid);
        }
        let mut child = builder.spawn()?;
        let stdin = child.stdin.take();
        let mut process = Process {
            stdin: None,
            stdout: Pipe::new(child.stdout.take(), STDOUT_LIMIT),
            stderr: Pipe::new(child.stderr.take(), STDERR_LIMIT),
            child,
            wait: SHORTEST_WAIT,
        };
        match process.set_up(stdin, &command.stdin) {
            Ok(()) => Ok(process),
            Err(error) => {
                process.end();
                Err(error)
            }
        }
    }

    fn set_up(&mut self, stdin: Option<ChildStdin>, bytes: &[u8]) -> io::Result<()> {
        if let Some(pipe) = stdin {
            self.stdin = Some(Feed::new(pipe, bytes.to_vec())?);
        }
        self.stdout.set_up()?;
        self.stderr.set_up()
    }

    /// Waits a little for something to happen; how it ended, once it has.
    pub(super) fn turn(&mut self) -> io::Result<Option<ExitStatus>> {
        if let Some(status) = self.child.try_wait()? {
            return Ok(Some(status));
        }
        if self.wait_for_pipes(self.wait) {
            self.wait = SHORTEST_WAIT;
        } else {
            self.wait = (self.wait * 2).min(LONGEST_WAIT);
        }
        self.move_bytes();
        Ok(None)
    }

    /// Takes what is left in the pipes, without waiting long for others that hold them.
    pub(super) fn drain(&mut self) {
        let until = Instant::now() + DRAIN_GRACE;
        self.stdin = None;
        self.move_bytes();
        while (self.stdout.is_open() || self.stderr.is_open()) && Instant::now() < until {
            self.wait_for_pipes(LONGEST_WAIT);
            self.move_bytes();
        }
    }

    /// Ends the whole group: asks first, then kills. The first process is reaped last, because its
    /// number names the group and must not be given to another one before.
    pub(super) fn end(&mut self) {
        self.stdin = None;
        let group = i32::try_from(self.child.id()).ok().map(Pid::from_raw);
        if let Some(group) = group {
            let _ = killpg(group, Signal::SIGTERM);
            let until = Instant::now() + TERM_GRACE;
            while Instant::now() < until && !self.is_gone(group) {
                self.wait_for_pipes(LONGEST_WAIT);
                self.move_bytes();
            }
            let _ = killpg(group, Signal::SIGKILL);
        }
        let _ = self.child.wait();
    }

    /// Whether the first process has ended and nobody holds its pipes.
    fn is_gone(&mut self, group: Pid) -> bool {
        !self.stdout.is_open() && !self.stderr.is_open() && has_ended(&mut self.child, group)
    }

    fn move_bytes(&mut self) {
        if self.stdin.as_mut().is_some_and(Feed::is_finished) {
            self.stdin = None;
        }
        self.stdout.read();
        self.stderr.read();
    }

    /// Says whether a pipe had something; sleeps when there is no pipe left.
    fn wait_for_pipes(&self, wait: Duration) -> bool {
        let mut pipes = Vec::with_capacity(3);
        if let Some(feed) = &self.stdin {
            pipes.push(PollFd::new(feed.pipe.as_fd(), PollFlags::POLLOUT));
        }
        for pipe in [&self.stdout, &self.stderr] {
            if let Some(source) = &pipe.source {
                pipes.push(PollFd::new(source.as_fd(), PollFlags::POLLIN));
            }
        }
        if pipes.is_empty() {
            std::thread::sleep(wait);
            return false;
        }
        let timeout = PollTimeout::try_from(wait).unwrap_or(PollTimeout::from(20u8));
        match poll(&mut pipes, timeout) {
            Ok(ready) => ready > 0,
            Err(errno) => errno == Errno::EINTR,
        }
    }
}

/// Whether the process has ended, without taking its exit status where that is possible.
#[cfg(target_os = "linux")]
fn has_ended(_child: &mut Child, pid: Pid) -> bool {
    use nix::sys::wait::{Id, WaitPidFlag, WaitStatus, waitid};
    let flags = WaitPidFlag::WEXITED | WaitPidFlag::WNOHANG | WaitPidFlag::WNOWAIT;
    !matches!(waitid(Id::Pid(pid), flags), Ok(WaitStatus::StillAlive))
}

#[cfg(not(target_os = "linux"))]
fn has_ended(child: &mut Child, _pid: Pid) -> bool {
    !matches!(child.try_wait(), Ok(None))
}

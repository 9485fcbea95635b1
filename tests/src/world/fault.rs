//! Ending the daemon at a chosen commit of its journal.
//!
//! The daemon must be built with the feature `fault-injection`: it then reads `/run/nixctl-fault`
//! after every durable commit, numbered from 1 since it started, and renames the file when it fires.

use std::time::{Duration, Instant};

use super::daemon_log;
use crate::Machine;
use crate::error::{Error, Result};

const FILE: &str = "/run/nixctl-fault";
const DONE: &str = "/run/nixctl-fault.done";
const COUNT: &str = "/run/nixctl-fault.count";

/// How often a fault is looked for.
const TICK: Duration = Duration::from_millis(5);

/// What happens to the daemon.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Disturbance {
    /// SIGKILL.
    Kill,
    /// SIGTERM.
    Term,
    /// It stands still, and then the whole machine is switched off and on.
    PowerCut,
}

/// Whether a disturbance came to pass.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fired {
    /// It did.
    Yes,
    /// The daemon ended its work before that commit.
    No,
}

impl Disturbance {
    /// The word in the daemon's file.
    #[must_use]
    pub fn word(self) -> &'static str {
        match self {
            Self::Kill => "kill",
            Self::Term => "term",
            Self::PowerCut => "hang",
        }
    }

    /// Has the daemon go on after it was disturbed so.
    pub fn come_back(self, machine: &mut Machine) -> Result<()> {
        match self {
            // systemd starts it.
            Self::Kill => Ok(()),
            // It ended as it was asked to; nobody but who asked starts it again.
            Self::Term => {
                for verb in ["stop", "start"] {
                    machine
                        .exec(&["systemctl", verb, "nixctld.service"])?
                        .ok()?;
                }
                Ok(())
            }
            Self::PowerCut => {
                machine.kill_hard()?;
                machine.boot_again()
            }
        }
    }
}

impl Machine {
    /// Asks the daemon to count its commits; [`Machine::commits`] then says how many there were.
    pub fn count_commits(&self) -> Result<()> {
        self.write_file(FILE, "count", 0o644)
    }

    /// Commits of the daemon since it started, as of the last one.
    pub fn commits(&self) -> Result<u64> {
        let text = self.read_text(COUNT)?;
        text.trim().parse().map_err(|why| {
            let why = format!("{why}: is the daemon built with the feature fault-injection?");
            Error::new("count commits", why)
        })
    }

    /// Commits of a daemon of that version since it started, as of the last one.
    pub fn commits_of(&self, version: &str) -> Result<u64> {
        let text = self.read_text(&format!("{COUNT}-{version}"))?;
        text.trim()
            .parse()
            .map_err(|why| Error::new("count commits", why))
    }

    /// Prepares a disturbance at a commit of a daemon of that version.
    pub fn disturb_version(&self, how: Disturbance, commit: u64, version: &str) -> Result<()> {
        self.write_file(FILE, format!("{} {commit} {version}", how.word()), 0o644)
    }

    /// Prepares a disturbance at a commit.
    pub fn disturb(&self, how: Disturbance, commit: u64) -> Result<()> {
        self.write_file(FILE, format!("{} {commit}", how.word()), 0o644)
    }

    /// Prepares that the daemon stands still at a commit, until [`Machine::let_go`].
    pub fn pause_at(&self, commit: u64) -> Result<()> {
        self.write_file(FILE, format!("pause {commit}"), 0o644)
    }

    /// Lets a daemon go on that stands still.
    pub fn let_go(&self) -> Result<()> {
        self.exec(&["rm", "-f", DONE])?.ok().map(drop)
    }

    /// Whether the disturbance has come to pass.
    pub fn fired(&self) -> Result<Fired> {
        let done = self.exists(DONE)?;
        Ok(if done { Fired::Yes } else { Fired::No })
    }

    /// Waits until it has, or until `over` says that it never will.
    pub fn wait_until_fired(
        &self,
        deadline: Duration,
        mut over: impl FnMut() -> bool,
    ) -> Result<Fired> {
        let until = Instant::now() + deadline;
        loop {
            let ended = over();
            if self.appears(DONE) {
                return Ok(Fired::Yes);
            }
            if ended {
                return Ok(Fired::No);
            }
            if Instant::now() > until {
                return Err(Error::Timeout {
                    what: "waiting for the fault".to_owned(),
                    deadline,
                    output: daemon_log(self),
                });
            }
            std::thread::sleep(TICK);
        }
    }
}

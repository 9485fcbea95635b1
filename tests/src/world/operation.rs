//! Operations as `nixctl --json` prints them, read on purpose without the product's own types.

use std::time::{Duration, Instant};

use serde::Deserialize;

use super::{TICK, daemon_log, json, parse};
use crate::Machine;
use crate::error::{Error, Result};

/// One operation.
#[derive(Debug, Clone, PartialEq, Deserialize)]
pub struct Operation {
    /// Identity.
    pub id: String,
    /// `install`, `uninstall` and so on.
    pub kind: String,
    /// `running`, `succeeded` and so on.
    pub state: String,
    /// User id of who asked.
    pub requested_by: u32,
    /// What it waits for, while it does.
    #[serde(default)]
    pub waiting_for: Option<String>,
    /// Steps that are done.
    pub step: u32,
    /// Steps in all.
    pub steps: u32,
    /// Share that is done.
    pub progress: f64,
    /// What failed.
    pub failure: Option<Failure>,
    /// What was left on purpose, with the reason.
    pub kept: Vec<String>,
    /// What else is worth knowing.
    pub notes: Vec<String>,
}

/// What failed in an operation.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
pub struct Failure {
    /// The name of the code, as `NoSpace`.
    pub code: String,
    /// One sentence.
    pub message: String,
}

impl Operation {
    /// All of a machine but those about the daemon itself, newest first.
    pub fn all(machine: &Machine) -> Result<Vec<Self>> {
        let all: Vec<Self> = parse(&json(machine, "operations")?.to_string())?;
        Ok(all.into_iter().filter(Self::is_about_nix).collect())
    }

    /// The newest one of a machine, once all have ended; none when there was none.
    pub fn settled(machine: &Machine, deadline: Duration) -> Result<Option<Self>> {
        let ended = |all: &[Self]| all.iter().all(Self::is_final);
        let all = Self::until(machine, deadline, ended)?;
        Ok(all.into_iter().next())
    }

    /// All of a machine, newest first, once they are like this.
    pub fn until(
        machine: &Machine,
        deadline: Duration,
        mut like_this: impl FnMut(&[Self]) -> bool,
    ) -> Result<Vec<Self>> {
        let until = Instant::now() + deadline;
        loop {
            // The daemon may be away for a moment.
            let found = Self::all(machine);
            match found {
                Ok(list) if like_this(&list) => return Ok(list),
                _ if Instant::now() < until => std::thread::sleep(TICK),
                found => {
                    return Err(Error::Timeout {
                        what: "waiting for the operation".to_owned(),
                        deadline,
                        output: format!("{found:?}\n{}", daemon_log(machine)),
                    });
                }
            }
        }
    }

    /// Whether it has ended.
    #[must_use]
    pub fn is_final(&self) -> bool {
        ["succeeded", "reverted", "failed", "cancelled", "attention"].contains(&self.state.as_str())
    }

    /// Whether it is about Nix, or replaces nixctl, rather than putting it on the machine or off it.
    #[must_use]
    pub fn is_about_nix(&self) -> bool {
        !["self-install", "self-uninstall"].contains(&self.kind.as_str())
    }

    /// Whether it left the machine as it was.
    #[must_use]
    pub fn left_as_before(&self) -> bool {
        ["reverted", "failed", "cancelled"].contains(&self.state.as_str())
    }
}

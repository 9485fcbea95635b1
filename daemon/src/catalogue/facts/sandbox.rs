//! Whether Nix's sandbox can work here: tried, not guessed.
//!
//! The sandbox needs new mount, process, network, IPC and host name namespaces with a fresh /proc
//! in them. Root gets them directly on a machine; in many containers not at all, or only inside
//! a user namespace. A child tries both and says what happened.

use std::time::Duration;

use crate::host::{Cancel, Command, ExecError, Host};

/// Time for each of the two attempts.
const DEADLINE: Duration = Duration::from_secs(10);

/// What every build in a sandbox needs.
const NAMESPACES: [&str; 7] = [
    "--mount",
    "--pid",
    "--fork",
    "--net",
    "--ipc",
    "--uts",
    "--mount-proc",
];

/// Whether the sandbox can work, and why that is believed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SandboxFact {
    /// Whether Nix's default (sandboxed builds) can stay.
    pub enabled: bool,
    /// One sentence on what was tried and what came of it.
    pub reason: String,
}

impl Default for SandboxFact {
    fn default() -> Self {
        SandboxFact {
            enabled: true,
            reason: "it was not tried".to_owned(),
        }
    }
}

/// Tries to make what a sandboxed build needs.
///
/// # Errors
/// Only when it was asked to stop; anything else is an answer.
pub fn probe(host: &Host, cancel: &Cancel) -> Result<SandboxFact, ExecError> {
    let direct = Command::new("unshare")
        .args(NAMESPACES)
        .arg("true")
        .deadline(DEADLINE);
    let as_user = Command::new("unshare")
        .args(["--user", "--map-root-user"])
        .args(NAMESPACES)
        .arg("true")
        .deadline(DEADLINE);
    let mut why = String::new();
    for (command, how) in [(direct, "directly"), (as_user, "in a user namespace")] {
        match host.exec.output(&command, cancel) {
            Ok(output) if output.code == 0 => {
                let reason = format!("the namespaces that a sandbox needs can be made {how}");
                return Ok(SandboxFact {
                    enabled: true,
                    reason,
                });
            }
            Ok(output) => why = last_line(&output.stderr, output.code),
            Err(ExecError::Missing { .. }) => {
                let reason =
                    "`unshare` is not installed, so it could not be tried; Nix's own default stays";
                return Ok(SandboxFact {
                    enabled: true,
                    reason: reason.to_owned(),
                });
            }
            Err(error @ ExecError::Stopped { .. }) => return Err(error),
            Err(error) => why = error.to_string(),
        }
    }
    let reason = format!("the namespaces that a sandbox needs cannot be made here: {why}");
    Ok(SandboxFact {
        enabled: false,
        reason,
    })
}

fn last_line(stderr: &[u8], code: i32) -> String {
    let text = String::from_utf8_lossy(stderr);
    match text.lines().map(str::trim).rfind(|line| !line.is_empty()) {
        Some(line) => line.to_owned(),
        None => format!("unshare ended with {code}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::catalogue::facts::testing::Machine;

    const DIRECT: &str = "unshare --mount --pid";
    const AS_USER: &str = "unshare --user";

    #[test]
    fn the_first_way_that_works_is_named() {
        let of = |machine: Machine| probe(&machine.host(), &Cancel::default()).unwrap();
        let direct = of(Machine::new().answer(DIRECT, 0, "", ""));
        assert!(
            direct.enabled && direct.reason.contains("directly"),
            "{direct:?}"
        );
        let inside = of(Machine::new()
            .answer(DIRECT, 1, "", "no\n")
            .answer(AS_USER, 0, "", ""));
        assert!(
            inside.enabled && inside.reason.contains("user namespace"),
            "{inside:?}"
        );
        let none = of(Machine::new().answer(DIRECT, 1, "", "no\n").answer(
            AS_USER,
            1,
            "",
            "unshare: unshare failed: Operation not permitted\n",
        ));
        assert!(
            !none.enabled && none.reason.ends_with("Operation not permitted"),
            "{none:?}"
        );
        let missing = of(Machine::new());
        assert!(
            missing.enabled && missing.reason.contains("not installed"),
            "{missing:?}"
        );
    }

    #[test]
    fn a_request_to_stop_is_passed_on() {
        let machine = Machine::new().answer(DIRECT, 0, "", "");
        let cancel = Cancel::default();
        cancel.request(crate::host::cancel::Stop::Cancelled);
        assert!(probe(&machine.host(), &cancel).is_err());
    }
}

//! The text agent of polkit, which asks for a password on the terminal.
//!
//! A desktop brings its own agent and is preferred (`--fallback`); a console or an ssh session has
//! none, so the client brings one for as long as a call lasts that may need it. Without a terminal
//! nobody can be asked, and the daemon refuses instead.

use std::io::{IsTerminal, Read};
use std::os::fd::AsRawFd;
use std::os::unix::net::UnixStream;
use std::process::{Child, Command};
use std::time::{Duration, Instant};

use nix::fcntl::{FcntlArg, FdFlag, fcntl};
use nix::sys::signal::{Signal, kill};
use nix::unistd::{Pid, geteuid};

/// How long the agent may take to register before the call is made without it.
const REGISTER: Duration = Duration::from_secs(3);
/// How long it may take to put the terminal back in order before it is killed.
const LEAVE: Duration = Duration::from_secs(1);

/// A running agent; it ends when this is dropped.
#[derive(Debug)]
pub struct Agent(Child);

/// Starts an agent if one is of use, and waits until polkit knows it.
pub fn start() -> Option<Agent> {
    if geteuid().is_root() || !std::io::stdin().is_terminal() || !std::io::stderr().is_terminal() {
        return None;
    }
    launch(Command::new("pkttyagent").arg("--fallback"))
}

/// Runs the program with one end of a socket pair, which it closes when it is ready (or fails).
fn launch(command: &mut Command) -> Option<Agent> {
    let (mut ours, theirs) = UnixStream::pair().ok()?;
    ours.set_read_timeout(Some(REGISTER)).ok()?;
    fcntl(&theirs, FcntlArg::F_SETFD(FdFlag::empty())).ok()?;
    command.arg("--process").arg(std::process::id().to_string());
    command
        .arg("--notify-fd")
        .arg(theirs.as_raw_fd().to_string());
    let child = command.spawn().ok();
    drop(theirs);
    let agent = Agent(child?);
    // Whatever happens, the call is made: the daemon decides whether it needs an agent at all.
    let _ = ours.read(&mut [0]);
    Some(agent)
}

impl Drop for Agent {
    fn drop(&mut self) {
        if let Ok(id) = i32::try_from(self.0.id()) {
            // It may have ended by itself.
            let _ = kill(Pid::from_raw(id), Signal::SIGTERM);
        }
        let end = Instant::now() + LEAVE;
        while matches!(self.0.try_wait(), Ok(None)) {
            if Instant::now() >= end {
                let _ = self.0.kill();
                let _ = self.0.wait();
                return;
            }
            std::thread::sleep(Duration::from_millis(5));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A stand-in that closes the descriptor named after `--notify-fd`, then stays.
    const STAND_IN: &str = r#"
        while [ "$1" != --notify-fd ]; do shift; done
        test "$2" -gt 2 || exit 1
        eval "exec $2>&-"
        exec sleep 60
    "#;

    #[test]
    fn an_agent_is_waited_for_and_ended() {
        let begin = Instant::now();
        let mut agent = launch(Command::new("sh").args(["-c", STAND_IN, "agent"])).unwrap();
        assert!(
            begin.elapsed() < REGISTER,
            "the descriptor was not seen to close"
        );
        assert!(agent.0.try_wait().unwrap().is_none(), "it does not run");
        drop(agent);
        assert!(begin.elapsed() < REGISTER);
    }

    #[test]
    fn no_agent_is_no_error() {
        assert!(launch(&mut Command::new("/nonexistent/pkttyagent")).is_none());
    }
}

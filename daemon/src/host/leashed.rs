//! A command that does not outlive the daemon: a process of its own that becomes the program.
//!
//! Under systemd the unit's cgroup ends with the daemon. A private daemon has nobody above it that
//! would clean up, and what it leaves behind would work beside the next one. The kernel kills the
//! process when its parent dies; the wish stays through the exec, which is why no code has to run
//! between fork and exec in the daemon itself.

use std::ffi::OsString;
use std::process::ExitCode;

/// Exit code when the program was not reached, as of env(1).
const NOT_REACHED: u8 = 126;

/// Becomes the program, as long as `parent` is the parent; returns only when that fails.
pub fn run(parent: i32, command: &[OsString]) -> ExitCode {
    if let Err(why) = become_it(parent, command) {
        eprintln!("{why}");
    }
    ExitCode::from(NOT_REACHED)
}

#[cfg(target_os = "linux")]
fn become_it(parent: i32, command: &[OsString]) -> Result<(), String> {
    use std::os::unix::process::CommandExt;

    use nix::sys::prctl::set_pdeathsig;
    use nix::sys::signal::Signal;
    use nix::unistd::getppid;

    set_pdeathsig(Signal::SIGKILL)
        .map_err(|error| format!("cannot be bound to the daemon: {}", error.desc()))?;
    // It may have died before the kernel was asked to watch it.
    if getppid().as_raw() != parent {
        return Err("cannot begin: the daemon is gone".to_owned());
    }
    let (program, arguments) = command.split_first().ok_or("no program was named")?;
    let error = std::process::Command::new(program).args(arguments).exec();
    Err(format!("cannot run {}: {error}", program.display()))
}

#[cfg(not(target_os = "linux"))]
fn become_it(_parent: i32, _command: &[OsString]) -> Result<(), String> {
    Err("only Linux can".to_owned())
}

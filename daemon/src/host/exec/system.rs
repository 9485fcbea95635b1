//! Commands as processes of the machine.
//!
//! One thread feeds and reads a command through non-blocking pipes and looks after its deadline
//! and the request to stop between two waits, which begin at a millisecond so that short commands
//! stay short. The end of the command is the end of its first process: what it left running and
//! holding the pipes is waited for only a moment. A command that must end early takes its whole
//! process group with it.

use std::os::unix::process::ExitStatusExt;
use std::path::{Path, PathBuf};
use std::time::Instant;

use nix::unistd::{AccessFlags, access};

use super::process::Process;
use super::{Command, Exec, ExecError, Output};
use crate::host::Cancel;

/// Where programs are looked for, and the `PATH` that commands see.
pub(super) const PATH: &str = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";

/// Runs commands as processes.
#[derive(Debug, Clone, Copy, Default)]
pub struct SystemExec;

impl Exec for SystemExec {
    fn output(&self, command: &Command, cancel: &Cancel) -> Result<Output, ExecError> {
        run(command, cancel, &mut |_| {}, plain)
    }

    fn follow(
        &self,
        command: &Command,
        cancel: &Cancel,
        said: &mut dyn FnMut(&[u8]),
    ) -> Result<Output, ExecError> {
        run(command, cancel, &mut hand_over(said), plain)
    }

    fn find(&self, program: &str) -> Option<PathBuf> {
        find(program)
    }
}

/// Runs commands as processes that do not outlive this one, see [`crate::host::leashed`]. Those
/// that run as another user do, because changing the user takes the leash off.
#[derive(Debug, Clone)]
pub struct LeashedExec {
    /// Program of the daemon.
    pub daemon: PathBuf,
}

impl Exec for LeashedExec {
    fn output(&self, command: &Command, cancel: &Cancel) -> Result<Output, ExecError> {
        run(command, cancel, &mut |_| {}, |path| {
            self.leashed(command, path)
        })
    }

    fn follow(
        &self,
        command: &Command,
        cancel: &Cancel,
        said: &mut dyn FnMut(&[u8]),
    ) -> Result<Output, ExecError> {
        let start = |path: &Path| self.leashed(command, path);
        run(command, cancel, &mut hand_over(said), start)
    }

    fn find(&self, program: &str) -> Option<PathBuf> {
        find(program)
    }
}

impl LeashedExec {
    fn leashed(&self, command: &Command, path: &Path) -> std::process::Command {
        if command.run_as.is_some() {
            return plain(path);
        }
        let mut leashed = std::process::Command::new(&self.daemon);
        leashed.arg("leashed").arg(std::process::id().to_string());
        leashed.arg(path);
        leashed
    }
}

fn plain(path: &Path) -> std::process::Command {
    std::process::Command::new(path)
}

/// Hands over what was kept of standard error, and makes room for more.
fn hand_over(said: &mut dyn FnMut(&[u8])) -> impl FnMut(&mut Vec<u8>) {
    move |kept| {
        if !kept.is_empty() {
            said(kept);
            kept.clear();
        }
    }
}

/// Runs a command to its end, beginning with what `start` makes of its program. `look` sees what
/// was kept of standard error, again and again.
fn run(
    command: &Command,
    cancel: &Cancel,
    look: &mut dyn FnMut(&mut Vec<u8>),
    start: impl FnOnce(&Path) -> std::process::Command,
) -> Result<Output, ExecError> {
    let started = Instant::now();
    let path = find(&command.program).ok_or_else(|| ExecError::Missing {
        program: command.program.clone(),
    })?;
    let fail = |source| ExecError::Start {
        line: command.line(),
        source,
    };
    let mut process = Process::spawn(start(&path), command).map_err(fail)?;
    let ended = loop {
        if let Some(status) = process.turn().map_err(fail)? {
            break status;
        }
        look(&mut process.stderr.kept);
        if cancel.requested().is_some() {
            process.end();
            return Err(ExecError::Stopped {
                line: command.line(),
            });
        }
        if started.elapsed() >= command.deadline {
            process.end();
            return Err(ExecError::Deadline {
                line: command.line(),
                deadline: command.deadline,
            });
        }
    };
    process.drain();
    look(&mut process.stderr.kept);
    tracing::debug!(
        milliseconds = started.elapsed().as_millis(),
        "ran {}",
        command.line()
    );
    Ok(Output {
        code: ended
            .code()
            .unwrap_or_else(|| 128 + ended.signal().unwrap_or(0)),
        stdout: process.stdout.kept,
        stderr: process.stderr.kept,
    })
}

fn find(program: &str) -> Option<PathBuf> {
    let runnable = |path: &Path| path.is_file() && access(path, AccessFlags::X_OK).is_ok();
    if program.contains('/') {
        return Some(PathBuf::from(program)).filter(|path| runnable(path));
    }
    PATH.split(':')
        .map(|dir| Path::new(dir).join(program))
        .find(|path| runnable(path))
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::super::STDOUT_LIMIT;
    use super::super::process::{STDERR_LIMIT, TERM_GRACE};
    use super::*;
    use crate::host::cancel::Stop;

    fn sh(script: &str) -> Command {
        Command::new("/bin/sh").arg("-c").arg(script)
    }

    fn run(command: &Command) -> Result<Output, ExecError> {
        SystemExec.output(command, &Cancel::default())
    }

    #[test]
    fn outputs_code_and_signal_are_told() {
        let output = run(&sh("echo out; echo err >&2; exit 3")).unwrap();
        assert_eq!((output.code, output.text().as_str()), (3, "out"));
        assert_eq!(output.stderr, b"err\n");
        assert_eq!(run(&sh("kill -9 $$")).unwrap().code, 137);
    }

    #[test]
    fn the_environment_is_clean() {
        let output = run(&Command::new("env").env("HOME", "/x")).unwrap();
        let mut names: Vec<String> = output
            .text()
            .lines()
            .filter_map(|line| line.split_once('=').map(|(name, _)| name.to_owned()))
            .collect();
        names.sort();
        assert_eq!(names, ["HOME", "LANG", "PATH"]);
        assert_eq!(run(&sh("pwd")).unwrap().text(), "/");
    }

    #[test]
    fn a_missing_program_is_named() {
        for program in ["no-such-program", "/no/such/program", "/etc/passwd", "/usr"] {
            let error = run(&Command::new(program)).unwrap_err();
            assert!(matches!(error, ExecError::Missing { .. }), "{program}");
        }
        assert!(SystemExec.find("sh").is_some());
    }

    #[test]
    fn big_input_and_output_pass_without_blocking() {
        let bytes = vec![b'x'; 5 << 20];
        let output = run(&Command::new("cat").stdin(bytes.clone())).unwrap();
        assert!(output.stdout == bytes);
        let output = run(&sh(
            "head -c 20000000 /dev/zero; head -c 2000000 /dev/zero >&2",
        ))
        .unwrap();
        assert_eq!(
            (output.stdout.len(), output.stderr.len()),
            (STDOUT_LIMIT, STDERR_LIMIT)
        );
    }

    #[test]
    fn what_it_says_can_be_followed_without_end() {
        let (mut bytes, mut calls) = (0, 0);
        let script = sh("head -c 5000000 /dev/zero >&2; sleep 0.2; printf end >&2; exit 3");
        let output = SystemExec.follow(&script, &Cancel::default(), &mut |said| {
            bytes += said.len();
            calls += 1;
        });
        let output = output.unwrap();
        assert_eq!((bytes, output.code), (5_000_003, 3));
        assert!(calls > 1 && output.stderr.is_empty());
    }

    #[test]
    fn input_that_is_not_read_is_no_error() {
        let output = run(&Command::new("true").stdin(vec![0; 1 << 20])).unwrap();
        assert_eq!(output.code, 0);
    }

    #[test]
    fn bytes_that_are_no_text_are_kept() {
        let output = run(&sh(r"printf '\377\376'")).unwrap();
        assert_eq!(output.stdout, [0xff, 0xfe]);
        assert_eq!(output.text(), "\u{fffd}\u{fffd}");
    }

    #[test]
    fn the_deadline_ends_the_whole_group() {
        let started = Instant::now();
        let mark = tempfile::tempdir().unwrap();
        let pid = mark.path().join("pid");
        let script = format!("sleep 60 & echo $! > {}; wait", pid.display());
        let error = run(&sh(&script).deadline(Duration::from_millis(300))).unwrap_err();
        assert!(matches!(error, ExecError::Deadline { .. }));
        assert!(
            started.elapsed() < Duration::from_secs(2),
            "{:?}",
            started.elapsed()
        );
        let grandchild = std::fs::read_to_string(pid).unwrap();
        assert!(is_dead(grandchild.trim()), "the grandchild lives");
    }

    #[test]
    fn a_group_that_does_not_listen_is_killed() {
        let started = Instant::now();
        let script = "trap '' TERM; while :; do sleep 0.1; done";
        let error = run(&sh(script).deadline(Duration::from_millis(100))).unwrap_err();
        assert!(matches!(error, ExecError::Deadline { .. }));
        let took = started.elapsed();
        assert!(took >= TERM_GRACE && took < TERM_GRACE * 2, "{took:?}");
    }

    #[test]
    fn a_grandchild_that_holds_the_pipes_does_not_hang_it() {
        let started = Instant::now();
        let output = run(&sh("sleep 5 & echo done")).unwrap();
        assert_eq!(output.text(), "done");
        assert!(started.elapsed() < Duration::from_secs(2));
    }

    #[test]
    fn it_stops_when_asked() {
        let cancel = Cancel::default();
        let asking = cancel.clone();
        let thread = std::thread::spawn(move || {
            std::thread::sleep(Duration::from_millis(100));
            asking.request(Stop::Shutdown);
        });
        let started = Instant::now();
        let error = SystemExec.output(&sh("sleep 60"), &cancel).unwrap_err();
        thread.join().unwrap();
        assert!(matches!(error, ExecError::Stopped { .. }));
        assert!(started.elapsed() < Duration::from_secs(2));
    }

    #[test]
    fn short_commands_are_short() {
        let started = Instant::now();
        for _ in 0..20 {
            run(&Command::new("true")).unwrap();
        }
        assert!(
            started.elapsed() < Duration::from_secs(2),
            "{:?}",
            started.elapsed()
        );
    }

    #[test]
    fn another_user_has_no_groups_of_ours() {
        if !nix::unistd::Uid::effective().is_root() {
            return;
        }
        let output = run(&sh("id -u; id -G").run_as(65534, 65533)).unwrap();
        assert_eq!(output.text(), "65534\n65533");
    }

    #[test]
    fn commands_run_side_by_side() {
        let threads: Vec<_> = (0..8)
            .map(|n| std::thread::spawn(move || run(&sh(&format!("sleep 0.1; echo {n}"))).unwrap()))
            .collect();
        for (n, thread) in threads.into_iter().enumerate() {
            assert_eq!(thread.join().unwrap().text(), n.to_string());
        }
    }

    /// Gone, or a zombie nobody reaped yet.
    fn is_dead(pid: &str) -> bool {
        (0..50).any(|_| {
            let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
            let dead = stat.is_empty() || stat.contains(") Z ");
            if !dead {
                std::thread::sleep(Duration::from_millis(20));
            }
            dead
        })
    }
}

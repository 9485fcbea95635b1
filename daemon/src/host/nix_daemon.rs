//! nix-daemon as a child of ours, for machines without a service manager: started, watched,
//! started again after a growing pause when it ends, and stopped within a deadline.

use std::io::{Read, Write};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::os::unix::net::UnixStream;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::signal::{Signal, kill, killpg};
use nix::sys::socket::{AddressFamily, SockFlag, SockType, UnixAddr};
use nix::unistd::Pid;

use super::Cancel;

/// How often something that is about to happen is looked for.
const LOOK: Duration = Duration::from_millis(50);
/// How often a child that runs is looked at where the kernel does not tell of its end.
const LOOK_AT_CHILD: Duration = Duration::from_secs(1);
const FIRST_PAUSE: Duration = Duration::from_millis(500);
const LONGEST_PAUSE: Duration = Duration::from_secs(30);
/// A child that lived this long is taken to have been well.
const WELL_AFTER: Duration = Duration::from_secs(60);
/// Time for it to end by itself when it is stopped.
const STOP_DEADLINE: Duration = Duration::from_secs(5);
/// macOS cannot ask for it in the same call.
#[cfg(target_os = "linux")]
const CLOSED_IN_CHILDREN: SockFlag = SockFlag::SOCK_CLOEXEC;
#[cfg(not(target_os = "linux"))]
const CLOSED_IN_CHILDREN: SockFlag = SockFlag::empty();
/// First words of Nix's protocol, of the client and of the daemon.
const CLIENT_MAGIC: [u8; 8] = 0x6e69_7863_u64.to_le_bytes();
const SERVER_MAGIC: [u8; 8] = 0x6478_696f_u64.to_le_bytes();
const PATH: &str = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";

/// Why nix-daemon does not serve.
#[derive(Debug, thiserror::Error)]
pub enum NixDaemonError {
    /// The operating system would not start it.
    #[error("cannot start {}", program.display())]
    Start {
        /// Program.
        program: PathBuf,
        /// Reason of the operating system.
        source: std::io::Error,
    },
    /// It did not open its socket.
    #[error("cannot reach nix-daemon: it did not open {} within {} s", socket.display(), deadline.as_secs())]
    Silent {
        /// Socket it should serve.
        socket: PathBuf,
        /// The deadline.
        deadline: Duration,
    },
    /// The wait was asked to stop.
    #[error("cannot wait for nix-daemon: it was asked to stop")]
    Stopped,
}

/// A nix-daemon that is kept running. Dropping it stops it.
#[derive(Debug)]
pub struct SupervisedDaemon {
    stop: Arc<Stop>,
    thread: Option<JoinHandle<()>>,
}

/// Asks the thread to stop, and ends its waits.
#[derive(Debug)]
struct Stop {
    is_asked: AtomicBool,
    nudge: UnixStream,
    nudged: UnixStream,
}

impl Stop {
    fn new() -> std::io::Result<Stop> {
        let (nudge, nudged) = UnixStream::pair()?;
        Ok(Stop {
            is_asked: AtomicBool::new(false),
            nudge,
            nudged,
        })
    }

    fn ask(&self) {
        self.is_asked.store(true, Ordering::SeqCst);
        // Never read: every wait ends from now on.
        let _ = (&self.nudge).write(&[0]);
    }

    fn is_asked(&self) -> bool {
        self.is_asked.load(Ordering::SeqCst)
    }

    /// Waits until it is asked, something else is to be read, or the time is over.
    fn wait(&self, other: Option<BorrowedFd<'_>>, limit: Option<Duration>) {
        let fds = [Some(self.nudged.as_fd()), other].into_iter().flatten();
        let asked = |fd| PollFd::new(fd, PollFlags::POLLIN);
        let mut fds: Vec<PollFd<'_>> = fds.map(asked).collect();
        let limit = limit.map_or(PollTimeout::NONE, |limit| {
            PollTimeout::try_from(limit).unwrap_or(PollTimeout::MAX)
        });
        // Whoever waits looks again whatever has ended the wait.
        let _ = poll(&mut fds, limit);
    }
}

/// Whether something answers on the socket.
pub fn answers(socket: &Path) -> bool {
    UnixStream::connect(socket).is_ok()
}

/// Whether nix-daemon sends its greeting on the socket before the deadline.
pub fn greets(socket: &Path, deadline: Duration) -> bool {
    greeting(socket, deadline).is_ok_and(|it| it == SERVER_MAGIC)
}

fn greeting(socket: &Path, deadline: Duration) -> std::io::Result<[u8; 8]> {
    let fd = nix::sys::socket::socket(
        AddressFamily::Unix,
        SockType::Stream,
        CLOSED_IN_CHILDREN,
        None,
    )?;
    let mut stream = UnixStream::from(fd);
    // Before connecting: where nobody takes connections any more, that is what waits.
    stream.set_write_timeout(Some(deadline))?;
    stream.set_read_timeout(Some(deadline))?;
    nix::sys::socket::connect(stream.as_raw_fd(), &UnixAddr::new(socket)?)?;
    stream.write_all(&CLIENT_MAGIC)?;
    let mut answer = [0; 8];
    stream.read_exact(&mut answer)?;
    Ok(answer)
}

impl SupervisedDaemon {
    /// Starts it and waits until it answers on its socket.
    ///
    /// # Errors
    /// When it does not within the deadline; it is then stopped again.
    pub fn start(
        program: &Path,
        socket: &Path,
        deadline: Duration,
        cancel: &Cancel,
    ) -> Result<SupervisedDaemon, NixDaemonError> {
        let cannot = |source| NixDaemonError::Start {
            program: program.to_owned(),
            source,
        };
        let stop = Arc::new(Stop::new().map_err(cannot)?);
        let first = spawn(program)?;
        let (asked, program) = (stop.clone(), program.to_owned());
        let thread = std::thread::spawn(move || supervise(first, &program, &asked));
        let daemon = SupervisedDaemon {
            stop,
            thread: Some(thread),
        };
        let until = Instant::now() + deadline;
        while !answers(socket) {
            if cancel.requested().is_some() {
                return Err(NixDaemonError::Stopped);
            }
            if Instant::now() >= until {
                return Err(NixDaemonError::Silent {
                    socket: socket.to_owned(),
                    deadline,
                });
            }
            std::thread::sleep(LOOK);
        }
        Ok(daemon)
    }

    /// Stops it: asks, and after five seconds kills. Returns when it is gone.
    pub fn stop(mut self) {
        self.end();
    }

    fn end(&mut self) {
        self.stop.ask();
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

impl Drop for SupervisedDaemon {
    fn drop(&mut self) {
        self.end();
    }
}

fn spawn(program: &Path) -> Result<Child, NixDaemonError> {
    let mut command = Command::new(program);
    command
        .env_clear()
        .env("PATH", PATH)
        .env("LANG", "C")
        .current_dir("/");
    // What its downloads need of our environment.
    for name in [
        "NIX_SSL_CERT_FILE",
        "http_proxy",
        "https_proxy",
        "all_proxy",
        "no_proxy",
    ] {
        command.envs(std::env::var_os(name).map(|value| (name, value)));
    }
    command
        .process_group(0)
        .stdin(Stdio::null())
        .stdout(Stdio::null());
    command.spawn().map_err(|source| NixDaemonError::Start {
        program: program.to_owned(),
        source,
    })
}

fn supervise(first: Child, program: &Path, stop: &Stop) {
    let (mut child, mut pause) = (Some(first), FIRST_PAUSE);
    while !stop.is_asked() {
        if let Some(running) = child.as_mut() {
            let started = Instant::now();
            if wait(running, stop) {
                end(running);
                return;
            }
            tracing::warn!(
                pause_ms = pause.as_millis() as u64,
                "nix-daemon ended; it is started again"
            );
            if started.elapsed() >= WELL_AFTER {
                pause = FIRST_PAUSE;
            }
        }
        stop.wait(None, Some(pause));
        if stop.is_asked() {
            return;
        }
        pause = (pause * 2).min(LONGEST_PAUSE);
        child = spawn(program)
            .inspect_err(|error| tracing::warn!(%error, "nix-daemon cannot be started"))
            .ok();
    }
}

/// Waits for its end, or until asked to stop: then true.
fn wait(child: &mut Child, stop: &Stop) -> bool {
    let end = end_of(child);
    let limit = end.is_none().then_some(LOOK_AT_CHILD);
    loop {
        if stop.is_asked() {
            return true;
        }
        match child.try_wait() {
            Ok(None) => stop.wait(end.as_ref().map(AsFd::as_fd), limit),
            Ok(Some(_)) | Err(_) => return false,
        }
    }
}

/// What can be read once the child has ended; nothing where the kernel has no such thing.
#[cfg(target_os = "linux")]
fn end_of(child: &Child) -> Option<OwnedFd> {
    use rustix::process::{Pid, PidfdFlags, pidfd_open};

    let id = Pid::from_raw(i32::try_from(child.id()).ok()?)?;
    pidfd_open(id, PidfdFlags::empty()).ok()
}

#[cfg(not(target_os = "linux"))]
fn end_of(_child: &Child) -> Option<OwnedFd> {
    None
}

/// Asks it to end and waits; then kills it with all its children.
fn end(child: &mut Child) {
    let Ok(id) = i32::try_from(child.id()).map(Pid::from_raw) else {
        return;
    };
    let _ = kill(id, Signal::SIGTERM);
    let until = Instant::now() + STOP_DEADLINE;
    while Instant::now() < until && matches!(child.try_wait(), Ok(None)) {
        std::thread::sleep(LOOK);
    }
    let _ = killpg(id, Signal::SIGKILL);
    let _ = child.wait();
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    fn script(dir: &Path, text: &str) -> PathBuf {
        let path = dir.join("nix-daemon");
        std::fs::write(&path, format!("#!/bin/sh\n{text}\n")).unwrap();
        std::fs::set_permissions(&path, PermissionsExt::from_mode(0o755)).unwrap();
        path
    }

    fn eventually(what: impl Fn() -> bool) -> bool {
        (0..100).any(|_| {
            std::thread::sleep(Duration::from_millis(50));
            what()
        })
    }

    #[test]
    fn only_a_greeting_is_one() {
        let dir = tempfile::tempdir().unwrap();
        let socket = dir.path().join("socket");
        let deadline = Duration::from_millis(300);
        assert!(!greets(&socket, deadline), "nobody is there");
        let listener = std::os::unix::net::UnixListener::bind(&socket).unwrap();
        assert!(!greets(&socket, deadline), "nobody takes the connection");
        let server = std::thread::spawn(move || {
            // The first connection is the one that was given up.
            let _ = listener.accept();
            for answer in [*b"01234567", SERVER_MAGIC] {
                let (mut stream, _) = listener.accept().unwrap();
                let mut asked = [0; 8];
                stream.read_exact(&mut asked).unwrap();
                assert_eq!(asked, *b"cxin\0\0\0\0");
                stream.write_all(&answer).unwrap();
            }
        });
        assert!(!greets(&socket, Duration::from_secs(5)), "it is no daemon");
        assert!(greets(&socket, Duration::from_secs(5)));
        server.join().unwrap();
    }

    #[test]
    fn it_is_started_again_until_it_is_stopped() {
        let dir = tempfile::tempdir().unwrap();
        let (log, socket) = (dir.path().join("log"), dir.path().join("socket"));
        let _listener = std::os::unix::net::UnixListener::bind(&socket).unwrap();
        let program = script(
            dir.path(),
            &format!("echo run >> {}; exit 1", log.display()),
        );
        let deadline = Duration::from_secs(5);
        let daemon =
            SupervisedDaemon::start(&program, &socket, deadline, &Cancel::default()).unwrap();
        let runs = || {
            std::fs::read_to_string(&log)
                .unwrap_or_default()
                .lines()
                .count()
        };
        assert!(eventually(|| runs() >= 3));
        daemon.stop();
        let after = runs();
        std::thread::sleep(Duration::from_millis(1200));
        assert_eq!(runs(), after);
    }

    #[test]
    fn a_running_one_ends_with_it() {
        let dir = tempfile::tempdir().unwrap();
        let (pid, socket) = (dir.path().join("pid"), dir.path().join("socket"));
        let _listener = std::os::unix::net::UnixListener::bind(&socket).unwrap();
        let program = script(
            dir.path(),
            &format!("echo $$ > {}; exec sleep 60", pid.display()),
        );
        let deadline = Duration::from_secs(5);
        let daemon =
            SupervisedDaemon::start(&program, &socket, deadline, &Cancel::default()).unwrap();
        let read = || std::fs::read_to_string(&pid).unwrap_or_default();
        assert!(eventually(|| !read().is_empty()));
        let number: i32 = read().trim().parse().unwrap();
        assert!(kill(Pid::from_raw(number), None).is_ok());
        daemon.stop();
        assert!(kill(Pid::from_raw(number), None).is_err());
    }

    #[test]
    fn silence_and_absence_are_errors() {
        let dir = tempfile::tempdir().unwrap();
        let socket = dir.path().join("socket");
        let deadline = Duration::from_millis(200);
        let start = |program: &Path| {
            SupervisedDaemon::start(program, &socket, deadline, &Cancel::default()).map(|_| ())
        };
        let program = script(dir.path(), "exec sleep 60");
        assert!(matches!(
            start(&program),
            Err(NixDaemonError::Silent { .. })
        ));
        let missing = start(Path::new("/does/not/exist"));
        assert!(matches!(missing, Err(NixDaemonError::Start { .. })));
    }
}

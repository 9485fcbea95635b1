//! An own daemon: `nixctld serve --private` as a child, over a socket pair that is its stdin.
//!
//! The child is in a process group of its own, so that Ctrl-C on the terminal reaches the client
//! alone, which then asks for a cancel. When the client ends, however it ends, the child reads the
//! end of its stdin, brings the machine to a step boundary and leaves.

use std::collections::VecDeque;
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixStream as StdStream;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use nix::sys::signal::{Signal, kill};
use nix::unistd::{AccessFlags, Pid, access, geteuid};
use nixctl_proto::{Code, Failure};
use tokio::io::{AsyncBufReadExt, BufReader};
use tokio::net::UnixStream;
use tokio::process::{Child, ChildStderr, Command};
use tokio::task::JoinHandle;
use tokio::time::timeout;

use super::Trouble;
use super::socket::Socket;

/// Name of the daemon's program.
const PROGRAM: &str = "nixctld";
/// Where it is looked for after the client's own folder and before `PATH`.
const FOLDERS: [&str; 2] = ["/usr/local/bin", "/usr/bin"];
/// Lines of the child's log that are kept to explain its end.
const KEPT_LINES: usize = 8;
/// How long the child may take to leave when asked by the end of its stdin: a step to finish.
const LEAVE: Duration = Duration::from_secs(60);
/// How long it may take after SIGTERM, before it is killed.
const TERMINATE: Duration = Duration::from_secs(10);
/// How long the end of a log may take to arrive after the process has ended.
const LAST_WORDS: Duration = Duration::from_secs(1);

/// The child.
#[derive(Debug)]
pub struct Private {
    program: PathBuf,
    child: Child,
    log: Log,
}

/// The end of what the child wrote to standard error.
#[derive(Debug, Default)]
struct Log {
    lines: Arc<Mutex<VecDeque<String>>>,
    reader: Option<JoinHandle<()>>,
}

/// Starts an own daemon and connects to it.
pub async fn start(root: Option<&Path>, verbose: bool) -> Result<Socket, Failure> {
    check_privilege(root)?;
    let program = find_program()?;
    let (stream, private) = spawn(program, root, verbose)?;
    Socket::own(stream, private).await
}

/// The daemon's program: beside the client, in the usual folders, on `PATH`.
pub fn find_program() -> Result<PathBuf, Failure> {
    let own = std::env::current_exe().ok();
    let beside = own.as_deref().and_then(Path::parent).map(Path::to_owned);
    let path = std::env::var_os("PATH").unwrap_or_default();
    let folders = beside
        .into_iter()
        .chain(FOLDERS.iter().map(PathBuf::from))
        .chain(std::env::split_paths(&path).filter(|folder| folder.is_absolute()));
    first_program(folders).ok_or_else(|| {
        Failure::new(
            Code::Unreachable,
            "cannot start nixctld: its program was not found",
        )
        .with_help("put nixctld into the folder where nixctl is")
    })
}

fn first_program(mut folders: impl Iterator<Item = PathBuf>) -> Option<PathBuf> {
    folders.find_map(|folder| {
        let program = folder.join(PROGRAM);
        (program.is_file() && access(&program, AccessFlags::X_OK).is_ok()).then_some(program)
    })
}

/// Changes of the machine need root; an image needs only to be writable.
fn check_privilege(root: Option<&Path>) -> Result<(), Failure> {
    let writable = |root: &Path| access(root, AccessFlags::W_OK | AccessFlags::X_OK);
    let problem = match root {
        _ if geteuid().is_root() => return Ok(()),
        None => "cannot run nixctld for this command alone: only root may".to_owned(),
        Some(root) => match writable(root) {
            Ok(()) => return Ok(()),
            Err(error) => format!("cannot work on {}: {}", root.display(), error.desc()),
        },
    };
    let help = "run the command as root, for example with sudo";
    Err(Failure::new(Code::NotAuthorized, problem).with_help(help))
}

fn spawn(
    program: PathBuf,
    root: Option<&Path>,
    verbose: bool,
) -> Result<(UnixStream, Private), Failure> {
    let cannot = |why: String| {
        let message = format!("cannot start {}: {why}", program.display());
        Failure::new(Code::Unreachable, message)
    };
    let (ours, theirs) = StdStream::pair().map_err(|error| cannot(error.to_string()))?;
    ours.set_nonblocking(true)
        .map_err(|error| cannot(error.to_string()))?;
    let ours = UnixStream::from_std(ours).map_err(|error| cannot(error.to_string()))?;
    let mut command = Command::new(&program);
    command.arg("serve").arg("--private");
    if let Some(root) = root {
        command.arg("--root").arg(root);
    }
    command
        .stdin(Stdio::from(OwnedFd::from(theirs)))
        .stdout(Stdio::null())
        .stderr(if verbose {
            Stdio::inherit()
        } else {
            Stdio::piped()
        })
        .process_group(0);
    let mut child = command.spawn().map_err(|error| cannot(error.to_string()))?;
    let log = child.stderr.take().map(Log::collect).unwrap_or_default();
    Ok((
        ours,
        Private {
            program,
            child,
            log,
        },
    ))
}

impl Private {
    /// Why the child is gone.
    pub async fn lost(&mut self) -> Trouble {
        let status = match timeout(LAST_WORDS, self.child.wait()).await {
            Ok(Ok(status)) => status.to_string(),
            _ => "it closed the connection".to_owned(),
        };
        let mut failure = Failure::new(
            Code::Unreachable,
            format!("cannot go on: {} ended ({status})", self.program.display()),
        )
        .with_help("run the command again with --verbose to see its log");
        failure.causes = self.log.last_words().await;
        Trouble::Refused(failure)
    }

    /// Why the child never became a daemon.
    pub async fn did_not_start(&mut self, trouble: Trouble) -> Failure {
        if let Trouble::Refused(failure) = trouble {
            return failure;
        }
        let why = match timeout(LAST_WORDS, self.child.wait()).await {
            Ok(Ok(status)) => format!("it ended ({status})"),
            _ => trouble.to_string(),
        };
        let message = format!("cannot start {}: {why}", self.program.display());
        let mut failure = Failure::new(Code::Unreachable, message)
            .with_help("run the command again with --verbose to see its log");
        failure.causes = self.log.last_words().await;
        self.finish().await;
        failure
    }

    /// Waits for the child, whose stdin has ended; then asks it to leave; then makes it.
    pub async fn finish(&mut self) {
        if timeout(LEAVE, self.child.wait()).await.is_ok() {
            return;
        }
        if let Some(id) = self.child.id().and_then(|id| i32::try_from(id).ok()) {
            // It may have ended just now.
            let _ = kill(Pid::from_raw(id), Signal::SIGTERM);
        }
        if timeout(TERMINATE, self.child.wait()).await.is_err() {
            // As before.
            let _ = self.child.kill().await;
        }
    }
}

impl Log {
    /// Reads what the child writes, so that it never blocks, and keeps the end of it.
    fn collect(stderr: ChildStderr) -> Log {
        let lines = Arc::new(Mutex::new(VecDeque::new()));
        let kept = Arc::clone(&lines);
        let reader = tokio::spawn(async move {
            let mut stderr = BufReader::new(stderr).lines();
            while let Ok(Some(line)) = stderr.next_line().await {
                let mut kept = kept.lock().unwrap_or_else(PoisonError::into_inner);
                if kept.len() == KEPT_LINES {
                    kept.pop_front();
                }
                kept.push_back(line);
            }
        });
        Log {
            lines,
            reader: Some(reader),
        }
    }

    async fn last_words(&mut self) -> Vec<String> {
        if let Some(reader) = self.reader.take() {
            // A grandchild may hold the pipe open.
            let _ = timeout(LAST_WORDS, reader).await;
        }
        self.lines
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .iter()
            .cloned()
            .collect()
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    fn program(folder: &Path, script: &str) -> PathBuf {
        let path = folder.join(PROGRAM);
        std::fs::write(&path, script).unwrap();
        std::fs::set_permissions(&path, PermissionsExt::from_mode(0o755)).unwrap();
        path
    }

    #[test]
    fn the_first_program_that_can_run_is_taken() {
        let (empty, plain, right) = (
            tempfile::tempdir().unwrap(),
            tempfile::tempdir().unwrap(),
            tempfile::tempdir().unwrap(),
        );
        std::fs::create_dir(empty.path().join(PROGRAM)).unwrap();
        std::fs::write(plain.path().join(PROGRAM), "not executable").unwrap();
        let expected = program(right.path(), "#!/bin/sh\n");
        let folders = [&empty, &plain, &right].map(|folder| folder.path().to_owned());
        assert_eq!(first_program(folders.clone().into_iter()), Some(expected));
        assert_eq!(first_program(folders.into_iter().take(2)), None);
    }

    #[tokio::test]
    async fn a_child_that_ends_is_explained() {
        let folder = tempfile::tempdir().unwrap();
        let program = program(
            folder.path(),
            "#!/bin/sh\necho \"no room: $*\" >&2\nexit 3\n",
        );
        let (stream, private) = spawn(program, Some(Path::new("/image")), false).unwrap();
        let failure = Socket::own(stream, private).await.unwrap_err();
        assert_eq!(failure.code, Code::Unreachable);
        assert!(
            failure.message.contains("exit status: 3"),
            "{}",
            failure.message
        );
        assert_eq!(failure.causes, ["no room: serve --private --root /image"]);
    }

    #[tokio::test]
    async fn a_child_leaves_when_the_client_does() {
        let folder = tempfile::tempdir().unwrap();
        let program = program(folder.path(), "#!/bin/sh\ncat >/dev/null\n");
        let (stream, mut private) = spawn(program, None, false).unwrap();
        drop(stream);
        timeout(Duration::from_secs(20), private.finish())
            .await
            .unwrap();
        assert!(private.child.try_wait().unwrap().is_some());
    }
}

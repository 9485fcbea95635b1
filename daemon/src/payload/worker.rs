//! Heavy work in a child of the same binary.
//!
//! The child gets its task as one line of JSON on standard input and answers in lines on standard
//! output. Standard input stays open as long as the daemon lives: when it ends, so does the
//! child. Cancelling is a kill; what the child leaves behind is taken up by the next attempt.

use std::io::{BufRead, BufReader, Read, Write};
use std::os::unix::process::{CommandExt, ExitStatusExt};
use std::path::PathBuf;
use std::process::{Child, ChildStdin, Command, Stdio};
use std::sync::Mutex;
use std::sync::mpsc::{Receiver, RecvTimeoutError, channel};
use std::time::{Duration, Instant};

use nix::sys::signal::{Signal, killpg};
use nix::unistd::Pid;
use nixctl_proto::Code;
use serde::{Deserialize, Serialize};

use super::{Archive, Fetch, PayloadError, fetch, unpack};
use crate::health::database;
use crate::host::{Cancel, Fs};
use crate::resource::Progress;
use crate::takeover::archive::{self, SelfArchive};
use crate::upgrade::reading::{self, Reading};
use crate::upgrade::turn;

/// Longest time without any sign of progress.
const STALL_DEADLINE: Duration = Duration::from_secs(120);
/// How often the parent looks whether it was asked to stop.
const LOOK: Duration = Duration::from_millis(50);
/// Shortest time between two progress lines.
const REPORT: Duration = Duration::from_millis(100);
/// Bytes kept of what the child wrote on standard error.
const MAX_STDERR: u64 = 64 << 10;
/// Exit code of a child whose daemon is gone.
const ORPHANED: i32 = 75;
/// Variables of the daemon's environment that the child needs: proxies and certificates.
const PASSED_ON: [&str; 11] = [
    "PATH",
    "SSL_CERT_FILE",
    "NIX_SSL_CERT_FILE",
    "http_proxy",
    "https_proxy",
    "all_proxy",
    "no_proxy",
    "HTTP_PROXY",
    "HTTPS_PROXY",
    "ALL_PROXY",
    "NO_PROXY",
];

/// Work that is done in a child.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum Task {
    /// Download (or copy) and check an archive.
    Fetch(Fetch),
    /// Unpack an archive, check every entry, move its paths into the store, sync, and write the
    /// manifest.
    Unpack(Archive),
    /// Copy, look at or restore Nix's database.
    Database(database::Work),
    /// Read the release feed.
    Feed(Reading),
    /// Ask the fleet for this machine's turn.
    Turn(turn::Asking),
    /// Unpack a release of nixctl.
    UnpackSelf(SelfArchive),
}

/// Does heavy work.
pub trait Worker: Send + Sync {
    /// Does the task; the child is killed when `cancel` asks for it.
    ///
    /// # Errors
    /// What went wrong in the child, or that it was lost.
    fn run(
        &self,
        task: &Task,
        progress: &dyn Progress,
        cancel: &Cancel,
    ) -> Result<(), PayloadError>;
}

/// Does the work here: in tests, and in the child itself.
#[derive(Debug, Clone)]
pub struct InProcess {
    fs: Fs,
}

impl InProcess {
    /// Works on the files under this root.
    pub fn new(fs: Fs) -> InProcess {
        InProcess { fs }
    }
}

impl Worker for InProcess {
    fn run(
        &self,
        task: &Task,
        progress: &dyn Progress,
        cancel: &Cancel,
    ) -> Result<(), PayloadError> {
        match task {
            Task::Fetch(task) => fetch::fetch(&self.fs, task, progress, cancel),
            Task::Unpack(archive) => unpack::unpack(&self.fs, archive, progress, cancel),
            Task::Database(work) => Ok(database::work(&self.fs, work, progress, cancel)?),
            Task::Feed(work) => reading::work(work, progress, cancel),
            Task::Turn(asking) => turn::work(asking, cancel),
            Task::UnpackSelf(archive) => archive::unpack(&self.fs, archive, progress, cancel),
        }
    }
}

/// Does the work in a child of the daemon's own program.
#[derive(Debug, Clone)]
pub struct ChildWorker {
    root: PathBuf,
    program: PathBuf,
    arguments: Vec<String>,
    stall: Duration,
}

impl ChildWorker {
    /// Works on the files under this root.
    pub fn new(fs: &Fs) -> ChildWorker {
        // The link to the running program stays right when the file was replaced by an upgrade.
        let program = if cfg!(target_os = "linux") {
            PathBuf::from("/proc/self/exe")
        } else {
            std::env::current_exe().unwrap_or_else(|_| "nixctld".into())
        };
        ChildWorker {
            root: fs.root().to_owned(),
            program,
            arguments: vec!["worker".to_owned()],
            stall: STALL_DEADLINE,
        }
    }

    fn start(&self, task: &Task) -> Result<Running, PayloadError> {
        let cannot = |error: std::io::Error| {
            PayloadError::new(
                Code::WorkerLost,
                format!("cannot start the worker: {error}"),
            )
        };
        let mut command = Command::new(&self.program);
        command
            .args(&self.arguments)
            .env_clear()
            .env("LANG", "C")
            .process_group(0);
        command
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped());
        command.current_dir("/");
        command.envs(
            PASSED_ON
                .iter()
                .filter_map(|name| Some((name, std::env::var_os(name)?))),
        );
        let mut running = Running {
            child: command.spawn().map_err(cannot)?,
            stdin: None,
        };
        let job = Job {
            root: self.root.clone(),
            task: task.clone(),
        };
        let mut line = serde_json::to_vec(&job).map_err(|error| cannot(error.into()))?;
        line.push(b'\n');
        let mut stdin = running.child.stdin.take();
        if let Some(stdin) = &mut stdin {
            // A child that ended already says more than the broken pipe to it.
            let _ = stdin.write_all(&line);
        }
        running.stdin = stdin;
        Ok(running)
    }
}

impl Worker for ChildWorker {
    fn run(
        &self,
        task: &Task,
        progress: &dyn Progress,
        cancel: &Cancel,
    ) -> Result<(), PayloadError> {
        let mut running = self.start(task)?;
        let lines = running.lines();
        let stderr = running.stderr();
        let mut heard = Instant::now();
        loop {
            if cancel.requested().is_some() {
                return Err(PayloadError::Stopped);
            }
            match lines.recv_timeout(LOOK) {
                Ok(Line::Bytes(done, total)) => progress.bytes(done, total),
                Ok(Line::Note(text)) => progress.note(&text),
                Ok(Line::Ok(_)) => return Ok(()),
                Ok(Line::Error(error)) => return Err(error.into()),
                Err(RecvTimeoutError::Disconnected) => return Err(running.lost(&stderr)),
                Err(RecvTimeoutError::Timeout) if heard.elapsed() > self.stall => {
                    let seconds = self.stall.as_secs();
                    let message = format!("cannot finish the work: no progress for {seconds} s");
                    return Err(PayloadError::new(Code::Timeout, message));
                }
                Err(RecvTimeoutError::Timeout) => continue,
            }
            heard = Instant::now();
        }
    }
}

/// A child that is killed when nobody wants it any more.
struct Running {
    child: Child,
    /// Kept open: its end tells the child that the daemon is gone.
    stdin: Option<ChildStdin>,
}

impl Running {
    fn lines(&mut self) -> Receiver<Line> {
        let (sender, receiver) = channel();
        if let Some(stdout) = self.child.stdout.take() {
            std::thread::spawn(move || {
                for line in BufReader::new(stdout).lines().map_while(Result::ok) {
                    let Ok(line) = serde_json::from_str(&line) else {
                        break;
                    };
                    if sender.send(line).is_err() {
                        break;
                    }
                }
            });
        }
        receiver
    }

    fn stderr(&mut self) -> Receiver<String> {
        let (sender, receiver) = channel();
        if let Some(stderr) = self.child.stderr.take() {
            std::thread::spawn(move || {
                let mut text = Vec::new();
                let _ = stderr.take(MAX_STDERR).read_to_end(&mut text);
                let _ = sender.send(String::from_utf8_lossy(&text).trim().to_owned());
            });
        }
        receiver
    }

    fn lost(&mut self, stderr: &Receiver<String>) -> PayloadError {
        self.stdin = None;
        let until = Instant::now() + Duration::from_secs(2);
        let status = loop {
            match self.child.try_wait() {
                Ok(None) if Instant::now() < until => std::thread::sleep(LOOK),
                Ok(status) => break status,
                Err(_) => break None,
            }
        };
        let how = match status.map(|status| (status.code(), status.signal())) {
            Some((Some(code), _)) => format!("it ended with {code}"),
            Some((_, Some(signal))) => format!("it was killed by signal {signal}"),
            _ => "it closed its output".to_owned(),
        };
        let error = PayloadError::new(Code::WorkerLost, format!("cannot hear the worker: {how}"));
        match stderr.recv_timeout(LOOK) {
            Ok(text) if !text.is_empty() => error.with_cause(text),
            _ => error,
        }
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        let ended = matches!(self.child.try_wait(), Ok(Some(_)));
        if let (false, Ok(group)) = (ended, i32::try_from(self.child.id())) {
            let _ = killpg(Pid::from_raw(group), Signal::SIGKILL);
        }
        let _ = self.child.wait();
    }
}

/// What the child is told.
#[derive(Debug, Serialize, Deserialize)]
struct Job {
    root: PathBuf,
    task: Task,
}

/// What the child says.
#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
enum Line {
    Bytes(u64, u64),
    Note(String),
    Ok(bool),
    Error(Reported),
}

#[derive(Debug, Serialize, Deserialize)]
struct Reported {
    code: Code,
    message: String,
    causes: Vec<String>,
    help: Option<String>,
    stopped: bool,
}

impl From<Reported> for PayloadError {
    fn from(reported: Reported) -> PayloadError {
        let Reported {
            code,
            message,
            causes,
            help,
            stopped,
        } = reported;
        if stopped {
            return PayloadError::Stopped;
        }
        PayloadError::Reported {
            code,
            message,
            causes,
            help,
        }
    }
}

impl From<PayloadError> for Reported {
    fn from(error: PayloadError) -> Reported {
        let (stopped, failure) = (error.is_stopped(), error.failure());
        let help = (failure.help != failure.code.help()).then_some(failure.help);
        Reported {
            code: failure.code,
            message: failure.message,
            causes: failure.causes,
            help,
            stopped,
        }
    }
}

/// The child's side: does the task that standard input names. Never returns while there is work.
pub fn main() -> std::process::ExitCode {
    let mut input = BufReader::new(std::io::stdin());
    let mut line = String::new();
    let job: Option<Job> = input
        .read_line(&mut line)
        .ok()
        .and_then(|_| serde_json::from_str(&line).ok());
    let Some(job) = job else {
        eprintln!("error: the worker is started by nixctld only");
        return std::process::ExitCode::from(2);
    };
    std::thread::spawn(move || {
        let _ = std::io::copy(&mut input, &mut std::io::sink());
        std::process::exit(ORPHANED);
    });
    let speaker = Speaker::default();
    let result = InProcess::new(Fs::at(job.root)).run(&job.task, &speaker, &Cancel::default());
    speaker.say(&match result {
        Ok(()) => Line::Ok(true),
        Err(error) => Line::Error(error.into()),
    });
    std::process::ExitCode::SUCCESS
}

/// Tells the parent, at most ten times a second.
#[derive(Debug, Default)]
struct Speaker {
    last: Mutex<Option<Instant>>,
}

impl Speaker {
    fn say(&self, line: &Line) {
        let Ok(mut text) = serde_json::to_vec(line) else {
            return;
        };
        text.push(b'\n');
        let mut out = std::io::stdout().lock();
        let _ = out.write_all(&text).and_then(|()| out.flush());
    }
}

impl Progress for Speaker {
    fn bytes(&self, done: u64, total: u64) {
        let Ok(mut last) = self.last.lock() else {
            return;
        };
        let now = Instant::now();
        let due = last.is_none_or(|last| now.duration_since(last) >= REPORT);
        if due || (total > 0 && done == total) {
            *last = Some(now);
            self.say(&Line::Bytes(done, total));
        }
    }

    fn note(&self, text: &str) {
        self.say(&Line::Note(text.to_owned()));
    }
}

#[cfg(test)]
#[path = "worker_tests.rs"]
mod tests;

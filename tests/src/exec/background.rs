//! Commands that run in the background, and the threads that collect what they print.

use std::io::{Read, Write};
use std::process::{Child, ChildStdin, ExitStatus};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use nix::sys::signal::{Signal, kill};

use super::{Output, TICK, code, kill_tree, pid, tail};
use crate::error::{Error, Result};

/// How long output may still come after the command itself has ended.
const LINGER: Duration = Duration::from_millis(200);
/// How long an answer that was typed may stay without an effect until it is typed again.
const AGAIN: Duration = Duration::from_secs(5);

/// A command that runs in the background. Dropping it kills it.
#[derive(Debug)]
pub struct Background {
    child: Child,
    stdout: Collector,
    stderr: Collector,
    label: String,
    started: Instant,
    ended: Option<ExitStatus>,
}

impl Background {
    /// Takes over a child whose three streams are pipes.
    pub(super) fn new(mut child: Child, label: String, started: Instant) -> Self {
        let stdout = Collector::start(child.stdout.take());
        let stderr = Collector::start(child.stderr.take());
        Self {
            child,
            stdout,
            stderr,
            label,
            started,
            ended: None,
        }
    }

    /// Its standard input, to be written to elsewhere.
    pub(super) fn take_input(&mut self) -> Option<ChildStdin> {
        self.child.stdin.take()
    }

    /// Process id on the host.
    #[must_use]
    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// Writes to its standard input; a command that no longer reads is no error.
    pub fn write(&mut self, bytes: &[u8]) {
        if let Some(pipe) = &mut self.child.stdin {
            let _ = pipe.write_all(bytes).and_then(|()| pipe.flush());
        }
    }

    /// Closes its standard input.
    pub fn close_input(&mut self) {
        self.child.stdin = None;
    }

    /// What it has printed so far to standard output.
    #[must_use]
    pub fn stdout(&self) -> String {
        self.stdout.text()
    }

    /// What it has printed so far to standard error.
    #[must_use]
    pub fn stderr(&self) -> String {
        self.stderr.text()
    }

    /// True until it has ended.
    pub fn is_running(&mut self) -> bool {
        if self.ended.is_none() {
            self.ended = self.child.try_wait().ok().flatten();
        }
        self.ended.is_none()
    }

    /// Sends a signal to the process itself (not to its children).
    pub fn signal(&self, signal: Signal) {
        if self.ended.is_none() {
            let _ = kill(pid(self.child.id()), signal);
        }
    }

    /// Waits until standard output or standard error contains `needle`.
    pub fn wait_for(&mut self, needle: &str, deadline: Duration) -> Result<()> {
        let until = Instant::now() + deadline;
        loop {
            let running = self.is_running();
            if self.stdout().contains(needle) || self.stderr().contains(needle) {
                return Ok(());
            }
            if !running {
                let why = format!("`{}` ended: {}", self.label, self.quote());
                return Err(Error::new(format!("wait for {needle:?}"), why));
            }
            if Instant::now() > until {
                let what = format!("waiting for {needle:?} of `{}`", self.label);
                return Err(Error::Timeout {
                    what,
                    deadline,
                    output: self.quote(),
                });
            }
            std::thread::sleep(TICK);
        }
    }

    /// Types `answer` when `prompt` is there, and again every few seconds until `taken` is printed.
    ///
    /// Programs that ask for a password print the prompt first and only then flush what was typed
    /// (`tcsetattr` with `TCSAFLUSH`), so that an answer that is too quick is lost.
    pub fn answer(
        &mut self,
        prompt: &str,
        answer: &str,
        taken: &str,
        deadline: Duration,
    ) -> Result<()> {
        self.wait_for(prompt, deadline)?;
        let until = Instant::now() + deadline;
        loop {
            self.write(format!("{answer}\n").as_bytes());
            match self.wait_for(taken, AGAIN) {
                Err(Error::Timeout { .. }) if Instant::now() < until => {}
                done => return done,
            }
        }
    }

    /// Waits for its end; when it is late, kills it and everything below it.
    pub fn wait(mut self, deadline: Duration) -> Result<Output> {
        let until = Instant::now() + deadline;
        while self.is_running() {
            if Instant::now() > until {
                self.kill();
                let output = self.quote();
                return Err(Error::Timeout {
                    what: format!("`{}`", self.label),
                    deadline,
                    output,
                });
            }
            std::thread::sleep(TICK);
        }
        let took = self.started.elapsed();
        let bytes = self.stdout.finish();
        let stderr = String::from_utf8_lossy(&self.stderr.finish()).into_owned();
        Ok(Output {
            status: self.ended.map_or(-1, code),
            stdout: String::from_utf8_lossy(&bytes).into_owned(),
            stderr,
            took,
            bytes,
            command: self.label.clone(),
        })
    }

    /// Kills it and everything below it, and waits until it is gone.
    pub fn kill(&mut self) {
        if self.is_running() {
            kill_tree(self.child.id());
            self.ended = self.child.wait().ok();
        }
    }

    fn quote(&self) -> String {
        tail(&format!("{}{}", self.stdout.text(), self.stderr.text()))
    }
}

impl Drop for Background {
    fn drop(&mut self) {
        self.kill();
    }
}

/// A thread that reads a pipe to its end.
#[derive(Debug)]
struct Collector {
    bytes: Arc<Mutex<Vec<u8>>>,
    reader: Option<JoinHandle<()>>,
}

impl Collector {
    fn start(pipe: Option<impl Read + Send + 'static>) -> Self {
        let bytes = Arc::new(Mutex::new(Vec::new()));
        let shared = Arc::clone(&bytes);
        let reader = pipe.map(|mut pipe| {
            std::thread::spawn(move || {
                let mut buffer = [0; 64 * 1024];
                while let Ok(count @ 1..) = pipe.read(&mut buffer) {
                    lock(&shared).extend_from_slice(&buffer[..count]);
                }
            })
        });
        Self { bytes, reader }
    }

    fn text(&self) -> String {
        String::from_utf8_lossy(&lock(&self.bytes)).into_owned()
    }

    /// All bytes, waiting a moment for those that are still under way.
    fn finish(&mut self) -> Vec<u8> {
        let until = Instant::now() + LINGER;
        while self
            .reader
            .as_ref()
            .is_some_and(|reader| !reader.is_finished())
        {
            if Instant::now() > until {
                break;
            }
            std::thread::sleep(TICK);
        }
        lock(&self.bytes).clone()
    }
}

fn lock(bytes: &Mutex<Vec<u8>>) -> std::sync::MutexGuard<'_, Vec<u8>> {
    bytes.lock().unwrap_or_else(PoisonError::into_inner)
}

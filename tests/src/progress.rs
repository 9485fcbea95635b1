//! What long tests say while they run.
//!
//! The test runner keeps the output of a test until its end, so lines that somebody waits for also
//! go into the file that `NIXCTL_LAB_PROGRESS` names; `cargo lab test` shows them as they come.
//! Each line is one write to a file opened for appending, so those of several tests do not mix.

use std::fs::{File, OpenOptions};
use std::io::{Read, Write};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::Duration;

use crate::error::{Context, Result};

/// The variable that names the file.
pub const VARIABLE: &str = "NIXCTL_LAB_PROGRESS";
/// Begins a line that is repeated at the end.
const FAILED: &str = "WRONG: ";
/// How often new lines are looked for.
const TICK: Duration = Duration::from_millis(200);

/// Says how far a test is.
pub fn tell(line: &str) {
    println!("{line}");
    append(line);
}

/// Says what was wrong; it is repeated when all tests have ended.
pub fn fail(line: &str) {
    append(&format!("{FAILED}{line}"));
}

fn append(line: &str) {
    if let Some(path) = std::env::var_os(VARIABLE) {
        append_to(path.as_ref(), line);
    }
}

fn append_to(path: &Path, line: &str) {
    // Who only looks on must not make a test fail.
    if let Ok(mut file) = OpenOptions::new().append(true).open(path) {
        let _ = file.write_all(format!("{}\n", line.replace('\n', " ")).as_bytes());
    }
}

/// Shows what tests say until it is told to stop.
#[derive(Debug)]
pub struct Follower {
    path: PathBuf,
    stop: Arc<AtomicBool>,
    reader: Option<JoinHandle<Vec<String>>>,
}

impl Follower {
    /// Makes the file and begins.
    pub fn start(path: &Path) -> Result<Self> {
        let why = || format!("create {}", path.display());
        File::create(path).context(why)?;
        let mut file = File::open(path).context(why)?;
        let stop = Arc::new(AtomicBool::new(false));
        let asked = Arc::clone(&stop);
        let reader = std::thread::spawn(move || {
            let (mut rest, mut failed) = (String::new(), Vec::new());
            loop {
                let last = asked.load(Ordering::Relaxed);
                let mut bytes = Vec::new();
                let _ = file.read_to_end(&mut bytes);
                rest.push_str(&String::from_utf8_lossy(&bytes));
                show(&mut rest, &mut failed);
                if last {
                    return failed;
                }
                std::thread::sleep(TICK);
            }
        });
        Ok(Self {
            path: path.to_path_buf(),
            stop,
            reader: Some(reader),
        })
    }

    /// The file, for the variable.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Shows the last lines, removes the file and returns what was wrong.
    #[must_use]
    pub fn finish(mut self) -> Vec<String> {
        self.stop.store(true, Ordering::Relaxed);
        let failed = self.reader.take().map(JoinHandle::join);
        failed.and_then(std::result::Result::ok).unwrap_or_default()
    }
}

impl Drop for Follower {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        let _ = std::fs::remove_file(&self.path);
    }
}

/// Prints the whole lines and keeps what was wrong.
fn show(rest: &mut String, failed: &mut Vec<String>) {
    while let Some(end) = rest.find('\n') {
        let line: String = rest.drain(..=end).collect();
        println!("lab: {}", line.trim_end());
        if let Some(what) = line.trim_end().strip_prefix(FAILED) {
            failed.push(what.to_owned());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::{Follower, append_to, show};
    use crate::paths;

    #[test]
    fn whole_lines_are_shown_and_failures_kept() {
        let mut rest = "one\nWRONG: two\nthr".to_owned();
        let mut failed = Vec::new();
        show(&mut rest, &mut failed);
        assert_eq!((rest.as_str(), failed), ("thr", vec!["two".to_owned()]));
    }

    #[test]
    fn what_was_wrong_is_there_at_the_end_and_the_file_is_not() {
        let scratch = paths::lab("scratch").unwrap();
        let path = scratch.join(paths::unique("follower"));
        let follower = Follower::start(&path).unwrap();
        for line in ["commit 2", "WRONG: commit 3\nand why", "WRONG: commit 5"] {
            append_to(&path, line);
        }
        assert_eq!(follower.finish(), ["commit 3 and why", "commit 5"]);
        assert!(!path.exists());
    }
}

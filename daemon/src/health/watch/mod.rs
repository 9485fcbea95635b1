//! Tells which areas' files changed, without ever looking at them by itself.
//!
//! The kernel says what happens to the files and folders of [`plan`]; what happens within [`WINDOW`] is
//! told once, however much it was, and nothing is queued but the set of areas. Folders that are removed, replaced
//! or made again are watched anew *before* it is told, so that whoever looks then sees what came in
//! between. What is mounted or unmounted over a folder the kernel does not say: [`Watch::refresh`]
//! is for that. Watching is a help only: where the kernel refuses it, the timer does.

#[cfg(target_os = "linux")]
mod ear;
#[cfg(not(target_os = "linux"))]
#[path = "ear_notify.rs"]
mod ear;
pub mod ground;
pub mod plan;
pub mod targets;

use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use ear::{Ear, Nudge};
use nix::errno::Errno;
pub use plan::{Counts, Target};
use plan::{Meaning, Plan, There};

use super::sighting::Areas;

/// How long is waited for more after something was heard.
const PAUSE: Duration = Duration::from_millis(20);

/// Something that was heard.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Heard {
    /// This happened to what is at the path.
    Happened(PathBuf, Counts),
    /// More happened than could be told.
    Lost,
}

/// How long what belongs together is waited for, and the shortest time between two tellings.
pub const WINDOW: Duration = Duration::from_millis(1500);
/// Pause before listening again after the kernel broke off.
const DEAF: Duration = Duration::from_secs(60);
/// Attempts to watch folders that change while they are looked at.
const ATTEMPTS: usize = 5;
/// How long [`Watch::refresh`] waits.
const REFRESH_DEADLINE: Duration = Duration::from_secs(5);

/// Why nothing can be watched.
#[derive(Debug, thiserror::Error)]
pub enum WatchError {
    /// The kernel refused, or no thread could be started.
    #[error("cannot watch files: {}", why(.0))]
    Refused(#[from] io::Error),
}

/// Who is told, on a thread of the watch's own, which waits for the answer.
pub type Tell = Box<dyn Fn(Areas) + Send>;

/// Watches files until it is dropped.
#[derive(Debug)]
pub struct Watch {
    shared: Arc<Shared>,
    thread: Option<JoinHandle<()>>,
}

#[derive(Debug)]
struct Shared {
    state: Mutex<State>,
    nudge: Nudge,
    armed: Condvar,
}

#[derive(Debug, Default)]
struct State {
    targets: Vec<Target>,
    /// How often everything was to be watched anew, and how often it was.
    wanted: u64,
    done: u64,
    /// Whether also what is watched already is to be watched anew.
    all: bool,
    /// What could not be watched, and why.
    trouble: Option<String>,
    is_over: bool,
}

impl Watch {
    /// Watches these.
    ///
    /// # Errors
    /// When the kernel does not let anything be watched.
    pub fn start(targets: Vec<Target>, tell: Tell) -> Result<Watch, WatchError> {
        Watch::with_window(targets, tell, WINDOW)
    }

    fn with_window(
        targets: Vec<Target>,
        tell: Tell,
        window: Duration,
    ) -> Result<Watch, WatchError> {
        let state = State {
            targets,
            ..State::default()
        };
        let (ear, nudge) = Ear::new()?;
        let shared = Arc::new(Shared {
            state: Mutex::new(state),
            nudge,
            armed: Condvar::new(),
        });
        let mut armer = Armer {
            ear,
            plan: Plan::default(),
            watched: BTreeMap::new(),
            shared: Arc::clone(&shared),
        };
        let thread = std::thread::Builder::new()
            .name("watch".to_owned())
            .spawn(move || armer.run(&tell, window))?;
        let watch = Watch {
            shared,
            thread: Some(thread),
        };
        watch.refresh();
        Ok(watch)
    }

    /// Watches these instead, soon: [`Watch::refresh`] waits for it.
    pub fn set(&self, targets: Vec<Target>) {
        let mut state = self.shared.lock();
        state.targets = targets;
        state.wanted += 1;
        self.shared.nudge.nudge();
    }

    /// Watches everything anew: after something was mounted, and before everything is looked at.
    /// Waits until it is so, a few seconds at most; at once when it is told something just now.
    pub fn refresh(&self) {
        let mut state = self.shared.lock();
        state.wanted += 1;
        state.all = true;
        let wanted = state.wanted;
        self.shared.nudge.nudge();
        let is_own = |thread: &JoinHandle<()>| thread.thread().id() == std::thread::current().id();
        if self.thread.as_ref().is_some_and(is_own) {
            return;
        }
        let waited = self
            .shared
            .armed
            .wait_timeout_while(state, REFRESH_DEADLINE, |state| state.done < wanted);
        drop(waited);
    }

    /// What cannot be watched, and why.
    pub fn trouble(&self) -> Option<String> {
        self.shared.lock().trouble.clone()
    }
}

impl Drop for Watch {
    fn drop(&mut self) {
        self.shared.lock().is_over = true;
        self.shared.nudge.nudge();
        if let Some(thread) = self.thread.take()
            && thread.thread().id() != std::thread::current().id()
        {
            let _ = thread.join();
        }
    }
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The thread that listens, watches anew and tells of areas.
struct Armer {
    ear: Ear,
    plan: Plan,
    watched: BTreeMap<PathBuf, Counts>,
    shared: Arc<Shared>,
}

impl Armer {
    fn run(&mut self, tell: &Tell, window: Duration) {
        // What happened since it was last told, and when that is told.
        let mut pending = Meaning::default();
        let mut due = None;
        loop {
            if !self.keep_up(&mut pending) {
                return;
            }
            if !pending.is_empty() {
                due.get_or_insert_with(|| Instant::now() + window);
            }
            let limit = due.map(|due: Instant| due.saturating_duration_since(Instant::now()));
            match self.ear.hear(limit) {
                Ok(heard) => {
                    for heard in heard {
                        pending.add(self.meaning(&heard));
                    }
                }
                Err(error) => {
                    tracing::warn!("cannot hear of changed files: {error}");
                    std::thread::sleep(DEAF);
                    pending.add(self.everything());
                }
            }
            if due.is_some_and(|due| due <= Instant::now()) {
                due = None;
                self.tell(std::mem::take(&mut pending), tell);
            }
        }
    }

    /// Watches what was asked for meanwhile; false: it is over.
    fn keep_up(&mut self, pending: &mut Meaning) -> bool {
        let (is_over, wanted, all) = {
            let mut state = self.shared.lock();
            let wanted = (state.wanted != state.done).then_some(state.wanted);
            (state.is_over, wanted, std::mem::take(&mut state.all))
        };
        if is_over {
            return false;
        }
        if let Some(wanted) = wanted {
            // What was heard by the watches of before would mean nothing afterwards.
            for heard in self.ear.hear(Some(Duration::ZERO)).unwrap_or_default() {
                pending.add(self.meaning(&heard));
            }
            let stale = match all {
                true => self.watched.keys().cloned().collect(),
                false => BTreeSet::new(),
            };
            self.arm(&stale);
            self.shared.lock().done = wanted;
            self.shared.armed.notify_all();
        }
        true
    }

    fn meaning(&self, heard: &Heard) -> Meaning {
        match heard {
            Heard::Happened(path, counts) => self.plan.meaning(path, *counts),
            Heard::Lost => self.everything(),
        }
    }

    /// Nobody knows what happened.
    fn everything(&self) -> Meaning {
        Meaning {
            areas: self.plan.areas(),
            stale: self.plan.paths().into_keys().collect(),
            rearm: true,
        }
    }

    fn tell(&mut self, pending: Meaning, tell: &Tell) {
        if pending.rearm {
            self.arm(&pending.stale);
        }
        if !pending.areas.is_empty() {
            tell(Areas::Only(pending.areas));
        }
    }

    /// Watches what is to be watched by now, and the stale ones anew.
    fn arm(&mut self, stale: &BTreeSet<PathBuf>) {
        for path in stale {
            self.ignore(path);
        }
        let mut trouble = None;
        for _ in 0..ATTEMPTS {
            let targets = self.shared.lock().targets.clone();
            let plan = Plan::of(&targets, &there);
            let paths = plan.paths();
            let is_same = plan == self.plan;
            self.plan = plan;
            let watched = std::mem::take(&mut self.watched);
            for (path, counts) in &watched {
                match paths.get(path) {
                    Some(wanted) if wanted == counts => {
                        self.watched.insert(path.clone(), *counts);
                    }
                    _ => self.ear.ignore(path),
                }
            }
            trouble = None;
            let mut is_new = false;
            for (path, counts) in paths {
                if self.watched.contains_key(&path) {
                    continue;
                }
                is_new = true;
                match self.ear.listen(&path, counts) {
                    Ok(()) => drop(self.watched.insert(path, counts)),
                    // The folder that it was in tells when it comes back.
                    Err(error) if is_gone(&error) => {}
                    Err(error) => {
                        let why = why(&error);
                        trouble.get_or_insert(format!("cannot watch {}: {why}", path.display()));
                    }
                }
            }
            // Something may have come into a folder just before it was watched.
            if is_same && !is_new {
                break;
            }
        }
        let mut state = self.shared.lock();
        if let Some(why) = trouble.as_ref().filter(|_| state.trouble != trouble) {
            tracing::warn!("{why}");
        }
        state.trouble = trouble;
    }

    fn ignore(&mut self, path: &Path) {
        if self.watched.remove(path).is_some() {
            self.ear.ignore(path);
        }
    }
}

fn is_gone(error: &io::Error) -> bool {
    use io::ErrorKind::{NotADirectory, NotFound};
    matches!(error.kind(), NotADirectory | NotFound)
}

/// The kernel's reason. Two of its numbers mean something else here than what their texts say.
fn why(error: &io::Error) -> String {
    match error.raw_os_error().map(Errno::from_raw) {
        Some(Errno::ENOSPC) => "the limit fs.inotify.max_user_watches is reached".to_owned(),
        Some(Errno::EMFILE) => {
            "the limit fs.inotify.max_user_instances, or that of open files, is reached".to_owned()
        }
        _ => error.to_string(),
    }
}

fn there(path: &Path) -> There {
    match std::fs::symlink_metadata(path) {
        Ok(meta) if meta.is_dir() => There::Folder,
        Ok(meta) if meta.is_file() => There::File,
        Ok(meta) if meta.is_symlink() && path.is_dir() => There::Link,
        _ => There::No,
    }
}

#[cfg(test)]
mod tests;

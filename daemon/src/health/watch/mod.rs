//! Tells which areas' files changed, without ever looking at them by itself.
//!
//! The kernel says what happens in the folders of [`plan`]; what happens within [`WINDOW`] is
//! told once, however much it was, and nothing is queued but the set of areas. Folders that are removed, replaced
//! or made again are watched anew *before* it is told, so that whoever looks then sees what came in
//! between. What is mounted or unmounted over a folder the kernel does not say: [`Watch::refresh`]
//! is for that. Watching is a help only: where the kernel refuses it, the timer does.

pub mod plan;

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;
use std::time::Duration;

use notify::event::{AccessKind, AccessMode, Event, EventKind, ModifyKind};
use notify::{RecommendedWatcher, RecursiveMode, Watcher};

pub use plan::Target;
use plan::{Meaning, Plan, There};

use super::sighting::Areas;

/// How long what belongs together is waited for, and the shortest time between two tellings.
pub const WINDOW: Duration = Duration::from_millis(1500);
/// Attempts to watch folders that change while they are looked at.
const ATTEMPTS: usize = 5;
/// How long [`Watch::refresh`] waits.
const REFRESH_DEADLINE: Duration = Duration::from_secs(5);

/// Why nothing can be watched.
#[derive(Debug, thiserror::Error)]
pub enum WatchError {
    /// The kernel refused.
    #[error("cannot watch files: {0}")]
    Refused(#[from] notify::Error),
    /// No thread could be started.
    #[error("cannot watch files: {0}")]
    Thread(#[from] std::io::Error),
}

/// Who is told, on a thread of the watch's own, which waits for the answer.
pub type Tell = Box<dyn Fn(Areas) + Send>;

/// Watches files until it is dropped.
#[derive(Debug)]
pub struct Watch {
    shared: Arc<Shared>,
    thread: Option<JoinHandle<()>>,
}

#[derive(Debug, Default)]
struct Shared {
    state: Mutex<State>,
    woken: Condvar,
    armed: Condvar,
}

#[derive(Debug, Default)]
struct State {
    targets: Vec<Target>,
    plan: Plan,
    /// What happened since it was last told.
    pending: Meaning,
    /// How often everything was to be watched anew, and how often it was.
    wanted: u64,
    done: u64,
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
        let shared = Arc::new(Shared {
            state: Mutex::new(state),
            ..Shared::default()
        });
        let hearing = Arc::clone(&shared);
        let watcher = notify::recommended_watcher(move |event| hearing.hear(event))?;
        let mut armer = Armer {
            watcher,
            watched: BTreeSet::new(),
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

    /// Watches these instead.
    pub fn set(&self, targets: Vec<Target>) {
        self.shared.lock().targets = targets;
        self.refresh();
    }

    /// Watches everything anew: after something was mounted, and before everything is looked at.
    /// Waits until it is so, a few seconds at most.
    pub fn refresh(&self) {
        let mut state = self.shared.lock();
        state.wanted += 1;
        let wanted = state.wanted;
        self.shared.woken.notify_all();
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
        self.shared.woken.notify_all();
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Takes in what the kernel says; called for every event, most of which mean nothing.
    fn hear(&self, event: notify::Result<Event>) {
        let mut state = self.lock();
        let meaning = match event {
            Ok(event) if event.need_rescan() => state.everything(),
            Ok(event) => match is_other(&event.kind) {
                Some(is_other) => {
                    let mut meaning = Meaning::default();
                    for path in &event.paths {
                        meaning.add(state.plan.meaning(path, is_other));
                    }
                    meaning
                }
                None => return,
            },
            Err(_) => state.everything(),
        };
        if meaning.is_empty() {
            return;
        }
        let was_empty = state.pending.is_empty();
        state.pending.add(meaning);
        if was_empty {
            self.woken.notify_all();
        }
    }
}

impl State {
    /// Nobody knows what happened.
    fn everything(&self) -> Meaning {
        Meaning {
            areas: self.plan.areas(),
            stale: self.plan.folders(),
            rearm: true,
        }
    }
}

/// Whether something else is at a path after an event, or nothing; `None`: it was only read.
fn is_other(kind: &EventKind) -> Option<bool> {
    match kind {
        EventKind::Access(AccessKind::Close(AccessMode::Write)) => Some(false),
        EventKind::Access(_) => None,
        EventKind::Create(_) | EventKind::Remove(_) | EventKind::Modify(ModifyKind::Name(_)) => {
            Some(true)
        }
        _ => Some(false),
    }
}

/// The thread that watches folders and tells of areas.
struct Armer {
    watcher: RecommendedWatcher,
    watched: BTreeSet<PathBuf>,
    shared: Arc<Shared>,
}

impl Armer {
    fn run(&mut self, tell: &Tell, window: Duration) {
        let shared = Arc::clone(&self.shared);
        let mut state = shared.lock();
        while !state.is_over {
            if state.wanted != state.done {
                let wanted = state.wanted;
                drop(state);
                self.arm(&self.watched.clone());
                state = shared.lock();
                state.done = wanted;
                shared.armed.notify_all();
            } else if state.pending.is_empty() {
                let woken = shared.woken.wait(state);
                state = woken.unwrap_or_else(PoisonError::into_inner);
            } else {
                let more = |state: &mut State| !state.is_over && state.wanted == state.done;
                let waited = shared.woken.wait_timeout_while(state, window, more);
                let (waited, end) = waited.unwrap_or_else(PoisonError::into_inner);
                state = waited;
                if end.timed_out() {
                    let pending = std::mem::take(&mut state.pending);
                    drop(state);
                    self.tell(pending, tell);
                    state = shared.lock();
                }
            }
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
            self.unwatch(path);
        }
        let mut trouble = None;
        for _ in 0..ATTEMPTS {
            let targets = self.shared.lock().targets.clone();
            let plan = Plan::of(&targets, &there);
            let folders = plan.folders();
            // What is heard from now on means what it means by the new plan.
            let is_same = std::mem::replace(&mut self.shared.lock().plan, plan.clone()) == plan;
            let odd: Vec<PathBuf> = self.watched.difference(&folders).cloned().collect();
            for path in odd {
                self.unwatch(&path);
            }
            trouble = None;
            let mut is_new = false;
            for path in folders {
                if self.watched.contains(&path) {
                    continue;
                }
                is_new = true;
                match self.watcher.watch(&path, RecursiveMode::NonRecursive) {
                    Ok(()) => drop(self.watched.insert(path)),
                    Err(error) => {
                        trouble = Some(format!("cannot watch {}: {error}", path.display()))
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

    fn unwatch(&mut self, path: &Path) {
        if self.watched.remove(path) {
            // The kernel lets go by itself of what is removed.
            let _ = self.watcher.unwatch(path);
        }
    }
}

fn there(path: &Path) -> There {
    match std::fs::symlink_metadata(path) {
        Ok(meta) if meta.is_dir() => There::Folder,
        Ok(meta) if meta.is_symlink() && path.is_dir() => There::Link,
        _ => There::No,
    }
}

#[cfg(test)]
mod tests;

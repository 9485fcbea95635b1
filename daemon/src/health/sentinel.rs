//! What wakes the rounds of checks: files that change, and units that fail, stop or mount.
//!
//! One front door for [`super::watch`] and [`super::signals`]. It looks at nothing by itself and
//! uses no processor time while nothing happens. Where the kernel or the bus refuse to tell, that is
//! logged once and the rest goes on: the timer of the rounds sees everything in the end.

use std::collections::BTreeSet;
use std::path::Path;
use std::sync::mpsc::{Receiver, Sender, channel};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};
use std::thread::JoinHandle;
use std::time::Duration;

use nixctl_proto::health::check::Area;
use nixctl_proto::settings::Settings;

use super::schedule::Cause;
use super::sighting::Areas;
use super::signals::{News, Signals, units};
use super::watch::ground::Ground;
use super::watch::targets::{targets, with_ends};
use super::watch::{Target, Watch};
use crate::catalogue::facts::links::follow;
use crate::host::Host;
use crate::host::service::{Heard, Listening};
use crate::resource::Resource;

/// How long signals are waited for that belong to the first: a mount changes more than one unit.
const TOGETHER: Duration = Duration::from_millis(300);

/// Who is told that some areas should be looked at, and why. Called on threads of the sentinel's
/// own, several at once perhaps; must not wait for the sentinel's end.
pub type Tell = Arc<dyn Fn(Cause, Areas) + Send + Sync>;

/// Tells of changes until it is dropped.
#[derive(Debug)]
pub struct Sentinel {
    inner: Arc<Inner>,
    /// Dropped first: nothing is heard of units then, and the thread ends.
    listening: Option<Box<dyn Listening>>,
    thread: Option<JoinHandle<()>>,
}

struct Inner {
    host: Host,
    tell: Tell,
    watch: OnceLock<Watch>,
    /// Why there is no watch.
    refused: Mutex<Option<String>>,
    aim: Mutex<Aim>,
    signals: Mutex<Signals>,
}

/// What is watched, and for whom.
#[derive(Debug, Default)]
struct Aim {
    owned: Vec<Resource>,
    settings: Settings,
    ground: Ground,
    targets: Vec<Target>,
}

impl std::fmt::Debug for Inner {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Inner")
            .field("watch", &self.watch)
            .field("aim", &self.aim)
            .field("signals", &self.signals)
            .finish_non_exhaustive()
    }
}

impl Sentinel {
    /// Begins, with nothing to watch: [`Sentinel::set`] says what.
    pub fn start(host: Host, tell: Tell) -> Sentinel {
        let inner = Arc::new(Inner {
            host,
            tell,
            watch: OnceLock::new(),
            refused: Mutex::default(),
            aim: Mutex::default(),
            signals: Mutex::default(),
        });
        let (listening, thread) = listen(&inner);
        watch(&inner);
        Sentinel {
            inner,
            listening,
            thread,
        }
    }

    /// Watches what these resources and settings need. Cheap when they are as before: a few small
    /// files are read.
    pub fn set(&self, owned: &[Resource], settings: &Settings) {
        {
            let mut aim = lock(&self.inner.aim);
            owned.clone_into(&mut aim.owned);
            settings.clone_into(&mut aim.settings);
        }
        self.inner.aim();
        self.listen_to_units();
    }

    /// Watches everything anew, before everything is looked at and after something was mounted:
    /// what is mounted over a folder is not heard from it. What was refused before is tried again.
    pub fn refresh(&self) {
        if self.inner.watch.get().is_none() {
            watch(&self.inner);
        }
        self.inner.aim();
        self.listen_to_units();
        if let Some(watch) = self.inner.watch.get() {
            watch.refresh();
        }
    }

    /// What cannot be watched, and why.
    pub fn trouble(&self) -> Option<String> {
        match self.inner.watch.get() {
            Some(watch) => watch.trouble(),
            None => lock(&self.inner.refused).clone(),
        }
    }

    fn listen_to_units(&self) {
        let Some(listening) = &self.listening else {
            return;
        };
        let wanted = {
            let aim = lock(&self.inner.aim);
            units(&aim.owned, &aim.ground)
        };
        if let Some(units) = lock(&self.inner.signals).set(wanted) {
            listening.set(units);
        }
    }
}

impl Drop for Sentinel {
    fn drop(&mut self) {
        drop(self.listening.take());
        if let Some(thread) = self.thread.take()
            && thread.thread().id() != std::thread::current().id()
        {
            let _ = thread.join();
        }
    }
}

/// Begins to watch files, nothing at first.
fn watch(inner: &Arc<Inner>) {
    let weak = Arc::downgrade(inner);
    let of_files = Box::new(move |areas| {
        if let Some(inner) = weak.upgrade() {
            inner.files_changed(areas);
        }
    });
    let refused = match Watch::start(Vec::new(), of_files) {
        Ok(watch) => {
            drop(inner.watch.set(watch));
            None
        }
        Err(error) => Some(error.to_string()),
    };
    let mut before = lock(&inner.refused);
    if let Some(why) = refused.as_ref().filter(|_| *before != refused) {
        tracing::warn!("{why}; changes are seen by the next round only");
    }
    *before = refused;
}

/// Hears of units, and starts the thread that tells of them.
fn listen(inner: &Arc<Inner>) -> (Option<Box<dyn Listening>>, Option<JoinHandle<()>>) {
    let (sender, heard) = channel();
    let hear = move |heard| {
        // Whoever hears must not be held up; nobody is told any more at the end.
        let _: Result<(), _> = Sender::send(&sender, heard);
    };
    let Some(listening) = inner.host.services.listen(Box::new(hear)) else {
        return (None, None);
    };
    let weak = Arc::downgrade(inner);
    let run = move || {
        while let Some(heard) = together(&heard) {
            let Some(inner) = weak.upgrade() else {
                return;
            };
            inner.units_changed(&heard);
        }
    };
    let thread = std::thread::Builder::new()
        .name("signals".to_owned())
        .spawn(run)
        .inspect_err(|error| tracing::warn!("cannot hear of units: {error}"))
        .ok();
    (thread.is_some().then_some(listening), thread)
}

/// The next that is heard, with what comes soon after it; none at the end.
fn together(heard: &Receiver<Heard>) -> Option<Vec<Heard>> {
    let mut all = vec![heard.recv().ok()?];
    while let Ok(more) = heard.recv_timeout(TOGETHER) {
        all.push(more);
        if all.len() == 100 {
            break;
        }
    }
    Some(all)
}

impl Inner {
    /// On the thread of the watch.
    fn files_changed(&self, areas: Areas) {
        // These say what else is to be watched.
        if areas.holds(Area::Mounts.name()) || areas.holds(Area::Conf.name()) {
            self.aim();
        }
        (self.tell)(Cause::Files, areas);
    }

    /// On the thread of the signals.
    fn units_changed(&self, heard: &[Heard]) {
        let news: Vec<News> = {
            let mut signals = lock(&self.signals);
            heard.iter().filter_map(|it| signals.news(it)).collect()
        };
        let areas: BTreeSet<String> = news.iter().flat_map(|it| it.areas.clone()).collect();
        if areas.is_empty() {
            return;
        }
        if news.iter().any(|it| it.is_mount)
            && let Some(watch) = self.watch.get()
        {
            watch.refresh();
        }
        (self.tell)(Cause::Unit, Areas::Only(areas));
    }

    /// Watches what is to be watched now. Does not wait for it.
    fn aim(&self) {
        let Some(watch) = self.watch.get() else {
            lock(&self.aim).ground = Ground::read(&self.host.fs);
            return;
        };
        let mut aim = lock(&self.aim);
        aim.ground = Ground::read(&self.host.fs);
        let fs = &self.host.fs;
        let end = |path: &Path| Some(follow(fs, path).ok().flatten()?.path);
        let wanted = with_ends(targets(&aim.owned, &aim.settings, &aim.ground), &end);
        if wanted == aim.targets {
            return;
        }
        aim.targets = wanted.clone();
        let real = wanted.into_iter().map(|target| Target {
            path: fs.real(&target.path),
            ..target
        });
        watch.set(real.collect());
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
#[path = "sentinel_tests.rs"]
mod tests;

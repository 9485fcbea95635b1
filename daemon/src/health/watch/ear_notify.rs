//! What the operating system says of watched files and folders, where it is not Linux.

use std::collections::BTreeSet;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, channel};
use std::time::Duration;

use notify::event::{AccessKind, AccessMode, Event, EventKind, ModifyKind};
use notify::{RecommendedWatcher, RecursiveMode, Watcher};

use super::plan::Counts;
use super::{Heard, PAUSE};

/// Hears of changes.
#[derive(Debug)]
pub(super) struct Ear {
    watcher: RecommendedWatcher,
    watched: BTreeSet<PathBuf>,
    /// Nothing is a nudge.
    heard: Receiver<Option<notify::Result<Event>>>,
}

/// Ends a wait of the ear from another thread.
#[derive(Debug)]
pub(super) struct Nudge(Sender<Option<notify::Result<Event>>>);

impl Nudge {
    /// Ends the wait, or the next one.
    pub(super) fn nudge(&self) {
        // An ear that is gone waits for nothing.
        let _ = self.0.send(None);
    }
}

impl Ear {
    /// An ear that hears nothing yet.
    pub(super) fn new() -> io::Result<(Ear, Nudge)> {
        let (sender, heard) = channel();
        let nudge = Nudge(sender.clone());
        let hear = move |event| drop(sender.send(Some(event)));
        let ear = Ear {
            watcher: notify::recommended_watcher(hear).map_err(io::Error::other)?,
            watched: BTreeSet::new(),
            heard,
        };
        Ok((ear, nudge))
    }

    /// Listens to a path.
    pub(super) fn listen(&mut self, path: &Path, _counts: Counts) -> io::Result<()> {
        let watching = self.watcher.watch(path, RecursiveMode::NonRecursive);
        watching.map_err(io::Error::other)?;
        self.watched.insert(path.to_owned());
        Ok(())
    }

    /// Listens to it no more.
    pub(super) fn ignore(&mut self, path: &Path) {
        if self.watched.remove(path) {
            // What is removed may be let go of already.
            let _ = self.watcher.unwatch(path);
        }
    }

    /// Waits until something is heard, the time is over or somebody nudges, and says what was
    /// heard.
    pub(super) fn hear(&mut self, limit: Option<Duration>) -> io::Result<Vec<Heard>> {
        let first = match limit {
            Some(limit) => self.heard.recv_timeout(limit),
            None => self.heard.recv().map_err(RecvTimeoutError::from),
        };
        let Ok(Some(first)) = first else {
            return Ok(Vec::new());
        };
        std::thread::sleep(PAUSE);
        let all = std::iter::once(first).chain(self.heard.try_iter().flatten());
        let mut heard = Vec::new();
        for event in all {
            match event {
                Ok(event) if event.need_rescan() => heard.push(Heard::Lost),
                Ok(event) => {
                    let counts = counts(&event.kind);
                    let paths = event.paths.into_iter();
                    let paths = paths.filter_map(|path| Some(Heard::Happened(path, counts?)));
                    heard.extend(paths);
                }
                Err(_) => heard.push(Heard::Lost),
            }
        }
        Ok(heard)
    }
}

/// What an event says; `None`: it was only read.
fn counts(kind: &EventKind) -> Option<Counts> {
    match kind {
        EventKind::Access(AccessKind::Close(AccessMode::Write)) => Some(Counts::Content),
        EventKind::Access(_) => None,
        EventKind::Create(_) | EventKind::Remove(_) | EventKind::Modify(ModifyKind::Name(_)) => {
            Some(Counts::Being)
        }
        EventKind::Modify(ModifyKind::Metadata(_)) => Some(Counts::Rights),
        _ => Some(Counts::Content),
    }
}

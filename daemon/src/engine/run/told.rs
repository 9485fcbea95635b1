//! Progress of a step, passed on to the clients.

use std::sync::Mutex;

use nixctl_proto::{OperationState as State, OperationView};
use tokio::sync::watch;

use super::Run;
use crate::resource::Progress;

/// Passes progress on to the clients.
pub(super) struct Told {
    live: watch::Sender<OperationView>,
    /// Shares of the operation between which the step moves: from 0 bytes to all.
    span: (f64, f64),
    notes: Mutex<Vec<String>>,
}

impl Told {
    pub(super) fn new(run: &Run<'_>, index: u32) -> Self {
        let (begin, end) = (run.scale.at(index, 0.0), run.scale.at(index, 1.0));
        let undoing = run.record.state == State::Reverting;
        Told {
            live: run.live.clone(),
            span: if undoing { (end, begin) } else { (begin, end) },
            notes: Mutex::new(Vec::new()),
        }
    }

    pub(super) fn into_notes(self) -> Vec<String> {
        self.notes
            .into_inner()
            .unwrap_or_else(std::sync::PoisonError::into_inner)
    }
}

impl Progress for Told {
    fn bytes(&self, done: u64, total: u64) {
        self.live.send_modify(|view| {
            view.bytes_done = done;
            view.bytes_total = total;
            let within = if total == 0 {
                0.0
            } else {
                (done as f64 / total as f64).min(1.0)
            };
            let (begin, end) = self.span;
            let share = begin + (end - begin) * within;
            // A download that is begun anew does not take back what was shown.
            view.progress = if begin <= end {
                view.progress.max(share)
            } else {
                view.progress.min(share)
            };
        });
    }

    fn note(&self, text: &str) {
        let mut notes = self
            .notes
            .lock()
            .unwrap_or_else(std::sync::PoisonError::into_inner);
        notes.push(text.to_owned());
        self.live
            .send_modify(|view| view.notes.push(text.to_owned()));
    }
}

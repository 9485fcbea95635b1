//! Progress of a step, passed on to the clients.

use std::sync::Mutex;

use nixctl_proto::OperationView;
use tokio::sync::watch;

use super::Run;
use crate::resource::Progress;

/// Passes progress on to the clients.
pub(super) struct Told {
    live: watch::Sender<OperationView>,
    notes: Mutex<Vec<String>>,
}

impl Told {
    pub(super) fn new(run: &Run<'_>) -> Self {
        Told {
            live: run.live.clone(),
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
            let before = f64::from(view.step.saturating_sub(1));
            view.progress = (before + within) / f64::from(view.steps.max(1));
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

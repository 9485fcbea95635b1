//! The deadline of the operation at work.
//!
//! One thread sleeps until the deadline passes or the operation ends, whichever comes first. Time
//! is counted by the clock that nobody can set, see [`OperationRecord::count`].

use std::sync::{Arc, PoisonError};

use super::super::record::OperationRecord;
use super::Shared;
use super::shared::lock;
use crate::host::Cancel;
use crate::host::cancel::Stop;

impl Shared {
    /// Asks the operation at work to stop when its own deadline passes.
    pub(in super::super) fn stop_at_deadline(
        self: &Arc<Self>,
        record: &OperationRecord,
        cancel: &Cancel,
    ) {
        if record.options.deadline.is_none() {
            return;
        }
        let (shared, watched, cancel) = (Arc::clone(self), record.clone(), cancel.clone());
        let spawned = std::thread::Builder::new()
            .name("deadline".to_owned())
            .spawn(move || shared.watch_deadline(&watched, &cancel));
        if let Err(error) = spawned {
            let id = &record.id;
            tracing::warn!("cannot watch the deadline of operation {id}: {error}");
        }
    }

    fn watch_deadline(&self, record: &OperationRecord, cancel: &Cancel) {
        let mut current = lock(&self.current);
        while current.as_ref().is_some_and(|(id, _)| *id == record.id) {
            let left = record.left(&self.host.clock.moment());
            let Some(left) = left.filter(|left| !left.is_zero()) else {
                cancel.request(Stop::Cancelled);
                self.wake();
                return;
            };
            let waited = self.ended.wait_timeout(current, left);
            current = waited.unwrap_or_else(PoisonError::into_inner).0;
        }
    }
}

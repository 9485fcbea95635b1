//! A flag that asks work to stop, and why.

use std::sync::Arc;
use std::sync::atomic::{AtomicU8, Ordering};

/// Why work should stop.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Stop {
    /// Somebody cancelled the operation: undo it.
    Cancelled,
    /// The daemon is going down: leave the step as it is, the next start resumes it.
    Shutdown,
}

/// Shared between whoever asks and the work, which looks at every boundary and while it waits.
#[derive(Debug, Clone, Default)]
pub struct Cancel(Arc<AtomicU8>);

impl Cancel {
    /// Asks for the stop. A shutdown outranks a cancellation.
    pub fn request(&self, stop: Stop) {
        let level = match stop {
            Stop::Cancelled => 1,
            Stop::Shutdown => 2,
        };
        self.0.fetch_max(level, Ordering::SeqCst);
    }

    /// What was asked for, if anything.
    pub fn requested(&self) -> Option<Stop> {
        match self.0.load(Ordering::SeqCst) {
            0 => None,
            1 => Some(Stop::Cancelled),
            _ => Some(Stop::Shutdown),
        }
    }
}

//! A flag that asks work to stop, and why.

use std::sync::Arc;
use std::sync::atomic::{AtomicU8, Ordering};
use std::time::{Duration, Instant};

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
pub struct Cancel {
    level: Arc<AtomicU8>,
    end: Option<Instant>,
}

impl Cancel {
    /// The same flag for a part of the work, which is asked to stop also when it takes longer than
    /// this.
    #[must_use]
    pub fn within(&self, limit: Duration) -> Cancel {
        let end = Instant::now().checked_add(limit);
        Cancel {
            level: Arc::clone(&self.level),
            // The nearer end counts; one too far for the clock is none.
            end: self.end.into_iter().chain(end).min(),
        }
    }

    /// Asks for the stop. A shutdown outranks a cancellation.
    pub fn request(&self, stop: Stop) {
        let level = match stop {
            Stop::Cancelled => 1,
            Stop::Shutdown => 2,
        };
        self.level.fetch_max(level, Ordering::SeqCst);
    }

    /// What was asked for, if anything.
    pub fn requested(&self) -> Option<Stop> {
        match self.level.load(Ordering::SeqCst) {
            0 if self.end.is_some_and(|end| Instant::now() >= end) => Some(Stop::Cancelled),
            0 => None,
            1 => Some(Stop::Cancelled),
            _ => Some(Stop::Shutdown),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_part_of_the_work_ends_with_its_time_or_with_the_whole() {
        let whole = Cancel::default();
        let (late, soon) = (whole.within(Duration::MAX), whole.within(Duration::ZERO));
        assert_eq!(soon.requested(), Some(Stop::Cancelled));
        assert_eq!(soon.within(Duration::MAX).requested(), soon.requested());
        assert_eq!((late.requested(), whole.requested()), (None, None));
        whole.request(Stop::Shutdown);
        assert_eq!(late.requested(), Some(Stop::Shutdown));
        assert_eq!(soon.requested(), Some(Stop::Shutdown));
    }
}

//! Bytes per second, averaged so that the number can be read.

use std::time::{Duration, Instant};

use nixctl_proto::OperationView;

/// Time over which the rate is averaged.
const RATE_WINDOW: Duration = Duration::from_secs(2);

/// Measures bytes per second.
#[derive(Debug, Default)]
pub struct Rate {
    /// Step, bytes and time where the window begins.
    since: Option<(u32, u64, Instant)>,
    /// The last whole window's rate.
    per_second: Option<u64>,
}

impl Rate {
    /// Bytes per second of the step at work, once they are known.
    pub fn per_second(&self) -> Option<u64> {
        self.per_second
    }

    /// Takes a snapshot into account.
    pub fn feed(&mut self, view: &OperationView, now: Instant) {
        let Some((step, done, when)) = self.since else {
            self.since = Some((view.step, view.bytes_done, now));
            return;
        };
        if step != view.step || view.bytes_done < done {
            self.since = Some((view.step, view.bytes_done, now));
            self.per_second = None;
        } else if now.duration_since(when) >= RATE_WINDOW {
            let seconds = now.duration_since(when).as_secs_f64();
            self.per_second = Some(((view.bytes_done - done) as f64 / seconds) as u64);
            self.since = Some((view.step, view.bytes_done, now));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::render::operation::tests::at;

    #[test]
    fn the_rate_is_of_the_last_window_and_of_one_step() {
        let start = Instant::now();
        let mut rate = Rate::default();
        for (view, milliseconds, expected) in [
            (at(1, 0), 0, None),
            (at(1, 1000), 1000, None),
            (at(1, 4000), 2000, Some(2000)),
            (at(1, 5000), 3000, Some(2000)),
            (at(1, 14_000), 4000, Some(5000)),
            (at(2, 20_000), 4100, None),
            (at(2, 10), 4200, None),
        ] {
            rate.feed(&view, start + Duration::from_millis(milliseconds));
            assert_eq!(rate.per_second, expected, "after {milliseconds} ms");
        }
    }
}

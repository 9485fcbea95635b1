//! A time for what must be remembered over restarts and cannot be trusted to the wall clock.
//!
//! Within a boot it goes as the clock that nobody can set. Over a restart of the machine it goes on
//! by the time since the boot at least, and by the wall clock where that says more, but never by
//! more than [`OFF_AT_MOST`]. So a wall clock that is set back holds nothing up for ever, and one
//! that is set forward makes nothing due while the machine runs. Pure.

use serde::{Deserialize, Serialize};

use crate::host::Clock;
use crate::host::clock::Moment;

/// The longest time that a machine is believed to have been off, in milliseconds: 30 days.
pub const OFF_AT_MOST: u64 = 30 * 24 * 3600 * 1000;

/// This moment by both clocks.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Now {
    /// Milliseconds since 1970.
    pub wall: u64,
    /// By the clock that nobody can set.
    pub moment: Moment,
}

impl Now {
    /// Reads both clocks.
    pub fn of(clock: &dyn Clock) -> Now {
        Now {
            wall: clock.now(),
            moment: clock.moment(),
        }
    }
}

/// A moment as it is remembered.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct At {
    /// Milliseconds on the timeline: for arithmetic.
    pub steady: u64,
    /// Milliseconds since 1970: for people.
    pub wall: u64,
}

/// How far the timeline was counted, and by which clocks.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Timeline {
    steady: u64,
    wall: u64,
    moment: Moment,
}

impl Timeline {
    /// One that begins now.
    pub fn new(now: &Now) -> Timeline {
        Timeline {
            steady: 0,
            wall: now.wall,
            moment: now.moment.clone(),
        }
    }

    /// This moment on it.
    pub fn at(&self, now: &Now) -> At {
        At {
            steady: self.steady.saturating_add(self.passed(now)),
            wall: now.wall,
        }
    }

    /// The same, and counts up to there: to be done before it is stored.
    pub fn count(&mut self, now: &Now) -> At {
        let at = self.at(now);
        *self = Timeline {
            steady: at.steady,
            wall: now.wall,
            moment: now.moment.clone(),
        };
        at
    }

    /// Goes on from there at least: what was stored with it is not later than now.
    pub fn not_before(&mut self, steady: u64) {
        self.steady = self.steady.max(steady);
    }

    fn passed(&self, now: &Now) -> u64 {
        let counted = now.moment.since(&self.moment);
        if now.moment.era == self.moment.era {
            return counted;
        }
        let by_wall = now.wall.saturating_sub(self.wall).min(OFF_AT_MOST);
        counted.max(by_wall)
    }
}

#[cfg(test)]
pub(crate) mod testing {
    use super::*;

    /// A moment of a boot.
    pub fn now(boot: u32, millis: u64, wall: u64) -> Now {
        let era = format!("boot-{boot}");
        Now {
            wall,
            moment: Moment { era, millis },
        }
    }

    /// A moment of a machine whose clocks agree.
    pub fn at(steady: u64) -> At {
        let wall = 1_700_000_000_000 + steady;
        At { steady, wall }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::testing::now;
    use super::*;

    #[test]
    fn a_boot_counts_by_the_clock_that_nobody_sets() {
        let line = Timeline::new(&now(1, 5000, 100_000));
        for (then, steady) in [
            (now(1, 7000, 102_000), 2000),
            (now(1, 7000, 3), 2000),
            (now(1, 7000, u64::MAX), 2000),
            (now(1, 4000, 100_000), 0),
            // After a restart: since the boot, or by the wall clock where that is more.
            (now(2, 300, 103_000), 3000),
            (now(2, 300, 5), 300),
            (now(2, 300, u64::MAX), OFF_AT_MOST),
        ] {
            assert_eq!(line.at(&then).steady, steady, "{then:?}");
        }
    }

    #[test]
    fn a_lost_timeline_goes_on_after_what_is_remembered() {
        let mut line = Timeline::new(&now(3, 10, 10));
        line.not_before(9000);
        assert_eq!(line.at(&now(3, 30, 10)).steady, 9020);
    }

    proptest! {
        /// Whatever the wall clock does and however often the machine starts anew.
        #[test]
        fn it_never_goes_back_and_never_faster_than_it_may(
            steps in proptest::collection::vec((any::<bool>(), 0u64..10_000_000, any::<u64>()), 1..60),
        ) {
            let (mut boot, mut millis) = (1, 0);
            let mut line = Timeline::new(&now(boot, millis, 0));
            let mut last = 0;
            for (restart, passed, wall) in steps {
                if restart {
                    (boot, millis) = (boot + 1, 0);
                }
                millis += passed;
                let at = line.count(&now(boot, millis, wall));
                prop_assert!(at.steady >= last + passed);
                let most = if restart { passed.max(OFF_AT_MOST) } else { passed };
                prop_assert!(at.steady <= last + most);
                last = at.steady;
            }
        }
    }
}

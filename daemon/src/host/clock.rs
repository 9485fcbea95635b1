//! Wall clock, and a clock that nobody can set.
//!
//! The wall clock is for people and for files. How long something took is told by [`Moment`]s:
//! they go on while the machine sleeps and while the daemon is down, and begin anew with each boot.

use std::fmt::Debug;
use std::sync::OnceLock;
use std::time::{Instant, SystemTime, UNIX_EPOCH};

use serde::{Deserialize, Serialize};

/// A moment by a clock that nobody can set.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Moment {
    /// What the time is counted from: a boot of the machine.
    pub era: String,
    /// Milliseconds since the beginning of the era.
    pub millis: u64,
}

impl Moment {
    /// Milliseconds between an earlier moment and this one. Of an earlier era nobody knows how long
    /// the machine was off: what has passed in this one is the least that it can be.
    pub fn since(&self, earlier: &Moment) -> u64 {
        if self.era == earlier.era {
            self.millis.saturating_sub(earlier.millis)
        } else {
            self.millis
        }
    }
}

/// Tells the time.
pub trait Clock: Send + Sync + Debug {
    /// Milliseconds since 1970 by the wall clock; 0 when the clock is before that.
    fn now(&self) -> u64;

    /// This moment by the clock that nobody can set.
    fn moment(&self) -> Moment;
}

/// The machine's clock.
#[derive(Debug, Clone, Copy, Default)]
pub struct SystemClock;

impl Clock for SystemClock {
    fn now(&self) -> u64 {
        SystemTime::now()
            .duration_since(UNIX_EPOCH)
            .map_or(0, |since| {
                u64::try_from(since.as_millis()).unwrap_or(u64::MAX)
            })
    }

    fn moment(&self) -> Moment {
        since_boot().unwrap_or_else(|| since_start(self.now()))
    }
}

#[cfg(target_os = "linux")]
fn since_boot() -> Option<Moment> {
    use nix::time::{ClockId, clock_gettime};
    static BOOT: OnceLock<Option<String>> = OnceLock::new();
    let read = || {
        let id = std::fs::read_to_string("/proc/sys/kernel/random/boot_id").ok()?;
        Some(id.trim().to_owned())
    };
    let era = BOOT.get_or_init(read).clone()?;
    let time = clock_gettime(ClockId::CLOCK_BOOTTIME).ok()?;
    let seconds = u64::try_from(time.tv_sec()).ok()?;
    let millis = seconds * 1000 + u64::try_from(time.tv_nsec()).ok()? / 1_000_000;
    Some(Moment { era, millis })
}

#[cfg(not(target_os = "linux"))]
fn since_boot() -> Option<Moment> {
    None
}

/// Where a boot has no name each process is an era of its own.
fn since_start(now: u64) -> Moment {
    static START: OnceLock<(String, Instant)> = OnceLock::new();
    let (era, start) =
        START.get_or_init(|| (format!("{now}-{}", std::process::id()), Instant::now()));
    Moment {
        era: era.clone(),
        millis: u64::try_from(start.elapsed().as_millis()).unwrap_or(u64::MAX),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(era: &str, millis: u64) -> Moment {
        let era = era.to_owned();
        Moment { era, millis }
    }

    #[test]
    fn time_is_counted_within_a_boot() {
        for (earlier, later, passed) in [
            (at("a", 1000), at("a", 4000), 3000),
            (at("a", 4000), at("a", 1000), 0),
            (at("a", 9000), at("b", 500), 500),
        ] {
            assert_eq!(later.since(&earlier), passed, "{earlier:?} {later:?}");
        }
    }

    #[test]
    fn the_machines_moments_go_on() {
        for read in [|| SystemClock.moment(), || since_start(SystemClock.now())] {
            let earlier = read();
            std::thread::sleep(std::time::Duration::from_millis(20));
            let later = read();
            assert_eq!(earlier.era, later.era);
            assert!((15..10_000).contains(&later.since(&earlier)));
        }
    }
}

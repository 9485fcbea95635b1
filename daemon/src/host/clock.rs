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
    static BOOT: OnceLock<Option<(String, u64)>> = OnceLock::new();
    let read = || {
        let id = std::fs::read_to_string("/proc/sys/kernel/random/boot_id").ok()?;
        Some((id.trim().to_owned(), began().unwrap_or(0)))
    };
    let (era, began) = BOOT.get_or_init(read).clone()?;
    let time = clock_gettime(ClockId::CLOCK_BOOTTIME).ok()?;
    let seconds = u64::try_from(time.tv_sec()).ok()?;
    let millis = seconds * 1000 + u64::try_from(time.tv_nsec()).ok()? / 1_000_000;
    let millis = millis.saturating_sub(began);
    Some(Moment { era, millis })
}

/// When the boot began that the id names, in milliseconds by the kernel's clock. A container that has
/// an id of its own begins with its init; one that has that of the host, with the host.
#[cfg(target_os = "linux")]
fn began() -> Option<u64> {
    use nix::unistd::{SysconfVar, sysconf};
    let mounts = std::fs::read_to_string("/proc/self/mountinfo").ok()?;
    if !has_own_id(&mounts) {
        return None;
    }
    let ticks = u64::try_from(sysconf(SysconfVar::CLK_TCK).ok()??).ok()?;
    let init = std::fs::read_to_string("/proc/1/stat").ok()?;
    started(&init)?.checked_mul(1000)?.checked_div(ticks)
}

/// Whether something is mounted over the kernel's id of the boot, as managers of containers do.
#[cfg(target_os = "linux")]
fn has_own_id(mountinfo: &str) -> bool {
    let mut targets = mountinfo.lines().filter_map(|it| it.split(' ').nth(4));
    targets.any(|it| it == "/proc/sys/kernel/random/boot_id")
}

/// When a process started, in ticks since the kernel's boot. Its name may have anything in it.
#[cfg(target_os = "linux")]
fn started(stat: &str) -> Option<u64> {
    let (_, rest) = stat.rsplit_once(')')?;
    rest.split_whitespace().nth(19)?.parse().ok()
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

    #[cfg(target_os = "linux")]
    #[test]
    fn a_container_with_an_id_of_its_own_begins_with_its_init() {
        let mount = |at: &str| format!("1 2 0:3 / {at} rw,relatime - tmpfs tmpfs rw\n");
        let of_host = [mount("/"), mount("/proc"), mount("/proc/sys")].concat();
        assert!(!has_own_id(&of_host));
        assert!(has_own_id(
            &(of_host + &mount("/proc/sys/kernel/random/boot_id"))
        ));
        let stat = "1 (odd) 1 (name) S 0 1 1 0 -1 4194560 0 0 0 0 0 0 0 0 20 0 1 0 7609 4260 2 18";
        assert_eq!(started(stat), Some(7609));
        assert_eq!(started("1 (init) S 0"), None);
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

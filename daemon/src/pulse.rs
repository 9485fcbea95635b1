//! The common beat of everything that an idle daemon does from time to time.
//!
//! Whoever looks at something regularly and at no moment in particular waits for the next beat:
//! all of them wake the processor once, together. Beats are [`PERIOD`] apart by the machine's
//! monotonic clock, the same in every thread. On Linux the asynchronous wait is a timer of the
//! kernel's: tokio's own wakes up twice more on the way to a moment that is far off.

use std::time::Duration;

use nix::time::{ClockId, clock_gettime};

/// Between two beats. Less than half of what `WatchdogSec` in the unit allows.
pub const PERIOD: Duration = Duration::from_secs(if cfg!(test) { 1 } else { 60 });

/// How late a wait may end that nobody needs to end: the kernel takes the end of another along.
/// (More than 4 s cannot be read back: `PR_GET_TIMERSLACK` answers with an int.)
#[cfg(target_os = "linux")]
const LATE: Duration = Duration::from_secs(if cfg!(test) { 1 } else { 24 * 60 * 60 });

/// Time until the next beat, for threads: `condvar.wait_timeout(guard, pulse::left())`.
pub fn left() -> Duration {
    let now = clock_gettime(ClockId::CLOCK_MONOTONIC).map_or(Duration::ZERO, Duration::from);
    next_after(now).saturating_sub(now)
}

/// Waits for the next beat.
pub async fn next() {
    #[cfg(target_os = "linux")]
    if let Ok(timer) = timer() {
        // Becomes readable at the beat; an error is no reason to wait longer.
        let _ = timer.readable().await;
        return;
    }
    tokio::time::sleep(left()).await;
}

/// Waits so long; a long wait ends with a beat.
pub async fn rest(pause: Duration) {
    if pause < PERIOD {
        tokio::time::sleep(pause).await;
    } else {
        next().await;
    }
}

/// Does what starts threads that stay and look now and then whether something is to be done, though
/// whoever has something to do wakes them. Their timers may be late by a day then: a beat would
/// not do, since they would keep one of their own beside it. What wakes them on purpose wakes
/// them at once, as ever.
pub fn lazily<T>(work: impl FnOnce() -> T) -> T {
    #[cfg(target_os = "linux")]
    {
        use std::num::NonZeroU64;

        use rustix::thread::set_current_timer_slack;

        let slack = u64::try_from(LATE.as_nanos()).unwrap_or(u64::MAX);
        // Threads get it from the one that starts them. Where it is refused they wake up as they like.
        let _ = set_current_timer_slack(NonZeroU64::new(slack));
        let done = work();
        let _ = set_current_timer_slack(None);
        done
    }
    #[cfg(not(target_os = "linux"))]
    work()
}

#[cfg(target_os = "linux")]
#[expect(
    deprecated,
    reason = "unsound only for what may close its descriptor while it is registered; its successor is unsafe"
)]
fn timer() -> std::io::Result<tokio::io::unix::AsyncFd<std::os::fd::OwnedFd>> {
    use nix::sys::timerfd::{
        ClockId as TimerClock, Expiration, TimerFd, TimerFlags, TimerSetTimeFlags,
    };

    let flags = TimerFlags::TFD_CLOEXEC | TimerFlags::TFD_NONBLOCK;
    let timer = TimerFd::new(TimerClock::CLOCK_MONOTONIC, flags)?;
    let now = Duration::from(clock_gettime(ClockId::CLOCK_MONOTONIC)?);
    let beat = Expiration::OneShot(next_after(now).into());
    timer.set(beat, TimerSetTimeFlags::TFD_TIMER_ABSTIME)?;
    tokio::io::unix::AsyncFd::new(timer.into())
}

fn next_after(now: Duration) -> Duration {
    let beats = now.as_nanos() / PERIOD.as_nanos() + 1;
    PERIOD.saturating_mul(u32::try_from(beats).unwrap_or(u32::MAX))
}

#[cfg(test)]
mod tests {
    use std::time::Instant;

    use super::*;

    #[test]
    fn beats_are_a_period_apart() {
        for (now, next) in [
            (0, 1000),
            (1, 1000),
            (999, 1000),
            (1000, 2000),
            (1500, 2000),
        ] {
            let next = PERIOD * next / 1000;
            assert_eq!(next_after(PERIOD * now / 1000), next, "{now}");
        }
        assert!(left() > Duration::ZERO && left() <= PERIOD);
    }

    #[cfg(target_os = "linux")]
    #[test]
    fn only_threads_that_are_started_lazily_may_be_late() {
        use rustix::thread::current_timer_slack;

        let own = current_timer_slack().unwrap();
        let asked = || std::thread::spawn(|| current_timer_slack().unwrap());
        let lazy = lazily(asked).join().unwrap();
        assert_eq!(u128::from(lazy), LATE.as_nanos());
        assert_eq!(current_timer_slack().unwrap(), own);
        assert_eq!(asked().join().unwrap(), own);
    }

    #[tokio::test]
    async fn all_wait_for_the_same_beat() {
        next().await;
        let begin = Instant::now();
        let (a, b) = tokio::join!(async { (next().await, begin.elapsed()).1 }, async {
            (next().await, begin.elapsed()).1
        },);
        assert!(a.abs_diff(b) < PERIOD / 4, "{a:?} {b:?}");
        rest(PERIOD * 100).await;
        assert!(begin.elapsed() < PERIOD * 4);
        assert!(a > PERIOD / 2 && a < PERIOD * 2, "{a:?}");
    }
}

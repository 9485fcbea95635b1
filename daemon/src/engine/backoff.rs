//! How long something that failed rests before it is tried again.
//!
//! Pure, but for [`chance`]. The pause doubles with every try and is capped; machines that lost the same cache at the
//! same time do not come back to it at the same time.

use std::hash::{BuildHasher, Hasher};
use std::time::Duration;

/// The first pause of an operation that waits for something.
const FIRST: Duration = Duration::from_secs(5);
/// Its longest pause.
const LONGEST: Duration = Duration::from_secs(300);

/// The pause of an operation that waits for something, after so many tries (from 1).
pub fn pause(tries: u32, chance: u32) -> Duration {
    pause_between(FIRST, LONGEST, tries, chance)
}

/// The pause after so many tries (from 1). `chance` is a random number, which shortens it by up to a
/// fifth.
pub fn pause_between(first: Duration, longest: Duration, tries: u32, chance: u32) -> Duration {
    let doubled = 1u32.checked_shl(tries.saturating_sub(1)).unwrap_or(0);
    let whole = match doubled {
        0 => longest,
        factor => first.saturating_mul(factor).min(longest),
    };
    whole - whole / 5 * (chance % 1000) / 1000
}

/// A random number; two machines must not have the same.
pub fn chance() -> u32 {
    let hasher = std::collections::hash_map::RandomState::new().build_hasher();
    (hasher.finish() & 0xffff) as u32
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pauses_double_up_to_the_longest() {
        for (tries, seconds) in [(0, 5), (1, 5), (2, 10), (6, 160), (7, 300), (40, 300)] {
            assert_eq!(pause(tries, 0), Duration::from_secs(seconds), "{tries}");
            assert!(pause(tries, 999) > Duration::from_secs(seconds) * 4 / 5);
            assert!(pause(tries, 999) < Duration::from_secs(seconds));
        }
    }
}

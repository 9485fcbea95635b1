//! The ladder: how long a release is left alone after it failed here, and when it is given up.
//!
//! A pause grows with each failure of the same release, and is doubled when it failed after a
//! reboot, which costs more than a try. After the last one the release is abandoned: only another
//! release is tried, or whoever asks for it. Pure; time is that of the health's
//! [`timeline`](crate::health::timeline), which a set clock neither blocks nor hurries.

use std::collections::BTreeMap;

use nixctl_proto::{Code, Failure};
use serde::{Deserialize, Serialize};

use crate::health::timeline::At;

/// The pause after so many failures, in hours; with one more the release is abandoned.
const PAUSES_HOURS: [u64; 9] = [0, 8, 12, 24, 48, 4 * 24, 7 * 24, 252, 14 * 24];
const HOUR_MILLIS: u64 = 3600 * 1000;
/// Products that are remembered, far beyond those that there are.
const MAX_PRODUCTS: usize = 16;
/// Longest reason that is kept, in characters.
const REASON_CHARS: usize = 300;

/// Whether a release may be tried.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum Verdict {
    /// It did not fail, or long enough ago, or somebody asks for it.
    Go,
    /// After a pause.
    Rest {
        /// Until when, in milliseconds since 1970.
        until: u64,
        /// Why.
        why: String,
    },
    /// Never by itself.
    Abandoned {
        /// Why.
        why: String,
    },
}

/// Why something failed, and whether that says anything of the release.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Failed<'a> {
    why: &'a str,
    is_blamed: bool,
}

impl<'a> From<&'a str> for Failed<'a> {
    /// The release is to blame.
    fn from(why: &'a str) -> Self {
        Failed {
            why,
            is_blamed: true,
        }
    }
}

impl<'a> From<Option<&'a Failure>> for Failed<'a> {
    /// A release is not to blame for builds that go on, for a server that is away, for a full disk, or
    /// for somebody who cancels.
    fn from(failure: Option<&'a Failure>) -> Self {
        let passing = [
            Code::BuildsRunning,
            Code::Busy,
            Code::Cancelled,
            Code::DiskFull,
            Code::Moved,
            Code::Network,
            Code::NoSpace,
            Code::Timeout,
        ];
        Failed {
            why: failure.map_or("", |it| it.message.as_str()),
            is_blamed: failure.is_none_or(|it| !passing.contains(&it.code)),
        }
    }
}

/// The failures of one release.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Ladder {
    /// What it is a release of, such as `nix`.
    pub product: String,
    /// Which release.
    pub version: String,
    /// How often it failed.
    pub failures: u32,
    /// When it failed last, on the timeline: for arithmetic.
    pub last_failure: u64,
    /// The same by the wall clock, in milliseconds since 1970: for people.
    pub last_failure_wall: u64,
    /// Whether that was after a reboot.
    pub after_reboot: bool,
    /// Why it failed.
    pub why: String,
}

/// The ladders of all products: of each, of the release that failed last.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Ladders(BTreeMap<String, Ladder>);

impl Ladders {
    /// Whether a release may be tried. Nothing stands against one that somebody asks for.
    pub fn judge(&self, product: &str, version: &str, asked: bool, at: At) -> Verdict {
        match self.of(product, version) {
            Some(ladder) if !asked => ladder.judge(at),
            _ => Verdict::Go,
        }
    }

    /// It failed, and was undone; to be stored. Failures of another release are forgotten. What the
    /// release is not to blame for makes it rest as long as the last failure did, and no longer.
    pub fn failed<'a>(
        &mut self,
        product: &str,
        version: &str,
        after_reboot: bool,
        failed: impl Into<Failed<'a>>,
        at: At,
    ) {
        let Failed { why, is_blamed } = failed.into();
        let before = self.of(product, version).map_or(0, |it| it.failures);
        let failures = match is_blamed {
            true => before.saturating_add(1),
            false => before.max(1),
        };
        if !self.0.contains_key(product) && self.0.len() >= MAX_PRODUCTS {
            self.drop_oldest();
        }
        let ladder = Ladder {
            product: product.to_owned(),
            version: version.to_owned(),
            failures,
            last_failure: at.steady,
            last_failure_wall: at.wall,
            after_reboot,
            why: why.chars().take(REASON_CHARS).collect(),
        };
        self.0.insert(product.to_owned(), ladder);
    }

    /// It works: its failures are forgotten. True: that is to be stored.
    #[must_use]
    pub fn worked(&mut self, product: &str) -> bool {
        self.0.remove(product).is_some()
    }

    /// What is remembered of a release.
    pub fn of(&self, product: &str, version: &str) -> Option<&Ladder> {
        let ladder = self.0.get(product);
        ladder.filter(|it| it.version == version)
    }

    /// The latest moment that is remembered, on the timeline, which must not begin before it.
    pub fn latest(&self) -> u64 {
        let moments = self.0.values().map(|it| it.last_failure);
        moments.max().unwrap_or(0)
    }

    fn drop_oldest(&mut self) {
        let oldest = self.0.values().min_by_key(|it| it.last_failure);
        if let Some(product) = oldest.map(|it| it.product.clone()) {
            self.0.remove(&product);
        }
    }
}

impl Ladder {
    fn judge(&self, at: At) -> Verdict {
        let why = self.said();
        let Some(pause) = self.pause() else {
            return Verdict::Abandoned { why };
        };
        let passed = at.steady.saturating_sub(self.last_failure);
        match pause.checked_sub(passed) {
            None | Some(0) => Verdict::Go,
            Some(left) => Verdict::Rest {
                until: at.wall.saturating_add(left),
                why,
            },
        }
    }

    /// Milliseconds after the last failure; `None`: for ever.
    fn pause(&self) -> Option<u64> {
        let step = usize::try_from(self.failures).ok()?;
        let hours = PAUSES_HOURS.get(step)?;
        Some(hours * HOUR_MILLIS * if self.after_reboot { 2 } else { 1 })
    }

    fn said(&self) -> String {
        let times = match self.failures {
            1 => "once".to_owned(),
            2 => "twice".to_owned(),
            more => format!("{more} times"),
        };
        let reboot = if self.after_reboot {
            ", the last time after a reboot"
        } else {
            ""
        };
        format!(
            "{} {} failed {times}{reboot}: {}",
            self.product, self.version, self.why
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::health::timeline::Timeline;
    use crate::health::timeline::testing::{at, now};

    fn failed(times: u32, after_reboot: bool) -> Ladders {
        let mut ladders = Ladders::default();
        for _ in 0..times {
            ladders.failed("nix", "2.34.8", after_reboot, "it cannot build", at(1000));
        }
        ladders
    }

    #[test]
    fn what_is_no_fault_of_a_release_never_makes_it_abandoned() {
        let mut ladders = Ladders::default();
        let mut fail = |code| {
            let failure = Failure::new(code, "x");
            ladders.failed("nix", "2.34.8", false, Some(&failure), at(1000));
            ladders.of("nix", "2.34.8").unwrap().failures
        };
        for _ in 0..20 {
            assert_eq!(fail(Code::BuildsRunning), 1);
        }
        assert_eq!(fail(Code::SelfTestFailed), 2);
        assert_eq!(fail(Code::Network), 2);
        assert_eq!(fail(Code::Internal), 3);
    }

    #[test]
    fn pauses_grow_until_it_is_abandoned() {
        for (failures, hours) in [
            (0, Some(0)),
            (1, Some(8)),
            (2, Some(12)),
            (3, Some(24)),
            (4, Some(48)),
            (5, Some(96)),
            (6, Some(168)),
            (7, Some(252)),
            (8, Some(336)),
            (9, None),
            (100, None),
        ] {
            for (after_reboot, factor) in [(false, 1), (true, 2)] {
                let ladders = failed(failures, after_reboot);
                let judged = |steady| ladders.judge("nix", "2.34.8", false, at(steady));
                let Some(hours) = hours else {
                    let late = 1000 * 365 * 24 * HOUR_MILLIS;
                    assert!(
                        matches!(judged(late), Verdict::Abandoned { .. }),
                        "{failures}"
                    );
                    continue;
                };
                let due = 1000 + hours * factor * HOUR_MILLIS;
                assert_eq!(judged(due), Verdict::Go, "{failures}");
                if failures > 0 {
                    let Verdict::Rest { until, why } = judged(due - 1) else {
                        panic!("{failures}: {:?}", judged(due - 1));
                    };
                    assert_eq!(until, at(due).wall, "{failures}");
                    assert!(why.contains("it cannot build"), "{why}");
                }
            }
        }
    }

    #[test]
    fn whoever_asks_does_not_wait() {
        for failures in [1, 9] {
            let ladders = failed(failures, false);
            assert_eq!(ladders.judge("nix", "2.34.8", true, at(1001)), Verdict::Go);
        }
    }

    #[test]
    fn another_release_begins_anew_and_another_product_has_its_own() {
        let mut ladders = failed(9, false);
        assert_eq!(ladders.judge("nix", "2.34.9", false, at(1001)), Verdict::Go);
        assert_eq!(
            ladders.judge("nixctl", "2.34.8", false, at(1001)),
            Verdict::Go
        );
        ladders.failed("nixctl", "1.0", true, "it does not start", at(1500));
        ladders.failed("nix", "2.34.9", false, "it hangs", at(2000));
        assert_eq!(ladders.of("nix", "2.34.9").unwrap().failures, 1);
        assert_eq!(ladders.of("nix", "2.34.8"), None);
        assert_eq!(ladders.of("nixctl", "1.0").unwrap().failures, 1);
        assert_eq!(ladders.latest(), at(2000).steady);
        assert!(ladders.worked("nix"));
        assert!(!ladders.worked("nix"));
        assert_eq!(ladders.judge("nix", "2.34.9", false, at(2001)), Verdict::Go);
    }

    #[test]
    fn a_set_clock_neither_blocks_nor_hurries() {
        let mut line = Timeline::new(&now(1, 0, 100 * HOUR_MILLIS));
        let mut ladders = Ladders::default();
        let began = line.count(&now(1, 1, 100 * HOUR_MILLIS));
        ladders.failed("nix", "2", false, "it hangs", began);
        let judged = |then| ladders.judge("nix", "2", false, line.at(&then));
        let forward = judged(now(1, HOUR_MILLIS, u64::MAX));
        assert!(matches!(forward, Verdict::Rest { .. }), "{forward:?}");
        assert_eq!(judged(now(1, 8 * HOUR_MILLIS + 1, 0)), Verdict::Go);
    }

    #[test]
    fn it_is_stored_and_bounded() {
        let mut ladders = Ladders::default();
        for product in 0..100 {
            let why = "x".repeat(100_000);
            ladders.failed(
                &format!("product-{product}"),
                "1",
                false,
                &*why,
                at(product),
            );
        }
        assert_eq!(ladders.0.len(), MAX_PRODUCTS);
        assert!(ladders.of("product-99", "1").is_some());
        let text = serde_json::to_string(&ladders).unwrap();
        assert!(text.len() < 10_000);
        assert_eq!(serde_json::from_str::<Ladders>(&text).unwrap(), ladders);
    }
}

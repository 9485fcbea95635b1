//! Whether a boot into a new generation is healthy, and where to go back to when it is not. Pure.
//!
//! A generation that becomes the default awaits its first boot. It is proven by the first one after
//! which its vital units run, its probes pass and systemd has settled; then it is never left
//! automatically. One that was never healthy in time, or that was booted too often without, has failed:
//! the daemon goes back from it once, and never by itself to it again. [`vital`] reads which units
//! count, [`look`] how they are; the engine's `boot` carries it out.

pub mod look;
pub mod vital;

use nixctl_proto::{Generation, OperationId};
use serde::{Deserialize, Serialize};

use vital::Vital;

/// What is known of the boots into a generation.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct BootRecord {
    /// How it stands.
    pub state: BootState,
    /// Boots into it since it became the default.
    pub attempts: u32,
    /// Identity of the boot that was counted last; empty for none.
    pub boot: String,
    /// Units that must be well after a boot.
    pub vital: Vec<Vital>,
    /// Number and store path of the default before it.
    pub before: Option<(u64, String)>,
    /// Why it failed, or failed to be left.
    pub why: String,
    /// The operation that goes back from it, and whether the machine is restarted after that.
    pub way_back: Option<(OperationId, bool)>,
}

/// How a generation stands with boots.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum BootState {
    /// It became the default, and no boot into it was healthy yet.
    Awaits,
    /// A boot into it was healthy.
    Proven,
    /// The daemon went back from it.
    Failed,
}

impl BootRecord {
    /// Of a generation that has just become the default.
    pub fn awaiting(vital: Vec<Vital>, before: Option<(u64, String)>) -> Self {
        BootRecord {
            state: BootState::Awaits,
            attempts: 0,
            boot: String::new(),
            vital,
            before,
            why: String::new(),
            way_back: None,
        }
    }

    /// Of one that runs well after a boot into it.
    pub fn proven(vital: Vec<Vital>) -> Self {
        BootRecord {
            state: BootState::Proven,
            ..BootRecord::awaiting(vital, None)
        }
    }

    /// Counts a boot, once. Says whether it was a new one.
    pub fn count(&mut self, boot: &str) -> bool {
        let is_new = self.boot != boot;
        if is_new {
            boot.clone_into(&mut self.boot);
            self.attempts = self.attempts.saturating_add(1);
        }
        is_new
    }

    /// Why it is given up without another look: it was booted too often.
    pub fn exhausted(&self, limit: u32) -> Option<String> {
        (self.state == BootState::Awaits && self.attempts > limit).then(|| {
            let before = self.attempts - 1;
            format!("the machine was booted into it {before} times and was never healthy")
        })
    }
}

/// The record of what becomes the default, from the one that it had; `None` when it stays as it is.
/// `runs` says whether it was booted already and is proven to run well now.
pub fn on_default(
    known: Option<&BootRecord>,
    runs: bool,
    new: impl FnOnce() -> BootRecord,
) -> Option<BootRecord> {
    match known.map(|record| record.state) {
        Some(BootState::Proven) => None,
        _ if runs => Some(BootRecord::proven(new().vital)),
        _ => Some(new()),
    }
}

/// Where to go back to from a generation that failed its boot: number and store path. The one that
/// was booted well comes first, then the one before, then one that ran well; of several the newest.
pub fn fallback(
    from: &str,
    before: Option<&(u64, String)>,
    generations: &[Generation],
) -> Option<(u64, String)> {
    let may = |it: &&Generation| it.path != from && it.boot_failure.is_empty() && !it.awaits_boot;
    let is_before = |it: &Generation| before.is_some_and(|(_, path)| *path == it.path);
    let rank = |it: &Generation| (it.proven_by_boot, is_before(it), it.proven, it.number);
    let known = generations
        .iter()
        .filter(may)
        .filter(|it| it.proven_by_boot || it.proven || is_before(it))
        .max_by_key(|it| rank(it))
        .map(|it| (it.number, it.path.clone()));
    // Its links are gone with its paths: they can be fetched again.
    let gone = || {
        let (number, path) = before.filter(|(_, path)| path != from)?;
        let listed = generations.iter().any(|it| it.path == *path);
        (!listed && *number > 0).then(|| (*number, path.clone()))
    };
    known.or_else(gone)
}

/// What people should know of the newest generation besides the one that runs: that it was left after
/// a boot, and why. The generations come newest first.
pub fn left(generations: &[Generation]) -> Option<String> {
    let running = generations.iter().find(|it| it.current);
    let running = running.map(|it| it.path.as_str());
    let newest = generations
        .iter()
        .find(|it| Some(it.path.as_str()) != running)?;
    let why = &newest.boot_failure;
    (!why.is_empty()).then(|| format!("generation {} was left: {why}", newest.number))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn generation(number: u64, path: &str, words: &str) -> Generation {
        let has = |word| words.contains(word);
        Generation {
            number,
            path: path.to_owned(),
            proven: has("proven"),
            proven_by_boot: has("boot"),
            awaits_boot: has("awaits"),
            boot_failure: if has("failed") { "x" } else { "" }.to_owned(),
            ..Generation::default()
        }
    }

    #[test]
    fn it_goes_back_to_what_was_booted_well() {
        let before = (4, "/d".to_owned());
        let all = |list: &[(u64, &str, &str)]| -> Vec<Generation> {
            let list = list.iter();
            list.map(|(number, path, words)| generation(*number, path, words))
                .collect()
        };
        for (list, expected) in [
            (
                &[
                    (9, "/bad", "proven"),
                    (5, "/e", "boot proven"),
                    (4, "/d", ""),
                ][..],
                Some(5),
            ),
            (
                &[(9, "/bad", ""), (5, "/e", "proven"), (4, "/d", "")],
                Some(4),
            ),
            (
                &[(9, "/bad", ""), (5, "/e", "proven"), (6, "/f", "proven")],
                Some(6),
            ),
            (&[(6, "/f", "boot"), (5, "/e", "boot")], Some(6)),
            // Neither what failed a boot itself nor what was never booted.
            (
                &[(6, "/f", "proven failed"), (5, "/e", "proven awaits")],
                Some(4),
            ),
            // Not one that nobody knows anything of.
            (&[(6, "/f", "")], Some(4)),
            (&[(4, "/d", "failed")], None),
        ] {
            let found = fallback("/bad", Some(&before), &all(list));
            assert_eq!(found.map(|it| it.0), expected, "{list:?}");
        }
        assert_eq!(fallback("/bad", None, &all(&[(6, "/f", "")])), None);
        assert_eq!(fallback("/d", Some(&before), &[]), None);
    }

    #[test]
    fn what_was_left_is_told_until_something_newer_is_there() {
        let mut all = [
            generation(9, "/a", ""),
            generation(8, "/b", "failed"),
            generation(7, "/a", ""),
        ];
        all[0].current = true;
        all[2].current = true;
        let told = Some("generation 8 was left: x".to_owned());
        assert_eq!(left(&all), told);
        assert_eq!(left(&all[..1]), None);
        all[1].path = "/a".to_owned();
        assert_eq!(left(&all), None, "somebody went there again");
        assert_eq!(left(&[]), None);
    }

    #[test]
    fn a_boot_counts_once_and_too_many_are_too_many() {
        let mut record = BootRecord::awaiting(Vec::new(), None);
        for (boot, is_new) in [("a", true), ("a", false), ("b", true), ("c", true)] {
            assert_eq!(record.count(boot), is_new);
            assert_eq!(record.exhausted(3), None);
        }
        record.count("d");
        let why = record.exhausted(3).unwrap();
        assert!(why.contains("3 times"), "{why}");
        record.state = BootState::Proven;
        assert_eq!(record.exhausted(3), None, "never left automatically");
    }

    #[test]
    fn what_was_booted_well_does_not_await_it_again() {
        let new = || BootRecord::awaiting(Vec::new(), Some((1, "/a".to_owned())));
        let proven = BootRecord::proven(Vec::new());
        assert_eq!(on_default(Some(&proven), false, new), None);
        assert_eq!(on_default(None, false, new), Some(new()));
        let failed = BootRecord {
            state: BootState::Failed,
            attempts: 7,
            ..new()
        };
        assert_eq!(on_default(Some(&failed), false, new), Some(new()));
        assert_eq!(on_default(None, true, new), Some(proven));
    }
}

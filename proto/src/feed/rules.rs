//! What a feed must keep to beyond its form: every value makes sense, and nothing is there twice.

use std::collections::BTreeSet;

use super::{Artifact, Feed, FeedError, Release, Target};

/// Largest number in a feed: beyond it other readers of JSON no longer tell numbers apart.
pub const MAX_NUMBER: u64 = (1 << 53) - 1;
/// Longest rollout, a year.
pub const MAX_ROLLOUT_MINUTES: u64 = 366 * 24 * 60;
/// Longest URL.
const MAX_URL: usize = 2048;
/// Longest notes of a release.
const MAX_NOTES: usize = 64 << 10;
const STORE: &str = "/nix/store/";
/// Characters of a hash in a store path.
const HASH_LENGTH: usize = 32;
/// Longest name of a store path.
const MAX_STORE_NAME: usize = 211;

impl Feed {
    /// Whether every value makes sense.
    ///
    /// # Errors
    /// [`FeedError::Malformed`], with the first that does not.
    pub fn check(&self) -> Result<(), FeedError> {
        self.rules().map_err(FeedError::malformed)
    }

    fn rules(&self) -> Result<(), String> {
        if !is_name(&self.channel) {
            return Err("`channel` is no name".to_owned());
        }
        if !(1..=MAX_NUMBER).contains(&self.serial) {
            return Err(format!("`serial` is not between 1 and {MAX_NUMBER}"));
        }
        if self.created >= self.expires {
            return Err("it expires before it was made".to_owned());
        }
        let mut seen = Vec::new();
        for release in &self.releases {
            let about = |why: String| format!("{} {}: {why}", release.product, release.version);
            release.rules().map_err(about)?;
            seen.push((release.product, &release.version));
        }
        seen.sort_by(|(a, v), (b, w)| a.cmp(b).then_with(|| v.compare(w)));
        for pair in seen.windows(2) {
            let [(a, v), (b, w)] = pair else { continue };
            if a == b && v.compare(w).is_eq() {
                return Err(format!("{a} {w} is there twice"));
            }
        }
        for (group, target) in &self.targets {
            if !is_name(group) {
                let shown = group.escape_debug();
                return Err(format!("`{shown:.64}` is no name of a group"));
            }
            target
                .rules()
                .map_err(|why| format!("target {group}: {why}"))?;
        }
        Ok(())
    }
}

impl Release {
    fn rules(&self) -> Result<(), String> {
        let odd = |c: char| c.is_control() && c != '\n' && c != '\t';
        if self.notes.len() > MAX_NOTES || self.notes.chars().any(odd) {
            return Err(format!(
                "`notes` has more than {MAX_NOTES} bytes, or control characters"
            ));
        }
        // Whatever is no number from 0 to 1, be it no number at all, is not in the range.
        if !(0.0..=1.0).contains(&self.rollout.start_share) {
            return Err("`start_share` is not between 0 and 1".to_owned());
        }
        if self.rollout.minutes > MAX_ROLLOUT_MINUTES {
            return Err(format!("`minutes` is more than {MAX_ROLLOUT_MINUTES}"));
        }
        if self.systems.is_empty() {
            return Err("it is for no system".to_owned());
        }
        let mut hashes = BTreeSet::new();
        for (system, artifact) in &self.systems {
            if !is_system(system) {
                let shown = system.escape_debug();
                return Err(format!("`{shown:.64}` is no system, such as x86_64-linux"));
            }
            artifact.rules().map_err(|why| format!("{system}: {why}"))?;
            if !hashes.insert(&artifact.sha256) {
                return Err(format!("{system} has the archive of another system"));
            }
        }
        Ok(())
    }
}

impl Artifact {
    fn rules(&self) -> Result<(), String> {
        if !is_web_url(&self.url) {
            return Err("`url` is no http or https URL without a user".to_owned());
        }
        if !(1..=MAX_NUMBER).contains(&self.size) {
            return Err(format!("`size` is not between 1 and {MAX_NUMBER}"));
        }
        let is_digit = |byte: u8| matches!(byte, b'0'..=b'9' | b'a'..=b'f');
        if self.sha256.len() != 64 || !self.sha256.bytes().all(is_digit) {
            return Err("`sha256` has not 64 lower case hexadecimal digits".to_owned());
        }
        Ok(())
    }
}

impl Target {
    fn rules(&self) -> Result<(), String> {
        if !is_store_path(&self.toplevel) {
            return Err("`toplevel` is no store path".to_owned());
        }
        if self.from.as_deref().is_some_and(|from| !is_web_url(from)) {
            return Err("`from` is no http or https URL without a user".to_owned());
        }
        Ok(())
    }
}

/// Letters, digits, dots, `-` and `_`, at least one and at most 64: a channel, or a group of hosts.
pub fn is_name(text: &str) -> bool {
    let allowed = |byte: u8| byte.is_ascii_alphanumeric() || b".-_".contains(&byte);
    (1..=64).contains(&text.len()) && text.bytes().all(allowed)
}

/// A system as Nix names it, such as `x86_64-linux`.
pub fn is_system(text: &str) -> bool {
    let allowed = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'_';
    let is_part = |part: &str| !part.is_empty() && part.bytes().all(allowed);
    text.len() <= 64
        && text
            .split_once('-')
            .is_some_and(|(processor, kernel)| is_part(processor) && is_part(kernel))
}

/// An http or https URL with a host and a path, without a user, of characters that a URL has.
pub fn is_web_url(text: &str) -> bool {
    let rest = text
        .strip_prefix("https://")
        .or_else(|| text.strip_prefix("http://"));
    let Some(rest) = rest else { return false };
    let host = rest.split(['/', '?', '#']).next().unwrap_or_default();
    let allowed = |byte: u8| byte.is_ascii_graphic() && !b"\\\"<>^`{|}".contains(&byte);
    text.len() <= MAX_URL && text.bytes().all(allowed) && !host.is_empty() && !host.contains('@')
}

fn is_store_path(text: &str) -> bool {
    // Nix's base 32 leaves out e, o, t and u.
    let in_hash = |byte: u8| matches!(byte, b'0'..=b'9' | b'a'..=b'z') && !b"eotu".contains(&byte);
    let in_name = |byte: u8| byte.is_ascii_alphanumeric() || b"+-._?=".contains(&byte);
    let Some(base) = text.strip_prefix(STORE) else {
        return false;
    };
    base.split_once('-').is_some_and(|(hash, name)| {
        hash.len() == HASH_LENGTH
            && hash.bytes().all(in_hash)
            && (1..=MAX_STORE_NAME).contains(&name.len())
            && !name.starts_with('.')
            && name.bytes().all(in_name)
    })
}

#[cfg(test)]
mod tests {
    use super::super::testing::feed;
    use super::*;

    /// Changes the example in one place and says why it is refused.
    fn refusal(change: impl FnOnce(&mut Feed)) -> String {
        let mut feed = feed();
        change(&mut feed);
        match feed.check() {
            Err(FeedError::Malformed { why }) => why,
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn the_example_keeps_the_rules() {
        assert_eq!(feed().check(), Ok(()));
    }

    #[test]
    fn shares_are_numbers_from_0_to_1() {
        for share in [-0.1, 1.1, f64::NAN, f64::INFINITY, -f64::INFINITY] {
            let why = refusal(|feed| feed.releases[0].rollout.start_share = share);
            assert!(why.contains("start_share"), "{why}");
        }
    }

    #[test]
    fn values_that_make_no_sense() {
        type Change = fn(&mut Feed);
        let table: &[(Change, &str)] = &[
            (|feed| feed.channel = "a b".into(), "channel"),
            (|feed| feed.channel = String::new(), "channel"),
            (|feed| feed.serial = 0, "serial"),
            (|feed| feed.serial = u64::MAX, "serial"),
            (|feed| feed.expires = feed.created, "expires before"),
            (
                |feed| feed.releases.push(feed.releases[0].clone()),
                "nix 2.34.8 is there twice",
            ),
            (
                |feed| {
                    let mut same = feed.releases[0].clone();
                    same.version = "2.34.08".parse().unwrap();
                    feed.releases.push(same);
                },
                "is there twice",
            ),
            (|feed| feed.releases[0].notes = "\u{1b}[2J".into(), "notes"),
            (|feed| feed.releases[0].notes = "x".repeat(70_000), "notes"),
            (
                |feed| feed.releases[0].rollout.minutes = u64::MAX,
                "minutes",
            ),
            (|feed| feed.releases[0].systems.clear(), "no system"),
            (
                |feed| {
                    let one = feed.releases[0].systems["x86_64-linux"].clone();
                    feed.releases[0].systems.insert("linux".into(), one);
                },
                "`linux` is no system",
            ),
            (
                |feed| {
                    let one = feed.releases[0].systems["x86_64-linux"].clone();
                    feed.releases[0].systems.insert("aarch64-linux".into(), one);
                },
                "archive of another system",
            ),
        ];
        for (change, part) in table {
            let why = refusal(change);
            assert!(why.contains(part), "{why}");
        }
    }

    #[test]
    fn archives_and_targets_that_make_no_sense() {
        for url in [
            "",
            "file:///etc/passwd",
            "/etc/passwd",
            "ftp://a.example/x",
            "https://",
            "https:///x",
            "https://user:secret@a.example/x",
            "https://a.example/ x",
            "https://a.example/\\x",
            "HTTPS://a.example/x",
        ] {
            let why = refusal(|feed| {
                let all = feed.releases[0].systems.values_mut();
                all.for_each(|one| one.url = url.to_owned());
            });
            assert!(why.contains("`url`"), "{url}: {why}");
        }
        for (size, sha256) in [
            (0, "0".repeat(64)),
            (u64::MAX, "0".repeat(64)),
            (1, "0".repeat(63)),
            (1, "A".repeat(64)),
            (1, "é".repeat(32)),
        ] {
            refusal(|feed| {
                let all = feed.releases[0].systems.values_mut();
                all.for_each(|one| (one.size, one.sha256) = (size, sha256.clone()));
            });
        }
        for path in [
            "",
            "/nix/store",
            "/nix/store/abc-x",
            "/nix/store/00000000000000000000000000000000",
            "/nix/store/00000000000000000000000000000000-",
            "/nix/store/00000000000000000000000000000000-.x",
            "/nix/store/00000000000000000000000000000000-a/b",
            "/nix/store/00000000000000000000000000000000-a/../../etc",
            "/nix/store/e0000000000000000000000000000000-a",
            "/etc/passwd",
        ] {
            let why = refusal(|feed| {
                let all = feed.targets.values_mut();
                all.for_each(|one| one.toplevel = path.to_owned());
            });
            assert!(why.contains("store path"), "{path}: {why}");
        }
        refusal(|feed| {
            let all = feed.targets.values_mut();
            all.for_each(|one| one.from = Some("file:///srv".to_owned()));
        });
    }
}

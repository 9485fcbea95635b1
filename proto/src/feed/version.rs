//! Versions, ordered as Nix orders them (`builtins.compareVersions`): by parts between dots and
//! dashes and between digits and letters, numbers by value, `pre` before everything.

use std::cmp::Ordering;

use serde::{Deserialize, Serialize};

/// Longest version.
const MAX_LENGTH: usize = 64;

/// A version such as `2.34.8` or `2.35pre20260101_abc`. It begins with a digit and has nothing in
/// it that a path or a URL could take for something else.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Version(String);

/// What is no version.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{0:.64}` is no version, such as 2.34.8")]
pub struct VersionError(String);

impl Version {
    /// As it is written.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// Which one is newer. Two spellings of one version, such as `2.3` and `2.03`, are equal here,
    /// which is why this is not [`Ord`].
    pub fn compare(&self, other: &Version) -> Ordering {
        compare(&self.0, &other.0)
    }

    /// Whether this one comes before the other.
    pub fn is_older_than(&self, other: &Version) -> bool {
        self.compare(other) == Ordering::Less
    }
}

impl std::str::FromStr for Version {
    type Err = VersionError;

    fn from_str(text: &str) -> Result<Self, VersionError> {
        let allowed = |byte: u8| byte.is_ascii_alphanumeric() || b"._+-".contains(&byte);
        let right = text.len() <= MAX_LENGTH
            && text.starts_with(|c: char| c.is_ascii_digit())
            && text.bytes().all(allowed);
        match right {
            true => Ok(Version(text.to_owned())),
            false => Err(VersionError(text.escape_debug().to_string())),
        }
    }
}

impl TryFrom<String> for Version {
    type Error = VersionError;

    fn try_from(text: String) -> Result<Self, VersionError> {
        text.parse()
    }
}

impl From<Version> for String {
    fn from(version: Version) -> String {
        version.0
    }
}

impl std::fmt::Display for Version {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.0)
    }
}

/// Which of two texts names the newer version, as [`Version::compare`] tells it: for what a machine
/// says its versions are, in whatever form.
pub fn compare(one: &str, other: &str) -> Ordering {
    let (mut left, mut right) = (parts(one), parts(other));
    loop {
        match (left.next(), right.next()) {
            (None, None) => return Ordering::Equal,
            (a, b) => match compare_parts(a.unwrap_or_default(), b.unwrap_or_default()) {
                Ordering::Equal => {}
                unequal => return unequal,
            },
        }
    }
}

/// The runs of digits and of other characters between dots and dashes.
fn parts(text: &str) -> impl Iterator<Item = &str> {
    let mut rest = text;
    std::iter::from_fn(move || {
        rest = rest.trim_start_matches(['.', '-']);
        let is_number = rest.starts_with(|c: char| c.is_ascii_digit());
        let ends = |c: char| c == '.' || c == '-' || c.is_ascii_digit() != is_number;
        let (part, after) = rest.split_at(rest.find(ends).unwrap_or(rest.len()));
        rest = after;
        (!part.is_empty()).then_some(part)
    })
}

/// A missing part, the empty one, comes before a number and after `pre`; letters before numbers,
/// so that `2.3a` comes before `2.3.1`.
fn compare_parts(a: &str, b: &str) -> Ordering {
    let rank = |part: &str| match part {
        "pre" => 0,
        "" => 1,
        part if part.starts_with(|c: char| c.is_ascii_digit()) => 3,
        _ => 2,
    };
    let of_numbers = || {
        let (a, b) = (a.trim_start_matches('0'), b.trim_start_matches('0'));
        a.len().cmp(&b.len()).then_with(|| a.cmp(b))
    };
    match (rank(a), rank(b)) {
        (3, 3) => of_numbers(),
        (left, right) => left.cmp(&right).then_with(|| a.cmp(b)),
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn version(text: &str) -> Version {
        text.parse().unwrap()
    }

    /// The cases of Nix's own tests of `compareVersions`, and real versions of Nix.
    #[test]
    fn the_order_is_that_of_nix() {
        for (a, b, expected) in [
            ("1.0", "2.3", Ordering::Less),
            ("2.1", "2.3", Ordering::Less),
            ("2.3", "2.3", Ordering::Equal),
            ("2.5", "2.3", Ordering::Greater),
            ("3.1", "2.3", Ordering::Greater),
            ("2.3.1", "2.3", Ordering::Greater),
            ("2.3.1", "2.3a", Ordering::Greater),
            ("2.3pre1", "2.3", Ordering::Less),
            ("2.3pre3", "2.3pre12", Ordering::Less),
            ("2.3a", "2.3c", Ordering::Less),
            ("2.3pre1", "2.3c", Ordering::Less),
            ("2.3pre1", "2.3q", Ordering::Less),
            ("2.9.0", "2.26.3", Ordering::Less),
            ("2.26.3", "2.34.8", Ordering::Less),
            ("2.35pre20260101_abc", "2.35.0", Ordering::Less),
            ("2.35pre20260101_abc", "2.34.9", Ordering::Greater),
            ("2.03", "2.3", Ordering::Equal),
            ("2.3", "2.3.0", Ordering::Less),
            (
                "99999999999999999999999",
                "100000000000000000000000",
                Ordering::Less,
            ),
        ] {
            assert_eq!(version(a).compare(&version(b)), expected, "{a} {b}");
            assert_eq!(
                version(b).compare(&version(a)),
                expected.reverse(),
                "{b} {a}"
            );
        }
    }

    #[test]
    fn what_is_no_version() {
        for text in [
            "",
            "v2",
            "latest",
            "2/3",
            "2 3",
            "2\n",
            "../2",
            "2.3é",
            &"2".repeat(65),
        ] {
            assert!(text.parse::<Version>().is_err(), "{text}");
        }
    }

    proptest! {
        #[test]
        fn the_order_is_total(
            a in "[0-9](\\.|-|[0-3]|pre|a|_){0,6}",
            b in "[0-9](\\.|-|[0-3]|pre|a|_){0,6}",
            c in "[0-9](\\.|-|[0-3]|pre|a|_){0,6}",
        ) {
            let (a, b, c) = (version(&a), version(&b), version(&c));
            prop_assert_eq!(a.compare(&b), b.compare(&a).reverse());
            if a.compare(&b) != Ordering::Greater && b.compare(&c) != Ordering::Greater {
                prop_assert_ne!(a.compare(&c), Ordering::Greater);
            }
        }
    }
}

//! What the name of a store path says of its package: name, version and output, with Nix's own
//! guess (`builtins.parseDrvName`): the version begins at the first dash that no letter follows.
//! Nix appends the output to the name, which makes it look like a part of the version; the usual
//! output names are taken off so that `openssl-3.0.14-bin` counts as version 3.0.14.

use std::cmp::Ordering;

use serde::{Deserialize, Serialize};

/// Outputs as nixpkgs names them. Any other word at the end stays a part of the version
/// (`unstable`, `pre1`).
const OUTPUTS: [&str; 16] = [
    "bin", "data", "debug", "dev", "devdoc", "dist", "doc", "info", "lib", "lib32", "lib64",
    "libgcc", "man", "nss", "out", "static",
];

/// Name, version and output of a package.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct PackageName {
    /// The name, never empty.
    pub name: String,
    /// The version; empty when there is none.
    pub version: String,
    /// The output when it is not the main one; empty for the main one.
    pub output: String,
}

impl PackageName {
    /// Takes the name of a store path apart (without its hash).
    pub fn parse(text: &str) -> Self {
        let (name, version, output) = parts(text);
        PackageName {
            name: name.to_owned(),
            version: version.to_owned(),
            output: output.to_owned(),
        }
    }
}

/// Name, version and output, as parts of the text.
pub(super) fn parts(text: &str) -> (&str, &str, &str) {
    let (name, version) = split(text);
    match version.rsplit_once('-') {
        Some((version, output)) if OUTPUTS.contains(&output) => (name, version, output),
        _ => (name, version, ""),
    }
}

/// `parseDrvName`: name and version.
fn split(text: &str) -> (&str, &str) {
    let bytes = text.as_bytes();
    let at = bytes
        .windows(2)
        .position(|pair| pair[0] == b'-' && !pair[1].is_ascii_alphabetic());
    match at {
        // A dash at the very beginning would leave no name.
        Some(at) if at > 0 => (&text[..at], &text[at + 1..]),
        _ => (text, ""),
    }
}

/// Orders versions as Nix's `builtins.compareVersions` does: runs of digits as numbers, other
/// runs as words, `pre` before everything and the end before other words.
pub fn compare_versions(a: &str, b: &str) -> Ordering {
    let (mut a, mut b) = (Components(a), Components(b));
    loop {
        let (left, right) = (a.next(), b.next());
        if left.is_none() && right.is_none() {
            return Ordering::Equal;
        }
        let order = compare_component(left.unwrap_or_default(), right.unwrap_or_default());
        if order != Ordering::Equal {
            return order;
        }
    }
}

fn compare_component(a: &str, b: &str) -> Ordering {
    if a == b {
        return Ordering::Equal;
    }
    match (number(a), number(b)) {
        (Some(a), Some(b)) => a.len().cmp(&b.len()).then_with(|| a.cmp(b)),
        (None, Some(_)) if a.is_empty() => Ordering::Less,
        (Some(_), None) if b.is_empty() => Ordering::Greater,
        _ if a == "pre" => Ordering::Less,
        _ if b == "pre" => Ordering::Greater,
        (Some(_), None) => Ordering::Greater,
        (None, Some(_)) => Ordering::Less,
        (None, None) => a.cmp(b),
    }
}

/// The digits without leading zeroes, so that length and text order them whatever their size.
fn number(text: &str) -> Option<&str> {
    (!text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit()))
        .then(|| text.trim_start_matches('0'))
}

/// Splits a version at dots, dashes, and between digits and other characters.
struct Components<'a>(&'a str);

impl<'a> Iterator for Components<'a> {
    type Item = &'a str;

    fn next(&mut self) -> Option<&'a str> {
        let text = self.0.trim_start_matches(['.', '-']);
        let first = text.chars().next()?;
        let digits = first.is_ascii_digit();
        let end = text
            .find(|c: char| c == '.' || c == '-' || c.is_ascii_digit() != digits)
            .unwrap_or(text.len());
        let (component, rest) = text.split_at(end);
        self.0 = rest;
        Some(component)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn names_are_taken_apart_as_nix_does() {
        for (text, name, version, output) in [
            ("hello-2.12.1", "hello", "2.12.1", ""),
            ("hello", "hello", "", ""),
            ("openssl-3.0.14-bin", "openssl", "3.0.14", "bin"),
            ("nix-2.34.8", "nix", "2.34.8", ""),
            ("nss-cacert-20250419", "nss-cacert", "20250419", ""),
            ("unit-nginx.service", "unit-nginx.service", "", ""),
            (
                "python3.12-requests-2.31.0",
                "python3.12-requests",
                "2.31.0",
                "",
            ),
            ("glibc-locales-2.39-52", "glibc-locales", "2.39-52", ""),
            (
                "foo-0.1-unstable-2024-01-02",
                "foo",
                "0.1-unstable-2024-01-02",
                "",
            ),
            ("dbus-1", "dbus", "1", ""),
            ("gcc-13.2.0-lib", "gcc", "13.2.0", "lib"),
            ("system-path", "system-path", "", ""),
            ("bin", "bin", "", ""),
            ("a-", "a-", "", ""),
            ("-1", "-1", "", ""),
            ("a--1", "a", "-1", ""),
        ] {
            let package = PackageName::parse(text);
            assert_eq!(
                (&*package.name, &*package.version, &*package.output),
                (name, version, output),
                "{text}"
            );
        }
    }

    #[test]
    fn versions_are_ordered_as_nix_does() {
        use Ordering::{Equal, Greater, Less};
        for (a, b, expected) in [
            ("1.0", "2.3", Less),
            ("2.1", "2.3", Less),
            ("2.3", "2.3", Equal),
            ("2.5", "2.3", Greater),
            ("3.1", "2.3", Greater),
            ("2.3.1", "2.3", Greater),
            ("2.3.1", "2.3a", Greater),
            ("2.3pre1", "2.3", Less),
            ("2.3pre3", "2.3pre12", Less),
            ("2.3a", "2.3c", Less),
            ("2.3pre1", "2.3c", Less),
            ("2.3pre1", "2.3q", Less),
            ("1.10", "1.9", Greater),
            ("1.09", "1.9", Equal),
            ("99999999999999999999999", "100000000000000000000000", Less),
        ] {
            assert_eq!(compare_versions(a, b), expected, "{a} {b}");
            assert_eq!(compare_versions(b, a), expected.reverse(), "{b} {a}");
        }
    }

    proptest! {
        #[test]
        fn nothing_of_a_name_is_lost(text in "[a-zA-Z0-9+._?=-]{1,40}") {
            let package = PackageName::parse(&text);
            prop_assert!(!package.name.is_empty());
            let mut whole = package.name.clone();
            for part in [&package.version, &package.output] {
                if !part.is_empty() {
                    whole = format!("{whole}-{part}");
                }
            }
            // Only a version that is nothing but an output, as in `a--bin`, loses its dash.
            prop_assert_eq!(whole.replace('-', ""), text.replace('-', ""));
        }

        #[test]
        fn the_order_of_versions_is_symmetric(a in "[0-9a-c.-]{0,8}|pre", b in "[0-9a-c.-]{0,8}") {
            prop_assert_eq!(compare_versions(&a, &b), compare_versions(&b, &a).reverse());
        }
    }
}

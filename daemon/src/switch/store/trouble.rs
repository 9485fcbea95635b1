//! Telling from Nix's words what kind of trouble it had, and whether trying again later can help.
//!
//! Nix has no codes for its errors. What is lacking on a full disk is told where it is known.

use std::path::Path;

use crate::host::fs::Space;
use crate::payload::STATE_DIR;
use crate::switch::error::SwitchError;
use crate::switch::store::NixStore;
use crate::switch::store::fetch::unavailable;
use crate::switch::store::internal_json::NixLog;

/// Where Nix writes, besides its home below the state folder.
const STORE: &str = "/nix/store";
/// Bytes that a file has at least, for comparing file systems that lack the one or the other.
const INODE: u64 = 4096;

/// What Nix and curl say when a cache or the network does not answer.
pub(super) const NETWORK: [&str; 19] = [
    "could not connect",
    "couldn't connect",
    "failed to connect",
    "could not resolve",
    "couldn't resolve",
    "network is unreachable",
    "connection refused",
    "connection reset",
    "timeout was reached",
    "timed out",
    "http error 5",
    "http error 429",
    "recv failure",
    "send failure",
    "stream error",
    "partial file",
    "transfer closed",
    "empty reply",
    "ssl connect",
];

impl NixStore<'_> {
    /// What kind of trouble Nix had with what was to be done; `open` are the bytes still to be written.
    pub(in crate::switch) fn trouble_with(
        &self,
        what: String,
        paths: &[String],
        open: u64,
        log: &NixLog,
    ) -> SwitchError {
        let why = log.complaint();
        match kind(log) {
            Trouble::Space => self.too_little_space(what, open.saturating_sub(log.copied())),
            Trouble::Network(why) => SwitchError::Network { what, why },
            Trouble::Unavailable => {
                // Without an answer all of them are.
                let valid = self.valid(paths).unwrap_or_default();
                unavailable(paths, &valid, &why).unwrap_or(SwitchError::Nix { what, why })
            }
            Trouble::Other => SwitchError::Nix { what, why },
        }
    }

    /// What is lacking of so many bytes, where that is more than nothing. Else the fullest of the file
    /// systems that Nix writes to.
    fn too_little_space(&self, what: String, open: u64) -> SwitchError {
        let space = |place| Some((place, self.host.fs.space(Path::new(place)).ok()?));
        let spaces = [STORE, STATE_DIR].into_iter().filter_map(space);
        let spaces: Vec<(&str, Space)> = spaces.collect();
        let free = spaces.iter().find(|(place, _)| *place == STORE);
        let lacking = free.map_or(0, |(_, space)| open.saturating_sub(space.free_bytes));
        if lacking > 0 {
            let place = "/nix".to_owned();
            return SwitchError::NoSpace {
                what,
                place,
                lacking,
            };
        }
        let room = |space: &Space| {
            space
                .free_bytes
                .min(space.free_inodes.saturating_mul(INODE))
        };
        let fullest = spaces.into_iter().min_by_key(|(_, space)| room(space));
        let (place, free_bytes, free_inodes) = match fullest {
            Some((place, space)) => (place, space.free_bytes, space.free_inodes),
            None => (STORE, 0, u64::MAX),
        };
        SwitchError::Full {
            what,
            place: place.to_owned(),
            free_bytes,
            free_inodes,
        }
    }
}

#[derive(Debug, PartialEq, Eq)]
enum Trouble {
    Space,
    Network(String),
    Unavailable,
    Other,
}

/// Nix has no codes for its errors, only words; these are of Nix, curl, SQLite and the C library.
fn kind(log: &NixLog) -> Trouble {
    const SPACE: [&str; 3] = [
        "no space left on device",
        "disk quota exceeded",
        "database or disk is full",
    ];
    const TRUST: [&str; 3] = ["signature by a trusted key", "hash mismatch", "not signed"];
    const MISSING: [&str; 6] = [
        "no substituter that can build",
        "does not exist",
        "don't know how to build",
        "is not valid",
        "build of '",
        "cannot be substituted",
    ];
    let find = |words: &[&str]| {
        let mut messages = log.messages();
        let found = messages.find(|text| says(words, text));
        found.map(str::to_owned)
    };
    if find(&SPACE).is_some() {
        Trouble::Space
    } else if find(&TRUST).is_some() {
        Trouble::Unavailable
    } else if let Some(why) = find(&NETWORK) {
        let why = why.strip_prefix("warning: ").unwrap_or(&why);
        Trouble::Network(why.strip_prefix("error: ").unwrap_or(why).to_owned())
    } else if find(&MISSING).is_some() {
        Trouble::Unavailable
    } else {
        Trouble::Other
    }
}

/// Whether a text has one of these words.
pub(super) fn says(words: &[&str], text: &str) -> bool {
    let text = text.to_lowercase();
    words.iter().any(|word| text.contains(word))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::switch::testing::Fixture;

    #[test]
    fn what_is_lacking_is_told_as_far_as_it_is_known() {
        let mut log = NixLog::default();
        log.feed(b"error: writing to file: No space left on device\n");
        let fixture = Fixture::new();
        // Nobody knows what a build needs; and what is left of a fetch may be less than is free.
        for open in [0, 1] {
            let full = fixture
                .store()
                .trouble_with("do it".to_owned(), &[], open, &log);
            let (text, waits) = (full.to_string(), full.waits().unwrap());
            assert!(
                text.starts_with("cannot do it: /nix/store is full"),
                "{text}"
            );
            assert!(waits.starts_with("needs space on /nix/store"), "{waits}");
            for text in [text, waits] {
                let free = text.split(' ').rev().nth(2).unwrap();
                let free: u64 = free.trim_start_matches('(').parse().unwrap();
                assert!(free > 1 << 20, "{text}");
            }
            assert_eq!(full.failure().code, nixctl_proto::Code::DiskFull);
        }
    }
}

//! The copies that there are: their names, their order, and which of them goes first.
//!
//! A name says when the copy was made and how the database stood then, so that a copy needs no other
//! file to be understood: `db-TIME-CHANGED.sqlite`, both in milliseconds since 1970.

use std::path::{Path, PathBuf};

use super::{COPIES_DIR, DatabaseError};
use crate::host::Fs;
use crate::host::fs::Kind;

const PREFIX: &str = "db-";
const SUFFIX: &str = ".sqlite";

/// A copy.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Copy {
    /// When it was made, as its name says; later than all that were there.
    pub at: u64,
    /// When the database had been changed last.
    pub changed: u64,
    /// Its size.
    pub bytes: u64,
}

impl Copy {
    /// Its name.
    pub fn name(&self) -> String {
        format!("{PREFIX}{:013}-{:013}{SUFFIX}", self.at, self.changed)
    }

    /// Where it lies.
    pub fn path(&self) -> PathBuf {
        Path::new(COPIES_DIR).join(self.name())
    }

    fn read(name: &str, bytes: u64) -> Option<Copy> {
        let inner = name.strip_prefix(PREFIX)?.strip_suffix(SUFFIX)?;
        let (at, changed) = inner.split_once('-')?;
        let copy = Copy {
            at: at.parse().ok()?,
            changed: changed.parse().ok()?,
            bytes,
        };
        // What is spelled otherwise is not ours.
        (copy.name() == name).then_some(copy)
    }
}

/// All copies, the oldest first.
///
/// # Errors
/// When their folder cannot be read.
pub fn all(fs: &Fs) -> Result<Vec<Copy>, DatabaseError> {
    let mut copies = Vec::new();
    for name in fs.list(Path::new(COPIES_DIR))? {
        let meta = fs.meta(&Path::new(COPIES_DIR).join(&name))?;
        let Some(meta) = meta.filter(|meta| meta.kind == Kind::File) else {
            continue;
        };
        copies.extend(name.to_str().and_then(|name| Copy::read(name, meta.size)));
    }
    copies.sort_unstable();
    Ok(copies)
}

/// The copy of that name.
///
/// # Errors
/// When there is none.
pub fn named(fs: &Fs, name: &str) -> Result<Copy, DatabaseError> {
    let found = all(fs)?.into_iter().find(|copy| copy.name() == name);
    found.ok_or_else(|| DatabaseError::NoCopy {
        name: name.to_owned(),
    })
}

/// The time of a new copy: later than those that are there, whatever the clock says.
pub(super) fn next_time(copies: &[Copy], now: u64) -> u64 {
    let last = copies.last().map_or(0, |copy| copy.at.saturating_add(1));
    now.max(last)
}

/// How many of the oldest copies must go before a new one fits, one always staying; `None`: that
/// does not help.
pub(super) fn to_make_room(copies: &[Copy], free: u64, needed: u64) -> Option<usize> {
    let mut free = free;
    if free >= needed {
        return Some(0);
    }
    let others = copies.len().saturating_sub(1);
    for (place, copy) in copies.iter().take(others).enumerate() {
        free = free.saturating_add(copy.bytes);
        if free >= needed {
            return Some(place + 1);
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::host::fs::testing::rooted;

    fn copy(at: u64, bytes: u64) -> Copy {
        let changed = 5;
        Copy { at, changed, bytes }
    }

    #[test]
    fn names_say_what_copies_are() {
        let one = copy(1_700_000_000_000, 3);
        assert_eq!(one.name(), "db-1700000000000-0000000000005.sqlite");
        for (name, found) in [
            (one.name().as_str(), Some(one.clone())),
            ("db-1700000000000-5.sqlite", None),
            ("db-x-0000000000005.sqlite", None),
            (".incoming.sqlite", None),
            ("report.json", None),
        ] {
            assert_eq!(Copy::read(name, 3), found, "{name}");
        }
    }

    #[test]
    fn copies_are_listed_by_their_time() {
        let (dir, fs) = rooted();
        assert!(all(&fs).unwrap().is_empty());
        let folder = dir.path().join("var/lib/nixctl/database");
        std::fs::create_dir_all(&folder).unwrap();
        for one in [copy(30, 1), copy(7, 1)] {
            std::fs::write(folder.join(one.name()), "x").unwrap();
        }
        std::fs::write(folder.join("report.json"), "x").unwrap();
        std::os::unix::fs::symlink("report.json", folder.join(copy(9, 1).name())).unwrap();
        assert_eq!(all(&fs).unwrap(), [copy(7, 1), copy(30, 1)]);
        assert!(named(&fs, &copy(30, 1).name()).is_ok());
        for name in [copy(9, 1).name().as_str(), "../x", "report.json", ""] {
            assert!(named(&fs, name).is_err(), "{name}");
        }
    }

    #[test]
    fn a_clock_that_went_back_makes_no_copy_older() {
        assert_eq!(next_time(&[], 50), 50);
        assert_eq!(next_time(&[copy(40, 1)], 50), 50);
        assert_eq!(next_time(&[copy(40, 1), copy(90, 1)], 50), 91);
    }

    proptest! {
        #[test]
        fn as_few_go_as_are_needed_and_one_stays(
            sizes in proptest::collection::vec(0u64..1000, 0..6), free in 0u64..3000, needed in 0u64..3000,
        ) {
            let copies: Vec<Copy> = sizes.iter().map(|bytes| copy(1, *bytes)).collect();
            let room = |number: usize| free + sizes[..number].iter().sum::<u64>();
            let most = copies.len().saturating_sub(1);
            match to_make_room(&copies, free, needed) {
                Some(number) => {
                    prop_assert!(number <= most && room(number) >= needed);
                    prop_assert!(number == 0 || room(number - 1) < needed);
                }
                None => prop_assert!(room(most) < needed),
            }
        }
    }
}

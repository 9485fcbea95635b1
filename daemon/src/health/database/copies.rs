//! The copies that there are: their names, their order, and which of them goes first.
//!
//! A name says which copy it is, when it was made and when the database had been changed then, so that
//! no other file is needed: `db-NUMBER-TIME-CHANGED.sqlite`, times in milliseconds since 1970. The
//! order is that of the numbers: a clock that is set makes no copy older than it is.

use std::path::{Path, PathBuf};

use super::{COPIES_DIR, DATABASE, DatabaseError, beside};
use crate::host::Fs;
use crate::host::fs::Kind;

const PREFIX: &str = "db-";
const SUFFIX: &str = ".sqlite";

/// A copy.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Copy {
    /// Counts up.
    pub number: u64,
    /// When it was made.
    pub at: u64,
    /// When the database had been changed last.
    pub changed: u64,
    /// Its size.
    pub bytes: u64,
}

impl Copy {
    /// Its name.
    pub fn name(&self) -> String {
        let (number, at, changed) = (self.number, self.at, self.changed);
        format!("{PREFIX}{number:06}-{at:013}-{changed:013}{SUFFIX}")
    }

    /// Where it lies.
    pub fn path(&self) -> PathBuf {
        Path::new(COPIES_DIR).join(self.name())
    }

    fn read(name: &str, bytes: u64) -> Option<Copy> {
        let inner = name.strip_prefix(PREFIX)?.strip_suffix(SUFFIX)?;
        let (number, times) = inner.split_once('-')?;
        let (at, changed) = times.split_once('-')?;
        let copy = Copy {
            number: number.parse().ok()?,
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

/// Whether it is time for a copy: nothing was copied for so many milliseconds, and the database was
/// changed since. For the daemon itself, before it starts a child for it.
///
/// # Errors
/// When the files cannot be looked at.
pub fn is_due(fs: &Fs, every: u64, now: u64) -> Result<bool, DatabaseError> {
    let Some(last) = all(fs)?.pop() else {
        return Ok(changed(fs)? > 0);
    };
    // However the clock was set.
    Ok(now.abs_diff(last.at) >= every && changed(fs)? != last.changed)
}

/// When the database was changed last, itself or its log; 0: there is none.
pub(super) fn changed(fs: &Fs) -> Result<u64, DatabaseError> {
    let database = Path::new(DATABASE);
    let mut changed = 0;
    for path in [database.to_owned(), beside(database, "-wal")] {
        let meta = fs.meta(&path)?.filter(|meta| meta.size > 0);
        changed = changed.max(meta.map_or(0, |meta| meta.modified));
    }
    Ok(changed)
}

/// The number of a new copy.
pub(super) fn next_number(copies: &[Copy]) -> u64 {
    copies
        .last()
        .map_or(1, |last| last.number.saturating_add(1))
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

    fn copy(number: u64, bytes: u64) -> Copy {
        Copy {
            number,
            at: 1_700_000_000_000 - number,
            changed: 5,
            bytes,
        }
    }

    #[test]
    fn names_say_what_copies_are() {
        let one = copy(7, 3);
        let name = "db-000007-1699999999993-0000000000005.sqlite";
        assert_eq!(one.name(), name);
        for (name, found) in [
            (one.name().as_str(), Some(one.clone())),
            ("db-7-1699999999993-0000000000005.sqlite", None),
            ("db-000007-1699999999993-5.sqlite", None),
            ("db-000007-0000000000005.sqlite", None),
            ("db-x-1699999999993-0000000000005.sqlite", None),
            (".incoming.sqlite", None),
            ("report.json", None),
        ] {
            assert_eq!(Copy::read(name, 3), found, "{name}");
        }
    }

    #[test]
    fn copies_are_listed_in_their_order() {
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
    fn a_copy_is_due_after_its_time_and_a_change() {
        let (dir, fs) = rooted();
        for folder in ["var/lib/nixctl/database", "nix/var/nix/db"] {
            std::fs::create_dir_all(dir.path().join(folder)).unwrap();
        }
        assert!(!is_due(&fs, 0, 1).unwrap(), "there is nothing to copy");
        let database = dir.path().join(DATABASE.trim_start_matches('/'));
        std::fs::write(&database, "x").unwrap();
        assert!(is_due(&fs, 1000, 1).unwrap(), "there is no copy yet");
        let last = Copy {
            changed: changed(&fs).unwrap(),
            ..copy(1, 1)
        };
        let path = dir.path().join(last.path().strip_prefix("/").unwrap());
        std::fs::write(path, "x").unwrap();
        assert!(
            !is_due(&fs, 1000, last.at + 5000).unwrap(),
            "nothing was changed"
        );
        std::fs::write(format!("{}-wal", database.display()), "").unwrap();
        assert!(
            !is_due(&fs, 1000, last.at + 5000).unwrap(),
            "an empty log is no change"
        );
        std::thread::sleep(std::time::Duration::from_millis(20));
        std::fs::write(format!("{}-wal", database.display()), "x").unwrap();
        for (now, due) in [(999, false), (1000, true), (0, false)] {
            assert_eq!(is_due(&fs, 1000, last.at + now).unwrap(), due, "{now}");
        }
        assert!(is_due(&fs, 1000, 7).unwrap(), "the clock went back");
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

//! The differences between two snapshots, readable.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

use super::{Entry, Record};

/// One key whose state differs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Difference {
    /// A path, or `user:NAME` and the like.
    pub key: String,
    /// Before; none when it was not there.
    pub before: Option<Entry>,
    /// After; none when it is gone.
    pub after: Option<Entry>,
}

/// Compares. A key that only one side recorded is, on the other side, what the image has.
pub fn diff(
    before: &BTreeMap<String, Record>,
    after: &BTreeMap<String, Record>,
) -> Vec<Difference> {
    let keys: BTreeSet<&String> = before.keys().chain(after.keys()).collect();
    let side = |here: Option<&Record>, there: Option<&Record>| match here {
        Some(record) => record.now.clone(),
        None => there.and_then(|record| record.base.clone()),
    };
    keys.into_iter()
        .map(|key| {
            let (old, new) = (before.get(key), after.get(key));
            Difference {
                key: key.clone(),
                before: side(old, new),
                after: side(new, old),
            }
        })
        .filter(|difference| difference.before != difference.after)
        .collect()
}

impl fmt::Display for Difference {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match (&self.before, &self.after) {
            (None, Some(after)) => write!(f, "+ {}: {after}", self.key),
            (Some(before), None) => write!(f, "- {}: {before}", self.key),
            (Some(before), Some(after)) => write!(f, "~ {}: {before} -> {after}", self.key),
            (None, None) => write!(f, "  {}", self.key),
        }
    }
}

impl fmt::Display for Entry {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::File {
                mode,
                uid,
                gid,
                size,
                sha256,
            } => {
                let short = sha256.get(..8).unwrap_or(sha256);
                write!(f, "file {mode:04o} {uid}:{gid} {size} bytes {short}")
            }
            Self::Folder { mode, uid, gid } => write!(f, "folder {mode:04o} {uid}:{gid}"),
            Self::Link { target, uid, gid } => write!(f, "link to {target} {uid}:{gid}"),
            Self::Special { mode, uid, gid } => write!(f, "special {mode:06o} {uid}:{gid}"),
            Self::Fact { text } => write!(f, "{text}"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn fact(text: &str) -> Option<Entry> {
        Some(Entry::Fact {
            text: text.to_owned(),
        })
    }

    fn records(list: &[(&str, Option<Entry>, Option<Entry>)]) -> BTreeMap<String, Record> {
        list.iter()
            .map(|(key, base, now)| {
                (
                    (*key).to_owned(),
                    Record {
                        base: base.clone(),
                        now: now.clone(),
                    },
                )
            })
            .collect()
    }

    #[test]
    fn a_key_only_one_side_knows_is_the_image_on_the_other() {
        let before = records(&[("/gone-again", None, fact("x")), ("/same", None, fact("s"))]);
        let after = records(&[
            ("/changed", fact("image"), fact("new")),
            ("/removed", fact("image"), None),
            ("/same", None, fact("s")),
        ]);
        let lines: Vec<String> = diff(&before, &after)
            .iter()
            .map(ToString::to_string)
            .collect();
        assert_eq!(
            lines,
            [
                "~ /changed: image -> new",
                "- /gone-again: x",
                "- /removed: image"
            ]
        );
    }
}

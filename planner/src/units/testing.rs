//! Unit directories in one line for the tests.

use super::name::UnitName;
use super::set::{Entry, UnitSet};

/// A name.
pub(super) fn name(text: &str) -> UnitName {
    UnitName::new(text).unwrap()
}

/// Entries by their path; `|` ends a line, and what begins with `-> ` is a link.
pub(super) fn set(entries: &[(&str, &str)]) -> UnitSet {
    UnitSet::new(entries.iter().map(|(path, text)| {
        let entry = match text.strip_prefix("-> ") {
            Some(target) => Entry::Link(target.into()),
            None => Entry::File(text.replace('|', "\n").into_bytes()),
        };
        ((*path).to_owned(), entry)
    }))
}

//! A generation as data: what the cut into components looks at.
//!
//! A snapshot holds what was found while walking a toplevel inside the store: the entries of `etc`,
//! the units among them, the packages of `sw`, and everything else. Link trees the walk went through
//! are the [`scaffold`](Toplevel::scaffold): they name everything, so their closure says nothing, and every
//! generation composed on the way has its own.

use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Serialize};

use crate::closure::{StorePath, store_paths_in};
use crate::units::{self, UnitSet};

/// Where units lie in a toplevel's `etc`.
pub const UNIT_DIR: &str = "systemd/system/";

/// A generation's toplevel, read.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Toplevel {
    /// The toplevel itself.
    pub path: StorePath,
    /// Entries of `etc` by their path below it, folders left out: `nginx/nginx.conf`.
    pub etc: BTreeMap<String, Entry>,
    /// Packages of `sw`.
    pub packages: BTreeSet<StorePath>,
    /// Everything else in the toplevel by its path: `activate`, `kernel`, `boot.json`.
    pub rest: BTreeMap<String, Entry>,
    /// Link trees that were walked through, the toplevel first among them.
    pub scaffold: BTreeSet<StorePath>,
}

/// One file, link or opaque thing.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub struct Entry {
    /// Store path that the entry leads to, unless it lies in the scaffold itself.
    pub origin: Option<StorePath>,
    /// What is there.
    pub content: Content,
}

/// What an entry is.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Content {
    /// A text, small enough to be read.
    Text(String),
    /// A link that was not followed, because it leads out of the store (`/dev/null`, `/run/...`) or
    /// stays in its folder (`../nginx.service`).
    Link(String),
    /// A folder, a large file or something that is no text: only its whole path is known.
    Opaque(String),
}

impl Entry {
    /// Store paths that the entry needs: where it comes from, and for what lies in the scaffold
    /// itself, which has no useful closure, those that its text names. What an opaque thing in the
    /// scaffold needs is not known; it ends up with what nothing accounts for.
    pub fn roots(&self) -> BTreeSet<StorePath> {
        match (&self.origin, &self.content) {
            (Some(origin), _) => BTreeSet::from([origin.clone()]),
            (None, Content::Opaque(_)) => BTreeSet::new(),
            (None, content) => store_paths_in(content.text()).into_iter().collect(),
        }
    }
}

impl Content {
    /// The text, the target of the link, or the path.
    pub fn text(&self) -> &str {
        match self {
            Content::Text(text) | Content::Link(text) | Content::Opaque(text) => text,
        }
    }
}

impl Toplevel {
    /// A toplevel in which nothing was found yet.
    pub fn new(path: StorePath) -> Self {
        Toplevel {
            scaffold: BTreeSet::from([path.clone()]),
            path,
            etc: BTreeMap::new(),
            packages: BTreeSet::new(),
            rest: BTreeMap::new(),
        }
    }

    /// The text of an entry of `etc`, if it is one.
    pub fn etc_text(&self, path: &str) -> Option<&str> {
        match &self.etc.get(path)?.content {
            Content::Text(text) => Some(text),
            Content::Link(_) | Content::Opaque(_) => None,
        }
    }

    /// The units, as the decisions about them take them.
    pub fn unit_set(&self) -> UnitSet {
        let entries = self.unit_entries().filter_map(|(path, entry)| {
            let entry = match &entry.content {
                Content::Text(text) => units::set::Entry::File(text.clone().into_bytes()),
                Content::Link(target) => units::set::Entry::Link(target.clone()),
                Content::Opaque(_) => return None,
            };
            Some((path.to_owned(), entry))
        });
        UnitSet::new(entries)
    }

    /// Entries below `etc/systemd/system`, by their path below it.
    pub fn unit_entries(&self) -> impl Iterator<Item = (&str, &Entry)> {
        self.etc
            .range(UNIT_DIR.to_owned()..)
            .map_while(|(path, entry)| Some((path.strip_prefix(UNIT_DIR)?, entry)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::closure::testing::path;
    use crate::units::{UnitName, UnitSource};

    #[test]
    fn the_units_of_a_toplevel() {
        let mut toplevel = Toplevel::new(path("nixos"));
        let mut add = |path: &str, content| {
            let entry = Entry {
                origin: None,
                content,
            };
            toplevel.etc.insert(path.to_owned(), entry);
        };
        add("systemd/system/a.service", Content::Text("[Unit]".into()));
        add(
            "systemd/system/b.service",
            Content::Link("/dev/null".into()),
        );
        add(
            "systemd/system/c.service",
            Content::Opaque("/nix/store/x".into()),
        );
        add("systemd/system.conf", Content::Text(String::new()));
        let names: Vec<&str> = toplevel.unit_entries().map(|(path, _)| path).collect();
        assert_eq!(names, ["a.service", "b.service", "c.service"]);
        let set = toplevel.unit_set();
        let source = |name| set.source(&UnitName::new(name).unwrap());
        assert!(source("a.service").is_present());
        assert_eq!(source("b.service"), UnitSource::Masked);
        assert_eq!(source("c.service"), UnitSource::Missing);
    }
}

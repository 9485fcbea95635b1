//! What a finding is about, and what a round of checks has looked at.
//!
//! The same pair of check and subject is the same trouble, however its words change: attempts are
//! counted and history is kept by it. A round may look at some areas only, and then says nothing
//! about the others: what it did not look at is neither seen nor gone.

use std::collections::BTreeSet;

use serde::{Deserialize, Serialize};

/// What a finding is about.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Sighting {
    /// Id of the check, `area.name`.
    pub check: String,
    /// The unit, path or user; empty for the machine.
    pub subject: String,
}

impl Sighting {
    /// A check and its subject.
    pub fn new(check: impl Into<String>, subject: impl Into<String>) -> Self {
        Sighting {
            check: check.into(),
            subject: subject.into(),
        }
    }

    /// The area of its check.
    pub fn area(&self) -> &str {
        self.check
            .split_once('.')
            .map_or(self.check.as_str(), |(area, _)| area)
    }
}

impl std::fmt::Display for Sighting {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.check)?;
        if self.subject.is_empty() {
            return Ok(());
        }
        write!(f, " ({})", self.subject)
    }
}

/// Areas of checks.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum Areas {
    /// Every one.
    All,
    /// These.
    Only(BTreeSet<String>),
}

impl Areas {
    /// None.
    pub const NONE: Areas = Areas::Only(BTreeSet::new());

    /// One.
    pub fn one(area: impl Into<String>) -> Areas {
        Areas::Only(BTreeSet::from([area.into()]))
    }

    /// Whether it is none.
    pub fn is_empty(&self) -> bool {
        matches!(self, Areas::Only(some) if some.is_empty())
    }

    /// Whether the area is among them.
    pub fn holds(&self, area: &str) -> bool {
        match self {
            Areas::All => true,
            Areas::Only(some) => some.contains(area),
        }
    }

    /// Adds others.
    pub fn add(&mut self, others: Areas) {
        match (&mut *self, others) {
            (Areas::Only(some), Areas::Only(others)) => some.extend(others),
            (_, Areas::All) => *self = Areas::All,
            (Areas::All, Areas::Only(_)) => {}
        }
    }
}

/// What a round of checks has looked at, and what it saw.
#[derive(Debug, Clone, Copy)]
pub struct Round<'a> {
    /// What was found.
    pub seen: &'a BTreeSet<Sighting>,
    /// Areas whose checks ran to their end.
    pub looked_at: &'a Areas,
}

impl Round<'_> {
    /// Whether it is there.
    pub fn sees(&self, of: &Sighting) -> bool {
        self.seen.contains(of)
    }

    /// Whether it was looked for and is not there.
    pub fn misses(&self, of: &Sighting) -> bool {
        self.looked_at.holds(of.area()) && !self.sees(of)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_was_looked_for_can_be_missed() {
        let (store, unit) = (
            Sighting::new("mount.lost", "/nix"),
            Sighting::new("daemon.dead", "nix-daemon.socket"),
        );
        let none = BTreeSet::new();
        let some = BTreeSet::from([store.clone()]);
        for (seen, looked_at, misses) in [
            (&none, Areas::All, [true, true]),
            (&none, Areas::one("mount"), [true, false]),
            (&none, Areas::NONE, [false, false]),
            (&some, Areas::All, [false, true]),
        ] {
            let looked_at = &looked_at;
            let round = Round { seen, looked_at };
            assert_eq!(
                [round.misses(&store), round.misses(&unit)],
                misses,
                "{looked_at:?}"
            );
        }
    }

    #[test]
    fn all_areas_swallow_the_others() {
        let mut areas = Areas::NONE;
        assert!(areas.is_empty());
        areas.add(Areas::one("tree"));
        areas.add(Areas::one("conf"));
        assert!(areas.holds("tree") && areas.holds("conf") && !areas.holds("mount"));
        areas.add(Areas::All);
        areas.add(Areas::one("tree"));
        assert_eq!(areas, Areas::All);
    }
}

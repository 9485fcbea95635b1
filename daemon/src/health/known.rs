//! What is known of the machine: the findings of the last rounds, put together.
//!
//! A round looks at some areas only, and a quick one not at everything in them. What it did not
//! look at stands as it was, and so does what was found before in an area that could not be looked
//! at this time. Pure.

use std::collections::BTreeSet;

use nixctl_proto::health::Severity;

use super::judge::Found;
use super::plan::sighting;
use super::sighting::{Areas, Sighting};
use nixctl_proto::health::check::{Area, Check};

/// What one round looked at, and what it found.
#[derive(Debug, Clone, PartialEq)]
pub struct Looked {
    /// Areas in the order of looking.
    pub areas: Vec<Area>,
    /// Whether what takes long was looked at as well.
    pub is_deep: bool,
    /// What was found.
    pub found: Vec<Found>,
}

impl Looked {
    /// Areas that were looked at to the end.
    fn seen(&self) -> impl Iterator<Item = Area> + '_ {
        let blind = |area: &Area| {
            let is_it = |it: &Found| it.check == Check::CannotLook && it.subject == area.name();
            self.found.iter().any(is_it)
        };
        self.areas.iter().copied().filter(move |area| !blind(area))
    }

    /// The same, for the history.
    pub fn areas(&self) -> Areas {
        Areas::Only(self.seen().map(|area| area.name().to_owned()).collect())
    }

    /// Whether a finding that is not among those of this round is gone.
    fn ends(&self, check: Check, subject: &str) -> bool {
        if check == Check::CannotLook && Area::ALL.iter().any(|area| area.name() == subject) {
            return self.areas.iter().any(|area| area.name() == subject);
        }
        if check == Check::CannotLook {
            // Of one thing that is owned: both areas look at such.
            return self
                .seen()
                .any(|area| matches!(area, Area::Own | Area::Shells));
        }
        (self.is_deep || !check.is_deep()) && self.seen().any(|area| area == check.area())
    }
}

/// The findings as of now.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Known {
    found: Vec<Found>,
    /// When the machine was looked at last, milliseconds since 1970; 0: not yet.
    pub seen: u64,
}

impl Known {
    /// The findings, the worst first.
    pub fn found(&self) -> &[Found] {
        &self.found
    }

    /// How bad the worst of these is.
    pub fn worst(&self, of: &BTreeSet<Sighting>) -> Option<Severity> {
        let meant = self.found.iter().filter(|it| of.contains(&sighting(it)));
        meant.map(|it| it.severity).max()
    }

    /// Takes in a round that was made at that time.
    pub fn take_in(&mut self, looked: &Looked, now: u64) {
        let is_new = |old: &Found| {
            let same = |new: &Found| new.check == old.check && new.subject == old.subject;
            looked.found.iter().any(same)
        };
        self.found
            .retain(|old| !is_new(old) && !looked.ends(old.check, &old.subject));
        self.found.extend(looked.found.iter().cloned());
        let rank = |it: &Found| (std::cmp::Reverse(it.severity), it.check, it.subject.clone());
        self.found.sort_by_key(rank);
        self.seen = now;
    }

    /// What stands for the history after a round: what is known, and of what was remembered from an
    /// earlier run of the daemon that which no round has looked at since.
    pub fn sightings<'s>(
        &self,
        looked: &Looked,
        standing: impl Iterator<Item = &'s Sighting>,
    ) -> BTreeSet<Sighting> {
        let stays = |of: &&Sighting| {
            let check = Check::by_id(&of.check);
            check.is_some_and(|check| check.is_deep() && !looked.ends(check, &of.subject))
        };
        let mut all: BTreeSet<Sighting> = standing.filter(stays).cloned().collect();
        all.extend(self.found.iter().map(sighting));
        all
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn looked(areas: &[Area], is_deep: bool, found: &[(Check, &str)]) -> Looked {
        let found = found.iter().map(|(check, of)| Found::new(*check, *of));
        Looked {
            areas: areas.to_vec(),
            is_deep,
            found: found.collect(),
        }
    }

    fn ids(known: &Known) -> Vec<(Check, &str)> {
        let id = |it| {
            let it: &Found = it;
            (it.check, it.subject.as_str())
        };
        known.found().iter().map(id).collect()
    }

    #[test]
    fn what_a_round_does_not_look_at_stands() {
        let all = [Area::Mounts, Area::Daemon, Area::Database, Area::Conf];
        let mut known = Known::default();
        let (lost, dead) = ((Check::NotMounted, "/nix"), (Check::WaitingUnits, "a"));
        let deep = (Check::Malformed, "db");
        known.take_in(&looked(&all, true, &[dead, deep, lost]), 5);
        assert_eq!(ids(&known).len(), 3);
        assert_eq!(known.found()[0].severity, Severity::Critical);
        known.take_in(&looked(&[Area::Conf], true, &[]), 6);
        assert_eq!(ids(&known).len(), 3);
        known.take_in(&looked(&all, false, &[dead]), 7);
        assert!(ids(&known).contains(&deep) && !ids(&known).contains(&lost));
        known.take_in(&looked(&[Area::Database], true, &[]), 8);
        assert_eq!((ids(&known), known.seen), (vec![dead], 8));
    }

    #[test]
    fn an_area_that_cannot_be_seen_says_nothing() {
        let mut known = Known::default();
        let lost = (Check::NotMounted, "/nix");
        let blind = (Check::CannotLook, "mounts");
        known.take_in(&looked(&[Area::Mounts], true, &[lost]), 5);
        let round = looked(&[Area::Mounts], true, &[blind]);
        assert_eq!(round.areas(), Areas::NONE);
        known.take_in(&round, 6);
        assert_eq!(ids(&known).len(), 2);
        known.take_in(&looked(&[Area::Mounts], true, &[]), 7);
        assert_eq!(ids(&known), []);
    }

    #[test]
    fn what_was_remembered_stands_until_somebody_looks() {
        let deep = Sighting::new(Check::Malformed.id(), "db");
        let plain = Sighting::new(Check::NotMounted.id(), "/nix");
        let standing = [deep.clone(), plain];
        let known = Known::default();
        let all = |is_deep| {
            let round = looked(&Area::ALL, is_deep, &[]);
            known.sightings(&round, standing.iter())
        };
        assert_eq!(all(false), BTreeSet::from([deep]));
        assert_eq!(all(true), BTreeSet::new());
    }
}

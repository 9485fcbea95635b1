//! What the database holds about health: events, findings that stand, breakers, and the timeline
//! that their times lie on. The timeline is stored with every change of the others, so that what is
//! remembered is never later than now.

use std::collections::BTreeMap;

use serde::Serialize;

use super::{Change, Store, StoreError};
use crate::health::breaker::{self, Breaker, Breakers};
use crate::health::history::{self, Event, History, Standing};
use crate::health::sighting::Sighting;
use crate::health::timeline::{Now, Timeline};

pub(super) const TIMELINE_KEY: &[u8] = b"h/time";
const EVENTS: &str = "h/event/";
const STANDING: &str = "h/standing/";
const BREAKERS: &str = "h/breaker/";

/// What is remembered of the health.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Remembered {
    /// Where the times lie.
    pub timeline: Timeline,
    /// Events and findings that stand.
    pub history: History,
    /// Tries of remedies.
    pub breakers: Breakers,
}

impl Change {
    /// Stores what changed of the health. Nothing is written when nothing did.
    pub fn health(
        &mut self,
        timeline: &Timeline,
        history: &history::Changes,
        breakers: &breaker::Changes,
    ) -> Result<(), StoreError> {
        if history.is_empty() && breakers.is_empty() {
            return Ok(());
        }
        self.put(TIMELINE_KEY.to_vec(), timeline)?;
        for event in &history.events {
            self.put(event_key(event.number), event)?;
        }
        for number in &history.dropped {
            self.remove(event_key(*number));
        }
        for (of, standing) in &history.standing {
            self.put_or_remove(STANDING, of, standing.as_ref())?;
        }
        for (of, breaker) in breakers {
            self.put_or_remove(BREAKERS, of, breaker.as_ref())?;
        }
        Ok(())
    }

    fn put_or_remove<T: Serialize>(
        &mut self,
        prefix: &str,
        of: &Sighting,
        value: Option<&T>,
    ) -> Result<(), StoreError> {
        let key = format!("{prefix}{}/{}", of.check, of.subject).into_bytes();
        match value {
            Some(value) => self.put(key, &(of, value)),
            None => {
                self.remove(key);
                Ok(())
            }
        }
    }
}

impl Store {
    /// What is remembered of the health. Damaged values are left out and logged.
    pub fn health(&self, now: &Now) -> Remembered {
        let events: Vec<Event> = self.scan(EVENTS.as_bytes());
        let standing: Vec<(Sighting, Standing)> = self.scan(STANDING.as_bytes());
        let history = History::restored(events, standing.into_iter().collect());
        let breakers: Vec<(Sighting, Breaker)> = self.scan(BREAKERS.as_bytes());
        let breakers: BTreeMap<Sighting, Breaker> = breakers.into_iter().collect();
        let mut timeline = self.timeline().unwrap_or_else(|| Timeline::new(now));
        let latest = history.latest().max(breaker::latest(&breakers));
        let latest = latest.max(self.releases().ladders.latest());
        let latest = latest.max(self.following().ladders.latest());
        timeline.not_before(latest);
        let breakers = Breakers::restored(breakers);
        Remembered {
            timeline,
            history,
            breakers,
        }
    }

    fn timeline(&self) -> Option<Timeline> {
        self.get(TIMELINE_KEY).unwrap_or_else(|error| {
            tracing::error!("{error}");
            None
        })
    }
}

fn event_key(number: u64) -> Vec<u8> {
    let mut key = EVENTS.as_bytes().to_vec();
    key.extend_from_slice(&number.to_be_bytes());
    key
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;
    use std::sync::atomic::Ordering;

    use super::*;
    use crate::health::sighting::{Areas, Round};
    use crate::health::timeline::testing::now;

    /// One round, as the daemon will carry it out.
    fn round(store: &Store, remembered: &mut Remembered, seen: &[Sighting], at: &Now) {
        let Remembered {
            timeline,
            history,
            breakers,
        } = remembered;
        let seen: BTreeSet<Sighting> = seen.iter().cloned().collect();
        let (seen, looked_at) = (&seen, &Areas::All);
        let round = Round { seen, looked_at };
        let moment = timeline.at(at);
        history.look(round, moment);
        breakers.look(round, moment, 0);
        let changes = (history.take_changes(), breakers.take_changes());
        if !changes.0.is_empty() || !changes.1.is_empty() {
            timeline.count(at);
        }
        let mut change = Change::default();
        change.health(timeline, &changes.0, &changes.1).unwrap();
        if !change.is_empty() {
            store.commit(change).unwrap();
        }
    }

    #[test]
    fn what_is_stored_is_remembered() {
        let folder = tempfile::tempdir().unwrap();
        let (lost, link) = (
            Sighting::new("mount.lost", "/nix"),
            Sighting::new("tree.link", "/nix/var/a/b"),
        );
        let store = Store::open(folder.path()).unwrap();
        let mut remembered = store.health(&now(1, 10, 1000));
        round(
            &store,
            &mut remembered,
            std::slice::from_ref(&lost),
            &now(1, 20, 1010),
        );
        round(
            &store,
            &mut remembered,
            &[lost.clone(), link],
            &now(1, 300, 1290),
        );
        let at = remembered.timeline.at(&now(1, 400, 1390));
        assert!(remembered.breakers.began(&lost, at));
        remembered.breakers.helped(&lost, at);
        round(&store, &mut remembered, &[], &now(1, 400, 1390));
        drop(store);
        let store = Store::open(folder.path()).unwrap();
        let again = store.health(&now(1, 400, 1390));
        assert_eq!(again, remembered);
        assert_eq!(again.history.events().count(), 4);
        // The wall clock went back over a restart of the machine.
        let later = store.health(&now(2, 50, 0));
        assert_eq!(later.timeline.at(&now(2, 50, 0)).steady, 390 + 50);
    }

    #[test]
    fn ten_thousand_rounds_with_nothing_new_write_nothing() {
        let folder = tempfile::tempdir().unwrap();
        let store = Store::open(folder.path()).unwrap();
        let mut remembered = store.health(&now(1, 0, 0));
        let all = [Sighting::new("tree.link", "x"), Sighting::new("a.b", "")];
        round(&store, &mut remembered, &all, &now(1, 1, 1));
        let size = || std::fs::metadata(folder.path().join("db/db")).unwrap();
        let (commits, before) = (store.commits.load(Ordering::SeqCst), size());
        for number in 0..10_000 {
            let at = number * 3_600_000;
            round(&store, &mut remembered, &all, &now(1, at, at));
        }
        assert_eq!(store.commits.load(Ordering::SeqCst), commits);
        let after = size();
        assert_eq!(after.len(), before.len());
        assert_eq!(after.modified().unwrap(), before.modified().unwrap());
    }

    #[test]
    fn a_lost_timeline_blocks_nothing_for_ever() {
        let folder = tempfile::tempdir().unwrap();
        let store = Store::open(folder.path()).unwrap();
        let mut remembered = store.health(&now(1, 0, 0));
        let lost = Sighting::new("mount.lost", "/nix");
        let day = 24 * 3600 * 1000;
        round(
            &store,
            &mut remembered,
            std::slice::from_ref(&lost),
            &now(1, 9 * day, 9 * day),
        );
        let mut change = Change::default();
        change.remove(TIMELINE_KEY.to_vec());
        store.commit(change).unwrap();
        let again = store.health(&now(2, 10, 7));
        assert_eq!(again.timeline.at(&now(2, 10, 7)).steady, 9 * day);
    }
}

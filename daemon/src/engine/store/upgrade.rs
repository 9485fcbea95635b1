//! What the database holds about releases: the highest serial of each feed, what is remembered of
//! upgrades without a hand, and the timeline that their times lie on.

use super::health::TIMELINE_KEY;
use super::{Change, Store, StoreError};
use crate::health::timeline::Timeline;
use crate::upgrade::autopilot::Memory;
use crate::upgrade::follow;
use crate::upgrade::turn::Slot;

const SLOT_KEY: &[u8] = b"u/slot";
const MEMORY_KEY: &[u8] = b"u/memory";
const FOLLOW_KEY: &[u8] = b"u/follow";

impl Change {
    /// Remembers the highest serial that was seen of a feed and channel.
    pub fn serial(&mut self, feed: &str, channel: &str, serial: u64) -> Result<(), StoreError> {
        self.put(serial_key(feed, channel), &serial)
    }

    /// Remembers that this machine has, or may have, a slot of its fleet.
    pub fn slot(&mut self, slot: &Slot) -> Result<(), StoreError> {
        self.put(SLOT_KEY.to_vec(), slot)
    }

    /// Forgets it: it was given back.
    pub fn drop_slot(&mut self) {
        self.remove(SLOT_KEY.to_vec());
    }

    /// Remembers what became of upgrades without a hand.
    pub fn releases(&mut self, timeline: &Timeline, memory: &Memory) -> Result<(), StoreError> {
        self.put(TIMELINE_KEY.to_vec(), timeline)?;
        self.put(MEMORY_KEY.to_vec(), memory)
    }

    /// Remembers what became of going to what the feed of `[system] follow` names.
    pub fn following(
        &mut self,
        timeline: &Timeline,
        memory: &follow::Memory,
    ) -> Result<(), StoreError> {
        self.put(TIMELINE_KEY.to_vec(), timeline)?;
        self.put(FOLLOW_KEY.to_vec(), memory)
    }
}

impl Store {
    /// The highest serial that was seen of a feed and channel; 0: none was.
    ///
    /// # Errors
    /// When the value is damaged: then nobody knows what may be believed.
    pub fn serial(&self, feed: &str, channel: &str) -> Result<u64, StoreError> {
        Ok(self.get(&serial_key(feed, channel))?.unwrap_or(0))
    }

    /// The slot that this machine has, or may have.
    pub fn slot(&self) -> Option<Slot> {
        self.get(SLOT_KEY).unwrap_or_else(|error| {
            tracing::error!("{error}");
            None
        })
    }

    /// What became of upgrades without a hand.
    pub fn releases(&self) -> Memory {
        let read = self.get(MEMORY_KEY).unwrap_or_else(|error| {
            tracing::error!("{error}");
            None
        });
        read.unwrap_or_default()
    }

    /// What became of going to what the feed of `[system] follow` names.
    pub fn following(&self) -> follow::Memory {
        let read = self.get(FOLLOW_KEY).unwrap_or_else(|error| {
            tracing::error!("{error}");
            None
        });
        read.unwrap_or_default()
    }
}

fn serial_key(feed: &str, channel: &str) -> Vec<u8> {
    format!("u/serial/{channel}/{feed}").into_bytes()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::health::timeline::testing::{at, now};

    #[test]
    fn what_is_stored_is_remembered() {
        let folder = tempfile::tempdir().unwrap();
        let store = Store::open(folder.path()).unwrap();
        assert_eq!(store.serial("https://a", "stable").unwrap(), 0);
        assert_eq!(store.releases(), Memory::default());
        let mut memory = Memory::default();
        assert!(memory.sees("2.26.3"));
        memory.ladders.failed("nix", "2.34.8", false, "x", at(5000));
        let mut change = Change::default();
        change.serial("https://a", "stable", 7).unwrap();
        change
            .releases(&Timeline::new(&now(1, 0, 0)), &memory)
            .unwrap();
        let mut following = follow::Memory::default();
        following
            .ladders
            .failed("system", "/a", true, "x", at(6000));
        let line = Timeline::new(&now(1, 0, 0));
        change.following(&line, &following).unwrap();
        store.commit(change).unwrap();
        drop(store);
        let store = Store::open(folder.path()).unwrap();
        assert_eq!(store.serial("https://a", "stable").unwrap(), 7);
        assert_eq!(store.serial("https://a", "edge").unwrap(), 0);
        assert_eq!(store.releases(), memory);
        assert_eq!(store.following(), following);
        // What is remembered is never later than now.
        let later = store.health(&now(2, 10, 0));
        assert!(later.timeline.at(&now(2, 10, 0)).steady >= 6000);
    }
}

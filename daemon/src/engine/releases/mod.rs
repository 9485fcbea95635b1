//! Releases between operations: the feed is read when that is due, and what it offers is taken when
//! the settings want that and nothing holds it.
//!
//! Both are done on the thread that carries operations out, while it has nothing else to do. What
//! is decided is decided in [`crate::upgrade`]; here it is read, stored, begun and told. The
//! highest serial of a feed is on the disk before anything is made of it.

mod begin;
mod feed;
mod hold;
mod slot;

pub(super) use hold::Wanted;
pub(super) use slot::turn_of;

use std::cmp::Ordering;
use std::time::Duration;

use nixctl_proto::feed::{Feed, compare};
use nixctl_proto::settings::{Settings, UpgradeSettings};
use nixctl_proto::status::UpgradeStatus;
use nixctl_proto::{Code, Failure};

use super::Change;
use super::handle::{Shared, lock};
use super::store::{Change as Batch, StoreError};
use crate::health::look::upgrade::FeedFacts;
use crate::health::schedule::Cause;
use crate::health::sighting::Areas;
use crate::health::timeline::Now;
use crate::host::Cancel;
use crate::host::cancel::Stop;
use crate::payload::url::redact;
use crate::pulse;
use crate::upgrade::autopilot::{Due, Memory, Pace, Spread, due};
use crate::upgrade::hold::Hold;
use crate::upgrade::offer::{Offered, Standing};
use crate::upgrade::reading::Source;
use crate::upgrade::rollout::Machine;

/// What is known of releases, and what is due.
#[derive(Debug, Default)]
pub(super) struct Releases {
    /// What is remembered.
    memory: Memory,
    /// The feed that is followed; `None`: none was yet.
    source: Option<Source>,
    /// What it said when it was believed last.
    feed: Option<Feed>,
    /// What that means here.
    standing: Standing,
    /// When it is read.
    pace: Pace,
    /// What holds what is offered.
    hold: Option<Result<(), Hold>>,
    /// How long chance puts it off.
    spread: Option<Spread>,
    /// Which machine this is.
    machine: Option<Machine>,
    /// How asking the fleet stands.
    asked: slot::Asked,
    /// Ends the reading that the engine's thread is at.
    reading: Option<Cancel>,
}

/// What a monitoring system reads of it.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub(super) struct Numbers {
    /// This machine's place in the rollout, and the share that has been reached.
    pub(super) place: Option<(f64, f64)>,
    /// The kind of what holds an upgrade.
    pub(super) hold: Option<&'static str>,
    /// Serial of the feed that was believed last.
    pub(super) serial: Option<u64>,
    /// When that was read, in milliseconds since 1970.
    pub(super) fetched: Option<u64>,
}

impl Releases {
    /// Begins with what is remembered.
    pub(super) fn new(memory: Memory) -> Releases {
        Releases {
            memory,
            ..Releases::default()
        }
    }

    /// Which one may be taken now: of a feed that was read since the daemon began.
    fn offered(&self) -> Option<&Offered> {
        self.standing.offered.as_ref()
    }

    /// What was offered last, maybe before the daemon began, if it is newer than that version.
    fn newer_than(&self, current: &str) -> Option<&Offered> {
        let is_newer = |it: &&Offered| compare(&it.version, current) == Ordering::Greater;
        let offered = self.memory.offered.as_ref();
        offered.filter(|it| !current.is_empty() && is_newer(it))
    }

    /// The hold in words, and as a word.
    fn waits(&self) -> (String, String) {
        let words = match (&self.hold, &self.standing.waiting) {
            (Some(Err(hold)), _) => hold.to_string(),
            (_, Some(it)) => format!("Nix {}: {}", it.version, it.why),
            (_, None) => String::new(),
        };
        let kind = self.hold_kind().unwrap_or_default();
        (words, kind.to_owned())
    }

    fn hold_kind(&self) -> Option<&'static str> {
        match (&self.hold, &self.standing.waiting) {
            (Some(Err(hold)), _) => Some(hold.kind()),
            (_, Some(it)) if it.is_halted => Some(Hold::Halted.kind()),
            (_, Some(_)) => Some(Hold::RolloutLater.kind()),
            (_, None) => None,
        }
    }
}

pub(super) fn every(settings: &UpgradeSettings) -> Duration {
    Duration::from_secs(settings.feed_seconds)
}

impl Shared {
    /// Does what is due about releases, if anything is. Says whether something was.
    pub(super) fn keep_releases(&self) -> bool {
        if self.is_going_down() {
            return false;
        }
        self.give_slot_back();
        if !self.is_resident {
            return false;
        }
        let settings = self.settings();
        self.follow(&settings);
        if !settings.upgrade.follows() {
            return false;
        }
        self.weigh(&settings);
        let (now, decided) = {
            let Releases { hold, pace, .. } = &mut *lock(&self.releases);
            let now = self.tick();
            pace.sees(hold.as_ref(), now);
            (now, due(true, pace, hold.as_ref(), now))
        };
        match decided {
            Due::Nothing => false,
            Due::Read => {
                self.read_unless_wanted(|cancel| self.read_feed(&settings, now, cancel));
                true
            }
            Due::Upgrade => self.begin_upgrade(&settings),
        }
    }

    /// Has the engine's thread read a feed, for as long as nobody wants it for something else.
    pub(super) fn read_unless_wanted(&self, read: impl FnOnce(&Cancel) -> Result<(), Failure>) {
        let cancel = Cancel::default();
        lock(&self.releases).reading = Some(cancel.clone());
        // Whoever asked for something before that could not end it.
        if self.is_going_down() || self.has_work() || self.is_round_due() {
            cancel.request(Stop::Cancelled);
        }
        match read(&cancel) {
            Err(failure) if failure.code != Code::Cancelled => tracing::warn!("{failure}"),
            Ok(()) | Err(_) => {}
        }
        lock(&self.releases).reading = None;
    }

    /// Ends the reading that the engine's thread is at, because it is wanted for something else: what
    /// was due is due still.
    pub(super) fn end_reading(&self) {
        if let Some(reading) = &lock(&self.releases).reading {
            reading.request(Stop::Cancelled);
        }
    }

    /// How long nothing is due; at most the time that is given. What is due seldom waits for the
    /// common beat.
    pub(super) fn until_reading(&self, at_most: Duration) -> Duration {
        let settings = self.settings();
        if !self.is_resident || every(&settings.upgrade) >= pulse::PERIOD {
            return at_most;
        }
        let releases = settings
            .upgrade
            .follows()
            .then(|| lock(&self.releases).pace.due());
        let due = releases.into_iter().chain(self.follow_due(&settings)).min();
        let left = due.map(|due| due.saturating_sub(self.tick()));
        left.map_or(at_most, |left| at_most.min(Duration::from_millis(left)))
    }

    /// Takes notice of another feed, and of another Nix.
    fn follow(&self, settings: &Settings) {
        if self.follow_source(settings) {
            self.tell_of_releases();
        }
        let version = self.nix_version();
        let mut releases = lock(&self.releases);
        if releases.memory.sees(&version) {
            self.keep_memory(&releases);
        }
    }

    /// Forgets what another feed than that of the settings said. Says whether that was anything.
    fn follow_source(&self, settings: &Settings) -> bool {
        let source = Source::of_releases(settings);
        let mut releases = lock(&self.releases);
        if releases.source.as_ref() == Some(&source) {
            return false;
        }
        let is_first = releases.source.is_none();
        let chance = super::backoff::chance();
        releases.pace = match is_first {
            true => Pace::after_boot(self.tick(), every(&settings.upgrade), chance),
            false => Pace::at_once(self.tick()),
        };
        let is_other = !is_first || source.url.is_empty();
        releases.source = Some(source);
        releases.feed = None;
        releases.standing = Standing::default();
        releases.hold = None;
        let memory = &mut releases.memory;
        let is_known = memory.trouble.is_some() || memory.offered.is_some();
        if is_other && is_known {
            (memory.trouble, memory.offered) = (None, None);
            self.keep_memory(&releases);
        }
        is_other && is_known
    }

    /// Stores what is remembered; with other things where those must not be without it.
    fn keep_memory(&self, releases: &Releases) {
        let kept = self.memory_in(Batch::default(), &releases.memory);
        if let Err(error) = kept.and_then(|change| self.store.commit(change)) {
            tracing::warn!("cannot remember what is known of releases: {error}");
        }
    }

    fn memory_in(&self, mut change: Batch, memory: &Memory) -> Result<Batch, StoreError> {
        let now = Now::of(self.host.clock.as_ref());
        let mut care = lock(&self.care);
        change.releases(care.count(&now), memory)?;
        Ok(change)
    }

    /// What is known changed: those who watch are told, and findings are made of it.
    pub(super) fn tell_of_releases(&self) {
        self.tell(Change::Status);
        self.notice(Cause::Feed, Areas::one("upgrade"));
    }

    /// What is known of the feed, for findings.
    pub(super) fn feed_facts(&self) -> FeedFacts {
        let settings = self.settings();
        let follow = self.follow_facts(&settings);
        let now = self.host.clock.now();
        if !settings.upgrade.follows() {
            return FeedFacts {
                follow,
                now,
                ..FeedFacts::default()
            };
        }
        let current = self.nix_version();
        let releases = lock(&self.releases);
        let memory = &releases.memory;
        let offered = releases.newer_than(&current);
        // What was said of another feed says nothing of this one.
        let source = releases.source.as_ref();
        let is_same = source.is_none_or(|it| it.url == settings.upgrade.feed);
        FeedFacts {
            follow,
            feed: redact(&settings.upgrade.feed),
            offered: offered.map(|it| (it.version.clone(), it.notes.clone())),
            current,
            trouble: memory.trouble.clone().filter(|_| is_same),
            now,
        }
    }

    /// What of it is a number, for a monitoring system.
    pub(super) fn release_numbers(&self) -> Numbers {
        if !self.settings().upgrade.follows() {
            return Numbers::default();
        }
        let releases = lock(&self.releases);
        let memory = &releases.memory;
        let was_read = memory.read > 0;
        Numbers {
            place: releases.standing.place,
            hold: releases.hold_kind(),
            serial: was_read.then_some(memory.serial),
            fetched: was_read.then_some(memory.read),
        }
    }

    /// What is known of releases, for those who ask.
    pub(super) fn upgrade_status(&self) -> UpgradeStatus {
        let settings = self.settings();
        let inhibitors = self.inhibitors.standing();
        let inhibitors = inhibitors.iter().map(ToString::to_string).collect();
        let fleet_lock = self.slot_words();
        let (following, follow_state) = self.follow_status(&settings);
        if !settings.upgrade.follows() {
            return UpgradeStatus {
                inhibitors,
                fleet_lock,
                following,
                follow_state,
                ..UpgradeStatus::default()
            };
        }
        let current = self.nix_version();
        let releases = lock(&self.releases);
        let (waits, hold) = releases.waits();
        let memory = &releases.memory;
        let offered = releases.newer_than(&current);
        let trouble = memory.trouble.as_ref();
        UpgradeStatus {
            available: offered.map(|it| it.version.clone()).unwrap_or_default(),
            waits,
            hold,
            feed_read: memory.read,
            feed_trouble: trouble.map(|it| it.message.clone()).unwrap_or_default(),
            fleet_lock,
            inhibitors,
            following,
            follow_state,
        }
    }
}

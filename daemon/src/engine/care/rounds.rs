//! Making a round, and what is done with what it found: remembered, judged and told.

use std::collections::BTreeSet;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use nixctl_proto::OperationState as State;
use nixctl_proto::health::Policy;
use nixctl_proto::health::check::{Area, Check};
use nixctl_proto::settings::HealthSettings;

use super::super::handle::{Shared, lock};
use super::super::record::OperationRecord;
use super::super::store::Change as Batch;
use super::super::{Change, backoff};
use super::Care;
use crate::health::database::keep::keep_copies;
use crate::health::history::{Changes, What};
use crate::health::judge::Found;
use crate::health::known::Looked;
use crate::health::look::Scene;
use crate::health::look::operations::{Open, OpenState};
use crate::health::plan::{policy, sighting};
use crate::health::round::{Stopped, relevant, round};
use crate::health::schedule::{Cause, Due};
use crate::health::sighting::{Areas, Round, Sighting};
use crate::health::timeline::{At, Now};
use crate::host::Cancel;
use crate::host::cancel::Stop;

/// How long a bus that does not answer is given before it counts as one that is never there.
const BUS_RETURNS: Duration = Duration::from_secs(3);

/// How long the first round waits for a machine that boots.
const BOOT_PATIENCE: Duration = Duration::from_secs(15);
/// How often is looked whether it has booted.
const STARTING_PAUSE: Duration = Duration::from_millis(500);

impl Shared {
    /// Makes the round that is due, if one is. Says whether one was.
    pub(in super::super) fn make_round(&self) -> bool {
        if self.is_machine_starting() {
            // What is not mounted or started yet is about to be.
            self.sleep(STARTING_PAUSE);
            return true;
        }
        let now = self.tick();
        let cancel = Cancel::default();
        let (due, asked) = {
            let mut care = lock(&self.care);
            let Some(due) = care.schedule.begin(now, backoff::chance()) else {
                return false;
            };
            care.round = Some(cancel.clone());
            (due, care.asked.0)
        };
        if self.is_going_down() || self.has_work() {
            cancel.request(Stop::Cancelled);
        }
        if self.is_machine_stopping() {
            let mut care = lock(&self.care);
            care.round = None;
            care.asked.1 = asked;
            return true;
        }
        if due.areas == Areas::All
            && let Some(sentinel) = lock(&self.sentinel).as_ref()
        {
            sentinel.refresh();
        }
        let made = self.look(&areas(&due.areas), due.is_thorough(), &cancel);
        if made.is_ok() && due.causes.contains(&Cause::Timer) {
            self.keep_database(&cancel);
        }
        let mut care = lock(&self.care);
        care.round = None;
        match made {
            Ok(_) if due.causes.contains(&Cause::Asked) => care.asked.1 = asked,
            Ok(_) => {}
            Err(Stopped) => again(&mut care, due, now),
        }
        drop(care);
        self.looked.notify_all();
        true
    }

    /// Whether the first round is due and had better wait until the machine has booted; not for long,
    /// since what does not come may be what is to be repaired.
    fn is_machine_starting(&self) -> bool {
        let is_early = self.is_resident && self.began.elapsed() < BOOT_PATIENCE;
        if !is_early || self.is_going_down() || lock(&self.care).is_known() {
            return false;
        }
        let state = self.host.services.control().map(|it| it.system_state());
        matches!(state, Some(Ok(state)) if state == "initializing" || state == "starting")
    }

    /// Whether the machine goes down: what is stopped and unmounted then is as it should be.
    fn is_machine_stopping(&self) -> bool {
        let Some(control) = self.host.services.control() else {
            return false;
        };
        if let Ok(state) = control.system_state() {
            return state == "stopping";
        }
        // The bus is among the first that go. Whoever is not ended now was asked too early.
        let end = Instant::now() + BUS_RETURNS;
        while !self.is_going_down() && Instant::now() < end {
            std::thread::sleep(Duration::from_millis(100));
        }
        self.is_going_down()
    }

    /// Makes a copy of Nix's database when one is due.
    fn keep_database(&self, cancel: &Cancel) {
        let owned = self.store.resources();
        if !self.is_resident
            || !relevant(&self.host.fs, &[Area::Database], &owned).contains(&Area::Database)
        {
            return;
        }
        let settings = self.settings();
        self.beat();
        match keep_copies(&self.host, self.worker.as_ref(), &settings.health, cancel) {
            Ok(Some(report)) => tracing::info!("Nix's database: {report:?}"),
            Ok(None) => {}
            Err(error) => tracing::warn!("cannot copy Nix's database: {error}"),
        }
        self.beat();
    }

    /// Looks at these areas, and takes in what is found.
    ///
    /// # Errors
    /// When it was asked to stop.
    pub(in super::super) fn look(
        &self,
        areas: &[Area],
        is_deep: bool,
        cancel: &Cancel,
    ) -> Result<Looked, Stopped> {
        let looked = self.look_only(areas, is_deep, cancel)?;
        self.take_in(&looked);
        self.is_judged.store(true, Ordering::SeqCst);
        Ok(looked)
    }

    /// Looks at these areas. A panic there costs the look and nothing else.
    ///
    /// # Errors
    /// When it was asked to stop.
    pub(super) fn look_only(
        &self,
        areas: &[Area],
        is_deep: bool,
        cancel: &Cancel,
    ) -> Result<Looked, Stopped> {
        let settings = self.settings();
        let owned = self.store.resources();
        let operations = self.open_operations();
        let unwatched = self.unwatched();
        let fetched = self.store.fetched();
        let feed = self.feed_facts();
        let scene = Scene {
            host: &self.host,
            owned: &owned,
            fetched: &fetched,
            is_deep,
            operations: &operations,
            unwatched: unwatched.as_deref(),
            feed: &feed,
            settings: &settings,
            cancel,
        };
        let relevant = relevant(&self.host.fs, areas, &owned);
        let made = catch_unwind(AssertUnwindSafe(|| {
            round(&scene, &relevant, &|| self.beat())
        }));
        let mut found = match made {
            Ok(found) => found?,
            Err(_) => {
                tracing::error!("internal error: a round of checks broke");
                return Ok(Looked {
                    areas: Vec::new(),
                    is_deep,
                    found: Vec::new(),
                });
            }
        };
        found.retain(|it| policy(&settings.health, it.check) != Policy::Off);
        Ok(Looked {
            areas: areas.to_vec(),
            is_deep,
            found,
        })
    }

    /// Operations that are not over, and those that somebody must look at.
    fn open_operations(&self) -> Vec<Open> {
        let current = lock(&self.current).as_ref().map(|(id, _)| id.clone());
        let is_other = |record: &OperationRecord| Some(&record.id) != current.as_ref();
        let all = self.store.operations().into_iter();
        all.filter(is_other).filter_map(open).collect()
    }

    /// Takes in what a round found: it is remembered, judged and told.
    pub(in super::super) fn take_in(&self, looked: &Looked) {
        let settings = self.settings();
        let now = Now::of(self.host.clock.as_ref());
        let (found, events, is_other) = {
            let mut care = lock(&self.care);
            let before = care.known.found().to_vec();
            care.known.take_in(looked, now.wall);
            let is_other = before != care.known.found();
            let changes = care.remember(looked, &now);
            let events = changes.0.events.clone();
            if let Err(error) = self.keep(&mut care, &changes, &now) {
                tracing::warn!("cannot remember what was found: {error}");
            }
            care.plan_remedies(&settings.health, &now, self.tick());
            (care.known.found().to_vec(), events, is_other)
        };
        if self.judge(&self.store.owned(), &found) {
            self.tell(Change::Status);
        }
        if is_other || !events.is_empty() {
            self.tell(Change::Findings);
        }
        for event in &events {
            let (check, subject) = (&event.of.check, &event.of.subject);
            match &event.what {
                What::Appeared => {
                    let seen = found.iter().find(|it| sighting(it) == event.of);
                    let seen = seen.map_or("", |it| it.seen.as_str());
                    tracing::warn!(CHECK = %check, SUBJECT = %subject, "found: {}: {seen}", event.of);
                }
                What::Gone { .. } => {
                    tracing::info!(CHECK = %check, SUBJECT = %subject, "gone: {}", event.of);
                }
                What::DidNotHelp { why, .. } => {
                    tracing::warn!(CHECK = %check, SUBJECT = %subject, "not repaired: {}: {why}", event.of);
                }
                What::Tried { .. } => {}
            }
        }
    }

    /// Stores what changed of what is remembered.
    pub(super) fn keep(
        &self,
        care: &mut Care,
        changes: &(Changes, crate::health::breaker::Changes),
        now: &Now,
    ) -> Result<(), super::super::store::StoreError> {
        if changes.0.is_empty() && changes.1.is_empty() {
            return Ok(());
        }
        care.remembered.timeline.count(now);
        let mut batch = Batch::default();
        batch.health(&care.remembered.timeline, &changes.0, &changes.1)?;
        self.store.commit(batch)
    }

    /// Waits until a round has ended, for that time at most.
    pub(super) fn wait_for_round(&self, time: Duration) {
        let care = lock(&self.care);
        drop(self.looked.wait_timeout(care, time));
    }
}

impl Care {
    /// What history and breakers make of a round.
    fn remember(
        &mut self,
        looked: &Looked,
        now: &Now,
    ) -> (Changes, crate::health::breaker::Changes) {
        let remembered = &mut self.remembered;
        let at: At = remembered.timeline.at(now);
        let seen = self
            .known
            .sightings(looked, remembered.history.standing().keys());
        let looked_at = looked.areas();
        let round = Round {
            seen: &seen,
            looked_at: &looked_at,
        };
        let tried: Vec<(Sighting, Option<String>)> = remembered
            .history
            .standing()
            .iter()
            .filter_map(|(of, it)| Some((of.clone(), it.tried.as_ref()?.ended.clone())))
            .collect();
        for (of, ended) in tried {
            match ended {
                _ if round.misses(&of) => remembered.breakers.helped(&of, at),
                Some(why) if round.sees(&of) => {
                    remembered.breakers.failed(&of, at, backoff::chance(), &why);
                }
                _ => {}
            }
        }
        remembered.history.look(round, at);
        remembered.breakers.look(round, at, backoff::chance());
        (
            remembered.history.take_changes(),
            remembered.breakers.take_changes(),
        )
    }

    /// When a remedy that rests may be tried again is when its area is looked at next.
    fn plan_remedies(&mut self, settings: &HealthSettings, now: &Now, tick: u64) {
        let automatic: BTreeSet<Sighting> = self.automatic(settings).collect();
        let at = self.remembered.timeline.at(now);
        let due = self.remembered.breakers.next_due(&automatic, at);
        let due = due.map(|left| {
            let left = u64::try_from(left.as_millis()).unwrap_or(u64::MAX);
            let mut areas = Areas::NONE;
            for of in &automatic {
                areas.add(Areas::one(of.area()));
            }
            (tick.saturating_add(left), areas)
        });
        self.schedule.set_remedy(due);
    }

    /// Whether the machine was looked at since the daemon began.
    fn is_known(&self) -> bool {
        self.known.seen > 0
    }

    /// Findings that the daemon repairs by itself; not those in a store that is not there.
    pub(super) fn automatic(&self, settings: &HealthSettings) -> impl Iterator<Item = Sighting> {
        let found = self.known.found();
        let mends =
            |it: &&Found| policy(settings, it.check) == Policy::Auto && !it.cures.is_empty();
        // Tried in vain they would be given up by the time the disk is there.
        let is_away = found
            .iter()
            .any(|it| it.check == Check::NotMounted && it.cures.is_empty());
        let may = |it: &&Found| !is_away || !it.check.area().is_of_store();
        let all: Vec<Sighting> = found
            .iter()
            .filter(mends)
            .filter(may)
            .map(sighting)
            .collect();
        all.into_iter()
    }
}

/// Areas in the order of their importance.
fn areas(of: &Areas) -> Vec<Area> {
    Area::ALL
        .into_iter()
        .filter(|area| of.holds(area.name()))
        .collect()
}

/// What was not looked at is looked at later.
fn again(care: &mut Care, due: Due, now: u64) {
    for cause in due.causes {
        care.schedule.note(cause, due.areas.clone(), now);
    }
}

fn open(record: OperationRecord) -> Option<Open> {
    let why = || {
        record
            .failure
            .as_ref()
            .map(|it| it.message.clone())
            .unwrap_or_default()
    };
    let state = match record.state {
        State::Attention => OpenState::Attention(why()),
        State::Waiting => OpenState::Waiting(why()),
        state if state.is_final() => return None,
        _ => OpenState::Running,
    };
    Some(Open {
        id: record.id.to_string(),
        what: record.request.kind().to_string(),
        state,
    })
}

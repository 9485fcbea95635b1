//! Looking after the machine between operations: rounds of checks when they are due, what they
//! found, and remedies that the daemon begins by itself.
//!
//! Rounds are made on the thread that carries operations out, so that nobody looks at a machine
//! which is being changed; a new operation ends a round, which is made later. What is decided is
//! decided in [`crate::health`]; here it is read, stored and told.

mod remedies;
mod rounds;

use std::collections::BTreeSet;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use nixctl_proto::health::check::{Area, Check};
use nixctl_proto::health::{Finding, Findings, HealthEvent, HealthEventKind, Severity};
use nixctl_proto::request::OperationRequest;
use nixctl_proto::settings::HealthSettings;
use nixctl_proto::{Code, Failure};

use super::handle::{Engine, Shared, lock};
use super::store::health::Remembered;
use crate::health::breaker::Verdict;
use crate::health::history::{Event, What};
use crate::health::judge::Found;
use crate::health::known::Known;
use crate::health::plan::{policy, sighting};
use crate::health::remedy;
use crate::health::schedule::{Cause, Pace, Schedule};
use crate::health::sentinel::Sentinel;
use crate::health::sighting::{Areas, Sighting};
use crate::health::timeline::{At, Now, Timeline};
use crate::host::Cancel;

/// How long somebody who asks waits for a round.
const ASKED_DEADLINE: Duration = Duration::from_secs(90);

/// Said of findings while an operation changes the machine.
const AT_WORK: &str = "an operation is at work: this is what was found before it";

/// What is known, remembered and due.
#[derive(Debug)]
pub(super) struct Care {
    /// What was found.
    known: Known,
    /// What became of it before.
    remembered: Remembered,
    /// When is looked next.
    schedule: Schedule,
    /// Rounds that somebody asked for: how many were, and how many of them were made.
    asked: (u64, u64),
    /// Ends the round that is being made.
    round: Option<Cancel>,
}

impl Care {
    /// Begins with what the store remembers.
    pub(super) fn new(remembered: Remembered, settings: &HealthSettings, now: u64) -> Care {
        Care {
            known: Known::default(),
            remembered,
            schedule: Schedule::new(pace(settings), now),
            asked: (0, 0),
            round: None,
        }
    }
}

/// How often everything is looked at.
fn pace(settings: &HealthSettings) -> Pace {
    Pace {
        interval: Duration::from_secs(settings.interval_seconds),
        jitter: Duration::from_secs(settings.jitter_seconds),
    }
}

impl Engine {
    /// Looks at the machine now and says what it found. While an operation is at work it says what
    /// was found before.
    ///
    /// # Errors
    /// When looking takes too long.
    pub fn check(&self, checks: &[String]) -> Result<Findings, Failure> {
        let shared = self.shared();
        let note = shared.look_now(checks)?;
        let mut findings = self.findings();
        if findings.note.is_empty() {
            findings.note = note;
        }
        findings
            .findings
            .retain(|it| checks.is_empty() || checks.contains(&it.check));
        Ok(findings)
    }

    /// What was found when the machine was looked at last.
    pub fn findings(&self) -> Findings {
        let shared = self.shared();
        let (health, reason) = lock(&shared.judgement).clone();
        let now = Now::of(shared.host.clock.as_ref());
        let settings = shared.settings();
        let note = shared.note_on_findings();
        let care = lock(&shared.care);
        Findings {
            health,
            reason,
            seen: care.known.seen,
            note,
            findings: care.findings(&settings.health, &now),
        }
    }

    /// What became of findings, newest first, at most `limit` (0: all).
    pub fn history(&self, limit: u32) -> Vec<HealthEvent> {
        let care = lock(&self.shared().care);
        let limit = match limit {
            0 => usize::MAX,
            limit => limit as usize,
        };
        let newest = care.remembered.history.events().rev();
        newest.take(limit).map(event).collect()
    }
}

impl Care {
    /// What is found now.
    pub(super) fn found(&self) -> &[Found] {
        self.known.found()
    }

    /// Counts the timeline up to now, to be stored with what lies on it.
    pub(super) fn count(&mut self, now: &Now) -> &Timeline {
        self.remembered.timeline.count(now);
        &self.remembered.timeline
    }

    fn findings(&self, settings: &HealthSettings, now: &Now) -> Vec<Finding> {
        let at = self.remembered.timeline.at(now);
        let finding = |found| {
            let of = sighting(found);
            let standing = self.remembered.history.standing().get(&of);
            let since = standing.map_or(self.known.seen, |it| it.since);
            let policy = policy(settings, found.check);
            let mut finding = remedy::finding(found, policy, since, now.wall);
            if let Some(remedy) = finding.remedy.as_mut().filter(|it| it.automatic) {
                remedy.held = held(&self.remembered.breakers.judge(&of, at));
            }
            finding
        };
        self.known.found().iter().map(finding).collect()
    }
}

/// Why a remedy is not tried now; empty when it is.
fn held(verdict: &Verdict) -> String {
    let minutes = |left: &Duration| left.as_secs().div_ceil(60).max(1);
    match verdict {
        Verdict::Go(_) => String::new(),
        Verdict::Trying => "it is being tried".to_owned(),
        Verdict::Rest { left, why } => {
            format!("tried again within {} minutes: {why}", minutes(left))
        }
        Verdict::Open { left, why } => {
            let hours = minutes(left).div_ceil(60);
            format!("given up for {hours} hours, or until somebody asks: {why}")
        }
    }
}

fn event(event: &Event) -> HealthEvent {
    let (what, operation, detail) = match &event.what {
        What::Appeared => (HealthEventKind::Appeared, None, String::new()),
        What::Tried { operation } => (
            HealthEventKind::Tried,
            Some(operation.clone()),
            String::new(),
        ),
        What::DidNotHelp { operation, why } => (
            HealthEventKind::DidNotHelp,
            Some(operation.clone()),
            why.clone(),
        ),
        What::Gone { after, by } => (HealthEventKind::Gone, by.clone(), after.to_string()),
    };
    HealthEvent {
        number: event.number,
        time: event.time,
        check: event.of.check.clone(),
        subject: event.of.subject.clone(),
        what,
        operation,
        detail,
    }
}

impl Shared {
    /// Has changes of files and units told from now on.
    pub(super) fn post_sentinel(self: &Arc<Self>) {
        if !self.is_resident || self.is_going_down() {
            return;
        }
        let weak = Arc::downgrade(self);
        let tell = move |cause, areas| {
            if let Some(shared) = weak.upgrade() {
                shared.notice(cause, areas);
            }
        };
        let sentinel = Sentinel::start(self.host.clone(), Arc::new(tell));
        *lock(&self.sentinel) = Some(sentinel);
        self.aim_sentinel();
    }

    /// Has it watch what is owned now, with the settings of now.
    fn aim_sentinel(&self) {
        let owned = self.store.resources();
        if let Some(sentinel) = lock(&self.sentinel).as_ref() {
            sentinel.set(&owned, &self.settings());
        }
    }

    /// What cannot be watched, and why.
    pub(super) fn unwatched(&self) -> Option<String> {
        lock(&self.sentinel).as_ref().and_then(Sentinel::trouble)
    }

    /// Something happened that may be a reason to look.
    pub(super) fn notice(&self, cause: Cause, areas: Areas) {
        let now = self.tick();
        lock(&self.care).schedule.note(cause, areas, now);
        self.wake();
    }

    /// Other settings are in force: the timer begins anew, and everything is looked at with them.
    pub(super) fn notice_settings(&self) {
        let (settings, now) = (self.settings(), self.tick());
        if self.is_resident {
            let mut care = lock(&self.care);
            let pace = pace(&settings.health);
            care.schedule.set_pace(pace, now, super::backoff::chance());
            care.schedule.note(Cause::Settings, Areas::All, now);
            drop(care);
            self.aim_sentinel();
        }
    }

    /// An operation is at work: rounds wait for its end.
    pub(super) fn pause_rounds(&self) {
        lock(&self.care).schedule.busy();
    }

    /// It ended. What it changed is looked at, unless it has done so itself.
    pub(super) fn resume_rounds(&self) {
        let now = self.tick();
        let is_judged = self.is_judged();
        self.aim_sentinel();
        let mut care = lock(&self.care);
        match is_judged {
            true => care.schedule.rested(),
            false => care.schedule.idle(now),
        }
    }

    /// This moment on the timeline.
    pub(super) fn at(&self) -> At {
        let now = Now::of(self.host.clock.as_ref());
        lock(&self.care).remembered.timeline.at(&now)
    }

    /// Ends the round that is being made: an operation begins, or the daemon goes down.
    pub(super) fn end_round(&self) {
        self.end_reading();
        if let Some(round) = &lock(&self.care).round {
            round.request(crate::host::cancel::Stop::Cancelled);
        }
    }

    /// Findings that stand, those of an earlier run of the daemon among them.
    pub(super) fn standing(&self) -> BTreeSet<Sighting> {
        let care = lock(&self.care);
        care.remembered.history.standing().keys().cloned().collect()
    }

    /// What is found that is not among these and that Nix cannot work with; also that nothing was
    /// looked at yet.
    pub(super) fn broken_since(&self, known: &BTreeSet<Sighting>) -> Option<String> {
        let care = lock(&self.care);
        if care.known.seen == 0 {
            return Some("the checks were not made yet".to_owned());
        }
        let is_new =
            |it: &&Found| it.severity == Severity::Critical && !known.contains(&sighting(it));
        let mut all = care.known.found().iter().filter(is_new);
        all.next()
            .map(|it| format!("{}: {}", sighting(it), it.seen))
    }

    /// What limits what is known; empty for nothing.
    pub(super) fn note_on_findings(&self) -> String {
        match *lock(&self.current) {
            Some(_) => AT_WORK.to_owned(),
            None => String::new(),
        }
    }

    /// When the machine was looked at last, milliseconds since 1970, and how many findings there are.
    pub(super) fn looked_at(&self) -> (u64, u32) {
        let care = lock(&self.care);
        let number = u32::try_from(care.known.found().len()).unwrap_or(u32::MAX);
        (care.known.seen, number)
    }

    /// How long no event asks for a round; at most the time that is given, after which a timer that
    /// has ended meanwhile is heeded.
    pub(super) fn until_round(&self, at_most: Duration) -> Duration {
        let now = self.tick();
        let due = lock(&self.care).schedule.next_event();
        let left = due.map_or(u64::MAX, |at| at.saturating_sub(now));
        at_most.min(Duration::from_millis(left))
    }

    /// Whether a round is due now.
    pub(super) fn is_round_due(&self) -> bool {
        self.until_round(Duration::MAX).is_zero()
    }

    /// Milliseconds by a clock that nobody can set.
    pub(super) fn tick(&self) -> u64 {
        u64::try_from(self.began.elapsed().as_millis()).unwrap_or(u64::MAX)
    }

    /// Has the engine's thread look at these checks and waits for that. Says what limits the answer.
    fn look_now(&self, checks: &[String]) -> Result<String, Failure> {
        if self.is_long_at_work() {
            return Ok(AT_WORK.to_owned());
        }
        let mut areas = areas_of(checks);
        if checks.is_empty() {
            areas = Areas::All;
        }
        let ticket = {
            let mut care = lock(&self.care);
            care.asked.0 += 1;
            let now = self.tick();
            care.schedule.note(Cause::Asked, areas, now);
            care.asked.0
        };
        self.end_reading();
        self.wake();
        let end = Instant::now() + ASKED_DEADLINE;
        loop {
            if lock(&self.care).asked.1 >= ticket {
                return Ok(String::new());
            }
            if self.is_long_at_work() {
                return Ok(AT_WORK.to_owned());
            }
            let left = end.saturating_duration_since(Instant::now());
            if left.is_zero() || self.going_down.load(Ordering::SeqCst) {
                let text = "cannot look at the machine: the round of checks did not end in time";
                return Err(Failure::new(Code::WaitTimedOut, text));
            }
            self.wait_for_round(left.min(Duration::from_millis(500)));
        }
    }
}

impl Shared {
    /// Whether an operation is at work that nobody who asks had better wait for; a repair is over
    /// in a moment.
    fn is_long_at_work(&self) -> bool {
        let current = lock(&self.current).as_ref().map(|(id, _)| id.clone());
        let record = current.and_then(|id| self.store.operation(&id).ok().flatten());
        record.is_some_and(|it| !matches!(it.request, OperationRequest::Repair(_)))
    }
}

/// The areas of these checks.
fn areas_of(checks: &[String]) -> Areas {
    let areas: BTreeSet<Area> = checks
        .iter()
        .filter_map(|id| Check::by_id(id))
        .map(Check::area)
        .collect();
    Areas::Only(areas.iter().map(|area| area.name().to_owned()).collect())
}

//! From the request to the stored plan.

use std::time::Duration;

use nixctl_proto::health::check::Area;
use nixctl_proto::plan::Plan;
use nixctl_proto::{Code, Failure, OperationKind};

use super::super::Question;
use super::super::handle::moved;
use super::super::record::Record;
use super::super::store::Change;
use super::super::transition::Event;
use super::super::weight::Scale;
use super::{MAX_ATTEMPTS, Result, Run, never_ended};
use crate::host::cancel::Stop;
use crate::upgrade::inhibit::What;
use crate::upgrade::turn::{self, Turn};

/// Between two looks whether somebody still asks to wait.
const HELD_UP: Duration = Duration::from_secs(if cfg!(test) { 1 } else { 5 });

impl Run<'_> {
    /// Plans and stores the plan. Says whether the daemon goes down instead.
    pub(super) fn plan(&mut self) -> Result<bool> {
        self.say("reading the machine");
        if self.cancel.requested() == Some(Stop::Cancelled) || self.is_late() {
            return self.stop_planning().map(|()| false);
        }
        if let Some(by) = self.superseded_by() {
            return self.end_superseded(&by).map(|()| false);
        }
        if std::mem::take(&mut self.was_planning) && !self.begin_again()? {
            return Ok(false);
        }
        if self.is_held_up() {
            return Ok(false);
        }
        let is_upgrade = matches!(
            self.record.request.kind(),
            OperationKind::Upgrade | OperationKind::SelfUpgrade
        );
        if is_upgrade && !self.record.options.dry_run {
            // What is wrong already is not to be held against the new version.
            let _ = self.shared.look(&Area::ALL, true, &self.cancel);
        }
        let settings = self.shared.settings();
        let owned = self.shared.store.owned();
        let request = &self.record.request;
        let recorded = self.shared.recorded_for(request, &settings, &self.cancel);
        let planned = recorded.and_then(|recorded| {
            self.shared.planner.plan(&Question {
                request,
                host: &self.shared.host,
                settings: &settings,
                owned: &owned,
                recorded: &recorded,
                unwatched: self.shared.unwatched().as_deref(),
                cancel: &self.cancel,
            })
        });
        match self.cancel.requested() {
            Some(Stop::Shutdown) => return Ok(true),
            Some(Stop::Cancelled) => {
                return self.stop_planning().map(|()| false);
            }
            None => {}
        }
        let mut planned = match planned {
            Ok(planned) => planned,
            Err(failure) if self.may_plan_again(&failure) => {
                self.rest(&failure.message);
                return Ok(false);
            }
            Err(failure) => return self.fail(None, failure, Event::Refused).map(|()| false),
        };
        turn::insert(&mut planned, Turn::of(&settings));
        if let Some(failure) = self.moved_since(&planned.view) {
            return self.fail(None, failure, Event::Refused).map(|()| false);
        }
        if let Some(repair) = &planned.repair {
            // What comes to light after it has to be told from what was there before.
            self.shared.take_in(&repair.looked);
        }
        self.record.notes.extend(planned.view.notes.iter().cloned());
        if let Some(failure) = planned.view.refusal() {
            return self
                .fail(None, failure.clone(), Event::Refused)
                .map(|()| false);
        }
        if planned.view.is_empty() || self.record.options.dry_run {
            let title = planned.view.title.clone();
            self.record.notes.push(if self.record.options.dry_run {
                format!("dry run: nothing was changed ({title})")
            } else {
                match self.record.request.kind() {
                    OperationKind::Repair => "nothing to repair".to_owned(),
                    OperationKind::Upgrade | OperationKind::SelfUpgrade => title.clone(),
                    _ => "nothing to do".to_owned(),
                }
            });
            return self
                .enter_with(Event::NothingToDo, vec![Record::Planned { title }])
                .map(|()| false);
        }
        self.record.steps = u32::try_from(planned.steps.len()).unwrap_or(u32::MAX);
        let mut change = Change::default();
        for (step, index) in planned.steps.iter().zip(0u32..) {
            change.step(&self.record.id, index, step)?;
        }
        if let Some(repair) = planned.repair.filter(|_| !self.is_automatic()) {
            let shared = self.shared;
            shared.note_tries(&mut change, &self.record.id, &repair.meant, true)?;
        }
        self.remember_plan(&mut change, &planned.view)?;
        self.scale = Scale::of(&planned.steps);
        self.steps = planned.steps;
        self.plan = planned.view.switch.is_some().then(|| planned.view.clone());
        self.enter_in(
            change,
            Event::Planned,
            vec![Record::Planned {
                title: planned.view.title,
            }],
        )?;
        Ok(false)
    }

    /// Whether somebody asks that it does not begin: then a while is waited.
    fn is_held_up(&mut self) -> bool {
        let what = match self.record.request.kind() {
            OperationKind::Upgrade | OperationKind::SelfUpgrade => What::Upgrade,
            OperationKind::Switch => What::Switch,
            // Going back and repairing is what helps.
            _ => return false,
        };
        if self.record.options.dry_run {
            return false;
        }
        let Some(inhibitor) = self.shared.inhibitors.against(what) else {
            self.live.send_modify(|view| view.waiting_for = None);
            return false;
        };
        let reason = inhibitor.to_string();
        let is_new = self.live.borrow().waiting_for.as_ref() != Some(&reason);
        if is_new {
            tracing::info!(OPERATION_ID = %self.record.id, "waiting: {reason}");
            self.live
                .send_modify(|view| view.waiting_for = Some(reason));
        }
        self.shared.sleep(HELD_UP);
        true
    }

    /// That the machine has moved on while a switch was queued. One that takes the place of another
    /// goes on from wherever that one stands.
    fn moved_since(&self, plan: &Plan) -> Option<Failure> {
        let expected = self.record.options.expected_current.as_ref()?;
        let from = &plan.switch.as_ref()?.from;
        let succeeds = self.shared.superseded_before(&self.record.id).is_some();
        (expected != from && !succeeds).then(|| moved("generation", expected, from))
    }

    /// Whether what speaks against a plan is worth waiting for. The switch whose place this one takes
    /// has ended in the middle: the machine must not be left there because a cache is away for a while.
    fn may_plan_again(&self, failure: &Failure) -> bool {
        failure.code == Code::CacheSilent
            && !self.record.options.dry_run
            && self.shared.superseded_before(&self.record.id).is_some()
    }

    /// Notes one more attempt, unless the daemon has died in too many. Says whether to plan.
    fn begin_again(&mut self) -> Result<bool> {
        let attempt = self.recovered.planning + 1;
        if attempt > MAX_ATTEMPTS {
            self.fail(None, never_ended("planning"), Event::Refused)?;
            return Ok(false);
        }
        self.journal(vec![Record::Planning { attempt }])?;
        Ok(true)
    }

    fn stop_planning(&mut self) -> Result<()> {
        let event = if self.is_late() {
            Event::Refused
        } else {
            Event::CancelledEarly
        };
        self.fail(None, self.stop_reason(), event)
    }
}

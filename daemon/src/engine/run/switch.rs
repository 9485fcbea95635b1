//! What is particular about operations that move the machine to another generation: they are watched
//! and confirmed, a restart of the machine takes unproven activations back, and a newer one goes on
//! from where an older one stands.

use std::path::Path;
use std::time::Duration;

use nixctl_proto::plan::Plan;
use nixctl_proto::request::OperationRequest;
use nixctl_proto::{Code, Failure, OperationId};

use super::super::handle::{lock, superseded};
use super::super::record::Record;
use super::super::step::{Step, StepFailure};
use super::super::store::{Change, StoreError};
use super::super::switching::{self, is_switch};
use super::super::transition::Event;
use super::{Result, Run, State};
use crate::host::cancel::Stop;
use crate::resource::Undo;
use crate::switch::boot::{BootRecord, on_default};
use crate::switch::compose;
use crate::switch::converge::Convergence;
use crate::switch::identity;
use crate::switch::running::BOOTED_SYSTEM;
use crate::switch::step::{SwitchUndo, Toplevel};

/// Restarts of the machine in the same step after which it is given up: it may be what the step does.
const MAX_REBOOTS: u32 = 2;
/// Store paths that a stored plan names.
const MAX_STORED_PATHS: usize = 5000;
/// Longest sleep while somebody may confirm.
const LOOK: Duration = Duration::from_secs(30);

impl Run<'_> {
    /// Enters the way back or the way forwards anew when the machine was restarted since.
    pub(super) fn notice_reboot(&mut self) -> Result<()> {
        let boot = self.shared.host.clock.moment().era;
        let lost = switching::lost(&self.steps, &self.recovered, &boot);
        let Some(activation) = lost.last().copied() else {
            return Ok(());
        };
        let id = self.record.id.clone();
        let watched = self.record.state == State::Soaking;
        let confirmed = self.shared.store.is_confirmed(&id)?;
        let reboots = self.recovered.rebooted.get(&activation).copied();
        if !matches!(
            self.record.state,
            State::Running | State::Waiting | State::Soaking
        ) {
            return Ok(());
        }
        let records = lost.into_iter().map(|step| Record::Rebooted { step });
        self.journal(records.collect())?;
        let why = if watched && !confirmed {
            "while its result was watched"
        } else if reboots.unwrap_or(0) >= MAX_REBOOTS {
            "again and again while it was activated"
        } else {
            return Ok(());
        };
        let text = format!("cannot keep the generation: the machine was restarted {why}");
        let failure = Failure::new(Code::NotHealthy, text);
        self.fail(Some(activation), failure, Event::StepFailed)
    }

    /// Whether a restart of the machine has undone an activation already: what ran before it runs.
    pub(super) fn is_gone(&self, undo: &Undo) -> bool {
        let host = &self.shared.host;
        let Undo::Switch(SwitchUndo::Activate { running, .. }) = undo else {
            return false;
        };
        let now = host.fs.read_link(Path::new(identity::RUNNING));
        switching::is_of_another_boot(undo, &host.clock.moment().era)
            && now.is_ok_and(|now| now.as_deref() == Some(Path::new(running)))
    }

    /// The newer switch that takes this one's place.
    pub(super) fn superseded_by(&self) -> Option<OperationId> {
        if !is_switch(&self.record.request) || self.record.options.dry_run {
            return None;
        }
        self.shared.newer_switch(&self.record.id)
    }

    /// Ends where it stands, for a newer one to go on from.
    pub(super) fn end_superseded(&mut self, by: &OperationId) -> Result<()> {
        self.record.failure = Some(superseded(by));
        let by = by.clone();
        self.enter_with(Event::Superseded, vec![Record::Superseded { by }])
    }

    /// Makes way for a newer switch before the next step. Says whether it did. What runs must be
    /// proven: an activation that is not is proven first, or undone when it waits for somebody to
    /// confirm it.
    pub(super) fn make_way(&mut self, next: u32) -> Result<bool> {
        let Some(by) = self.superseded_by() else {
            return Ok(false);
        };
        match switching::unproven(&self.steps, &self.recovered) {
            None => self.end_superseded(&by)?,
            Some(floor) if switching::confirmation(&self.steps, next).is_some() => {
                self.wait(floor, superseded(&by).message)?;
            }
            Some(_) => return Ok(false),
        }
        Ok(true)
    }

    /// Waits until somebody confirms. Says whether the daemon goes down instead.
    pub(super) fn confirm(&mut self, index: u32, seconds: u64, undo: &Undo) -> Result<bool> {
        let id = self.record.id.clone();
        self.enter(Event::Soak)?;
        *lock(&self.shared.confirming) = Some(id.clone());
        let result = self.confirmed_in_time(index, seconds, undo, &id);
        *lock(&self.shared.confirming) = None;
        result
    }

    fn confirmed_in_time(
        &mut self,
        index: u32,
        seconds: u64,
        undo: &Undo,
        id: &OperationId,
    ) -> Result<bool> {
        loop {
            if self.shared.store.is_confirmed(id)? {
                let records = vec![Record::Done { step: index }];
                return self.enter_with(Event::Proven, records).map(|()| false);
            }
            if self.cancel.requested() == Some(Stop::Shutdown) {
                return Ok(true);
            }
            if self.is_asked_to_stop()? {
                return Ok(false);
            }
            if let Some(by) = self.superseded_by()
                && let Some(floor) = switching::unproven(&self.steps, &self.recovered)
            {
                let reason = superseded(&by).message;
                return self.wait(floor, reason).map(|()| false);
            }
            let left = Duration::from_secs(seconds).saturating_sub(self.waited(undo));
            if left.is_zero() {
                let text =
                    format!("cannot keep the generation: nobody confirmed it within {seconds} s");
                let failure = Failure::new(Code::NotConfirmed, text);
                return self
                    .fail(Some(index), failure, Event::StepFailed)
                    .map(|()| false);
            }
            self.live.send_modify(|view| {
                let seconds = left.as_secs();
                view.waiting_for = Some(format!("somebody to confirm it within {seconds} s"));
            });
            self.shared.sleep(left.min(LOOK));
        }
    }

    /// How long it has waited, by a clock that nobody can set. Another boot begins anew.
    fn waited(&self, undo: &Undo) -> Duration {
        let now = self.shared.host.clock.moment();
        match undo {
            Undo::Switch(SwitchUndo::Waiting { since, boot }) if *boot == now.era => {
                Duration::from_millis(now.millis.saturating_sub(*since))
            }
            _ => Duration::MAX,
        }
    }

    /// Where to go back to and wait, when a failure of this step does not undo everything.
    pub(super) fn stays_at(&self, index: u32) -> Option<u32> {
        let step = &self.steps[index as usize].step;
        let stays = matches!(step, Step::Switch(_)) && self.shared.stays_on_failure();
        stays.then(|| switching::unproven(&self.steps, &self.recovered).unwrap_or(index))
    }

    /// Stores beside a switch's journal what `show` and a rollback will ask for.
    pub(super) fn remember_plan(&self, change: &mut Change, plan: &Plan) -> Result<()> {
        if !is_switch(&self.record.request) {
            return Ok(());
        }
        let id = &self.record.id;
        let before = match self.shared.superseded_before(id) {
            Some(before) => before,
            None => identity::before(&self.shared.host.fs).unwrap_or_default(),
        };
        change.before(id, &before)?;
        match serde_json::to_string(&short(plan)) {
            Ok(json) => change.plan(id, &json)?,
            Err(error) => tracing::warn!(OPERATION_ID = %id, "cannot store the plan: {error}"),
        }
        Ok(())
    }

    /// Notes of what became the default whether it has proven itself, and that it awaits a boot.
    pub(super) fn remember_default(&self, change: &mut Change, index: u32) -> Result<()> {
        let Some(step) = switching::default_of(&self.steps, index) else {
            return Ok(());
        };
        let path = match &step.toplevel {
            Toplevel::Path(path) => Some(path.clone()),
            Toplevel::Hybrid(number) => {
                let link = step.roots.join(format!("hybrid-{number}"));
                let path = self.shared.host.fs.read_link(&link).ok().flatten();
                path.map(|path| path.to_string_lossy().into_owned())
            }
        };
        let Some(path) = path else {
            return Ok(());
        };
        let proved = switching::is_proved(&self.steps, index);
        if proved {
            change.proven(&path, &self.record.id)?;
        }
        self.await_boot(change, &path, proved)
    }

    /// Notes that a generation awaits its first boot as the default, unless it was booted well before.
    /// One that the daemon went back to awaits nothing: it is not left again.
    fn await_boot(&self, change: &mut Change, path: &str, proved: bool) -> Result<()> {
        if matches!(&self.record.request, OperationRequest::Rollback(it) if it.after_boot.is_some())
        {
            return Ok(());
        }
        let store = &self.shared.store;
        let known = store.boot(path)?;
        let booted = self.shared.host.fs.read_link(Path::new(BOOTED_SYSTEM));
        let is_booted = booted.is_ok_and(|it| it.as_deref() == Some(Path::new(path)));
        let before = store.before(&self.record.id)?;
        let before = before.filter(|it| it.generation > 0 && it.path != path);
        let new = || {
            let before = before.map(|it| (it.generation, it.path));
            BootRecord::awaiting(self.shared.vital(path), before)
        };
        if let Some(record) = on_default(known.as_ref(), proved && is_booted, new) {
            change.boot(path, &record)?;
        }
        Ok(())
    }

    /// Shows how far the target is reached.
    pub(super) fn show_convergence(&self) {
        if !is_switch(&self.record.request) {
            return;
        }
        let defaults = || {
            let steps = 0..self.steps.len() as u32;
            steps.filter(|index| switching::default_of(&self.steps, *index).is_some())
        };
        let ended = defaults().filter(|index| self.recovered.done.contains(index));
        let view = self.plan.as_ref().and_then(|plan| plan.switch.as_deref());
        let waits = self.recovered.waiting.as_ref();
        let waits = waits.filter(|_| self.record.state == State::Waiting);
        let now = Convergence {
            waiting: waits.map(|waiting| waiting.reason.clone()),
            ..Convergence::after(view, ended.count(), defaults().count())
        };
        let mut shown = lock(&self.shared.convergence);
        if shown.as_ref() != Some(&now) {
            *shown = Some(now);
            drop(shown);
            self.shared.tell(super::super::Change::Status);
        }
    }

    /// Removes what a switch that is over kept to compose its hybrids from.
    pub(super) fn forget_recipes(&self) {
        let steps = 0..self.steps.len() as u32;
        let mut defaults = steps.filter_map(|index| switching::default_of(&self.steps, index));
        let Some(step) = defaults.next() else {
            return;
        };
        if let Err(error) = compose::forget_recipes(&self.shared.host.fs, &step.roots) {
            tracing::warn!(OPERATION_ID = %self.record.id, "{error}");
        }
    }

    /// Removes what the steps of an operation that is over kept for undoing them.
    pub(super) fn forget_kept(&self) {
        for it in &self.steps {
            if let Err(failed) = it.step.forget(&self.shared.host) {
                tracing::warn!(OPERATION_ID = %self.record.id, "{}", failed.failure.message);
            }
        }
    }

    /// The plan that was stored, if it can be read.
    pub(super) fn stored_plan(&self) -> std::result::Result<Option<Plan>, StoreError> {
        let json = self.shared.store.plan(&self.record.id)?;
        Ok(json.and_then(|json| serde_json::from_str(&json).ok()))
    }
}

impl Run<'_> {
    /// Reads what undoing a step will need.
    pub(super) fn prepare_step(
        &self,
        step: &Step,
        index: u32,
    ) -> std::result::Result<Undo, StepFailure> {
        let progress = super::told::Told::new(self, index);
        let context = self.context(&progress);
        match step {
            Step::Switch(step) => Ok(Undo::Switch(self.shared.switch.prepare(step, &context)?)),
            step => step.prepare(&context),
        }
    }
}

/// The plan with so many store paths that it can be stored as one value.
fn short(plan: &Plan) -> Plan {
    let mut plan = plan.clone();
    let mut left = MAX_STORED_PATHS;
    for step in plan.switch.iter_mut().flat_map(|view| &mut view.steps) {
        for paths in [&mut step.add, &mut step.release] {
            paths.truncate(left);
            left -= paths.len();
        }
    }
    plan
}

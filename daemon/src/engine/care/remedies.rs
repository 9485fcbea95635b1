//! Remedies: which the daemon begins by itself, what is written down of each, and whether it helped.

use std::collections::BTreeSet;
use std::sync::atomic::Ordering;

use nixctl_proto::health::check::{Area, Check};
use nixctl_proto::health::{Severity, Target};
use nixctl_proto::request::{OperationRequest, RepairRequest, RequestOptions};
use nixctl_proto::{Code, Failure, OperationId};

use super::super::backoff;
use super::super::handle::{Shared, lock};
use super::super::record::OperationRecord;
use super::super::store::{Change as Batch, StoreError};
use super::Care;
use crate::engine::Step;
use crate::engine::step::PlannedStep;
use crate::health::breaker::Verdict;
use crate::health::mend::Mend;
use crate::health::plan::is_deep;
use crate::health::proof::{Done, nothing_worse, prove};
use crate::health::sighting::Sighting;
use crate::health::timeline::{At, Now};
use crate::host::Cancel;

/// Why the daemon repairs without being asked, as the history of operations shows it.
const REASON: &str = "found by a check";

impl Shared {
    /// Begins what the daemon may repair by itself, as one operation. Says whether it did.
    pub(in super::super) fn begin_remedies(&self) -> bool {
        if !self.is_resident || self.is_going_down() || self.has_work() {
            return false;
        }
        let settings = self.settings();
        let now = Now::of(self.host.clock.as_ref());
        let chosen = {
            let care = lock(&self.care);
            let at = care.remembered.timeline.at(&now);
            care.chosen(care.automatic(&settings.health), at)
        };
        if chosen.is_empty() {
            return false;
        }
        let request = RepairRequest {
            targets: chosen.iter().map(target).collect(),
            automatic: true,
        };
        let options = RequestOptions {
            reason: Some(REASON.to_owned()),
            ..RequestOptions::default()
        };
        let begun = self.submit_with(
            OperationRequest::Repair(request),
            options,
            0,
            &|change, id| self.note_tries(change, id, &chosen, false),
        );
        match begun {
            Ok(id) => {
                let names: Vec<String> = chosen.iter().map(Sighting::to_string).collect();
                tracing::info!(OPERATION_ID = %id, "repairing {}", names.join(", "));
                true
            }
            Err(failure) => {
                // Counted in memory, so that it is not tried again at once.
                tracing::warn!("cannot begin a repair: {failure}");
                self.give_up(&chosen, &failure.message);
                false
            }
        }
    }

    /// Writes down that remedies of these findings are begun, with whatever else is in `change`.
    pub(in super::super) fn note_tries(
        &self,
        change: &mut Batch,
        id: &OperationId,
        of: &[Sighting],
        asked: bool,
    ) -> Result<(), StoreError> {
        let now = Now::of(self.host.clock.as_ref());
        let mut care = lock(&self.care);
        let remembered = &mut care.remembered;
        let at = remembered.timeline.count(&now);
        for of in of {
            if asked {
                remembered.breakers.asked(of, at);
            }
            // Of one more than can be counted the history is kept.
            let _ = remembered.breakers.began(of, at);
            remembered.history.tried(of, id, at);
        }
        let history = remembered.history.take_changes();
        let breakers = remembered.breakers.take_changes();
        change.health(&remembered.timeline, &history, &breakers)
    }

    /// Writes down how a repair ended. Whether it helped is said by the next round.
    pub(in super::super) fn note_repair_end(&self, record: &OperationRecord) {
        if !matches!(record.request, OperationRequest::Repair(_)) || !record.state.is_final() {
            return;
        }
        let how = match &record.failure {
            Some(failure) => failure.message.clone(),
            None => "it is still there after the remedy".to_owned(),
        };
        let now = Now::of(self.host.clock.as_ref());
        let mut care = lock(&self.care);
        care.remembered.history.ended(&record.id, &how);
        let changes = (
            care.remembered.history.take_changes(),
            care.remembered.breakers.take_changes(),
        );
        if let Err(error) = self.keep(&mut care, &changes, &now) {
            tracing::warn!("cannot remember how a repair ended: {error}");
        }
    }

    /// Writes down how repairs ended whose end the daemon did not live to write down.
    pub(in super::super) fn note_ended_repairs(&self) {
        for record in self.store.operations() {
            let is_tried = {
                let care = lock(&self.care);
                let mut standing = care.remembered.history.standing().values();
                standing.any(|it| {
                    let tried = it.tried.as_ref();
                    tried.is_some_and(|it| it.operation == record.id && it.ended.is_none())
                })
            };
            if is_tried {
                self.note_repair_end(&record);
            }
        }
    }

    /// Looks whether a repair whose steps are done helped. Says what is left of what it was made
    /// against.
    ///
    /// # Errors
    /// When it has to be taken back.
    pub(in super::super) fn prove_repair(
        &self,
        id: &OperationId,
        request: &RepairRequest,
        steps: &[PlannedStep],
        cancel: &Cancel,
    ) -> Result<Vec<Sighting>, Failure> {
        let (meant, before, worst) = self.meant(id);
        let targets: Vec<Target> = meant.iter().map(target).collect();
        let is_deep = match targets.as_slice() {
            [] => is_deep(&request.targets),
            targets => is_deep(targets),
        };
        let looked = self
            .look_only(&Area::ALL, is_deep, cancel)
            .map_err(|error| Failure::from_error(Code::Cancelled, &error))?;
        let done = Done {
            meant: &meant,
            worst,
            before: &before,
            after: &looked.found,
            mounted: steps.iter().any(|it| mounts(&it.step)),
        };
        let left = prove(&done)?;
        self.take_in(&looked);
        self.is_judged.store(true, Ordering::SeqCst);
        Ok(left)
    }

    /// Looks whether an upgrade whose steps are done has made nothing worse.
    ///
    /// # Errors
    /// When it has to be taken back.
    pub(in super::super) fn prove_upgrade(&self, cancel: &Cancel) -> Result<(), Failure> {
        let before: BTreeSet<Sighting> = {
            let care = lock(&self.care);
            care.remembered.history.standing().keys().cloned().collect()
        };
        let looked = self
            .look_only(&Area::ALL, true, cancel)
            .map_err(|error| Failure::from_error(Code::Cancelled, &error))?;
        nothing_worse(&before, &looked.found)?;
        self.take_in(&looked);
        self.is_judged.store(true, Ordering::SeqCst);
        Ok(())
    }

    /// What a repair was made against, what stood before it, and how bad the worst of that was.
    fn meant(&self, id: &OperationId) -> (BTreeSet<Sighting>, BTreeSet<Sighting>, Severity) {
        let care = lock(&self.care);
        let standing = care.remembered.history.standing();
        let by_it = standing.iter().filter(|(_, it)| {
            let tried = it.tried.as_ref();
            tried.is_some_and(|it| it.operation == *id)
        });
        let meant: BTreeSet<Sighting> = by_it.map(|(of, _)| of.clone()).collect();
        let before = standing.keys().cloned().collect();
        let worst = care.known.worst(&meant);
        // After a restart of the daemon nothing was looked at yet.
        let usual = || {
            let checks = meant.iter().filter_map(|of| Check::by_id(&of.check));
            checks.map(Check::severity).max()
        };
        let worst = worst.or_else(usual).unwrap_or(Severity::Critical);
        (meant, before, worst)
    }

    fn give_up(&self, of: &[Sighting], why: &str) {
        let now = Now::of(self.host.clock.as_ref());
        let mut care = lock(&self.care);
        let at = care.remembered.timeline.at(&now);
        for of in of {
            care.remembered
                .breakers
                .failed(of, at, backoff::chance(), why);
        }
    }
}

impl Care {
    /// Those of these findings whose remedies are carried out together now: all of which none was
    /// tried in vain, else one alone, so that one which cannot be helped takes nothing from others.
    fn chosen(&self, all: impl Iterator<Item = Sighting>, at: At) -> Vec<Sighting> {
        let breakers = &self.remembered.breakers;
        let may = |of: &Sighting| matches!(breakers.judge(of, at), Verdict::Go(_));
        let (fresh, vain): (Vec<Sighting>, Vec<Sighting>) =
            all.filter(may).partition(|of| !breakers.was_vain(of));
        match fresh.is_empty() {
            false => fresh,
            true => vain.into_iter().take(1).collect(),
        }
    }
}

fn target(of: &Sighting) -> Target {
    Target {
        check: of.check.clone(),
        subject: Some(of.subject.clone()),
    }
}

fn mounts(step: &Step) -> bool {
    matches!(step, Step::Mend(Mend::Start(it)) if it.unit.ends_with(".mount"))
}

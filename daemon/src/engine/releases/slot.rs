//! The slot of the fleet: noted before it is asked for, and given back when it is not needed any more.

use std::time::Duration;

use nixctl_proto::request::OperationRequest;
use nixctl_proto::settings::Settings;
use nixctl_proto::{Code, OperationId, OperationState as State};

use super::super::backoff;
use super::super::handle::{Shared, lock};
use super::super::record::{OperationRecord, Record};
use super::super::step::{PlannedStep, Step};
use super::super::store::{Change as Batch, StoreError};
use crate::host::Cancel;
use crate::upgrade::step::UpgradeStep;
use crate::upgrade::turn::{Ask, Fate, Holder, Slot, Turn, ask, fate};

/// First pause after the server could not be asked, or said no, and the longest.
const FIRST: Duration = Duration::from_secs(if cfg!(test) { 1 } else { 60 });
const LONGEST: Duration = Duration::from_secs(600);

/// How asking stands, in memory.
#[derive(Debug, Default)]
pub(super) struct Asked {
    /// When it may be asked again, by the clock that nobody can set.
    next: u64,
    tries: u32,
    /// Why it has not given, or taken back, the slot.
    trouble: String,
}

impl Asked {
    fn failed(&mut self, now: u64, why: String) {
        self.tries = self.tries.saturating_add(1);
        let pause = backoff::pause_between(FIRST, LONGEST, self.tries, backoff::chance());
        let pause = u64::try_from(pause.as_millis()).unwrap_or(u64::MAX);
        self.next = now.saturating_add(pause);
        self.trouble = why;
    }
}

/// The turn that an operation waits for, when it is this step that does.
pub(in super::super) fn turn_of(step: &Step) -> Option<&Turn> {
    match step {
        Step::Upgrade(UpgradeStep::Turn(turn)) => Some(turn),
        _ => None,
    }
}

impl Shared {
    /// Has it noted that an operation may have a slot, with what is written before it asks.
    pub(in super::super) fn note_slot(
        &self,
        change: &mut Batch,
        id: &OperationId,
        turn: &Turn,
    ) -> Result<(), StoreError> {
        change.slot(&Slot {
            turn: turn.clone(),
            operation: Some(id.clone()),
            is_kept: self.keeps_slot(turn, id),
        })
    }

    /// Whether this machine keeps its slot there since an operation before this one failed.
    fn keeps_slot(&self, turn: &Turn, id: &OperationId) -> bool {
        let slot = self.store.slot().filter(|it| it.turn.url == turn.url);
        slot.is_some_and(|slot| match slot.operation.as_ref() == Some(id) {
            true => slot.is_kept,
            false => self.is_kept(&slot),
        })
    }

    fn is_kept(&self, slot: &Slot) -> bool {
        self.fate_of(slot, &self.settings()) == Fate::Kept && !self.has_succeeded_since(slot)
    }

    /// The slot that this machine has, for those who ask.
    pub(super) fn slot_words(&self) -> String {
        let Some(slot) = self.store.slot() else {
            return String::new();
        };
        let place = slot.turn.place();
        let trouble = lock(&self.releases).asked.trouble.clone();
        match self.fate_of(&slot, &self.settings()) {
            Fate::Used if self.waits_for_turn(&slot) => String::new(),
            Fate::Used => format!("has its turn ({place})"),
            Fate::Kept => format!(
                "keeps its slot ({place}), because it failed; the next operation that succeeds gives it back"
            ),
            Fate::GoesBack if trouble.is_empty() => format!("gives its slot back ({place})"),
            Fate::GoesBack => format!("cannot give its slot back ({place}): {trouble}"),
        }
    }

    fn waits_for_turn(&self, slot: &Slot) -> bool {
        let record = self.holder_of(slot);
        record.is_some_and(|it| !self.had_turn(&it))
    }

    fn holder_of(&self, slot: &Slot) -> Option<OperationRecord> {
        self.store.operation(slot.operation.as_ref()?).ok()?
    }

    fn fate_of(&self, slot: &Slot, settings: &Settings) -> Fate {
        let holder = self.holder_of(slot).map(|record| Holder {
            state: record.state,
            code: record.failure.as_ref().map(|it| it.code),
            had_turn: self.had_turn(&record),
        });
        let is_named = settings.upgrade.fleet_lock_url == slot.turn.url;
        fate(holder, slot.is_kept, is_named)
    }

    /// Whether an operation went on after it had its turn, as its journal says.
    fn had_turn(&self, record: &OperationRecord) -> bool {
        let steps = self
            .store
            .steps(&record.id, record.steps)
            .unwrap_or_default();
        let is_turn = |it: &PlannedStep| turn_of(&it.step).is_some();
        let Some(place) = steps.iter().position(is_turn) else {
            return false;
        };
        let journal = self.store.journal(&record.id);
        journal
            .iter()
            .any(|entry| matches!(&entry.record, Record::Done { step } if *step as usize == place))
    }

    /// Gives a slot back that is not needed any more; tried again later when its server is away. A slot
    /// that is kept goes back with the next operation that succeeds.
    pub(super) fn give_slot_back(&self) {
        let Some(slot) = self.store.slot() else {
            return;
        };
        let now = self.tick();
        let settings = self.settings();
        let is_due = lock(&self.releases).asked.next <= now;
        let goes_back = match self.fate_of(&slot, &settings) {
            Fate::GoesBack => true,
            Fate::Kept => self.has_succeeded_since(&slot),
            Fate::Used => false,
        };
        if !goes_back || !is_due {
            return;
        }
        self.beat();
        let (worker, fs) = (self.worker.as_ref(), &self.host.fs);
        let asked = ask(worker, &slot.turn, Ask::Unlock, fs, &Cancel::default());
        self.beat();
        match asked {
            Ok(()) if self.forget_slot() => {
                lock(&self.releases).asked = Asked::default();
                tracing::info!("the slot is given back: {}", slot.turn.place());
            }
            Ok(()) => {}
            Err(error) => {
                tracing::warn!("cannot give the slot back: {error}");
                lock(&self.releases).asked.failed(now, error.to_string());
            }
        }
        self.tell(super::Change::Status);
    }

    fn note_question(&self, turn: &Turn) -> bool {
        let mut change = Batch::default();
        let noted = change.slot(&Slot {
            turn: turn.clone(),
            operation: None,
            is_kept: false,
        });
        let noted = noted.and_then(|()| self.store.commit(change));
        if let Err(error) = &noted {
            tracing::warn!("cannot note that the fleet is asked: {error}");
        }
        noted.is_ok()
    }

    fn forget_slot(&self) -> bool {
        let mut change = Batch::default();
        change.drop_slot();
        let forgotten = self.store.commit(change);
        if let Err(error) = &forgotten {
            tracing::warn!("cannot forget the slot of the fleet: {error}");
        }
        forgotten.is_ok()
    }

    /// Whether an upgrade or a switch succeeded after the one that kept the slot.
    fn has_succeeded_since(&self, slot: &Slot) -> bool {
        let Some(operation) = &slot.operation else {
            return true;
        };
        let moves = |request: &OperationRequest| {
            matches!(
                request,
                OperationRequest::Upgrade(_)
                    | OperationRequest::Switch(_)
                    | OperationRequest::Rollback(_)
            )
        };
        let all = self.store.operations();
        all.iter().any(|it| {
            it.id > *operation && it.state == State::Succeeded && it.steps > 0 && moves(&it.request)
        })
    }

    /// Why the fleet did not give this machine its turn, until it may be asked again.
    pub(super) fn refused_turn(&self, settings: &Settings) -> Option<String> {
        Turn::of(settings)?;
        let now = self.tick();
        let releases = lock(&self.releases);
        (releases.asked.next > now).then(|| releases.asked.trouble.clone())
    }

    /// Asks for this machine's turn before an operation is begun without a hand, so that nothing else
    /// waits behind it. Says whether it has it; where nobody is to be asked it has.
    pub(in super::super) fn takes_turn(&self, settings: &Settings) -> bool {
        let Some(turn) = Turn::of(settings) else {
            return true;
        };
        let now = self.tick();
        if lock(&self.releases).asked.next > now {
            return false;
        }
        // What is noted of a slot that is kept stays so.
        let is_kept = self.store.slot().is_some_and(|slot| self.is_kept(&slot));
        if !is_kept && !self.note_question(&turn) {
            return false;
        }
        self.beat();
        let (worker, fs) = (self.worker.as_ref(), &self.host.fs);
        let asked = ask(worker, &turn, Ask::Lock, fs, &Cancel::default());
        self.beat();
        let mut releases = lock(&self.releases);
        match asked {
            Ok(()) => {
                releases.asked = Asked::default();
                true
            }
            Err(error) => {
                releases.asked.failed(now, error.to_string());
                drop(releases);
                if error.code() == Code::Busy && !is_kept {
                    // It said no: there is nothing to give back.
                    self.forget_slot();
                }
                self.tell(super::Change::Status);
                false
            }
        }
    }
}

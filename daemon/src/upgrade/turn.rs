//! The turn of this machine in its fleet: the step that waits for it, the asking in a child, and when
//! the slot goes back.
//!
//! The slot is taken before an operation takes effect, and noted on the disk before it is asked for. It
//! goes back when the operation is over and has proven that the machine is healthy, or was stopped before
//! it changed anything. A machine that was changed and had to be put back keeps it: that stops the
//! others.

use nixctl_proto::plan::{PlanAction, PlanStep};
use nixctl_proto::settings::Settings;
use nixctl_proto::{Code, OperationId, OperationKind, OperationState};
use serde::{Deserialize, Serialize};

use super::fleet_lock::{self, FleetLock, FleetLockError};
use super::step::{UpgradeStep, line};
use crate::catalogue::Planned;
use crate::engine::Step;
use crate::engine::step::PlannedStep;
use crate::host::{Cancel, Fs, Host};
use crate::payload::PayloadError;
use crate::payload::http::Client;
use crate::payload::url::redact;
use crate::payload::worker::{Task, Worker};
use crate::resource::{Context, Description, ResourceError, Result, Silent, Undo, Undone};
use crate::switch::step::SwitchStep;

/// Which server is asked, and as whom.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Turn {
    /// Its URL.
    pub url: String,
    /// The group of this machine there.
    pub group: String,
    /// Proxy; empty: as the environment says.
    pub proxy: String,
    /// File with authorities; empty: the machine's.
    pub ssl_cert_file: String,
}

impl Turn {
    /// As the settings say; `None`: nobody is asked.
    pub fn of(settings: &Settings) -> Option<Turn> {
        let (upgrade, install) = (&settings.upgrade, &settings.install);
        (!upgrade.fleet_lock_url.is_empty()).then(|| Turn {
            url: upgrade.fleet_lock_url.clone(),
            group: upgrade.fleet_lock_group.clone(),
            proxy: install.proxy.clone(),
            ssl_cert_file: install.ssl_cert_file.clone(),
        })
    }

    /// Where, for people.
    pub fn place(&self) -> String {
        format!("group {} at {}", self.group, redact(&self.url))
    }

    pub(super) fn describe(&self) -> Description {
        line(
            "turn",
            format!("wait for this machine's turn ({})", self.place()),
        )
    }

    pub(super) fn prepare(&self, _host: &Host) -> Result<Undo> {
        Ok(Undo::Nothing)
    }

    pub(super) fn apply(&self, context: &Context<'_>, _undo: &Undo) -> Result<()> {
        let asked = Asking::new(self, Ask::Lock, &context.host.fs);
        let asked = asked.and_then(|asking| {
            let task = Task::Turn(asking);
            context.worker.run(&task, &Silent, context.cancel)
        });
        match asked {
            Err(error) if error.is_stopped() => Err(error.into()),
            Err(error) if error.code() == Code::BadSettings => Err(error.into()),
            Err(error) => Err(ResourceError::NotItsTurn {
                why: error.to_string(),
            }),
            Ok(()) => Ok(()),
        }
    }

    /// Whether the slot goes back is decided when it is known how the operation ended.
    pub(super) fn undo(&self, _context: &Context<'_>, _undo: &Undo) -> Result<Undone> {
        Ok(Undone::Clean)
    }
}

/// What is asked of the server.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum Ask {
    /// For a slot.
    Lock,
    /// To take it back.
    Unlock,
}

/// A question, for a child.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Asking {
    turn: Turn,
    ask: Ask,
    /// What this machine is called there.
    id: String,
}

impl Asking {
    /// A question of the machine with these files.
    ///
    /// # Errors
    /// It has no name of its own.
    pub fn new(turn: &Turn, ask: Ask, fs: &Fs) -> std::result::Result<Asking, PayloadError> {
        Ok(Asking {
            turn: turn.clone(),
            ask,
            id: fleet_lock::machine_id(fs).map_err(reported)?,
        })
    }

    /// What is asked.
    pub fn ask(&self) -> Ask {
        self.ask
    }
}

/// Asks: in the child.
///
/// # Errors
/// The server says no, or cannot be asked.
pub fn work(asking: &Asking, cancel: &Cancel) -> std::result::Result<(), PayloadError> {
    let turn = &asking.turn;
    let client = Client::new(&turn.proxy, &turn.ssl_cert_file, cancel.clone())?;
    let lock = FleetLock::new(client, &turn.url, &turn.group, &asking.id).map_err(reported)?;
    let answer = match asking.ask {
        Ask::Lock => lock.lock(),
        Ask::Unlock => lock.unlock(),
    };
    match answer.map_err(reported)?.refusal() {
        None => Ok(()),
        Some(why) => Err(PayloadError::new(Code::Busy, why)),
    }
}

/// Has a child ask.
///
/// # Errors
/// As [`work`].
pub fn ask(
    worker: &dyn Worker,
    turn: &Turn,
    ask: Ask,
    fs: &Fs,
    cancel: &Cancel,
) -> std::result::Result<(), PayloadError> {
    worker.run(&Task::Turn(Asking::new(turn, ask, fs)?), &Silent, cancel)
}

fn reported(error: FleetLockError) -> PayloadError {
    PayloadError::new(error.code(), error.to_string())
}

/// That this machine has, or may have, a slot.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Slot {
    /// Whose.
    pub turn: Turn,
    /// For which operation; `None`: for one that is about to be begun.
    pub operation: Option<OperationId>,
    /// Whether an earlier operation failed, and the slot is kept since.
    pub is_kept: bool,
}

/// How an operation stands that a slot was taken for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Holder {
    /// Its state.
    pub state: OperationState,
    /// Why it failed.
    pub code: Option<Code>,
    /// Whether it had its turn.
    pub had_turn: bool,
}

/// What becomes of a slot.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fate {
    /// The operation is not over.
    Used,
    /// It goes back.
    GoesBack,
    /// The machine failed: it keeps the slot.
    Kept,
}

/// What becomes of the slot. `holder`: the operation, `None` when there is none (any more). `is_kept`: an
/// earlier one failed. `is_named`: whether the settings still name its server.
pub fn fate(holder: Option<Holder>, is_kept: bool, is_named: bool) -> Fate {
    let holder = match holder {
        Some(holder) if !holder.state.is_final() => return Fate::Used,
        // Who leaves the fleet leaves its slot.
        _ if !is_named => return Fate::GoesBack,
        None if is_kept => return Fate::Kept,
        None => return Fate::GoesBack,
        Some(holder) => holder,
    };
    match holder.state {
        OperationState::Succeeded => Fate::GoesBack,
        _ if is_kept => Fate::Kept,
        OperationState::Cancelled => Fate::GoesBack,
        _ if !holder.had_turn => Fate::GoesBack,
        // Its builds went on: nothing was changed.
        OperationState::Reverted if holder.code == Some(Code::BuildsRunning) => Fate::GoesBack,
        _ => Fate::Kept,
    }
}

/// Puts the waiting into the plan of what takes effect on the machine, before it does: of an upgrade
/// and of a switch after what comes first was fetched. Going back is never made to wait.
pub fn insert(planned: &mut Planned, turn: Option<Turn>) {
    let Some(turn) = turn else {
        return;
    };
    let takes_effect = |it: &PlannedStep| match &it.step {
        Step::Upgrade(UpgradeStep::Quiet(_)) => true,
        Step::Switch(step) => matches!(**step, SwitchStep::Activate(_)),
        _ => false,
    };
    let is_meant = matches!(
        planned.view.kind,
        OperationKind::Upgrade | OperationKind::Switch
    );
    let place = planned.steps.iter().position(takes_effect);
    let Some(place) = place.filter(|_| is_meant) else {
        return;
    };
    let step = Step::Upgrade(UpgradeStep::Turn(turn));
    let Description {
        id,
        summary,
        details,
    } = step.describe();
    let action = PlanAction::Run;
    let shown = PlanStep {
        id,
        action,
        summary,
        details,
    };
    let line = place.min(planned.view.steps.len());
    planned.view.steps.insert(line, shown);
    planned.steps.insert(place, PlannedStep { step, action });
}

#[cfg(test)]
mod tests {
    use nixctl_proto::plan::Plan;

    use super::*;
    use crate::upgrade::quiet::Quiet;

    #[test]
    fn the_slot_goes_back_when_the_machine_is_well() {
        use OperationState::{Attention, Cancelled, Failed, Reverted, Running, Succeeded, Waiting};
        let drained = Some(Code::BuildsRunning);
        let broken = Some(Code::SelfTestFailed);
        for (state, code, had_turn, expected) in [
            (Running, None, true, Fate::Used),
            (Waiting, None, false, Fate::Used),
            (Succeeded, None, true, Fate::GoesBack),
            (Cancelled, Some(Code::Cancelled), true, Fate::GoesBack),
            (Reverted, broken, true, Fate::Kept),
            (Reverted, None, true, Fate::Kept),
            (Attention, broken, true, Fate::Kept),
            (Reverted, drained, true, Fate::GoesBack),
            // It was over before its turn had come.
            (Reverted, Some(Code::Timeout), false, Fate::GoesBack),
            (Failed, Some(Code::NoSpace), false, Fate::GoesBack),
        ] {
            let holder = Holder {
                state,
                code,
                had_turn,
            };
            assert_eq!(fate(Some(holder), false, true), expected, "{holder:?}");
            // Only what succeeds ends that an earlier one failed.
            let kept = match (expected, state) {
                (Fate::GoesBack, Succeeded) => Fate::GoesBack,
                (Fate::Used, _) => Fate::Used,
                _ => Fate::Kept,
            };
            assert_eq!(fate(Some(holder), true, true), kept, "{holder:?}");
        }
        let kept = Holder {
            state: Reverted,
            code: broken,
            had_turn: true,
        };
        assert_eq!(fate(Some(kept), true, false), Fate::GoesBack);
        assert_eq!(fate(None, false, true), Fate::GoesBack);
        assert_eq!(fate(None, true, true), Fate::Kept);
    }

    #[test]
    fn only_those_wait_who_are_to() {
        let mut settings = Settings::default();
        assert_eq!(Turn::of(&settings), None);
        settings.upgrade.fleet_lock_url = "https://me:secret@a.example".to_owned();
        let turn = Turn::of(&settings).unwrap();
        assert_eq!(turn.place(), "group default at https://***@a.example");
        let quiet = || Step::Upgrade(UpgradeStep::Quiet(Quiet { seconds: 1 }));
        let fetch = || Step::Discard("/x".into());
        for (kind, steps, expected) in [
            (
                OperationKind::Upgrade,
                vec![fetch(), quiet(), fetch()],
                Some(1),
            ),
            (OperationKind::Upgrade, vec![fetch()], None),
            (OperationKind::Upgrade, Vec::new(), None),
            (OperationKind::Rollback, vec![fetch(), quiet()], None),
            (OperationKind::Repair, vec![quiet()], None),
        ] {
            let mut all = planned(kind, steps);
            insert(&mut all, Some(turn.clone()));
            let is_turn = |it: &PlannedStep| matches!(it.step, Step::Upgrade(UpgradeStep::Turn(_)));
            assert_eq!(all.steps.iter().position(is_turn), expected, "{kind:?}");
            let shown = all.view.steps.iter().position(|it| it.id == "turn");
            assert_eq!(shown, expected, "{kind:?}");
            let before = all.steps.len();
            insert(&mut all, None);
            assert_eq!(all.steps.len(), before);
        }
    }

    fn planned(kind: OperationKind, steps: Vec<Step>) -> Planned {
        let action = PlanAction::Run;
        let line = |step: &Step| PlanStep {
            id: step.describe().id,
            action,
            summary: String::new(),
            details: Vec::new(),
        };
        Planned {
            view: Plan {
                kind,
                title: String::new(),
                steps: steps.iter().map(line).collect(),
                checks: Vec::new(),
                bytes_needed: 0,
                inodes_needed: 0,
                notes: Vec::new(),
                switch: None,
            },
            steps: steps
                .into_iter()
                .map(|step| PlannedStep { step, action })
                .collect(),
            repair: None,
        }
    }
}

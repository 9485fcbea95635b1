//! What the steps of a switch mean for the operation as a whole. Pure.
//!
//! Between the activation of a toplevel and its becoming the default of the next boot the machine
//! runs something that has not proven itself: a restart takes it back, and an operation must not
//! end there.

use nixctl_proto::request::OperationRequest;

use super::record::Recovered;
use super::step::{PlannedStep, Step};
use crate::resource::Undo;
use crate::switch::step::{SetDefault, SwitchStep, SwitchUndo};

/// Whether an operation moves the machine to another generation: a newer one of these supersedes
/// an older one.
pub fn is_switch(request: &OperationRequest) -> bool {
    matches!(
        request,
        OperationRequest::Switch(_) | OperationRequest::Rollback(_)
    )
}

fn switch_step(steps: &[PlannedStep], index: u32) -> Option<&SwitchStep> {
    match &steps.get(index as usize)?.step {
        Step::Switch(step) => Some(step),
        _ => None,
    }
}

/// The step that makes a generation the default, when this is one.
pub fn default_of(steps: &[PlannedStep], index: u32) -> Option<&SetDefault> {
    match switch_step(steps, index)? {
        SwitchStep::SetDefault(it) => Some(it),
        _ => None,
    }
}

/// Whether what this step makes the default was activated, and watched, by a step before it.
pub fn is_proved(steps: &[PlannedStep], index: u32) -> bool {
    let Some(default) = default_of(steps, index) else {
        return false;
    };
    let mut earlier = 0..index;
    earlier.any(|earlier| {
        matches!(
            switch_step(steps, earlier),
            Some(SwitchStep::Activate(it)) if it.to == default.toplevel
        )
    })
}

/// Whether a step watches what was activated, or waits for somebody to confirm it.
fn watches(steps: &[PlannedStep], index: u32) -> bool {
    matches!(
        switch_step(steps, index),
        Some(SwitchStep::Prove(_) | SwitchStep::Confirm { .. })
    )
}

/// Seconds of a step that waits for a confirmation.
pub fn confirmation(steps: &[PlannedStep], index: u32) -> Option<u64> {
    match switch_step(steps, index)? {
        SwitchStep::Confirm { seconds } => Some(*seconds),
        _ => None,
    }
}

/// Whether a step watches the target itself: nothing is activated after it.
pub fn is_last_watch(steps: &[PlannedStep], index: u32) -> bool {
    let later = steps.len() as u32;
    watches(steps, index)
        && !(index + 1..later)
            .any(|later| matches!(switch_step(steps, later), Some(SwitchStep::Activate(_))))
}

/// The activation that was begun and has not become the default of the next boot.
pub fn unproven(steps: &[PlannedStep], recovered: &Recovered) -> Option<u32> {
    let last_default = recovered
        .done
        .iter()
        .rev()
        .find(|index| default_of(steps, **index).is_some());
    let after = last_default.map_or(0, |index| index + 1);
    recovered
        .started
        .range(after..)
        .map(|(index, _)| *index)
        .find(|index| matches!(switch_step(steps, *index), Some(SwitchStep::Activate(_))))
}

/// Steps that a restart of the machine has undone, last one first: an activation of another boot
/// that had not become the default, and whatever watched it.
pub fn lost(steps: &[PlannedStep], recovered: &Recovered, boot: &str) -> Vec<u32> {
    let Some(activation) = unproven(steps, recovered) else {
        return Vec::new();
    };
    match recovered.started.get(&activation) {
        Some((_, undo)) if is_of_another_boot(undo, boot) => {}
        _ => return Vec::new(),
    }
    let watching = recovered
        .started
        .range(activation + 1..)
        .map(|(index, _)| *index)
        .filter(|index| watches(steps, *index));
    let mut lost: Vec<u32> = std::iter::once(activation).chain(watching).collect();
    lost.reverse();
    lost
}

/// Whether a step was begun in another boot than this one.
pub fn is_of_another_boot(undo: &Undo, boot: &str) -> bool {
    matches!(
        undo,
        Undo::Switch(SwitchUndo::Activate { boot: theirs, .. } | SwitchUndo::Waiting { boot: theirs, .. })
            if theirs != boot
    )
}

#[cfg(test)]
pub(super) mod tests {
    use std::path::PathBuf;

    use nixctl_proto::plan::PlanAction;

    use super::super::record::Record;
    use super::*;
    use crate::switch::step::{Activate, Prove, Toplevel};

    pub fn activate(from: Toplevel, to: Toplevel) -> SwitchStep {
        SwitchStep::Activate(Activate {
            roots: PathBuf::from("/roots"),
            from,
            to,
            own_program: false,
            seconds: 60,
        })
    }

    pub fn prove() -> SwitchStep {
        SwitchStep::Prove(Prove {
            window_seconds: 1,
            units: Vec::new(),
            probes: Vec::new(),
        })
    }

    pub fn set_default(toplevel: Toplevel) -> SwitchStep {
        let hybrid = matches!(toplevel, Toplevel::Hybrid(_));
        SwitchStep::SetDefault(SetDefault {
            roots: PathBuf::from("/roots"),
            profile: PathBuf::from("/profile"),
            toplevel,
            hybrid,
        })
    }

    fn plan() -> Vec<PlannedStep> {
        let (old, one) = (Toplevel::Path("/old".to_owned()), Toplevel::Hybrid(1));
        let new = Toplevel::Path("/new".to_owned());
        [
            activate(old, one.clone()),
            prove(),
            set_default(one.clone()),
            activate(one, new.clone()),
            prove(),
            SwitchStep::Confirm { seconds: 9 },
            set_default(new),
        ]
        .into_iter()
        .map(|step| PlannedStep {
            step: Step::Switch(Box::new(step)),
            action: PlanAction::Change,
        })
        .collect()
    }

    /// The journal of a run in boot `a` that was cut off in step `at`, before or after its end.
    fn cut(at: u32, done: bool) -> Recovered {
        let mut recovered = Recovered::default();
        for step in 0..=at {
            recovered.note(&Record::Started {
                step,
                attempt: 1,
                undo: Undo::Switch(SwitchUndo::Activate {
                    running: "/old".to_owned(),
                    boot: "a".to_owned(),
                    decisions: String::new(),
                }),
            });
            if step < at || done {
                recovered.note(&Record::Done { step });
            }
        }
        recovered
    }

    #[test]
    fn a_restart_takes_back_what_has_not_become_the_default() {
        let steps = plan();
        for (at, done, expected) in [
            (0, false, vec![0]),
            (0, true, vec![0]),
            (1, false, vec![1, 0]),
            (1, true, vec![1, 0]),
            (2, false, vec![1, 0]),
            (2, true, vec![]),
            (3, false, vec![3]),
            (4, true, vec![4, 3]),
            (5, false, vec![5, 4, 3]),
            (6, true, vec![]),
        ] {
            let recovered = cut(at, done);
            assert_eq!(lost(&steps, &recovered, "b"), expected, "{at} {done}");
            assert_eq!(lost(&steps, &recovered, "a"), [0; 0], "the same boot");
            assert_eq!(unproven(&steps, &recovered), expected.last().copied());
        }
    }

    #[test]
    fn only_the_targets_own_watch_is_the_last_one() {
        let steps = plan();
        let last: Vec<u32> = (0..7)
            .filter(|index| is_last_watch(&steps, *index))
            .collect();
        assert_eq!(last, [4, 5]);
        assert_eq!(confirmation(&steps, 5), Some(9));
        assert_eq!(confirmation(&steps, 4), None);
    }
}

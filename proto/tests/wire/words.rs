//! Every word of the lists that messages are made of.
//!
//! The matches name every word, so that a new one does not compile before it is shown here.

use nixctl_proto::health::{HealthEventKind, Severity};
use nixctl_proto::plan::PlanAction;
use nixctl_proto::request::{AfterBoot, Strategy};
use nixctl_proto::status::Health;
use nixctl_proto::{Code, OperationKind, OperationState};

use super::Recording;

/// Holds each to its recorded bytes.
pub fn all(recording: &mut Recording) {
    for state in OperationState::ALL {
        recording.holds(&format!("state.{state}"), state);
    }
    for strategy in Strategy::ALL {
        recording.holds(&format!("strategy.{}", strategy.as_str()), strategy);
    }
    for severity in Severity::ALL {
        recording.holds(&format!("severity.{severity}"), severity);
    }
    for what in HealthEventKind::ALL {
        recording.holds(&format!("health-event.{}", what.as_str()), what);
    }
    for kind in kinds() {
        recording.holds(&format!("kind.{kind}"), kind);
    }
    for health in healths() {
        recording.holds(&format!("health.{}", health.as_str()), health);
    }
    for action in actions() {
        recording.holds(&format!("action.{action:?}").to_lowercase(), action);
    }
    recording.holds("after-boot.at-once", AfterBoot::AtOnce);
    recording.holds("after-boot.restart", AfterBoot::Restart);
    for code in Code::ALL {
        recording.holds(&format!("code.{code}"), *code);
    }
}

fn kinds() -> Vec<OperationKind> {
    use OperationKind::*;
    let all = vec![
        Install,
        Uninstall,
        SelfInstall,
        SelfUninstall,
        Switch,
        Rollback,
        Repair,
        Upgrade,
        SelfUpgrade,
    ];
    for kind in &all {
        match kind {
            Install | Uninstall | SelfInstall | SelfUninstall => {}
            Switch | Rollback | Repair | Upgrade | SelfUpgrade => {}
        }
    }
    all
}

fn healths() -> Vec<Health> {
    use Health::*;
    let all = vec![Healthy, Degraded, Broken, Unknown];
    for health in &all {
        match health {
            Healthy | Degraded | Broken | Unknown => {}
        }
    }
    all
}

fn actions() -> Vec<PlanAction> {
    use PlanAction::*;
    let all = vec![Create, Change, Keep, Remove, Run];
    for action in &all {
        match action {
            Create | Change | Keep | Remove | Run => {}
        }
    }
    all
}

//! A plan as clients see it: what would be done, to what, why, and what it needs.

use serde::{Deserialize, Serialize};

use crate::failure::Failure;
use crate::operation::OperationKind;

/// What a step does to the thing it is about.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum PlanAction {
    /// Makes something that is not there.
    Create,
    /// Changes something that is there.
    Change,
    /// Leaves something that is right already, and owns it from now on.
    Keep,
    /// Takes something away.
    Remove,
    /// Runs something that leaves nothing behind (a download, a test).
    Run,
}

/// One step of a plan.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct PlanStep {
    /// Stable name of the thing, such as `file:/etc/nix/nix.conf`.
    pub id: String,
    /// What happens to it.
    pub action: PlanAction,
    /// One line, imperative: "create the directory /nix".
    pub summary: String,
    /// More lines for `--explain` and JSON: contents, commands, reasons.
    pub details: Vec<String>,
}

/// What a check before the work saw.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct PlanCheck {
    /// Stable name of the check, such as `space` or `existing-nix`.
    pub id: String,
    /// What was seen, one sentence.
    pub seen: String,
    /// Why the plan cannot be carried out, when it cannot.
    pub failure: Option<Failure>,
}

/// A plan: everything that would be done, nothing done yet.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Plan {
    /// Kind of the operation.
    pub kind: OperationKind,
    /// One line for people: "install Nix 2.26.3 for systemd".
    pub title: String,
    /// Steps in the order of their execution.
    pub steps: Vec<PlanStep>,
    /// Checks that were made, passed or not.
    pub checks: Vec<PlanCheck>,
    /// Bytes needed on the store's file system, reserve included.
    pub bytes_needed: u64,
    /// Inodes needed there.
    pub inodes_needed: u64,
    /// What the user should know, such as the sandbox choice and its reason.
    pub notes: Vec<String>,
}

impl Plan {
    /// The first reason why the plan cannot be carried out.
    pub fn refusal(&self) -> Option<&Failure> {
        self.checks.iter().find_map(|check| check.failure.as_ref())
    }

    /// Whether there is nothing to do.
    pub fn is_empty(&self) -> bool {
        self.steps
            .iter()
            .all(|step| step.action == PlanAction::Keep)
    }
}

//! A plan as clients see it: what would be done, to what, why, and what it needs.

use std::collections::BTreeMap;

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

/// What a switch would do with the units that run.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct UnitsView {
    /// Stopped, and started again later when they are in `start`, too.
    pub stop: Vec<String>,
    /// Told to read their configuration again.
    pub reload: Vec<String>,
    /// Restarted.
    pub restart: Vec<String>,
    /// Started.
    pub start: Vec<String>,
    /// Changed, but left as they run because they ask for it.
    pub skip: Vec<String>,
}

/// The disk during a switch, in bytes of store contents.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct SpaceView {
    /// `atomic` or `stepwise`.
    pub strategy: String,
    /// Most bytes at any moment.
    pub peak: u64,
    /// No order of the steps has a lower peak than this.
    pub lower_bound: u64,
    /// Whether the peak was proven to be the lowest one.
    pub optimal: bool,
    /// Most bytes that may be used; `None` when nothing limits them.
    pub budget: Option<u64>,
    /// Bytes that the paths of the plan, and what stays beside them, take now.
    #[serde(default)]
    pub now: u64,
    /// Bytes free on the store's file system now.
    pub free: u64,
    /// Peak of doing everything at once.
    pub atomic_peak: u64,
    /// Bytes of the generation that is left.
    pub old: u64,
    /// Bytes of the generation that is switched to.
    pub new: u64,
}

/// One step of the disk plan.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct SwitchStepView {
    /// Components that change.
    pub flip: Vec<String>,
    /// Components that are stopped, until a later step changes them.
    #[serde(default)]
    pub stop: Vec<String>,
    /// Store paths that are fetched.
    pub add: Vec<String>,
    /// Bytes on the disk once they are there.
    pub bytes_before_release: u64,
    /// Store paths that go afterwards.
    pub release: Vec<String>,
    /// Bytes on the disk after the step.
    pub bytes_after: u64,
}

/// What is down for a while, because its room is needed.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct DowntimeView {
    /// The component.
    pub id: String,
    /// Its units; none when it is a package, whose programs are missing meanwhile.
    pub units: Vec<String>,
    /// The step that stops it, from 1.
    pub from: usize,
    /// The step that brings it back.
    pub to: usize,
    /// Bytes that are fetched meanwhile.
    pub bytes: u64,
    /// Seconds that this takes at least, estimated.
    pub seconds: u64,
}

/// How a package differs between two generations.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct DiffEntry {
    /// Name of the package.
    pub name: String,
    /// Its versions before; empty: it is new.
    pub old: Vec<String>,
    /// Its versions afterwards; empty: it goes.
    pub new: Vec<String>,
    /// Bytes it takes more (or less).
    pub bytes: i64,
}

/// What is particular about the plan of a switch.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct SwitchView {
    /// Store path of the generation that is left.
    pub from: String,
    /// Store path of the generation that is switched to.
    pub to: String,
    /// What happens to units, compared with what runs now.
    pub units: UnitsView,
    /// Why: unit and reason.
    pub reasons: BTreeMap<String, String>,
    /// The disk.
    pub space: SpaceView,
    /// The steps, in their order.
    pub steps: Vec<SwitchStepView>,
    /// What is down for a while; empty unless that was allowed and is needed.
    #[serde(default)]
    pub downtime: Vec<DowntimeView>,
    /// Components that cannot be changed alone and wait for the last step: name and reason.
    pub deferred: BTreeMap<String, String>,
    /// How the packages differ.
    pub diff: Vec<DiffEntry>,
    /// Why only a reboot makes the change whole; empty when none is needed.
    pub reboot: Vec<String>,
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
    /// What a switch would do; `None` for other kinds.
    #[serde(default)]
    pub switch: Option<Box<SwitchView>>,
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

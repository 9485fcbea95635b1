//! From what is known of two generations to the steps between them. Pure.
//!
//! The ladder: at once, where both fit beside the reserve; in ordered steps; with old generations
//! dropped, when that is allowed; with services down for a while that are not vital, when that is
//! allowed; else a refusal that says what is missing, before anything changes.

mod absence;
pub mod boot;
pub mod budget;
pub mod facts;
mod keep;
mod ladder;
pub(super) mod roots;
mod shuffled;
pub(super) mod steps;
mod target;
pub(super) mod view;

use std::collections::BTreeSet;
use std::path::PathBuf;

use nixctl_planner::closure::{Graph, PathSet};
use nixctl_planner::component::{self, Cut};
use nixctl_planner::order;
use nixctl_planner::units::Decisions;
use nixctl_proto::operation::OperationKind;
use nixctl_proto::plan::{Plan, PlanAction, PlanCheck, PlanStep};
use nixctl_proto::request::SwitchRequest;
use nixctl_proto::settings::SwitchSettings;
use nixctl_proto::{Code, Failure};

use crate::catalogue::Planned;
use crate::engine::Step;
use crate::engine::step::PlannedStep;
use crate::switch::plan::boot::BootRoom;
use crate::switch::plan::ladder::{Choice, choose, gain, kept, only_theirs, present};
use crate::switch::plan::steps::Way;
use crate::switch::step::{Forget, Release, SwitchStep};

/// A generation besides the two that the switch is about.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Other {
    /// Its number.
    pub number: u64,
    /// Its store path.
    pub path: String,
    /// What it needs.
    pub closure: PathSet,
    /// Why it must stay; nothing when it may be dropped where that is allowed.
    pub stays: Option<&'static str>,
}

/// Roots that an earlier switch to another target left.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Stale {
    /// The folder.
    pub roots: PathBuf,
    /// Names of the links in it.
    pub links: Vec<String>,
    /// What they hold.
    pub closure: PathSet,
}

/// Everything a plan is made from.
#[derive(Debug, Clone)]
pub struct SwitchFacts {
    /// Which kind of operation asks.
    pub kind: OperationKind,
    /// What was asked for.
    pub request: SwitchRequest,
    /// How the settings want it.
    pub settings: SwitchSettings,
    /// Sizes and references of everything.
    pub graph: Graph,
    /// The generation that runs.
    pub old: component::Toplevel,
    /// The one that shall run.
    pub new: component::Toplevel,
    /// What is in the store.
    pub present: PathSet,
    /// What must stay whatever happens: other roots, the booted kernel and its modules.
    pub keep: PathSet,
    /// What of it the machine needs until it is restarted, to be held by roots of its own.
    pub booted: PathSet,
    /// Old paths that nobody offers: they cannot be fetched again, so they stay.
    pub only_here: PathSet,
    /// Other generations of the profile.
    pub others: Vec<Other>,
    /// Roots of earlier switches.
    pub stale: Vec<Stale>,
    /// Bytes free on the store's file system.
    pub free_bytes: u64,
    /// Inodes free there.
    pub free_inodes: u64,
    /// Bytes and inodes in use there: what a file takes on average.
    pub used: (u64, u64),
    /// Room for boot files, where they are written.
    pub boot: Option<BootRoom>,
    /// What happens to units, compared with what runs.
    pub units: Decisions,
    /// Units that run and are the generation's.
    pub active: BTreeSet<String>,
    /// Why only a restart of the machine makes the change whole.
    pub reboot: Vec<String>,
    /// Whether the target must not be activated before that.
    pub inhibited: bool,
    /// Whether it runs and is the default already.
    pub is_there: bool,
    /// What the user should know.
    pub notes: Vec<String>,
}

/// Plans a switch. A plan that does not fit is one with a check that says so.
///
/// # Errors
/// When the closures are not whole, or the instance is not one.
pub fn plan(facts: &SwitchFacts) -> Result<Planned, Failure> {
    if facts.is_there {
        return Ok(nothing(facts));
    }
    let cut = component::cut(&facts.graph, &facts.old, &facts.new)
        .map_err(|error| Failure::from_error(Code::Incomplete, &error))?;
    let (choice, refused) = choose(facts, &cut)?;
    let bytes_needed = choice.plan.peak.saturating_sub(present(facts, &cut));
    let inodes_needed = inodes_needed(facts, &choice.plan, bytes_needed);
    let checks = checks(facts, &choice, inodes_needed, refused);
    let steps = steps(facts, &cut, &choice);
    let (budget, atomic_peak) = (choice.budget, choice.atomic_peak);
    let view = view::view(
        facts,
        &cut,
        &choice.plan,
        budget,
        atomic_peak,
        choice.downtime,
    );
    let mut notes = facts.notes.clone();
    notes.extend(dropped(facts, &cut, &choice.dropped));
    notes.extend(choice.firm);
    notes.extend(
        facts
            .reboot
            .iter()
            .map(|why| format!("restart needed: {why}")),
    );
    if !facts.only_here.is_empty() {
        let bytes = facts.graph.size(&facts.only_here);
        let paths = facts.only_here.len();
        notes.push(format!(
            "{paths} old store paths ({bytes} bytes) cannot be fetched again from anywhere and stay"
        ));
    }
    let needed = (bytes_needed, inodes_needed);
    Ok(planned(
        facts,
        title(facts, &choice.plan),
        steps,
        checks,
        notes,
        needed,
        view,
    ))
}

/// Inodes that the highest moment takes besides those that are in use, estimated.
fn inodes_needed(facts: &SwitchFacts, plan: &order::Plan, bytes: u64) -> u64 {
    let paths = plan.steps.iter().map(|step| step.add.len()).max();
    let (used_bytes, used_inodes) = facts.used;
    budget::inodes_for(bytes, paths.unwrap_or(0), used_bytes, used_inodes)
}

/// What dropping old generations frees, for people.
fn dropped(facts: &SwitchFacts, cut: &Cut, dropped: &[usize]) -> Option<String> {
    if dropped.is_empty() {
        return None;
    }
    let numbers: Vec<String> = dropped
        .iter()
        .map(|index| facts.others[*index].number.to_string())
        .collect();
    let bytes = gain(facts, cut, dropped);
    let text = format!(
        "the old generations {} are dropped first, which frees {bytes} bytes for good",
        numbers.join(", ")
    );
    Some(text)
}

fn title(facts: &SwitchFacts, plan: &order::Plan) -> String {
    let how = match plan.strategy {
        order::Strategy::Stepwise => format!("in {} steps", plan.steps.len()),
        _ => "at once".to_owned(),
    };
    let verb = match facts.kind {
        OperationKind::Rollback => "roll back",
        _ => "switch",
    };
    format!("{verb} to {} {how}", facts.new.path.name())
}

fn planned(
    facts: &SwitchFacts,
    title: String,
    steps: Vec<SwitchStep>,
    checks: Vec<PlanCheck>,
    notes: Vec<String>,
    (bytes_needed, inodes_needed): (u64, u64),
    view: nixctl_proto::plan::SwitchView,
) -> Planned {
    let lines = steps.iter().map(|step| {
        let it = step.describe();
        PlanStep {
            id: it.id,
            action: action(step),
            summary: it.summary,
            details: it.details,
        }
    });
    let view = Plan {
        kind: facts.kind,
        title,
        steps: lines.collect(),
        checks,
        bytes_needed,
        inodes_needed,
        notes,
        switch: Some(Box::new(view)),
    };
    let steps = steps.into_iter().map(|step| PlannedStep {
        action: action(&step),
        step: Step::Switch(Box::new(step)),
    });
    Planned {
        repair: None,
        steps: steps.collect(),
        view,
    }
}

fn action(step: &SwitchStep) -> PlanAction {
    match step {
        SwitchStep::Forget(_) | SwitchStep::Release(_) => PlanAction::Remove,
        SwitchStep::Fetch(_) | SwitchStep::Compose(_) => PlanAction::Create,
        SwitchStep::Activate(_) | SwitchStep::SetDefault(_) => PlanAction::Change,
        SwitchStep::Prove(_) | SwitchStep::Confirm { .. } => PlanAction::Run,
    }
}

fn nothing(facts: &SwitchFacts) -> Planned {
    let title = format!("{} runs already", facts.new.path.name());
    let view = nixctl_proto::plan::SwitchView {
        from: facts.old.path.to_string(),
        to: facts.new.path.to_string(),
        ..Default::default()
    };
    planned(
        facts,
        title,
        Vec::new(),
        Vec::new(),
        facts.notes.clone(),
        (0, 0),
        view,
    )
}

fn checks(
    facts: &SwitchFacts,
    choice: &Choice,
    inodes: u64,
    refused: Option<Failure>,
) -> Vec<PlanCheck> {
    let plan = &choice.plan;
    let mut checks = vec![
        PlanCheck {
            id: "space".to_owned(),
            seen: format!(
                "at most {} bytes at any moment, {} may be used on /nix",
                plan.peak, choice.budget
            ),
            failure: refused,
        },
        PlanCheck {
            id: "inodes".to_owned(),
            seen: match facts.free_inodes {
                u64::MAX => "inodes are not counted on /nix".to_owned(),
                free => format!("about {inodes} inodes are needed on /nix, {free} are free"),
            },
            failure: budget::inodes(inodes, facts.free_inodes),
        },
    ];
    checks.extend(facts.boot.as_ref().map(|room| PlanCheck {
        id: "boot".to_owned(),
        seen: room.seen(),
        failure: room.refusal(),
    }));
    checks
}

fn steps(facts: &SwitchFacts, cut: &Cut, choice: &Choice) -> Vec<SwitchStep> {
    let mut steps = Vec::new();
    for stale in &facts.stale {
        steps.push(SwitchStep::Release(clean_up(facts, cut, stale)));
    }
    if !choice.dropped.is_empty() {
        let paths = only_theirs(facts, cut, &choice.dropped);
        let dropped = choice.dropped.iter().map(|index| &facts.others[*index]);
        steps.push(SwitchStep::Forget(Forget {
            profile: steps::profile(),
            generations: dropped.map(|it| (it.number, it.path.clone())).collect(),
            paths: steps::texts(&facts.graph, &paths),
        }));
    }
    steps.extend(Way::new(facts, cut, &choice.plan).steps());
    steps
}

/// What an earlier switch has left and nobody needs.
fn clean_up(facts: &SwitchFacts, cut: &Cut, stale: &Stale) -> Release {
    let mut paths = stale.closure.clone();
    for needed in [
        &cut.old_closure,
        &cut.new_closure,
        &kept(facts, &BTreeSet::new()),
    ] {
        paths.remove_all(needed);
    }
    Release {
        roots: stale.roots.clone(),
        profile: steps::profile(),
        toplevels: Vec::new(),
        links: stale.links.clone(),
        paths: steps::texts(&facts.graph, &paths),
        from: facts.request.from.clone(),
    }
}

#[cfg(test)]
mod tests;

//! From what is known of two generations to the steps between them. Pure.
//!
//! The ladder: at once, where both fit beside the reserve; in ordered steps; with old generations
//! dropped, when that is allowed; else a refusal that says what is missing, before anything changes.

pub mod budget;
pub mod facts;
pub(super) mod roots;
pub(super) mod steps;
pub(super) mod view;

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;

use nixctl_planner::closure::{Graph, PathSet, StorePath};
use nixctl_planner::component::{self, Cut};
use nixctl_planner::order;
use nixctl_planner::units::Decisions;
use nixctl_proto::operation::OperationKind;
use nixctl_proto::plan::{Plan, PlanAction, PlanCheck, PlanStep};
use nixctl_proto::request::{Strategy, SwitchRequest};
use nixctl_proto::settings::SwitchSettings;
use nixctl_proto::{Code, Failure};

use crate::catalogue::Planned;
use crate::engine::Step;
use crate::engine::step::PlannedStep;
use crate::switch::plan::budget::Disk;
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
    /// Bytes that kernel and initrd take on /boot and that are free there, where they are written.
    pub boot: Option<(u64, u64)>,
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

/// What was chosen on the ladder.
struct Choice {
    plan: order::Plan,
    budget: u64,
    atomic_peak: u64,
    dropped: Vec<usize>,
}

/// Plans a switch. A plan that does not fit is one with a check that says so.
///
/// # Errors
/// When the closures are not whole, or the instance is not one.
pub fn plan(facts: &SwitchFacts) -> Result<Planned, Failure> {
    let cut = component::cut(&facts.graph, &facts.old, &facts.new)
        .map_err(|error| Failure::from_error(Code::Incomplete, &error))?;
    if facts.is_there {
        return Ok(nothing(facts));
    }
    let (choice, refused) = choose(facts, &cut)?;
    let checks = checks(facts, &choice, refused);
    let steps = steps(facts, &cut, &choice);
    let view = view::view(facts, &cut, &choice.plan, choice.budget, choice.atomic_peak);
    let mut notes = facts.notes.clone();
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
    let bytes_needed = choice.plan.peak.saturating_sub(present(facts, &cut));
    Ok(planned(
        facts,
        title(facts, &choice.plan),
        steps,
        checks,
        notes,
        bytes_needed,
        view,
    ))
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
    bytes_needed: u64,
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
        inodes_needed: 0,
        notes,
        switch: Some(Box::new(view)),
    };
    let steps = steps.into_iter().map(|step| PlannedStep {
        action: action(&step),
        step: Step::Switch(Box::new(step)),
    });
    Planned {
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
        0,
        view,
    )
}

/// Bytes of what the plan is about and what is in the store.
fn present(facts: &SwitchFacts, cut: &Cut) -> u64 {
    let mut named = cut.old_closure.union(&cut.new_closure);
    named.add_all(&kept(facts, &BTreeSet::new()));
    let absent = named.difference(&facts.present);
    facts.graph.size(&named) - facts.graph.size(&absent)
}

/// What stays when these other generations are dropped.
fn kept(facts: &SwitchFacts, dropped: &BTreeSet<usize>) -> PathSet {
    let mut keep = facts.keep.union(&facts.only_here);
    keep.add_all(&facts.booted);
    for (index, other) in facts.others.iter().enumerate() {
        if !dropped.contains(&index) {
            keep.add_all(&other.closure);
        }
    }
    keep
}

/// Goes up the ladder. Of the last rung that was tried the plan is told with why it does not do.
fn choose(facts: &SwitchFacts, cut: &Cut) -> Result<(Choice, Option<Failure>), Failure> {
    let disk = Disk {
        free_bytes: facts.free_bytes,
        free_inodes: facts.free_inodes,
        present: present(facts, cut),
    };
    let budget = budget::budget(disk, facts.settings.reserve_bytes, facts.request.budget);
    let droppable: Vec<usize> = (0..facts.others.len())
        .filter(|index| facts.others[*index].stays.is_none())
        .collect();
    let may_drop = facts.request.drop_old || facts.settings.drop_old;
    let mut rungs = vec![Vec::new()];
    if may_drop && !droppable.is_empty() {
        rungs.push(droppable.clone());
    }
    let mut last = None;
    for dropped in rungs {
        let keep = kept(facts, &dropped.iter().copied().collect());
        let instance = instance(facts, cut, &keep);
        let atomic = order(&instance, order::Strategy::Atomic)?;
        let atomic_peak = atomic.peak;
        let plan = match facts.request.strategy {
            Strategy::Atomic => atomic,
            // What must not be activated now has no steps between.
            _ if facts.inhibited => atomic,
            Strategy::Auto if atomic.peak <= budget => atomic,
            Strategy::Auto | Strategy::Stepwise => order(&instance, order::Strategy::Stepwise)?,
        };
        let fits = plan.peak <= budget;
        let choice = Choice {
            plan,
            budget,
            atomic_peak,
            dropped,
        };
        if fits {
            return Ok((choice, None));
        }
        last = Some(choice);
    }
    let Some(choice) = last else {
        let text = "internal error: no way of switching was tried";
        return Err(Failure::new(Code::Internal, text));
    };
    let what = match choice.plan.strategy {
        order::Strategy::Stepwise => "step by step",
        _ => "at once",
    };
    let gain = if may_drop {
        0
    } else {
        gain(facts, cut, &droppable)
    };
    let plan = &choice.plan;
    let refused = budget::shortfall(plan.peak, budget, plan.lower_bound, what, gain);
    Ok((choice, Some(refused)))
}

/// Bytes that only generations hold which may be dropped.
fn gain(facts: &SwitchFacts, cut: &Cut, droppable: &[usize]) -> u64 {
    facts.graph.size(&only_theirs(facts, cut, droppable))
}

/// What nobody needs once these generations are dropped.
fn only_theirs(facts: &SwitchFacts, cut: &Cut, dropped: &[usize]) -> PathSet {
    let mut theirs = PathSet::new();
    for index in dropped {
        theirs.add_all(&facts.others[*index].closure);
    }
    theirs.remove_all(&kept(facts, &dropped.iter().copied().collect()));
    theirs.remove_all(&cut.old_closure);
    theirs.remove_all(&cut.new_closure);
    theirs
}

/// The cut as an instance of the order's planner. Without a limit: what is too high is judged here,
/// where more is known.
fn instance(facts: &SwitchFacts, cut: &Cut, keep: &PathSet) -> order::Instance {
    let named = cut.instance(&facts.graph, None, keep);
    let mut instance = order::Instance::default();
    let ids: BTreeMap<&StorePath, order::PathId> = named
        .paths
        .iter()
        .map(|(path, bytes)| (path, instance.path(path.as_str(), *bytes)))
        .collect();
    let all = |paths: &[StorePath]| -> Vec<order::PathId> {
        paths
            .iter()
            .filter_map(|path| ids.get(path).copied())
            .collect()
    };
    let texts = |ids: &[component::ComponentId]| ids.iter().map(ToString::to_string).collect();
    let kept: Vec<StorePath> = named.keep.iter().cloned().collect();
    instance.keep = all(&kept);
    instance.components = named
        .components
        .iter()
        .map(|it| order::Component {
            id: it.id.to_string(),
            old: all(&it.old),
            new: all(&it.new),
            with: texts(&it.with),
            after: texts(&it.after),
            is_final: it.is_final,
        })
        .collect();
    instance
}

fn order(instance: &order::Instance, strategy: order::Strategy) -> Result<order::Plan, Failure> {
    let options = order::Options {
        strategy,
        fill_budget: false,
    };
    order::plan(instance, &options).map_err(|error| Failure::from_error(Code::Internal, &error))
}

fn checks(facts: &SwitchFacts, choice: &Choice, refused: Option<Failure>) -> Vec<PlanCheck> {
    let plan = &choice.plan;
    let added: BTreeSet<&String> = plan.steps.iter().flat_map(|step| &step.add).collect();
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
            seen: format!("{} inodes are free on /nix", facts.free_inodes),
            failure: budget::inodes(added.len(), facts.free_inodes),
        },
    ];
    checks.extend(facts.boot.map(|(needed, free)| PlanCheck {
        id: "boot".to_owned(),
        seen: format!("kernel and initrd take {needed} bytes on /boot, {free} are free"),
        failure: budget::boot(needed, free),
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

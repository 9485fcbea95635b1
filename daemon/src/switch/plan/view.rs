//! The plan of a switch for people and programs. Pure.

use std::collections::BTreeMap;

use nixctl_planner::closure::{self, PackageChange, VersionCount};
use nixctl_planner::component::Cut;
use nixctl_planner::order;
use nixctl_planner::units::{Decisions, decisions::Reasons};
use nixctl_proto::plan::{
    DiffEntry, DowntimeView, SpaceView, SwitchStepView, SwitchView, UnitsView,
};

use crate::switch::plan::SwitchFacts;
use crate::switch::plan::steps::ids;

/// The part of a plan that only switches have.
pub fn view(
    facts: &SwitchFacts,
    cut: &Cut,
    plan: &order::Plan,
    budget: u64,
    atomic_peak: u64,
    downtime: Vec<DowntimeView>,
) -> SwitchView {
    let (units, reasons) = units(&facts.units);
    let diff = closure::diff(&facts.graph, &cut.old_closure, &cut.new_closure);
    let deferred = cut.last.deferred.iter();
    SwitchView {
        from: facts.old.path.to_string(),
        to: facts.new.path.to_string(),
        units,
        reasons,
        space: SpaceView {
            strategy: match plan.strategy {
                order::Strategy::Stepwise => "stepwise".to_owned(),
                _ => "atomic".to_owned(),
            },
            peak: plan.peak,
            lower_bound: plan.lower_bound,
            optimal: plan.optimal,
            budget: Some(budget),
            now: now(facts, plan),
            free: facts.free_bytes,
            atomic_peak,
            old: diff.old_size,
            new: diff.new_size,
        },
        steps: plan.steps.iter().map(step).collect(),
        downtime,
        deferred: deferred
            .map(|it| (it.id.to_string(), it.reason.to_string()))
            .collect(),
        diff: diff.packages.iter().map(entry).collect(),
        reboot: facts.reboot.clone(),
    }
}

/// Bytes before the first step.
fn now(facts: &SwitchFacts, plan: &order::Plan) -> u64 {
    let first = plan.steps.first();
    let added = first.map_or(0, |step| facts.graph.size(&ids(&facts.graph, &step.add)));
    first.map_or(0, |step| step.bytes_before_release.saturating_sub(added))
}

fn step(step: &order::Step) -> SwitchStepView {
    SwitchStepView {
        flip: step.flip.clone(),
        stop: step.stop.clone(),
        add: step.add.clone(),
        bytes_before_release: step.bytes_before_release,
        release: step.release.clone(),
        bytes_after: step.bytes_after,
    }
}

/// What happens to units and why. What happens in every run is no news.
fn units(decisions: &Decisions) -> (UnitsView, BTreeMap<String, String>) {
    let mut reasons = BTreeMap::new();
    let mut names = |list: &Reasons| -> Vec<String> {
        let news = list.iter().filter(|(_, reason)| !reason.is_routine());
        news.map(|(unit, reason)| {
            reasons.insert(unit.to_string(), reason.to_string());
            unit.to_string()
        })
        .collect()
    };
    let view = UnitsView {
        start: names(&decisions.start),
        stop: names(&decisions.stop),
        reload: names(&decisions.reload),
        restart: names(&decisions.restart),
        skip: names(&decisions.skip),
    };
    (view, reasons)
}

fn entry(change: &PackageChange) -> DiffEntry {
    let versions = |list: &[VersionCount]| -> Vec<String> {
        list.iter().map(|it| it.version.clone()).collect()
    };
    DiffEntry {
        name: change.name.clone(),
        old: versions(&change.old),
        new: versions(&change.new),
        bytes: i64::try_from(change.delta()).unwrap_or(i64::MAX),
    }
}

//! The fourth rung of the ladder: services that the settings name as not vital are stopped, their room
//! is used, and they come back with their new version. Pure.

use std::collections::{BTreeMap, BTreeSet};

use nixctl_planner::component::{Absences, Cut, absences};
use nixctl_planner::order::{self, OrderError, Plan};
use nixctl_proto::plan::DowntimeView;
use nixctl_proto::request::Strategy;
use nixctl_proto::{Code, Failure};

use crate::switch::plan::SwitchFacts;
use crate::switch::plan::steps::{ids, step_seconds};

/// Bytes a second that a download is taken to have, for want of knowing better.
const BYTES_PER_SECOND: u64 = 10 << 20;
/// Seconds for composing and activating a step.
const STEP_SECONDS: u64 = 3;

/// What stopping what may be stopped comes to.
pub enum Outcome {
    /// A plan within the budget.
    Fits(Plan),
    /// Not even that is enough: the least peak that was found, and what none is below.
    Short(u64, u64),
}

/// What may be stopped here; nothing where a switch has no steps between.
pub fn may_stop(facts: &SwitchFacts, cut: &Cut) -> Absences {
    if facts.inhibited || facts.request.strategy == Strategy::Atomic {
        return Absences::default();
    }
    absences(&facts.old, &facts.new, cut, &facts.settings.non_vital)
}

/// Plans with absences.
///
/// # Errors
/// When the instance is not one.
pub fn plan(
    mut instance: order::Instance,
    absences: &Absences,
    budget: u64,
) -> Result<Outcome, Failure> {
    let marked: BTreeSet<&str> = absences.stoppable.keys().map(|id| id.as_str()).collect();
    for component in &mut instance.components {
        component.stoppable = marked.contains(component.id.as_str());
    }
    instance.budget = Some(budget);
    let options = order::Options {
        strategy: order::Strategy::Stepwise,
        fill_budget: false,
    };
    match order::plan(&instance, &options) {
        Ok(plan) => Ok(Outcome::Fits(plan)),
        Err(OrderError::DoesNotFit(short)) => Ok(Outcome::Short(short.peak, short.lower_bound)),
        Err(error) => Err(Failure::from_error(Code::Internal, &error)),
    }
}

/// What is down from which step to which, and for how long at least.
pub fn downtime(facts: &SwitchFacts, absences: &Absences, plan: &Plan) -> Vec<DowntimeView> {
    let mut from: BTreeMap<&str, usize> = BTreeMap::new();
    let mut down = Vec::new();
    for (number, step) in (1..).zip(&plan.steps) {
        from.extend(step.stop.iter().map(|id| (id.as_str(), number)));
        for id in &step.flip {
            let Some(from) = from.remove(id.as_str()) else {
                continue;
            };
            let between = plan.steps[from..number].iter();
            let added: Vec<String> = between.flat_map(|step| step.add.clone()).collect();
            let absent = ids(&facts.graph, &added).difference(&facts.present);
            let bytes = facts.graph.size(&absent);
            let steps = (number - from) as u64;
            let mut components = absences.stoppable.iter();
            let units = components.find(|(it, _)| it.as_str() == id);
            down.push(DowntimeView {
                id: id.clone(),
                units: units.map(|(_, units)| units.clone()).unwrap_or_default(),
                from,
                to: number,
                bytes,
                seconds: steps * (STEP_SECONDS + step_seconds(facts)) + bytes / BYTES_PER_SECOND,
            });
        }
    }
    down
}

/// What was marked and goes on all the same, for people.
pub fn refused(absences: &Absences) -> Vec<String> {
    let refused = absences.refused.iter();
    refused
        .map(|(name, why)| format!("{name} is marked as not vital, but is not stopped: {why}"))
        .collect()
}

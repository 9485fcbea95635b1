//! The ladder of gaining space: no further up than needed, and of the last rung why it does not do.

use std::collections::BTreeSet;

use nixctl_planner::closure::PathSet;
use nixctl_planner::component::Cut;
use nixctl_planner::order;
use nixctl_proto::plan::DowntimeView;
use nixctl_proto::request::Strategy;
use nixctl_proto::{Code, Failure};

use crate::switch::plan::budget::{self, Disk, Remedies};
use crate::switch::plan::{SwitchFacts, absence, shuffled};

/// What was chosen on the ladder.
pub struct Choice {
    /// The plan of the disk.
    pub plan: order::Plan,
    /// What it may use.
    pub budget: u64,
    /// What everything at once would use.
    pub atomic_peak: u64,
    /// Other generations that go first.
    pub dropped: Vec<usize>,
    /// What is down for a while.
    pub downtime: Vec<DowntimeView>,
    /// What was marked as not vital and is not stopped, where something had to be.
    pub firm: Vec<String>,
}

/// Bytes of what the plan is about and what is in the store.
pub fn present(facts: &SwitchFacts, cut: &Cut) -> u64 {
    let mut named = cut.old_closure.union(&cut.new_closure);
    named.add_all(&kept(facts, &BTreeSet::new()));
    let absent = named.difference(&facts.present);
    facts.graph.size(&named) - facts.graph.size(&absent)
}

/// What stays when these other generations are dropped.
pub fn kept(facts: &SwitchFacts, dropped: &BTreeSet<usize>) -> PathSet {
    let mut keep = facts.keep.union(&facts.only_here);
    keep.add_all(&facts.booted);
    for (index, other) in facts.others.iter().enumerate() {
        if !dropped.contains(&index) {
            keep.add_all(&other.closure);
        }
    }
    keep
}

/// Whether the first rung does for sure: what is in these two closures together, and everything that
/// stays, is within what may be used. Then nothing goes, and nobody needs to know what could be
/// fetched again.
pub fn fits_at_once(facts: &SwitchFacts, both: &PathSet) -> bool {
    if facts.request.strategy == Strategy::Stepwise {
        return false;
    }
    let mut all = kept(facts, &BTreeSet::new());
    all.add_all(both);
    let absent = all.difference(&facts.present);
    let bytes = facts.graph.size(&all);
    let disk = Disk {
        free_bytes: facts.free_bytes,
        free_inodes: facts.free_inodes,
        present: bytes - facts.graph.size(&absent),
    };
    bytes <= budget::budget(disk, facts.settings.reserve_bytes, facts.request.budget)
}

/// Goes up the ladder. Of the last rung that was tried the plan is told with why it does not do.
pub fn choose(facts: &SwitchFacts, cut: &Cut) -> Result<(Choice, Option<Failure>), Failure> {
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
        // Without a limit: what is too high is judged here, where more is known.
        let instance = order::Instance::from(cut.instance(&facts.graph, None, &keep));
        let atomic = order(&instance, order::Strategy::Atomic)?;
        let atomic_peak = atomic.peak;
        let plan = match facts.request.strategy {
            Strategy::Atomic => atomic,
            // What must not be activated now has no steps between.
            _ if facts.inhibited => atomic,
            Strategy::Auto if atomic.peak <= budget => atomic,
            Strategy::Auto | Strategy::Stepwise => match shuffled::plan(&instance) {
                Some(plan) => plan,
                None => order(&instance, order::Strategy::Stepwise)?,
            },
        };
        let fits = plan.peak <= budget;
        let choice = Choice {
            plan,
            budget,
            atomic_peak,
            dropped,
            downtime: Vec::new(),
            firm: Vec::new(),
        };
        if fits {
            return Ok((choice, None));
        }
        last = Some((choice, instance));
    }
    let Some((mut choice, instance)) = last else {
        let text = "internal error: no way of switching was tried";
        return Err(Failure::new(Code::Internal, text));
    };
    let what = match choice.plan.strategy {
        order::Strategy::Stepwise => "step by step",
        _ => "at once",
    };
    let mut remedies = Remedies::default();
    if !may_drop {
        remedies.droppable = gain(facts, cut, &droppable);
    }
    let absences = absence::may_stop(facts, cut);
    choice.firm = absence::refused(&absences);
    let mut least = (choice.plan.peak, choice.plan.lower_bound, what.to_owned());
    if !absences.stoppable.is_empty() {
        let allowed = facts.request.allow_downtime;
        match absence::plan(instance, &absences, budget)? {
            absence::Outcome::Fits(plan) if allowed => {
                choice.downtime = absence::downtime(facts, &absences, &plan);
                choice.plan = plan;
                return Ok((choice, None));
            }
            absence::Outcome::Fits(plan) => {
                let stops = plan.steps.into_iter().flat_map(|step| step.stop);
                remedies.stoppable = stops.collect();
            }
            absence::Outcome::Short(peak, bound) if allowed => {
                least = (
                    peak,
                    bound,
                    format!("{what}, with all stopped that is not vital"),
                );
            }
            absence::Outcome::Short(..) => {}
        }
    }
    let (peak, bound, what) = least;
    let refused = budget::shortfall(peak, budget, bound, &what, &remedies);
    Ok((choice, Some(refused)))
}

/// Bytes that only generations hold which may be dropped.
pub fn gain(facts: &SwitchFacts, cut: &Cut, droppable: &[usize]) -> u64 {
    facts.graph.size(&only_theirs(facts, cut, droppable))
}

/// What nobody needs once these generations are dropped.
pub fn only_theirs(facts: &SwitchFacts, cut: &Cut, dropped: &[usize]) -> PathSet {
    let mut theirs = PathSet::new();
    for index in dropped {
        theirs.add_all(&facts.others[*index].closure);
    }
    theirs.remove_all(&kept(facts, &dropped.iter().copied().collect()));
    theirs.remove_all(&cut.old_closure);
    theirs.remove_all(&cut.new_closure);
    theirs
}

fn order(instance: &order::Instance, strategy: order::Strategy) -> Result<order::Plan, Failure> {
    let options = order::Options {
        strategy,
        fill_budget: false,
    };
    order::plan(instance, &options).map_err(|error| Failure::from_error(Code::Internal, &error))
}

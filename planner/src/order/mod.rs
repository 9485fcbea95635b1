//! The order of the steps: flipping components so that the highest moment on the disk is lowest.
//!
//! An [`Instance`] says which paths each component needs now and will need; [`plan`] says in which
//! steps to go from one to the other, what each step fetches and releases, and how many bytes are
//! on the disk at each moment. The peak is the least possible one for a small number of groups and
//! near a lower bound that is said for more. Where no order stays within the budget, components that
//! may be are stopped for a while. [`check()`] computes a plan's claims again.
//! `docs/order.md` has the theory.

mod absence;
#[cfg(test)]
mod absence_tests;
mod bound;
mod check;
mod error;
mod explore;
mod greedy;
mod group;
mod instance;
mod json;
mod local;
mod model;
mod part;
mod plan;
#[cfg(any(test, feature = "testing"))]
mod shuffled;
mod solve;
#[cfg(test)]
mod solver_tests;
mod steps;
mod subsets;
#[cfg(any(test, feature = "testing"))]
pub mod testing;
#[cfg(test)]
mod tests;
mod walk;

pub use check::check;
pub use error::{InstanceError, OrderError, Shortfall};
pub use instance::{Component, Instance, PathId};
pub use plan::{Plan, Step, Strategy};
#[cfg(any(test, feature = "testing"))]
pub use shuffled::shuffled;

use group::Groups;
use model::Reduced;
use steps::{Ledger, Move};

/// How to plan.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Options {
    /// One step or several.
    pub strategy: Strategy,
    /// Whether steps may be joined up to the budget. Without it they are joined only as far as
    /// that leaves the peak at its lowest.
    pub fill_budget: bool,
}

/// Plans an instance.
///
/// # Errors
/// When the instance is not one, or no plan that was found stays within its budget.
pub fn plan(instance: &Instance, options: &Options) -> Result<Plan, OrderError> {
    instance.validate()?;
    let groups = Groups::new(instance);
    let reduced = Reduced::new(instance, &groups);
    let budget = instance.budget;
    let atomic = match (options.strategy, budget) {
        (Strategy::Stepwise, _) | (Strategy::Auto, None) => None,
        (Strategy::Atomic, _) => Some(at_once(instance, &groups, &reduced)),
        (Strategy::Auto, Some(budget)) => {
            Some(at_once(instance, &groups, &reduced)).filter(|plan| plan.peak <= budget)
        }
    };
    let plan = atomic.unwrap_or_else(|| in_steps(instance, &groups, &reduced, options));
    let Some(budget) = budget.filter(|budget| plan.peak > *budget) else {
        return Ok(plan);
    };
    let atomic = options.strategy == Strategy::Atomic;
    let stoppable = match atomic {
        true => Vec::new(),
        false => absence::stoppable(instance, &groups),
    };
    if !stoppable.is_empty() {
        return Ok(absence::plan(instance, &groups, stoppable, budget)?);
    }
    Err(OrderError::DoesNotFit(Shortfall {
        budget,
        peak: plan.peak,
        lower_bound: plan.lower_bound,
        atomic,
        stopping: false,
    }))
}

/// Everything in one step.
fn at_once(instance: &Instance, groups: &Groups, reduced: &Reduced) -> Plan {
    let order: Vec<usize> = whole(groups, reduced, 0..reduced.group.len() as u32);
    let bound = solve::quick_bound(&reduced.model).max(reduced.last);
    finish(
        Ledger::new(instance, groups),
        &flips(&order),
        u64::MAX,
        bound,
    )
}

/// The order with the lowest peak, in as few steps as it allows.
fn in_steps(instance: &Instance, groups: &Groups, reduced: &Reduced, options: &Options) -> Plan {
    let solution = solve::solve(&reduced.model, reduced.last);
    let order = whole(groups, reduced, solution.order);
    let lowest = solution.peak.max(reduced.last);
    let limit = match instance.budget.filter(|_| options.fill_budget) {
        Some(budget) => budget.max(lowest),
        None => lowest,
    };
    let ledger = Ledger::new(instance, groups);
    finish(ledger, &flips(&order), limit, solution.bound)
}

fn flips(order: &[usize]) -> Vec<Move> {
    order.iter().map(|&group| Move::Flip(group)).collect()
}

/// An order of the model's groups as one of all groups, the final one last.
fn whole(groups: &Groups, reduced: &Reduced, order: impl IntoIterator<Item = u32>) -> Vec<usize> {
    let order = order.into_iter().map(|group| reduced.group[group as usize]);
    order.chain(groups.last).collect()
}

fn finish(ledger: Ledger<'_>, moves: &[Move], limit: u64, bound: u64) -> Plan {
    let start = ledger.bytes();
    let steps = ledger.steps(moves, limit);
    let peak = steps
        .iter()
        .map(|step| step.bytes_before_release)
        .fold(start, u64::max);
    let lower_bound = bound.max(start);
    Plan {
        peak,
        lower_bound,
        optimal: lower_bound == peak,
        strategy: if steps.len() > 1 {
            Strategy::Stepwise
        } else {
            Strategy::Atomic
        },
        steps,
    }
}

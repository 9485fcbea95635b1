//! From a model to an order: reduce, bound, guess, improve, prove.
//!
//! What is tried, and for how long, depends on the model alone, never on the time it takes: the
//! same instance has the same plan on every machine.

use super::bound::{self, Pairs};
use super::local::Search;
use super::model::Model;
use super::part::{Middle, twins};
use super::walk::peak;
use super::{explore, greedy, subsets};

/// Steps and classes that the local search looks at.
const LOCAL_WORK: u64 = 40_000_000;
/// Orders that the local search begins with.
const STARTS: usize = 2;
/// Classes that the exact search looks at.
const EXACT_WORK: u64 = 40_000_000;
/// Classes that the bounds look at.
const BOUND_WORK: u64 = 20_000_000;

/// An order of the groups of a model.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Solution {
    /// The order.
    pub order: Vec<u32>,
    /// Its peak.
    pub peak: u64,
    /// No order has a lower peak than this.
    pub bound: u64,
}

impl Solution {
    fn offer(&mut self, model: &Model, order: Vec<u32>) {
        let peak = peak(model, &order);
        if peak < self.peak {
            (self.order, self.peak) = (order, peak);
        }
    }

    fn is_proven(&self) -> bool {
        self.peak <= self.bound
    }
}

/// Finds an order with a low peak. `bound` is a peak that is reached in any case.
pub fn solve(model: &Model, bound: u64) -> Solution {
    let part = twins(model);
    let solution = solve_part(&part.model, bound);
    let order = part.expand(&solution.order);
    Solution {
        peak: peak(model, &order),
        order,
        ..solution
    }
}

/// A bound without a search.
pub fn quick_bound(model: &Model) -> u64 {
    bound::quick(model, &Pairs::new(model))
}

fn solve_part(model: &Model, bound: u64) -> Solution {
    let pairs = Pairs::new(model);
    let mut solution = Solution {
        order: Vec::new(),
        peak: u64::MAX,
        bound: bound.max(bound::quick(model, &pairs)),
    };
    let orders = greedy::orders(model, solution.bound);
    orders
        .into_iter()
        .for_each(|order| solution.offer(model, order));
    if solution.is_proven() {
        return solution;
    }
    let middle = Middle::new(model, solution.bound);
    if let Some((least, order)) = subsets::solve(&middle.part.model) {
        solution.offer(model, middle.expand(&order));
        solution.bound = solution.bound.max(least);
        return solution;
    }
    improve(model, &middle, &mut solution);
    prove(model, &middle, &pairs, &mut solution);
    solution
}

/// Searches around orders that were made from front to back: a while around each of the best,
/// then around what became best.
fn improve(model: &Model, middle: &Middle, solution: &mut Solution) {
    let part = &middle.part.model;
    let mut orders = greedy::orders(part, solution.bound);
    orders.sort_by_cached_key(|order| peak(part, order));
    orders.truncate(STARTS);
    let mut best: Option<(u64, Vec<u32>)> = None;
    for order in orders {
        let work = LOCAL_WORK / 2 / STARTS as u64;
        let found = Search::new(part, order, solution.bound, work).run();
        if best.as_ref().is_none_or(|best| found.0 < best.0) {
            best = Some(found);
        }
    }
    if let Some((_, order)) = best {
        let (_, order) = Search::new(part, order, solution.bound, LOCAL_WORK / 2).run();
        solution.offer(model, middle.expand(&order));
    }
}

/// Raises the bound, or finds what is left to find.
fn prove(model: &Model, middle: &Middle, pairs: &Pairs, solution: &mut Solution) {
    if !solution.is_proven() {
        let (bound, limit) = (solution.bound, solution.peak);
        let explored = explore::search(&middle.part.model, bound, limit, EXACT_WORK);
        if let Some(explored) = explored {
            if let Some(order) = explored.order {
                solution.offer(model, middle.expand(&order));
            }
            solution.bound = solution.bound.max(explored.bound);
        }
    }
    if !solution.is_proven() {
        let sampled = bound::sampled(model, pairs, solution.peak, BOUND_WORK);
        solution.bound = solution.bound.max(sampled);
    }
}

//! Absences: components that are stopped and released, and fetched again when they flip.
//!
//! What is stopped sooner is never worse for the disk, so the least peak of all with absences is
//! that of the same instance in which everything that may be stopped has no old closure: an
//! ordinary instance, solved and bounded as such. Which are stopped is then searched for: none of
//! them can be left out alone, and each is stopped as late and flipped as early as the order of
//! the others lets it. That this is the shortest time of all is not claimed.

use super::error::Shortfall;
use super::group::Groups;
use super::instance::Instance;
use super::model::Reduced;
use super::plan::Plan;
use super::steps::{Ledger, Move};
use super::{finish, solve, whole};

/// Orders that are searched for, at most, to find out who need not be stopped.
const SEARCHES: usize = 32;

/// Groups that may be stopped, those that gain least first: all of their components may be, none
/// of them is final, and there is something to release.
pub fn stoppable(instance: &Instance, groups: &Groups) -> Vec<usize> {
    let mut users = vec![0u32; instance.path_count()];
    for path in instance.components.iter().flat_map(|it| &it.old) {
        users[path.0 as usize] += 1;
    }
    for path in &instance.keep {
        users[path.0 as usize] += 1;
    }
    let gain = |group: usize| -> u64 {
        let members = groups.members[group].iter();
        let old = members.flat_map(|&member| &instance.components[member].old);
        let own = old.filter(|path| users[path.0 as usize] == 1);
        own.map(|&path| instance.bytes(path)).sum()
    };
    let may = |group: &usize| {
        let members = groups.members[*group].iter();
        let mut members = members.map(|&member| &instance.components[member]);
        let has_old = members.clone().any(|component| !component.old.is_empty());
        Some(*group) != groups.last && has_old && members.all(|component| component.stoppable)
    };
    let mut found: Vec<usize> = (0..groups.members.len()).filter(may).collect();
    found.sort_by_cached_key(|&group| gain(group));
    found
}

/// A plan within the budget that stops some of these groups.
///
/// # Errors
/// When not even stopping all of them is enough.
pub fn plan(
    instance: &Instance,
    groups: &Groups,
    candidates: Vec<usize>,
    budget: u64,
) -> Result<Plan, Shortfall> {
    let start = Ledger::new(instance, groups).bytes();
    let found = search(instance, groups, &candidates);
    let lower_bound = found.bound.max(start);
    let peak = found.peak.max(start);
    if peak > budget {
        return Err(Shortfall {
            budget,
            peak,
            lower_bound,
            atomic: false,
            stopping: true,
        });
    }
    let absence = Absence {
        instance,
        groups,
        budget,
    };
    let (stopped, order) = absence.fewest(candidates, found.order);
    let moves = absence.shortest(&stopped, &order);
    let ledger = Ledger::new(instance, groups);
    Ok(finish(ledger, &moves, budget, lower_bound))
}

/// An order of all groups with these stopped before the first step.
struct Found {
    order: Vec<usize>,
    peak: u64,
    bound: u64,
}

fn search(instance: &Instance, groups: &Groups, stopped: &[usize]) -> Found {
    let mut without = instance.clone();
    for &group in stopped {
        for &member in &groups.members[group] {
            without.components[member].old.clear();
        }
    }
    let reduced = Reduced::new(&without, groups);
    let solution = solve::solve(&reduced.model, reduced.last);
    Found {
        peak: solution.peak.max(reduced.last),
        bound: solution.bound,
        order: whole(groups, &reduced, solution.order),
    }
}

struct Absence<'a> {
    instance: &'a Instance,
    groups: &'a Groups,
    budget: u64,
}

impl Absence<'_> {
    fn fits(&self, moves: &[Move]) -> bool {
        Ledger::new(self.instance, self.groups).peak(moves) <= self.budget
    }

    /// Leaves out one after the other who need not be stopped.
    fn fewest(&self, candidates: Vec<usize>, mut order: Vec<usize>) -> (Vec<usize>, Vec<usize>) {
        let mut stopped = candidates.clone();
        let mut searches = 0;
        for group in candidates {
            let fewer: Vec<usize> = stopped.iter().copied().filter(|&it| it != group).collect();
            if self.fits(&at_the_start(&fewer, &order)) {
                stopped = fewer;
            } else if searches < SEARCHES {
                searches += 1;
                let found = search(self.instance, self.groups, &fewer);
                if self.fits(&at_the_start(&fewer, &found.order)) {
                    (stopped, order) = (fewer, found.order);
                }
            }
        }
        (stopped, order)
    }

    /// Stops each as late, then flips each as early as the budget allows. Both only ever put more
    /// on the disk, so the places that fit lie side by side.
    fn shortest(&self, stopped: &[usize], order: &[usize]) -> Vec<Move> {
        let mut moves = at_the_start(stopped, order);
        for &group in stopped {
            let from = place(&moves, Move::Stop(group));
            let to = place(&moves, Move::Flip(group)) - 1;
            moves = self.furthest(moves, from, to);
        }
        for &group in stopped {
            let from = place(&moves, Move::Flip(group));
            let earlier = self.groups.before[group].iter();
            let earlier = earlier.map(|&other| place(&moves, Move::Flip(other as usize)));
            let to = earlier.chain([place(&moves, Move::Stop(group))]).max();
            moves = self.furthest(moves, from, to.unwrap_or(0) + 1);
        }
        moves
    }

    /// Moves what is in the place `from` as near to the place `to` as the budget allows.
    fn furthest(&self, moves: Vec<Move>, from: usize, to: usize) -> Vec<Move> {
        let moved = |to: usize| {
            let mut moves = moves.clone();
            let it = moves.remove(from);
            moves.insert(to, it);
            moves
        };
        let at = |distance: usize| match to < from {
            true => from - distance,
            false => from + distance,
        };
        let (mut fits, mut above) = (0, from.abs_diff(to) + 1);
        while above - fits > 1 {
            let middle = fits.midpoint(above);
            if self.fits(&moved(at(middle))) {
                fits = middle;
            } else {
                above = middle;
            }
        }
        moved(at(fits))
    }
}

fn at_the_start(stopped: &[usize], order: &[usize]) -> Vec<Move> {
    let stops = stopped.iter().map(|&group| Move::Stop(group));
    let flips = order.iter().map(|&group| Move::Flip(group));
    stops.chain(flips).collect()
}

fn place(moves: &[Move], wanted: Move) -> usize {
    moves.iter().position(|it| *it == wanted).unwrap_or(0)
}

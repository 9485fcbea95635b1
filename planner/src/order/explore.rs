//! The exact answer for more groups, when the problem is kind: search through sets of flipped
//! groups, lowest peak first.
//!
//! Sets that can be reached under the present level are all looked at, depth first, before the
//! level rises; the level is therefore a lower bound at any time, also when the search is given
//! up. A flip that is safe ([`Walk::is_safe`]) is made at once and
//! nothing else is tried there.

use std::cmp::Reverse;
use std::collections::{BinaryHeap, HashMap};

use super::model::Model;
use super::walk::Walk;

/// Groups that fit into a set.
pub const GROUPS: usize = 128;
/// Sets that may be waiting.
const WAITING: usize = 1 << 20;

/// What a search found.
#[derive(Debug)]
pub struct Explored {
    /// No order has a lower peak.
    pub bound: u64,
    /// An order whose peak is the bound, when one was found.
    pub order: Option<Vec<u32>>,
}

/// Searches for an order with a peak under `limit`; begins at a bound that is known, and does so
/// much work. `None` when there are too many groups.
pub fn search(model: &Model, bound: u64, limit: u64, work: u64) -> Option<Explored> {
    (model.len() <= GROUPS).then(|| Search::new(model, bound, limit, work).run())
}

struct Class {
    old: u128,
    new: u128,
    bytes: u64,
}

struct Search {
    groups: usize,
    classes: Vec<Class>,
    base: u64,
    before: Vec<u128>,
    level: u64,
    limit: u64,
    work: u64,
    /// Sets under the level.
    stack: Vec<(u128, u8)>,
    /// Sets above it.
    heap: BinaryHeap<Reverse<(u64, u128, u8)>>,
    /// For each set that was looked at, the group that flipped last.
    via: HashMap<u128, u8>,
}

/// What a set of flipped groups means for the next flip.
struct State {
    disk: u64,
    fetch: Vec<u64>,
    brings: Vec<u64>,
    frees: Vec<u64>,
}

impl Search {
    fn new(model: &Model, level: u64, limit: u64, work: u64) -> Search {
        let mask = |groups: &[u32]| groups.iter().fold(0, |mask, &group| mask | 1u128 << group);
        let classes = model.classes.iter().map(|class| Class {
            old: mask(&class.old),
            new: mask(&class.new),
            bytes: class.bytes,
        });
        Search {
            groups: model.len(),
            classes: classes.collect(),
            base: model.base,
            before: model.before.iter().map(|before| mask(before)).collect(),
            level: level.max(Walk::new(model).disk),
            limit,
            work,
            stack: vec![(0, 0)],
            heap: BinaryHeap::new(),
            via: HashMap::new(),
        }
    }

    fn run(mut self) -> Explored {
        let full = u128::MAX
            .checked_shr((GROUPS - self.groups) as u32)
            .unwrap_or(0);
        while self.work > 0 && self.heap.len() + self.stack.len() < WAITING {
            let Some((set, via)) = self.next() else {
                // Every order that is left is above the limit.
                return Explored {
                    bound: self.limit,
                    order: None,
                };
            };
            if self.enter(set, via) == Some(full) {
                let order = Some(self.path(full));
                return Explored {
                    bound: self.level,
                    order,
                };
            }
        }
        Explored {
            bound: self.level,
            order: None,
        }
    }

    /// The next set to look at; the level rises when it must.
    fn next(&mut self) -> Option<(u128, u8)> {
        self.stack.pop().or_else(|| {
            let Reverse((level, set, via)) = self.heap.pop()?;
            self.level = level;
            Some((set, via))
        })
    }

    /// Looks at a set: makes the safe flips, then lists what can come next. The set it came to.
    fn enter(&mut self, mut set: u128, mut via: u8) -> Option<u128> {
        loop {
            if self.via.contains_key(&set) {
                return None;
            }
            self.via.insert(set, via);
            let state = self.state(set);
            let ready: Vec<usize> = (0..self.groups)
                .filter(|&group| set >> group & 1 == 0 && self.before[group] & !set == 0)
                .collect();
            let safe = ready.iter().find(|&&group| {
                let brings = state.brings[group];
                let cost = state.disk + state.fetch[group];
                brings == 0 || (cost <= self.level && brings <= state.frees[group])
            });
            let Some(&group) = safe else {
                self.spread(set, &state, ready);
                return Some(set);
            };
            set |= 1 << group;
            via = group as u8;
        }
    }

    fn spread(&mut self, set: u128, state: &State, mut ready: Vec<usize>) {
        // The one that fetches least for good comes last, and so is taken first.
        ready.sort_by_key(|&group| {
            Reverse(i128::from(state.brings[group]) - i128::from(state.frees[group]))
        });
        for group in ready {
            let next = set | 1 << group;
            let cost = state.disk + state.fetch[group];
            if self.via.contains_key(&next) {
                continue;
            }
            if cost <= self.level {
                self.stack.push((next, group as u8));
            } else if cost < self.limit {
                self.heap.push(Reverse((cost, next, group as u8)));
            }
        }
    }

    fn state(&mut self, set: u128) -> State {
        let mut state = State {
            disk: self.base,
            fetch: vec![0; self.groups],
            brings: vec![0; self.groups],
            frees: vec![0; self.groups],
        };
        let mut work = self.classes.len();
        for class in &self.classes {
            let held = class.old & !set;
            let taken = class.new & set;
            let is_there = held != 0 || taken != 0;
            if is_there {
                state.disk += class.bytes;
            }
            if taken == 0 {
                work += class.new.count_ones() as usize;
                for group in ones(class.new) {
                    state.brings[group] += class.bytes;
                    if !is_there {
                        state.fetch[group] += class.bytes;
                    }
                }
            }
            if class.new == 0 && held.is_power_of_two() {
                state.frees[held.trailing_zeros() as usize] += class.bytes;
            }
        }
        self.work = self.work.saturating_sub(work as u64);
        state
    }

    fn path(&self, mut set: u128) -> Vec<u32> {
        let mut order = Vec::with_capacity(self.groups);
        while set != 0 {
            let Some(&group) = self.via.get(&set) else {
                break;
            };
            order.push(u32::from(group));
            set &= !(1 << group);
        }
        order.reverse();
        order
    }
}

fn ones(mut mask: u128) -> impl Iterator<Item = usize> {
    std::iter::from_fn(move || {
        let next = (mask != 0).then(|| mask.trailing_zeros() as usize)?;
        mask &= mask - 1;
        Some(next)
    })
}

//! Lower bounds: bytes that every order has on the disk at its highest moment.
//!
//! 1. Some group flips first, and some group last.
//! 2. Whatever the order, each group flips at some moment. Its own classes are all there then. Of
//!    an old and a new class that have a user in common one is always there, so such classes are
//!    paired, byte by byte, and each pair counts once ([`Pairs`]).
//! 3. The same for several groups at once: their least peak among themselves, found exactly, with
//!    the pairs of the others counted once ([`sampled`]).

use std::collections::HashMap;

use super::model::Model;
use super::part::among;
use super::subsets;
use super::walk::Walk;

/// Groups of a sample while it grows, and at its end.
const SAMPLE: usize = 10;
/// Groups of the last and largest sample.
const LARGE_SAMPLE: usize = 16;
/// How many groups are tried for each place in a sample.
const TRIED: usize = 24;

/// Old and new classes that share a user, byte by byte.
#[derive(Debug)]
pub struct Pairs {
    /// The pairs.
    pub list: Vec<Pair>,
    /// For each class, the bytes in no pair.
    pub left: Vec<u64>,
}

/// So many bytes of an old class and of a new one, one of which is always there.
#[derive(Debug)]
pub struct Pair {
    /// The old class.
    pub old: u32,
    /// The new class.
    pub new: u32,
    /// Bytes of either.
    pub bytes: u64,
}

impl Pairs {
    /// Pairs the classes of a model: first those with the same users, then those with one user in
    /// common, the largest first.
    pub fn new(model: &Model) -> Pairs {
        let mut pairs = Pairs {
            list: Vec::new(),
            left: model.classes.iter().map(|class| class.bytes).collect(),
        };
        let pure = |new: bool| {
            (0u32..)
                .zip(&model.classes)
                .filter_map(move |(number, class)| {
                    let (users, none) = match new {
                        true => (&class.new, &class.old),
                        false => (&class.old, &class.new),
                    };
                    none.is_empty().then_some((users, number))
                })
        };
        let same: HashMap<_, u32> = pure(true).collect();
        for (users, old) in pure(false) {
            if let Some(&new) = same.get(users) {
                pairs.join(old, new);
            }
        }
        let mut largest: Vec<u32> = pure(false).map(|(_, number)| number).collect();
        largest.sort_by_key(|&old| std::cmp::Reverse(pairs.left[old as usize]));
        // What is used up, or is no new class, stays so: no group looks at it twice.
        let mut passed = vec![0; model.len()];
        for old in largest {
            for &group in &model.classes[old as usize].old {
                let new = &model.new[group as usize];
                let passed = &mut passed[group as usize];
                while let Some(&new) = new.get(*passed)
                    && pairs.left[old as usize] > 0
                {
                    let usable = model.classes[new as usize].old.is_empty();
                    if usable && pairs.left[new as usize] > 0 {
                        pairs.join(old, new);
                    } else {
                        *passed += 1;
                    }
                }
            }
        }
        pairs
    }

    fn join(&mut self, old: u32, new: u32) {
        let bytes = self.left[old as usize].min(self.left[new as usize]);
        if bytes > 0 {
            self.left[old as usize] -= bytes;
            self.left[new as usize] -= bytes;
            self.list.push(Pair { old, new, bytes });
        }
    }

    /// For each group, bytes that are there while it flips.
    pub fn moments(&self, model: &Model) -> Vec<u64> {
        let always = model.base + self.list.iter().map(|pair| pair.bytes).sum::<u64>();
        let mut moments = vec![always; model.len()];
        for (class, &left) in model.classes.iter().zip(&self.left) {
            for &group in class.old.iter().chain(&class.new) {
                moments[group as usize] += left;
            }
        }
        for pair in &self.list {
            let new = &model.classes[pair.new as usize].new;
            for group in &model.classes[pair.old as usize].old {
                if new.binary_search(group).is_ok() {
                    moments[*group as usize] += pair.bytes;
                }
            }
        }
        moments
    }
}

/// The bounds that cost next to nothing.
pub fn quick(model: &Model, pairs: &Pairs) -> u64 {
    let moment = pairs.moments(model).into_iter().max().unwrap_or(0);
    moment.max(first(model)).max(first(&model.reversed()))
}

/// Bytes of the cheapest first flip.
fn first(model: &Model) -> u64 {
    let start = Walk::new(model);
    (0..model.len())
        .filter(|&group| model.before[group].is_empty())
        .map(|group| start.cost(group))
        .min()
        .unwrap_or(start.disk)
}

/// The bound of samples of groups; `work` is how much of the model may be looked at.
pub fn sampled(model: &Model, pairs: &Pairs, goal: u64, work: u64) -> u64 {
    let moments = pairs.moments(model);
    let mut ranked: Vec<u32> = (0..model.len() as u32).collect();
    ranked.sort_by_key(|&group| std::cmp::Reverse(moments[group as usize]));
    let sample = Sample {
        model,
        pairs,
        chosen: Vec::new(),
        bound: 0,
    };
    sample.grow(&ranked, goal, work)
}

struct Sample<'a> {
    model: &'a Model,
    pairs: &'a Pairs,
    chosen: Vec<u32>,
    bound: u64,
}

impl Sample<'_> {
    fn grow(mut self, ranked: &[u32], goal: u64, mut work: u64) -> u64 {
        let cost = self.model.incidence() as u64 + 20_000;
        while self.chosen.len() < SAMPLE && self.bound < goal && work > cost {
            let outside = ranked.iter().filter(|group| !self.chosen.contains(group));
            let tried: Vec<u32> = outside.take(TRIED).copied().collect();
            let mut best = None;
            for group in tried {
                work = work.saturating_sub(cost);
                let bound = self.with(group);
                if best.is_none_or(|(other, _)| bound > other) {
                    best = Some((bound, group));
                }
            }
            let Some((bound, group)) = best else { break };
            self.bound = self.bound.max(bound);
            self.insert(group);
        }
        for &group in ranked {
            if self.chosen.len() < LARGE_SAMPLE && !self.chosen.contains(&group) {
                self.insert(group);
            }
        }
        self.bound.max(self.peak(&self.chosen))
    }

    fn insert(&mut self, group: u32) {
        self.chosen.push(group);
        self.chosen.sort_unstable();
    }

    fn with(&self, group: u32) -> u64 {
        let mut chosen = self.chosen.clone();
        chosen.push(group);
        chosen.sort_unstable();
        self.peak(&chosen)
    }

    fn peak(&self, chosen: &[u32]) -> u64 {
        let model = among(self.model, self.pairs, chosen);
        subsets::solve(&model).map_or(0, |(peak, _)| peak)
    }
}

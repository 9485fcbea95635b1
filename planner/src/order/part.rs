//! Smaller problems inside a problem, which say something about the whole.
//!
//! - [`twins`]: groups that are alike flip one behind the other.
//! - [`Middle`]: flips that are safe to do first, and, backwards, last; what is left between them.
//! - [`among`]: only some groups are asked about, the others may be as they please: its least peak
//!   is a lower bound for the whole.

use std::collections::HashMap;

use super::bound::Pairs;
use super::model::{Class, Classes, Model, meet};
use super::walk::Walk;

/// A problem with fewer groups, and which groups of the whole each of them is.
#[derive(Debug)]
pub struct Part {
    /// The smaller problem.
    pub model: Model,
    /// For each of its groups, those of the whole, in the order in which they flip.
    pub groups: Vec<Vec<u32>>,
}

impl Part {
    /// An order of the part as an order of the whole.
    pub fn expand(&self, order: &[u32]) -> Vec<u32> {
        let groups = order.iter().flat_map(|&group| &self.groups[group as usize]);
        groups.copied().collect()
    }
}

/// Joins groups that use the same classes and wait for the same groups: when the first of them has
/// flipped, the others fetch nothing more, so waiting with them never helps.
pub fn twins(model: &Model) -> Part {
    let mut numbers = HashMap::new();
    let mut groups: Vec<Vec<u32>> = Vec::new();
    let mut number_of = Vec::with_capacity(model.len());
    for group in 0..model.len() {
        let same = (
            &model.old[group],
            &model.new[group],
            &model.before[group],
            &model.behind[group],
        );
        let number = *numbers.entry(same).or_insert(groups.len() as u32);
        if number as usize == groups.len() {
            groups.push(Vec::new());
        }
        groups[number as usize].push(group as u32);
        number_of.push(number);
    }
    let renumber = |groups: &[u32]| {
        let mut numbers: Vec<u32> = groups.iter().map(|&g| number_of[g as usize]).collect();
        numbers.sort_unstable();
        numbers.dedup();
        numbers
    };
    let classes = model.classes.iter().map(|class| Class {
        old: renumber(&class.old),
        new: renumber(&class.new),
        bytes: class.bytes,
    });
    let before = groups
        .iter()
        .map(|twins| renumber(&model.before[twins[0] as usize]));
    Part {
        model: Model::new(model.base, classes.collect(), before.collect()),
        groups,
    }
}

/// What is left of a problem between flips that are safe at its two ends.
#[derive(Debug)]
pub struct Middle {
    /// Flips to begin with.
    pub first: Vec<u32>,
    /// What has to be searched.
    pub part: Part,
    /// Flips to end with.
    pub last: Vec<u32>,
}

impl Middle {
    /// Takes safe flips off both ends; `allowed` is a peak that no order can stay under.
    pub fn new(model: &Model, allowed: u64) -> Middle {
        let first = safe_start(model, allowed, &vec![false; model.len()]);
        let mut taken = vec![false; model.len()];
        first.iter().for_each(|&group| taken[group as usize] = true);
        let mut last = safe_start(&model.reversed(), allowed, &taken);
        last.reverse();
        let part = between(model, &first, &last);
        Middle { first, part, last }
    }

    /// An order of the middle as an order of the whole.
    pub fn expand(&self, order: &[u32]) -> Vec<u32> {
        let mut whole = self.first.clone();
        whole.extend(self.part.expand(order));
        whole.extend(&self.last);
        whole
    }
}

/// Groups that can flip first without harm, those left out never among them.
fn safe_start(model: &Model, allowed: u64, left_out: &[bool]) -> Vec<u32> {
    let mut walk = Walk::new(model);
    let mut flipped = vec![false; model.len()];
    let mut order: Vec<u32> = Vec::new();
    loop {
        let before = order.len();
        for group in 0..model.len() {
            let mut earlier = model.before[group].iter();
            if !flipped[group]
                && !left_out[group]
                && earlier.all(|&other| flipped[other as usize])
                && walk.is_safe(group, allowed)
            {
                walk.flip(group);
                flipped[group] = true;
                order.push(group as u32);
            }
        }
        if order.len() == before {
            return order;
        }
    }
}

/// The problem after the first flips and before the last ones.
fn between(model: &Model, first: &[u32], last: &[u32]) -> Part {
    const FIRST: u32 = u32::MAX;
    const LAST: u32 = u32::MAX - 1;
    let mut number = vec![0; model.len()];
    first
        .iter()
        .for_each(|&group| number[group as usize] = FIRST);
    last.iter().for_each(|&group| number[group as usize] = LAST);
    let rest: Vec<u32> = (0..model.len() as u32)
        .filter(|&group| number[group as usize] == 0)
        .collect();
    (0u32..)
        .zip(&rest)
        .for_each(|(new, &old)| number[old as usize] = new);
    let number = |group: &u32| number[*group as usize];
    let inner = |group: &u32| *group < LAST;

    let mut classes = Classes::new(rest.len(), model.base);
    for class in &model.classes {
        let held = class.old.iter().any(|group| number(group) == LAST);
        let taken = class.new.iter().any(|group| number(group) == FIRST);
        if held || taken {
            classes.base += class.bytes;
        } else {
            let old = class.old.iter().map(number).filter(inner);
            let new = class.new.iter().map(number).filter(inner);
            classes.add(old, new, class.bytes);
        }
    }
    let before = rest.iter().map(|&group| {
        let before = model.before[group as usize].iter();
        before.map(number).filter(inner).collect()
    });
    Part {
        model: Model::new(classes.base, classes.list, before.collect()),
        groups: rest.iter().map(|&group| vec![group]).collect(),
    }
}

/// The problem of only these groups, ascending. The others are taken to be wherever they do least
/// harm at each moment; that a path of each pair is always there stays true.
pub fn among(model: &Model, pairs: &Pairs, chosen: &[u32]) -> Model {
    let mut number = vec![u32::MAX; model.len()];
    (0u32..)
        .zip(chosen)
        .for_each(|(new, &old)| number[old as usize] = new);
    let inner = |users: &[u32]| -> Vec<u32> {
        let numbers = users.iter().map(|&group| number[group as usize]);
        numbers.filter(|&number| number != u32::MAX).collect()
    };
    let mut classes = Classes::new(chosen.len(), model.base);
    let old: Vec<Vec<u32>> = model
        .classes
        .iter()
        .map(|class| inner(&class.old))
        .collect();
    let new: Vec<Vec<u32>> = model
        .classes
        .iter()
        .map(|class| inner(&class.new))
        .collect();
    for pair in &pairs.list {
        let (old, new) = (&old[pair.old as usize], &new[pair.new as usize]);
        if meet(old, new) {
            add(&mut classes, old, &[], pair.bytes);
            add(&mut classes, &[], new, pair.bytes);
        } else {
            classes.base += pair.bytes;
        }
    }
    for (number, &bytes) in pairs.left.iter().enumerate() {
        add(&mut classes, &old[number], &new[number], bytes);
    }
    let before = vec![Vec::new(); chosen.len()];
    Model::new(classes.base, classes.list, before)
}

fn add(classes: &mut Classes, old: &[u32], new: &[u32], bytes: u64) {
    if bytes > 0 {
        classes.add(old.iter().copied(), new.iter().copied(), bytes);
    }
}

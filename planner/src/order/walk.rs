//! Walking through an order: what is on the disk now, and what the next flip would make of it.

use super::model::Model;

/// A state between two steps.
#[derive(Debug, Clone)]
pub struct Walk<'a> {
    model: &'a Model,
    /// Bytes on the disk.
    pub disk: u64,
    /// For each class, how many old users have not flipped.
    held: Vec<u32>,
    /// For each class, how many new users have flipped.
    taken: Vec<u32>,
}

impl<'a> Walk<'a> {
    /// The state before the first step.
    pub fn new(model: &'a Model) -> Walk<'a> {
        let held: Vec<u32> = model.classes.iter().map(|c| c.old.len() as u32).collect();
        let there = model.classes.iter().filter(|class| !class.old.is_empty());
        Walk {
            model,
            disk: model.base + there.map(|class| class.bytes).sum::<u64>(),
            taken: vec![0; held.len()],
            held,
        }
    }

    /// Bytes on the disk while a group flips.
    pub fn cost(&self, group: usize) -> u64 {
        self.disk + self.fetched(group)
    }

    /// Bytes that a group's flip brings onto the disk.
    pub fn fetched(&self, group: usize) -> u64 {
        self.model.new[group]
            .iter()
            .filter(|&&class| !self.is_there(class as usize))
            .map(|&class| self.model.classes[class as usize].bytes)
            .sum()
    }

    /// Flips a group; the bytes on the disk while it flips.
    pub fn flip(&mut self, group: usize) -> u64 {
        for &class in &self.model.new[group] {
            let class = class as usize;
            if !self.is_there(class) {
                self.disk += self.model.classes[class].bytes;
            }
            self.taken[class] += 1;
        }
        let high = self.disk;
        for &class in &self.model.old[group] {
            let class = class as usize;
            self.held[class] -= 1;
            if !self.is_there(class) {
                self.disk -= self.model.classes[class].bytes;
            }
        }
        high
    }

    /// Whether flipping this group first is never worse than flipping it later, as long as the
    /// peak may be `allowed` anyway: what it brings for good is no more than what it takes away
    /// for good.
    pub fn is_safe(&self, group: usize, allowed: u64) -> bool {
        let brought: u64 = self.model.new[group]
            .iter()
            .filter(|&&class| self.taken[class as usize] == 0)
            .map(|&class| self.model.classes[class as usize].bytes)
            .sum();
        brought == 0 || (self.cost(group) <= allowed && brought <= self.removed(group))
    }

    /// Bytes that only this group still holds, and that nobody will bring back.
    fn removed(&self, group: usize) -> u64 {
        self.model.old[group]
            .iter()
            .filter(|&&class| self.held[class as usize] == 1)
            .map(|&class| &self.model.classes[class as usize])
            .filter(|class| class.new.is_empty())
            .map(|class| class.bytes)
            .sum()
    }

    fn is_there(&self, class: usize) -> bool {
        self.held[class] > 0 || self.taken[class] > 0
    }
}

/// The peak of an order; at least the bytes at its start.
pub fn peak(model: &Model, order: &[u32]) -> u64 {
    let mut walk = Walk::new(model);
    let start = walk.disk;
    order
        .iter()
        .map(|&group| walk.flip(group as usize))
        .fold(start, u64::max)
}

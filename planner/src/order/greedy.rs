//! An order made from front to back: always the group that looks best now.
//!
//! Among the groups that stay under the highest moment so far the one wins that fetches least
//! for what it takes off the disk; a path that others still hold counts in part. When none stays
//! under it, the one that goes least above.

use super::model::Model;

/// How much a path counts that the group is not the last to hold, against its share.
const WEIGHTS: [f64; 3] = [1.0, 0.3, 3.0];

/// Orders worth beginning with, from both ends.
pub fn orders(model: &Model, allowed: u64) -> Vec<Vec<u32>> {
    let reversed = model.reversed();
    let mut orders = Vec::new();
    for weight in WEIGHTS {
        orders.push(Greedy::new(model, weight).run(allowed));
        let mut backwards = Greedy::new(&reversed, weight).run(allowed);
        backwards.reverse();
        orders.push(backwards);
    }
    orders
}

struct Greedy<'a> {
    model: &'a Model,
    disk: u64,
    held: Vec<u32>,
    taken: Vec<u32>,
    /// For each group, how many groups it has to wait for; for one that flipped, never.
    waits: Vec<u32>,
    /// For each group, bytes that are not there.
    fetch: Vec<u64>,
    /// For each group, bytes that it brings for good.
    brings: Vec<u64>,
    /// For each group, bytes that it alone holds.
    frees: Vec<u64>,
    /// For each group, its share of the bytes that it holds with others.
    share: Vec<f64>,
}

impl<'a> Greedy<'a> {
    fn new(model: &'a Model, weight: f64) -> Greedy<'a> {
        let groups = model.len();
        let mut greedy = Greedy {
            model,
            disk: model.base,
            held: model.classes.iter().map(|c| c.old.len() as u32).collect(),
            taken: vec![0; model.classes.len()],
            waits: model.before.iter().map(|b| b.len() as u32).collect(),
            fetch: vec![0; groups],
            brings: vec![0; groups],
            frees: vec![0; groups],
            share: vec![0.0; groups],
        };
        for class in &model.classes {
            for &group in &class.new {
                greedy.brings[group as usize] += class.bytes;
                if class.old.is_empty() {
                    greedy.fetch[group as usize] += class.bytes;
                }
            }
            if !class.old.is_empty() {
                greedy.disk += class.bytes;
            }
            if let [only] = class.old[..] {
                greedy.frees[only as usize] += class.bytes;
            } else {
                let share = weight * class.bytes as f64 / class.old.len() as f64;
                for &group in &class.old {
                    greedy.share[group as usize] += share;
                }
            }
        }
        greedy
    }

    fn run(mut self, mut allowed: u64) -> Vec<u32> {
        let mut order = Vec::with_capacity(self.model.len());
        while let Some(group) = self.best(allowed) {
            allowed = allowed.max(self.disk + self.fetch[group]);
            self.flip(group);
            order.push(group as u32);
        }
        order
    }

    fn best(&self, allowed: u64) -> Option<usize> {
        let ready = (0..self.model.len()).filter(|&group| self.waits[group] == 0);
        ready.min_by(|&a, &b| {
            let (a, b) = (self.rank(a, allowed), self.rank(b, allowed));
            a.0.cmp(&b.0).then(a.1.total_cmp(&b.1))
        })
    }

    /// How much a group goes above what is allowed, then how little it does for what it takes.
    fn rank(&self, group: usize, allowed: u64) -> (u64, f64) {
        let above = (self.disk + self.fetch[group]).saturating_sub(allowed);
        let net = self.brings[group] as f64 - self.frees[group] as f64 - self.share[group];
        (above, net)
    }

    fn flip(&mut self, group: usize) {
        let model = self.model;
        self.waits[group] = u32::MAX;
        for &other in &model.behind[group] {
            self.waits[other as usize] -= 1;
        }
        for &number in &model.new[group] {
            let class = &model.classes[number as usize];
            self.taken[number as usize] += 1;
            if self.taken[number as usize] > 1 {
                continue;
            }
            let came = self.held[number as usize] == 0;
            if came {
                self.disk += class.bytes;
            }
            for &other in &class.new {
                self.brings[other as usize] -= class.bytes;
                if came {
                    self.fetch[other as usize] -= class.bytes;
                }
            }
        }
        for &number in &model.old[group] {
            let class = &model.classes[number as usize];
            self.held[number as usize] -= 1;
            match self.held[number as usize] {
                0 if self.taken[number as usize] == 0 => {
                    self.disk -= class.bytes;
                    for &other in &class.new {
                        self.fetch[other as usize] += class.bytes;
                    }
                }
                1 => {
                    let waiting = |other: &&u32| self.waits[**other as usize] != u32::MAX;
                    if let Some(&last) = class.old.iter().find(waiting) {
                        self.frees[last as usize] += class.bytes;
                    }
                }
                _ => {}
            }
        }
    }
}

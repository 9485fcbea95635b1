//! Better orders by moving one group at a time, and out of dead ends by moving some at random.
//!
//! Where a group would stand best is found for all places at once: without the group each class
//! is off the disk during one stretch of steps, and the group holds its old classes through the
//! steps before its place and its new ones through those behind. So one look at its classes and
//! one pass over the steps give the peak of every place. Work is counted, not timed: the same
//! problem always takes the same way.

use super::model::Model;
use super::walk::Walk;

/// The search around one order.
#[derive(Debug)]
pub struct Search<'a> {
    model: &'a Model,
    /// The peak that cannot be beaten: the goal.
    goal: u64,
    /// Work that is left: steps and classes looked at.
    work: u64,
    random: u64,
    order: Vec<u32>,
    place: Vec<u32>,
    /// Bytes while each step runs.
    cost: Vec<u64>,
    /// Bytes before each step, and at the end.
    disk: Vec<u64>,
    /// For each class, the two last places of old users, counted from 1; 0 for none.
    last: Vec<[u32; 2]>,
    /// For each class, the two first places of new users; the number of groups for none.
    first: Vec<[u32; 2]>,
    rank: Rank,
    held: Vec<u64>,
    taken: Vec<u64>,
}

/// How good an order is: its peak, then how much lies close under it.
#[derive(Debug, Clone, Copy, PartialEq, PartialOrd)]
struct Rank(u64, f64);

impl<'a> Search<'a> {
    /// A search that may do so much work and ends at the goal.
    pub fn new(model: &'a Model, order: Vec<u32>, goal: u64, work: u64) -> Search<'a> {
        let mut search = Search {
            model,
            goal,
            work,
            random: 0x9e37_79b9_7f4a_7c15,
            place: vec![0; order.len()],
            order,
            cost: Vec::new(),
            disk: Vec::new(),
            last: Vec::new(),
            first: Vec::new(),
            rank: Rank(0, 0.0),
            held: Vec::new(),
            taken: Vec::new(),
        };
        search.refresh();
        search
    }

    /// Searches until the goal is reached or the work is done; the best order and its peak.
    pub fn run(mut self) -> (u64, Vec<u32>) {
        self.improve();
        let mut best = (self.rank, self.order.clone());
        while self.work > 0 && best.0.0 > self.goal && self.order.len() > 2 {
            self.shake();
            self.improve();
            if self.rank <= best.0 {
                best = (self.rank, self.order.clone());
            } else {
                self.order.clone_from(&best.1);
                self.refresh();
            }
        }
        (best.0.0, best.1)
    }

    /// Moves groups to better places until no single move helps.
    fn improve(&mut self) {
        let mut idle = 0;
        let mut at = 0;
        while idle < self.order.len() && self.work > 0 && self.rank.0 > self.goal {
            at = (at + 1) % self.order.len();
            // Groups are tried by number, which has nothing to do with their places.
            let group = at;
            let from = self.place[group] as usize;
            let (rank, to) = self.best_place(group);
            if to != from && self.is_better(rank) {
                self.shift(from, to);
                self.refresh();
                idle = 0;
            } else {
                idle += 1;
            }
        }
    }

    fn is_better(&self, rank: Rank) -> bool {
        rank.0 < self.rank.0 || (rank.0 == self.rank.0 && rank.1 < self.rank.1 * (1.0 - 1e-9))
    }

    /// Moves some groups anywhere they may stand.
    fn shake(&mut self) {
        let moves = 2 + self.below(3);
        for _ in 0..moves {
            let from = self.below(self.order.len());
            let (low, high) = self.room(self.order[from] as usize);
            let to = low + self.below(high - low + 1);
            self.shift(from, to);
        }
        self.refresh();
    }

    fn shift(&mut self, from: usize, to: usize) {
        let group = self.order.remove(from);
        self.order.insert(to, group);
        for (place, &group) in (0u32..).zip(&self.order) {
            self.place[group as usize] = place;
        }
    }

    /// The places, without the group itself, between those it comes after and before.
    fn room(&self, group: usize) -> (usize, usize) {
        let place = |&other: &u32| self.place[other as usize] as usize;
        let low = self.model.before[group].iter().map(|g| place(g) + 1).max();
        let high = self.model.behind[group].iter().map(|g| place(g) - 1).min();
        (low.unwrap_or(0), high.unwrap_or(self.order.len() - 1))
    }

    /// The best place for a group, and what the order would be worth then.
    fn best_place(&mut self, group: usize) -> (Rank, usize) {
        let steps = self.order.len() - 1;
        let here = self.place[group] as usize;
        self.stretches(group, steps);
        let (low, high) = self.room(group);
        self.charge(steps);

        // What the group holds or has taken alone; sums of differences, so modulo 2^64.
        let (mut held, mut taken) = (0u64, 0u64);
        let mut late = Vec::with_capacity(steps + 1);
        let mut early = Vec::with_capacity(steps + 1);
        let mut own = Vec::with_capacity(steps + 1);
        for step in 0..=steps {
            held = held.wrapping_add(self.held[2 * step]);
            taken = taken.wrapping_add(self.taken[2 * step]);
            let disk = if step <= here {
                self.disk[step] - held
            } else {
                self.disk[step + 1] - taken
            };
            own.push(disk + held + taken);
            held = held.wrapping_add(self.held[2 * step + 1]);
            taken = taken.wrapping_add(self.taken[2 * step + 1]);
            if step < steps {
                let others = if step < here {
                    self.cost[step] - held
                } else {
                    self.cost[step + 1] - taken
                };
                late.push(others + held);
                early.push(others + taken);
            }
        }
        self.choose(&late, &early, &own, low..=high)
    }

    /// Where the classes of a group are off the disk without it: differences over the moments
    /// `2 * step` (before a step) and `2 * step + 1` (during it).
    fn stretches(&mut self, group: usize, steps: usize) {
        let here = self.place[group] + 1;
        for list in [&mut self.held, &mut self.taken] {
            list.clear();
            list.resize(2 * steps + 4, 0);
        }
        let model = self.model;
        let lists = [(&model.old[group], true), (&model.new[group], false)];
        for (classes, is_old) in lists {
            self.charge(classes.len());
            for &number in classes {
                let number = number as usize;
                let [a, b] = self.last[number];
                let last = if a == here { b } else { a };
                let [a, b] = self.first[number];
                let first = if a == here { b } else { a };
                // In the order without the group.
                let last = last - u32::from(last > here);
                let first = first - u32::from(first > here);
                if last >= first {
                    continue;
                }
                let bytes = model.classes[number].bytes;
                let list = if is_old {
                    &mut self.held
                } else {
                    &mut self.taken
                };
                // Off from the moment behind step `last` to the moment before step `first`.
                let (from, to) = (2 * last as usize, 2 * first as usize - 1);
                list[from] = list[from].wrapping_add(bytes);
                list[to] = list[to].wrapping_sub(bytes);
            }
        }
    }

    /// Steps before the place cost `late`, those behind it `early`.
    fn choose(
        &self,
        late: &[u64],
        early: &[u64],
        own: &[u64],
        places: std::ops::RangeInclusive<usize>,
    ) -> (Rank, usize) {
        let steps = late.len();
        let mut behind = vec![Rank(0, 0.0); steps + 1];
        for step in (0..steps).rev() {
            behind[step] = self.join(behind[step + 1], early[step]);
        }
        let mut best = (Rank(u64::MAX, f64::MAX), 0);
        let mut before = Rank(0, 0.0);
        for place in 0..=steps {
            if places.contains(&place) {
                let Rank(peak, sum) = self.join(before, own[place]);
                let Rank(other, more) = behind[place];
                let rank = Rank(peak.max(other), sum + more);
                if rank < best.0 {
                    best = (rank, place);
                }
            }
            if place < steps {
                before = self.join(before, late[place]);
            }
        }
        best
    }

    fn join(&self, rank: Rank, cost: u64) -> Rank {
        Rank(rank.0.max(cost), rank.1 + self.weight(cost))
    }

    /// How much a step counts among those below the peak: steeply more the higher it is.
    fn weight(&self, cost: u64) -> f64 {
        let part = cost as f64 / self.goal.max(1) as f64;
        let square = part * part;
        let fourth = square * square;
        let eighth = fourth * fourth;
        eighth * eighth * eighth * eighth
    }

    /// Computes everything about the order again.
    fn refresh(&mut self) {
        self.charge(self.model.incidence());
        let none = self.order.len() as u32 + 1;
        self.last.clear();
        self.last.resize(self.model.classes.len(), [0; 2]);
        self.first.clear();
        self.first.resize(self.model.classes.len(), [none; 2]);
        self.cost.clear();
        self.disk.clear();
        let mut walk = Walk::new(self.model);
        let mut rank = Rank(0, 0.0);
        for (place, &group) in (1u32..).zip(&self.order) {
            self.place[group as usize] = place - 1;
            for &class in &self.model.old[group as usize] {
                let last = &mut self.last[class as usize];
                *last = [place, last[0]];
            }
            for &class in &self.model.new[group as usize] {
                let first = &mut self.first[class as usize];
                if first[0] == none {
                    first[0] = place;
                } else if first[1] == none {
                    first[1] = place;
                }
            }
            self.disk.push(walk.disk);
            let cost = walk.flip(group as usize);
            self.cost.push(cost);
            rank = self.join(rank, cost);
        }
        self.disk.push(walk.disk);
        self.rank = rank;
    }

    fn charge(&mut self, work: usize) {
        self.work = self.work.saturating_sub(work as u64 + 1);
    }

    /// A number below the limit (splitmix64).
    fn below(&mut self, limit: usize) -> usize {
        self.random = self.random.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.random;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        ((mixed ^ (mixed >> 31)) % limit.max(1) as u64) as usize
    }
}

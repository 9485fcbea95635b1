//! The exact answer for a few groups: dynamic programming over the sets of flipped groups.
//!
//! The least peak of reaching a set is the least, over its last group, of the greater of reaching
//! the set without it and of that flip. Bytes of a set come from two tables (sums over subsets);
//! classes with both old and new users, which are rare, are carried down a tree over the groups
//! whose leaves are the sets in ascending order. 25 bytes of memory for each set.

use super::greedy;
use super::model::{Class, Model};
use super::walk::peak;

/// Groups of which all sets are looked at: a million sets, 25 MiB.
pub const GROUPS: usize = 20;
/// Undecided groups below which merging classes costs more than it saves.
const MERGED: usize = 8;

/// The least peak and an order that has it; `None` when there are too many groups.
pub fn solve(model: &Model) -> Option<(u64, Vec<u32>)> {
    let groups = model.len();
    if groups > GROUPS {
        return None;
    }
    let mut table = Table::new(model);
    let mixed: Vec<Mixed> = model.classes.iter().filter_map(Mixed::new).collect();
    table.descend(groups, 0, &mixed);
    Some((table.least[table.least.len() - 1], table.order()))
}

/// A class with old and new users.
#[derive(Clone, Copy)]
struct Mixed {
    old: u32,
    new: u32,
    bytes: u64,
}

impl Mixed {
    fn new(class: &Class) -> Option<Mixed> {
        (!class.old.is_empty() && !class.new.is_empty()).then(|| Mixed {
            old: mask(&class.old),
            new: mask(&class.new),
            bytes: class.bytes,
        })
    }
}

fn mask(groups: &[u32]) -> u32 {
    groups.iter().fold(0, |mask, &group| mask | 1 << group)
}

struct Table {
    groups: usize,
    /// Groups that must flip before each group.
    before: Vec<u32>,
    /// Bytes of everything.
    all: u64,
    /// Bytes that have old users only, all of them in the set.
    gone: Vec<u64>,
    /// Bytes that have new users only, all of them in the set.
    unborn: Vec<u64>,
    /// The peak of an order that is known: sets above it are on no better one.
    limit: u64,
    /// Least peak of reaching the set; `u64::MAX` where it cannot be reached under the limit.
    least: Vec<u64>,
    /// The group that flips last on the way there.
    via: Vec<u8>,
}

impl Table {
    fn new(model: &Model) -> Table {
        let groups = model.len();
        let sets = 1usize << groups;
        let (mut gone, mut unborn) = (vec![0; sets], vec![0; sets]);
        for class in &model.classes {
            if class.new.is_empty() {
                gone[mask(&class.old) as usize] += class.bytes;
            } else if class.old.is_empty() {
                unborn[mask(&class.new) as usize] += class.bytes;
            }
        }
        sum_over_subsets(&mut gone);
        sum_over_subsets(&mut unborn);
        let mut least = vec![u64::MAX; sets];
        least[0] = 0;
        Table {
            groups,
            before: model.before.iter().map(|before| mask(before)).collect(),
            all: model.base + model.classes.iter().map(|class| class.bytes).sum::<u64>(),
            gone,
            unborn,
            limit: greedy::orders(model, 0)
                .iter()
                .map(|order| peak(model, order))
                .min()
                .unwrap_or(u64::MAX - 1),
            least,
            via: vec![0; sets],
        }
    }

    /// Goes through all sets that begin with `set` in the high groups, in ascending order;
    /// `absent` are the mixed classes that can be off the disk in some of them.
    fn descend(&mut self, undecided: usize, set: u32, absent: &[Mixed]) {
        if absent.is_empty() {
            for low in 0..1u32 << undecided {
                self.extend(set | low, &[]);
            }
            return;
        }
        let Some(group) = undecided.checked_sub(1) else {
            self.extend(set, absent);
            return;
        };
        let bit = 1 << group;
        let keep = |off: fn(&Mixed) -> u32| -> Vec<Mixed> {
            let absent = absent.iter().copied();
            let absent = absent.filter(|class| off(class) & bit == 0);
            if group < MERGED {
                absent.collect()
            } else {
                merged(absent, bit - 1)
            }
        };
        let (left, flipped) = (keep(|class| class.old), keep(|class| class.new));
        self.descend(group, set, &left);
        self.descend(group, set | bit, &flipped);
    }

    /// Goes from a set to each set with one more group.
    fn extend(&mut self, set: u32, absent: &[Mixed]) {
        let reached = self.least[set as usize];
        if reached > self.limit {
            return;
        }
        let full = (1u32 << self.groups) - 1;
        let mut there = self.all - self.gone[set as usize];
        // What each group brings of the mixed classes.
        let mut brings = [0; GROUPS];
        for class in absent {
            there -= class.bytes;
            let mut groups = class.new;
            while groups != 0 {
                brings[groups.trailing_zeros() as usize] += class.bytes;
                groups &= groups - 1;
            }
        }
        for (group, brings) in brings.iter().enumerate().take(self.groups) {
            let next = set | 1 << group;
            if next == set || self.before[group] & !set != 0 {
                continue;
            }
            let cost = there - self.unborn[(full & !next) as usize] + brings;
            let next = next as usize;
            let least = reached.max(cost);
            if least <= self.limit && least < self.least[next] {
                self.least[next] = least;
                self.via[next] = group as u8;
            }
        }
    }

    fn order(&self) -> Vec<u32> {
        let mut set = self.least.len() - 1;
        let mut order = Vec::with_capacity(self.groups);
        while set != 0 {
            let group = self.via[set];
            order.push(u32::from(group));
            set &= !(1 << group);
        }
        order.reverse();
        order
    }
}

/// Classes that differ only in what is decided are one.
fn merged(classes: impl Iterator<Item = Mixed>, undecided: u32) -> Vec<Mixed> {
    let mut classes: Vec<Mixed> = classes
        .map(|class| Mixed {
            old: class.old & undecided,
            ..class
        })
        .collect();
    classes.sort_unstable_by_key(|class| (class.old, class.new));
    classes.dedup_by(|next, class| {
        let same = (next.old, next.new) == (class.old, class.new);
        if same {
            class.bytes += next.bytes;
        }
        same
    });
    classes
}

/// Makes each entry the sum over all subsets of its index.
fn sum_over_subsets(table: &mut [u64]) {
    let mut bit = 1;
    while bit < table.len() {
        for pair in table.chunks_exact_mut(2 * bit) {
            let (without, with) = pair.split_at_mut(bit);
            for (with, without) in with.iter_mut().zip(without) {
                *with += *without;
            }
        }
        bit *= 2;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sums_go_over_all_subsets() {
        let mut table = [1, 2, 4, 8, 16, 32, 64, 128];
        sum_over_subsets(&mut table);
        assert_eq!(table, [1, 3, 5, 15, 17, 51, 85, 255]);
    }

    #[test]
    fn nothing_to_order() {
        let model = Model::new(7, Vec::new(), Vec::new());
        assert_eq!(solve(&model), Some((0, Vec::new())));
        let many = Model::new(0, Vec::new(), vec![Vec::new(); GROUPS + 1]);
        assert_eq!(solve(&many), None);
    }

    #[test]
    fn the_order_has_the_least_peak_and_keeps_the_precedence() {
        let class = |old: &[u32], new: &[u32], bytes| Class {
            old: old.to_vec(),
            new: new.to_vec(),
            bytes,
        };
        let classes = vec![
            class(&[0], &[1], 8),
            class(&[1, 2], &[], 16),
            class(&[], &[0], 32),
            class(&[2], &[0], 4),
        ];
        // Before the 32 bytes come, all else goes, but for what group 0 has; and before it, the
        // 4 bytes that group 2 gives to it stay.
        let free = Model::new(1, classes.clone(), vec![Vec::new(); 3]);
        assert_eq!(solve(&free), Some((45, vec![1, 2, 0])));
        let bound = Model::new(1, classes, vec![Vec::new(), Vec::new(), vec![0]]);
        let (least, order) = solve(&bound).unwrap();
        assert_eq!((least, peak(&bound, &order)), (61, 61));
        let place = |group| order.iter().position(|&other| other == group);
        assert!(place(0) < place(2));
    }
}

//! The exact answer for a few groups: dynamic programming over the sets of flipped groups.
//!
//! The least peak of reaching a set is the least, over its last group, of the greater of reaching
//! the set without it and of that flip. Bytes of a set come from two tables (sums over subsets).
//! Classes with both old and new users, which are rare, are carried down a tree: each group is left,
//! flips, or has flipped, and a leaf is one flip. Near the leaves they are a table of what undecided
//! groups can be to a class, three to the power of their number, so that the time has a limit whatever
//! the instance. 25 bytes of memory for each set.

use super::greedy;
use super::model::{Class, Model};
use super::walk::peak;

/// Groups of which all sets are looked at: a million sets, 25 MiB.
pub const GROUPS: usize = 20;
/// Classes are counted by what they are to the undecided groups when that table has no more than
/// so many entries for each of them, and there are no more than so many groups.
const SPREAD: usize = 4;
const COUNTED: usize = 12;

/// The least peak and an order that has it; `None` when there are too many groups.
pub fn solve(model: &Model) -> Option<(u64, Vec<u32>)> {
    let groups = model.len();
    if groups > GROUPS {
        return None;
    }
    let mut table = Table::new(model);
    let mixed: Vec<Mixed> = model.classes.iter().filter_map(Mixed::new).collect();
    table.descend(Node::root(groups), &mixed);
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

    fn without(self, bit: u32) -> Mixed {
        Mixed {
            old: self.old & !bit,
            new: self.new & !bit,
            ..self
        }
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
    /// For each set of groups that classes are counted by, the number with a digit 1 for each.
    digits: Vec<u32>,
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
            digits: digits(groups.min(COUNTED)),
        }
    }

    /// Goes through all flips below a node; `absent` are the mixed classes that can be off the disk
    /// during some of them, their decided users left out.
    fn descend(&mut self, node: Node, absent: &[Mixed]) {
        if absent.is_empty() {
            self.without_mixed(node);
            return;
        }
        // A digit for each group: 1 for an old user, 2 for a new one.
        let size = 3usize.pow(node.undecided.min(COUNTED) as u32);
        if node.undecided <= COUNTED && size <= SPREAD * absent.len() {
            let mut counted = vec![0; size];
            for class in absent {
                let (old, new) = (class.old as usize, class.new as usize);
                counted[self.digits[old] as usize + 2 * self.digits[new] as usize] += class.bytes;
            }
            self.descend_counted(node, &counted, &mut vec![0; size / 2]);
            return;
        }
        let bit = node.bit();
        let keep = |on: fn(&Mixed) -> u32| -> Vec<Mixed> {
            let off = absent.iter().filter(|class| on(class) & bit == 0);
            off.map(|class| class.without(bit)).collect()
        };
        self.descend(node.left(), &keep(|class| class.old));
        if let Some(now) = node.now() {
            self.descend(now, &keep(|class| class.old | class.new));
        }
        self.descend(node.flipped(), &keep(|class| class.new));
    }

    /// The same with the classes counted: the highest undecided group is nothing to the first
    /// third of them, an old user of the second, a new one of the last. `scratch` is half as long.
    fn descend_counted(&mut self, node: Node, counted: &[u64], scratch: &mut [u64]) {
        if node.undecided == 0 {
            if let Some(group) = node.flip {
                self.flip(node.set, group, counted.first().copied().unwrap_or(0));
            }
            return;
        }
        let (neither, users) = counted.split_at(counted.len() / 3);
        let (old, new) = users.split_at(neither.len());
        let (sums, scratch) = scratch.split_at_mut(neither.len());
        add(sums, neither, new);
        self.descend_counted(node.left(), sums, scratch);
        if let Some(now) = node.now() {
            self.descend_counted(now, neither, scratch);
        }
        add(sums, neither, old);
        self.descend_counted(node.flipped(), sums, scratch);
    }

    /// The same where every mixed class is there all the time.
    fn without_mixed(&mut self, node: Node) {
        for low in 0..1u32 << node.undecided {
            let set = node.set | low;
            match node.flip {
                Some(group) => self.flip(set, group, 0),
                None => {
                    for group in (0..node.undecided).filter(|group| low & 1 << group == 0) {
                        self.flip(set, group, 0);
                    }
                }
            }
        }
    }

    /// Goes from a set to the one with one more group; `absent` are bytes of mixed classes that are
    /// off the disk meanwhile.
    fn flip(&mut self, set: u32, group: usize, absent: u64) {
        let reached = self.least[set as usize];
        if reached > self.limit || self.before[group] & !set != 0 {
            return;
        }
        let full = (1u32 << self.groups) - 1;
        let next = set | 1 << group;
        let gone = self.gone[set as usize] + self.unborn[(full & !next) as usize];
        let least = reached.max(self.all - gone - absent);
        let next = next as usize;
        if least <= self.limit && least < self.least[next] {
            self.least[next] = least;
            self.via[next] = group as u8;
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

/// Flips that have the highest groups in common: those that flipped before, and perhaps the one that
/// flips. From left to right the flips are in an order in which each set is reached in all ways
/// before it is left.
#[derive(Clone, Copy)]
struct Node {
    undecided: usize,
    set: u32,
    flip: Option<usize>,
}

impl Node {
    fn root(groups: usize) -> Node {
        Node {
            undecided: groups,
            set: 0,
            flip: None,
        }
    }

    /// The highest undecided group.
    fn group(self) -> usize {
        self.undecided.saturating_sub(1)
    }

    fn bit(self) -> u32 {
        1 << self.group()
    }

    /// The group flips later.
    fn left(self) -> Node {
        let undecided = self.group();
        Node { undecided, ..self }
    }

    /// The group flips now, when no other one does.
    fn now(self) -> Option<Node> {
        let flip = Some(self.group());
        self.flip.is_none().then_some(Node {
            flip,
            ..self.left()
        })
    }

    /// The group has flipped.
    fn flipped(self) -> Node {
        let set = self.set | self.bit();
        Node { set, ..self.left() }
    }
}

/// For each set of so many groups, the sum of three to the power of each.
fn digits(groups: usize) -> Vec<u32> {
    let mut digits = vec![0];
    for group in 0..groups as u32 {
        let more: Vec<u32> = digits.iter().map(|sum| sum + 3u32.pow(group)).collect();
        digits.extend(more);
    }
    digits
}

fn add(sums: &mut [u64], one: &[u64], other: &[u64]) {
    for ((sum, one), other) in sums.iter_mut().zip(one).zip(other) {
        *sum = one + other;
    }
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

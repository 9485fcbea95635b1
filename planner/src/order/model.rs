//! The instance reduced to what matters for the order.
//!
//! Groups are numbered; paths that the same groups use become one *class* with the sum of their
//! bytes; what is on the disk at every step, whatever the order, becomes the constant `base`. The
//! final group is not in the model: it flips last, and that step has its own constant.
//!
//! A class is on the disk at a step from `S` to `S + g` when not all of its old users are in `S`,
//! or one of its new users is in `S + g`. No class has a group among both.

use std::collections::HashMap;

use super::group::Groups;
use super::instance::{Instance, PathId};

/// Paths with the same users.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Class {
    /// Groups whose old closure has them, ascending.
    pub old: Vec<u32>,
    /// Groups whose new closure has them, ascending.
    pub new: Vec<u32>,
    /// Their bytes together.
    pub bytes: u64,
}

/// Groups and classes: which order of the groups has the lowest peak?
#[derive(Debug, Clone, Default)]
pub struct Model {
    /// Bytes that are on the disk at every step.
    pub base: u64,
    /// What is there at some steps only.
    pub classes: Vec<Class>,
    /// For each group, the classes of its old closure.
    pub old: Vec<Vec<u32>>,
    /// For each group, the classes of its new closure.
    pub new: Vec<Vec<u32>>,
    /// For each group, the groups that must flip earlier.
    pub before: Vec<Vec<u32>>,
    /// For each group, the groups that must flip later.
    pub behind: Vec<Vec<u32>>,
}

impl Model {
    /// A model of so many groups.
    pub fn new(base: u64, classes: Vec<Class>, before: Vec<Vec<u32>>) -> Model {
        let groups = before.len();
        let mut model = Model {
            base,
            classes,
            old: vec![Vec::new(); groups],
            new: vec![Vec::new(); groups],
            behind: vec![Vec::new(); groups],
            before,
        };
        for (number, class) in (0u32..).zip(&model.classes) {
            for &group in &class.old {
                model.old[group as usize].push(number);
            }
            for &group in &class.new {
                model.new[group as usize].push(number);
            }
        }
        for (group, before) in (0u32..).zip(&model.before) {
            for &other in before {
                model.behind[other as usize].push(group);
            }
        }
        model
    }

    /// How many groups there are.
    pub fn len(&self) -> usize {
        self.old.len()
    }

    /// How many times groups and classes meet: the size of the problem.
    pub fn incidence(&self) -> usize {
        self.classes.iter().map(|c| c.old.len() + c.new.len()).sum()
    }

    /// The same problem backwards: an order of this one, reversed, has the same peak there.
    pub fn reversed(&self) -> Model {
        let mut model = self.clone();
        for class in &mut model.classes {
            std::mem::swap(&mut class.old, &mut class.new);
        }
        std::mem::swap(&mut model.old, &mut model.new);
        std::mem::swap(&mut model.before, &mut model.behind);
        model
    }
}

/// The model of an instance, and what stays outside of it.
#[derive(Debug)]
pub struct Reduced {
    /// The problem for the solver.
    pub model: Model,
    /// For each group of the model, its number in [`Groups`].
    pub group: Vec<usize>,
    /// Bytes of the step that flips the final group, or, without one, of the end.
    pub last: u64,
}

impl Reduced {
    /// Reduces an instance that is valid.
    pub fn new(instance: &Instance, groups: &Groups) -> Reduced {
        let group: Vec<usize> = (0..groups.members.len())
            .filter(|&number| Some(number) != groups.last)
            .collect();
        let mut number = vec![LAST; groups.members.len()];
        for (new, &old) in (0u32..).zip(&group) {
            number[old] = new;
        }
        let mut keep = vec![false; instance.path_count()];
        instance
            .keep
            .iter()
            .for_each(|path| keep[path.0 as usize] = true);
        let old = Users::new(instance, groups, &number, |component| &component.old);
        let new = Users::new(instance, groups, &number, |component| &component.new);

        let mut classes = Classes::new(group.len(), 0);
        for (path, _, bytes) in instance.paths() {
            let bytes = bytes.unwrap_or(0);
            if keep[path.0 as usize] {
                classes.base += bytes;
                classes.last += bytes;
            } else {
                classes.add(old.of(path), new.of(path), bytes);
            }
        }
        let before = group.iter().map(|&old| {
            let earlier = groups.before[old].iter();
            earlier.map(|&other| number[other as usize]).collect()
        });
        let before = before.collect();
        Reduced {
            model: Model::new(classes.base, classes.list, before),
            group,
            last: classes.last,
        }
    }
}

/// The number of the final group among the users of a path: above every other.
const LAST: u32 = u32::MAX;

/// The groups that use each path.
struct Users {
    pairs: Vec<u64>,
    starts: Vec<u32>,
}

impl Users {
    fn new(
        instance: &Instance,
        groups: &Groups,
        number: &[u32],
        closure: impl Fn(&super::Component) -> &Vec<PathId>,
    ) -> Users {
        let mut pairs = Vec::new();
        for (members, &number) in groups.members.iter().zip(number) {
            for &member in members {
                let paths = closure(&instance.components[member]).iter();
                pairs.extend(paths.map(|path| u64::from(path.0) << 32 | u64::from(number)));
            }
        }
        pairs.sort_unstable();
        pairs.dedup();
        let mut starts = vec![0; instance.path_count() + 1];
        for &pair in &pairs {
            starts[(pair >> 32) as usize + 1] += 1;
        }
        for index in 1..starts.len() {
            starts[index] += starts[index - 1];
        }
        Users { pairs, starts }
    }

    fn of(&self, path: PathId) -> impl Iterator<Item = u32> {
        let path = path.0 as usize;
        let range = self.starts[path] as usize..self.starts[path + 1] as usize;
        self.pairs[range].iter().map(|&pair| pair as u32)
    }
}

/// Classes as they are put together.
#[derive(Default)]
pub struct Classes {
    count: usize,
    /// Bytes that are there at every step.
    pub base: u64,
    /// Bytes at the final step.
    pub last: u64,
    /// The classes so far.
    pub list: Vec<Class>,
    numbers: HashMap<Box<[u32]>, usize>,
    key: Vec<u32>,
}

impl Classes {
    /// No classes yet, for so many groups and over so many bytes.
    pub fn new(count: usize, base: u64) -> Classes {
        Classes {
            count,
            base,
            ..Classes::default()
        }
    }

    /// Adds bytes that these groups use, ascending.
    pub fn add(
        &mut self,
        old: impl Iterator<Item = u32>,
        new: impl Iterator<Item = u32>,
        bytes: u64,
    ) {
        self.key.clear();
        self.key.extend(old);
        let middle = self.key.len();
        self.key.extend(new);
        let (old, new) = self.key.split_at(middle);
        if old.last() == Some(&LAST) || !new.is_empty() {
            self.last += bytes;
        }
        // What the final group needs until then is there until then.
        if old.last() == Some(&LAST) {
            self.base += bytes;
            return;
        }
        let new = new.strip_suffix(&[LAST]).unwrap_or(new);
        // What nobody uses before the final step, what stays with one of its users, and what the
        // first step brings or the last releases.
        if old.is_empty() && new.is_empty() {
            return;
        }
        if old.len() == self.count || new.len() == self.count || meet(old, new) {
            self.base += bytes;
            return;
        }
        let (old, new) = (old.to_vec(), new.to_vec());
        self.key.truncate(middle + new.len());
        self.key.push(middle as u32);
        if let Some(&number) = self.numbers.get(self.key.as_slice()) {
            self.list[number].bytes += bytes;
        } else {
            self.numbers
                .insert(self.key.as_slice().into(), self.list.len());
            self.list.push(Class { old, new, bytes });
        }
    }
}

/// Whether two ascending lists have something in common.
pub fn meet(a: &[u32], b: &[u32]) -> bool {
    let (mut a, mut b) = (a.iter().peekable(), b.iter().peekable());
    while let (Some(x), Some(y)) = (a.peek(), b.peek()) {
        match x.cmp(y) {
            std::cmp::Ordering::Less => drop(a.next()),
            std::cmp::Ordering::Greater => drop(b.next()),
            std::cmp::Ordering::Equal => return true,
        }
    }
    false
}

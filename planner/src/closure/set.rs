//! Sets of interned paths as bits, a word for 64 paths. Sets of one graph may differ in length,
//! because the graph grew in between: what is beyond the end is not in the set.

use super::graph::PathId;

const WORD: usize = u64::BITS as usize;

/// A set of paths of one graph.
#[derive(Debug, Clone, Default)]
pub struct PathSet {
    words: Vec<u64>,
}

impl PathSet {
    /// The empty set.
    pub fn new() -> Self {
        Self::default()
    }

    /// The empty set with room for the paths below this number.
    pub(super) fn with_room_for(count: usize) -> Self {
        PathSet {
            words: vec![0; count.div_ceil(WORD)],
        }
    }

    /// Adds a path; says whether it was not in before.
    pub fn insert(&mut self, id: PathId) -> bool {
        let (word, bit) = place(id);
        if word >= self.words.len() {
            self.words.resize(word + 1, 0);
        }
        let new = self.words[word] & bit == 0;
        self.words[word] |= bit;
        new
    }

    /// Whether a path is in it.
    pub fn contains(&self, id: PathId) -> bool {
        let (word, bit) = place(id);
        self.words.get(word).is_some_and(|word| word & bit != 0)
    }

    /// Number of paths.
    pub fn len(&self) -> usize {
        self.words
            .iter()
            .map(|word| word.count_ones() as usize)
            .sum()
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.words.iter().all(|word| *word == 0)
    }

    /// Adds all paths of another set.
    pub fn add_all(&mut self, other: &PathSet) {
        if other.words.len() > self.words.len() {
            self.words.resize(other.words.len(), 0);
        }
        for (word, other) in self.words.iter_mut().zip(&other.words) {
            *word |= other;
        }
    }

    /// Takes all paths of another set out.
    pub fn remove_all(&mut self, other: &PathSet) {
        for (word, other) in self.words.iter_mut().zip(&other.words) {
            *word &= !other;
        }
    }

    /// What is in either.
    #[must_use]
    pub fn union(&self, other: &PathSet) -> PathSet {
        let mut set = self.clone();
        set.add_all(other);
        set
    }

    /// What is in this one and not in the other.
    #[must_use]
    pub fn difference(&self, other: &PathSet) -> PathSet {
        let mut set = self.clone();
        set.remove_all(other);
        set
    }

    /// Whether everything in it is in the other, too.
    pub fn is_subset(&self, other: &PathSet) -> bool {
        self.words
            .iter()
            .enumerate()
            .all(|(at, word)| word & !other.words.get(at).copied().unwrap_or(0) == 0)
    }

    /// The paths in ascending order.
    pub fn iter(&self) -> impl Iterator<Item = PathId> + '_ {
        self.words.iter().enumerate().flat_map(|(at, word)| {
            let mut rest = *word;
            std::iter::from_fn(move || {
                let bit = rest.trailing_zeros() as usize;
                (rest != 0).then(|| {
                    rest &= rest - 1;
                    PathId::from_index(at * WORD + bit)
                })
            })
        })
    }
}

/// Trailing zeroes do not matter.
impl PartialEq for PathSet {
    fn eq(&self, other: &Self) -> bool {
        self.is_subset(other) && other.is_subset(self)
    }
}

impl Eq for PathSet {}

impl FromIterator<PathId> for PathSet {
    fn from_iter<I: IntoIterator<Item = PathId>>(ids: I) -> Self {
        let mut set = PathSet::new();
        for id in ids {
            set.insert(id);
        }
        set
    }
}

fn place(id: PathId) -> (usize, u64) {
    (id.index() / WORD, 1 << (id.index() % WORD))
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use proptest::prelude::*;

    use super::*;

    fn both(numbers: &[usize]) -> (PathSet, BTreeSet<usize>) {
        let set = numbers.iter().map(|n| PathId::from_index(*n)).collect();
        (set, numbers.iter().copied().collect())
    }

    fn numbers(set: &PathSet) -> Vec<usize> {
        set.iter().map(PathId::index).collect()
    }

    proptest! {
        #[test]
        fn it_behaves_like_a_set(
            a in prop::collection::vec(0_usize..300, 0..40),
            b in prop::collection::vec(0_usize..200, 0..40),
        ) {
            let ((a, plain_a), (b, plain_b)) = (both(&a), both(&b));
            prop_assert_eq!(numbers(&a), plain_a.iter().copied().collect::<Vec<_>>());
            prop_assert_eq!(a.len(), plain_a.len());
            prop_assert_eq!(a.is_empty(), plain_a.is_empty());
            prop_assert_eq!(a.is_subset(&b), plain_a.is_subset(&plain_b));
            prop_assert_eq!(a == b, plain_a == plain_b);
            let union = plain_a.union(&plain_b).copied().collect::<Vec<_>>();
            prop_assert_eq!(numbers(&a.union(&b)), union);
            let difference = plain_a.difference(&plain_b).copied().collect::<Vec<_>>();
            prop_assert_eq!(numbers(&a.difference(&b)), difference);
            for n in 0..310 {
                prop_assert_eq!(a.contains(PathId::from_index(n)), plain_a.contains(&n));
            }
        }
    }
}

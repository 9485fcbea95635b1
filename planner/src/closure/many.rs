//! Many closures at once: 64 sets of roots are followed together, a bit of a word each.
//!
//! Paths are visited before what they refer to, so that one pass is enough for a graph without
//! circles; with circles it is repeated until nothing changes. The components of a large system
//! overlap in most of their paths, which a walk for each of them would visit again and again.

use super::graph::{ClosureError, Graph, PathId};
use super::set::PathSet;

/// Sets of roots that are followed together.
const BLOCK: usize = u64::BITS as usize;

impl Graph {
    /// The closure of each set of roots, in the order given.
    ///
    /// # Errors
    /// As [`Graph::closure_of`].
    pub fn closures_of_ids(&self, roots: &[Vec<PathId>]) -> Result<Vec<PathSet>, ClosureError> {
        // This also finds what is missing.
        self.closure_of_ids(roots.iter().flatten().copied())?;
        let order = self.users_first(roots);
        let mut position = vec![0_usize; self.len()];
        for (at, id) in order.iter().enumerate() {
            position[id.index()] = at;
        }
        let mut closures = Vec::with_capacity(roots.len());
        let mut masks = vec![0_u64; self.len()];
        for block in roots.chunks(BLOCK) {
            masks.fill(0);
            for (bit, ids) in block.iter().enumerate() {
                for id in ids {
                    masks[id.index()] |= 1 << bit;
                }
            }
            while self.pass(&order, &position, &mut masks) {}
            closures.extend(sets(&masks, block.len()));
        }
        Ok(closures)
    }

    /// Hands every path's bits to what it refers to; says whether that led backwards.
    fn pass(&self, order: &[PathId], position: &[usize], masks: &mut [u64]) -> bool {
        let mut backwards = false;
        for id in order {
            let mask = masks[id.index()];
            if mask == 0 {
                continue;
            }
            for reference in self.references(*id) {
                let before = masks[reference.index()];
                if before | mask != before {
                    masks[reference.index()] = before | mask;
                    backwards |= position[reference.index()] <= position[id.index()];
                }
            }
        }
        backwards
    }

    /// What the roots lead to, each path before those it refers to as far as there is no circle.
    fn users_first(&self, roots: &[Vec<PathId>]) -> Vec<PathId> {
        let mut seen = PathSet::new();
        let mut order = Vec::new();
        for root in roots.iter().flatten() {
            // `true` once what it refers to was pushed.
            let mut open = vec![(*root, false)];
            while let Some((id, led)) = open.pop() {
                if led {
                    order.push(id);
                } else if seen.insert(id) {
                    open.push((id, true));
                    let references = self.references(id).iter();
                    open.extend(references.map(|reference| (*reference, false)));
                }
            }
        }
        order.reverse();
        order
    }
}

/// The sets that the first `count` bits stand for.
fn sets(masks: &[u64], count: usize) -> Vec<PathSet> {
    let mut sets = vec![PathSet::with_room_for(masks.len()); count];
    for (index, mask) in masks.iter().enumerate() {
        let mut rest = *mask;
        while rest != 0 {
            let bit = rest.trailing_zeros() as usize;
            sets[bit].insert(PathId::from_index(index));
            rest &= rest - 1;
        }
    }
    sets
}

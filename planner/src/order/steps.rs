//! From an order of groups to steps with paths and bytes.
//!
//! Neighbours are joined into one step as long as that stays under a limit: fewer hybrids to
//! compose, activate and watch. Taking as many as possible from the front gives the fewest steps
//! for an order, because a step that begins later never costs more.

use super::group::Groups;
use super::instance::{Instance, PathId};
use super::plan::Step;

/// One move of an order, of a group.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Move {
    /// From old, or from nothing, to new.
    Flip(usize),
    /// From old to nothing.
    Stop(usize),
}

/// What is on the disk while an order is carried out.
#[derive(Debug, Clone)]
pub struct Ledger<'a> {
    instance: &'a Instance,
    groups: &'a Groups,
    /// For each path, how many components need it now; kept ones are needed once more.
    needed: Vec<u32>,
    /// Which components were stopped.
    stopped: Vec<bool>,
    bytes: u64,
}

/// A step before its paths have names.
#[derive(Debug, Default)]
struct Draft {
    flip: Vec<usize>,
    stop: Vec<usize>,
    add: Vec<PathId>,
}

impl<'a> Ledger<'a> {
    /// The disk before the first step.
    pub fn new(instance: &'a Instance, groups: &'a Groups) -> Ledger<'a> {
        let mut ledger = Ledger {
            instance,
            groups,
            needed: vec![0; instance.path_count()],
            stopped: vec![false; instance.components.len()],
            bytes: 0,
        };
        let old = instance.components.iter().flat_map(|c| &c.old);
        for &path in old.chain(&instance.keep) {
            ledger.take(path);
        }
        ledger
    }

    /// Bytes on the disk now.
    pub fn bytes(&self) -> u64 {
        self.bytes
    }

    /// Bytes at the highest moment when every move is a step by itself.
    pub fn peak(mut self, moves: &[Move]) -> u64 {
        let (instance, groups) = (self.instance, self.groups);
        let mut peak = self.bytes;
        for it in moves {
            let (Move::Flip(group) | Move::Stop(group)) = *it;
            let members = || groups.members[group].iter().copied();
            if let Move::Flip(_) = it {
                let new = members().flat_map(|member| &instance.components[member].new);
                new.for_each(|&path| self.take(path));
                peak = peak.max(self.bytes);
            }
            for path in self.held(members()) {
                self.leave(path);
            }
            if let Move::Stop(_) = it {
                members().for_each(|member| self.stopped[member] = true);
            }
        }
        peak
    }

    /// The steps of an order of groups, each as large as the limit allows; a group that is above
    /// the limit by itself is a step by itself. What is stopped goes before anything is fetched, so
    /// it is never in one step with what flips.
    pub fn steps(mut self, moves: &[Move], limit: u64) -> Vec<Step> {
        let mut steps = Vec::new();
        let mut draft = Draft::default();
        for it in moves {
            let group = match *it {
                Move::Flip(group) => group,
                Move::Stop(group) => {
                    if !draft.flip.is_empty() {
                        steps.push(self.finish(&mut draft));
                    }
                    draft.stop.extend(&self.groups.members[group]);
                    continue;
                }
            };
            if !draft.stop.is_empty() {
                steps.push(self.finish(&mut draft));
            }
            let fetch = self.fetch(group);
            let fetched = fetch.iter().map(|&path| self.instance.bytes(path));
            if self.bytes + fetched.sum::<u64>() > limit && !draft.flip.is_empty() {
                steps.push(self.finish(&mut draft));
            }
            // Fetched paths count as needed from now on.
            for path in self.fetch(group) {
                self.take(path);
                draft.add.push(path);
            }
            draft.flip.extend(&self.groups.members[group]);
        }
        if !draft.flip.is_empty() || !draft.stop.is_empty() {
            steps.push(self.finish(&mut draft));
        }
        steps
    }

    /// The old paths that components still hold.
    fn held(&self, members: impl Iterator<Item = usize>) -> Vec<PathId> {
        let there = members.filter(|&member| !self.stopped[member]);
        let old = there.flat_map(|member| &self.instance.components[member].old);
        old.copied().collect()
    }

    /// Paths of a group's new closure that are not there.
    fn fetch(&self, group: usize) -> Vec<PathId> {
        let members = self.groups.members[group].iter();
        let new = members.flat_map(|&member| &self.instance.components[member].new);
        let mut fetch: Vec<PathId> = new
            .filter(|path| self.needed[path.0 as usize] == 0)
            .copied()
            .collect();
        fetch.sort_unstable();
        fetch.dedup();
        fetch
    }

    /// Flips and stops what a draft holds, and begins the next one.
    fn finish(&mut self, draft: &mut Draft) -> Step {
        let instance = self.instance;
        let Draft { flip, stop, add } = std::mem::take(draft);
        let bytes_before_release = self.bytes;
        let new = flip
            .iter()
            .flat_map(|&member| &instance.components[member].new);
        new.for_each(|&path| self.take(path));
        let mut release = Vec::new();
        let old = self.held(flip.iter().chain(&stop).copied());
        // What was fetched counted as needed while the step was put together.
        for &path in old.iter().chain(&add) {
            if self.leave(path) {
                release.push(path);
            }
        }
        stop.iter().for_each(|&member| self.stopped[member] = true);
        let ids = |members: &[usize]| -> Vec<String> {
            let members = members.iter();
            let ids = members.map(|&member| instance.components[member].id.clone());
            ids.collect()
        };
        Step {
            flip: ids(&flip),
            stop: ids(&stop),
            add: self.names(&add),
            bytes_before_release,
            release: self.names(&release),
            bytes_after: self.bytes,
        }
    }

    fn take(&mut self, path: PathId) {
        let needed = &mut self.needed[path.0 as usize];
        *needed += 1;
        if *needed == 1 {
            self.bytes += self.instance.bytes(path);
        }
    }

    /// Whether nobody needs the path any more.
    fn leave(&mut self, path: PathId) -> bool {
        let needed = &mut self.needed[path.0 as usize];
        *needed -= 1;
        if *needed == 0 {
            self.bytes -= self.instance.bytes(path);
        }
        *needed == 0
    }

    fn names(&self, paths: &[PathId]) -> Vec<String> {
        let mut names: Vec<String> = paths
            .iter()
            .map(|&path| self.instance.name(path).to_owned())
            .collect();
        names.sort_unstable();
        names
    }
}

//! The cut: components with their closures, groups, and the rest that waits for the final step.
//!
//! What holds whatever is cut: every path of the old and of the new closure is in a component's set of
//! that side, kept (used by something that stays as it is), or final. The set of a component holds all
//! that its paths refer to; so does what is final, link trees aside, which are composed anew for every
//! generation on the way and therefore hold nothing back.

use std::collections::{BTreeMap, BTreeSet};

use super::group::{After, Group, group};
use super::link::World;
use super::piece::{ComponentId, ComponentKind, Piece, roots};
use super::reason::DeferReason;
use super::toplevel::Toplevel;
use crate::closure::{ClosureError, Graph, PathId, PathSet, StorePath};

/// Why two toplevels could not be cut.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum CutError {
    /// The closure of one is not known.
    #[error("cannot cut {toplevel} into components: {source}")]
    Closure {
        /// The toplevel.
        toplevel: StorePath,
        /// Why.
        source: ClosureError,
    },
}

/// What a component uses in one generation.
#[derive(Debug, Clone, Default)]
pub struct Side {
    /// Store paths it names or comes from.
    pub roots: BTreeSet<StorePath>,
    /// All that they refer to.
    pub paths: PathSet,
}

/// What changes by itself, or with its group.
#[derive(Debug, Clone)]
pub struct Component {
    /// Its name: the same for the same thing in every generation.
    pub id: ComponentId,
    /// What it is.
    pub kind: ComponentKind,
    /// In the old generation; empty when it is new.
    pub old: Side,
    /// In the new generation; empty when it goes.
    pub new: Side,
    /// The entries that make it a change: paths below `etc`, or packages.
    pub changed: Vec<String>,
    /// All its entries in the old generation, and in the new one.
    pub entries: [Vec<String>; 2],
}

/// A component that waits for the final step.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Deferred {
    /// Its name.
    pub id: ComponentId,
    /// Why it waits.
    pub reason: DeferReason,
}

/// What the final step changes.
#[derive(Debug, Clone, Default)]
pub struct FinalRest {
    /// Old paths that stay until then.
    pub old: PathSet,
    /// New paths that come then, as far as no component brought them before.
    pub new: PathSet,
    /// Components that wait.
    pub deferred: Vec<Deferred>,
    /// Paths of which it is not known what they are for; only those no other of them refers to.
    pub unexplained: Vec<StorePath>,
}

/// Two toplevels, cut.
#[derive(Debug, Clone)]
pub struct Cut {
    /// What changes before the final step, sorted by name.
    pub components: Vec<Component>,
    /// Components that change together.
    pub groups: Vec<Group>,
    /// Components that wait for others.
    pub after: Vec<After>,
    /// The rest.
    pub last: FinalRest,
    /// Components that are the same in both.
    pub unchanged: Vec<ComponentId>,
    /// Paths that those use.
    pub keep: PathSet,
    /// The whole closure of the old toplevel.
    pub old_closure: PathSet,
    /// The whole closure of the new toplevel.
    pub new_closure: PathSet,
}

/// Cuts two toplevels whose closures are in `graph` into components.
///
/// # Errors
/// When the closure of one of them is not complete.
pub fn cut(graph: &Graph, old: &Toplevel, new: &Toplevel) -> Result<Cut, CutError> {
    let old_closure = closure(graph, old)?;
    let new_closure = closure(graph, new)?;
    let world = World::of(old, new);
    let (changed, unchanged): (BTreeSet<ComponentId>, BTreeSet<ComponentId>) = world
        .pieces
        .keys()
        .cloned()
        .partition(|id| world.pieces.get(id).is_some_and(Piece::is_changed));
    let grouping = group(&changed, &world.rules());
    let builder = Builder {
        graph,
        old,
        new,
        old_closure: &old_closure,
        new_closure: &new_closure,
    };
    let (components, keep) = builder.components(&world, &unchanged, &grouping.deferred)?;
    let last = builder.last(&world, &grouping.deferred, &components, &keep)?;
    Ok(Cut {
        components,
        groups: grouping.groups,
        after: grouping.after,
        last,
        unchanged: unchanged.into_iter().collect(),
        keep,
        old_closure,
        new_closure,
    })
}

fn closure(graph: &Graph, toplevel: &Toplevel) -> Result<PathSet, CutError> {
    graph
        .closure_of([&toplevel.path])
        .map_err(|source| CutError::Closure {
            toplevel: toplevel.path.clone(),
            source,
        })
}

#[derive(Clone, Copy)]
enum Which {
    Old,
    New,
}

struct Builder<'a> {
    graph: &'a Graph,
    old: &'a Toplevel,
    new: &'a Toplevel,
    old_closure: &'a PathSet,
    new_closure: &'a PathSet,
}

impl Builder<'_> {
    /// The components that change before the final step, and what those that do not change use.
    fn components(
        &self,
        world: &World<'_>,
        unchanged: &BTreeSet<ComponentId>,
        deferred: &BTreeMap<ComponentId, DeferReason>,
    ) -> Result<(Vec<Component>, PathSet), CutError> {
        let mut kept = Vec::new();
        let mut found = Vec::new();
        let mut asked = Vec::new();
        for (id, piece) in &world.pieces {
            if unchanged.contains(id) {
                kept.extend(self.known(Which::Old, roots(&piece.old)).0);
            } else if !deferred.contains_key(id) {
                let (old_ids, old_roots) = self.known(Which::Old, roots(&piece.old));
                let (new_ids, new_roots) = self.known(Which::New, roots(&piece.new));
                asked.extend([old_ids, new_ids]);
                found.push((id, piece, old_roots, new_roots));
            }
        }
        // All at once: they have most of their paths in common.
        let closures = self.graph.closures_of_ids(&asked);
        let mut closures = closures
            .map_err(|source| self.incomplete(source))?
            .into_iter();
        let components = found
            .into_iter()
            .map(|(id, piece, old, new)| Component {
                id: id.clone(),
                kind: id.kind(),
                old: Side {
                    roots: old,
                    paths: closures.next().unwrap_or_default(),
                },
                new: Side {
                    roots: new,
                    paths: closures.next().unwrap_or_default(),
                },
                changed: changed_paths(piece),
                entries: [&piece.old, &piece.new].map(|side| side.keys().cloned().collect()),
            })
            .collect();
        Ok((components, self.closed(kept)?))
    }

    /// Roots that the closure of the toplevel has. A text may name other paths, in a comment or
    /// because Nix was told to forget the reference; those are nobody's.
    fn known(
        &self,
        which: Which,
        roots: BTreeSet<StorePath>,
    ) -> (Vec<PathId>, BTreeSet<StorePath>) {
        let closure = self.closure(which);
        roots
            .into_iter()
            .filter_map(|path| {
                let id = self.graph.id(&path).filter(|id| closure.contains(*id))?;
                Some((id, path))
            })
            .unzip()
    }

    fn closed(&self, ids: impl IntoIterator<Item = PathId>) -> Result<PathSet, CutError> {
        let closure = self.graph.closure_of_ids(ids);
        closure.map_err(|source| self.incomplete(source))
    }

    fn incomplete(&self, source: ClosureError) -> CutError {
        CutError::Closure {
            toplevel: self.new.path.clone(),
            source,
        }
    }

    fn last(
        &self,
        world: &World<'_>,
        deferred: &BTreeMap<ComponentId, DeferReason>,
        components: &[Component],
        keep: &PathSet,
    ) -> Result<FinalRest, CutError> {
        let pieces = || deferred.keys().filter_map(|id| world.pieces.get(id));
        let mut unexplained = BTreeSet::new();
        let mut rest = |which: Which| {
            let mut others = keep.clone();
            for component in components {
                others.add_all(&side_of(component, which).paths);
            }
            let waiting = pieces().map(|piece| match which {
                Which::Old => &piece.old,
                Which::New => &piece.new,
            });
            let roots = waiting
                .chain([&self.toplevel(which).rest])
                .flat_map(roots)
                .collect();
            self.rest(which, roots, &others, &mut unexplained)
        };
        Ok(FinalRest {
            old: rest(Which::Old)?,
            new: rest(Which::New)?,
            deferred: deferred
                .iter()
                .map(|(id, reason)| Deferred {
                    id: id.clone(),
                    reason: reason.clone(),
                })
                .collect(),
            unexplained: unexplained.into_iter().collect(),
        })
    }

    /// The closure of what is final, and of everything in the toplevel's closure that nothing else
    /// accounts for.
    fn rest(
        &self,
        which: Which,
        roots: BTreeSet<StorePath>,
        others: &PathSet,
        unexplained: &mut BTreeSet<StorePath>,
    ) -> Result<PathSet, CutError> {
        let (scaffold, _) = self.known(which, self.toplevel(which).scaffold.clone());
        let scaffold: PathSet = scaffold.into_iter().collect();
        let (roots, _) = self.known(which, roots);
        let roots = roots.into_iter().filter(|id| !scaffold.contains(*id));
        let mut rest = self.closed(roots)?;
        rest.add_all(&scaffold);
        let mut left = self.closure(which).difference(&rest);
        left.remove_all(others);
        let mut inner = PathSet::new();
        for id in left.iter() {
            for reference in self.graph.references(id) {
                inner.insert(*reference);
            }
        }
        let outer = left.difference(&inner);
        unexplained.extend(outer.iter().map(|id| self.graph.path(id).clone()));
        rest.add_all(&self.closed(left.iter())?);
        Ok(rest)
    }

    fn toplevel(&self, which: Which) -> &Toplevel {
        match which {
            Which::Old => self.old,
            Which::New => self.new,
        }
    }

    fn closure(&self, which: Which) -> &PathSet {
        match which {
            Which::Old => self.old_closure,
            Which::New => self.new_closure,
        }
    }
}

/// The entries that make a piece a change.
fn changed_paths(piece: &Piece) -> Vec<String> {
    let paths: BTreeSet<&String> = piece.old.keys().chain(piece.new.keys()).collect();
    paths
        .into_iter()
        .filter(|path| piece.old.get(*path) != piece.new.get(*path))
        .cloned()
        .collect()
}

fn side_of(component: &Component, which: Which) -> &Side {
    match which {
        Which::Old => &component.old,
        Which::New => &component.new,
    }
}

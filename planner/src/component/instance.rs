//! A cut as an instance for the planner of the order: names, whole closures, sizes, and nothing of
//! what the components are.

use std::collections::{BTreeMap, BTreeSet};

use serde::Serialize;

use super::cut::Cut;
use super::piece::ComponentId;
use crate::closure::{Graph, PathSet, StorePath};

/// An instance, in the shape that `nixctl plan --instance` reads.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Instance {
    /// Bytes that may be used, if there is a limit.
    pub budget: Option<u64>,
    /// Paths that are never released.
    pub keep: BTreeSet<StorePath>,
    /// Bytes of every path named.
    pub paths: BTreeMap<StorePath, u64>,
    /// What is to be changed.
    pub components: Vec<InstanceComponent>,
}

/// A component of an instance.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct InstanceComponent {
    /// Its name.
    pub id: ComponentId,
    /// Closure in the old generation.
    pub old: Vec<StorePath>,
    /// Closure in the new generation.
    pub new: Vec<StorePath>,
    /// What changes with it.
    pub with: Vec<ComponentId>,
    /// What changes before it.
    pub after: Vec<ComponentId>,
    /// Whether it changes in the last step.
    #[serde(rename = "final")]
    pub is_final: bool,
}

impl Cut {
    /// The instance of this cut. `keep` are further paths that nothing may release, such as those of
    /// other generations.
    pub fn instance(&self, graph: &Graph, budget: Option<u64>, keep: &PathSet) -> Instance {
        let keep = self.keep.union(keep);
        let mut all = keep.union(&self.old_closure);
        all.add_all(&self.new_closure);
        let mut components: Vec<InstanceComponent> = self
            .components
            .iter()
            .map(|component| InstanceComponent {
                id: component.id.clone(),
                old: graph.sorted(&component.old.paths),
                new: graph.sorted(&component.new.paths),
                with: self.with(&component.id),
                after: self.after(&component.id),
                is_final: false,
            })
            .collect();
        components.push(InstanceComponent {
            id: ComponentId::last(),
            old: graph.sorted(&self.last.old),
            new: graph.sorted(&self.last.new),
            with: Vec::new(),
            after: Vec::new(),
            is_final: true,
        });
        Instance {
            budget,
            keep: graph.sorted(&keep).into_iter().collect(),
            paths: all
                .iter()
                .map(|id| (graph.path(id).clone(), graph.nar_size(id)))
                .collect(),
            components,
        }
    }

    /// The first of its group, which ties all of them together.
    fn with(&self, id: &ComponentId) -> Vec<ComponentId> {
        self.groups
            .iter()
            .filter(|group| group.members.contains(id))
            .filter_map(|group| group.members.first())
            .filter(|first| *first != id)
            .cloned()
            .collect()
    }

    fn after(&self, id: &ComponentId) -> Vec<ComponentId> {
        let earlier: BTreeSet<&ComponentId> = self
            .after
            .iter()
            .filter(|after| after.id == *id)
            .map(|after| &after.after)
            .collect();
        earlier.into_iter().cloned().collect()
    }
}

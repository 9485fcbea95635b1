//! The abstract instance: paths with their sizes, components with an old and a new closure.
//!
//! Paths are numbered as they come, so that a closure costs four bytes for each path it names.
//! What an instance must hold is checked by [`Instance::validate`], before anything is planned.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;

use super::error::InstanceError;
use crate::closure::StorePath;
use crate::component;

/// Components, and paths, that can be numbered with room to spare.
const MOST: usize = 1 << 24;

/// A path of an [`Instance`]: its number there.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct PathId(pub(super) u32);

/// What can be flipped by itself, or together with others.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Component {
    /// Name, unique in the instance.
    pub id: String,
    /// The whole closure it has now.
    pub old: Vec<PathId>,
    /// The whole closure it will have.
    pub new: Vec<PathId>,
    /// Components that flip in the same step.
    pub with: Vec<String>,
    /// Components that never flip later than this one.
    pub after: Vec<String>,
    /// Whether it flips in the last step.
    pub is_final: bool,
    /// Whether it may be stopped before it flips, and be neither old nor new for a while, where no
    /// order alone stays within the budget.
    pub stoppable: bool,
}

/// The question: components between two states over paths with sizes.
#[derive(Debug, Clone, Default)]
pub struct Instance {
    /// Bytes that the paths together may occupy at any moment; `None` for no limit.
    pub budget: Option<u64>,
    /// Paths that stay whatever happens.
    pub keep: Vec<PathId>,
    /// What is to be flipped.
    pub components: Vec<Component>,
    names: Vec<Arc<str>>,
    sizes: Vec<Option<u64>>,
    numbers: HashMap<Arc<str>, PathId>,
}

impl Instance {
    /// Names a path and its size; the last size given counts.
    pub fn path(&mut self, name: &str, bytes: u64) -> PathId {
        let id = self.number(name);
        self.set_size(id, bytes);
        id
    }

    /// Gives a path its size.
    pub(super) fn set_size(&mut self, id: PathId, bytes: u64) {
        if let Some(size) = self.sizes.get_mut(id.0 as usize) {
            *size = Some(bytes);
        }
    }

    /// The number of a path whose size may come later.
    pub(super) fn number(&mut self, name: &str) -> PathId {
        if let Some(&id) = self.numbers.get(name) {
            return id;
        }
        let id = PathId(u32::try_from(self.names.len()).unwrap_or(u32::MAX));
        let name: Arc<str> = Arc::from(name);
        self.names.push(Arc::clone(&name));
        self.sizes.push(None);
        self.numbers.insert(name, id);
        id
    }

    fn numbers_of<'a>(&mut self, paths: impl IntoIterator<Item = &'a StorePath>) -> Vec<PathId> {
        let paths = paths.into_iter();
        paths.map(|path| self.number(path.as_str())).collect()
    }

    /// The path of that name.
    pub fn find(&self, name: &str) -> Option<PathId> {
        self.numbers.get(name).copied()
    }

    /// The name of a path.
    pub fn name(&self, id: PathId) -> &str {
        self.names.get(id.0 as usize).map_or("", |name| name)
    }

    /// The size of a path; nothing for one that has none.
    pub fn bytes(&self, id: PathId) -> u64 {
        self.size(id).unwrap_or(0)
    }

    /// The size of a path, if it was given.
    pub(super) fn size(&self, id: PathId) -> Option<u64> {
        self.sizes.get(id.0 as usize).copied().flatten()
    }

    /// Every path, in the order in which they were named.
    pub fn paths(&self) -> impl Iterator<Item = (PathId, &str, Option<u64>)> {
        let numbered = (0u32..).zip(self.names.iter().zip(&self.sizes));
        numbered.map(|(number, (name, size))| (PathId(number), &**name, *size))
    }

    /// How many paths are named.
    pub fn path_count(&self) -> usize {
        self.names.len()
    }

    /// Whether a plan can be made for it at all.
    ///
    /// # Errors
    /// What is wrong, and where.
    pub fn validate(&self) -> Result<(), InstanceError> {
        self.check_numbers()?;
        let ids = self.check_ids()?;
        for component in &self.components {
            self.check_component(component, &ids)?;
        }
        match self.keep.iter().find(|&&path| self.size(path).is_none()) {
            None => Ok(()),
            Some(&path) => Err(InstanceError::UnknownKept {
                path: self.name(path).to_owned(),
            }),
        }
    }

    fn check_numbers(&self) -> Result<(), InstanceError> {
        for (what, count) in [
            ("paths", self.names.len()),
            ("components", self.components.len()),
        ] {
            if count > MOST {
                return Err(InstanceError::TooMany { what, limit: MOST });
            }
        }
        self.sizes
            .iter()
            .flatten()
            .try_fold(0u64, |sum, &bytes| sum.checked_add(bytes))
            .map(drop)
            .ok_or(InstanceError::TooLarge)
    }

    fn check_ids(&self) -> Result<HashSet<&str>, InstanceError> {
        let mut ids = HashSet::with_capacity(self.components.len());
        for (index, component) in self.components.iter().enumerate() {
            if component.id.is_empty() {
                return Err(InstanceError::EmptyId { number: index + 1 });
            }
            if !ids.insert(component.id.as_str()) {
                return Err(InstanceError::DuplicateComponent {
                    id: component.id.clone(),
                });
            }
        }
        Ok(ids)
    }

    fn check_component(
        &self,
        component: &Component,
        ids: &HashSet<&str>,
    ) -> Result<(), InstanceError> {
        let mut closures = component.old.iter().chain(&component.new);
        if let Some(&path) = closures.find(|&&path| self.size(path).is_none()) {
            return Err(InstanceError::UnknownPath {
                component: component.id.clone(),
                path: self.name(path).to_owned(),
            });
        }
        for (field, named) in [("with", &component.with), ("after", &component.after)] {
            if let Some(id) = named.iter().find(|id| !ids.contains(id.as_str())) {
                return Err(InstanceError::UnknownComponent {
                    component: component.id.clone(),
                    field,
                    id: id.clone(),
                });
            }
        }
        Ok(())
    }
}

impl From<component::Instance> for Instance {
    /// The question that a cut asks. What it names without a size stays without one, so that
    /// [`Instance::validate`] says so.
    fn from(cut: component::Instance) -> Self {
        let mut instance = Instance {
            budget: cut.budget,
            ..Instance::default()
        };
        for (path, bytes) in &cut.paths {
            instance.path(path.as_str(), *bytes);
        }
        instance.keep = instance.numbers_of(&cut.keep);
        for component in &cut.components {
            let component = Component {
                id: component.id.to_string(),
                old: instance.numbers_of(&component.old),
                new: instance.numbers_of(&component.new),
                with: texts(&component.with),
                after: texts(&component.after),
                is_final: component.is_final,
                stoppable: false,
            };
            instance.components.push(component);
        }
        instance
    }
}

fn texts(ids: &[component::ComponentId]) -> Vec<String> {
    ids.iter().map(ToString::to_string).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn component(instance: &mut Instance, id: &str, old: &[&str], new: &[&str]) -> Component {
        Component {
            id: id.to_owned(),
            old: old.iter().map(|name| instance.number(name)).collect(),
            new: new.iter().map(|name| instance.number(name)).collect(),
            ..Component::default()
        }
    }

    #[test]
    fn a_path_is_numbered_once() {
        let mut instance = Instance::default();
        let first = instance.path("a", 1);
        assert_eq!(instance.path("a", 2), first);
        assert_eq!((instance.name(first), instance.bytes(first)), ("a", 2));
        assert_eq!(instance.path_count(), 1);
    }

    type Spoil = fn(&mut Instance);

    #[test]
    fn what_is_wrong_is_named() {
        let table: [(Spoil, &str); 7] = [
            (
                |i| i.components[0].id.clear(),
                "cannot plan component number 1: its id is empty",
            ),
            (
                |i| i.components[1].id = "a".to_owned(),
                "cannot plan component `a`: there are two of that id",
            ),
            (
                |i| i.components[1].with.push("z".to_owned()),
                "cannot plan component `b`: its `with` names `z`, which is not there",
            ),
            (
                |i| i.components[1].after.push("z".to_owned()),
                "cannot plan component `b`: its `after` names `z`, which is not there",
            ),
            (
                |i| {
                    let path = i.number("q");
                    i.components[0].new.push(path);
                },
                "cannot plan component `a`: `paths` has no size for `q`",
            ),
            (
                |i| {
                    let path = i.number("q");
                    i.keep.push(path);
                },
                "cannot keep `q`: `paths` has no size for it",
            ),
            (
                |i| {
                    i.path("p", u64::MAX);
                    i.path("q", 1);
                },
                "cannot add up the sizes of the paths: the sum is above \
                 18,446,744,073,709,551,615",
            ),
        ];
        for (spoil, message) in table {
            let mut instance = Instance::default();
            instance.path("p", 1);
            let a = component(&mut instance, "a", &["p"], &[]);
            let b = component(&mut instance, "b", &[], &["p"]);
            instance.components = vec![a, b];
            assert_eq!(instance.validate(), Ok(()));
            spoil(&mut instance);
            assert_eq!(instance.validate().unwrap_err().to_string(), message);
        }
    }
}

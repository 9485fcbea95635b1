//! Instances as JSON, read without ever holding the text: paths are numbered while they pass.
//!
//! An unknown field, a field or path given twice, and a missing `id`, `old`, `new`, `paths` or
//! `components` are errors; `budget`, `keep`, `with`, `after`, `final` and `stoppable` may be left out.

use std::fmt;
use std::marker::PhantomData;

use serde::de::{DeserializeSeed, Deserializer, Error as _, MapAccess, SeqAccess, Visitor};
use serde::ser::{SerializeMap, SerializeSeq, SerializeStruct, Serializer};
use serde::{Deserialize, Serialize};

use super::instance::{Component, Instance, PathId};

#[derive(Deserialize)]
#[serde(field_identifier, rename_all = "lowercase")]
enum Field {
    Budget,
    Keep,
    Paths,
    Components,
}

#[derive(Deserialize)]
#[serde(field_identifier, rename_all = "lowercase")]
enum ComponentField {
    Id,
    Old,
    New,
    With,
    After,
    Final,
    Stoppable,
}

impl<'de> Deserialize<'de> for Instance {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Instance, D::Error> {
        deserializer.deserialize_map(InstanceVisitor)
    }
}

struct InstanceVisitor;

impl<'de> Visitor<'de> for InstanceVisitor {
    type Value = Instance;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an instance: an object with `paths` and `components`")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Instance, A::Error> {
        let mut instance = Instance::default();
        let mut budget = None;
        let mut keep = None;
        let mut paths = None;
        let mut components = None;
        while let Some(field) = map.next_key()? {
            match field {
                Field::Budget => once(&mut budget, "budget", || map.next_value())?,
                Field::Keep => once(&mut keep, "keep", || {
                    map.next_value_seed(seed(&mut instance, Paths))
                })?,
                Field::Paths => once(&mut paths, "paths", || {
                    map.next_value_seed(seed(&mut instance, Sizes))
                })?,
                Field::Components => once(&mut components, "components", || {
                    map.next_value_seed(seed(&mut instance, Components))
                })?,
            }
        }
        instance.budget = budget.unwrap_or_default();
        instance.keep = keep.unwrap_or_default();
        paths.ok_or_else(|| A::Error::missing_field("paths"))?;
        instance.components = components.ok_or_else(|| A::Error::missing_field("components"))?;
        Ok(instance)
    }
}

/// Fills a field, which must not be there yet.
fn once<T, E: serde::de::Error>(
    slot: &mut Option<T>,
    name: &'static str,
    value: impl FnOnce() -> Result<T, E>,
) -> Result<(), E> {
    if slot.is_some() {
        return Err(E::duplicate_field(name));
    }
    *slot = Some(value()?);
    Ok(())
}

/// A shape of JSON that is read into an instance.
struct Seed<'a, S, T> {
    instance: &'a mut Instance,
    shape: PhantomData<(S, T)>,
}

fn seed<S, T>(instance: &mut Instance, _: S) -> Seed<'_, S, T> {
    Seed {
        instance,
        shape: PhantomData,
    }
}

/// A list of paths.
struct Paths;
/// The sizes of the paths.
struct Sizes;
/// The list of components.
struct Components;
/// One component.
struct One;
/// The name of one path.
struct Name;

impl<'de> DeserializeSeed<'de> for Seed<'_, Name, PathId> {
    type Value = PathId;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<PathId, D::Error> {
        deserializer.deserialize_str(self)
    }
}

impl Visitor<'_> for Seed<'_, Name, PathId> {
    type Value = PathId;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("the name of a path")
    }

    fn visit_str<E: serde::de::Error>(self, name: &str) -> Result<PathId, E> {
        Ok(self.instance.number(name))
    }
}

impl<'de> DeserializeSeed<'de> for Seed<'_, Paths, Vec<PathId>> {
    type Value = Vec<PathId>;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Vec<PathId>, D::Error> {
        deserializer.deserialize_seq(self)
    }
}

impl<'de> Visitor<'de> for Seed<'_, Paths, Vec<PathId>> {
    type Value = Vec<PathId>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a list of paths")
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<Vec<PathId>, A::Error> {
        let mut paths = Vec::new();
        while let Some(path) = list.next_element_seed(seed(&mut *self.instance, Name))? {
            paths.push(path);
        }
        paths.shrink_to_fit();
        Ok(paths)
    }
}

impl<'de> DeserializeSeed<'de> for Seed<'_, Sizes, ()> {
    type Value = ();

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<(), D::Error> {
        deserializer.deserialize_map(self)
    }
}

impl<'de> Visitor<'de> for Seed<'_, Sizes, ()> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an object with the size of each path")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<(), A::Error> {
        while let Some(path) = map.next_key_seed(seed(&mut *self.instance, Name))? {
            if self.instance.size(path).is_some() {
                let name = self.instance.name(path);
                return Err(A::Error::custom(format!("duplicate path `{name}`")));
            }
            let bytes = map.next_value()?;
            self.instance.set_size(path, bytes);
        }
        Ok(())
    }
}

impl<'de> DeserializeSeed<'de> for Seed<'_, Components, Vec<Component>> {
    type Value = Vec<Component>;

    fn deserialize<D: Deserializer<'de>>(
        self,
        deserializer: D,
    ) -> Result<Vec<Component>, D::Error> {
        deserializer.deserialize_seq(self)
    }
}

impl<'de> Visitor<'de> for Seed<'_, Components, Vec<Component>> {
    type Value = Vec<Component>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a list of components")
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<Vec<Component>, A::Error> {
        let mut components = Vec::new();
        while let Some(component) = list.next_element_seed(seed(&mut *self.instance, One))? {
            components.push(component);
        }
        Ok(components)
    }
}

impl<'de> DeserializeSeed<'de> for Seed<'_, One, Component> {
    type Value = Component;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Component, D::Error> {
        deserializer.deserialize_map(self)
    }
}

impl<'de> Visitor<'de> for Seed<'_, One, Component> {
    type Value = Component;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a component: an object with `id`, `old` and `new`")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Component, A::Error> {
        let (mut id, mut old, mut new) = (None, None, None);
        let (mut with, mut after, mut is_final, mut stoppable) = (None, None, None, None);
        while let Some(field) = map.next_key()? {
            match field {
                ComponentField::Id => once(&mut id, "id", || map.next_value())?,
                ComponentField::Old => once(&mut old, "old", || {
                    map.next_value_seed(seed(&mut *self.instance, Paths))
                })?,
                ComponentField::New => once(&mut new, "new", || {
                    map.next_value_seed(seed(&mut *self.instance, Paths))
                })?,
                ComponentField::With => once(&mut with, "with", || map.next_value())?,
                ComponentField::After => once(&mut after, "after", || map.next_value())?,
                ComponentField::Final => once(&mut is_final, "final", || map.next_value())?,
                ComponentField::Stoppable => {
                    once(&mut stoppable, "stoppable", || map.next_value())?;
                }
            }
        }
        Ok(Component {
            id: id.ok_or_else(|| A::Error::missing_field("id"))?,
            old: old.ok_or_else(|| A::Error::missing_field("old"))?,
            new: new.ok_or_else(|| A::Error::missing_field("new"))?,
            with: with.unwrap_or_default(),
            after: after.unwrap_or_default(),
            is_final: is_final.unwrap_or_default(),
            stoppable: stoppable.unwrap_or_default(),
        })
    }
}

impl Serialize for Instance {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut fields = serializer.serialize_struct("Instance", 4)?;
        fields.serialize_field("budget", &self.budget)?;
        fields.serialize_field("keep", &Names(self, &self.keep))?;
        fields.serialize_field("paths", &AllSizes(self))?;
        fields.serialize_field("components", &AllComponents(self))?;
        fields.end()
    }
}

struct Names<'a>(&'a Instance, &'a [PathId]);

impl Serialize for Names<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_seq(self.1.iter().map(|&path| self.0.name(path)))
    }
}

struct AllSizes<'a>(&'a Instance);

impl Serialize for AllSizes<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut map = serializer.serialize_map(None)?;
        for (_, name, size) in self.0.paths() {
            if let Some(bytes) = size {
                map.serialize_entry(name, &bytes)?;
            }
        }
        map.end()
    }
}

struct AllComponents<'a>(&'a Instance);

impl Serialize for AllComponents<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let components = &self.0.components;
        let mut list = serializer.serialize_seq(Some(components.len()))?;
        for component in components {
            list.serialize_element(&OneComponent(self.0, component))?;
        }
        list.end()
    }
}

struct OneComponent<'a>(&'a Instance, &'a Component);

impl Serialize for OneComponent<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let OneComponent(instance, component) = self;
        let count = 6 + usize::from(component.stoppable);
        let mut fields = serializer.serialize_struct("Component", count)?;
        fields.serialize_field("id", &component.id)?;
        fields.serialize_field("old", &Names(instance, &component.old))?;
        fields.serialize_field("new", &Names(instance, &component.new))?;
        fields.serialize_field("with", &component.with)?;
        fields.serialize_field("after", &component.after)?;
        fields.serialize_field("final", &component.is_final)?;
        if component.stoppable {
            fields.serialize_field("stoppable", &true)?;
        }
        fields.end()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const WHOLE: &str = r#"{"budget":10,"keep":["k"],"paths":{"k":1,"p":2},"components":[
        {"id":"a","old":["p"],"new":["k","p"],"with":["a"],"after":[],"final":true}]}"#;

    fn error(text: &str) -> String {
        serde_json::from_str::<Instance>(text)
            .unwrap_err()
            .to_string()
    }

    #[test]
    fn an_instance_comes_back_as_it_went() {
        let instance: Instance = serde_json::from_str(WHOLE).unwrap();
        assert_eq!(instance.budget, Some(10));
        assert_eq!(instance.components[0].old, instance.components[0].new[1..]);
        let text = serde_json::to_string(&instance).unwrap();
        assert_eq!(text, WHOLE.replace("\n        ", ""));
        let marked = text.replace(r#""final":true"#, r#""final":true,"stoppable":true"#);
        let instance: Instance = serde_json::from_str(&marked).unwrap();
        assert_eq!(serde_json::to_string(&instance).unwrap(), marked);
    }

    #[test]
    fn what_may_be_left_out() {
        let text = r#"{"components":[{"id":"a","old":[],"new":["p"]}],"paths":{"p":1}}"#;
        let instance: Instance = serde_json::from_str(text).unwrap();
        assert_eq!(instance.validate(), Ok(()));
        assert_eq!((instance.budget, instance.keep.len()), (None, 0));
        assert!(!instance.components[0].is_final);
    }

    #[test]
    fn what_is_refused() {
        for (text, part) in [
            ("", "EOF"),
            ("[]", "an instance"),
            ("{}", "missing field `paths`"),
            (r#"{"paths":{}}"#, "missing field `components`"),
            (r#"{"path":{}}"#, "unknown field `path`"),
            (r#"{"paths":{},"paths":{}}"#, "duplicate field `paths`"),
            (r#"{"paths":{"a":1,"a":1}}"#, "duplicate path `a`"),
            (r#"{"paths":{"a":-1}}"#, "invalid value: integer `-1`"),
            (r#"{"paths":{"a":1.5}}"#, "invalid type: floating point"),
            (r#"{"paths":{"a":18446744073709551616}}"#, "invalid type"),
            (r#"{"paths":{"a":"1"}}"#, "invalid type: string"),
            (r#"{"keep":"a"}"#, "a list of paths"),
            (r#"{"keep":[1]}"#, "the name of a path"),
            (r#"{"budget":-1}"#, "invalid value"),
            (r#"{"components":[{}]}"#, "missing field `id`"),
            (
                r#"{"components":[{"id":"a","old":[]}]}"#,
                "missing field `new`",
            ),
            (r#"{"components":[{"id":"a","x":[]}]}"#, "unknown field `x`"),
            (r#"{"components":[{"final":1}]}"#, "expected a boolean"),
            (r#"{"paths":{},"components":[]} x"#, "trailing characters"),
        ] {
            assert!(error(text).contains(part), "{text}: {}", error(text));
        }
    }
}

//! What a unit needs before it starts: units that come first, units that go last, bus names.

use std::collections::BTreeMap;

use super::link::{Order, Rules, World};
use super::piece::{ComponentId, Piece};
use super::reason::DeferReason;
use super::unit::Unit;
use crate::units::UnitName;

impl World<'_> {
    /// Units that newly own a bus name, while the bus learns who may only in the final step.
    pub(super) fn defer_bus_names(&self, rules: &mut Rules) {
        let bus = ComponentId::etc("dbus-1");
        if !self.pieces.get(&bus).is_some_and(Piece::is_changed) {
            return;
        }
        for unit in self.new_units.values() {
            let names = |unit: &Unit| unit.words("Service", "BusName");
            let had = self.old_units.get(&unit.name).map(names);
            let added = names(unit)
                .into_iter()
                .find(|name| !had.iter().flatten().any(|had| had == name));
            if let Some(name) = added {
                let reason = DeferReason::Needs {
                    unit: unit.name.as_str().to_owned(),
                    needed: format!("the right to the bus name {name}"),
                };
                rules.deferred.entry(unit.id()).or_insert(reason);
            }
        }
    }

    /// A unit comes after what it newly requires; what goes comes after those that required it.
    pub(super) fn order(&self, rules: &mut Rules) {
        for (unit, needed, other) in one_sided(&self.new_units, &self.old_units) {
            rules.orders.insert(Order {
                first: other,
                then: unit.id(),
                unit: unit.name.as_str().to_owned(),
                needed: needed.as_str().to_owned(),
            });
        }
        for (unit, needed, other) in one_sided(&self.old_units, &self.new_units) {
            rules.orders.insert(Order {
                first: unit.id(),
                then: other,
                unit: unit.name.as_str().to_owned(),
                needed: needed.as_str().to_owned(),
            });
        }
    }
}

/// Units of one generation with what they require and only that generation has, and its piece.
fn one_sided<'u>(
    here: &'u BTreeMap<UnitName, Unit>,
    there: &'u BTreeMap<UnitName, Unit>,
) -> impl Iterator<Item = (&'u Unit, UnitName, ComponentId)> {
    here.values().flat_map(move |unit| {
        required(unit).into_iter().filter_map(move |needed| {
            let id = find(here, &needed)?.id();
            let moves = find(there, &needed).is_none() && id != unit.id();
            moves.then_some((unit, needed, id))
        })
    })
}

/// Units without which a unit does not start.
fn required(unit: &Unit) -> Vec<UnitName> {
    ["Requires", "Requisite", "BindsTo"]
        .iter()
        .flat_map(|key| unit.words("Unit", key))
        .filter_map(|name| UnitName::new(&name).ok())
        .collect()
}

/// A unit by its name, or its template.
fn find<'u>(units: &'u BTreeMap<UnitName, Unit>, name: &UnitName) -> Option<&'u Unit> {
    units.get(name).or_else(|| units.get(&name.template()?))
}

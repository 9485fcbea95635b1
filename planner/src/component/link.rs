//! Which pieces must change together, which must come first, and which need what only the final step
//! brings.

use std::collections::{BTreeMap, BTreeSet};

use super::defer;
use super::piece::{ComponentId, ComponentKind, Piece, id_of_etc, id_of_unit, pieces};
use super::reason::{DeferReason, LinkReason};
use super::toplevel::{Content, Toplevel};
use super::unit::{Unit, etc_paths, units};
use crate::closure::{StorePath, store_paths_in};
use crate::units::{UnitName, UnitType};

/// Both generations, taken apart.
pub(super) struct World<'a> {
    pub old: &'a Toplevel,
    pub new: &'a Toplevel,
    pub pieces: BTreeMap<ComponentId, Piece>,
    pub old_units: BTreeMap<UnitName, Unit>,
    pub new_units: BTreeMap<UnitName, Unit>,
    /// Units of both generations by their piece.
    families: BTreeMap<ComponentId, (Vec<UnitName>, Vec<UnitName>)>,
    /// Entries of `etc` by the store path that they lead to.
    etc_origins: BTreeMap<&'a StorePath, BTreeSet<&'a str>>,
}

/// Two pieces that change together.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Link {
    pub a: ComponentId,
    pub b: ComponentId,
    pub reason: LinkReason,
}

/// A piece that changes only once another one has.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Order {
    pub first: ComponentId,
    pub then: ComponentId,
    pub unit: String,
    pub needed: String,
}

/// All that the cut has to obey.
#[derive(Debug, Default)]
pub(super) struct Rules {
    pub links: BTreeSet<Link>,
    pub orders: BTreeSet<Order>,
    /// Pieces that wait because of what they are, unchanged ones too.
    pub deferred: BTreeMap<ComponentId, DeferReason>,
}

impl<'a> World<'a> {
    pub(super) fn of(old: &'a Toplevel, new: &'a Toplevel) -> Self {
        let (old_units, new_units) = (units(old), units(new));
        let mut families: BTreeMap<ComponentId, (Vec<UnitName>, Vec<UnitName>)> = BTreeMap::new();
        for unit in old_units.values() {
            let family = families.entry(unit.id()).or_default();
            family.0.push(unit.name.clone());
        }
        for unit in new_units.values() {
            let family = families.entry(unit.id()).or_default();
            family.1.push(unit.name.clone());
        }
        World {
            old,
            new,
            pieces: pieces(old, new),
            etc_origins: etc_origins([old, new]),
            old_units,
            new_units,
            families,
        }
    }

    /// The units of a piece, those of both sides.
    pub(super) fn units_of(&self, id: &ComponentId) -> impl Iterator<Item = &Unit> {
        let (old, new) = self
            .families
            .get(id)
            .map(|(old, new)| (old.as_slice(), new.as_slice()))
            .unwrap_or_default();
        old.iter()
            .filter_map(|name| self.old_units.get(name))
            .chain(new.iter().filter_map(|name| self.new_units.get(name)))
    }

    /// Finds all rules.
    pub(super) fn rules(&self) -> Rules {
        let mut rules = Rules::default();
        for id in self.pieces.keys() {
            if let Some(reason) = defer::own_reason(self, id) {
                rules.deferred.insert(id.clone(), reason);
            }
        }
        for unit in self.old_units.values().chain(self.new_units.values()) {
            self.link_units(unit, &mut rules);
            self.link_etc(unit, &mut rules);
        }
        self.link_lists(&mut rules);
        self.link_included(&mut rules);
        self.defer_unnamed(&mut rules);
        self.defer_accounts(&mut rules);
        self.defer_bus_names(&mut rules);
        self.order(&mut rules);
        rules
    }

    /// Sockets, timers and paths with what they start; what stops together; aliases.
    fn link_units(&self, unit: &Unit, rules: &mut Rules) {
        let name = || unit.name.as_str().to_owned();
        for (section, key) in [("Socket", "Service"), ("Timer", "Unit"), ("Path", "Unit")] {
            for other in unit.words(section, key) {
                let starts = |unit| LinkReason::Starts {
                    starter: name(),
                    unit,
                };
                self.link(unit, &other, starts, rules);
            }
        }
        for other in unit.words("Service", "Sockets") {
            let starts = |starter| LinkReason::Starts {
                starter,
                unit: name(),
            };
            self.link(unit, &other, starts, rules);
        }
        for setting in ["BindsTo", "PartOf"] {
            for other in unit.words("Unit", setting) {
                let bound = |other| LinkReason::Bound {
                    unit: name(),
                    setting: setting.to_owned(),
                    other,
                };
                self.link(unit, &other, bound, rules);
            }
        }
        if let Some(other) = &unit.alias_of {
            let alias = |unit| LinkReason::Alias {
                alias: name(),
                unit,
            };
            self.link(unit, other.as_str(), alias, rules);
        }
    }

    /// Links a unit with another one that can change alone; targets and mounts do not restart
    /// because a unit with them does.
    fn link(
        &self,
        unit: &Unit,
        other: &str,
        reason: impl FnOnce(String) -> LinkReason,
        rules: &mut Rules,
    ) {
        let Ok(other) = UnitName::new(other) else {
            return;
        };
        let (a, b) = (unit.id(), id_of_unit(&other));
        let alone = matches!(
            other.kind(),
            UnitType::Service | UnitType::Socket | UnitType::Timer | UnitType::Path
        );
        if alone && a != b && self.pieces.contains_key(&b) {
            let reason = reason(other.as_str().to_owned());
            rules.links.insert(Link { a, b, reason });
        }
    }

    /// A unit with the entries of `etc` that it names, or that have its name.
    fn link_etc(&self, unit: &Unit, rules: &mut Rules) {
        let name = unit.name.as_str();
        let mut link = |id: ComponentId, reason: LinkReason| {
            if self.pieces.contains_key(&id) && !defer::is_shared_etc(&id) {
                let a = unit.id();
                rules.links.insert(Link { a, b: id, reason });
            }
        };
        for path in etc_paths(&unit.text) {
            let id = id_of_etc(path);
            // That a unit names a unit file, as `systemctl link` does, does not make it that unit's.
            if id.kind() == ComponentKind::Etc {
                let (unit, path) = (name.to_owned(), path.to_owned());
                link(id, LinkReason::Reads { unit, path });
            }
        }
        for origin in store_paths_in(&unit.text) {
            for path in self.etc_origins.get(&origin).into_iter().flatten() {
                let (unit, path) = (name.to_owned(), (*path).to_owned());
                link(id_of_etc(&path), LinkReason::Watches { unit, path });
            }
        }
        let same = ComponentId::etc(unit.name.prefix());
        let (unit, path) = (name.to_owned(), same.name().to_owned());
        link(same, LinkReason::SameName { unit, path });
    }

    /// Entries of `etc` that a unit reads with those that they name.
    fn link_included(&self, rules: &mut Rules) {
        let mut open: Vec<ComponentId> = known_etc(rules).into_iter().collect();
        let mut known: BTreeSet<ComponentId> = open.iter().cloned().collect();
        while let Some(id) = open.pop() {
            let Some(piece) = self.pieces.get(&id) else {
                continue;
            };
            for (path, entry) in piece.entries() {
                let Content::Text(text) = &entry.content else {
                    continue;
                };
                for included in etc_paths(text) {
                    let other = id_of_etc(included);
                    let counts = other.kind() == ComponentKind::Etc
                        && other != id
                        && self.pieces.contains_key(&other)
                        && !defer::is_shared_etc(&other);
                    if counts {
                        let (path, included) = (path.to_owned(), included.to_owned());
                        rules.links.insert(Link {
                            a: id.clone(),
                            b: other.clone(),
                            reason: LinkReason::Includes { path, included },
                        });
                        if known.insert(other.clone()) {
                            open.push(other);
                        }
                    }
                }
            }
        }
    }

    /// Entries of `etc` of which nobody knows who reads them.
    fn defer_unnamed(&self, rules: &mut Rules) {
        let known: BTreeSet<ComponentId> = rules
            .links
            .iter()
            .flat_map(|link| [link.a.clone(), link.b.clone()])
            .collect();
        for id in self.pieces.keys() {
            let unknown =
                id.kind() == ComponentKind::Etc && !known.contains(id) && !defer::is_alone_etc(id);
            if unknown {
                let path = id.name().to_owned();
                let reason = DeferReason::NobodyNames { path };
                rules.deferred.entry(id.clone()).or_insert(reason);
            }
        }
    }
}

/// Entries of `etc`, units and what is systemd's aside, by the store path that they lead to.
fn etc_origins(toplevels: [&Toplevel; 2]) -> BTreeMap<&StorePath, BTreeSet<&str>> {
    let mut origins: BTreeMap<&StorePath, BTreeSet<&str>> = BTreeMap::new();
    for (path, entry) in toplevels.into_iter().flat_map(|toplevel| &toplevel.etc) {
        if let Some(origin) = &entry.origin
            && !path.starts_with("systemd/")
        {
            origins.entry(origin).or_default().insert(path);
        }
    }
    origins
}

/// Entries of `etc` that units read.
fn known_etc(rules: &Rules) -> BTreeSet<ComponentId> {
    rules
        .links
        .iter()
        .map(|link| link.b.clone())
        .filter(|id| id.kind() == ComponentKind::Etc)
        .collect()
}

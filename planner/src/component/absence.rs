//! Which components may be stopped for a while, so that their room is free meanwhile: those that the
//! user marked, as far as stopping them stops nothing else and something starts them again. What is
//! marked and may not be stopped is told with the reason.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

use super::cut::{Component, Cut};
use super::link::World;
use super::piece::{ComponentId, ComponentKind};
use super::toplevel::Toplevel;
use super::unit::Unit;
use crate::units::UnitName;

/// What may be stopped.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Absences {
    /// Components that may be absent, each with its units: none for packages and entries of `etc`.
    pub stoppable: BTreeMap<ComponentId, Vec<String>>,
    /// What was marked and must go on, and why.
    pub refused: BTreeMap<String, Refusal>,
}

/// Why something that is marked is not stopped.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Refusal {
    /// It shares what it is made of with a unit that goes on.
    With(String),
    /// A unit stops when this one does.
    Required(String),
    /// It refuses to be stopped, or is to be left running.
    Refuses,
    /// Nothing in the new generation starts it again.
    NeverStarted,
    /// It changes in the final step only, or not at all.
    NotAlone,
}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Refusal::With(unit) => {
                write!(f, "it belongs together with {unit}, which goes on")
            }
            Refusal::Required(unit) => write!(f, "{unit} would stop with it"),
            Refusal::Refuses => f.write_str("it refuses to be stopped"),
            Refusal::NeverStarted => f.write_str("nothing in the new generation starts it again"),
            Refusal::NotAlone => f.write_str("it does not change before the final step"),
        }
    }
}

/// What may be stopped of two generations. `marked` are names of units, such as `redis.service`, and of
/// packages, such as `sw/redis`.
pub fn absences(old: &Toplevel, new: &Toplevel, cut: &Cut, marked: &[String]) -> Absences {
    if marked.is_empty() {
        return Absences::default();
    }
    let judge = Judge::of(World::of(old, new), marked);
    let mut found = Absences::default();
    let mut seen: BTreeSet<&str> = BTreeSet::new();
    for members in families(cut) {
        let units = judge.units_of(&members);
        let packages = members
            .iter()
            .filter(|it| it.kind == ComponentKind::Package);
        let names = packages.map(|it| it.id.as_str());
        let names: BTreeSet<&str> = units
            .iter()
            .map(|it| it.name.as_str())
            .chain(names)
            .collect();
        let marked: Vec<&str> = names.intersection(&judge.marked).copied().collect();
        if marked.is_empty() {
            continue;
        }
        seen.extend(judge.marked.intersection(&names));
        match judge.refusal(&names, &units, &members) {
            Some(why) => {
                let refused = marked
                    .into_iter()
                    .map(|name| (name.to_owned(), why.clone()));
                found.refused.extend(refused);
            }
            None => found.stoppable.extend(members.iter().map(|member| {
                let own = units.iter().filter(|unit| unit.id() == member.id);
                let own = own.map(|unit| unit.name.as_str().to_owned());
                (member.id.clone(), own.collect())
            })),
        }
    }
    for name in judge.marked.difference(&seen) {
        // What neither generation has is nobody's concern: the mark is for all of them.
        if judge.knows(name) {
            found.refused.insert((*name).to_owned(), Refusal::NotAlone);
        }
    }
    found
}

/// Components by what changes together.
fn families(cut: &Cut) -> Vec<Vec<&Component>> {
    let mut families: BTreeMap<&ComponentId, Vec<&Component>> = BTreeMap::new();
    for component in &cut.components {
        let mut groups = cut.groups.iter();
        let group = groups.find(|group| group.members.contains(&component.id));
        let first = group.and_then(|group| group.members.first());
        let family = families.entry(first.unwrap_or(&component.id));
        family.or_default().push(component);
    }
    families.into_values().collect()
}

struct Judge<'a> {
    world: World<'a>,
    marked: BTreeSet<&'a str>,
    /// What belongs together, whether it changes or not.
    neighbours: BTreeMap<ComponentId, BTreeSet<ComponentId>>,
}

impl<'a> Judge<'a> {
    fn of(world: World<'a>, marked: &'a [String]) -> Self {
        let mut neighbours: BTreeMap<ComponentId, BTreeSet<ComponentId>> = BTreeMap::new();
        for link in world.rules().links {
            let entry = neighbours.entry(link.a.clone()).or_default();
            entry.insert(link.b.clone());
            neighbours.entry(link.b).or_default().insert(link.a);
        }
        Judge {
            world,
            marked: marked.iter().map(String::as_str).collect(),
            neighbours,
        }
    }

    /// A unit besides these that belongs together with one of the members.
    fn companion(&self, names: &BTreeSet<&str>, members: &[&Component]) -> Option<String> {
        let mut open: Vec<&ComponentId> = members.iter().map(|member| &member.id).collect();
        let mut seen: BTreeSet<&ComponentId> = open.iter().copied().collect();
        while let Some(id) = open.pop() {
            for other in self.neighbours.get(id).into_iter().flatten() {
                if seen.insert(other) {
                    open.push(other);
                }
            }
        }
        let units = self.world.old_units.values();
        let mut others = units.filter(|unit| seen.contains(&unit.id()));
        let other = others.find(|unit| !names.contains(unit.name.as_str()))?;
        Some(other.name.as_str().to_owned())
    }

    /// Units of these components in the old generation.
    fn units_of(&self, members: &[&Component]) -> Vec<&Unit> {
        let units = self.world.old_units.values();
        let own = units.filter(|unit| members.iter().any(|member| member.id == unit.id()));
        own.collect()
    }

    fn knows(&self, name: &str) -> bool {
        let Ok(unit) = UnitName::new(name) else {
            return false;
        };
        self.world.old_units.contains_key(&unit)
    }

    /// Why these must not be stopped together; `names` are those of their units and packages.
    fn refusal(
        &self,
        names: &BTreeSet<&str>,
        units: &[&Unit],
        members: &[&Component],
    ) -> Option<Refusal> {
        if let Some(name) = names.iter().find(|name| !self.marked.contains(**name)) {
            return Some(Refusal::With((*name).to_owned()));
        }
        if let Some(other) = self.companion(names, members) {
            return Some(Refusal::With(other));
        }
        let pulls = |other: &&Unit| {
            let settings = ["Requires", "Requisite", "BindsTo", "PartOf"];
            let mut words = settings.iter().flat_map(|it| other.words("Unit", it));
            !names.contains(other.name.as_str()) && words.any(|it| names.contains(it.as_str()))
        };
        if let Some(other) = self.world.old_units.values().find(pulls) {
            return Some(Refusal::Required(other.name.as_str().to_owned()));
        }
        let refuses = |unit: &&Unit| {
            unit.file.is_err()
                || unit.flag("Unit", "RefuseManualStop", false)
                || !unit.flag("Unit", "X-StopOnRemoval", true)
        };
        if units.iter().copied().any(|unit| refuses(&unit)) {
            return Some(Refusal::Refuses);
        }
        let comes = |unit: &&&Unit| self.world.new_units.contains_key(&unit.name);
        let is_started = |unit: &Unit| {
            let new = self.world.new_units.get(&unit.name);
            new.is_some_and(|new| {
                !new.wanted_by.is_empty() && !new.flag("Unit", "X-OnlyManualStart", false)
            })
        };
        // A socket or a timer that is started is enough for what it starts.
        let coming: Vec<&Unit> = units.iter().filter(comes).copied().collect();
        let lost = !coming.is_empty() && !coming.iter().copied().any(is_started);
        lost.then_some(Refusal::NeverStarted)
    }
}

#[cfg(test)]
mod tests {
    use super::super::testing::{Pair, Parts};
    use super::*;

    const REDIS: &str = "systemd/system/redis.service";
    const WANTED: (&str, &str) = (
        "link:systemd/system/multi-user.target.wants/redis.service",
        "../redis.service",
    );
    const RUN: &str = "[Service]\nExecStart=@redis-7@/x -c /etc/redis.conf";

    /// What may be stopped, and what not with the reason.
    fn judged(more: Parts<'_>, marked: &[&str]) -> String {
        let mut parts = vec![
            (REDIS, RUN),
            ("redis.conf", "@redis-7@"),
            ("sw:redis-7", ""),
        ];
        parts.extend(more);
        let pair = Pair::of(&parts, &parts);
        let marked: Vec<String> = marked.iter().map(|&it| it.to_owned()).collect();
        let found = absences(&pair.old, &pair.new, &pair.cut(), &marked);
        let stops = found
            .stoppable
            .iter()
            .map(|(id, units)| format!("{id}{units:?}"));
        let refused = found
            .refused
            .iter()
            .map(|(name, why)| format!("{name}: {why}"));
        stops.chain(refused).collect::<Vec<_>>().join(", ")
    }

    #[test]
    fn what_is_marked_may_stop_with_what_changes_with_it() {
        let redis = "redis.service";
        let both = "etc/redis.conf[], unit/redis[\"redis.service\"]";
        assert_eq!(judged(&[WANTED], &[]), "");
        assert_eq!(judged(&[WANTED], &[redis]), both);
        assert_eq!(judged(&[WANTED], &[redis, "gone.service"]), both);
        assert_eq!(judged(&[WANTED], &["sw/redis"]), "sw/redis[]");
        assert_eq!(
            judged(&[WANTED], &[redis, "sw/redis"]),
            format!("etc/redis.conf[], sw/redis[], {}", &both[18..])
        );
    }

    #[test]
    fn what_must_go_on_is_told_with_the_reason() {
        let app = "systemd/system/app.service";
        for (more, why) in [
            (&[][..], "nothing in the new generation starts it again"),
            (
                &[WANTED, (app, "[Unit]\nRequires=redis.service")],
                "app.service would stop with it",
            ),
            (
                &[WANTED, (app, "[Service]\nExecStart=/x /etc/redis.conf")],
                "it belongs together with app.service, which goes on",
            ),
            (
                &[
                    WANTED,
                    (
                        "systemd/system/redis.service.d/x.conf",
                        "[Unit]\nRefuseManualStop=yes",
                    ),
                ],
                "it refuses to be stopped",
            ),
            (
                &[
                    WANTED,
                    (
                        "systemd/system/redis.service.d/x.conf",
                        "[Unit]\nX-StopOnRemoval=no",
                    ),
                ],
                "it refuses to be stopped",
            ),
        ] {
            assert_eq!(
                judged(more, &["redis.service"]),
                format!("redis.service: {why}")
            );
        }
        let mount = [
            WANTED,
            ("systemd/system/data.mount", "[Mount]\nWhat=@data-1@"),
        ];
        let told = judged(&mount, &["data.mount"]);
        assert_eq!(told, "data.mount: it does not change before the final step");
    }
}

//! The pieces that two toplevels are laid beside each other in, by what they are: a family of units,
//! an entry of `etc`, a package of `sw`. A piece has one id on both sides, so that an id stands for
//! the same thing in every generation.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

use serde::{Deserialize, Serialize};

use super::toplevel::{Content, Entry, Toplevel, UNIT_DIR};
use crate::closure::StorePath;
use crate::units::{UnitName, UnitType};

/// Folders of `etc` whose files belong to different owners: each file is an entry of its own.
const SPLIT: [&str; 8] = [
    "conf.d",
    "cron.d",
    "default",
    "logrotate.d",
    "sysconfig",
    "sysusers.d",
    "tmpfiles.d",
    "xinetd.d",
];

/// Name of a component: `unit/nginx`, `etc/nginx`, `sw/hello`, `final`.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct ComponentId(String);

impl ComponentId {
    /// The rest that is changed at the end.
    pub fn last() -> Self {
        ComponentId("final".to_owned())
    }

    /// A family of units.
    pub fn unit(family: &str) -> Self {
        ComponentId(format!("unit/{family}"))
    }

    /// An entry of `etc`.
    pub fn etc(key: &str) -> Self {
        ComponentId(format!("etc/{key}"))
    }

    /// A package of `sw`.
    pub fn package(name: &str) -> Self {
        ComponentId(format!("sw/{name}"))
    }

    /// The name.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// What it is.
    pub fn kind(&self) -> ComponentKind {
        match self.0.split_once('/') {
            Some(("unit", _)) => ComponentKind::Unit,
            Some(("etc", _)) => ComponentKind::Etc,
            Some(("sw", _)) => ComponentKind::Package,
            _ => ComponentKind::Final,
        }
    }

    /// The name without its kind.
    pub fn name(&self) -> &str {
        self.0.split_once('/').map_or(&self.0, |(_, name)| name)
    }
}

impl fmt::Display for ComponentId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// What a component is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum ComponentKind {
    /// A service with its sockets, timers, paths, drop-ins, template and instances.
    Unit,
    /// An entry of `etc`.
    Etc,
    /// A package of `sw`.
    Package,
    /// What is changed at the end.
    Final,
}

/// One thing in both generations: its entries by path (below `etc`, or the path of the package).
#[derive(Debug, Clone, Default)]
pub(super) struct Piece {
    pub old: BTreeMap<String, Entry>,
    pub new: BTreeMap<String, Entry>,
}

impl Piece {
    pub(super) fn is_changed(&self) -> bool {
        self.old != self.new
    }

    /// All entries, those of both sides.
    pub(super) fn entries(&self) -> impl Iterator<Item = (&str, &Entry)> {
        self.old
            .iter()
            .chain(&self.new)
            .map(|(path, entry)| (path.as_str(), entry))
    }
}

/// Store paths that these entries need.
pub(super) fn roots(entries: &BTreeMap<String, Entry>) -> BTreeSet<StorePath> {
    entries.values().flat_map(Entry::roots).collect()
}

/// Lays two toplevels beside each other.
pub(super) fn pieces(old: &Toplevel, new: &Toplevel) -> BTreeMap<ComponentId, Piece> {
    let mut pieces: BTreeMap<ComponentId, Piece> = BTreeMap::new();
    for (id, path, entry) in entries(old) {
        pieces.entry(id).or_default().old.insert(path, entry);
    }
    for (id, path, entry) in entries(new) {
        pieces.entry(id).or_default().new.insert(path, entry);
    }
    pieces
}

/// Entries of `etc` and packages, each with the piece it belongs to and its path.
fn entries(toplevel: &Toplevel) -> impl Iterator<Item = (ComponentId, String, Entry)> {
    let etc = toplevel
        .etc
        .iter()
        .map(|(path, entry)| (id_of_etc(path), path.clone(), entry.clone()));
    let packages = toplevel.packages.iter().map(|path| {
        let entry = Entry {
            origin: Some(path.clone()),
            content: Content::Opaque(path.as_str().to_owned()),
        };
        let id = ComponentId::package(&path.package().name);
        (id, path.as_str().to_owned(), entry)
    });
    etc.chain(packages)
}

/// The piece that an entry of `etc` belongs to.
pub(super) fn id_of_etc(path: &str) -> ComponentId {
    if let Some(below) = path.strip_prefix(UNIT_DIR) {
        return match unit_of(below) {
            Some(UnitPath::Of(unit)) => id_of_unit(&unit),
            Some(UnitPath::ForMany(folder)) => ComponentId::unit(folder),
            None => ComponentId::etc("systemd"),
        };
    }
    let mut parts = path.splitn(3, '/');
    let first = parts.next().unwrap_or_default();
    match parts.next() {
        Some(second) if SPLIT.contains(&first) => ComponentId::etc(&format!("{first}/{second}")),
        _ => ComponentId::etc(first),
    }
}

/// The piece of a unit: its family for what belongs to a service, else itself.
pub(super) fn id_of_unit(unit: &UnitName) -> ComponentId {
    match unit.kind() {
        UnitType::Service | UnitType::Socket | UnitType::Timer | UnitType::Path => {
            ComponentId::unit(unit.prefix())
        }
        _ => ComponentId::unit(unit.as_str()),
    }
}

/// Whose a path below the unit folder is.
pub(super) enum UnitPath<'a> {
    /// Of one unit: its file, a drop-in, or a link that wants it.
    Of(UnitName),
    /// A drop-in for many units: `service.d`, `foo-.service.d`.
    ForMany(&'a str),
}

/// Whose a path below the unit folder is; `None` when it cannot be said.
pub(super) fn unit_of(below: &str) -> Option<UnitPath<'_>> {
    let Some((folder, file)) = below.split_once('/') else {
        return Some(UnitPath::Of(UnitName::new(below).ok()?));
    };
    if let Some(owner) = folder.strip_suffix(".d") {
        return Some(match UnitName::new(owner) {
            Ok(unit) if !unit.prefix().ends_with('-') => UnitPath::Of(unit),
            _ => UnitPath::ForMany(folder),
        });
    }
    let wanting = [".wants", ".requires", ".upholds"];
    wanting
        .iter()
        .any(|suffix| folder.ends_with(suffix))
        .then(|| UnitName::new(file).ok().map(UnitPath::Of))?
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_entry_of_etc_has_its_piece() {
        for (path, id) in [
            ("hosts", "etc/hosts"),
            ("nginx/nginx.conf", "etc/nginx"),
            ("nginx/conf.d/a", "etc/nginx"),
            ("tmpfiles.d/redis.conf", "etc/tmpfiles.d/redis.conf"),
            ("default/redis", "etc/default/redis"),
            ("default", "etc/default"),
            ("systemd/system.conf", "etc/systemd"),
            ("systemd/user/x.service", "etc/systemd"),
            ("systemd/system/nginx.service", "unit/nginx"),
            ("systemd/system/nginx.socket", "unit/nginx"),
            ("systemd/system/pg@.service", "unit/pg"),
            ("systemd/system/pg@a.b.timer", "unit/pg"),
            ("systemd/system/pg@15.service.d/x.conf", "unit/pg"),
            ("systemd/system/a.target.wants/nginx.service", "unit/nginx"),
            ("systemd/system/a.service.requires/b.path", "unit/b"),
            ("systemd/system/data.mount", "unit/data.mount"),
            ("systemd/system/data.mount.d/x.conf", "unit/data.mount"),
            ("systemd/system/a.target", "unit/a.target"),
            ("systemd/system/service.d/x.conf", "unit/service.d"),
            (
                "systemd/system/foo-.service.d/x.conf",
                "unit/foo-.service.d",
            ),
            ("systemd/system/README", "etc/systemd"),
            ("systemd/system/odd/x.service", "etc/systemd"),
        ] {
            assert_eq!(id_of_etc(path).as_str(), id, "{path}");
        }
    }

    #[test]
    fn ids_know_what_they_are() {
        for (id, kind, name) in [
            (ComponentId::unit("a"), ComponentKind::Unit, "a"),
            (ComponentId::etc("b/c"), ComponentKind::Etc, "b/c"),
            (ComponentId::package("d"), ComponentKind::Package, "d"),
            (ComponentId::last(), ComponentKind::Final, "final"),
        ] {
            assert_eq!((id.kind(), id.name()), (kind, name));
        }
    }
}

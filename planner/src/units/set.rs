//! The units of one generation: what its `etc/systemd/system` (or `etc/systemd/user`) holds, as data.
//!
//! A [`UnitSet`] is made from the entries of the directory, which somebody else has read. The contract
//! with that reader: the directory itself and its `.d`, `.wants` and `.requires` folders may be links
//! and are followed; a link that ends, through any chain, at `/dev/null` is given as
//! `Link("/dev/null")`; a link to a name beside it (`foo.service`, `../foo.service`) is given as it is; any
//! other link is followed and given as the `File` it leads to, or left out when it leads nowhere.

use std::collections::{BTreeMap, BTreeSet};

use super::dropin;
use super::file::{Dialect, FileError, UnitFile};
use super::name::UnitName;

/// Where a link leads that masks a unit or hides a drop-in.
const NOWHERE: &str = "/dev/null";

/// One entry of the unit directory.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Entry {
    /// A file, or a link to one outside of the directory, with its content.
    File(Vec<u8>),
    /// A link to another entry or to `/dev/null`.
    Link(String),
}

/// What a generation says of one name.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum UnitSource<'a> {
    /// There is a file, and this is in it.
    Present {
        /// The content, without drop-ins.
        text: &'a [u8],
    },
    /// A link to `/dev/null`: the unit must not be loaded.
    Masked,
    /// Nothing, or a link that leads nowhere.
    Missing,
}

impl UnitSource<'_> {
    /// Whether there is a file.
    #[must_use]
    pub fn is_present(self) -> bool {
        matches!(self, UnitSource::Present { .. })
    }
}

/// The units of one generation.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct UnitSet {
    units: BTreeMap<UnitName, Entry>,
    /// Directory (`foo.service.d`) -> file (`x.conf`) -> content; nothing when it is a link to nowhere.
    dropins: BTreeMap<String, BTreeMap<String, Option<Vec<u8>>>>,
    wants: BTreeMap<UnitName, BTreeSet<UnitName>>,
    requires: BTreeMap<UnitName, BTreeSet<UnitName>>,
    ignored: BTreeSet<String>,
}

impl UnitSet {
    /// Sorts the entries of a unit directory, given by their path inside it.
    #[must_use]
    pub fn new(entries: impl IntoIterator<Item = (String, Entry)>) -> UnitSet {
        let mut set = UnitSet::default();
        for (path, entry) in entries {
            if !set.take(&path, entry) {
                set.ignored.insert(path);
            }
        }
        set
    }

    /// Paths that systemd has no use for in a unit directory.
    #[must_use]
    pub fn ignored(&self) -> &BTreeSet<String> {
        &self.ignored
    }

    /// The names that have an entry of their own: files, aliases and masks.
    pub fn names(&self) -> impl Iterator<Item = &UnitName> {
        self.units.keys()
    }

    /// What is under exactly this name, aliases followed.
    #[must_use]
    pub fn source(&self, name: &UnitName) -> UnitSource<'_> {
        self.follow(name)
            .map_or(UnitSource::Missing, |(_, source)| source)
    }

    /// What a unit is loaded from: its own name, else its template.
    #[must_use]
    pub fn loaded(&self, name: &UnitName) -> UnitSource<'_> {
        match (self.source(name), name.template()) {
            (UnitSource::Missing, Some(template)) => self.source(&template),
            (source, _) => source,
        }
    }

    /// The name that an alias stands for in the end; the name itself when it is none.
    #[must_use]
    pub fn canonical(&self, name: &UnitName) -> UnitName {
        let Some((target, _)) = self.follow(name) else {
            return name.clone();
        };
        match name.instance().filter(|_| target.is_template()) {
            Some(instance) => target.instantiate(instance).unwrap_or(target),
            None => target,
        }
    }

    /// The other names of a unit, in order.
    #[must_use]
    pub fn aliases(&self, name: &UnitName) -> Vec<&UnitName> {
        let links = self.units.iter();
        links
            .filter(|(alias, entry)| {
                *alias != name
                    && matches!(entry, Entry::Link(target) if target != NOWHERE)
                    && self.canonical(alias) == *name
            })
            .map(|(alias, _)| alias)
            .collect()
    }

    /// The units linked from `NAME.wants`.
    #[must_use]
    pub fn wants(&self, name: &UnitName) -> &BTreeSet<UnitName> {
        static NONE: BTreeSet<UnitName> = BTreeSet::new();
        self.wants.get(name).unwrap_or(&NONE)
    }

    /// The units linked from `NAME.requires`.
    #[must_use]
    pub fn requires(&self, name: &UnitName) -> &BTreeSet<UnitName> {
        static NONE: BTreeSet<UnitName> = BTreeSet::new();
        self.requires.get(name).unwrap_or(&NONE)
    }

    /// The units that have a `.wants` or `.requires` link to this one.
    #[must_use]
    pub fn pulled_in_by(&self, name: &UnitName) -> BTreeSet<&UnitName> {
        let links = self.wants.iter().chain(&self.requires);
        links
            .filter(|(_, linked)| linked.contains(name))
            .map(|(from, _)| from)
            .collect()
    }

    /// Whether the unit's own drop-in directory holds a file that is not hidden: this is how an
    /// instance of a template is declared.
    #[must_use]
    pub fn has_own_dropins(&self, name: &UnitName) -> bool {
        self.dropins
            .get(&format!("{name}.d"))
            .is_some_and(|files| files.values().any(Option::is_some))
    }

    /// The unit as systemd loads it from this directory: its file or its template's, then the drop-ins
    /// of its names, of its prefixes and of its type. Nothing when there is no file.
    pub fn read(&self, name: &UnitName) -> Result<Option<UnitFile>, FileError> {
        let UnitSource::Present { text } = self.loaded(name) else {
            return Ok(None);
        };
        let mut unit = UnitFile::empty(Dialect::Systemd);
        unit.apply(name.as_str(), text)?;
        let directories = self.dropin_directories(name);
        let found = directories.iter().filter_map(|dir| self.dropins.get(dir));
        for (file, content) in dropin::in_order(found) {
            if let Some(content) = content {
                unit.apply(&format!("{name}.d/{file}"), content)?;
            }
        }
        Ok(Some(unit))
    }

    /// The unit as switch-to-configuration reads it: the file under `base`, the drop-ins beside it,
    /// and those of `name` when that is another one. Nothing when there is no file.
    pub fn read_ini(
        &self,
        name: &UnitName,
        base: &UnitName,
    ) -> Result<Option<UnitFile>, FileError> {
        let mut unit = UnitFile::empty(Dialect::Ini);
        match self.source(base) {
            UnitSource::Present { text } => unit.apply(base.as_str(), text)?,
            UnitSource::Masked => {}
            UnitSource::Missing => return Ok(None),
        }
        let instance = Some(name).filter(|name| *name != base);
        for owner in std::iter::once(base).chain(instance) {
            let directory = format!("{owner}.d");
            for (file, content) in self.dropins.get(&directory).into_iter().flatten() {
                if let Some(content) = content {
                    unit.apply(&format!("{directory}/{file}"), content)?;
                }
            }
        }
        Ok(Some(unit))
    }

    fn dropin_directories(&self, name: &UnitName) -> Vec<String> {
        let mut directories = dropin::directories(name);
        let of_type = directories.pop();
        for alias in self.aliases(name) {
            directories.extend(dropin::directories(alias));
            directories.pop();
        }
        directories.extend(of_type);
        directories
    }

    /// The entry that a name leads to in the end, and what is there.
    fn follow(&self, name: &UnitName) -> Option<(UnitName, UnitSource<'_>)> {
        let mut at = name.clone();
        // A chain of aliases that is longer than there are units goes in a circle.
        for _ in 0..=self.units.len() {
            match self.units.get(&at)? {
                Entry::File(text) => return Some((at, UnitSource::Present { text })),
                Entry::Link(target) if target == NOWHERE => return Some((at, UnitSource::Masked)),
                Entry::Link(target) => at = beside(target)?,
            }
        }
        None
    }

    fn take(&mut self, path: &str, entry: Entry) -> bool {
        let Some((directory, file)) = path.split_once('/') else {
            let Ok(name) = UnitName::new(path) else {
                return false;
            };
            self.units.insert(name, entry);
            return true;
        };
        if let Some(owner) = directory.strip_suffix(".wants") {
            return link(&mut self.wants, owner, file);
        }
        if let Some(owner) = directory.strip_suffix(".requires") {
            return link(&mut self.requires, owner, file);
        }
        if !directory.ends_with(".d") || !file.ends_with(".conf") || file.contains('/') {
            return false;
        }
        let content = match entry {
            Entry::File(content) => Some(content),
            Entry::Link(target) if target == NOWHERE => None,
            Entry::Link(_) => return false,
        };
        let files = self.dropins.entry(directory.into()).or_default();
        files.insert(file.into(), content);
        true
    }
}

fn link(links: &mut BTreeMap<UnitName, BTreeSet<UnitName>>, owner: &str, file: &str) -> bool {
    let (Ok(owner), Ok(unit)) = (UnitName::new(owner), UnitName::new(file)) else {
        return false;
    };
    links.entry(owner).or_default().insert(unit)
}

/// The name that a link to a neighbour leads to.
fn beside(target: &str) -> Option<UnitName> {
    UnitName::new(target.rsplit('/').next()?).ok()
}

#[cfg(test)]
#[path = "set_tests.rs"]
mod tests;

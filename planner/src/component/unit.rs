//! What the cut needs to know of the units of one generation: each with its drop-ins applied, and
//! what it names.

use std::collections::{BTreeMap, BTreeSet};

use super::piece::{ComponentId, UnitPath, id_of_unit, unit_of};
use super::toplevel::{Content, Entry, Toplevel};
use crate::closure::StorePath;
use crate::units::{UnitFile, UnitName, dropin};

/// One unit of a generation.
#[derive(Debug)]
pub(super) struct Unit {
    pub name: UnitName,
    /// The file with its drop-ins; the reason when it cannot be read.
    pub file: Result<UnitFile, String>,
    /// Store paths that its files come from.
    pub origins: BTreeSet<StorePath>,
    /// The text of its file and drop-ins.
    pub text: String,
    /// The unit that this is only another name of.
    pub alias_of: Option<UnitName>,
    /// Units whose `.wants`, `.requires` or `.upholds` folder names it.
    pub wanted_by: BTreeSet<String>,
}

impl Unit {
    pub(super) fn id(&self) -> ComponentId {
        id_of_unit(&self.name)
    }

    /// Words of a setting; none when the file cannot be read.
    pub(super) fn words(&self, section: &str, key: &str) -> Vec<String> {
        self.file
            .as_ref()
            .map(|file| file.words(section, key))
            .unwrap_or_default()
    }

    pub(super) fn flag(&self, section: &str, key: &str, default: bool) -> bool {
        self.file
            .as_ref()
            .map_or(default, |file| file.flag(section, key, default))
    }

    /// Users and groups that it runs as and that somebody must have made: not root, not by number,
    /// not made by systemd for as long as it runs.
    pub(super) fn accounts(&self) -> BTreeSet<String> {
        if self.flag("Service", "DynamicUser", false) {
            return BTreeSet::new();
        }
        let sections = ["Service", "Socket"];
        let keys = [
            "User",
            "Group",
            "SupplementaryGroups",
            "SocketUser",
            "SocketGroup",
        ];
        sections
            .iter()
            .flat_map(|section| keys.iter().flat_map(|key| self.words(section, key)))
            .filter(|name| {
                let given = ["root", "nobody", "nogroup"].contains(&name.as_str());
                let number = name.bytes().all(|byte| byte.is_ascii_digit());
                !given && !number && !name.contains('%')
            })
            .collect()
    }
}

/// The units of a generation by name.
pub(super) fn units(toplevel: &Toplevel) -> BTreeMap<UnitName, Unit> {
    let mut files: BTreeMap<UnitName, &Entry> = BTreeMap::new();
    let mut dropins: BTreeMap<&str, BTreeMap<String, &Entry>> = BTreeMap::new();
    let mut wants: BTreeMap<UnitName, BTreeSet<String>> = BTreeMap::new();
    for (path, entry) in toplevel.unit_entries() {
        let folder = path.split_once('/');
        match (unit_of(path), folder) {
            (Some(UnitPath::Of(unit)), None) => {
                files.insert(unit, entry);
            }
            (Some(_), Some((folder, file))) if folder.ends_with(".d") => {
                let folder = dropins.entry(folder).or_default();
                folder.insert(file.to_owned(), entry);
            }
            (Some(UnitPath::Of(unit)), Some((folder, _))) => {
                let owner = folder.rsplit_once('.').map_or(folder, |(owner, _)| owner);
                wants.entry(unit).or_default().insert(owner.to_owned());
            }
            _ => {}
        }
    }
    let mut names: BTreeSet<UnitName> = files.keys().chain(wants.keys()).cloned().collect();
    // Drop-ins for a unit that comes with systemd or from a generator.
    names.extend(
        dropins
            .keys()
            .filter_map(|folder| UnitName::new(folder.strip_suffix(".d")?).ok())
            .filter(|unit| !unit.prefix().ends_with('-')),
    );
    names
        .into_iter()
        .map(|name| {
            let mut unit = read(&name, files.get(&name).copied(), &dropins);
            unit.wanted_by = wants.remove(&name).unwrap_or_default();
            (name, unit)
        })
        .collect()
}

fn read(
    name: &UnitName,
    file: Option<&Entry>,
    dropins: &BTreeMap<&str, BTreeMap<String, &Entry>>,
) -> Unit {
    let directories = dropin::directories(name);
    let directories = directories
        .iter()
        .filter_map(|directory| dropins.get(directory.as_str()));
    let mut unit = Unit {
        name: name.clone(),
        file: Ok(UnitFile::default()),
        origins: BTreeSet::new(),
        text: String::new(),
        alias_of: None,
        wanted_by: BTreeSet::new(),
    };
    let named = file.map(|entry| (name.as_str(), entry));
    let dropins = dropin::in_order(directories).map(|(file, entry)| (file, *entry));
    for (at, entry) in named.into_iter().chain(dropins) {
        unit.origins.extend(entry.origin.clone());
        match &entry.content {
            Content::Text(text) => unit.apply(at, text),
            Content::Link(target) => unit.follow(target),
            Content::Opaque(path) => {
                unit.file = Err(format!("{path} is too large for a unit, or no text"));
            }
        }
    }
    unit
}

impl Unit {
    fn apply(&mut self, file: &str, text: &str) {
        self.text.push_str(text);
        self.text.push('\n');
        if let Ok(unit) = &mut self.file
            && let Err(error) = unit.apply(file, text.as_bytes())
        {
            self.file = Err(error.to_string());
        }
    }

    /// A link in the folder: another name, or masked when it leads to /dev/null.
    fn follow(&mut self, target: &str) {
        let last = target.rsplit('/').next().unwrap_or_default();
        self.alias_of = UnitName::new(last).ok().filter(|unit| *unit != self.name);
    }
}

/// Paths under `/etc` that a text names, without the `/etc/`, each once.
pub(super) fn etc_paths(text: &str) -> BTreeSet<&str> {
    let part_of_path = |c: char| c.is_ascii_alphanumeric() || "+-._@/".contains(c);
    text.match_indices("/etc/")
        // `/nix/store/...-x/etc/y` is not under /etc. A dash before it may be `EnvironmentFile=-/etc/x`.
        .filter(|(at, _)| {
            let before = text[..*at].chars().next_back();
            !before.is_some_and(|c| c.is_alphanumeric() || "._/}".contains(c))
        })
        .filter_map(|(at, prefix)| {
            let rest = &text[at + prefix.len()..];
            let end = rest.find(|c| !part_of_path(c)).unwrap_or(rest.len());
            let path = rest[..end].trim_end_matches(['/', '.']);
            (!path.is_empty()).then_some(path)
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_under_etc() {
        for (text, expected) in [
            (
                "ExecStart=/bin/x -c /etc/nginx/nginx.conf -p \"/etc/a\"",
                vec!["a", "nginx/nginx.conf"],
            ),
            ("EnvironmentFile=-/etc/default/redis", vec!["default/redis"]),
            ("--conf=/etc/a:/etc/b,/etc/c;", vec!["a", "b", "c"]),
            ("/nix/store/x-y/etc/z /usr/etc/z $HOME/etc/z", vec![]),
            ("LoadCredential=key:/etc/%i/key", vec![]),
            ("/etc/pg/%i.conf", vec!["pg"]),
            ("see /etc/hosts. And /etc/", vec!["hosts"]),
        ] {
            let seen: Vec<&str> = etc_paths(text).into_iter().collect();
            assert_eq!(seen, expected, "{text}");
        }
    }
}

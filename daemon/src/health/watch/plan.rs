//! Which folders must be watched for what, and what an event in them means.
//!
//! A file is watched through its folder, because what replaces it is another file. A folder that is
//! not there is waited for in the nearest one that is, and a link on the way is watched where it
//! lies, because what it leads to can be exchanged. Of a watched folder only the names count that
//! somebody asked for. Pure: how the folders are at the moment is asked of a function.

use std::collections::{BTreeMap, BTreeSet};
use std::ffi::OsString;
use std::path::{Path, PathBuf};

/// Something that is watched.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Target {
    /// A file, link or folder, there or not.
    pub path: PathBuf,
    /// Area of the checks that look at it.
    pub area: String,
    /// Whether every name in it counts, it being a folder.
    pub inside: bool,
}

/// What is at a path.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum There {
    /// Nothing, or something else than the following.
    No,
    /// A folder.
    Folder,
    /// A link to a folder.
    Link,
}

/// What an event means.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Meaning {
    /// Areas whose files it is about.
    pub areas: BTreeSet<String>,
    /// Folders whose watches may be those of something that lies elsewhere now.
    pub stale: BTreeSet<PathBuf>,
    /// Whether other folders may have to be watched.
    pub rearm: bool,
}

impl Meaning {
    /// Whether it means nothing.
    pub fn is_empty(&self) -> bool {
        self.areas.is_empty() && self.stale.is_empty() && !self.rearm
    }

    /// Adds another one's.
    pub fn add(&mut self, other: Meaning) {
        self.areas.extend(other.areas);
        self.stale.extend(other.stale);
        self.rearm |= other.rearm;
    }
}

/// What counts in one watched folder.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
struct Folder {
    /// Areas of all that is watched through it.
    all: BTreeSet<String>,
    /// Areas for which every name in it counts.
    inside: BTreeSet<String>,
    /// Names that count, with their areas, and whether the way to other folders leads through them.
    names: BTreeMap<OsString, (BTreeSet<String>, bool)>,
}

/// Folders to be watched, and what counts in each.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Plan {
    folders: BTreeMap<PathBuf, Folder>,
}

impl Plan {
    /// The folders that these targets need.
    pub fn of(targets: &[Target], there: &dyn Fn(&Path) -> There) -> Plan {
        let mut plan = Plan::default();
        for target in targets {
            plan.add(target, there);
        }
        plan
    }

    /// The folders.
    pub fn folders(&self) -> BTreeSet<PathBuf> {
        self.folders.keys().cloned().collect()
    }

    /// Areas of everything.
    pub fn areas(&self) -> BTreeSet<String> {
        let all = self.folders.values().flat_map(|folder| &folder.all);
        all.cloned().collect()
    }

    /// What it means that something happened at a path; `is_other`: what was there is gone, or
    /// something else is there now.
    pub fn meaning(&self, path: &Path, is_other: bool) -> Meaning {
        let mut meaning = Meaning::default();
        if is_other {
            // With a folder goes what is below it.
            for (below, folder) in self.folders.iter().filter(|(it, _)| it.starts_with(path)) {
                meaning.areas.extend(folder.all.iter().cloned());
                meaning.stale.insert(below.clone());
                meaning.rearm = true;
            }
        } else if let Some(folder) = self.folders.get(path) {
            meaning.areas.extend(folder.inside.iter().cloned());
        }
        let (Some(parent), Some(name)) = (path.parent(), path.file_name()) else {
            return meaning;
        };
        if let Some(folder) = self.folders.get(parent) {
            meaning.areas.extend(folder.inside.iter().cloned());
            if let Some((areas, is_way)) = folder.names.get(name) {
                meaning.areas.extend(areas.iter().cloned());
                meaning.rearm |= is_way;
            }
        }
        meaning
    }

    fn add(&mut self, target: &Target, there: &dyn Fn(&Path) -> There) {
        // From the root on: every folder on the way is there, up to the one that is watched.
        let mut folder: Option<&Path> = None;
        let mut way: Vec<&Path> = target.path.ancestors().collect();
        way.reverse();
        for path in way {
            let is_last = path == target.path;
            if is_last && !target.inside {
                self.watch_name(folder, path, &target.area, false);
                return;
            }
            match there(path) {
                There::No => {
                    self.watch_name(folder, path, &target.area, true);
                    return;
                }
                There::Link => self.watch_name(folder, path, &target.area, true),
                // That a folder was replaced is heard from the folder itself.
                There::Folder => {}
            }
            folder = Some(path);
        }
        let folder = self.folders.entry(target.path.clone()).or_default();
        folder.all.insert(target.area.clone());
        folder.inside.insert(target.area.clone());
    }

    fn watch_name(&mut self, folder: Option<&Path>, path: &Path, area: &str, is_way: bool) {
        let (Some(folder), Some(name)) = (folder, path.file_name()) else {
            return;
        };
        let folder = self.folders.entry(folder.to_owned()).or_default();
        folder.all.insert(area.to_owned());
        let (areas, way) = folder.names.entry(name.to_owned()).or_default();
        areas.insert(area.to_owned());
        *way |= is_way;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn target(path: &str, area: &str, inside: bool) -> Target {
        Target {
            path: path.into(),
            area: area.into(),
            inside,
        }
    }

    fn there<'a>(folders: &'a [&str], links: &'a [&str]) -> impl Fn(&Path) -> There + 'a {
        move |path| match path {
            path if folders.iter().any(|it| Path::new(it) == path) => There::Folder,
            path if links.iter().any(|it| Path::new(it) == path) => There::Link,
            _ => There::No,
        }
    }

    fn folders(plan: &Plan) -> Vec<String> {
        let shown = |path: PathBuf| path.display().to_string();
        plan.folders().into_iter().map(shown).collect()
    }

    #[test]
    fn the_nearest_folder_is_watched() {
        let conf = target("/etc/nix/nix.conf", "conf", false);
        let dropins = target("/etc/systemd/system/a.service.d", "daemon", true);
        for (there, target, watched) in [
            (
                there(&["/", "/etc", "/etc/nix"], &[]),
                &conf,
                vec!["/etc/nix"],
            ),
            (there(&["/", "/etc"], &[]), &conf, vec!["/etc"]),
            (there(&["/"], &[]), &conf, vec!["/"]),
            (there(&[], &[]), &conf, vec![]),
            (
                there(&["/", "/etc"], &["/etc/nix"]),
                &conf,
                vec!["/etc", "/etc/nix"],
            ),
            (there(&["/", "/etc"], &[]), &dropins, vec!["/etc"]),
            (
                there(
                    &[
                        "/",
                        "/etc",
                        "/etc/systemd",
                        "/etc/systemd/system",
                        "/etc/systemd/system/a.service.d",
                    ],
                    &[],
                ),
                &dropins,
                vec!["/etc/systemd/system/a.service.d"],
            ),
        ] {
            let plan = Plan::of(std::slice::from_ref(target), &there);
            assert_eq!(folders(&plan), watched, "{target:?}");
        }
    }

    #[test]
    fn only_what_was_asked_for_means_something() {
        let targets = [
            target("/etc/nix/nix.conf", "conf", false),
            target("/etc/profile", "shell", false),
            target("/etc/nix/lost/file", "tls", false),
            target("/run/d", "own", true),
        ];
        let there = there(&["/", "/etc", "/etc/nix", "/run", "/run/d"], &[]);
        let plan = Plan::of(&targets, &there);
        assert_eq!(plan.areas().len(), 4);
        for (path, is_other, areas, rearm) in [
            ("/etc/nix/nix.conf", false, "conf", false),
            ("/etc/nix/nix.conf", true, "conf", false),
            ("/etc/nix/other", true, "", false),
            ("/etc/passwd", true, "", false),
            ("/etc/profile", true, "shell", false),
            ("/etc/nix/lost", false, "tls", true),
            ("/etc/nix", true, "conf tls", true),
            ("/etc", true, "conf shell tls", true),
            ("/etc/nix", false, "", false),
            ("/run/d/anything", false, "own", false),
            ("/run/d", false, "own", false),
            ("/run/d", true, "own", true),
            ("/elsewhere", true, "", false),
        ] {
            let meaning = plan.meaning(Path::new(path), is_other);
            let found: Vec<&str> = meaning.areas.iter().map(String::as_str).collect();
            assert_eq!(found.join(" "), areas, "{path}");
            assert_eq!(meaning.rearm, rearm, "{path}");
            assert_eq!(meaning.is_empty(), areas.is_empty(), "{path}");
        }
    }

    #[test]
    fn a_link_that_leads_elsewhere_now_makes_watches_below_it_stale() {
        let there = there(&["/", "/p", "/p/link/etc"], &["/p/link"]);
        let plan = Plan::of(&[target("/p/link/etc/conf", "conf", false)], &there);
        assert_eq!(folders(&plan), ["/p", "/p/link/etc"]);
        let meaning = plan.meaning(Path::new("/p/link"), true);
        assert!(meaning.rearm && meaning.areas.contains("conf"));
        assert!(meaning.stale.contains(Path::new("/p/link/etc")));
    }
}

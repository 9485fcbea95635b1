//! Which files and folders must be watched for what, and what an event means.
//!
//! That a file comes, goes or is replaced is heard from its folder, because what replaces it is
//! another file; that it is written or gets other rights is heard from the file itself, so that
//! what happens to its neighbours wakes nobody. A folder that is not there is waited for in the
//! nearest one that is, and a link on the way is watched where it lies, because what it leads to
//! can be exchanged. Of a watched folder only the names count that somebody asked for. Pure: how
//! the machine is at the moment is asked of a function.

use std::collections::{BTreeMap, BTreeSet};
use std::ffi::OsString;
use std::path::{Path, PathBuf};

/// Something that is watched.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Target {
    /// A file, link or folder, there or not.
    pub path: PathBuf,
    /// Area of the checks that look at it.
    pub area: String,
    /// Whether every name in it counts, it being a folder.
    pub inside: bool,
    /// What counts.
    pub counts: Counts,
}

/// What counts of a target; each holds those before it.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord)]
pub enum Counts {
    /// That it comes, goes, or is replaced.
    #[default]
    Being,
    /// Its owner and mode.
    Rights,
    /// That it was written.
    Content,
}

/// What is at a path.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum There {
    /// Nothing, or something else than the following.
    No,
    /// A regular file.
    File,
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
    /// Paths whose watches may be those of something that lies elsewhere now.
    pub stale: BTreeSet<PathBuf>,
    /// Whether other paths may have to be watched.
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

/// What counts at one watched path.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
struct Watched {
    /// Areas of all that is watched through it.
    all: BTreeSet<String>,
    /// Areas for which every name in it counts, and what of these.
    inside: BTreeMap<String, Counts>,
    /// Names that count.
    names: BTreeMap<OsString, Name>,
    /// What has to be heard from it.
    hears: Counts,
}

/// A name that counts in a folder.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
struct Name {
    areas: BTreeMap<String, Counts>,
    /// Whether the way to other folders leads through it, or it is watched itself.
    is_way: bool,
}

/// Paths to be watched, and what counts at each.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Plan {
    watched: BTreeMap<PathBuf, Watched>,
}

impl Plan {
    /// What these targets need.
    pub fn of(targets: &[Target], there: &dyn Fn(&Path) -> There) -> Plan {
        let mut plan = Plan::default();
        let ends: Vec<_> = targets.iter().map(|it| plan.add(it, there)).collect();
        for (target, end) in targets.iter().zip(ends) {
            if let Some((folder, is)) = end {
                plan.watch_itself(folder, target, is);
            }
        }
        plan
    }

    /// The paths, and what has to be heard from each. That something comes, goes or is replaced in
    /// it is always to be heard from a folder.
    pub fn paths(&self) -> BTreeMap<PathBuf, Counts> {
        let one = |(path, it): (&PathBuf, &Watched)| (path.clone(), it.hears);
        self.watched.iter().map(one).collect()
    }

    /// Areas of everything.
    pub fn areas(&self) -> BTreeSet<String> {
        let all = self.watched.values().flat_map(|it| &it.all);
        all.cloned().collect()
    }

    /// What it means that this happened to what is at a path; [`Counts::Being`]: what was there is
    /// gone, or something else is there now.
    pub fn meaning(&self, path: &Path, what: Counts) -> Meaning {
        let mut meaning = Meaning::default();
        let counted = |areas: &BTreeMap<String, Counts>| -> Vec<String> {
            let counted = areas.iter().filter(|(_, counts)| **counts >= what);
            counted.map(|(area, _)| area.clone()).collect()
        };
        if what == Counts::Being {
            // With a folder goes what is below it.
            for (below, it) in self.watched.iter().filter(|(it, _)| it.starts_with(path)) {
                meaning.areas.extend(it.all.iter().cloned());
                meaning.stale.insert(below.clone());
                meaning.rearm = true;
            }
        } else if let Some(folder) = self.watched.get(path) {
            meaning.areas.extend(counted(&folder.inside));
        }
        let (Some(parent), Some(name)) = (path.parent(), path.file_name()) else {
            return meaning;
        };
        if let Some(folder) = self.watched.get(parent) {
            meaning.areas.extend(counted(&folder.inside));
            if let Some(name) = folder.names.get(name) {
                meaning.areas.extend(counted(&name.areas));
                meaning.rearm |= name.is_way && what == Counts::Being;
            }
        }
        meaning
    }

    /// Watches the way to a target, and its name. Says which folder it lies in and what it is, when
    /// the way leads to it.
    fn add<'a>(
        &mut self,
        target: &'a Target,
        there: &dyn Fn(&Path) -> There,
    ) -> Option<(Option<&'a Path>, There)> {
        // From the root on: every folder on the way is there, up to the one that is watched.
        let mut folder: Option<&Path> = None;
        let mut way: Vec<&Path> = target.path.ancestors().collect();
        way.reverse();
        for path in way {
            let is_last = path == target.path;
            let is = there(path);
            if is_last && !target.inside {
                self.watch_name(folder, target, path, false);
                return Some((folder, is));
            }
            match is {
                There::No | There::File => {
                    self.watch_name(folder, target, path, true);
                    return None;
                }
                There::Link => self.watch_name(folder, target, path, true),
                // That a folder was replaced is heard from the folder itself.
                There::Folder => {}
            }
            folder = Some(path);
        }
        let folder = self.watched.entry(target.path.clone()).or_default();
        folder.all.insert(target.area.clone());
        raise(&mut folder.inside, target);
        folder.hears = folder.hears.max(target.counts);
        None
    }

    fn watch_name(&mut self, folder: Option<&Path>, target: &Target, path: &Path, is_way: bool) {
        let (Some(folder), Some(name)) = (folder, path.file_name()) else {
            return;
        };
        let folder = self.watched.entry(folder.to_owned()).or_default();
        folder.all.insert(target.area.clone());
        let name = folder.names.entry(name.to_owned()).or_default();
        raise(&mut name.areas, target);
        name.is_way |= is_way;
    }

    /// Has more than its being heard, where that counts.
    fn watch_itself(&mut self, folder: Option<&Path>, target: &Target, is: There) {
        if target.counts == Counts::Being {
            return;
        }
        match is {
            There::File => {
                let file = self.watched.entry(target.path.clone()).or_default();
                file.all.insert(target.area.clone());
                file.hears = file.hears.max(target.counts);
            }
            // A folder would tell of everything in it, too, and the one it lies in tells of its
            // rights. What is mounted there tells only itself, and does if it is watched.
            There::Folder => {
                for path in folder.into_iter().chain([target.path.as_path()]) {
                    if let Some(it) = self.watched.get_mut(path) {
                        it.hears = it.hears.max(Counts::Rights);
                    }
                }
            }
            There::No | There::Link => {
                // It is watched itself once it is there.
                let name = target.path.file_name();
                let folder = folder.and_then(|folder| self.watched.get_mut(folder));
                let name = name.and_then(|name| folder?.names.get_mut(name));
                if let Some(name) = name {
                    name.is_way = true;
                }
            }
        }
    }
}

/// The most that counts of all targets of an area.
fn raise(areas: &mut BTreeMap<String, Counts>, target: &Target) {
    let counts = areas.entry(target.area.clone()).or_default();
    *counts = (*counts).max(target.counts);
}

#[cfg(test)]
#[path = "plan_tests.rs"]
mod tests;

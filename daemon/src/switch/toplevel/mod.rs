//! Reading the tree of a toplevel into the data that the cut into components takes: from the store,
//! and before anything of it is fetched from the archives that a cache has of its small parts.
//!
//! Links are resolved inside the store only (`tree`), so that nothing of the machine's own `/etc`
//! gets into the picture; how many entries and how much text are read is bounded. Of `etc` every
//! entry is listed, link trees of units and of split folders too; a link to any other folder stands for all
//! that is in it. The packages of `sw` are what its store path refers to.

mod error;
mod located;
pub(in crate::switch) mod nar;
pub(in crate::switch) mod nars;
pub(in crate::switch) mod tree;

use std::collections::BTreeSet;
use std::ffi::OsString;
use std::path::Path;

use nixctl_planner::closure::{Graph, StorePath};
use nixctl_planner::component::{Content, Entry, Toplevel, UNIT_DIR};

use crate::host::Fs;
use crate::switch::files::Files;
use crate::switch::toplevel::nars::Nars;
use crate::switch::toplevel::tree::{End, Place, Reach, View};
pub use error::ToplevelError;
pub(in crate::switch) use located::{Known, read_located_toplevel};

/// Folders of `etc` that are walked even when they are links: each of their files has an owner of
/// its own.
const WALKED: [&str; 10] = [
    "conf.d",
    "cron.d",
    "default",
    "logrotate.d",
    "sysconfig",
    "systemd",
    "systemd/system",
    "sysusers.d",
    "tmpfiles.d",
    "xinetd.d",
];

/// Folders in folders.
const MAX_DEPTH: usize = 16;

/// What an archive has around a text.
const AROUND: u64 = 4 << 10;

/// Archives that are fetched for a file in them: packages bring their own units, such as systemd.
const UNITS_WITHIN: u64 = 64 << 20;
const ETC_WITHIN: u64 = 4 << 20;
const REST_WITHIN: u64 = 1 << 20;

/// How much of a toplevel is read.
#[derive(Debug, Clone, Copy)]
pub struct Limits {
    /// Entries, those of folders too.
    pub entries: usize,
    /// Bytes of one text; a larger file is not read.
    pub text: u64,
    /// Bytes of all texts.
    pub texts: u64,
    /// Bytes of all archives that are fetched from caches, unpacked.
    pub nars: u64,
}

impl Default for Limits {
    fn default() -> Self {
        Limits {
            entries: 50_000,
            text: 256 << 10,
            texts: 16 << 20,
            nars: 128 << 20,
        }
    }
}

/// Reads a toplevel that is in the store. What the packages of `sw` are comes from the graph, which
/// must have its closure.
///
/// # Errors
/// When it is not there, leads out of the store where it must not, or is too large.
pub fn read_toplevel(
    fs: &Fs,
    graph: &Graph,
    path: &StorePath,
    limits: Limits,
) -> Result<Toplevel, ToplevelError> {
    let view = View {
        fs,
        nars: None,
        reach: Reach::default(),
    };
    Reader::new(view, path, limits).read(graph)
}

struct Reader<'a> {
    view: View<'a>,
    limits: Limits,
    entries: usize,
    texts: u64,
    /// What all of it cannot be read without, and was not there.
    missed: Option<ToplevelError>,
    toplevel: Toplevel,
}

/// Which part of the toplevel an entry goes to.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Part {
    Etc,
    Rest,
}

impl<'a> Reader<'a> {
    fn new(view: View<'a>, path: &StorePath, limits: Limits) -> Self {
        Reader {
            view,
            limits,
            entries: 0,
            texts: 0,
            missed: None,
            toplevel: Toplevel::new(path.clone()),
        }
    }

    fn read(mut self, graph: &Graph) -> Result<Toplevel, ToplevelError> {
        let result = self.parts(graph);
        match self.missed {
            Some(missed) => Err(missed),
            None => result.map(|()| self.toplevel),
        }
    }

    fn parts(&mut self, graph: &Graph) -> Result<(), ToplevelError> {
        let top = Place::of(self.toplevel.path.clone());
        let top = self.directory(&top)?.ok_or_else(|| ToplevelError::Shape {
            path: top.path(),
            why: "it is not in the store".to_owned(),
        })?;
        if let Some(etc) = self.directory(&top.child("etc"))? {
            self.toplevel.scaffold.insert(etc.store.clone());
            self.walk(Part::Etc, &etc, "", None, 0)?;
        }
        if let Some(sw) = self.link_tree(&top.child("sw"))? {
            self.toplevel.packages = referred(graph, &sw.store);
            self.toplevel.scaffold.insert(sw.store);
        }
        for name in self.view.list(Path::new(&top.path()))? {
            if name != "etc" && name != "sw" {
                self.entry(Part::Rest, &top, &name, "", None, 0)?;
            }
        }
        Ok(())
    }

    /// A folder of which nothing is read but that it is there; in a cache not even that.
    fn link_tree(&mut self, place: &Place) -> Result<Option<Place>, ToplevelError> {
        let reach = Reach {
            whole: 0,
            ..Nars::TREE
        };
        match self.view.with(reach).follow(place)? {
            End::Unread(tree) if tree.rest.is_empty() => Ok(Some(tree)),
            _ => self.directory(place),
        }
    }

    /// The folder in the store that a path leads to; nothing when there is none.
    fn directory(&mut self, place: &Place) -> Result<Option<Place>, ToplevelError> {
        let why = match self.view.with(Nars::TREE).follow(place)? {
            End::Directory(directory) => return Ok(Some(directory)),
            End::Nothing => return Ok(None),
            End::Outside(target) => format!("it leads out of the store, to {target}"),
            End::File(..) | End::Other(_) => "it is no folder".to_owned(),
            End::Unread(unread) => {
                self.miss(&unread);
                return Ok(None);
            }
        };
        Err(ToplevelError::Shape {
            path: place.path(),
            why,
        })
    }

    /// Reads a folder. `origin` is the package that it lies in, unless it is one of the link trees.
    fn walk(
        &mut self,
        part: Part,
        place: &Place,
        key: &str,
        origin: Option<&StorePath>,
        depth: usize,
    ) -> Result<(), ToplevelError> {
        if depth > MAX_DEPTH {
            return Err(self.too_much(format!("{MAX_DEPTH} folders in folders")));
        }
        for name in self.view.list(Path::new(&place.path()))? {
            self.entry(part, place, &name, key, origin, depth)?;
        }
        Ok(())
    }

    fn entry(
        &mut self,
        part: Part,
        parent: &Place,
        name: &OsString,
        key: &str,
        origin: Option<&StorePath>,
        depth: usize,
    ) -> Result<(), ToplevelError> {
        self.entries += 1;
        if self.entries > self.limits.entries {
            return Err(self.too_much(format!("{} entries", self.limits.entries)));
        }
        let lossy = name.to_string_lossy();
        let key = if key.is_empty() {
            lossy.clone().into_owned()
        } else {
            format!("{key}/{lossy}")
        };
        let place = parent.child(&lossy);
        if name.to_str().is_none() {
            // Nothing of NixOS has such a name: it is only noted that it is there.
            self.put(part, key, origin.cloned(), Content::Opaque(place.path()));
            return Ok(());
        }
        let view = self.view.with(self.reach(part, &key));
        let link = view.target(&place)?;
        let end = view.follow(&place)?;
        // A link to what is beside it, as aliases and `.wants` folders have, is told as it is.
        if let Some(target) = &link
            && is_beside(target, &end, parent)
        {
            self.put(part, key, None, Content::Link(target.clone()));
            return Ok(());
        }
        match end {
            End::Outside(target) => self.put(part, key, None, Content::Link(target)),
            End::Nothing => {
                let target = link.unwrap_or_default();
                self.put(part, key, None, Content::Link(target));
            }
            End::File(file, size) => {
                let origin = self.origin(&file, origin);
                let content = self.content(&file, size)?;
                self.put(part, key, origin, content);
            }
            End::Other(other) => {
                let origin = self.origin(&other, origin);
                self.put(part, key, origin, Content::Opaque(other.path()));
            }
            End::Directory(folder) if link.is_none() => {
                self.walk(part, &folder, &key, origin, depth + 1)?;
            }
            End::Directory(folder) if part == Part::Etc && is_walked(&key) => {
                let whole = folder.rest.is_empty();
                if whole {
                    // A store path that is nothing but this folder is composed anew as `etc` is.
                    self.toplevel.scaffold.insert(folder.store.clone());
                }
                let origin = self.origin(&folder, origin);
                self.walk(part, &folder, &key, origin.as_ref(), depth + 1)?;
            }
            // Without the folders of units, all of them would seem to be gone.
            End::Unread(unread) if part == Part::Etc && is_walked(&key) => self.miss(&unread),
            End::Directory(opaque) | End::Unread(opaque) => {
                let origin = self.origin(&opaque, origin);
                self.put(part, key, origin, Content::Opaque(opaque.path()));
            }
        }
        Ok(())
    }

    /// Goes on without it, so that a round finds as much as there is to be fetched.
    fn miss(&mut self, unread: &Place) {
        self.missed.get_or_insert_with(|| ToplevelError::Shape {
            path: unread.path(),
            why: "it is too large to be read from a cache".to_owned(),
        });
    }

    /// Which archives are worth being fetched for an entry.
    fn reach(&self, part: Part, key: &str) -> Reach {
        let whole = self.limits.text + AROUND;
        let within = match part {
            Part::Rest => REST_WITHIN,
            Part::Etc if is_walked(key) => return Nars::TREE,
            Part::Etc if key.starts_with(UNIT_DIR) => UNITS_WITHIN,
            Part::Etc => ETC_WITHIN,
        };
        Reach { whole, within }
    }

    /// The store path that something is in, unless that is a link tree of the toplevel.
    fn origin(&self, place: &Place, of_parent: Option<&StorePath>) -> Option<StorePath> {
        if self.toplevel.scaffold.contains(&place.store) {
            None
        } else if of_parent.is_some_and(|parent| *parent == place.store) {
            of_parent.cloned()
        } else {
            Some(place.store.clone())
        }
    }

    /// The text of a file, if it is a small one.
    fn content(&mut self, file: &Place, size: u64) -> Result<Content, ToplevelError> {
        let path = file.path();
        if size > self.limits.text {
            return Ok(Content::Opaque(path));
        }
        self.texts += size;
        if self.texts > self.limits.texts {
            return Err(self.too_much(format!("{} bytes of text", self.limits.texts)));
        }
        let bytes = self.view.read(Path::new(&path), self.limits.text)?;
        let text = bytes.and_then(|bytes| String::from_utf8(bytes).ok());
        Ok(match text.filter(|text| !text.contains('\0')) {
            Some(text) => Content::Text(text),
            None => Content::Opaque(path),
        })
    }

    fn put(&mut self, part: Part, key: String, origin: Option<StorePath>, content: Content) {
        let entries = match part {
            Part::Etc => &mut self.toplevel.etc,
            Part::Rest => &mut self.toplevel.rest,
        };
        entries.insert(key, Entry { origin, content });
    }

    fn too_much(&self, limit: String) -> ToplevelError {
        ToplevelError::TooMuch {
            toplevel: self.toplevel.path.clone(),
            limit,
        }
    }
}

/// What a store path refers to.
fn referred(graph: &Graph, path: &StorePath) -> BTreeSet<StorePath> {
    let ids = graph.id(path).map(|id| graph.references(id));
    ids.into_iter()
        .flatten()
        .map(|id| graph.path(*id).clone())
        .collect()
}

/// Whether a link is relative and stays in the store path that it is in.
fn is_beside(target: &str, end: &End, parent: &Place) -> bool {
    let climbs = target.split('/').filter(|name| *name == "..").count();
    let depth = parent
        .rest
        .split('/')
        .filter(|name| !name.is_empty())
        .count();
    !target.starts_with('/')
        && climbs <= depth
        && !matches!(end, End::Outside(_) | End::Directory(_))
}

/// Whether a link to a folder in `etc` is walked through, and its files composed anew: those of split
/// folders and of units.
pub(super) fn is_walked(key: &str) -> bool {
    let of_units = key.strip_prefix(UNIT_DIR).is_some_and(|below| {
        let suffixes = [".d", ".wants", ".requires", ".upholds"];
        !below.contains('/') && suffixes.iter().any(|suffix| below.ends_with(suffix))
    });
    of_units || WALKED.contains(&key)
}

#[cfg(test)]
mod tests;

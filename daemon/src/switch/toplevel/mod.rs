//! Reading the tree of a toplevel from the store into the data that the cut into components takes.
//!
//! Links are resolved inside the store only (`tree`), so that nothing of the machine's own `/etc`
//! gets into the picture; how many entries and how much text are read is bounded. Of `etc` every
//! entry is listed, link trees of units and of split folders too; a link to any other folder stands for all
//! that is in it. The packages of `sw` are what its store path refers to.

pub(super) mod peek;
pub(super) mod tree;

use std::collections::BTreeSet;
use std::ffi::OsString;
use std::path::Path;

use nixctl_planner::closure::{Graph, StorePath};
use nixctl_planner::component::{Content, Entry, Toplevel, UNIT_DIR};

use crate::host::{Fs, FsError};
use crate::switch::toplevel::tree::{End, Place, follow, list, target};

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

/// How much of a toplevel is read.
#[derive(Debug, Clone, Copy)]
pub struct Limits {
    /// Entries, those of folders too.
    pub entries: usize,
    /// Bytes of one text; a larger file is not read.
    pub text: u64,
    /// Bytes of all texts.
    pub texts: u64,
}

impl Default for Limits {
    fn default() -> Self {
        Limits {
            entries: 50_000,
            text: 256 << 10,
            texts: 16 << 20,
        }
    }
}

/// Why a toplevel could not be read.
#[derive(Debug, thiserror::Error)]
pub enum ToplevelError {
    /// A file could not be read.
    #[error(transparent)]
    Fs(#[from] FsError),
    /// Links that lead to each other.
    #[error("cannot read {path}: its links lead in a circle")]
    Loop {
        /// The path.
        path: String,
    },
    /// A part that must be a folder in the store.
    #[error("cannot read {path}: {why}")]
    Shape {
        /// The path.
        path: String,
        /// What it is instead.
        why: String,
    },
    /// More than is read of a toplevel.
    #[error("cannot read {toplevel}: it has more than {limit}")]
    TooMuch {
        /// The toplevel.
        toplevel: StorePath,
        /// The limit.
        limit: String,
    },
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
    let mut reader = Reader {
        fs,
        limits,
        entries: 0,
        texts: 0,
        toplevel: Toplevel::new(path.clone()),
    };
    reader.read(graph)?;
    Ok(reader.toplevel)
}

struct Reader<'a> {
    fs: &'a Fs,
    limits: Limits,
    entries: usize,
    texts: u64,
    toplevel: Toplevel,
}

/// Which part of the toplevel an entry goes to.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Part {
    Etc,
    Rest,
}

impl Reader<'_> {
    fn read(&mut self, graph: &Graph) -> Result<(), ToplevelError> {
        let top = Place::of(self.toplevel.path.clone());
        let top = self.directory(&top)?.ok_or_else(|| ToplevelError::Shape {
            path: top.path(),
            why: "it is not in the store".to_owned(),
        })?;
        if let Some(etc) = self.directory(&top.child("etc"))? {
            self.toplevel.scaffold.insert(etc.store.clone());
            self.walk(Part::Etc, &etc, "", None, 0)?;
        }
        if let Some(sw) = self.directory(&top.child("sw"))? {
            self.toplevel.packages = referred(graph, &sw.store);
            self.toplevel.scaffold.insert(sw.store);
        }
        for name in list(self.fs, &top)? {
            if name != "etc" && name != "sw" {
                self.entry(Part::Rest, &top, &name, "", None, 0)?;
            }
        }
        Ok(())
    }

    /// The folder in the store that a path leads to; nothing when there is none.
    fn directory(&self, place: &Place) -> Result<Option<Place>, ToplevelError> {
        let why = match follow(self.fs, place)? {
            End::Directory(directory) => return Ok(Some(directory)),
            End::Nothing => return Ok(None),
            End::Outside(target) => format!("it leads out of the store, to {target}"),
            End::File(..) | End::Other(_) => "it is no folder".to_owned(),
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
        for name in list(self.fs, place)? {
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
        let link = target(self.fs, &place)?;
        let end = follow(self.fs, &place)?;
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
            End::Directory(folder) => {
                let origin = self.origin(&folder, origin);
                self.put(part, key, origin, Content::Opaque(folder.path()));
            }
        }
        Ok(())
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
        let bytes = self.fs.read(Path::new(&path), self.limits.text)?;
        let text = String::from_utf8(bytes.unwrap_or_default()).ok();
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

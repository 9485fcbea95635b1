//! Finding one's way in the store: links are resolved here only inside of it.
//!
//! A link that leads out of the store is said to, and not followed: what is read must be the
//! generation's, never the machine's own `/etc`. A store path that is not here yet is read out of
//! its archive, as far as that was fetched.

use std::ffi::{OsStr, OsString};
use std::io;
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::path::{Path, PathBuf};

use nixctl_planner::closure::{STORE_DIR, StorePath};

use crate::host::{Fs, FsError};
use crate::switch::files::{Files, Seen, Way, walk};
use crate::switch::toplevel::ToplevelError;
use crate::switch::toplevel::nar::Node;
use crate::switch::toplevel::nars::Nars;

/// A place in the store with no link on the way to it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(in crate::switch) struct Place {
    pub store: StorePath,
    /// Below it, without a slash in front; empty for the store path itself.
    pub rest: String,
}

/// Where a path leads in the end.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(in crate::switch) enum End {
    /// A file of this size.
    File(Place, u64),
    /// A folder.
    Directory(Place),
    /// A device or the like.
    Other(Place),
    /// Out of the store, to this.
    Outside(String),
    /// Nowhere.
    Nothing,
    /// Somewhere that was not read, because it is in a cache only.
    Unread(Place),
}

/// Up to which size an archive is worth being fetched, in bytes.
#[derive(Debug, Clone, Copy, Default)]
pub(in crate::switch) struct Reach {
    /// When the store path itself is what is looked for.
    pub whole: u64,
    /// When that is something in it.
    pub within: u64,
}

/// The store as it is seen from here, and all else as it is on the machine.
#[derive(Debug, Clone, Copy)]
pub(in crate::switch) struct View<'a> {
    pub fs: &'a Fs,
    /// What is in caches only.
    pub nars: Option<&'a Nars<'a>>,
    /// What is fetched of it when it is looked for.
    pub reach: Reach,
}

impl Place {
    pub(in crate::switch) fn of(store: StorePath) -> Self {
        Place {
            store,
            rest: String::new(),
        }
    }

    pub(in crate::switch) fn child(&self, name: &str) -> Self {
        let rest = if self.rest.is_empty() {
            name.to_owned()
        } else {
            format!("{}/{name}", self.rest)
        };
        Place {
            store: self.store.clone(),
            rest,
        }
    }

    pub(in crate::switch) fn path(&self) -> String {
        if self.rest.is_empty() {
            self.store.to_string()
        } else {
            format!("{}/{}", self.store, self.rest)
        }
    }

    /// The place that a path in the store names.
    fn at(path: &Path) -> Option<Self> {
        let (store, rest) = StorePath::containing(path.to_str()?).ok()?;
        Some(Place {
            store,
            rest: rest.to_owned(),
        })
    }
}

impl View<'_> {
    /// The same where other archives are worth being fetched.
    pub(in crate::switch) fn with(self, reach: Reach) -> Self {
        View { reach, ..self }
    }

    /// The target of the link at this place, if it is one.
    pub(in crate::switch) fn target(self, place: &Place) -> Result<Option<String>, FsError> {
        let target = self.read_link(Path::new(&place.path()))?;
        Ok(target.map(|target| target.to_string_lossy().into_owned()))
    }

    /// Follows a path to its end. The folder that holds it must have no link on the way to it.
    pub(in crate::switch) fn follow(self, place: &Place) -> Result<End, ToplevelError> {
        let path = match walk(&self, Path::new(&place.path()), in_store)? {
            Way::To(path) => path,
            Way::Out(target) => return Ok(End::Outside(target.to_string_lossy().into_owned())),
            Way::Circle => return Err(ToplevelError::Loop { path: place.path() }),
        };
        let Some(end) = Place::at(&path) else {
            return Ok(End::Outside(path.to_string_lossy().into_owned()));
        };
        Ok(match self.look(&path)? {
            None => End::Nothing,
            Some(Seen::File(size)) => End::File(end, size),
            Some(Seen::Directory) => End::Directory(end),
            Some(Seen::Link | Seen::Other) => End::Other(end),
            Some(Seen::Unread) => End::Unread(end),
        })
    }

    /// What an archive has at a path; the path is in the store of the machine, or outside of it,
    /// when there is no answer.
    fn node(&self, path: &Path) -> Option<Option<&Node>> {
        let nars = self.nars?;
        let place = Place::at(path).filter(|place| nars.is_remote(&place.store))?;
        let most = match place.rest.is_empty() {
            true => self.reach.whole,
            false => self.reach.within,
        };
        Some(nars.look(&place, most))
    }
}

impl Files for View<'_> {
    fn look(&self, path: &Path) -> Result<Option<Seen>, FsError> {
        let Some(node) = self.node(path) else {
            return self.fs.look(path);
        };
        Ok(node.map(|node| match node {
            Node::File(size, _) => Seen::File(*size),
            Node::Folder(_) => Seen::Directory,
            Node::Link(_) => Seen::Link,
            Node::Unread => Seen::Unread,
        }))
    }

    fn read_link(&self, path: &Path) -> Result<Option<PathBuf>, FsError> {
        match self.node(path) {
            None => self.fs.read_link(path),
            Some(Some(Node::Link(target))) => Ok(Some(OsStr::from_bytes(target).into())),
            Some(_) => Ok(None),
        }
    }

    fn list(&self, path: &Path) -> Result<Vec<OsString>, FsError> {
        match self.node(path) {
            None => self.fs.list(path),
            Some(None) => Ok(Vec::new()),
            Some(Some(Node::Folder(folder))) if folder.is_whole => {
                let names = folder.entries.keys().cloned();
                Ok(names.map(OsString::from_vec).collect())
            }
            Some(Some(_)) => Err(FsError {
                action: "list",
                path: path.to_owned(),
                source: io::Error::other("all of it cannot be read from a cache"),
            }),
        }
    }

    fn read(&self, path: &Path, limit: u64) -> Result<Option<Vec<u8>>, FsError> {
        match self.node(path) {
            None => self.fs.read(path, limit),
            Some(Some(Node::File(_, content))) => Ok(content.clone()),
            Some(_) => Ok(None),
        }
    }
}

/// Once out of the store, whatever comes back into it went through the machine.
fn in_store(path: &Path) -> bool {
    path.starts_with(STORE_DIR) || Path::new(STORE_DIR).starts_with(path)
}

//! Finding one's way in the store: links are resolved here, name by name, and only inside of it.
//!
//! A link that leads out of the store is said to, and not followed: what is read must be the
//! generation's, never the machine's own `/etc`.

use std::ffi::OsString;
use std::path::Path;

use nixctl_planner::closure::{STORE_DIR, StorePath};

use crate::host::Fs;
use crate::host::fs::Kind;
use crate::switch::toplevel::ToplevelError;

/// Links followed in one path before it counts as a loop, as in the kernel.
const MAX_LINKS: u32 = 40;

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
}

/// Names in a folder, sorted.
pub(in crate::switch) fn list(fs: &Fs, place: &Place) -> Result<Vec<OsString>, ToplevelError> {
    Ok(fs.list(Path::new(&place.path()))?)
}

/// The target of the link at this place, if it is one.
pub(in crate::switch) fn target(fs: &Fs, place: &Place) -> Result<Option<String>, ToplevelError> {
    let target = fs.read_link(Path::new(&place.path()))?;
    Ok(target.map(|target| target.to_string_lossy().into_owned()))
}

/// Follows a path to its end. The folder that holds it must have no link on the way to it.
pub(in crate::switch) fn follow(fs: &Fs, place: &Place) -> Result<End, ToplevelError> {
    let mut links = 0;
    let mut pending = place.clone();
    'again: loop {
        let mut here = Place::of(pending.store.clone());
        let names: Vec<String> = names(&pending.rest);
        // The store path itself may be a link, too.
        for at in 0..=names.len() {
            if at > 0 {
                here = here.child(&names[at - 1]);
            }
            let path = here.path();
            let Some(meta) = fs.meta(Path::new(&path))? else {
                return Ok(End::Nothing);
            };
            let is_last = at == names.len();
            match meta.kind {
                Kind::Link => {
                    links += 1;
                    if links > MAX_LINKS {
                        return Err(ToplevelError::Loop { path: place.path() });
                    }
                    let target = target(fs, &here)?.unwrap_or_default();
                    match beyond(&here, &target, &names[at..]) {
                        Ok(next) => {
                            pending = next;
                            continue 'again;
                        }
                        Err(outside) => return Ok(End::Outside(outside)),
                    }
                }
                Kind::Directory if is_last => return Ok(End::Directory(here)),
                Kind::Directory => {}
                _ if !is_last => return Ok(End::Nothing),
                Kind::File => return Ok(End::File(here, meta.size)),
                Kind::Other => return Ok(End::Other(here)),
            }
        }
    }
}

/// Where a link and the names behind it lead; the whole path when that is out of the store.
fn beyond(link: &Place, target: &str, names: &[String]) -> Result<Place, String> {
    let mut path = if target.starts_with('/') {
        String::new()
    } else {
        let own = link.path();
        own.rsplit_once('/')
            .map_or(String::new(), |(parent, _)| parent.to_owned())
    };
    let names = names.iter().map(String::as_str);
    for name in target.split('/').chain(names) {
        match name {
            "" | "." => {}
            // What is before it has no link in it, so that taking a name off is right.
            ".." => path.truncate(path.rfind('/').unwrap_or(0)),
            name => {
                path.push('/');
                path.push_str(name);
            }
        }
        // Once out of the store, whatever comes back into it went through the machine.
        let inside = path == STORE_DIR
            || path.starts_with(&format!("{STORE_DIR}/"))
            || format!("{STORE_DIR}/").starts_with(&format!("{path}/"));
        if !inside {
            return Err(if target.starts_with('/') {
                target.to_owned()
            } else {
                path
            });
        }
    }
    match StorePath::containing(&path) {
        Ok((store, rest)) => Ok(Place {
            store,
            rest: rest.to_owned(),
        }),
        Err(_) => Err(path),
    }
}

fn names(rest: &str) -> Vec<String> {
    rest.split('/')
        .filter(|name| !name.is_empty())
        .map(str::to_owned)
        .collect()
}

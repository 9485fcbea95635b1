//! Reading the files of a generation through its links, wherever they lie.
//!
//! Everything is a link of links in a generation: [`walk`] follows them name by name, inside the
//! root of what it reads and a bounded number of times. What is read is the machine's own files, or
//! the store together with what was seen of it in caches (`toplevel::tree`).

use std::collections::VecDeque;
use std::ffi::OsString;
use std::path::{Component, Path, PathBuf};

use crate::host::fs::Kind;
use crate::host::{Fs, FsError};

/// Links followed on one way, as in the kernel.
const MAX_LINKS: u32 = 40;

/// Largest file that [`content`] reads; unit files, fstab and the like have a few KiB.
const MAX_FILE_BYTES: u64 = 1 << 20;

/// What is at a path, links not followed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Seen {
    /// A file of this size.
    File(u64),
    /// A folder.
    Directory,
    /// A link.
    Link,
    /// A device or the like.
    Other,
    /// Something in a cache that was not looked into.
    Unread,
}

/// Files that can be read.
pub trait Files {
    /// What a path itself is; `None` when there is nothing.
    ///
    /// # Errors
    /// When it cannot be looked at.
    fn look(&self, path: &Path) -> Result<Option<Seen>, FsError>;

    /// Target of a link; `None` when there is nothing or no link.
    ///
    /// # Errors
    /// When it cannot be read.
    fn read_link(&self, path: &Path) -> Result<Option<PathBuf>, FsError>;

    /// Names in a folder, sorted.
    ///
    /// # Errors
    /// When it is no folder or cannot be read.
    fn list(&self, path: &Path) -> Result<Vec<OsString>, FsError>;

    /// Bytes of a file of at most `limit` bytes; `None` when there is nothing, or it was not looked
    /// into.
    ///
    /// # Errors
    /// When it is no file, larger than the limit, or cannot be read.
    fn read(&self, path: &Path, limit: u64) -> Result<Option<Vec<u8>>, FsError>;
}

impl Files for Fs {
    fn look(&self, path: &Path) -> Result<Option<Seen>, FsError> {
        let meta = self.meta(path)?;
        Ok(meta.map(|meta| match meta.kind {
            Kind::File => Seen::File(meta.size),
            Kind::Directory => Seen::Directory,
            Kind::Link => Seen::Link,
            Kind::Other => Seen::Other,
        }))
    }

    fn read_link(&self, path: &Path) -> Result<Option<PathBuf>, FsError> {
        Fs::read_link(self, path)
    }

    fn list(&self, path: &Path) -> Result<Vec<OsString>, FsError> {
        Fs::list(self, path)
    }

    fn read(&self, path: &Path, limit: u64) -> Result<Option<Vec<u8>>, FsError> {
        Fs::read(self, path, limit)
    }
}

/// Where a way along links ends.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Way {
    /// At this path without links in it; as far as it exists, the rest as it was named.
    To(PathBuf),
    /// Where it must not go: the target of the last link, or where a relative one leads.
    Out(PathBuf),
    /// In a circle.
    Circle,
}

/// Follows the links of a path as long as `may_enter` says yes to each path on the way.
///
/// # Errors
/// When a link cannot be read.
pub fn walk(
    files: &dyn Files,
    path: &Path,
    may_enter: impl Fn(&Path) -> bool,
) -> Result<Way, FsError> {
    let mut ahead = names(path);
    let mut at = PathBuf::from("/");
    let mut last = None;
    let mut links = 0;
    while let Some(name) = ahead.pop_front() {
        let next = if name == ".." {
            // There is no link in what is behind, so that taking a name off is right.
            at.parent().unwrap_or(&at).to_owned()
        } else {
            at.join(&name)
        };
        if !may_enter(&next) {
            let target = last.filter(|it: &PathBuf| it.is_absolute());
            return Ok(Way::Out(target.unwrap_or(next)));
        }
        let target = match name == ".." {
            true => None,
            false => files.read_link(&next)?,
        };
        let Some(target) = target else {
            at = next;
            continue;
        };
        links += 1;
        if links > MAX_LINKS {
            return Ok(Way::Circle);
        }
        if target.is_absolute() {
            at = PathBuf::from("/");
        }
        for name in names(&target).into_iter().rev() {
            ahead.push_front(name);
        }
        last = Some(target);
    }
    Ok(Way::To(at))
}

/// The path without links in it, as far as it exists. `None` when links go in a circle.
///
/// # Errors
/// When a link cannot be read.
pub fn canonical(files: &dyn Files, path: &Path) -> Result<Option<PathBuf>, FsError> {
    match walk(files, path, |_| true)? {
        Way::To(path) => Ok(Some(path)),
        Way::Out(_) | Way::Circle => Ok(None),
    }
}

/// The canonical path of what is there; `None` when nothing is.
///
/// # Errors
/// When it cannot be looked at.
pub fn existing(files: &dyn Files, path: &Path) -> Result<Option<PathBuf>, FsError> {
    Ok(found(files, path)?.map(|(path, _)| path))
}

/// The same with what it is.
///
/// # Errors
/// As [`existing`].
pub fn found(files: &dyn Files, path: &Path) -> Result<Option<(PathBuf, Seen)>, FsError> {
    let Some(path) = canonical(files, path)? else {
        return Ok(None);
    };
    Ok(files.look(&path)?.map(|seen| (path, seen)))
}

/// Bytes of the file that a path leads to, through links; `None` when it leads to no file, or to
/// one that was not looked into.
///
/// # Errors
/// When it cannot be read.
pub fn content(files: &dyn Files, path: &Path) -> Result<Option<Vec<u8>>, FsError> {
    match found(files, path)? {
        Some((_, Seen::Directory)) | None => Ok(None),
        Some((path, _)) => files.read(&path, MAX_FILE_BYTES),
    }
}

fn names(path: &Path) -> VecDeque<OsString> {
    let named = path.components().filter_map(|component| match component {
        Component::Normal(name) => Some(name.to_owned()),
        Component::ParentDir => Some("..".into()),
        Component::RootDir | Component::CurDir | Component::Prefix(_) => None,
    });
    named.collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::switch::testing::files as machine;

    #[test]
    fn what_is_not_there_is_nothing() {
        let (_dir, fs) = machine(&[("a", "-> b"), ("b", "-> a"), ("c", "-> d")]);
        assert_eq!(canonical(&fs, Path::new("/a")).unwrap(), None);
        assert_eq!(existing(&fs, Path::new("/c")).unwrap(), None);
        assert_eq!(content(&fs, Path::new("/c")).unwrap(), None);
    }

    #[test]
    fn links_do_not_lead_out_of_the_root() {
        let (dir, fs) = machine(&[("a", "-> ../../../b/../c"), ("c/d", "text")]);
        assert!(dir.path().join("c/d").is_file());
        let path = canonical(&fs, Path::new("/a/d")).unwrap();
        assert_eq!(path, Some(PathBuf::from("/c/d")));
        assert_eq!(content(&fs, Path::new("/a/d")).unwrap().unwrap(), b"text");
    }

    #[test]
    fn a_way_ends_where_it_must_not_go_on() {
        let (_dir, fs) = machine(&[
            ("in/absolute", "-> /out/x"),
            ("in/climbing", "-> ../out/x"),
            ("in/back", "-> /out/../in/file"),
            ("in/far", "-> ../../../out"),
            ("in/good", "-> ../in/file"),
            ("in/round", "-> round"),
            ("in/file", "x"),
            ("out/x", "x"),
        ]);
        let inside = |path: &Path| path == Path::new("/") || path.starts_with("/in");
        for (name, end) in [
            ("file", Way::To("/in/file".into())),
            ("good", Way::To("/in/file".into())),
            ("gone/below", Way::To("/in/gone/below".into())),
            ("absolute", Way::Out("/out/x".into())),
            ("back", Way::Out("/out/../in/file".into())),
            ("climbing", Way::Out("/out".into())),
            ("round", Way::Circle),
        ] {
            let way = walk(&fs, &Path::new("/in").join(name), inside).unwrap();
            assert_eq!(way, end, "{name}");
        }
        let far = walk(&fs, Path::new("/in/far"), inside).unwrap();
        assert!(matches!(far, Way::Out(_)), "{far:?}");
    }
}

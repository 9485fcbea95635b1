//! Paths followed through symbolic links, without leaving the root.
//!
//! [`Fs`] never follows a link at the end of a path. Where following is wanted (a program, a
//! profile, a CA bundle) it is done here, one component at a time, so that links in an image are
//! read as the image's own programs would read them.

use std::collections::VecDeque;
use std::ffi::OsString;
use std::path::{Component, Path, PathBuf};

use crate::host::{Fs, FsError};

/// Links that are followed before a path counts as a loop; the kernel's own limit.
const MAX_LINKS: usize = 40;

/// A path followed to its end.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Followed {
    /// The path without links.
    pub path: PathBuf,
    /// Every path that was a link on the way, followed or not, in order, with all links before
    /// it resolved.
    pub links: Vec<PathBuf>,
}

impl Followed {
    /// Names of the store paths on the way, the last one being where it ends.
    pub fn store_names(&self) -> impl Iterator<Item = &str> {
        let paths = self.links.iter().chain([&self.path]);
        paths.filter_map(|path| {
            let mut below = path.strip_prefix("/nix/store").ok()?.iter();
            below.next()?.to_str()
        })
    }
}

/// Follows all links of an absolute path; `None` when something on the way is missing, is no
/// folder, or the links form a loop.
///
/// # Errors
/// When a part cannot be read.
pub fn follow(fs: &Fs, path: &Path) -> Result<Option<Followed>, FsError> {
    let mut ahead: VecDeque<OsString> = names(path).collect();
    let mut at = PathBuf::from("/");
    let mut links = Vec::new();
    while let Some(name) = ahead.pop_front() {
        if name == ".." {
            at.pop();
            continue;
        }
        let next = at.join(&name);
        if let Some(target) = fs.read_link(&next)? {
            if links.len() == MAX_LINKS {
                return Ok(None);
            }
            links.push(next);
            if target.is_absolute() {
                at = PathBuf::from("/");
            }
            for name in names(&target).collect::<Vec<_>>().into_iter().rev() {
                ahead.push_front(name);
            }
        } else if fs.meta(&next)?.is_some() {
            at = next;
        } else {
            return Ok(None);
        }
    }
    Ok(Some(Followed { path: at, links }))
}

/// Whether there is something at the end of the path, links followed.
///
/// # Errors
/// When a part cannot be read.
pub fn exists(fs: &Fs, path: &Path) -> Result<bool, FsError> {
    Ok(follow(fs, path)?.is_some())
}

/// Text of a small file, links followed; `None` when there is none. Damaged characters are
/// replaced.
///
/// # Errors
/// When it is no regular file or cannot be read.
pub fn read_text(fs: &Fs, path: &Path, limit: u64) -> Result<Option<String>, FsError> {
    let Some(followed) = follow(fs, path)? else {
        return Ok(None);
    };
    let bytes = fs.read(&followed.path, limit)?;
    Ok(bytes.map(|bytes| String::from_utf8_lossy(&bytes).into_owned()))
}

fn names(path: &Path) -> impl Iterator<Item = OsString> + '_ {
    path.components().filter_map(|component| match component {
        Component::Normal(name) => Some(name.to_owned()),
        Component::ParentDir => Some(OsString::from("..")),
        Component::RootDir | Component::CurDir | Component::Prefix(_) => None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::symlink;

    #[test]
    fn links_are_followed_within_the_root() {
        let root = tempfile::tempdir().unwrap();
        let real = |path: &str| root.path().join(path);
        std::fs::create_dir_all(real("usr/bin")).unwrap();
        std::fs::write(real("usr/bin/dash"), "").unwrap();
        symlink("usr/bin", real("bin")).unwrap();
        symlink("/bin/dash", real("usr/bin/sh")).unwrap();
        symlink("../../../../usr", real("up")).unwrap();
        symlink("loop", real("loop")).unwrap();
        symlink("/nowhere", real("dangling")).unwrap();
        let fs = Fs::at(root.path());
        let end = |path: &str| {
            follow(&fs, Path::new(path))
                .unwrap()
                .map(|found| found.path)
        };
        assert_eq!(end("/bin/sh"), Some("/usr/bin/dash".into()));
        assert_eq!(end("/up/bin/dash"), Some("/usr/bin/dash".into()));
        assert_eq!(end("/loop"), None);
        assert_eq!(end("/dangling"), None);
        assert_eq!(end("/usr/bin/none"), None);
        let links = follow(&fs, Path::new("/bin/sh")).unwrap().unwrap().links;
        assert_eq!(links, ["/bin", "/usr/bin/sh", "/bin"].map(PathBuf::from));
    }
}

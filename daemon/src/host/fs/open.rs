//! How a path is opened: every step of the way stays below the root, the last name is not followed.
//!
//! On Linux the kernel does it in one call (`openat2` with `RESOLVE_IN_ROOT`). Where that call is
//! missing (before 5.6, under an old seccomp filter, on macOS) the same is done name by name:
//! links are read and resolved here, absolute ones begin again at the root, `..` stops at it.

use std::collections::VecDeque;
use std::ffi::{OsStr, OsString};
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::path::{Component, Path, PathBuf};

use nix::errno::Errno;
use nix::fcntl::{OFlag, open, openat, readlinkat};
use nix::sys::stat::Mode;

/// Links followed in one path before it counts as a loop, as in the kernel.
const MAX_LINKS: u32 = 40;

/// Attempts of a call that the kernel gives up because of a rename somewhere else.
#[cfg(target_os = "linux")]
const RACE_ATTEMPTS: u32 = 16;

/// A name in an open folder: what every operation works on.
#[derive(Debug)]
pub(super) struct Place {
    /// The folder; on Linux good for lookups only (`O_PATH`).
    pub dir: OwnedFd,
    /// The last name of the path, `.` for the root itself.
    pub name: OsString,
}

/// Opens the folder that holds `path`; links on the way are followed inside the root.
pub(super) fn place(root: &Path, path: &Path) -> io::Result<Place> {
    let (names, name) = folder_and_name(path)?;
    Ok(Place {
        dir: resolve(open_root(root)?, &names)?,
        name: name.to_owned(),
    })
}

/// As [`place`], with whether a link was followed on the way. Where none is there, which is the
/// rule, it costs no more calls.
pub(super) fn place_and_whether_linked(root: &Path, path: &Path) -> io::Result<(Place, bool)> {
    let (names, name) = folder_and_name(path)?;
    let (dir, linked) = resolve_noting_links(open_root(root)?, &names)?;
    let name = name.to_owned();
    Ok((Place { dir, name }, linked))
}

fn folder_and_name(path: &Path) -> io::Result<(Vec<&OsStr>, &OsStr)> {
    let mut names = names(path)?;
    let name = names.pop().unwrap_or_else(|| OsStr::new("."));
    Ok((names, name))
}

/// Opens the folder `path` for lookups, following links inside the root, the last one too.
pub(super) fn directory(root: &Path, path: &Path) -> io::Result<OwnedFd> {
    resolve(open_root(root)?, &names(path)?)
}

/// Opens the folder above, for lookups.
pub(super) fn above(dir: &OwnedFd) -> nix::Result<OwnedFd> {
    openat(dir, "..", lookup_flags(), Mode::empty())
}

/// Opens a name in a folder as a folder that can be listed and synced; a link is refused.
pub(super) fn listable(dir: impl AsFd, name: &OsStr) -> nix::Result<OwnedFd> {
    let flags = OFlag::O_RDONLY | OFlag::O_DIRECTORY | OFlag::O_NOFOLLOW | OFlag::O_CLOEXEC;
    openat(dir, name, flags, Mode::empty())
}

/// Writes a folder's entries to the disk.
pub(super) fn sync_dir(dir: &OwnedFd) -> io::Result<()> {
    match nix::unistd::fsync(listable(dir, OsStr::new("."))?) {
        // Some file systems have nothing to sync in a folder and say so.
        Err(Errno::EINVAL) | Ok(()) => Ok(()),
        Err(errno) => Err(errno.into()),
    }
}

fn open_root(root: &Path) -> nix::Result<OwnedFd> {
    open(root, lookup_flags(), Mode::empty())
}

/// Flags of a folder that is only a place to look names up in.
fn lookup_flags() -> OFlag {
    #[cfg(target_os = "linux")]
    let access = OFlag::O_PATH;
    #[cfg(not(target_os = "linux"))]
    let access = OFlag::O_RDONLY;
    access | OFlag::O_DIRECTORY | OFlag::O_CLOEXEC
}

/// The names of a machine path. `..` is refused: no path of ours has it, and one from outside
/// that does is up to something.
fn names(path: &Path) -> io::Result<Vec<&OsStr>> {
    path.components()
        .filter_map(|component| match component {
            Component::Normal(name) => Some(Ok(name)),
            Component::RootDir | Component::CurDir => None,
            Component::ParentDir | Component::Prefix(_) => Some(Err(io::Error::new(
                io::ErrorKind::InvalidInput,
                "the path has `..` in it",
            ))),
        })
        .collect()
}

fn resolve(root: OwnedFd, names: &[&OsStr]) -> io::Result<OwnedFd> {
    if names.is_empty() {
        return Ok(root);
    }
    #[cfg(target_os = "linux")]
    if let Some(answer) = resolve_in_kernel(&root, names, Links::Followed) {
        return Ok(answer?);
    }
    Ok(resolve_by_name(root, names)?.0)
}

fn resolve_noting_links(root: OwnedFd, names: &[&OsStr]) -> io::Result<(OwnedFd, bool)> {
    if names.is_empty() {
        return Ok((root, false));
    }
    #[cfg(target_os = "linux")]
    match resolve_in_kernel(&root, names, Links::Refused) {
        Some(Err(Errno::ELOOP)) => return Ok((resolve(root, names)?, true)),
        Some(answer) => return Ok((answer?, false)),
        None => {}
    }
    Ok(resolve_by_name(root, names)?)
}

/// What becomes of links on the way.
#[cfg(target_os = "linux")]
#[derive(Clone, Copy, PartialEq, Eq)]
enum Links {
    Followed,
    /// With `ELOOP`.
    Refused,
}

/// One `openat2`; `None` when the kernel cannot answer and the names must be walked.
#[cfg(target_os = "linux")]
fn resolve_in_kernel(
    root: &OwnedFd,
    names: &[&OsStr],
    links: Links,
) -> Option<nix::Result<OwnedFd>> {
    use nix::fcntl::{OpenHow, ResolveFlag, openat2};
    let path: PathBuf = names.iter().collect();
    let mut resolve = ResolveFlag::RESOLVE_IN_ROOT | ResolveFlag::RESOLVE_NO_MAGICLINKS;
    resolve.set(ResolveFlag::RESOLVE_NO_SYMLINKS, links == Links::Refused);
    let how = OpenHow::new().flags(lookup_flags()).resolve(resolve);
    for _ in 0..RACE_ATTEMPTS {
        match openat2(root, &path, how) {
            Err(Errno::EAGAIN) => {}
            // A filter that does not know the call says EPERM; opening for lookups never does.
            Err(Errno::ENOSYS | Errno::EPERM) => return None,
            answer => return Some(answer),
        }
    }
    None
}

/// The folder, and whether a link led there.
fn resolve_by_name(root: OwnedFd, names: &[&OsStr]) -> nix::Result<(OwnedFd, bool)> {
    let mut pending: VecDeque<OsString> = names.iter().map(|&name| name.to_owned()).collect();
    let mut below: Vec<OwnedFd> = Vec::new();
    let mut links = 0;
    while let Some(name) = pending.pop_front() {
        if name == ".." {
            below.pop();
            continue;
        }
        let here = below.last().unwrap_or(&root);
        match openat(
            here,
            name.as_os_str(),
            lookup_flags() | OFlag::O_NOFOLLOW,
            Mode::empty(),
        ) {
            Ok(next) => below.push(next),
            Err(errno @ (Errno::ENOTDIR | Errno::ELOOP)) => {
                // EINVAL: no link at all, so what the kernel said first stands.
                let target = PathBuf::from(
                    readlinkat(here, name.as_os_str())
                        .map_err(|e| if e == Errno::EINVAL { errno } else { e })?,
                );
                links += 1;
                if links > MAX_LINKS {
                    return Err(Errno::ELOOP);
                }
                if target.is_absolute() {
                    below.clear();
                }
                for part in target.components().rev() {
                    match part {
                        Component::Normal(name) => pending.push_front(name.to_owned()),
                        Component::ParentDir => pending.push_front("..".into()),
                        Component::RootDir | Component::CurDir | Component::Prefix(_) => {}
                    }
                }
            }
            Err(errno) => return Err(errno),
        }
    }
    Ok((below.pop().unwrap_or(root), links > 0))
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::symlink;

    use super::*;

    fn identity(fd: OwnedFd) -> u64 {
        std::os::unix::fs::MetadataExt::ino(&std::fs::File::from(fd).metadata().unwrap())
    }

    /// The kernel and the walk must give the same folder, or both refuse.
    #[test]
    fn both_ways_agree_and_stay_below_the_root() {
        let outside = tempfile::tempdir().unwrap();
        std::fs::create_dir_all(outside.path().join("root/a/b")).unwrap();
        std::fs::create_dir_all(outside.path().join("root/etc")).unwrap();
        std::fs::create_dir_all(outside.path().join("secret")).unwrap();
        let root = outside.path().join("root");
        std::fs::write(root.join("file"), "").unwrap();
        symlink("/a", root.join("absolute")).unwrap();
        symlink("a/b", root.join("relative")).unwrap();
        symlink("../../../../etc", root.join("a/up")).unwrap();
        symlink("../secret", root.join("escape")).unwrap();
        symlink("loop", root.join("loop")).unwrap();
        symlink("absolute/b", root.join("twice")).unwrap();
        symlink("file", root.join("to-file")).unwrap();
        for (path, expected, linked) in [
            ("a/b", Some("a/b"), false),
            ("absolute/b", Some("a/b"), true),
            ("relative", Some("a/b"), true),
            ("a/up", Some("etc"), true),
            ("twice", Some("a/b"), true),
            ("escape", None, true),
            ("loop/x", None, true),
            ("file/x", None, false),
            ("to-file", None, true),
            ("missing", None, false),
        ] {
            let names = names(Path::new(path)).unwrap();
            let open = || open_root(&root).unwrap();
            let expected = expected.map(|real| {
                std::os::unix::fs::MetadataExt::ino(&std::fs::metadata(root.join(real)).unwrap())
            });
            let noted = expected.map(|expected| (expected, linked));
            let answer = |(fd, linked)| (identity(fd), linked);
            let walked = resolve_by_name(open(), &names).ok().map(answer);
            assert_eq!(walked, noted, "walked {path}");
            let either = resolve_noting_links(open(), &names).ok().map(answer);
            assert_eq!(either, noted, "{path}");
            #[cfg(target_os = "linux")]
            if let Some(answer) = resolve_in_kernel(&open(), &names, Links::Followed) {
                assert_eq!(answer.ok().map(identity), expected, "kernel {path}");
            }
        }
    }

    #[test]
    fn dots_are_refused() {
        assert!(names(Path::new("/a/../b")).is_err());
        assert_eq!(names(Path::new("/a/./b")).unwrap().len(), 2);
    }
}

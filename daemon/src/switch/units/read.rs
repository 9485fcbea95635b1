//! Reads the units of a generation, and what else deciding about units needs, from the machine.
//!
//! Everything is a link of links in a generation: [`canonical`] follows them name by name, inside
//! the root of [`Fs`] and a bounded number of times.

use std::collections::VecDeque;
use std::ffi::OsString;
use std::path::{Component, Path, PathBuf};

use nixctl_planner::units::{Entry, Fstab, Manager, Mode, UnitSet};

use crate::host::{Fs, FsError};

/// Links followed on one way, as in the kernel.
const MAX_LINKS: u32 = 40;

/// Largest unit file or fstab that is read; real ones have a few KiB.
const MAX_FILE_BYTES: u64 = 1 << 20;

/// Where a link leads that masks a unit.
const NOWHERE: &str = "/dev/null";

/// The path without links in it, as far as it exists. `None` when links go in a circle.
///
/// # Errors
/// When a link cannot be read.
pub fn canonical(fs: &Fs, path: &Path) -> Result<Option<PathBuf>, FsError> {
    let mut ahead = names(path);
    let mut at = PathBuf::from("/");
    let mut links = 0;
    while let Some(name) = ahead.pop_front() {
        if name == ".." {
            at.pop();
            continue;
        }
        let next = at.join(&name);
        let Some(target) = fs.read_link(&next)? else {
            at = next;
            continue;
        };
        links += 1;
        if links > MAX_LINKS {
            return Ok(None);
        }
        if target.is_absolute() {
            at = PathBuf::from("/");
        }
        for name in names(&target).into_iter().rev() {
            ahead.push_front(name);
        }
    }
    Ok(Some(at))
}

/// The canonical path of what is there; `None` when nothing is.
///
/// # Errors
/// When it cannot be looked at.
pub fn existing(fs: &Fs, path: &Path) -> Result<Option<PathBuf>, FsError> {
    let Some(path) = canonical(fs, path)? else {
        return Ok(None);
    };
    Ok(fs.meta(&path)?.map(|_| path))
}

/// Bytes of the file that a path leads to, through links; `None` when it leads to no file.
///
/// # Errors
/// When it cannot be read.
pub fn content(fs: &Fs, path: &Path) -> Result<Option<Vec<u8>>, FsError> {
    match existing(fs, path)? {
        Some(path) if !fs.is_dir(&path) => fs.read(&path, MAX_FILE_BYTES),
        _ => Ok(None),
    }
}

/// The units in a directory such as `/etc/systemd/system`; empty when there is none.
///
/// # Errors
/// When it cannot be read.
pub fn unit_set(fs: &Fs, directory: &Path) -> Result<UnitSet, FsError> {
    let Some(directory) = existing(fs, directory)? else {
        return Ok(UnitSet::default());
    };
    let mut entries = Vec::new();
    for name in fs.list(&directory)? {
        let Some(name) = name.to_str() else { continue };
        let path = directory.join(name);
        if fs.is_dir(&path) {
            folder(fs, name, &path, &mut entries)?;
        } else if let Some(entry) = entry(fs, &directory, &path)? {
            entries.push((name.to_owned(), entry));
        }
    }
    Ok(UnitSet::new(entries))
}

/// The file systems that an fstab names; none when there is no file.
///
/// # Errors
/// When it cannot be read.
pub fn fstab(fs: &Fs, path: &Path) -> Result<Fstab, FsError> {
    let bytes = content(fs, path)?.unwrap_or_default();
    Ok(Fstab::parse(&String::from_utf8_lossy(&bytes), Mode::Right))
}

/// The service manager that runs, and the one that a generation brings; `None` when the
/// generation brings none.
///
/// # Errors
/// When links cannot be read.
pub fn managers(fs: &Fs, toplevel: &Path) -> Result<Option<(Manager, Manager)>, FsError> {
    let program = existing(fs, &toplevel.join("systemd/lib/systemd/systemd"))?;
    let running = canonical(fs, Path::new("/proc/1/exe"))?;
    let (Some(program), Some(running)) = (program, running) else {
        return Ok(None);
    };
    let settings =
        |path: &Path| -> Result<Option<String>, FsError> { Ok(existing(fs, path)?.map(text_of)) };
    Ok(Some((
        Manager {
            program: Some(text_of(running)),
            settings: settings(Path::new("/etc/systemd/system.conf"))?,
        },
        Manager {
            program: Some(text_of(program)),
            settings: settings(&toplevel.join("etc/systemd/system.conf"))?,
        },
    )))
}

fn text_of(path: PathBuf) -> String {
    path.to_string_lossy().into_owned()
}

/// A folder of drop-ins or of links to wanted units. Of the latter only the names count.
fn folder(
    fs: &Fs,
    name: &str,
    path: &Path,
    entries: &mut Vec<(String, Entry)>,
) -> Result<(), FsError> {
    let Some(path) = canonical(fs, path)? else {
        return Ok(());
    };
    let dropins = name.ends_with(".d");
    if !dropins && !name.ends_with(".wants") && !name.ends_with(".requires") {
        return Ok(());
    }
    for file in fs.list(&path)? {
        let Some(file) = file.to_str() else { continue };
        let found = if dropins {
            entry(fs, &path, &path.join(file))?
        } else {
            Some(Entry::Link(file.to_owned()))
        };
        entries.extend(found.map(|found| (format!("{name}/{file}"), found)));
    }
    Ok(())
}

/// What an entry of a unit directory is: a link to nowhere or to a name beside it stays a link,
/// any other is the file that it leads to.
fn entry(fs: &Fs, directory: &Path, path: &Path) -> Result<Option<Entry>, FsError> {
    let Some(target) = fs.read_link(path)? else {
        return Ok(content(fs, path)?.map(Entry::File));
    };
    if canonical(fs, path)?.is_some_and(|end| end == Path::new(NOWHERE)) {
        return Ok(Some(Entry::Link(NOWHERE.to_owned())));
    }
    let beside = match target.parent() {
        Some(parent) if parent.as_os_str().is_empty() => true,
        Some(parent) if parent.is_absolute() => parent == directory,
        Some(parent) => parent == Path::new(".") || parent == Path::new(".."),
        None => false,
    };
    if beside {
        return Ok(target.to_str().map(|target| Entry::Link(target.to_owned())));
    }
    Ok(content(fs, path)?.map(Entry::File))
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
    use std::os::unix::fs::symlink;

    use nixctl_planner::units::{UnitName, UnitSource};

    use super::*;

    fn machine(files: &[(&str, &str)]) -> (tempfile::TempDir, Fs) {
        let dir = tempfile::tempdir().unwrap();
        for (path, text) in files {
            let path = dir.path().join(path);
            std::fs::create_dir_all(path.parent().unwrap()).unwrap();
            match text.strip_prefix("-> ") {
                Some(target) => symlink(target, path).unwrap(),
                None => std::fs::write(path, text).unwrap(),
            }
        }
        let fs = Fs::at(dir.path());
        (dir, fs)
    }

    fn unit(name: &str) -> UnitName {
        UnitName::new(name).unwrap()
    }

    #[test]
    fn units_are_found_behind_links_of_links() {
        let (_dir, fs) = machine(&[
            ("dev/null", ""),
            ("etc/systemd/system", "-> /etc/static/systemd/system"),
            ("etc/static", "-> /nix/store/e/etc"),
            ("nix/store/e/etc/systemd/system", "-> /nix/store/u"),
            ("nix/store/u/a.service", "-> ../a/a.service"),
            ("nix/store/a/a.service", "[Service]\nExecStart=/a\n"),
            ("nix/store/u/alias.service", "-> a.service"),
            ("nix/store/u/own.service", "-> /nix/store/u/a.service"),
            ("nix/store/u/masked.service", "-> /null"),
            ("null", "-> /dev/null"),
            ("nix/store/u/gone.service", "-> /nix/store/gone"),
            ("nix/store/u/round.service", "-> /nix/store/u/round.service"),
            ("nix/store/u/a.service.d", "-> /nix/store/d"),
            ("nix/store/d/x.conf", "-> /nix/store/x.conf"),
            ("nix/store/x.conf", "[Service]\nNice=5\n"),
            ("nix/store/u/b.target.wants/a.service", "-> /nix/store/gone"),
        ]);
        let set = unit_set(&fs, Path::new("/etc/systemd/system")).unwrap();
        let a = set.read(&unit("a.service")).unwrap().unwrap();
        assert_eq!(a.last("Service", "Nice"), Some("5"));
        for alias in ["alias.service", "own.service"] {
            assert_eq!(set.canonical(&unit(alias)), unit("a.service"), "{alias}");
        }
        assert_eq!(set.source(&unit("masked.service")), UnitSource::Masked);
        for gone in ["gone.service", "round.service"] {
            assert_eq!(set.source(&unit(gone)), UnitSource::Missing, "{gone}");
        }
        assert!(set.wants(&unit("b.target")).contains(&unit("a.service")));
    }

    #[test]
    fn what_is_not_there_is_empty() {
        let (_dir, fs) = machine(&[("a", "-> b"), ("b", "-> a"), ("c", "-> d")]);
        assert_eq!(canonical(&fs, Path::new("/a")).unwrap(), None);
        assert_eq!(existing(&fs, Path::new("/c")).unwrap(), None);
        assert_eq!(content(&fs, Path::new("/c")).unwrap(), None);
        let set = unit_set(&fs, Path::new("/etc/systemd/system")).unwrap();
        assert_eq!(set, UnitSet::default());
        assert_eq!(managers(&fs, Path::new("/nix/store/x")).unwrap(), None);
    }

    #[test]
    fn links_do_not_lead_out_of_the_root() {
        let (dir, fs) = machine(&[("a", "-> ../../../b/../c"), ("c/d", "text")]);
        assert!(dir.path().join("c/d").is_file());
        let path = canonical(&fs, Path::new("/a/d")).unwrap();
        assert_eq!(path, Some(PathBuf::from("/c/d")));
        assert_eq!(content(&fs, Path::new("/a/d")).unwrap().unwrap(), b"text");
    }
}

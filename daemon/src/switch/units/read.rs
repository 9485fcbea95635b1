//! Reads the units of a generation, and what else deciding about units needs, from the machine.
//!
//! The generation may be on the machine or, as far as it was looked into, in a cache only.

use std::path::{Path, PathBuf};

use nixctl_planner::units::{Entry, Fstab, Manager, Mode, UnitSet};

use crate::host::{Fs, FsError};
use crate::switch::files::{Files, Seen, canonical, content, existing, found};

/// What comes from a generation leads there.
const STORE: &str = "/nix/store";

/// Where a link leads that masks a unit.
const NOWHERE: &str = "/dev/null";

/// Stands for a unit file in a cache that was not looked into: it is another one than any that is
/// here.
const UNREAD: &str = "# to be read when it is in the store\n";

/// The units in a directory such as `/etc/systemd/system`; empty when there is none.
///
/// # Errors
/// When it cannot be read.
pub fn unit_set(files: &dyn Files, directory: &Path) -> Result<UnitSet, FsError> {
    let Some(directory) = existing(files, directory)? else {
        return Ok(UnitSet::default());
    };
    let mut entries = Vec::new();
    for name in files.list(&directory)? {
        let Some(name) = name.to_str() else { continue };
        let path = directory.join(name);
        match found(files, &path)? {
            Some((inner, Seen::Directory)) => folder(files, name, &inner, &mut entries)?,
            _ => entries
                .extend(entry(files, &directory, &path)?.map(|entry| (name.to_owned(), entry))),
        }
    }
    Ok(UnitSet::new(entries))
}

/// The file systems that an fstab names; none when there is no file.
///
/// # Errors
/// When it cannot be read.
pub fn fstab(files: &dyn Files, path: &Path) -> Result<Fstab, FsError> {
    let bytes = content(files, path)?.unwrap_or_default();
    Ok(Fstab::parse(&String::from_utf8_lossy(&bytes), Mode::Right))
}

/// The service manager that runs, and the one that a generation brings; `None` when the
/// generation brings none.
///
/// # Errors
/// When links cannot be read.
pub fn managers(
    fs: &Fs,
    theirs: &dyn Files,
    toplevel: &Path,
) -> Result<Option<(Manager, Manager)>, FsError> {
    let program = existing(theirs, &toplevel.join("systemd/lib/systemd/systemd"))?;
    let running = canonical(fs, Path::new("/proc/1/exe"))?;
    let (Some(program), Some(running)) = (program, running) else {
        return Ok(None);
    };
    let brought = existing(theirs, &toplevel.join("etc/systemd/system.conf"))?;
    // A file that no generation put there stays when the next one brings none either.
    let read = existing(fs, Path::new("/etc/systemd/system.conf"))?
        .filter(|path| brought.is_some() || path.starts_with(STORE));
    Ok(Some((
        Manager {
            program: Some(text_of(running)),
            settings: read.map(text_of),
        },
        Manager {
            program: Some(text_of(program)),
            settings: brought.map(text_of),
        },
    )))
}

fn text_of(path: PathBuf) -> String {
    path.to_string_lossy().into_owned()
}

/// A folder of drop-ins or of links to wanted units. Of the latter only the names count.
fn folder(
    files: &dyn Files,
    name: &str,
    path: &Path,
    entries: &mut Vec<(String, Entry)>,
) -> Result<(), FsError> {
    let dropins = name.ends_with(".d");
    if !dropins && !name.ends_with(".wants") && !name.ends_with(".requires") {
        return Ok(());
    }
    for file in files.list(path)? {
        let Some(file) = file.to_str() else { continue };
        let found = if dropins {
            entry(files, path, &path.join(file))?
        } else {
            Some(Entry::Link(file.to_owned()))
        };
        entries.extend(found.map(|found| (format!("{name}/{file}"), found)));
    }
    Ok(())
}

/// What an entry of a unit directory is: a link to nowhere or to a name beside it stays a link,
/// any other is the file that it leads to.
fn entry(files: &dyn Files, directory: &Path, path: &Path) -> Result<Option<Entry>, FsError> {
    let Some(target) = files.read_link(path)? else {
        return file(files, path);
    };
    if canonical(files, path)?.is_some_and(|end| end == Path::new(NOWHERE)) {
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
    file(files, path)
}

/// The file that a path leads to, if it leads to one.
fn file(files: &dyn Files, path: &Path) -> Result<Option<Entry>, FsError> {
    Ok(match found(files, path)? {
        Some((_, Seen::Unread)) => Some(Entry::File(UNREAD.into())),
        _ => content(files, path)?.map(Entry::File),
    })
}

#[cfg(test)]
mod tests {
    use nixctl_planner::units::{UnitName, UnitSource};

    use super::*;
    use crate::switch::testing::files as machine;

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
        let (_dir, fs) = machine(&[]);
        let set = unit_set(&fs, Path::new("/etc/systemd/system")).unwrap();
        assert_eq!(set, UnitSet::default());
        let managers = managers(&fs, &fs, Path::new("/nix/store/x")).unwrap();
        assert_eq!(managers, None);
    }

    #[test]
    fn settings_of_the_manager_count_when_a_generation_brings_them() {
        let table = [
            // What is in /etc, what the generation brings, whether they are the same.
            ("[Manager]\n", None, true),
            ("[Manager]\n", Some("-> /nix/store/b.conf"), false),
            ("-> /nix/store/a.conf", None, false),
            ("-> /nix/store/a.conf", Some("-> /nix/store/a.conf"), true),
            ("-> /nix/store/a.conf", Some("-> /nix/store/b.conf"), false),
        ];
        for (there, brought, same) in table {
            let mut files = vec![
                ("proc/1/exe", "-> /lib/systemd"),
                ("lib/systemd", "a program"),
                ("nix/store/t/systemd/lib/systemd/systemd", "-> /lib/systemd"),
                ("nix/store/a.conf", "[Manager]\n"),
                ("nix/store/b.conf", "[Manager]\nLogLevel=debug\n"),
                ("etc/systemd/system.conf", there),
            ];
            files.extend(brought.map(|text| ("nix/store/t/etc/systemd/system.conf", text)));
            let (_dir, fs) = machine(&files);
            let found = managers(&fs, &fs, Path::new("/nix/store/t")).unwrap();
            let (running, new) = found.unwrap();
            assert_eq!(running == new, same, "{there} {brought:?}");
        }
    }
}

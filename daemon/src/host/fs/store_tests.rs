use std::os::unix::fs::symlink;
use std::path::PathBuf;

use super::*;
use crate::host::fs::FsError;
use crate::host::fs::testing::{Bound, rooted};

type Change = fn(&Fs, &Path) -> Result<(), FsError>;

/// Every way to change what is named `file` in a folder, or to make something beside it.
const CHANGES: &[(&str, Change)] = &[
    ("write", |fs, dir| {
        fs.write(&dir.join("file"), b"new", 0o600, None)
    }),
    ("write a new one", |fs, dir| {
        fs.write(&dir.join("new"), b"new", 0o600, None)
    }),
    ("copy to", |fs, dir| {
        fs.copy_file(Path::new("/plain"), &dir.join("new"), 0o600)
    }),
    ("link symbolically", |fs, dir| {
        fs.symlink(Path::new("/plain"), &dir.join("new"))
    }),
    ("link", |fs, dir| {
        fs.link(Path::new("/plain"), &dir.join("new"))
    }),
    ("create a folder", |fs, dir| {
        fs.create_dir(&dir.join("new"), 0o755)
    }),
    ("set the mode", |fs, dir| {
        fs.set_mode(&dir.join("file"), 0o600)
    }),
    ("set the owner", |fs, dir| {
        let (uid, gid) = (nix::unistd::geteuid(), nix::unistd::getegid());
        fs.set_owner(&dir.join("file"), uid.as_raw(), gid.as_raw())
    }),
    ("set the times", |fs, dir| {
        fs.set_times(&dir.join("file"), 7)
    }),
    ("rename to", |fs, dir| {
        fs.rename(Path::new("/plain"), &dir.join("file"))
    }),
    ("rename from", |fs, dir| {
        fs.rename(&dir.join("file"), Path::new("/moved"))
    }),
    ("remove", |fs, dir| fs.remove_file(&dir.join("file"))),
    ("remove a folder", |fs, dir| {
        fs.remove_dir(&dir.join("empty")).map(drop)
    }),
    ("remove a tree", |fs, dir| fs.remove_tree(&dir.join("full"))),
    ("remove temporaries", |fs, dir| {
        fs.sweep_temporaries(&dir.join("full")).map(drop)
    }),
];

/// A machine with `/nix/store/p/units`, and links to it and elsewhere.
fn machine() -> (tempfile::TempDir, Fs) {
    let (dir, fs) = rooted();
    let at = |path: &str| dir.path().join(path);
    for folder in ["nix/store/p/units", "srv/units", "etc/real"] {
        for below in ["empty", "full"] {
            std::fs::create_dir_all(at(folder).join(below)).unwrap();
        }
        std::fs::write(at(folder).join("file"), "old").unwrap();
        std::fs::write(at(folder).join("full/file"), "old").unwrap();
    }
    std::fs::write(at("plain"), "plain").unwrap();
    for (link, target) in [
        ("etc/units", "/nix/store/p/units"),
        ("etc/relative", "../nix/store/p/units"),
        ("etc/static", "/nix/store/p"),
        ("etc/chain", "static/units"),
        ("etc/elsewhere", "/srv/units"),
        ("etc/own", "real"),
        ("etc/through", "/nix/store/p/out"),
        ("nix/store/p/out", "/srv/units"),
        ("nix/store/p/again", "units"),
    ] {
        symlink(target, at(link)).unwrap();
    }
    (dir, fs)
}

/// Everything below a folder: path, mode, time and content.
fn picture(path: &Path) -> Vec<(PathBuf, String)> {
    use std::os::unix::fs::MetadataExt;
    let meta = std::fs::symlink_metadata(path).unwrap();
    let content = std::fs::read_to_string(path).unwrap_or_default();
    let line = format!("{:o} {} {content}", meta.mode(), meta.mtime());
    let mut all = vec![(path.to_owned(), line)];
    if meta.is_dir() {
        for entry in std::fs::read_dir(path).unwrap() {
            all.extend(picture(&entry.unwrap().path()));
        }
    }
    all.sort();
    all
}

/// Makes every change in a folder of a machine each.
fn changed_in(folder: &str, fresh: impl Fn() -> (tempfile::TempDir, Fs), refused: bool) {
    for (what, change) in CHANGES {
        let (dir, fs) = fresh();
        let store = dir.path().join("nix/store");
        let before = refused.then(|| picture(&store));
        let answer = change(&fs, Path::new(folder));
        if !refused {
            answer.unwrap_or_else(|error| panic!("{what} in {folder}: {error}"));
            continue;
        }
        let error = answer.expect_err(&format!("{what} in {folder}"));
        assert!(
            error.source.get_ref().is_some_and(|it| it.is::<InStore>()),
            "{what} in {folder}: {error}"
        );
        assert_eq!(Some(picture(&store)), before, "{what} in {folder}");
        assert!(dir.path().join("plain").exists());
    }
}

#[test]
fn nothing_is_changed_in_the_store_by_way_of_a_link() {
    for (folder, refused) in [
        ("/nix/store/p/units", false),
        ("/nix/store/p/again", false),
        ("/etc/units", true),
        ("/etc/relative", true),
        ("/etc/chain", true),
        ("/etc/static/units", true),
        ("/etc/static/again", true),
        ("/etc/elsewhere", false),
        ("/etc/own", false),
        ("/etc/real", false),
        // A link of the store that leads out of it again.
        ("/etc/through", false),
        ("/etc/static/out", false),
    ] {
        changed_in(folder, machine, refused);
    }
}

#[test]
fn the_error_says_what_and_why() {
    let (_dir, fs) = machine();
    let path = Path::new("/etc/units/x.service");
    let error = fs.write(path, b"x", 0o644, None).unwrap_err();
    let text = "cannot write /etc/units/x.service: it lies in the store, by way of a link";
    assert_eq!(error.to_string(), text);
    assert!(!error.is_left() && !error.is_stopped());
}

#[test]
fn what_is_not_there_needs_no_removal() {
    let (_dir, fs) = machine();
    let none = Path::new("/etc/units/none");
    fs.remove_file(none).unwrap();
    fs.remove_tree(none).unwrap();
    assert!(!fs.remove_dir(none).unwrap());
    assert_eq!(fs.sweep_temporaries(none).unwrap(), 0);
}

#[test]
fn reading_and_the_link_itself_are_not_concerned() {
    let (dir, fs) = machine();
    let file = Path::new("/etc/units/file");
    assert_eq!(fs.read(file, 9).unwrap().unwrap(), b"old");
    assert_eq!(fs.list(Path::new("/etc/static/units")).unwrap().len(), 3);
    fs.symlink(Path::new("/srv/units"), Path::new("/etc/units"))
        .unwrap();
    fs.remove_file(Path::new("/etc/chain")).unwrap();
    fs.write(Path::new("/etc/static"), b"x", 0o644, None)
        .unwrap();
    assert!(dir.path().join("nix/store/p/units/file").exists());
}

#[test]
fn the_store_itself_is_not_changed_through_a_link() {
    let (dir, fs) = machine();
    symlink("/nix", dir.path().join("etc/nix")).unwrap();
    let store = Path::new("/etc/nix/store");
    assert!(fs.set_mode(store, 0o700).is_err());
    assert!(fs.remove_tree(store).is_err());
    assert!(dir.path().join("nix/store/p/units/file").exists());
    fs.create_dir(Path::new("/etc/nix/var"), 0o755).unwrap();
    fs.set_mode(Path::new("/nix/store"), 0o1775).unwrap();
}

/// /nix, or the store alone, can be a link itself: names below it lead to the same folders.
#[test]
fn a_store_behind_a_link_is_the_store_too() {
    for (from, to) in [("nix", "srv/nix"), ("nix/store", "srv/store")] {
        let fresh = || {
            let (dir, fs) = machine();
            std::fs::rename(dir.path().join(from), dir.path().join(to)).unwrap();
            symlink(Path::new("/").join(to), dir.path().join(from)).unwrap();
            (dir, fs)
        };
        changed_in("/nix/store/p/units", fresh, false);
        let (dir, fs) = fresh();
        for folder in ["/etc/units", "/etc/static/units"] {
            let file = Path::new(folder).join("file");
            assert!(fs.write(&file, b"", 0o644, None).is_err(), "{folder}");
        }
        let file = dir.path().join(to).join(match to {
            "srv/nix" => "store/p/units/file",
            _ => "p/units/file",
        });
        assert_eq!(std::fs::read(file).unwrap(), b"old");
    }
}

#[test]
fn a_bind_mount_of_the_store_is_the_store_too() {
    let (dir, fs) = machine();
    let at = |path: &str| dir.path().join(path);
    std::fs::rename(at("nix/store"), at("srv/store")).unwrap();
    std::fs::create_dir(at("nix/store")).unwrap();
    symlink("/srv/store/p/units", at("etc/beside")).unwrap();
    let Some(_bound) = Bound::new(&at("srv/store"), &at("nix/store")) else {
        return;
    };
    for folder in ["/etc/units", "/etc/beside"] {
        let file = Path::new(folder).join("file");
        assert!(fs.write(&file, b"", 0o644, None).is_err(), "{folder}");
    }
    let named = Path::new("/nix/store/p/units/file");
    fs.write(named, b"", 0o644, None).unwrap();
}

#[test]
fn without_a_store_links_are_links() {
    let (dir, fs) = machine();
    std::fs::rename(dir.path().join("nix"), dir.path().join("gone")).unwrap();
    let elsewhere = Path::new("/etc/elsewhere/file");
    fs.write(elsewhere, b"", 0o644, None).unwrap();
    let dangling = Path::new("/etc/units/file");
    assert!(fs.write(dangling, b"", 0o644, None).is_err());
    fs.remove_file(dangling).unwrap();
}

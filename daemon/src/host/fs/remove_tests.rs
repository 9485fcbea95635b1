use std::os::unix::fs::{PermissionsExt, symlink};

use super::*;
use crate::host::cancel::Stop;
use crate::host::fs::testing::{Bound, Fixed, rooted};

#[test]
fn a_store_with_read_only_folders_goes_and_links_are_not_followed() {
    let (dir, fs) = rooted();
    std::fs::create_dir_all(dir.path().join("keep/inside")).unwrap();
    std::fs::create_dir_all(dir.path().join("nix/store/a/b")).unwrap();
    std::fs::write(dir.path().join("nix/store/a/b/file"), "x").unwrap();
    symlink("/keep", dir.path().join("nix/store/a/link")).unwrap();
    symlink(dir.path().join("keep"), dir.path().join("nix/out")).unwrap();
    for (path, mode) in [
        ("nix/store/a/b", 0o555),
        ("nix/store/a", 0o555),
        ("nix/store", 0),
    ] {
        let mode = std::fs::Permissions::from_mode(mode);
        std::fs::set_permissions(dir.path().join(path), mode).unwrap();
    }
    fs.remove_tree(Path::new("/nix")).unwrap();
    assert!(!dir.path().join("nix").exists());
    assert!(dir.path().join("keep/inside").is_dir());
    fs.remove_tree(Path::new("/nix")).unwrap();
}

#[test]
fn a_file_or_a_link_is_a_tree_too() {
    let (dir, fs) = rooted();
    std::fs::create_dir(dir.path().join("keep")).unwrap();
    symlink("keep", dir.path().join("link")).unwrap();
    fs.remove_tree(Path::new("/link")).unwrap();
    assert!(dir.path().join("keep").is_dir());
    assert!(!dir.path().join("link").exists());
}

#[test]
fn depth_is_no_limit() {
    let (dir, fs) = rooted();
    let mut here =
        nix::fcntl::open(dir.path(), nix::fcntl::OFlag::O_DIRECTORY, Mode::empty()).unwrap();
    for _ in 0..3000 {
        nix::sys::stat::mkdirat(&here, "deep", Mode::S_IRWXU).unwrap();
        here = listable(&here, OsStr::new("deep")).unwrap();
    }
    fs.remove_tree(Path::new("/deep")).unwrap();
    assert!(!dir.path().join("deep").exists());
}

#[test]
fn it_stops_when_asked() {
    let (dir, fs) = rooted();
    std::fs::create_dir(dir.path().join("tree")).unwrap();
    let cancel = Cancel::default();
    cancel.request(Stop::Cancelled);
    let error = fs
        .remove_tree_with(Path::new("/tree"), &cancel)
        .unwrap_err();
    assert!(error.is_stopped());
    assert!(dir.path().join("tree").is_dir());
}

#[test]
fn what_is_mounted_inside_is_left_and_named_and_all_else_goes() {
    let (dir, fs) = rooted();
    for path in ["tree/sub/mnt", "tree/other", "tree/zz/deep", "data"] {
        std::fs::create_dir_all(dir.path().join(path)).unwrap();
    }
    for path in ["data/precious", "tree/sub/file", "tree/sub/goes"] {
        std::fs::write(dir.path().join(path), "").unwrap();
    }
    let read_only = std::fs::Permissions::from_mode(0o555);
    std::fs::set_permissions(dir.path().join("tree/sub"), read_only).unwrap();
    let bind = |from: &str, to: &str| Bound::new(&dir.path().join(from), &dir.path().join(to));
    let (Some(_folder), Some(_file)) = (
        bind("data", "tree/sub/mnt"),
        bind("data/precious", "tree/sub/file"),
    ) else {
        return;
    };
    for _ in 0..2 {
        let mut calls = 0;
        let left = fs
            .remove_what_goes("/tree".as_ref(), &Cancel::default(), &mut || calls += 1)
            .unwrap();
        let mut left: Vec<_> = left.into_iter().map(|error| error.path).collect();
        left.sort();
        let expected = ["/tree/sub/file", "/tree/sub/mnt"].map(PathBuf::from);
        assert_eq!((left, calls > 0), (expected.into(), true));
        assert!(dir.path().join("data/precious").exists());
        assert!(!dir.path().join("tree/sub/goes").exists());
        assert_eq!(fs.list("/tree".as_ref()).unwrap(), ["sub"]);
        let kept = fs.meta("/tree/sub".as_ref()).unwrap().unwrap();
        assert_eq!(kept.mode, 0o555, "what stays was changed");
    }
    let error = fs.remove_tree("/tree".as_ref()).unwrap_err();
    assert!(error.to_string().contains("/tree/sub/"), "{error}");
}

#[test]
fn a_tree_that_is_a_mount_itself_is_left_whole() {
    let (dir, fs) = rooted();
    for path in ["tree", "data/inside"] {
        std::fs::create_dir_all(dir.path().join(path)).unwrap();
    }
    let Some(_bound) = Bound::new(&dir.path().join("data"), &dir.path().join("tree")) else {
        return;
    };
    let left = fs.remove_what_goes("/tree".as_ref(), &Cancel::default(), &mut || {});
    assert_eq!(left.unwrap()[0].path, Path::new("/tree"));
    assert!(dir.path().join("data/inside").is_dir());
}

#[test]
fn what_is_immutable_is_left_and_all_else_goes() {
    let (dir, fs) = rooted();
    for path in ["tree/a", "tree/b", "tree/c"] {
        std::fs::create_dir_all(dir.path().join(path)).unwrap();
    }
    std::fs::write(dir.path().join("tree/b/fixed"), "").unwrap();
    let Some(_fixed) = Fixed::new(&dir.path().join("tree/b/fixed")) else {
        return;
    };
    let left = fs.remove_what_goes("/tree".as_ref(), &Cancel::default(), &mut || {});
    let left = left.unwrap();
    assert_eq!(left.len(), 1);
    assert_eq!(left[0].path, Path::new("/tree/b/fixed"));
    assert_eq!(fs.list("/tree".as_ref()).unwrap(), ["b"]);
}

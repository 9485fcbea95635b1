use std::os::unix::fs::symlink;

use super::*;
use crate::switch::testing::store_path;

struct Store {
    dir: tempfile::TempDir,
}

impl Store {
    fn new() -> Self {
        Store {
            dir: tempfile::tempdir().unwrap(),
        }
    }

    fn at(&self, path: &str) -> PathBuf {
        let path = self.dir.path().join(path.trim_start_matches('/'));
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        path
    }

    fn file(&self, path: &str, content: impl AsRef<[u8]>) {
        std::fs::write(self.at(path), content).unwrap();
    }

    fn link(&self, path: &str, target: &str) {
        symlink(target, self.at(path)).unwrap();
    }

    fn read(&self, toplevel: &str, wanted: &[&str], sw: bool) -> Read {
        let places = Places {
            stores: vec![Fs::at(self.dir.path())],
        };
        let wanted = wanted.iter().map(|&path| path.to_owned()).collect();
        places.read(toplevel, &wanted, sw).unwrap()
    }
}

fn link(target: &str) -> Node {
    Node::Link(target.to_owned())
}

/// A toplevel whose `etc`, units and drop-ins are link trees of their own.
fn system() -> (Store, [String; 4]) {
    let store = Store::new();
    let names = ["top", "etc", "units", "sw"].map(store_path);
    let [top, etc, units, sw] = &names;
    store.link(&format!("{top}/etc"), &format!("{etc}/etc"));
    store.link(&format!("{top}/sw"), sw);
    store.link(&format!("{top}/kernel"), &store_path("linux"));
    store.link(&format!("{etc}/etc/systemd/system"), units);
    store.link(&format!("{etc}/etc/outside"), "/proc/mounts");
    store.link(&format!("{etc}/etc/up"), "../share/x");
    store.link(&format!("{etc}/etc/app/beside"), "../outside");
    store.link(
        &format!("{units}/a.service"),
        &format!("{}/a.service", store_path("unit-a")),
    );
    store.link(&format!("{units}/x.wants/a.service"), "../a.service");
    std::fs::create_dir_all(store.at(&format!("{etc}/etc/empty/x"))).unwrap();
    std::fs::create_dir_all(store.at(&format!("{sw}/bin"))).unwrap();
    store.link(
        &format!("{sw}/bin/a"),
        &format!("{}/bin/a", store_path("a")),
    );
    (store, names)
}

#[test]
fn link_trees_are_opened_and_links_kept() {
    let (store, [top, etc, units, sw]) = system();
    let read = store.read(&top, &[], false);
    let unit = format!("{}/a.service", store_path("unit-a"));
    let up = format!("{etc}/share/x");
    let linux = store_path("linux");
    for (path, target) in [
        ("etc/systemd/system/a.service", unit.as_str()),
        ("etc/systemd/system/x.wants/a.service", "../a.service"),
        ("etc/outside", "/proc/mounts"),
        ("etc/up", up.as_str()),
        ("etc/app/beside", "../outside"),
        ("kernel", linux.as_str()),
        ("sw", sw.as_str()),
    ] {
        assert_eq!(read.tree.get(path), Some(&link(target)), "{path}");
    }
    let opened = BTreeMap::from([
        (top.clone(), String::new()),
        (format!("{etc}/etc"), "etc".to_owned()),
        (units, "etc/systemd/system".to_owned()),
    ]);
    assert_eq!(read.opened, opened);
    let read = store.read(&top, &[], true);
    assert!(read.tree.contains_key("sw/bin/a") && !read.tree.contains_key("sw"));
}

#[test]
fn what_is_wanted_is_opened_and_what_is_missing_told() {
    let (store, [top, etc, ..]) = system();
    let package = store_path("package");
    store.link(&format!("{etc}/etc/ssl"), &format!("{package}/ssl"));
    let read = store.read(&top, &["etc/ssl/cert"], false);
    assert_eq!(read.missing, BTreeSet::from([package.clone()]));
    assert!(store.read(&top, &["etc/ssl"], false).missing.is_empty());
    store.file(&format!("{package}/ssl/cert"), "x");
    let read = store.read(&top, &["etc/ssl/cert"], false);
    assert!(read.missing.is_empty() && read.tree.contains_key("etc/ssl/cert"));
    let nowhere = store_path("nowhere");
    assert_eq!(
        store.read(&nowhere, &[], false).missing,
        BTreeSet::from([nowhere])
    );
}

#[test]
fn what_named_the_trees_names_the_hybrid() {
    let (store, [top, etc, units, _]) = system();
    store.file(
        &format!("{top}/init"),
        format!("{top}/activate {etc}/etc {etc} {units}/a.service"),
    );
    store.file(&format!("{top}/binary"), [0, 1, 0xff]);
    let mut read = store.read(&top, &[], false);
    assert_eq!(rename(&mut read.tree, &top, &[&read.opened]), None);
    let text = format!("{OUT}/activate {OUT}/etc {OUT} {OUT}/etc/systemd/system/a.service");
    let bytes = text.into_bytes();
    let init = Node::File {
        bytes,
        executable: false,
    };
    assert_eq!(read.tree.get("init"), Some(&init));
    assert_eq!(
        read.tree.get("etc/up"),
        Some(&link(&format!("{OUT}/share/x")))
    );
    store.file(&format!("{top}/binary"), format!("\0{units}"));
    let mut read = store.read(&top, &[], false);
    assert_eq!(
        rename(&mut read.tree, &top, &[&read.opened]).as_deref(),
        Some("binary")
    );
}

#[test]
fn where_links_lead() {
    let path = store_path("x");
    let within = PathBuf::from(format!("{path}/etc/a"));
    for (target, leads) in [
        ("b", Some(format!("{path}/etc/b"))),
        ("../b", Some(format!("{path}/b"))),
        ("../..", None),
        ("/etc/passwd", None),
        ("/nix/store/../../etc", None),
        (path.as_str(), Some(path.clone())),
    ] {
        let seen = beside(&within, Path::new(target));
        assert_eq!(seen, leads.map(PathBuf::from), "{target}");
    }
}

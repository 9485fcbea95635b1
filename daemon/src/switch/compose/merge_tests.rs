use super::*;
use crate::host::Fs;
use crate::switch::testing::store_path;

fn link(target: &str) -> Node {
    Node::Link(target.to_owned())
}

fn tree(entries: &[(&str, &str)]) -> Tree {
    let entries = entries
        .iter()
        .map(|(path, target)| ((*path).to_owned(), link(target)));
    entries.collect()
}

#[test]
fn named_entries_are_the_targets() {
    let base = [
        ("etc/a", "old"),
        ("etc/b", "old"),
        ("etc/d/x", "old"),
        ("etc/f", "old"),
        ("etc/ab", "old"),
    ];
    let target = tree(&[
        ("etc/a", "new"),
        ("etc/b", "new"),
        ("etc/d/y", "new"),
        ("etc/f/g", "new"),
        ("etc/n", "new"),
    ]);
    for (name, expected) in [
        (
            "etc/a",
            vec![
                ("etc/a", "new"),
                ("etc/ab", "old"),
                ("etc/b", "old"),
                ("etc/d/x", "old"),
                ("etc/f", "old"),
            ],
        ),
        (
            "etc/d",
            vec![
                ("etc/a", "old"),
                ("etc/ab", "old"),
                ("etc/b", "old"),
                ("etc/d/y", "new"),
                ("etc/f", "old"),
            ],
        ),
        (
            "etc/f",
            vec![
                ("etc/a", "old"),
                ("etc/ab", "old"),
                ("etc/b", "old"),
                ("etc/d/x", "old"),
                ("etc/f/g", "new"),
            ],
        ),
        (
            "etc/f/g",
            vec![
                ("etc/a", "old"),
                ("etc/ab", "old"),
                ("etc/b", "old"),
                ("etc/d/x", "old"),
                ("etc/f/g", "new"),
            ],
        ),
        ("etc/gone", base.to_vec()),
        (
            "etc/d/x",
            vec![
                ("etc/a", "old"),
                ("etc/ab", "old"),
                ("etc/b", "old"),
                ("etc/f", "old"),
            ],
        ),
    ] {
        let mut hybrid = tree(&base);
        take(&mut hybrid, &target, name);
        assert_eq!(hybrid, tree(&expected), "{name}");
    }
}

struct Store {
    _dir: tempfile::TempDir,
    places: Places,
    old: [String; 2],
    new: [String; 2],
}

/// Two packages, each in two versions, which share the folder `share/doc` for themselves.
fn store() -> Store {
    let dir = tempfile::tempdir().unwrap();
    let old = ["a-1", "b-1"].map(store_path);
    let new = ["a-2", "b-2"].map(store_path);
    for path in old.iter().chain(&new) {
        let inside = dir.path().join(path.trim_start_matches('/'));
        let name = &path[path.len() - 3..path.len() - 2];
        for file in [
            format!("bin/{name}"),
            format!("share/doc/{name}"),
            "share/clash".to_owned(),
        ] {
            let file = inside.join(file);
            std::fs::create_dir_all(file.parent().unwrap()).unwrap();
            std::fs::write(file, "").unwrap();
        }
    }
    let places = Places {
        stores: vec![Fs::at(dir.path())],
    };
    Store {
        _dir: dir,
        places,
        old,
        new,
    }
}

fn at(path: &str, rest: &str) -> String {
    format!("{path}/{rest}")
}

#[test]
fn software_follows_the_packages() {
    let store = store();
    let of = |[a, b]: &[String; 2]| {
        Tree::from([
            ("sw/bin/a".to_owned(), Node::Link(at(a, "bin/a"))),
            ("sw/bin/b".to_owned(), Node::Link(at(b, "bin/b"))),
            (
                "sw/lib/generated".to_owned(),
                Node::File {
                    bytes: a.clone().into(),
                    executable: false,
                },
            ),
        ])
    };
    let (base, target) = (of(&store.old), of(&store.new));
    let packages = [store.new[0].clone(), store.old[1].clone()];
    let sw = software(&store.places, &base, &target, &packages).unwrap();
    let mut expected = base.clone();
    expected.insert(
        "sw/bin/a".to_owned(),
        Node::Link(at(&store.new[0], "bin/a")),
    );
    assert_eq!(sw, expected);
    let both = [store.old[0].clone(), store.new[0].clone()];
    let sw = software(&store.places, &base, &target, &both).unwrap();
    assert_eq!(
        sw.get("sw/bin/a"),
        Some(&Node::Link(at(&store.old[0], "bin/a")))
    );
    assert_eq!(sw.get("sw/bin/b"), None);
}

#[test]
fn folders_with_two_owners_are_opened() {
    let store = store();
    // The base has only `a`, whose folder is one link; the target's `b` is in a folder of both.
    let base = Tree::from([(
        "sw/share/doc".to_owned(),
        Node::Link(at(&store.old[0], "share/doc")),
    )]);
    let target = Tree::from([
        (
            "sw/share/doc/a".to_owned(),
            Node::Link(at(&store.new[0], "share/doc/a")),
        ),
        (
            "sw/share/doc/b".to_owned(),
            Node::Link(at(&store.new[1], "share/doc/b")),
        ),
    ]);
    let expected = Tree::from([
        (
            "sw/share/doc/a".to_owned(),
            Node::Link(at(&store.old[0], "share/doc/a")),
        ),
        (
            "sw/share/doc/b".to_owned(),
            Node::Link(at(&store.new[1], "share/doc/b")),
        ),
    ]);
    for packages in [
        [&store.old[0], &store.new[1]],
        [&store.new[1], &store.old[0]],
    ] {
        let packages = packages.map(String::clone);
        let sw = software(&store.places, &base, &target, &packages).unwrap();
        assert_eq!(sw, expected);
    }
    // Two single links meet.
    let target = Tree::from([(
        "sw/share/doc".to_owned(),
        Node::Link(at(&store.new[1], "share/doc")),
    )]);
    let packages = [store.old[0].clone(), store.new[1].clone()];
    assert_eq!(
        software(&store.places, &base, &target, &packages).unwrap(),
        expected
    );
    // A file that both have is the first one's.
    let base = Tree::from([(
        "sw/share".to_owned(),
        Node::Link(at(&store.old[0], "share")),
    )]);
    let target = Tree::from([(
        "sw/share".to_owned(),
        Node::Link(at(&store.new[1], "share")),
    )]);
    let sw = software(&store.places, &base, &target, &packages).unwrap();
    assert_eq!(
        sw.get("sw/share/clash"),
        Some(&Node::Link(at(&store.old[0], "share/clash")))
    );
    assert_eq!(sw.get("sw/share/doc/b"), expected.get("sw/share/doc/b"));
}

//! Archives as Nix makes them, and as it never would.

use proptest::prelude::*;

use super::testing::{archive, export, string, words};
use super::*;

const TEXT: u64 = 64;
const PATH: &str = "/nix/store/0123456789abcdfghijklmnpqrsvwxyz-a";

fn folder(entries: &[(&str, Node)]) -> Node {
    let entries = entries.iter();
    Node::Folder(Folder {
        entries: entries
            .map(|(name, node)| (name.as_bytes().to_vec(), node.clone()))
            .collect(),
        is_whole: true,
    })
}

fn file(text: &str) -> Node {
    Node::File(text.len() as u64, Some(text.into()))
}

fn read(bytes: &[u8]) -> Result<Node, NarError> {
    let mut node = Node::Unread;
    let mut reader = Reader {
        input: bytes,
        text: TEXT,
        count: 0,
    };
    reader.archive(&mut node).map(|()| node)
}

fn nodes() -> impl Strategy<Value = Node> {
    let name =
        prop::collection::vec(1u8.., 1..9).prop_filter("a name", |it| check_name(it).is_ok());
    let leaf = prop_oneof![
        prop::collection::vec(1u8.., 0..TEXT as usize)
            .prop_map(|it| Node::File(it.len() as u64, Some(it))),
        (TEXT + 1..TEXT + 99).prop_map(|size| Node::File(size, None)),
        prop::collection::vec(1u8.., 1..30).prop_map(Node::Link),
    ];
    leaf.prop_recursive(4, 40, 6, move |inner| {
        prop::collection::btree_map(name.clone(), inner, 0..6).prop_map(|entries| {
            Node::Folder(Folder {
                entries,
                is_whole: true,
            })
        })
    })
}

/// Whether all of `part` is in `whole`, but for what was not read.
fn is_part(part: &Node, whole: &Node) -> bool {
    match (part, whole) {
        (Node::Unread, _) => true,
        (Node::Folder(part), Node::Folder(whole)) => {
            (!part.is_whole || part.entries.len() == whole.entries.len())
                && part.entries.iter().all(|(name, node)| {
                    let other = whole.entries.get(name);
                    other.is_some_and(|other| is_part(node, other))
                })
        }
        _ => part == whole,
    }
}

proptest! {
    #[test]
    fn what_was_written_is_read(node in nodes()) {
        prop_assert_eq!(read(&archive(&node)).unwrap(), node.clone());
        let bytes = export(&[(PATH, &node, &[PATH, "x"]), ("y", &node, &[])]);
        let exported = |path: &str| Exported {
            path: Some(path.to_owned()),
            node: node.clone(),
            size: archive(&node).len() as u64,
        };
        let all = read_export(bytes.as_slice(), TEXT).unwrap();
        prop_assert_eq!(all, [exported(PATH), exported("y")]);
    }

    #[test]
    fn what_is_cut_off_is_a_part(node in nodes(), at in any::<prop::sample::Index>()) {
        let bytes = archive(&node);
        let at = at.index(bytes.len());
        prop_assert!(matches!(read(&bytes[..at]), Err(NarError::CutOff)));
        let bytes = export(&[(PATH, &node, &[])]);
        let all = read_export(&bytes[..at + 8], TEXT).unwrap();
        prop_assert_eq!(all.len(), 1);
        prop_assert_eq!(&all[0].path, &None);
        prop_assert!(is_part(&all[0].node, &node), "{:?}", all[0]);
    }

    #[test]
    fn damage_is_no_panic(
        node in nodes(),
        at in any::<prop::sample::Index>(),
        bytes in prop::collection::vec(any::<u8>(), 1..12),
    ) {
        let mut damaged = export(&[(PATH, &node, &[])]);
        let at = at.index(damaged.len());
        let end = damaged.len().min(at + bytes.len());
        damaged[at..end].copy_from_slice(&bytes[..end - at]);
        // Only that it ends, with one or the other.
        drop(read_export(damaged.as_slice(), TEXT));
    }
}

#[test]
fn an_archive_byte_by_byte() {
    let mut bytes = Vec::new();
    words(&mut bytes, &["nix-archive-1", "(", "type", "regular"]);
    words(&mut bytes, &["executable", "", "contents", "hi", ")"]);
    assert_eq!(&bytes[..16], b"\x0d\0\0\0\0\0\0\0nix-arch");
    assert_eq!(read(&bytes).unwrap(), file("hi"));
}

#[test]
fn what_is_no_text_is_not_kept() {
    let program = Node::File(4, Some(b"\x7fEL\0".to_vec()));
    assert_eq!(read(&archive(&program)).unwrap(), Node::File(4, None));
}

#[test]
fn lengths_are_not_believed() {
    for length in [TEXT, TEXT + 1, 1 << 40, u64::MAX] {
        let mut bytes = Vec::new();
        words(&mut bytes, &["nix-archive-1", "(", "type", "regular"]);
        words(&mut bytes, &["contents"]);
        bytes.extend(length.to_le_bytes());
        bytes.extend(b"few");
        assert!(matches!(read(&bytes), Err(NarError::CutOff)), "{length}");
    }
    for length in [MAX_NAME + 1, u64::MAX] {
        let mut bytes = Vec::new();
        words(&mut bytes, &["nix-archive-1", "(", "type", "directory"]);
        words(&mut bytes, &["entry", "(", "name"]);
        bytes.extend(length.to_le_bytes());
        let said = read(&bytes).unwrap_err().to_string();
        assert!(
            said.contains(&format!("a text of {length} bytes")),
            "{said}"
        );
    }
    let node = file("x");
    let mut bytes = export(&[(PATH, &node, &[])]);
    // The number of references, behind the mark and the path.
    let at = 8 + archive(&node).len() + 8 + 8 + PATH.len().next_multiple_of(8);
    bytes[at..at + 8].copy_from_slice(&u64::MAX.to_le_bytes());
    assert_eq!(read_export(bytes.as_slice(), TEXT).unwrap()[0].path, None);
}

#[test]
fn names_that_no_folder_has() {
    for (names, word) in [
        (vec![""], "name ``"),
        (vec!["."], "name `.`"),
        (vec![".."], "name `..`"),
        (vec!["a/b"], "name `a/b`"),
        (vec!["/etc"], "name `/etc`"),
        (vec!["a\0"], "name `a"),
        (vec!["a", "a"], "`a` out of order"),
        (vec!["b", "a"], "`a` out of order"),
    ] {
        let mut bytes = Vec::new();
        words(&mut bytes, &["nix-archive-1", "(", "type", "directory"]);
        for name in names {
            words(&mut bytes, &["entry", "(", "name", name, "node"]);
            words(&mut bytes, &["(", "type", "symlink", "target", "x"]);
            words(&mut bytes, &[")", ")"]);
        }
        words(&mut bytes, &[")"]);
        let said = read(&bytes).unwrap_err().to_string();
        assert!(said.contains(word), "{said}");
    }
}

#[test]
fn words_that_are_out_of_place() {
    for (sequence, word) in [
        (&["nix-archive-2"][..], "`nix-archive-1` must be"),
        (&["nix-archive-1", "type"], "`(` must be"),
        (&["nix-archive-1", "(", "type", "device"], "a type must be"),
        (
            &["nix-archive-1", "(", "type", "regular", ")"],
            "`contents`",
        ),
        (
            &["nix-archive-1", "(", "type", "symlink", "target", ""],
            "leads nowhere",
        ),
        (
            &["nix-archive-1", "(", "type", "directory", "node"],
            "an entry must be",
        ),
        (
            &[
                "nix-archive-1",
                "(",
                "type",
                "regular",
                "contents",
                "x",
                "(",
            ],
            "`)` must be",
        ),
    ] {
        let mut bytes = Vec::new();
        words(&mut bytes, sequence);
        let said = read(&bytes).unwrap_err().to_string();
        assert!(said.contains(word), "{said}");
    }
    let mut bytes = Vec::new();
    string(&mut bytes, b"nix-archive-1");
    bytes[23] = 1;
    assert!(
        read(&bytes)
            .unwrap_err()
            .to_string()
            .contains("between two texts")
    );
    let damaged = [2u64.to_le_bytes(), [0; 8]].concat();
    let said = read_export(damaged.as_slice(), TEXT)
        .unwrap_err()
        .to_string();
    assert!(said.contains("between archives"), "{said}");
}

#[test]
fn folders_in_folders_have_an_end() {
    let nested = |depth| (0..depth).fold(file("x"), |node, _| folder(&[("d", node)]));
    assert!(read(&archive(&nested(MAX_DEPTH))).is_ok());
    let said = read(&archive(&nested(MAX_DEPTH + 1)))
        .unwrap_err()
        .to_string();
    assert!(said.contains("64 folders in folders"), "{said}");
    // Far deeper than a stack has room for.
    let mut bytes = Vec::new();
    words(&mut bytes, &["nix-archive-1"]);
    for _ in 0..200_000 {
        words(
            &mut bytes,
            &["(", "type", "directory", "entry", "(", "name", "d", "node"],
        );
    }
    assert!(read(&bytes).is_err());
}

#[test]
fn what_came_before_the_cut_is_there() {
    let node = folder(&[
        ("a", file("first")),
        ("b", folder(&[("c", file("second")), ("d", file("third"))])),
        ("e", file("last")),
    ]);
    let bytes = export(&[(PATH, &node, &[])]);
    let at = bytes.windows(5).position(|it| it == b"third").unwrap();
    let all = read_export(&bytes[..at], TEXT).unwrap();
    let Node::Folder(top) = &all[0].node else {
        panic!("{all:?}")
    };
    assert!(!top.is_whole && !top.entries.contains_key(&b"e"[..]));
    assert_eq!(top.entries[&b"a"[..]], file("first"));
    let Node::Folder(inner) = &top.entries[&b"b"[..]] else {
        panic!("{all:?}")
    };
    assert!(!inner.is_whole);
    assert_eq!(inner.entries[&b"c"[..]], file("second"));
    assert_eq!(inner.entries[&b"d"[..]], Node::Unread);
}

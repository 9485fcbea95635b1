//! Sorting of entries, aliases, masks, and which drop-ins count.

use super::*;
use crate::units::testing::{name, set};

#[test]
fn present_masked_missing() {
    let set = set(&[
        ("a.service", "[Service]\n"),
        ("masked.service", "-> /dev/null"),
        ("alias.service", "-> a.service"),
        ("far.service", "-> ../masked.service"),
        ("dangling.service", "-> gone.service"),
        ("loop.service", "-> pool.service"),
        ("pool.service", "-> loop.service"),
        ("t@.service", "[Service]\n"),
    ]);
    let text = b"[Service]\n".as_slice();
    for (unit, own, loaded) in [
        (
            "a.service",
            UnitSource::Present { text },
            UnitSource::Present { text },
        ),
        (
            "alias.service",
            UnitSource::Present { text },
            UnitSource::Present { text },
        ),
        ("masked.service", UnitSource::Masked, UnitSource::Masked),
        ("far.service", UnitSource::Masked, UnitSource::Masked),
        ("dangling.service", UnitSource::Missing, UnitSource::Missing),
        ("loop.service", UnitSource::Missing, UnitSource::Missing),
        ("none.service", UnitSource::Missing, UnitSource::Missing),
        (
            "t@1.2.service",
            UnitSource::Missing,
            UnitSource::Present { text },
        ),
    ] {
        assert_eq!(set.source(&name(unit)), own, "{unit}");
        assert_eq!(set.loaded(&name(unit)), loaded, "{unit}");
    }
}

#[test]
fn aliases_also_of_templates() {
    let set = set(&[
        ("real.service", ""),
        ("one.service", "-> real.service"),
        ("two.service", "-> one.service"),
        ("t@.service", ""),
        ("x@1.service", "-> t@.service"),
        ("null.service", "-> /dev/null"),
    ]);
    assert_eq!(set.canonical(&name("two.service")), name("real.service"));
    assert_eq!(set.canonical(&name("x@1.service")), name("t@1.service"));
    assert_eq!(set.canonical(&name("none.service")), name("none.service"));
    let aliases = set.aliases(&name("real.service"));
    assert_eq!(aliases, [&name("one.service"), &name("two.service")]);
}

#[test]
fn links_and_leftovers() {
    let set = set(&[
        ("multi-user.target.wants/a.service", "-> ../a.service"),
        ("sockets.target.requires/a.socket", "-> ../a.socket"),
        ("README", "x"),
        ("a.service.d/note.txt", "x"),
        ("a.service.d/deep/x.conf", "x"),
        ("a.service.d/link.conf", "-> elsewhere"),
        ("odd.wants/a.service", "-> ../a.service"),
    ]);
    assert!(set.wants(&name("multi-user.target")).contains("a.service"));
    assert!(set.requires(&name("sockets.target")).contains("a.socket"));
    assert!(set.wants(&name("sockets.target")).is_empty());
    let from = set.pulled_in_by(&name("a.socket"));
    assert_eq!(from, BTreeSet::from([&name("sockets.target")]));
    assert_eq!(set.ignored().len(), 5);
}

/// The words that the drop-ins of the directories added to a key, in the order they were applied.
fn order(files: &[&str], unit: &str, by_systemd: bool) -> Vec<String> {
    let template = name(unit).template().unwrap_or_else(|| name(unit));
    let mut entries = vec![(template.to_string(), Entry::File(b"[S]\nK=base\n".to_vec()))];
    for file in files {
        let text = format!("[S]\nK={}\n", file.replace(".conf", ""));
        entries.push(((*file).into(), Entry::File(text.into_bytes())));
    }
    let set = UnitSet::new(entries);
    let read = if by_systemd {
        set.read(&name(unit))
    } else {
        set.read_ini(&name(unit), &template)
    };
    read.unwrap().unwrap().values("S", "K").to_vec()
}

#[test]
fn which_drop_ins_count() {
    let files = [
        "service.d/5.conf",
        "service.d/z.conf",
        "a-.service.d/3.conf",
        "a-b.service.d/1.conf",
        "a-b.service.d/z.conf",
    ];
    assert_eq!(
        order(&files, "a-b.service", true),
        [
            "base",
            "a-b.service.d/1",
            "a-.service.d/3",
            "service.d/5",
            "a-b.service.d/z"
        ]
    );
    assert_eq!(
        order(&files, "a-b.service", false),
        ["base", "a-b.service.d/1", "a-b.service.d/z"]
    );
    let files = [
        "t@x.y.service.d/1.conf",
        "t@.service.d/2.conf",
        "t@.service.d/1.conf",
    ];
    assert_eq!(
        order(&files, "t@x.y.service", true),
        ["base", "t@x.y.service.d/1", "t@.service.d/2"]
    );
    assert_eq!(
        order(&files, "t@x.y.service", false),
        [
            "base",
            "t@.service.d/1",
            "t@.service.d/2",
            "t@x.y.service.d/1"
        ]
    );
}

#[test]
fn a_hidden_drop_in_hides_and_declares_nothing() {
    let set = set(&[
        ("t@.service", "[S]\nK=base\n"),
        ("t@a.service.d/o.conf", "-> /dev/null"),
        ("t@b.service.d/o.conf", "[S]\nK=b\n"),
        ("service.d/o.conf", "[S]\nK=type\n"),
    ]);
    let values = |unit: &str| {
        set.read(&name(unit))
            .unwrap()
            .unwrap()
            .values("S", "K")
            .to_vec()
    };
    assert_eq!(values("t@a.service"), ["base"]);
    assert_eq!(values("t@b.service"), ["base", "b"]);
    assert_eq!(values("t@c.service"), ["base", "type"]);
    assert!(!set.has_own_dropins(&name("t@a.service")));
    assert!(set.has_own_dropins(&name("t@b.service")));
}

#[test]
fn drop_ins_of_an_alias_count_too() {
    let set = set(&[
        ("real.service", "[S]\nK=base\n"),
        ("other.service", "-> real.service"),
        ("other.service.d/x.conf", "[S]\nK=other\n"),
    ]);
    let unit = set.read(&name("real.service")).unwrap().unwrap();
    assert_eq!(unit.values("S", "K"), ["base", "other"]);
}

#[test]
fn a_broken_file_names_itself() {
    let set = set(&[("a.service", ""), ("a.service.d/x.conf", "[S")]);
    let error = set.read(&name("a.service")).unwrap_err().to_string();
    assert!(error.contains("a.service.d/x.conf"), "{error}");
    assert_eq!(set.read(&name("b.service")), Ok(None));
}

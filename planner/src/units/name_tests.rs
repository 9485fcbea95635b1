//! Names taken and refused, their parts, and the escaping of paths.

use proptest::prelude::*;

use super::*;

#[test]
fn takes_and_refuses_as_systemd() {
    let long_ok = format!("{}.mount", "a".repeat(NAME_MAX_BYTES - 6));
    let too_long = format!("a{long_ok}");
    for (name, valid) in [
        ("foo.service", true),
        ("foo@.service", true),
        ("foo@a.b.service", true),
        ("foo@a@b.service", true),
        ("-.mount", true),
        ("dev-disk-by\\x2dlabel-root.swap", true),
        (long_ok.as_str(), true),
        (too_long.as_str(), false),
        ("", false),
        ("foo", false),
        ("foo.conf", false),
        ("foo.service.d", false),
        (".service", false),
        ("@x.service", false),
        ("a/b.service", false),
        ("a b.service", false),
        ("ü.service", false),
    ] {
        assert_eq!(UnitName::new(name).is_ok(), valid, "{name}");
    }
}

#[test]
fn parts() {
    for (name, prefix, instance, template) in [
        ("foo.service", "foo", None, None),
        ("foo@.service", "foo", None, None),
        ("foo@bar.service", "foo", Some("bar"), Some("foo@.service")),
        (
            "foo@1.2.3.socket",
            "foo",
            Some("1.2.3"),
            Some("foo@.socket"),
        ),
        ("foo@a@b.timer", "foo", Some("a@b"), Some("foo@.timer")),
        ("a.b@c.service", "a.b", Some("c"), Some("a.b@.service")),
    ] {
        let unit = UnitName::new(name).unwrap();
        assert_eq!(unit.prefix(), prefix, "{name}");
        assert_eq!(unit.instance(), instance, "{name}");
        let made = unit.template();
        assert_eq!(made.as_ref().map(UnitName::as_str), template, "{name}");
        if let (Some(made), Some(instance)) = (made, instance) {
            assert_eq!(made.instantiate(instance), Some(unit));
        }
    }
    assert!(UnitName::new("foo@.service").unwrap().is_template());
    assert!(!UnitName::new("foo@a.service").unwrap().is_template());
}

#[test]
fn dashed_prefixes_longest_first() {
    for (name, expected) in [
        ("foo.service", vec![]),
        ("foo-bar-baz.service", vec!["foo-bar-", "foo-"]),
        ("foo-bar@a-b.service", vec!["foo-"]),
        ("foo-.service", vec![]),
        ("-.mount", vec![]),
    ] {
        assert_eq!(
            UnitName::new(name).unwrap().dashed_prefixes(),
            expected,
            "{name}"
        );
    }
}

#[test]
fn escapes_paths() {
    for (path, escaped) in [
        ("/", "-"),
        ("/nix", "nix"),
        ("/nix/store", "nix-store"),
        ("//var//lib/", "var-lib"),
        ("/my-data", "my\\x2ddata"),
        ("/.snap/.x", "\\x2esnap-.x"),
        ("/a b", "a\\x20b"),
        ("/ü", "\\xc3\\xbc"),
    ] {
        assert_eq!(escape_path(path), escaped, "{path}");
    }
    assert_eq!(unescape_path("a-\\x2"), None);
    assert_eq!(unescape_path("a\\x61"), None, "not the canonical escape");
    assert_eq!(unescape_path("a\\xzz"), None);
}

proptest! {
    #[test]
    fn a_path_comes_back(parts in prop::collection::vec("[^/\\x00]{1,8}", 0..5)) {
        let path = format!("/{}", parts.join("/"));
        prop_assert_eq!(unescape_path(&escape_path(&path)), Some(path));
    }

    #[test]
    fn any_text_is_a_name_or_an_error(text in ".{0,40}") {
        if let Ok(unit) = UnitName::new(&text) {
            prop_assert_eq!(format!("{}.{}", unit.stem(), unit.kind().as_str()), text);
        }
    }
}

//! What the parser reads, in both dialects, and that nothing makes it panic.

use proptest::prelude::*;

use super::*;

fn systemd(text: &str) -> UnitFile {
    UnitFile::parse("a.service", text.as_bytes()).unwrap()
}

fn ini(text: &str) -> UnitFile {
    let mut unit = UnitFile::empty(Dialect::Ini);
    unit.apply("a.service", text.as_bytes()).unwrap();
    unit
}

#[test]
fn one_value_in_both_dialects() {
    // Text of the line(s), value for systemd, value for the INI library.
    for (text, by_systemd, by_ini) in [
        ("K=v", "v", "v"),
        ("K =  a b  ", "a b", "a b"),
        ("  K=v", "v", "v"),
        ("K=a=b", "a=b", "a=b"),
        ("K=v ; x", "v ; x", "v ; x"),
        ("K=\"a b\"", "\"a b\"", "a b"),
        ("K='a' b", "'a' b", "a b"),
        ("K=a \"b\"", "a \"b\"", "a \"b\""),
        (
            "K=dev-disk-by\\x2dlabel",
            "dev-disk-by\\x2dlabel",
            "dev-disk-by\\x2dlabel",
        ),
        ("K=a\r", "a", "a"),
        ("# K=x\n; K=y\nK=z", "z", "z"),
        ("K=a\\\\", "a\\\\", "a\\\\"),
    ] {
        let text = format!("[S]\n{text}\n");
        assert_eq!(systemd(&text).values("S", "K"), [by_systemd], "{text:?}");
        assert_eq!(ini(&text).values("S", "K"), [by_ini], "{text:?}");
    }
}

#[test]
fn continued_lines() {
    for (text, expected) in [
        ("K=a\\\nb", "a b"),
        ("K=a \\\n   b \\\n c", "a  b  c"),
        ("K=a\\\n# no\n ; no\nb", "a b"),
        ("K=a\\", "a"),
        ("K=a\\\n\nL=x", "a"),
    ] {
        let text = format!("[S]\n{text}\n");
        assert_eq!(systemd(&text).values("S", "K"), [expected], "{text:?}");
    }
    // The INI library takes the second half for the beginning of the next key.
    let odd = ini("[S]\nK=a \\\n  b\nX=1\n");
    assert_eq!(odd.values("S", "K"), ["a \\"]);
    assert_eq!(odd.values("S", "b\nX"), ["1"]);
}

#[test]
fn repeated_keys_accumulate_and_an_empty_value_clears() {
    for read in [systemd, ini] {
        let unit = read("[S]\nK=a\nK=b\n[T]\nX=1\n[S]\nK=c\nL=1\nL=\nM=1\nM=\nM=2\n");
        assert_eq!(unit.values("S", "K"), ["a", "b", "c"]);
        assert_eq!(unit.values("S", "L"), [""; 0]);
        assert!(unit.sections()["S"].contains_key("L"), "cleared, not gone");
        assert_eq!(unit.values("S", "M"), ["2"]);
        assert_eq!(unit.last("S", "K"), Some("c"));
    }
}

#[test]
fn a_drop_in_appends_and_clears() {
    for dialect in [Dialect::Systemd, Dialect::Ini] {
        let mut unit = UnitFile::empty(dialect);
        unit.apply("a", b"[S]\nExec=one\nEnv=A\n").unwrap();
        unit.apply("a.d/x.conf", b"[S]\nExec=\nExec=two\nEnv=B\n")
            .unwrap();
        assert_eq!(unit.values("S", "Exec"), ["two"]);
        assert_eq!(unit.values("S", "Env"), ["A", "B"]);
    }
}

#[test]
fn systemd_ignores_what_it_cannot_use() {
    let unit = systemd("Before=x\n[S]\nnonsense\n=v\nK=v\n");
    assert_eq!(unit.sections().len(), 1);
    assert_eq!(unit.sections()["S"].len(), 1);
}

#[test]
fn flags() {
    for (value, by_systemd, by_ini) in [
        ("1", true, true),
        ("yes", true, true),
        ("true", true, true),
        ("on", true, true),
        ("True", true, false),
        ("y", true, false),
        ("0", false, false),
        ("off", false, false),
        ("maybe", true, false),
    ] {
        let text = format!("[S]\nK=no\nK={value}\n");
        assert_eq!(systemd(&text).flag("S", "K", true), by_systemd, "{value}");
        assert_eq!(ini(&text).flag("S", "K", true), by_ini, "{value}");
    }
    assert!(systemd("[S]\nK=no\nK=\n").flag("S", "K", true));
    assert!(!systemd("").flag("S", "K", false));
}

#[test]
fn words_of_a_list() {
    let unit = systemd("[S]\nK=a  b\nK='c d' e\"f g\"\nK=\"\"\n");
    assert_eq!(unit.words("S", "K"), ["a", "b", "c d", "ef g", ""]);
}

#[test]
fn refuses_what_is_no_unit_file() {
    let parse = |bytes: &[u8]| UnitFile::parse("a", bytes).unwrap_err();
    let file = String::from("a");
    assert_eq!(
        parse(b"[S]\nK=\xff"),
        FileError::NotText { file: file.clone() }
    );
    assert_eq!(
        parse(b"[S]\nK=\0"),
        FileError::NotText { file: file.clone() }
    );
    let huge = vec![b'\n'; FILE_MAX_BYTES + 1];
    assert_eq!(parse(&huge), FileError::TooLong { file });
    let long = format!("[S]\nK={}", "a".repeat(LINE_MAX_BYTES));
    assert!(matches!(
        parse(long.as_bytes()),
        FileError::Syntax { line: 2, .. }
    ));
    assert!(matches!(
        parse(b"\n[S\nK=v"),
        FileError::Syntax { line: 2, .. }
    ));
}

#[test]
fn the_ini_library_refuses_what_does_not_end() {
    let parse = |text: &str| UnitFile::empty(Dialect::Ini).apply("a", text.as_bytes());
    for text in ["[S]\nkey without value", "[S]\nK=\"open", "[S"] {
        assert!(
            matches!(parse(text), Err(FileError::Syntax { .. })),
            "{text:?}"
        );
    }
}

#[test]
fn a_byte_order_mark_is_skipped() {
    assert_eq!(systemd("\u{feff}[S]\nK=v").values("S", "K"), ["v"]);
}

fn any_unit() -> impl Strategy<Value = UnitFile> {
    // Values as a unit file can hold them: one line, trimmed, no backslash at the end.
    let value = "[a-z\"'=%/#;\\[]([ -~]{0,12}[a-z\"'=%/])?";
    let section = prop::collection::btree_map(
        "[A-Z][A-Za-z-]{0,6}",
        prop::collection::vec(value, 0..4),
        0..5,
    );
    prop::collection::btree_map("[A-Z][a-z]{0,6}", section, 0..4).prop_map(|sections| UnitFile {
        dialect: Dialect::Systemd,
        sections,
    })
}

proptest! {
    #[test]
    fn what_is_written_is_read_again(unit in any_unit()) {
        let text = unit.to_string();
        prop_assert_eq!(UnitFile::parse("a", text.as_bytes()), Ok(unit), "{}", text);
    }

    #[test]
    fn no_input_panics(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
        for dialect in [Dialect::Systemd, Dialect::Ini] {
            let _ = UnitFile::empty(dialect).apply("a", &bytes);
        }
    }

    #[test]
    fn no_text_of_the_right_shape_panics(text in "[\\[\\]=:;#\"'\\\\ \\nKSa-c]{0,60}") {
        for dialect in [Dialect::Systemd, Dialect::Ini] {
            let _ = UnitFile::empty(dialect).apply("a", text.as_bytes());
        }
    }
}

use super::*;
use crate::host::fake::Answer;
use crate::switch::testing::{Fixture, store_path};

#[test]
fn a_build_that_finds_no_space_is_waited_for() {
    let fixture = Fixture::new();
    let build = |answer| {
        fixture.answer_program("nix-build", &["--no-out-link"], answer);
        fixture.store().build(b"derivation { }")
    };
    let full = "warning: x\nerror: cannot write to file: No space left on device\n";
    let error = build(Answer::code(1, full)).unwrap_err();
    assert!(error.waits().is_some(), "{error}");
    let error = build(Answer::code(
        1,
        "error: builder failed\nfor full logs, run x\n",
    ))
    .unwrap_err();
    assert_eq!(
        error.to_string(),
        "cannot compose a hybrid generation: builder failed"
    );
    let path = store_path("hybrid");
    assert_eq!(build(Answer::text(&format!("{path}\n"))).unwrap(), path);
    assert!(build(Answer::text("")).is_err());
    let calls = fixture.machine.exec.calls();
    assert_eq!(calls[0].stdin, b"derivation { }");
}

#[test]
fn paths_in_etc_are_plain() {
    for (path, plain) in [
        ("etc/a/b", true),
        ("etc/../x", false),
        ("etc//x", false),
        ("etc/", false),
        ("etc/.", false),
    ] {
        assert_eq!(is_plain(path), plain, "{path}");
    }
}

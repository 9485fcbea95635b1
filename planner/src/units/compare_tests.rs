//! The table of differences, in both modes.

use proptest::prelude::*;

use super::*;
use crate::units::file::Dialect;

fn unit(text: &str) -> UnitFile {
    let mut unit = UnitFile::empty(Dialect::Systemd);
    unit.apply("a", text.replace('|', "\n").as_bytes()).unwrap();
    unit
}

use Verdict::{Equal, Reload, Restart};

#[test]
fn verdicts() {
    // Old file, new file, verdict in mode Exact, verdict in mode Right; | ends a line.
    for (old, new, exact, right) in [
        ("[Unit]|A=1", "[Unit]|A=1", Equal, Equal),
        ("[Unit]|A=1|B=2", "[Unit]|B=2|A=1", Equal, Equal),
        ("[Service]|A=1|A=2", "[Service]|A=2|A=1", Restart, Restart),
        ("[Unit]|Description=1", "[Unit]|Description=2", Equal, Equal),
        ("[Unit]|Description=1", "", Equal, Equal),
        ("", "[Unit]|Description=1", Equal, Equal),
        ("[Unit]|After=a", "", Restart, Restart),
        ("", "[Unit]|After=a", Restart, Restart),
        (
            "[Unit]|X-Restart-Triggers=1",
            "[Unit]|X-Restart-Triggers=2",
            Restart,
            Restart,
        ),
        (
            "[Unit]|X-Reload-Triggers=1",
            "[Unit]|X-Reload-Triggers=2",
            Reload,
            Reload,
        ),
        (
            "[Unit]|A=1",
            "[Unit]|A=1|X-Reload-Triggers=2",
            Reload,
            Reload,
        ),
        ("", "[Unit]|X-Reload-Triggers=2", Reload, Reload),
        ("[Unit]|A=1|X-Reload-Triggers=2", "[Unit]|A=1", Equal, Equal),
        ("[Unit]|X-Reload-Triggers=2", "", Equal, Equal),
        (
            "[Unit]|X-Reload-Triggers=1|A=1",
            "[Unit]|X-Reload-Triggers=2|A=2",
            Restart,
            Restart,
        ),
        (
            "[Service]|A=1|ExecReload=1",
            "[Service]|A=1|ExecReload=2",
            Reload,
            Reload,
        ),
        (
            "[Service]|A=1",
            "[Service]|A=1|ExecReload=2",
            Reload,
            Reload,
        ),
        ("[Service]|A=1|ExecReload=1", "[Service]|A=1", Equal, Equal),
        ("[Service]|ExecReload=1", "", Equal, Equal),
        ("", "[Service]|ExecReload=1", Reload, Reload),
        ("", "[Service]|ExecReload=1|A=1", Restart, Restart),
        (
            "",
            "[Unit]|Description=1||[Service]|ExecReload=1",
            Restart,
            Reload,
        ),
        ("[Service]|A=1", "[Service]|A=1|B=1", Restart, Restart),
        ("[Service]|A=1|B=1", "[Service]|A=1", Restart, Restart),
        (
            "[Service]|A=1",
            "[Service]|A=1||[Install]|WantedBy=x",
            Equal,
            Equal,
        ),
        ("[Mount]|Options=a", "[Mount]|Options=b", Reload, Reload),
        (
            "[Mount]|What=a",
            "[Mount]|What=a|Options=b",
            Restart,
            Reload,
        ),
        (
            "[Mount]|What=a|Options=b",
            "[Mount]|What=a",
            Restart,
            Restart,
        ),
        ("[Mount]|What=a", "[Mount]|What=b", Restart, Restart),
        ("[Unit]", "", Equal, Equal),
        ("", "[Unit]", Equal, Equal),
        ("[Service]", "", Restart, Equal),
        ("", "[Timer]", Restart, Equal),
        ("[Service]|A=", "[Service]", Restart, Restart),
    ] {
        let verdict = |mode| compare(&unit(old), &unit(new), mode).verdict;
        assert_eq!(verdict(Mode::Exact), exact, "exact: {old} -> {new}");
        assert_eq!(verdict(Mode::Right), right, "right: {old} -> {new}");
    }
}

#[test]
fn only_the_differences_that_count_are_told() {
    let old = unit("[Unit]|Description=1|X-Reload-Triggers=1||[Service]|ExecStart=1");
    let new = unit("[Unit]|Description=2|X-Reload-Triggers=2||[Service]|ExecStart=2|User=x");
    let told: Vec<String> = compare(&old, &new, Mode::Right)
        .changes
        .iter()
        .map(Change::to_string)
        .collect();
    assert_eq!(
        told,
        ["[Service] ExecStart changed", "[Service] User added"]
    );
}

proptest! {
    #[test]
    fn a_unit_equals_itself(text in "(\\[(Unit|Service|Mount|X)\\]\n([A-C]=[a-c]{0,2}\n){0,3}){0,4}") {
        for mode in [Mode::Exact, Mode::Right] {
            prop_assert_eq!(compare(&unit(&text), &unit(&text), mode).verdict, Equal);
        }
    }
}

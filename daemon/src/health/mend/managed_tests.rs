use std::os::unix::fs::symlink;

use super::super::Mend;
use super::super::testing::check_laws;
use super::*;
use crate::resource::testing::{Machine, own_ids};

const PATH: &str = "/root/.aws/credentials";
const SOURCE: &str = "/var/lib/keys/cache";
const SECRET: &str = "aws_secret_access_key = hunter2\n";

/// With an entry for the file.
fn machine() -> Machine {
    let machine = Machine::new();
    let (uid, gid) = own_ids();
    machine.put(SOURCE, SECRET);
    machine.put(
        "/etc/nixctl/config.toml",
        format!("[[managed]]\npath = {PATH:?}\nsource = {SOURCE:?}\nowner = \"{uid}:{gid}\"\n"),
    );
    std::fs::create_dir_all(machine.path("/var/lib/nixctl")).unwrap();
    std::fs::create_dir_all(machine.path("/root")).unwrap();
    machine
}

fn with(content: &str, mode: u32) -> Machine {
    let machine = machine();
    machine.put(PATH, content);
    machine.chmod(PATH, mode);
    machine
}

fn managed() -> Managed {
    let (uid, gid) = own_ids();
    Managed {
        path: PATH.into(),
        sha256: sha256(SECRET.as_bytes()),
        mode: 0o600,
        uid,
        gid,
        at: 7,
    }
}

fn saved(machine: &Machine) -> Option<String> {
    machine.text(managed().saved().to_str().unwrap())
}

#[test]
fn laws() {
    let mend = Mend::Managed(managed());
    check_laws(&machine(), &mend);
    check_laws(&with("old secret", 0o640), &mend);
    check_laws(&with(SECRET, 0o644), &mend);
    check_laws(&with(SECRET, 0o600), &mend);
    let linked = machine();
    linked.put("/root/.aws/other", "theirs");
    symlink("other", linked.path(PATH)).unwrap();
    check_laws(&linked, &mend);
    assert_eq!(linked.text("/root/.aws/other").unwrap(), "theirs");
}

#[test]
fn no_content_goes_into_journal_or_plan() {
    let machine = with("old hunter1", 0o600);
    let mend = Mend::Managed(managed());
    let undo = mend.prepare(&machine.host).unwrap();
    let told = format!(
        "{}{}{:?}",
        serde_json::to_string(&mend).unwrap(),
        serde_json::to_string(&undo).unwrap(),
        mend.describe()
    );
    assert!(!told.contains("hunter"), "{told}");
    mend.apply(&machine.context(), &undo).unwrap();
    assert_eq!(machine.text(PATH).as_deref(), Some(SECRET));
    assert_eq!(saved(&machine).as_deref(), Some("old hunter1"));
    let meta = machine.host.fs.meta(&managed().saved()).unwrap().unwrap();
    assert_eq!(meta.mode, 0o600);
    for _ in 0..2 {
        mend.forget(&machine.host).unwrap();
        assert_eq!(saved(&machine), None);
    }
    mend.verify(&machine.host).unwrap();
}

#[test]
fn folders_on_the_way_are_made_closed_as_the_file_is() {
    let machine = machine();
    let managed = managed();
    let undo = managed.prepare(&machine.host).unwrap();
    assert_eq!(undo, Undo::Entries(vec!["/root/.aws".to_owned()]));
    managed.apply(&machine.context(), &undo).unwrap();
    let meta = machine.host.fs.meta("/root/.aws".as_ref()).unwrap();
    assert_eq!(meta.unwrap().mode, 0o700);
}

#[test]
fn what_was_changed_meanwhile_is_not_written() {
    type Change = fn(&Machine);
    let changes: [(Change, &str); 4] = [
        (|it| it.put(SOURCE, "newer"), "changed meanwhile"),
        (
            |it| it.put("/etc/nixctl/config.toml", ""),
            "not under care any more",
        ),
        (
            |it| std::fs::remove_file(it.path(SOURCE)).unwrap(),
            "is not there",
        ),
        (|it| it.put("/etc/nixctl/config.toml", "x"), "settings"),
    ];
    for (change, words) in changes {
        let machine = with("old", 0o600);
        let managed = managed();
        let undo = managed.prepare(&machine.host).unwrap();
        change(&machine);
        let before = machine.state();
        let error = managed.apply(&machine.context(), &undo).unwrap_err();
        assert!(error.to_string().contains(words), "{error}");
        assert!(!error.to_string().contains("hunter"), "{error}");
        assert_eq!(machine.state(), before);
    }
}

#[test]
fn what_came_into_the_place_meanwhile_stays() {
    let managed = managed();
    for before in [Undo::Nothing, Undo::Entries(Vec::new())] {
        let machine = with("theirs", 0o600);
        assert!(managed.apply(&machine.context(), &before).is_err());
        assert_eq!(machine.text(PATH).as_deref(), Some("theirs"));
    }
    // After it was saved, and after it was written.
    let machine = with("old", 0o600);
    let undo = managed.prepare(&machine.host).unwrap();
    managed.save(&machine.host).unwrap();
    machine.put(PATH, "theirs");
    assert!(managed.apply(&machine.context(), &undo).is_err());
    let undone = managed.undo(&machine.context(), &undo).unwrap();
    assert!(matches!(undone, Undone::Kept(_)), "{undone:?}");
    assert_eq!(machine.text(PATH).as_deref(), Some("theirs"));
    assert_eq!(saved(&machine).as_deref(), Some("old"));
}

#[test]
fn a_write_that_was_cut_off_is_finished_or_taken_back() {
    for is_finished in [true, false] {
        let machine = with("old", 0o640);
        let before = machine.state();
        let managed = managed();
        let undo = managed.prepare(&machine.host).unwrap();
        managed.save(&machine.host).unwrap();
        if is_finished {
            managed.apply(&machine.context(), &undo).unwrap();
            managed.verify(&machine.host).unwrap();
        }
        managed.undo(&machine.context(), &undo).unwrap();
        assert_eq!(machine.state(), before);
    }
}

#[test]
fn folders_are_never_replaced() {
    let machine = machine();
    std::fs::create_dir_all(machine.path(PATH)).unwrap();
    assert!(managed().prepare(&machine.host).is_err());
    let undo = Undo::Entries(Vec::new());
    assert!(managed().apply(&machine.context(), &undo).is_err());
}

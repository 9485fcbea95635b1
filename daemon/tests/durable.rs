//! Every commit of the database ends with an fsync before the work goes on: the system calls of a
//! child are watched with strace.
#![cfg(target_os = "linux")]

use std::path::Path;
use std::process::Command;

use nixctl_proto::OperationId;
use nixctl_proto::OperationState;
use nixctld::engine::record::{Entry, Record};
use nixctld::engine::store::{Change, Store};

/// Commits of the child.
const COMMITS: u32 = 8;

#[test]
#[ignore = "the child of every_commit_is_followed_by_an_fsync"]
fn child() {
    let folder = std::env::var("NIXCTL_TEST_STATE").unwrap();
    let store = Store::open(Path::new(&folder)).unwrap();
    let id = OperationId::from_parts(1, 1);
    for commit in 0..COMMITS {
        let mut change = Change::default();
        let record = Record::State {
            state: OperationState::Running,
        };
        change
            .entry(&id, commit, &Entry { time: 0, record })
            .unwrap();
        mark(commit, "before");
        store.commit(change).unwrap();
        mark(commit, "after");
    }
}

/// A system call that stands out in the trace.
fn mark(commit: u32, when: &str) {
    let _ = std::fs::metadata(format!("/nixctl-mark-{commit}-{when}"));
}

#[test]
fn every_commit_is_followed_by_an_fsync() {
    if Command::new("strace").arg("--version").output().is_err() {
        assert!(
            std::env::var_os("CI").is_none(),
            "strace is needed and not installed"
        );
        eprintln!("skipped: strace is not installed");
        return;
    }
    let state = tempfile::tempdir().unwrap();
    let trace = state.path().join("trace");
    let status = Command::new("strace")
        .args([
            "-f",
            "-e",
            "trace=fsync,fdatasync,statx,stat,newfstatat,pwrite64",
            "-o",
        ])
        .arg(&trace)
        .arg(std::env::current_exe().unwrap())
        .args(["--exact", "child", "--ignored", "--test-threads", "1"])
        .env("NIXCTL_TEST_STATE", state.path().join("state"))
        .stdout(std::process::Stdio::null())
        .status()
        .unwrap();
    assert!(status.success());
    let trace = String::from_utf8_lossy(&std::fs::read(&trace).unwrap()).into_owned();
    for commit in 0..COMMITS {
        let from = trace.find(&format!("nixctl-mark-{commit}-before")).unwrap();
        let to = trace.find(&format!("nixctl-mark-{commit}-after")).unwrap();
        let between = &trace[from..to];
        let write = between.rfind("pwrite64(").expect("the commit writes");
        let sync = between
            .rfind("fdatasync(")
            .or(between.rfind("fsync("))
            .expect("it syncs");
        assert!(
            write < sync,
            "commit {commit} is not synced after its last write:\n{between}"
        );
    }
}

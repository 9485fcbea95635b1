//! Commands of a daemon that is alone end with it, however it ends.
#![cfg(target_os = "linux")]

use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use nixctld::host::exec::{LeashedExec, SystemExec};
use nixctld::host::{Cancel, Exec, ExecError};

const DAEMON: &str = env!("CARGO_BIN_EXE_nixctld");

/// Whether the process runs; one that nobody has waited for yet does not.
fn runs(pid: &str) -> bool {
    let stat = std::fs::read_to_string(Path::new("/proc").join(pid).join("stat"));
    stat.is_ok_and(|text| !text.contains(") Z "))
}

#[test]
fn a_command_is_killed_with_its_parent() {
    // The shell is the daemon: it starts a command and is killed while that runs.
    let script = format!("{DAEMON} leashed $$ sleep 300 & echo $!; wait");
    let mut parent = Command::new("sh")
        .args(["-c", &script])
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut pid = String::new();
    let stdout = parent.stdout.take().unwrap();
    BufReader::new(stdout).read_line(&mut pid).unwrap();
    let pid = pid.trim();
    let named = || std::fs::read_to_string(Path::new("/proc").join(pid).join("comm"));
    let until = Instant::now() + Duration::from_secs(10);
    while named().unwrap_or_default().trim() != "sleep" && Instant::now() < until {
        std::thread::sleep(Duration::from_millis(5));
    }
    assert!(runs(pid));
    parent.kill().unwrap();
    parent.wait().unwrap();
    while runs(pid) && Instant::now() < until {
        std::thread::sleep(Duration::from_millis(5));
    }
    assert!(!runs(pid), "the command outlived its parent");
}

#[test]
fn a_command_of_a_parent_that_is_gone_does_not_begin() {
    let output = Command::new(DAEMON)
        .args(["leashed", "1", "echo", "begun"])
        .output()
        .unwrap();
    let is_child_of_1 = std::process::id() == 1;
    assert!(is_child_of_1 || output.stdout.is_empty());
}

#[test]
fn a_leashed_command_is_like_any_other() {
    let leashed: &dyn Exec = &LeashedExec {
        daemon: PathBuf::from(DAEMON),
    };
    let free: &dyn Exec = &SystemExec;
    let cancel = Cancel::default();
    let script = "cat; echo \"$0 $1\"; env; echo wrong >&2; exit 3";
    let command = nixctld::host::Command::new("sh")
        .args(["-c", script, "a b", "--help"])
        .env("NIXCTL_TEST", "yes")
        .stdin("given\n");
    let output = leashed.output(&command, &cancel).unwrap();
    assert_eq!(output, free.output(&command, &cancel).unwrap());
    assert_eq!(output.code, 3);
    let late = nixctld::host::Command::new("sleep")
        .arg("60")
        .deadline(Duration::from_millis(300));
    let error = leashed.output(&late, &cancel).unwrap_err();
    assert!(matches!(error, ExecError::Deadline { line, .. } if line == "sleep 60"));
    let missing = nixctld::host::Command::new("no-such-program");
    let error = leashed.output(&missing, &cancel).unwrap_err();
    assert!(matches!(error, ExecError::Missing { .. }));
}

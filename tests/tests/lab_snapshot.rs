//! The differ sees what changed in a machine, says nothing when nothing did, and is quick.
#![allow(clippy::unwrap_used)]

use std::time::{Duration, Instant};

use nixctl_lab::snapshot::{NOISE, Snapshot};
use nixctl_lab::{Machine, paths, require};

fn lines(before: &Snapshot, after: &Snapshot) -> Vec<String> {
    before.diff(after).iter().map(ToString::to_string).collect()
}

#[test]
fn every_kind_of_change_is_seen() {
    if !require() {
        return;
    }
    let machine = Machine::builder("snapshot").boot().unwrap();
    let before = Snapshot::take(&machine, &NOISE).unwrap();
    assert_eq!(
        lines(&before, &Snapshot::take(&machine, &NOISE).unwrap()),
        [""; 0]
    );
    machine
        .sh("set -e
            chmod 0600 /etc/profile
            mkdir -p /nix/store; echo hi >/nix/file; ln -s /nix /etc/link
            rm -r /etc/skel; mkdir /etc/skel
            rm /etc/issue
            groupadd --gid 30000 nixbld; useradd --gid nixbld --uid 30001 --no-create-home nixbld1
            printf '[Service]\nExecStart=sleep inf\n[Install]\nWantedBy=multi-user.target\n' \
                >/etc/systemd/system/x.service
            systemctl enable --now x.service")
        .unwrap()
        .ok()
        .unwrap();
    let began = Instant::now();
    let after = Snapshot::take(&machine, &NOISE).unwrap();
    println!("snapshot {:?}", began.elapsed());
    assert!(began.elapsed() < Duration::from_secs(3));
    let found = lines(&before, &after);
    println!("{}", found.join("\n"));
    let expected = [
        "~ /etc/profile: file 0644 0:0 ",
        "+ /nix/file: file 0644 0:0 3 bytes 98ea6e4f",
        "+ /nix/store: folder 0755 0:0",
        "+ /etc/link: link to /nix 0:0",
        "- /etc/issue: file",
        "- /etc/skel/.bashrc: file",
        "~ /etc/passwd: file",
        "+ user:nixbld1: 30001:30000:",
        "+ group:nixbld: 30000:",
        "+ /etc/systemd/system/x.service: file",
        "+ /etc/systemd/system/multi-user.target.wants/x.service: link",
        "+ unit:x.service: enabled, active",
    ];
    for start in expected {
        assert!(
            found.iter().any(|line| line.starts_with(start)),
            "not seen: {start}"
        );
    }
    let surprise = |line: &&String| {
        let known = [
            "/etc/shadow",
            "/etc/gshadow",
            "/etc/group",
            "/etc/subuid",
            "/etc/subgid",
        ];
        !expected.iter().any(|start| line.starts_with(start))
            && !["/etc/skel", "/nix:"]
                .iter()
                .any(|part| line.contains(part))
            && !known.iter().any(|file| line.contains(file))
    };
    assert_eq!(found.iter().filter(surprise).collect::<Vec<_>>(), [""; 0]);

    let file = paths::lab("scratch")
        .unwrap()
        .join(paths::unique("snapshot.json"));
    after.save(&file).unwrap();
    assert_eq!(Snapshot::load(&file).unwrap(), after);
    std::fs::remove_file(&file).unwrap();

    // And back: what was undone leaves no difference.
    machine
        .sh("set -e
            systemctl disable --now x.service; rm /etc/systemd/system/x.service
            systemctl daemon-reload
            rm -r /nix /etc/link; chmod 0644 /etc/profile")
        .unwrap()
        .ok()
        .unwrap();
    let back = lines(&before, &Snapshot::take(&machine, &NOISE).unwrap());
    for part in [" /nix", "/etc/link", "/etc/profile", "x.service"] {
        assert!(
            !back.iter().any(|line| line.contains(part)),
            "{part} is still there: {back:?}"
        );
    }
}

#[test]
fn a_reboot_is_no_difference() {
    if !require() {
        return;
    }
    let mut machine = Machine::builder("quiet").boot().unwrap();
    machine.exec_as("alice", "true").unwrap();
    let before = Snapshot::take(&machine, &NOISE).unwrap();
    machine.reboot().unwrap();
    machine.kill_hard().unwrap();
    machine.boot_again().unwrap();
    let found = lines(&before, &Snapshot::take(&machine, &NOISE).unwrap());
    assert_eq!(found, [""; 0], "{}", found.join("\n"));
}

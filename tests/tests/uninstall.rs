//! Uninstall leaves what was there before, and nothing else; what a user changed is kept and named.
#![allow(clippy::unwrap_used)]

use std::time::Duration;

use nixctl_lab::require;
use nixctl_lab::snapshot::Snapshot;
use nixctl_lab::world::{World, changes};

/// What may differ between a machine that never had Nix and one that had: nothing but what
/// [`World::snapshot`] leaves out, which is the system's own bookkeeping, nixctl's own state and
/// log, and what every boot touches.
const LEFT: [&str; 0] = [];

fn assert_as(before: &Snapshot, world: &World) {
    let left = changes(before, &world.snapshot().unwrap());
    assert_eq!(left, LEFT, "\n{}", left.join("\n"));
}

#[test]
fn the_machine_is_as_before_and_a_second_time_is_no_error() {
    if !require() {
        return;
    }
    let world = World::boot("uninstall").unwrap();
    let before = world.snapshot().unwrap();
    world.install().unwrap().ok().unwrap();
    world.build("bob", "bash", "used-by-bob").unwrap();
    world.build("root", "zsh", "used-by-root").unwrap();
    let dry = world.run("alice", "nixctl uninstall --dry-run").unwrap();
    assert!(
        dry.success() && dry.stdout.contains("/etc/nix/nix.conf"),
        "{dry:?}"
    );
    let output = world.uninstall().unwrap();
    assert!(output.success(), "{output:?}\n{}", world.daemon_log());
    println!("{output:?}");
    let (list, work) = output.stdout.split_once("step 1/").unwrap();
    for line in [
        "- remove /nix and all that is in it",
        "- take our lines out of /etc/bash.bashrc",
        "- stop and disable nix-daemon.socket, nix-daemon.service",
    ] {
        assert!(list.contains(line), "{line}: {list}");
    }
    assert!(
        !list.contains("undo") && !work.contains("undo"),
        "{output:?}"
    );
    assert_as(&before, &world);
    assert!(!world.machine.exists("/nix").unwrap());
    let copies = "/var/lib/nixctl/database";
    assert!(!world.machine.exists(copies).unwrap());
    let status = world.json("status").unwrap();
    assert_eq!(status["nix_version"], "", "{status}");

    let again = world.uninstall().unwrap();
    assert_eq!(again.status, 0, "{again:?}");
    println!("{again:?}");
    assert_as(&before, &world);
}

#[test]
fn a_machine_that_never_had_nix_is_left_alone() {
    if !require() {
        return;
    }
    let world = World::boot("nothing").unwrap();
    let before = world.snapshot().unwrap();
    let output = world.uninstall().unwrap();
    assert_eq!(output.status, 0, "{output:?}");
    assert_as(&before, &world);
}

#[test]
fn what_is_gone_already_is_no_error() {
    if !require() {
        return;
    }
    let world = World::boot("gone").unwrap();
    let before = world.snapshot().unwrap();
    world.install().unwrap().ok().unwrap();
    world
        .machine
        .sh("set -e
            systemctl disable --now nix-daemon.socket nix-daemon.service
            rm /etc/systemd/system/nix-daemon.service
            rm -rf /etc/nix /etc/tmpfiles.d/nix-daemon.conf
            rm -rf /nix/store/*-nss-cacert-*
            userdel nixbld7")
        .unwrap()
        .ok()
        .unwrap();
    let output = world.uninstall().unwrap();
    assert!(output.success(), "{output:?}\n{}", world.daemon_log());
    assert_as(&before, &world);
}

#[test]
fn a_store_that_is_in_use_goes_all_the_same() {
    if !require() {
        return;
    }
    let world = World::boot("in-use").unwrap();
    let before = world.snapshot().unwrap();
    world.install().unwrap().ok().unwrap();
    let busybox = &world.release().busybox;
    // One process runs from the store, and bob's shell sits in it.
    let sleep = format!("echo at work; exec {busybox}/bin/sleep 1000");
    let mut program = world.start("bob", &sleep).unwrap();
    let mut shell = world
        .start("bob", "cd /nix/store && echo at work && cat")
        .unwrap();
    for process in [&mut program, &mut shell] {
        process
            .wait_for("at work", Duration::from_secs(10))
            .unwrap();
    }
    let output = world.uninstall().unwrap();
    let operation = world.operations().unwrap().remove(0);
    println!("{output:?}\n{operation:?}");
    assert!(shell.is_running(), "somebody's shell was killed");
    assert!(program.is_running(), "somebody's program was killed");
    assert!(output.success(), "{output:?}\n{}", world.daemon_log());
    assert_as(&before, &world);
}

#[test]
fn mounts_in_the_store_are_kept_and_named_and_all_else_goes() {
    if !require() {
        return;
    }
    let world = World::boot("busy").unwrap();
    let before = world.snapshot().unwrap();
    world.install().unwrap().ok().unwrap();
    let busybox = &world.release().busybox;
    let inside = format!("{busybox}/bin");
    world
        .machine
        .sh(&format!(
            "set -e
            mkdir /nix/mine /srv/data && echo precious >/srv/data/file
            mount -t tmpfs tmpfs /nix/mine && echo precious >/nix/mine/file
            mount --bind /srv/data {inside}"
        ))
        .unwrap()
        .ok()
        .unwrap();
    // The second time there is nothing more to do, and what is left is named again.
    for _ in 0..2 {
        let output = world.uninstall().unwrap();
        let operation = world.operations().unwrap().remove(0);
        println!("{output:?}\n{operation:?}");
        assert_eq!(output.status, 0, "{output:?}\n{}", world.daemon_log());
        assert_eq!(operation.state, "succeeded");
        for mount in ["/nix/mine", &*inside] {
            let named = |line: &String| line.starts_with(mount) && line.contains("busy");
            assert!(operation.kept.iter().any(named), "{mount}: {operation:?}");
            let said = format!("{}{}", output.stdout, output.stderr);
            assert!(said.contains(mount), "not said: {mount}: {output:?}");
            let file = world.machine.read_text(&format!("{mount}/file")).unwrap();
            assert_eq!(file, "precious\n", "the content of a mount was removed");
        }
        assert_eq!(operation.kept.len(), 2, "{operation:?}");
        let left = world
            .machine
            .sh("find /nix -xdev | sort")
            .unwrap()
            .ok()
            .unwrap();
        let mut expected = vec!["/nix", "/nix/mine", "/nix/store", busybox, &inside];
        expected.sort_unstable();
        // A bind mount of the same file system is no border to find.
        let found: Vec<_> = left
            .stdout
            .lines()
            .filter(|path| !path.ends_with("/file"))
            .collect();
        assert_eq!(found, expected);
        assert_eq!(world.json("status").unwrap()["nix_version"], "");
    }
    world
        .machine
        .sh(&format!("umount /nix/mine {inside} && rm -r /srv/data"))
        .unwrap()
        .ok()
        .unwrap();
    world.uninstall().unwrap().ok().unwrap();
    assert_as(&before, &world);
}

#[test]
fn what_a_user_changed_is_kept_and_named() {
    if !require() {
        return;
    }
    let world = World::boot("changed").unwrap();
    let before = world.snapshot().unwrap();
    world.install().unwrap().ok().unwrap();
    world
        .machine
        .sh("set -e
            echo 'max-jobs = 3 # mine' >>/etc/nix/nix.conf
            echo '# my own line' >>/etc/profile.d/nix.sh
            sed -i '1i # my first line' /etc/bash.bashrc
            echo 'alias mine=true' >>/etc/bash.bashrc
            mkdir -p /etc/nix/mine; echo hello >/etc/nix/mine/file
            printf '\n[Service]\nNice=5\n' >>/etc/systemd/system/nix-daemon.service")
        .unwrap()
        .ok()
        .unwrap();
    let output = world.uninstall().unwrap();
    println!("{output:?}");
    assert!(output.success(), "{output:?}\n{}", world.daemon_log());
    let operation = world.operations().unwrap().remove(0);
    println!("{operation:?}");
    let file = |path: &str| world.machine.read_text(path).unwrap();
    assert_eq!(file("/etc/nix/mine/file"), "hello\n");
    assert!(file("/etc/nix/nix.conf").contains("max-jobs = 3 # mine"));
    assert!(!file("/etc/nix/nix.conf").contains("build-users-group"));
    let bashrc = file("/etc/bash.bashrc");
    assert!(bashrc.contains("# my first line") && bashrc.contains("alias mine=true"));
    assert!(
        !bashrc.contains("# Nix") && !bashrc.contains("/nix/"),
        "{bashrc}"
    );
    for kept in ["/etc/nix", "nix-daemon.service"] {
        assert!(
            operation.kept.iter().any(|line| line.contains(kept)),
            "{kept}: {operation:?}"
        );
    }
    for line in &operation.kept {
        let path = line.split([':', ' ']).next().unwrap();
        let said = format!("{}{}", output.stdout, output.stderr);
        assert!(said.contains(path), "not said: {line}");
    }
    // Nothing but what was kept and named is left.
    let left = changes(&before, &world.snapshot().unwrap());
    for line in &left {
        let named = operation.kept.iter().any(|kept| {
            let path = kept.split([':', ' ']).next().unwrap();
            line[2..].starts_with(path)
        });
        let own = [
            "/etc/bash.bashrc",
            "/etc/nix",
            "nix-daemon.service",
            "/etc/profile.d/nix.sh",
        ];
        assert!(
            named || own.iter().any(|path| line.contains(path)),
            "{line}: {operation:?}"
        );
    }
}

#[test]
fn settings_of_the_user_from_before_come_back_byte_by_byte() {
    if !require() {
        return;
    }
    let world = World::boot("merge").unwrap();
    let conf =
        "# mine\n\ncores = 2   # two\nsubstituters = https://cache.example.org\n!include my.conf\n";
    world
        .machine
        .write_file("/etc/nix/nix.conf", conf, 0o640)
        .unwrap();
    world
        .machine
        .write_file("/etc/zsh/zshrc.mine", "x", 0o644)
        .unwrap();
    let before = world.snapshot().unwrap();
    world.install().unwrap().ok().unwrap();
    let merged = world.machine.read_text("/etc/nix/nix.conf").unwrap();
    println!("{merged}");
    assert!(merged.contains("cores = 2   # two\n"), "{merged}");
    assert!(merged.contains("build-users-group = nixbld"), "{merged}");
    assert!(merged.contains("!include nix.custom.conf"), "{merged}");
    world.build("bob", "bash", "with-merged-settings").unwrap();
    world.uninstall().unwrap().ok().unwrap();
    assert_as(&before, &world);
}

#[test]
fn a_store_that_is_kept_is_used_again() {
    if !require() {
        return;
    }
    let world = World::boot("keep").unwrap();
    let before = world.snapshot().unwrap();
    world.install().unwrap().ok().unwrap();
    world.build("bob", "bash", "kept-output").unwrap();
    let output = world
        .run("alice", "nixctl uninstall --keep-store --yes")
        .unwrap();
    assert!(output.success(), "{output:?}");
    let kept = world
        .machine
        .sh("ls -d /nix/store/*-kept-output")
        .unwrap()
        .ok()
        .unwrap();
    assert!(!world.machine.exists("/etc/nix/nix.conf").unwrap());
    let left = changes(&before, &world.snapshot().unwrap());
    let other: Vec<_> = left
        .iter()
        .filter(|line| !line.starts_with("+ /nix") && !line.starts_with("+ nix:"))
        .collect();
    assert!(other.is_empty(), "{}", left.join("\n"));

    let again = world.install().unwrap();
    assert!(again.success(), "{again:?}\n{}", world.daemon_log());
    assert!(world.machine.exists(kept.text()).unwrap());
    world.build("bob", "bash", "after-coming-back").unwrap();
    let valid = format!("nix-store --query --hash {}", kept.text());
    world.run("bob", &valid).unwrap().ok().unwrap();
    world.uninstall().unwrap().ok().unwrap();
    println!(
        "{}",
        changes(&before, &world.snapshot().unwrap()).join("\n")
    );
}

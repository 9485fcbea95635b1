//! Everything that speaks against an install, or goes wrong in one, ends with its own code and exit
//! code, and with a machine that is as it was.
#![allow(clippy::unwrap_used)]

mod cases;

use std::path::Path;

use cases::{Cases, complaints};
use nixctl_lab::dist::install_by_hand;
use nixctl_lab::require;
use nixctl_lab::server::Fault;
use nixctl_lab::world::{OPERATION, PROGRAMS, Stage, World, changes};

#[test]
fn what_is_seen_before_anything_is_changed() {
    if !require() {
        return;
    }
    let mut cases = Cases::on(World::boot("preflight").unwrap());
    let install = cases.world.install_command();
    let tmpfs = "mkdir /nix && mount -t tmpfs -o";
    let gone = "umount /nix && rmdir /nix";
    cases.expect(
        &format!("{tmpfs} noexec tmpfs /nix"),
        &install,
        ("NIX1003", 5),
        gone,
    );
    cases.expect(
        &format!("{tmpfs} ro tmpfs /nix"),
        &install,
        ("NIX1002", 5),
        gone,
    );
    cases.expect(
        &format!("{tmpfs} size=20m tmpfs /nix"),
        &install,
        ("NIX1001", 5),
        gone,
    );
    cases.expect(
        &format!("{tmpfs} nr_inodes=50 tmpfs /nix"),
        &install,
        ("NIX1001", 5),
        gone,
    );
    let backup = "/etc/bash.bashrc.backup-before-nix";
    cases.expect(
        &format!("echo mine >{backup}"),
        &install,
        ("NIX1009", 5),
        &format!("rm {backup}"),
    );
    cases.expect(
        "touch /run/ostree-booted",
        &install,
        ("NIX1011", 5),
        "rm /run/ostree-booted",
    );
    cases.expect(
        "touch /etc/NIXOS",
        &install,
        ("NIX1008", 5),
        "rm /etc/NIXOS",
    );
    cases.expect(
        "cp /etc/nixctl/config.toml /run/kept.toml
         echo 'build_user_id_base = 990' >>/etc/nixctl/config.toml; systemctl reload nixctld",
        &install,
        ("NIX1010", 5),
        "cp /run/kept.toml /etc/nixctl/config.toml; systemctl reload nixctld",
    );
    cases.expect(
        "mount --bind /etc /etc && mount -o remount,bind,ro /etc && systemctl restart nixctld",
        &install,
        ("NIX1002", 5),
        "umount /etc && systemctl restart nixctld",
    );
    let tools = "/usr/bin/systemd-sysusers /usr/sbin/useradd /usr/sbin/groupadd";
    cases.expect(
        &format!("mkdir /run/tools; for tool in {tools}; do mv $tool /run/tools; done"),
        &install,
        ("NIX1012", 5),
        "cd /run/tools; mv systemd-sysusers /usr/bin; mv * /usr/sbin; rmdir /run/tools",
    );
    cases.finish();
}

#[test]
fn a_foreign_nix_is_not_touched() {
    if !require() {
        return;
    }
    let world = World::boot("foreign").unwrap();
    install_by_hand(&world.machine, world.release(), 4).unwrap();
    let install = world.install_command();
    let mut cases = Cases::on(world);
    cases.expect("", &install, ("NIX1007", 5), "");
    let again = cases.world.run("root", &install).unwrap();
    assert!(again.stderr.contains("--adopt"), "{again:?}");
    cases.finish();
}

#[test]
fn an_altered_or_cut_download() {
    if !require() {
        return;
    }
    let mut cases = Cases::on(World::boot("download").unwrap());
    let install = cases.world.install_command();
    let prefix = "/nix/";
    cases
        .world
        .server
        .break_prefix(prefix, Fault::Corrupt(5_000_000));
    cases.expect("", &install, ("NIX2001", 1), "");
    cases.world.server.heal();
    // The first half, with a checksum that is right for it.
    let release = cases.world.release().clone();
    let half = std::fs::read(&release.tar_xz).unwrap();
    let half = &half[..half.len() / 2];
    let name = format!("{}.tar.xz", release.top());
    let sum = {
        use sha2::Digest;
        nixctl_lab::paths::hex(&sha2::Sha256::digest(half))
    };
    cases.world.server.put(&format!("/cut/{name}"), half);
    cases.world.server.put(&format!("/cut/{name}.sha256"), sum);
    let cut = format!("nixctl install --source http://127.0.0.1:8080/cut/{name} --yes");
    cases.expect("", &cut, ("NIX2002", 1), "");
    // A checksum on the command line that is another one.
    let wrong = "0".repeat(64);
    cases.expect(
        "",
        &format!("{install} --sha256 {wrong}"),
        ("NIX2001", 1),
        "",
    );
    cases.finish();
}

/// Packs the real release again with one more entry. Arguments: tarball, result, what.
const HOSTILE: &str = r#"
import io, sys, tarfile
source, target, what = sys.argv[1:]
with tarfile.open(source) as old, tarfile.open(target, "w") as new:
    members = old.getmembers()
    top = members[0].name.split("/")[0]
    path = next(m.name for m in members if m.name.count("/") == 2 and m.isdir())
    for member in members:
        new.addfile(member, old.extractfile(member) if member.isfile() else None)

    def entry(name, kind=tarfile.REGTYPE, link="", mode=0o644, data=b"evil"):
        info = tarfile.TarInfo(name)
        info.type, info.linkname, info.mode = kind, link, mode
        if kind == tarfile.REGTYPE:
            info.size = len(data)
            new.addfile(info, io.BytesIO(data))
        else:
            info.devmajor, info.devminor = 1, 3
            new.addfile(info)

    if what == "dots":
        entry(f"{top}/store/../../../../../../../etc/evil")
    elif what == "dots-in-path":
        entry(f"{path}/../../../../../../../../etc/evil")
    elif what == "absolute":
        entry("/etc/evil")
    elif what == "absolute-store":
        entry("/" + path + "/evil")
    elif what == "device":
        entry(f"{path}/null", tarfile.CHRTYPE)
    elif what == "block-device":
        entry(f"{path}/disk", tarfile.BLKTYPE)
    elif what == "pipe":
        entry(f"{path}/pipe", tarfile.FIFOTYPE)
    elif what == "through-a-link":
        entry(f"{path}/away", tarfile.SYMTYPE, "/etc")
        entry(f"{path}/away/evil")
    elif what == "hard-link-outside":
        entry(f"{path}/shadow", tarfile.LNKTYPE, "/etc/shadow")
    elif what == "hard-link-up":
        entry(f"{path}/shadow", tarfile.LNKTYPE, f"{top}/../../../../../../etc/shadow")
    elif what == "set-uid":
        entry(f"{path}/root", mode=0o4755)
    elif what == "beside":
        entry("elsewhere/evil")
    elif what == "no-store-path":
        entry(f"{top}/store/evil")
    elif what == "second-time":
        first = next(m for m in members if m.isfile() and m.name.startswith(path))
        entry(first.name)
    else:
        sys.exit(f"what is {what}?")
"#;

#[test]
fn hostile_archives_write_nothing_outside() {
    if !require() {
        return;
    }
    let world = World::boot("hostile").unwrap();
    world
        .machine
        .write_file("/var/tmp/hostile.py", HOSTILE, 0o644)
        .unwrap();
    world
        .machine
        .copy_in(
            &world.release().tar_xz,
            Path::new("/var/tmp/right.tar.xz"),
            0o644,
        )
        .unwrap();
    world
        .machine
        .sh("xz -dk /var/tmp/right.tar.xz")
        .unwrap()
        .ok()
        .unwrap();
    let mut cases = Cases::on(world);
    let name = format!("/var/tmp/{}.tar", cases.world.release().top());
    for what in [
        "dots",
        "dots-in-path",
        "absolute",
        "absolute-store",
        "device",
        "block-device",
        "pipe",
        "through-a-link",
        "hard-link-outside",
        "hard-link-up",
        "set-uid",
        "beside",
        "no-store-path",
        "second-time",
    ] {
        let pack = format!(
            "rm -f {name}.zst && python3 /var/tmp/hostile.py /var/tmp/right.tar {name} {what} \
             && zstd -q -1 --rm {name}"
        );
        let install = format!("nixctl install --source {name}.zst --yes");
        let tidy = "test ! -e /etc/evil && test ! -e /evil && test ! -e /nix";
        cases.expect(&pack, &install, ("NIX2002", 1), tidy);
    }
    cases.finish();
}

#[test]
fn a_disk_that_becomes_full() {
    if !require() {
        return;
    }
    let world = World::boot_with("full", Stage::Daemon, |builder| builder.disk(400 << 20)).unwrap();
    let before = world.snapshot().unwrap();
    world.server.break_prefix("/nix/", Fault::Rate(6_000_000));
    let client = world.start("root", &world.install_command()).unwrap();
    world.under_way(1).unwrap();
    // To the last byte.
    let full = world
        .machine
        .sh("cat /dev/zero >/var/tmp/fill; sync")
        .unwrap();
    assert!(full.stderr.contains("No space left"), "{full:?}");
    world.server.heal();
    let output = client.wait(OPERATION).unwrap();
    println!("{output:?}");
    assert_eq!(
        complaints(&output, "NIX2004", 1),
        [""; 0],
        "{output:?}\n{}",
        world.daemon_log()
    );
    let operation = world.settled(OPERATION).unwrap().unwrap();
    assert_eq!(operation.state, "reverted", "{operation:?}");
    world.machine.sh("rm /var/tmp/fill").unwrap();
    assert_eq!(changes(&before, &world.snapshot().unwrap()), [""; 0]);
    let again = world.install().unwrap();
    assert!(again.success(), "{again:?}");
}

/// What a child that hangs has started, to be looked for when it was ended.
const GRANDCHILD: &str = "sleep 98765";

fn assert_nobody_is_left(world: &World) {
    let left = world.machine.exec(&["pgrep", "--full", GRANDCHILD]);
    let left = left.unwrap();
    assert!(!left.success(), "the child's child still runs: {left:?}");
}

#[test]
fn a_child_that_hangs() {
    if !require() {
        return;
    }
    let world = World::boot("hang").unwrap();
    let set = "nixctl config set install.self_test_seconds 3";
    world.run("root", set).unwrap().ok().unwrap();
    // A login shell that never comes up.
    let config = format!("{GRANDCHILD}\n");
    world
        .machine
        .write_file("/etc/fish/config.fish", config, 0o644)
        .unwrap();
    let before = world.snapshot().unwrap();
    let output = world.run("root", &world.install_command()).unwrap();
    println!("{output:?}");
    assert_eq!(
        complaints(&output, "NIX2008", 1),
        [""; 0],
        "{output:?}\n{}",
        world.daemon_log()
    );
    let late = "fish: it did not end within 3 s";
    assert!(output.stderr.contains(late), "{output:?}");
    assert_nobody_is_left(&world);
    assert_eq!(changes(&before, &world.snapshot().unwrap()), [""; 0]);
}

/// The same in a step with a long deadline of its own.
#[test]
fn a_tool_that_hangs() {
    // A minute, spent waiting.
    if !nixctl_lab::full() || !require() {
        return;
    }
    let world = World::boot("hang-tool").unwrap();
    let hang = format!(
        "mv /usr/bin/systemd-sysusers /usr/bin/systemd-sysusers.real
        printf '#!/bin/sh\\n{GRANDCHILD} & wait\\n' >/usr/bin/systemd-sysusers
        chmod 755 /usr/bin/systemd-sysusers"
    );
    world.machine.sh(&hang).unwrap().ok().unwrap();
    let before = world.snapshot().unwrap();
    let output = world.run("root", &world.install_command()).unwrap();
    println!("{output:?}");
    assert_eq!(
        complaints(&output, "NIX2003", 1),
        [""; 0],
        "{output:?}\n{}",
        world.daemon_log()
    );
    assert_nobody_is_left(&world);
    assert_eq!(changes(&before, &world.snapshot().unwrap()), [""; 0]);
}

#[test]
fn a_nix_that_does_not_work_is_undone() {
    if !require() {
        return;
    }
    let world = World::boot("self-test").unwrap();
    // In fish nothing is found, whatever is installed.
    let broken = "set -gx PATH /usr/bin /bin\n";
    world
        .machine
        .write_file("/etc/fish/config.fish", broken, 0o644)
        .unwrap();
    let before = world.snapshot().unwrap();
    let output = world.run("root", &world.install_command()).unwrap();
    println!("{output:?}");
    assert_eq!(complaints(&output, "NIX2008", 1), [""; 0], "{output:?}");
    assert!(output.stderr.contains("fish"), "{output:?}");
    assert_eq!(changes(&before, &world.snapshot().unwrap()), [""; 0]);
}

#[test]
fn without_a_bus_the_socket_serves_and_an_install_is_refused() {
    if !require() {
        return;
    }
    let world = World::boot("no-bus").unwrap();
    let stop = "systemctl mask --now dbus.socket dbus.service; rm -f /run/dbus/system_bus_socket
        systemctl restart nixctld; systemctl is-active nixctld";
    let stopped = world.machine.sh(stop).unwrap();
    assert!(stopped.success(), "{stopped:?}\n{}", world.daemon_log());
    let before = world.snapshot().unwrap();
    for (user, code, exit) in [
        ("alice", "NIX1020", 5),
        ("root", "NIX1020", 5),
        ("bob", "NIX3001", 3),
    ] {
        let status = world.run(user, "nixctl status").unwrap();
        assert!(status.success(), "{status:?}");
        let output = world.run(user, &world.install_command()).unwrap();
        println!("{output:?}");
        assert_eq!(complaints(&output, code, exit), [""; 0], "{output:?}");
    }
    assert_eq!(changes(&before, &world.snapshot().unwrap()), [""; 0]);
    // With the bus back, the same works.
    let start = "systemctl unmask dbus.socket dbus.service; systemctl start dbus.socket";
    world.machine.sh(start).unwrap().ok().unwrap();
    let output = world.install().unwrap();
    assert!(output.success(), "{output:?}\n{}", world.daemon_log());
}

#[test]
fn without_a_daemon_nobody_answers() {
    if !require() {
        return;
    }
    let world = World::boot_fresh("no-daemon").unwrap();
    let before = world.snapshot().unwrap();
    for command in ["nixctl status", &world.install_command()] {
        let command = format!("{PROGRAMS}/{command}");
        let output = world.run("alice", &command).unwrap();
        assert_eq!(complaints(&output, "NIX3002", 4), [""; 0], "{output:?}");
    }
    assert_eq!(changes(&before, &world.snapshot().unwrap()), [""; 0]);
}

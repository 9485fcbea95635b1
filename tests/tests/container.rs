//! A container without init and bus, as in an image build: `nixctl --private` installs, a build
//! runs, the sandbox choice is explained, and `nixctl daemon run` keeps nix-daemon alive.
#![allow(clippy::unwrap_used)]

use std::path::Path;
use std::time::{Duration, Instant};

use nixctl_lab::require;
use nixctl_lab::world::{OPERATION, World, changes};

const TARBALL: &str = "/var/tmp/nix.tar.xz";

fn container(name: &str) -> World {
    let world = World::boot_container(name).unwrap();
    world
        .machine
        .copy_in(&world.release().tar_xz, Path::new(TARBALL), 0o644)
        .unwrap();
    world
}

fn install(world: &World, more: &str) -> nixctl_lab::Output {
    let command = format!("nixctl --private install --source {TARBALL} --yes {more}");
    let output = world.run("root", &command).unwrap();
    println!("{output:?}");
    assert!(output.success(), "{output:?}");
    output
}

#[test]
fn a_private_daemon_installs_and_root_builds() {
    if !require() {
        return;
    }
    let world = container("container");
    let before = world.snapshot().unwrap();
    let output = install(&world, "");
    let said = format!("{}{}", output.stdout, output.stderr);
    assert!(
        said.to_lowercase().contains("sandbox"),
        "the choice is not explained: {said}"
    );
    let conf = world.machine.read_text("/etc/nix/nix.conf").unwrap();
    println!("{conf}");
    let lines: Vec<&str> = conf.lines().collect();
    let choice = lines
        .iter()
        .position(|line| line.starts_with("sandbox = "))
        .unwrap();
    assert!(
        lines[choice - 1].starts_with('#'),
        "no reason beside the choice: {conf}"
    );
    world.build("root", "bash", "in-a-container").unwrap();
    // Nothing of ours goes on running.
    let left = world
        .machine
        .exec(&["pgrep", "--list-full", "nix"])
        .unwrap();
    assert!(!left.success(), "{left:?}");
    let output = world
        .run("root", "nixctl --private uninstall --yes")
        .unwrap();
    assert!(output.success(), "{output:?}");
    assert_eq!(changes(&before, &world.snapshot().unwrap()), [""; 0]);
    let again = world
        .run("root", "nixctl --private uninstall --yes")
        .unwrap();
    assert!(again.success(), "{again:?}");
}

/// Runs a command as in a container that was given little: the ids are the machine's, there is no
/// CAP_SYS_ADMIN, and no user namespace can be made in which there would be.
const LIMITED: &str = r#"#!/bin/sh
# A /proc of its own, since the limit cannot be set in the one that the container has.
exec unshare --mount --pid --fork --mount-proc \
    unshare --user --map-users=0,0,65536 --map-groups=0,0,65536 --setuid 0 --setgid 0 sh -c '
    echo 0 >/proc/sys/user/max_user_namespaces &&
    exec setpriv --inh-caps=-sys_admin --bounding-set=-sys_admin -- "$@"' sh "$@"
"#;

#[test]
fn where_the_sandbox_cannot_work_it_is_off_and_the_reason_said() {
    if !require() {
        return;
    }
    let world = container("limited");
    let machine = &world.machine;
    machine
        .write_file("/usr/local/bin/limited", LIMITED, 0o755)
        .unwrap();
    let before = world.snapshot().unwrap();
    for how in ["--mount", "--user"] {
        let tried = world.run("root", &format!("limited unshare {how} true"));
        assert!(!tried.unwrap().success(), "this container has no limits");
    }
    let command = format!("limited nixctl --private install --source {TARBALL} --yes");
    let output = world.run("root", &command).unwrap();
    println!("{output:?}");
    assert!(output.success(), "{output:?}");
    let conf = machine.read_text("/etc/nix/nix.conf").unwrap();
    println!("{conf}");
    let lines: Vec<&str> = conf.lines().collect();
    let choice = lines.iter().position(|line| *line == "sandbox = false");
    let reason = lines[choice.unwrap() - 1];
    assert!(reason.starts_with('#'), "no reason beside it: {conf}");
    assert!(reason.contains("cannot be made here"), "{conf}");
    let said = format!("{}{}", output.stdout, output.stderr);
    assert!(said.contains("cannot be made here"), "{said}");

    let file = world.write_derivation("limited").unwrap();
    let build = format!("nix-build --no-out-link --option substitute false {file}");
    let strict = "--option sandbox true --option sandbox-fallback false";
    let sandboxed = world.run("root", &format!("limited {build} {strict}"));
    assert!(
        !sandboxed.unwrap().success(),
        "the sandbox would have worked"
    );
    let built = format!("cat $(limited {build})");
    let built = world.run("root", &built).unwrap().ok().unwrap();
    assert_eq!(built.text(), "limited is built");
    let command = "limited nixctl --private uninstall --yes";
    world.run("root", command).unwrap().ok().unwrap();
    assert_eq!(changes(&before, &world.snapshot().unwrap()), [""; 0]);
}

#[test]
fn a_single_user_install_has_no_build_users() {
    if !require() {
        return;
    }
    let world = container("single");
    install(&world, "--single-user");
    let users = world.machine.sh("grep -c nixbld /etc/passwd").unwrap();
    assert_eq!(users.text(), "0");
    world.build("root", "sh", "by-a-single-user").unwrap();
}

#[test]
fn the_daemon_in_the_foreground_keeps_nix_daemon_alive() {
    if !require() {
        return;
    }
    let world = container("foreground");
    install(&world, "");
    let mut daemon = world.machine.spawn(&["nixctl", "daemon", "run"]).unwrap();
    let socket = "/nix/var/nix/daemon-socket/socket";
    let until = Instant::now() + Duration::from_secs(20);
    while !world.machine.exists(socket).unwrap() {
        assert!(
            Instant::now() < until && daemon.is_running(),
            "{}",
            daemon.stderr()
        );
        std::thread::sleep(Duration::from_millis(50));
    }
    world.build("bob", "bash", "by-bob-in-a-container").unwrap();
    // It is started again when it dies.
    let first = world
        .machine
        .exec(&["pgrep", "--oldest", "nix-daemon"])
        .unwrap()
        .ok()
        .unwrap();
    world
        .machine
        .exec(&["kill", "-KILL", first.text()])
        .unwrap()
        .ok()
        .unwrap();
    let until = Instant::now() + Duration::from_secs(20);
    let mut number = 0;
    loop {
        number += 1;
        if world
            .build("bob", "bash", &format!("after-its-death-{number}"))
            .is_ok()
        {
            break;
        }
        assert!(Instant::now() < until, "{}", daemon.stderr());
        std::thread::sleep(Duration::from_millis(200));
    }
    // The daemon serves its clients here too.
    let status = world.run("bob", "nixctl status").unwrap();
    assert!(status.success(), "{status:?}");
    // And SIGTERM ends both.
    let own = world
        .machine
        .exec(&["pgrep", "--exact", "nixctld"])
        .unwrap()
        .ok()
        .unwrap();
    for pid in own.text().lines() {
        world.machine.exec(&["kill", "-TERM", pid]).unwrap();
    }
    let output = daemon.wait(Duration::from_secs(30)).unwrap();
    println!("{output:?}");
    assert_eq!(output.status, 0, "{output:?}");
    let left = world
        .machine
        .exec(&["pgrep", "--list-full", "nix-daemon"])
        .unwrap();
    assert!(!left.success(), "{left:?}");
}

#[test]
fn a_private_daemon_that_is_killed_goes_on_the_next_time() {
    if !require() {
        return;
    }
    let world = container("container-kill");
    let before = world.snapshot().unwrap();
    world
        .machine
        .write_file("/run/nixctl-fault", "kill 14", 0o644)
        .unwrap();
    let command = format!("nixctl --private install --source {TARBALL} --yes");
    let killed = world.run("root", &command).unwrap();
    assert!(!killed.success(), "{killed:?}");
    assert!(world.machine.exists("/run/nixctl-fault.done").unwrap());
    println!("{killed:?}");
    // Any verb brings what was begun to its end.
    let until = Instant::now() + OPERATION;
    loop {
        let list = world
            .run("root", "nixctl --private operations --json")
            .unwrap()
            .ok()
            .unwrap();
        let list: serde_json::Value = serde_json::from_str(&list.stdout).unwrap();
        match list[0]["state"].as_str() {
            Some("succeeded") => {
                world.build("root", "bash", "after-a-kill").unwrap();
                world
                    .run("root", "nixctl --private uninstall --yes")
                    .unwrap()
                    .ok()
                    .unwrap();
                break;
            }
            Some("reverted" | "failed" | "cancelled") => break,
            state => assert!(Instant::now() < until, "{state:?}"),
        }
        let watch = world.run("root", "nixctl --private watch").unwrap();
        println!("{watch:?}");
    }
    assert_eq!(changes(&before, &world.snapshot().unwrap()), [""; 0]);
}

#[test]
fn without_systemd_and_without_private_it_says_so() {
    if !require() {
        return;
    }
    let world = container("no-systemd");
    let before = world.snapshot().unwrap();
    let output = world.run("alice", "nixctl status").unwrap();
    assert_eq!(output.status, 4, "{output:?}");
    assert!(output.stderr.contains("error[NIX3002]"), "{output:?}");
    let output = world.run("root", "nixctl daemon install --yes").unwrap();
    assert!(output.success(), "{output:?}");
    assert!(output.stdout.contains("no systemd runs here"), "{output:?}");
    let output = world.run("root", "nixctl daemon uninstall --yes").unwrap();
    assert!(output.success(), "{output:?}");
    let output = world.run(
        "alice",
        &format!("nixctl --private install --source {TARBALL} --yes"),
    );
    assert_eq!(output.unwrap().status, 3);
    assert_eq!(changes(&before, &world.snapshot().unwrap()), [""; 0]);
}

#[test]
fn a_root_of_an_image() {
    if !require() {
        return;
    }
    let world = container("image");
    // A second root, of the machine's own files: enough of a system to be installed into.
    let make = "mkdir /image && cp -a /bin /sbin /lib /lib64 /usr /etc /var /home /root /image/ \
                && mkdir /image/proc /image/sys /image/dev /image/tmp /image/run";
    world.machine.sh(make).unwrap().ok().unwrap();
    // nixctl's state in the image, and the bookkeeping of its tools for users.
    let own: Vec<String> = "var/lib/nixctl etc/passwd- etc/group- etc/shadow- etc/gshadow- \
                            etc/subuid- etc/subgid- etc/.pwd.lock"
        .split_whitespace()
        .map(|path| format!("/image/{path}"))
        .collect();
    let own: Vec<&str> = own.iter().map(String::as_str).collect();
    let before = world.snapshot_but(&own).unwrap();
    let command = format!("nixctl --root /image install --source {TARBALL} --yes");
    let output = world.run("root", &command).unwrap();
    println!("{output:?}");
    assert!(output.success(), "{output:?}");
    assert!(world.machine.exists("/image/nix/store").unwrap());
    let changed = changes(&before, &world.snapshot_but(&["/image"]).unwrap());
    let outside: Vec<_> = changed
        .iter()
        .filter(|line| !line.contains("/image"))
        .collect();
    assert!(
        outside.is_empty(),
        "the machine itself was changed: {outside:?}"
    );
    // It is one that works: the links lead to it, and its database knows it.
    let found = "chroot /image test -x /nix/var/nix/profiles/nixctl/bin/nix-build \
                 && sqlite3 /image/nix/var/nix/db/db.sqlite 'select path from ValidPaths'";
    let found = world.machine.sh(found).unwrap().ok().unwrap();
    assert!(found.stdout.contains(&world.release().nix), "{found:?}");
    let output = world
        .run("root", "nixctl --root /image uninstall --yes")
        .unwrap();
    assert!(output.success(), "{output:?}");
    assert_eq!(
        changes(&before, &world.snapshot_but(&own).unwrap()),
        [""; 0]
    );
}

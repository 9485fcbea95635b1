//! nixctl replaces itself by another version of it, and goes back by itself when that one does not
//! serve.
#![allow(clippy::unwrap_used)]

use std::time::{Duration, Instant};

use nixctl_lab::dist::{GARBAGE, Neighbour};
use nixctl_lab::require;
use nixctl_lab::world::{OPERATION, Operation, World, changes};
use sha2::Digest;

/// Version that is built.
const OLD: &str = env!("CARGO_PKG_VERSION");

/// Serves a version of nixctl and returns the command that goes to it.
fn serve(world: &World, neighbour: &Neighbour) -> String {
    let bytes = neighbour.pack().unwrap();
    let sum = nixctl_lab::paths::hex(&sha2::Sha256::digest(&bytes));
    let path = format!("/nixctl/{}/{}", neighbour.fault, neighbour.archive());
    world.server.put(&path, bytes);
    world.server.put(&format!("{path}.sha256"), sum);
    format!("nixctl daemon upgrade --source http://127.0.0.1:8080{path} --yes")
}

/// The version that serves: both programs, over both ways.
fn version(world: &World) -> String {
    let status = world.json("daemon status").unwrap();
    let version = status["client"].as_str().unwrap().to_owned();
    for way in status["transports"].as_array().unwrap() {
        assert_eq!(way["version"], *version, "{status}");
    }
    let told = world.run("bob", "nixctl --version").unwrap().ok().unwrap();
    assert_eq!(told.text(), format!("nixctl {version}"));
    version
}

/// What a take-over leaves nothing of.
fn assert_cleared(world: &World) {
    for path in [
        "/etc/systemd/system/nixctld.service.d",
        "/usr/local/lib/nixctl/keeper",
        "/var/lib/nixctl/takeover.json",
        "/var/lib/nixctl/db.before",
        "/var/lib/nixctl/db.part",
    ] {
        assert!(!world.machine.exists(path).unwrap(), "{path} is left over");
    }
    let dropped = "systemctl show --value -p DropInPaths nixctld.service";
    let dropped = world.machine.sh(dropped).unwrap().ok().unwrap();
    assert_eq!(dropped.text(), "");
}

fn ids(world: &World) -> Vec<String> {
    let all = world.operations().unwrap();
    all.into_iter().map(|it| it.id).collect()
}

#[test]
fn there_and_back_with_another_form_of_the_state() {
    if !require() {
        return;
    }
    let world = World::boot_installed("self").unwrap();
    let before = ids(&world);
    assert!(!before.is_empty());
    world.build("bob", "bash", "before").unwrap();
    let upgrade = serve(&world, &Neighbour::next());
    let checked = upgrade.replace("--yes", "--check");
    let checked = world.run("bob", &checked).unwrap();
    println!("{checked:?}");
    let begin = Instant::now();
    let output = world.run("alice", &upgrade).unwrap();
    println!("{output:?}, {:?}", begin.elapsed());
    assert!(output.success(), "{output:?}\n{}", world.daemon_log());
    assert_eq!(version(&world), "0.2.0");
    assert_cleared(&world);
    let status = world.json("daemon status").unwrap();
    assert_eq!(status["kept"][0], OLD, "{status}");
    let after = ids(&world);
    assert_eq!(after[1..], before, "the history is another one");
    world.build("bob", "bash", "after").unwrap();
    let found = world.machine.exec(&["nixctl", "check"]).unwrap();
    assert!(found.success(), "{found:?}");
    // The same once more is nothing.
    let again = world.run("alice", &upgrade).unwrap().ok().unwrap();
    assert!(again.stdout.contains("here already"), "{again:?}");
    // And back, which is for administrators to say.
    let refused = world
        .run("bob", "nixctl daemon upgrade --rollback --yes")
        .unwrap();
    assert_eq!(refused.status, 3, "{refused:?}");
    let begin = Instant::now();
    let back = world
        .run("alice", "nixctl daemon upgrade --rollback --yes")
        .unwrap();
    println!("{back:?}, {:?}", begin.elapsed());
    assert!(back.success(), "{back:?}\n{}", world.daemon_log());
    assert_eq!(version(&world), OLD);
    assert_cleared(&world);
    assert_eq!(ids(&world)[1..], after, "the history is another one");
    world.build("bob", "bash", "back").unwrap();
    let found = world.machine.exec(&["nixctl", "check"]).unwrap();
    assert!(found.success(), "{found:?}");
    world.uninstall().unwrap().ok().unwrap();
    world
        .run("root", "nixctl daemon uninstall --yes")
        .unwrap()
        .ok()
        .unwrap();
    for path in ["/usr/local/bin/nixctl", "/usr/local/lib/nixctl"] {
        assert!(!world.machine.exists(path).unwrap(), "{path} is left over");
    }
}

/// Goes to a version that does not work, and looks whether all is as before. Says how long it took.
fn goes_back(world: &World, broken: &Neighbour, code: &str) -> Duration {
    let what = &broken.fault;
    let before = world.snapshot().unwrap();
    let earlier = ids(world);
    let upgrade = serve(world, broken);
    let begin = Instant::now();
    let output = world.run("alice", &upgrade).unwrap();
    let took = begin.elapsed();
    println!("{what}: {output:?}, {took:?}");
    assert_eq!(output.status, 1, "{what}\n{}", world.daemon_log());
    assert!(output.stderr.contains(code), "{what}: {output:?}");
    assert_eq!(version(world), OLD, "{what}");
    assert_cleared(world);
    let newest = &world.operations().unwrap()[0];
    assert_eq!(newest.state, "reverted", "{what}: {newest:?}");
    let shown = world.run("bob", &format!("nixctl show {}", newest.id));
    let shown = shown.unwrap().ok().unwrap();
    assert!(shown.stdout.contains(code), "{what}: {shown:?}");
    assert_eq!(
        ids(world)[1..],
        earlier,
        "{what}: the history is another one"
    );
    assert_eq!(
        changes(&before, &world.snapshot().unwrap()),
        [""; 0],
        "{what}"
    );
    let found = world.machine.exec(&["nixctl", "check"]).unwrap();
    assert!(found.success(), "{what}: {found:?}");
    took
}

#[test]
fn a_version_that_does_not_stay_goes_by_itself() {
    goes_back_from(
        "self-broken",
        &["crash", "exit", "later", "unreadable", "worse", "stuck"],
    );
}

#[test]
fn a_version_that_does_not_answer_goes_by_itself() {
    goes_back_from("self-silent", &["hang", "mute"]);
}

fn goes_back_from(name: &str, faults: &[&str]) {
    if !require() {
        return;
    }
    let world = World::boot_installed(name).unwrap();
    world.build("bob", "bash", "before").unwrap();
    for fault in faults {
        let took = goes_back(&world, &Neighbour::broken(fault), "NIX2044");
        assert!(took < Duration::from_secs(90), "{fault}: {took:?}");
    }
    world.build("bob", "bash", "after").unwrap();
}

#[test]
fn what_cannot_be_used_is_never_put_in_place() {
    if !require() {
        return;
    }
    let world = World::boot_installed("self-unusable").unwrap();
    world.build("bob", "bash", "before").unwrap();
    let pid = world.daemon_pid().unwrap();
    goes_back(&world, &Neighbour::broken(GARBAGE), "NIX2043");
    let liar = Neighbour {
        named: "0.3.0".to_owned(),
        ..Neighbour::next()
    };
    goes_back(&world, &liar, "NIX2043");
    // Members of the group may take what the settings trust, and nothing else.
    let elsewhere = "nixctl daemon upgrade --source http://127.0.0.2:8080/x --yes";
    let refused = world.run("alice", elsewhere).unwrap();
    assert_eq!(refused.status, 3, "{refused:?}");
    // An archive of something else, of another system, of another version, and none at all.
    let nix = world.source();
    let other = serve(&world, &Neighbour::next());
    let other = other.replace("--yes", "");
    let bytes = b"x".to_vec();
    let wrong_system = "/nixctl/nixctl-0.2.0-riscv64-linux.tar.xz";
    world.server.put(wrong_system, bytes);
    let sum = "0".repeat(64);
    for (command, code) in [
        (
            format!("nixctl daemon upgrade --source {nix} --yes"),
            "NIX1013",
        ),
        (
            format!("nixctl daemon upgrade --source http://127.0.0.1:8080{wrong_system} --yes"),
            "NIX1013",
        ),
        (format!("{other} --sha256 {sum} --yes"), "NIX2001"),
        ("nixctl daemon upgrade --yes".to_owned(), "NIX1013"),
        (
            "nixctl daemon upgrade --rollback --yes".to_owned(),
            "NIX1042",
        ),
    ] {
        let output = world.run("alice", &command).unwrap();
        assert!(!output.success(), "{command}: {output:?}");
        assert!(output.stderr.contains(code), "{command}: {output:?}");
    }
    assert_eq!(world.daemon_pid().unwrap(), pid, "it was started again");
    assert_cleared(&world);
}

#[test]
fn what_runs_is_waited_for_and_who_watches_sees_the_end() {
    if !require() {
        return;
    }
    let world = World::boot_installed("self-watched").unwrap();
    let upgrade = serve(&world, &Neighbour::next());
    let file = world.write_derivation("slow").unwrap();
    let busybox = "$(ls -d /nix/store/*-busybox-static-* | tail -n 1)/bin";
    let slow =
        format!("sed -i \"s|echo slow is built|{busybox}/sleep 12; echo slow is built|\" {file}");
    world.machine.sh(&slow).unwrap().ok().unwrap();
    let build = format!("nix-build --no-out-link --option substitute false {file}");
    let build = world.start("bob", &build).unwrap();
    let begun = "for i in $(seq 100); do pgrep -f 'sleep 12' && exit; sleep 0.1; done; exit 1";
    world.machine.sh(begun).unwrap().ok().unwrap();
    // An upgrade of Nix waits for the build; that of nixctl waits for the one of Nix.
    let new = &world.newer().version;
    let nix = format!("nixctl upgrade --to {new} --yes");
    let nix = world.start("alice", &nix).unwrap();
    let running = world.under_way(3).unwrap();
    assert_eq!(running.kind, "upgrade");
    let pid = world.daemon_pid().unwrap();
    let own = world
        .run("alice", &format!("{upgrade} --no-wait"))
        .unwrap()
        .ok()
        .unwrap();
    println!("{own:?}");
    let queued = world.operations().unwrap().remove(0);
    assert_eq!((&*queued.kind, &*queued.state), ("self-upgrade", "queued"));
    assert_eq!(world.daemon_pid().unwrap(), pid);
    let over_bus = format!("nixctl watch {}", queued.id);
    let over_socket = format!("nixctl --socket /run/nixctl/socket watch {}", queued.id);
    let watchers = [over_bus, over_socket].map(|command| world.start("bob", &command).unwrap());
    let nix = nix.wait(OPERATION).unwrap();
    assert!(nix.success(), "{nix:?}\n{}", world.daemon_log());
    for watcher in watchers {
        let seen = watcher.wait(OPERATION).unwrap();
        println!("{seen:?}");
        assert!(seen.success(), "{seen:?}\n{}", world.daemon_log());
        assert!(seen.stdout.contains("nixctl is replaced"), "{seen:?}");
    }
    let ended = Operation::until(&world.machine, OPERATION, |all| {
        all.iter().all(Operation::is_final)
    });
    let ended = ended.unwrap();
    assert_eq!(
        (&*ended[0].state, &*ended[1].state),
        ("succeeded", "succeeded")
    );
    assert_eq!(version(&world), "0.2.0");
    let status = world.json("status").unwrap();
    assert_eq!(status["nix_version"], **new, "{status}");
    let built = build.wait(OPERATION).unwrap();
    assert!(built.success(), "{built:?}");
}

#[test]
fn what_is_not_proven_takes_nothing_in_and_can_be_cancelled() {
    if !require() {
        return;
    }
    let world = World::boot_installed("self-cancel").unwrap();
    world.build("bob", "bash", "before").unwrap();
    let before = world.snapshot().unwrap();
    let upgrade = serve(&world, &Neighbour::next());
    let client = world.start("alice", &upgrade).unwrap();
    let until = Instant::now() + OPERATION;
    loop {
        let status = world.json("daemon status");
        let is_new = status.is_ok_and(|it| it["daemon"] == "0.2.0");
        if is_new {
            break;
        }
        assert!(Instant::now() < until, "{}", world.daemon_log());
        std::thread::sleep(Duration::from_millis(50));
    }
    // What is stored now would be lost with the way back.
    let refused = world.run("alice", "nixctl uninstall --yes").unwrap();
    println!("{refused:?}");
    assert_eq!(refused.status, 5, "{refused:?}");
    assert!(refused.stderr.contains("NIX1015"), "{refused:?}");
    let running = world.operations().unwrap().remove(0);
    assert_eq!(running.state, "running", "{running:?}");
    let cancel = format!("nixctl cancel {}", running.id);
    world.run("alice", &cancel).unwrap().ok().unwrap();
    let output = client.wait(OPERATION).unwrap();
    println!("{output:?}");
    assert_eq!(output.status, 1, "{output:?}");
    let ended = world.operations().unwrap().remove(0);
    assert_eq!((&*ended.id, &*ended.state), (&*running.id, "cancelled"));
    assert_eq!(version(&world), OLD);
    assert_cleared(&world);
    assert_eq!(changes(&before, &world.snapshot().unwrap()), [""; 0]);
}

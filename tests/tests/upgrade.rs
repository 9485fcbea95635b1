//! Nix is replaced by another version while somebody builds, and goes back by itself when the new
//! one does not work.
#![allow(clippy::unwrap_used)]

use std::time::{Duration, Instant};

use nixctl_lab::dist::{Broken, install_by_hand};
use nixctl_lab::require;
use nixctl_lab::world::{OPERATION, Stage, World, changes};
use sha2::Digest;

/// Starts a build of bob that takes so many seconds.
fn slow_build(world: &World, name: &str, seconds: u32) -> nixctl_lab::Background {
    let file = world.write_derivation(name).unwrap();
    let busybox = "$(ls -d /nix/store/*-busybox-static-* | tail -n 1)/bin";
    let slow = format!(
        "sed -i \"s|echo {name} is built|{busybox}/sleep {seconds}; echo {name} is built|\" {file}"
    );
    world.machine.sh(&slow).unwrap().ok().unwrap();
    let command = format!("nix-build --no-out-link --option substitute false {file}");
    world.start("bob", &command).unwrap()
}

fn version(world: &World) -> String {
    let said = world.run("bob", "nix --version").unwrap();
    let status = world.json("status").unwrap();
    let version = said.text().replace("nix (Nix) ", "");
    assert_eq!(status["nix_version"], *version, "{status}");
    assert_eq!(status["health"], "healthy", "{status}");
    version
}

#[test]
fn there_and_back_while_somebody_builds() {
    if !require() {
        return;
    }
    let world = World::boot_installed("upgrade").unwrap();
    let (old, new) = (&world.release().version, &world.newer().version);
    let build = slow_build(&world, "slow", 12);
    // It has begun.
    let begun = "for i in $(seq 100); do pgrep -f 'sleep 12' && exit; sleep 0.1; done; exit 1";
    world.machine.sh(begun).unwrap().ok().unwrap();
    let begin = Instant::now();
    let checked = world.run("bob", &format!("nixctl upgrade --to {new} --check"));
    let checked = checked.unwrap().ok().unwrap();
    assert!(checked.text().contains(&format!("by {new}")), "{checked:?}");
    let upgrade = format!("nixctl upgrade --to {new} --yes");
    // Collects garbage while the new version is there and not registered.
    let collect = format!(
        "for i in $(seq 200); do ls -d /nix/store/*-nix-{new} && break; sleep 0.1; done; sleep 1; \
         nix-store --gc && ls -d /nix/store/*-nix-{new}"
    );
    let collecting = world.start("root", &collect).unwrap();
    let output = world.run("alice", &upgrade).unwrap();
    println!("{output:?}, {:?}", begin.elapsed());
    let collected = collecting.wait(Duration::from_secs(60)).unwrap();
    assert!(collected.success(), "{collected:?}");
    assert!(output.success(), "{output:?}\n{}", world.daemon_log());
    let built = build.wait(Duration::from_secs(60)).unwrap();
    assert!(built.success(), "the build was cut off: {built:?}");
    assert!(begin.elapsed() > Duration::from_secs(5), "it did not wait");
    assert_eq!(version(&world), *new);
    for (user, shell) in [("root", "sh"), ("bob", "bash"), ("bob", "fish")] {
        world
            .build(user, shell, &format!("new-{user}-{shell}"))
            .unwrap();
    }
    // The same once more is nothing.
    let output = world.run("alice", &upgrade).unwrap().ok().unwrap();
    assert!(output.stdout.contains("here already"), "{output:?}");
    // And back, which is for administrators to say.
    let refused = world.run("bob", "nixctl upgrade --rollback --yes").unwrap();
    assert_eq!(refused.status, 3, "{refused:?}");
    let begin = Instant::now();
    let back = world
        .run("alice", "nixctl upgrade --rollback --yes")
        .unwrap();
    println!("{back:?}, {:?}", begin.elapsed());
    assert!(back.success(), "{back:?}\n{}", world.daemon_log());
    assert_eq!(version(&world), *old);
    world.build("bob", "bash", "back").unwrap();
    let found = world.machine.exec(&["nixctl", "check"]).unwrap();
    assert!(found.success(), "{found:?}");
    world.uninstall().unwrap().ok().unwrap();
}

#[test]
fn builds_that_do_not_end_keep_their_nix() {
    if !require() {
        return;
    }
    let world = World::boot_installed("upgrade-busy").unwrap();
    let old = &world.release().version;
    let build = slow_build(&world, "long", 20);
    let begun = "for i in $(seq 100); do pgrep -f 'sleep 20' && exit; sleep 0.1; done; exit 1";
    world.machine.sh(begun).unwrap().ok().unwrap();
    let new = &world.newer().version;
    let upgrade = format!("nixctl upgrade --to {new} --drain 3 --yes");
    let output = world.run("alice", &upgrade).unwrap();
    assert_eq!(output.status, 1, "{output:?}");
    assert!(output.stderr.contains("NIX2040"), "{output:?}");
    // Others are served again at once.
    world.build("root", "sh", "meanwhile").unwrap();
    let built = build.wait(Duration::from_secs(60)).unwrap();
    assert!(built.success(), "{built:?}");
    assert_eq!(version(&world), *old);
}

#[test]
fn the_stop_is_short_when_nobody_builds() {
    if !require() {
        return;
    }
    let world = World::boot_installed("upgrade-idle").unwrap();
    world.build("bob", "bash", "wakes-the-daemon").unwrap();
    // Asks all the time, and notes how long an answer took at most.
    let ask = "end=$(($(date +%s) + 40)); worst=0
        while [ ! -e /run/enough ] && [ $(date +%s) -lt $end ]; do
          begin=$(date +%s%N)
          /nix/var/nix/profiles/nixctl/bin/nix-store --store daemon --check-validity \
            /nix/var/nix/profiles/nixctl/bin/nix 2>/run/said || \
            grep -q 'not valid\\|is not in the Nix store\\|not a valid' /run/said || cat /run/said >>/run/refused
          took=$((($(date +%s%N) - begin) / 1000000))
          [ $took -gt $worst ] && worst=$took
        done; echo $worst";
    let asking = world.start("root", ask).unwrap();
    let new = &world.newer().version;
    let upgrade = format!("nixctl upgrade --to {new} --yes");
    let output = world.run("alice", &upgrade).unwrap();
    assert!(output.success(), "{output:?}\n{}", world.daemon_log());
    world.machine.sh("touch /run/enough").unwrap();
    let worst = asking.wait(OPERATION).unwrap().ok().unwrap();
    let refused = world.machine.sh("cat /run/refused 2>/dev/null").unwrap();
    println!(
        "longest answer {} ms, refused: {}",
        worst.text(),
        refused.text()
    );
    let worst: u64 = worst.text().parse().unwrap();
    assert!(worst < 5000, "{worst} ms");
    assert_eq!(refused.text(), "");
}

/// Serves a release that does not work, and returns the command that upgrades to it.
fn serve_broken(world: &World, how: Broken) -> String {
    let version = "2.34.9";
    let bytes = world.newer().broken(how, version).unwrap();
    let sum = nixctl_lab::paths::hex(&sha2::Sha256::digest(&bytes));
    let path = format!(
        "/broken/{how:?}/nix-{version}-{}.tar.zst",
        world.newer().system
    );
    world.server.put(&path, bytes);
    world.server.put(&format!("{path}.sha256"), sum);
    format!("nixctl upgrade --source http://127.0.0.1:8080{path} --yes")
}

#[test]
fn what_does_not_work_is_undone_by_itself() {
    if !require() {
        return;
    }
    let world = World::boot_installed("upgrade-broken").unwrap();
    let old = world.release().version.clone();
    let set = "nixctl config set install.self_test_seconds 8";
    world.run("root", set).unwrap().ok().unwrap();
    world.build("bob", "bash", "before").unwrap();
    for how in Broken::ALL {
        let before = world.snapshot().unwrap();
        let upgrade = serve_broken(&world, how);
        let begin = Instant::now();
        let output = world.run("alice", &upgrade).unwrap();
        let took = begin.elapsed();
        println!("{how:?}: {output:?}, {took:?}");
        assert_eq!(
            output.status,
            1,
            "{how:?}: {output:?}\n{}",
            world.daemon_log()
        );
        assert!(output.stderr.contains("error[NIX"), "{output:?}");
        assert_eq!(
            changes(&before, &world.snapshot().unwrap()),
            [""; 0],
            "{how:?}"
        );
        world
            .build("bob", "bash", &format!("after-{how:?}"))
            .unwrap();
        let back = begin.elapsed();
        assert!(
            back < Duration::from_secs(60),
            "{how:?}: built after {back:?}"
        );
        assert_eq!(version(&world), old);
        let newest = &world.operations().unwrap()[0];
        assert_eq!(newest.state, "reverted", "{newest:?}");
        let shown = world.run("bob", &format!("nixctl show {}", newest.id));
        assert!(shown.unwrap().stdout.contains("NIX"), "{how:?}");
    }
    // A checksum that is not the one of the bytes.
    let before = world.snapshot().unwrap();
    let (bytes, path) = (
        "x".repeat(1000),
        "/broken/sum/nix-2.34.9-x86_64-linux.tar.zst",
    );
    world.server.put(path, bytes);
    world.server.put(&format!("{path}.sha256"), "0".repeat(64));
    let wrong = format!("nixctl upgrade --source http://127.0.0.1:8080{path} --yes");
    let output = world.run("alice", &wrong).unwrap();
    assert!(output.stderr.contains("NIX2001"), "{output:?}");
    assert_eq!(changes(&before, &world.snapshot().unwrap()), [""; 0]);
}

/// As the script of the project installs it, and then taken over.
#[test]
fn an_install_by_script_that_was_taken_over() {
    if !require() {
        return;
    }
    let world = World::boot_with("upgrade-adopted", Stage::Daemon, |it| it).unwrap();
    install_by_hand(&world.machine, world.release(), 32).unwrap();
    let adopt = world.run("root", "nixctl install --adopt --yes").unwrap();
    assert!(adopt.success(), "{adopt:?}\n{}", world.daemon_log());
    let (old, new) = (&world.release().version, &world.newer().version);
    assert_eq!(version(&world), *old);
    let upgrade = format!("nixctl upgrade --to {new} --yes");
    let output = world.run("alice", &upgrade).unwrap();
    assert!(output.success(), "{output:?}\n{}", world.daemon_log());
    assert_eq!(version(&world), *new);
    world.build("bob", "bash", "adopted-new").unwrap();
    let back = world
        .run("alice", "nixctl upgrade --rollback --yes")
        .unwrap();
    assert!(back.success(), "{back:?}\n{}", world.daemon_log());
    assert_eq!(version(&world), *old);
    world.build("bob", "bash", "adopted-old").unwrap();
}

/// To a version that brings the database into another form, and back only when that is asked for.
#[test]
fn across_a_change_of_the_schema_and_back() {
    if !require() {
        return;
    }
    let world = World::boot_installed("upgrade-schema").unwrap();
    let old = world.release().version.clone();
    let schema = || {
        let read = world.machine.sh("cat /nix/var/nix/db/schema");
        read.unwrap().ok().unwrap().text().to_owned()
    };
    world.build("bob", "bash", "before").unwrap();
    let bytes = world.newer().with_newer_schema("2.35.0").unwrap();
    let sum = nixctl_lab::paths::hex(&sha2::Sha256::digest(&bytes));
    let path = format!("/newer/nix-2.35.0-{}.tar.zst", world.newer().system);
    world.server.put(&path, bytes);
    world.server.put(&format!("{path}.sha256"), sum);
    let upgrade = format!("nixctl upgrade --source http://127.0.0.1:8080{path} --yes");
    let output = world.run("alice", &upgrade).unwrap();
    assert!(output.success(), "{output:?}\n{}", world.daemon_log());
    assert_eq!(schema(), "11");
    world.build("bob", "bash", "after").unwrap();
    let after = "nix-build --no-out-link --option substitute false /var/tmp/after.nix";
    let after = world.run("bob", after).unwrap().ok().unwrap();
    let after = after.text().to_owned();

    // Not by itself, and then nothing was stopped or changed.
    let refused = world.run("alice", "nixctl upgrade --rollback --yes");
    let refused = refused.unwrap();
    assert_eq!(refused.status, 1, "{refused:?}");
    assert!(refused.stderr.contains("NIX2041"), "{refused:?}");
    assert!(refused.stderr.contains("--restore-database"), "{refused:?}");
    assert_eq!(schema(), "11");
    world.build("bob", "bash", "still").unwrap();

    let plan = "nixctl upgrade --rollback --restore-database --dry-run --json";
    let plan = world.run("bob", plan).unwrap();
    assert!(plan.stdout.contains("lost of that: signatures"), "{plan:?}");
    let back = "nixctl upgrade --rollback --restore-database --yes";
    let begin = Instant::now();
    let output = world.run("alice", back).unwrap();
    println!("{output:?}, {:?}", begin.elapsed());
    assert!(output.success(), "{output:?}\n{}", world.daemon_log());
    assert_eq!((schema().as_str(), version(&world)), ("10", old));
    // What was built by the newer one is known, and everybody builds.
    let known = format!("nix-store --check-validity {after}");
    world.run("bob", &known).unwrap().ok().unwrap();
    world.build("bob", "bash", "back").unwrap();
    let kept = world
        .machine
        .sh("ls -d /nix/var/nix/db/damaged-*/db.sqlite");
    kept.unwrap().ok().unwrap();
    let found = world.machine.exec(&["nixctl", "check"]).unwrap();
    assert!(found.success(), "{found:?}");
    // And forwards once more.
    let output = world.run("alice", "nixctl upgrade --rollback --yes");
    let output = output.unwrap();
    assert!(output.success(), "{output:?}\n{}", world.daemon_log());
    assert_eq!(schema(), "11");
    world.build("bob", "bash", "again").unwrap();
}

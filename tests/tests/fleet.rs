//! Machines that share a FleetLock server take their turns; one that fails keeps its slot, and a
//! server that is away means wait.
#![allow(clippy::unwrap_used)]

use std::collections::BTreeSet;
use std::time::{Duration, Instant};

use nixctl_lab::dist::Broken;
use nixctl_lab::generation::{SYSTEM_PROFILE, Service, Site, Spec, Tweak, disk_for, generation};
use nixctl_lab::server::{Away, FleetLock, Happened};
use nixctl_lab::world::fleet::{self, Effect, Fleet, GROUP, holders_at};
use nixctl_lab::world::{Disturbance, Fired, OPERATION, Operation, World, json};
use nixctl_lab::{Background, full, require, require_disks};
use sha2::Digest;

/// How long three machines may take after one another, when the host does much else.
const ALL: Duration = Duration::from_secs(240);
/// How long something that goes on by itself may take.
const PATIENCE: Duration = Duration::from_secs(90);
const TICK: Duration = Duration::from_millis(100);
/// A machine that is none of the lab's.
const OTHER: &str = "0123456789abcdef0123456789abcdef";
/// The version of a release that does not work.
const BROKEN: &str = "2.34.9";

fn until(what: &str, world: &World, is_so: impl Fn() -> bool) {
    let began = Instant::now();
    while !is_so() {
        let log = || world.daemon_log();
        assert!(began.elapsed() < PATIENCE, "never {what}: {}", log());
        std::thread::sleep(TICK);
    }
}

/// What the status says of the slot of a machine; nothing while its daemon does not answer.
fn slot(world: &World) -> String {
    let status = json(&world.machine, "status").unwrap_or_default();
    status["upgrade"]["fleet_lock"]
        .as_str()
        .unwrap_or("?")
        .to_owned()
}

fn command(world: &World) -> String {
    format!("nixctl upgrade --to {} --yes", world.newer().version)
}

/// Upgrades a machine, watched by whoever asked for it.
fn upgrade(fleet: &Fleet, machine: usize) -> Background {
    let command = command(&fleet.worlds[machine]);
    fleet.start(machine, &command).unwrap()
}

/// Has an upgrade of a machine begun.
fn begin(fleet: &Fleet, machine: usize) {
    let command = command(&fleet.worlds[machine]);
    fleet.begin(machine, &command).unwrap();
}

fn version(world: &World) -> String {
    let said = world.run("bob", "nix --version").unwrap();
    said.text().replace("nix (Nix) ", "")
}

/// That each effect was on the one machine that had a slot then, and that each slot went back.
fn took_turns(fleet: &Fleet, effects: &[Effect]) {
    let journal = fleet.server.journal();
    for effect in effects {
        let id = fleet.id(effect.machine).unwrap();
        let holders = holders_at(&journal, effect.at);
        assert_eq!(holders, BTreeSet::from([&*id]), "{effect:?} {journal:#?}");
    }
    assert_eq!(fleet.server.most_at_once(GROUP), 1, "{journal:#?}");
}

/// Waits until nobody has a slot.
fn all_given_back(fleet: &Fleet) {
    let all = || fleet.holders().is_empty() && fleet.worlds.iter().all(|it| slot(it).is_empty());
    until("given back", &fleet.worlds[0], all);
}

#[test]
fn three_machines_take_their_turns() {
    if !require() {
        return;
    }
    let fleet = Fleet::boot("fleet", 3, "").unwrap();
    let began = Instant::now();
    let (ended, effects) = fleet.effects(|| {
        (0..3).for_each(|it| begin(&fleet, it));
        fleet.settled(&[0, 1, 2], ALL).unwrap()
    });
    println!("all are through after {:?}", began.elapsed());
    for (world, operation) in fleet.worlds.iter().zip(&ended) {
        assert_eq!(operation.state, "succeeded", "{}", world.daemon_log());
        assert_eq!(version(world), world.newer().version);
    }
    let changed: BTreeSet<usize> = effects.iter().map(|it| it.machine).collect();
    assert_eq!(changed.len(), 3, "{effects:?}");
    took_turns(&fleet, &effects);
    all_given_back(&fleet);
    let journal = fleet.server.journal();
    let count = |what| journal.iter().filter(|it| it.happened == what).count();
    assert_eq!((count(Happened::Locked), count(Happened::Unlocked)), (3, 3));
    assert!(count(Happened::Refused) >= 2, "nobody waited: {journal:#?}");
}

/// Serves a release that does not work to a machine; the command that upgrades to it.
fn serve_broken(world: &World) -> String {
    let bytes = world.newer().broken(Broken::Ends, BROKEN).unwrap();
    let sum = nixctl_lab::paths::hex(&sha2::Sha256::digest(&bytes));
    let path = format!("/broken/nix-{BROKEN}-{}.tar.zst", world.newer().system);
    world.server.put(&path, bytes);
    world.server.put(&format!("{path}.sha256"), sum);
    format!("nixctl upgrade --source http://127.0.0.1:8080{path} --yes")
}

/// That machines ask for their turn, do not get it, and nothing takes effect on them.
fn are_held(fleet: &Fleet, machines: &[usize]) {
    let ((), effects) = fleet.effects(|| {
        for &machine in machines {
            for _ in 0..2 {
                let waits = fleet.waits(machine, PATIENCE).unwrap();
                let reason = waits.waiting_for.clone().unwrap_or_default();
                assert!(reason.contains("currently full"), "{reason}");
                fleet.retry(machine, &waits).unwrap();
            }
            fleet.waits(machine, PATIENCE).unwrap();
            let status = json(&fleet.worlds[machine].machine, "status").unwrap();
            let waits = status["active"]["waiting_for"].as_str().unwrap_or_default();
            assert!(waits.contains("not this machine's turn"), "{status}");
        }
    });
    assert!(effects.is_empty(), "{effects:?}");
}

#[test]
fn a_machine_whose_upgrade_does_not_work_stops_the_others() {
    if !require() {
        return;
    }
    let settings = "[install]\nself_test_seconds = 8\n";
    let fleet = Fleet::boot("fleet-broken", 3, settings).unwrap();
    let ill = &fleet.worlds[0];
    let output = ill.run("alice", &serve_broken(ill)).unwrap();
    assert_eq!(output.status, 1, "{output:?}\n{}", ill.daemon_log());
    assert_eq!(version(ill), ill.release().version);
    let id = fleet.id(0).unwrap();
    assert_eq!(fleet.holders(), BTreeSet::from([id.clone()]));
    assert!(slot(ill).contains("keeps its slot"), "{}", slot(ill));

    [1, 2].into_iter().for_each(|it| begin(&fleet, it));
    are_held(&fleet, &[1, 2]);
    assert_eq!(fleet.holders(), BTreeSet::from([id]));
    // It gets well by what works: it has its slot already, and gives it back then.
    let (ended, effects) = fleet.effects(|| {
        begin(&fleet, 0);
        fleet.settled(&[0], ALL).unwrap();
        fleet.settled(&[1, 2], ALL).unwrap()
    });
    assert!(ended.iter().all(|it| it.state == "succeeded"), "{ended:?}");
    took_turns(&fleet, &effects);
    all_given_back(&fleet);
}

#[test]
fn a_machine_that_is_unwell_afterwards_stops_the_others_until_somebody_helps() {
    if !require() {
        return;
    }
    let fleet = Fleet::boot("fleet-unwell", 2, "").unwrap();
    let (ill, id) = (&fleet.worlds[0], fleet.id(0).unwrap());
    // Held back when it has its turn, by a build.
    let file = ill.write_derivation("slow").unwrap();
    let busybox = "$(ls -d /nix/store/*-busybox-static-* | tail -n 1)/bin";
    let slow = format!("sed -i \"s|echo slow is built|{busybox}/sleep 12; echo slow|\" {file}");
    ill.machine.sh(&slow).unwrap().ok().unwrap();
    let build = format!("nix-build --no-out-link --option substitute false {file}");
    let build = ill.start("bob", &build).unwrap();
    let begun = "for i in $(seq 100); do pgrep -f 'sleep 12' && exit; sleep 0.1; done; exit 1";
    ill.machine.sh(begun).unwrap().ok().unwrap();
    let upgrading = upgrade(&fleet, 0);
    until("its turn", ill, || slot(ill).contains("has its turn"));
    // A build user goes, meanwhile: a health check finds that.
    let userdel = ["userdel", "nixbld9"];
    ill.machine.exec(&userdel).unwrap().ok().unwrap();
    let output = upgrading.wait(OPERATION).unwrap();
    println!("{output:?}");
    assert_eq!(output.status, 1, "{output:?}\n{}", ill.daemon_log());
    assert!(build.wait(OPERATION).unwrap().success());
    assert_eq!(fleet.holders(), BTreeSet::from([id.clone()]));
    begin(&fleet, 1);
    are_held(&fleet, &[1]);
    // Somebody has looked at the machine and lets the others go on.
    fleet.server.release(GROUP, &id);
    let (ended, effects) = fleet.effects(|| fleet.settled(&[1], ALL).unwrap());
    assert_eq!(ended[0].state, "succeeded", "{ended:?}");
    took_turns(&fleet, &effects);
    until("given back", ill, || fleet.holders().is_empty());
    // It says so itself until it is well, and then asks anew.
    assert!(slot(ill).contains("keeps its slot"), "{}", slot(ill));
    ill.run("alice", "nixctl repair --yes")
        .unwrap()
        .ok()
        .unwrap();
    begin(&fleet, 0);
    let ended = fleet.settled(&[0], ALL).unwrap();
    assert_eq!(ended[0].state, "succeeded", "{}", ill.daemon_log());
    all_given_back(&fleet);
}

#[test]
fn a_server_that_is_away_means_wait() {
    if !require() {
        return;
    }
    let fleet = Fleet::boot("fleet-away", 1, "").unwrap();
    let world = &fleet.worlds[0];
    fleet.server.set_away(Away::Gone);
    let ((), effects) = fleet.effects(|| {
        let upgrading = upgrade(&fleet, 0);
        let mut known = fleet.waits(0, PATIENCE).unwrap();
        for (away, part) in [
            (Away::Status(500), "500"),
            (Away::Status(302), "redirect"),
            (Away::Status(404), "404"),
            (Away::Status(204), "204"),
        ] {
            fleet.server.set_away(away);
            fleet.retry(0, &known).unwrap();
            until(part, world, || {
                let now = fleet.waits(0, PATIENCE).unwrap();
                now.waiting_for.unwrap_or_default().contains(part)
            });
            known = fleet.waits(0, PATIENCE).unwrap();
        }
        // Silent, and somebody does not want to wait for that.
        let before = fleet.server.journal().len();
        fleet.server.set_away(Away::Silent);
        fleet.retry(0, &known).unwrap();
        until("asked", world, || fleet.server.journal().len() > before);
        // Only who asks now gets an answer.
        fleet.server.set_away(Away::No);
        let began = Instant::now();
        let cancel = ["nixctl", "cancel", &known.id];
        world.machine.exec(&cancel).unwrap().ok().unwrap();
        let output = upgrading.wait(PATIENCE).unwrap();
        assert_eq!(output.status, 1, "{output:?}");
        assert!(began.elapsed() < Duration::from_secs(20), "{output:?}");
    });
    assert!(effects.is_empty(), "{effects:?}");
    // It may have got a slot, as far as it knows: it gives back what it has not.
    until("given back", world, || {
        let journal = fleet.server.journal();
        journal
            .last()
            .is_some_and(|it| it.happened == Happened::NotHeld)
    });
    until("forgotten", world, || slot(world).is_empty());
    assert!(fleet.holders().is_empty());
    if full() {
        silence_is_no_yes(&fleet);
    }

    // Cancelled while another has the slot: nothing is left of it.
    assert!(fleet.server.take(GROUP, OTHER));
    let upgrading = upgrade(&fleet, 0);
    let waits = fleet.waits(0, PATIENCE).unwrap();
    let cancel = ["nixctl", "cancel", &waits.id];
    world.machine.exec(&cancel).unwrap().ok().unwrap();
    assert_eq!(upgrading.wait(PATIENCE).unwrap().status, 1);
    until("forgotten", world, || slot(world).is_empty());
    assert_eq!(fleet.holders(), BTreeSet::from([OTHER.to_owned()]));
    fleet.server.release(GROUP, OTHER);

    // And it goes when the server is back, by itself.
    fleet.server.set_away(Away::Gone);
    let upgrading = upgrade(&fleet, 0);
    fleet.waits(0, PATIENCE).unwrap();
    fleet.server.set_away(Away::No);
    let output = upgrading.wait(OPERATION).unwrap();
    assert!(output.success(), "{output:?}\n{}", world.daemon_log());
    all_given_back(&fleet);
}

/// A server that says nothing is asked for half a minute, and that is no yes. A slot that cannot be
/// given back is given back later.
fn silence_is_no_yes(fleet: &Fleet) {
    fleet.server.set_away(Away::Silent);
    let upgrading = upgrade(fleet, 0);
    let world = &fleet.worlds[0];
    let waits = fleet.waits(0, PATIENCE).unwrap();
    let cancel = ["nixctl", "cancel", &waits.id];
    world.machine.exec(&cancel).unwrap().ok().unwrap();
    assert_eq!(upgrading.wait(PATIENCE).unwrap().status, 1);
    let cannot = || slot(world).contains("cannot give its slot back");
    until("told", world, cannot);
    fleet.server.set_away(Away::No);
    until("given back", world, || slot(world).is_empty());
    begin(fleet, 0);
    let ended = fleet.settled(&[0], ALL).unwrap();
    assert_eq!(ended[0].state, "succeeded", "{}", world.daemon_log());
    let back = "nixctl upgrade --rollback --yes";
    assert!(world.run("alice", back).unwrap().success());
    all_given_back(fleet);
}

#[test]
fn a_switch_waits_for_its_turn_too() {
    if !require_disks() {
        return;
    }
    let few = [Service::Redis, Service::Memcached];
    let new = Spec::new().only("back-new", &few);
    let other = generation(&new.clone().with("back-cut", Tweak::NetworkDown)).unwrap();
    let new = generation(&new).unwrap();
    let mib = disk_for(new.size() + other.size_beside(&new)).unwrap() + 100;
    let site = Site::boot("fleet-switch", mib, &[&new, &other]).unwrap();
    let machine = &site.host.machine;
    let server = FleetLock::start(Some(&machine.network()), 0, 1).unwrap();
    site.configure(&fleet::settings(&server.url())).unwrap();
    assert!(server.take(GROUP, OTHER));
    few.iter()
        .for_each(|it| drop(it.wait(machine, PATIENCE).unwrap()));
    let look = || {
        let pid = "systemctl show --property=MainPID memcached.service";
        site.sh(&format!("readlink -f {SYSTEM_PROFILE}; {pid}"))
            .unwrap()
    };
    let before = look();
    let to = format!(
        "nixctl switch {} --from {} --confirm-within 30 --yes",
        other.toplevel,
        site.cache()
    );
    let words: Vec<&str> = to.split_whitespace().collect();
    let switching = machine.spawn(&words).unwrap();
    let waits = fleet::waits(machine, PATIENCE).unwrap();
    println!("{waits:?}");
    assert_eq!(site.host.current().unwrap(), new.toplevel);
    assert_eq!(look(), before);
    server.release(GROUP, OTHER);
    let retry = ["nixctl", "retry", &waits.id, "--no-wait"];
    machine.exec(&retry).unwrap();
    // Nobody confirms it: it goes back, and that machine is one to look at.
    let output = switching.wait(PATIENCE).unwrap();
    site.ended(&output, 1).unwrap();
    let id = fleet::id(machine).unwrap();
    assert_eq!(server.holders(GROUP), BTreeSet::from([id]));
    assert_eq!(site.host.current().unwrap(), new.toplevel);
}

#[test]
fn a_daemon_that_is_killed_loses_no_slot() {
    if !require() {
        return;
    }
    let fleet = Fleet::boot("fleet-kill", 1, "").unwrap();
    let (world, id) = (&fleet.worlds[0], fleet.id(0).unwrap());
    let machine = &world.machine;
    let kill = || {
        let argv = ["systemctl", "kill", "--signal=KILL", "nixctld.service"];
        machine.exec(&argv).unwrap().ok().unwrap();
    };
    // While it asks.
    fleet.server.set_away(Away::Silent);
    let upgrading = upgrade(&fleet, 0);
    let asked = || !fleet.server.journal().is_empty();
    until("asked", world, asked);
    kill();
    fleet.server.set_away(Away::No);
    // As soon as it has the slot.
    until("its slot", world, || fleet.holders().contains(&id));
    kill();
    let ended = fleet.settled(&[0], ALL).unwrap();
    assert_eq!(ended[0].state, "succeeded", "{}", world.daemon_log());
    assert!(upgrading.wait(PATIENCE).unwrap().success());
    all_given_back(&fleet);

    // At each of its commits of an upgrade to the older version and back.
    let commits = if full() { 60 } else { 4 };
    let (old, new) = (
        world.release().version.clone(),
        world.newer().version.clone(),
    );
    for number in 0..commits {
        let commit = match full() {
            true => number + 1,
            false => 3 + 7 * number,
        };
        let to = if version(world) == old { &new } else { &old };
        machine.disturb(Disturbance::Kill, commit).unwrap();
        let command = format!("nixctl upgrade --to {to} --yes --no-wait");
        world.run("root", &command).unwrap();
        let over = || Operation::all(machine).is_ok_and(|it| it[0].is_final());
        let fired = machine.wait_until_fired(OPERATION, over).unwrap();
        let ended = fleet.settled(&[0], ALL).unwrap();
        println!("commit {commit}: {fired:?}, {}", ended[0].state);
        assert_eq!(ended[0].state, "succeeded", "{}", world.daemon_log());
        all_given_back(&fleet);
        if fired == Fired::No {
            break;
        }
    }
}

//! The daemon is restarted, or the machine rebooted, in the middle of the work: it is handed over.
#![allow(clippy::unwrap_used)]

use std::time::Duration;

use nixctl_lab::require;
use nixctl_lab::server::Fault;
use nixctl_lab::world::{OPERATION, World, changes};

#[test]
fn a_restart_of_the_daemon_hands_over_and_the_client_stays() {
    if !require() {
        return;
    }
    let world = World::boot("restart").unwrap();
    world.server.break_prefix("/nix/", Fault::Rate(8_000_000));
    let client = world.start("alice", &world.install_command()).unwrap();
    let operation = world.under_way(1).unwrap();
    let restart = world
        .machine
        .exec(&["systemctl", "restart", "nixctld"])
        .unwrap();
    assert!(restart.success(), "{restart:?}");
    assert!(
        restart.took < Duration::from_secs(10),
        "a restart took {:?}",
        restart.took
    );
    world.server.heal();
    let output = client.wait(OPERATION).unwrap();
    assert_eq!(output.status, 0, "{output:?}\n{}", world.daemon_log());
    let ended = world.settled(OPERATION).unwrap().unwrap();
    assert_eq!(
        (ended.id, ended.state.as_str()),
        (operation.id, "succeeded")
    );
    world.build("bob", "bash", "after-a-restart").unwrap();
}

#[test]
fn a_clean_reboot_in_the_middle() {
    if !require() {
        return;
    }
    let mut world = World::boot("reboot").unwrap();
    let before = world.snapshot().unwrap();
    world.server.break_prefix("/nix/", Fault::Rate(8_000_000));
    let client = world.start("alice", &world.install_command()).unwrap();
    world.under_way(1).unwrap();
    world.machine.reboot().unwrap();
    drop(client);
    world.server.heal();
    let ended = world.settled(OPERATION).unwrap().unwrap();
    assert_eq!(
        ended.state,
        "succeeded",
        "{ended:?}\n{}",
        world.daemon_log()
    );
    world.build("bob", "bash", "after-a-reboot").unwrap();
    world.uninstall().unwrap().ok().unwrap();
    assert_eq!(changes(&before, &world.snapshot().unwrap()), [""; 0]);
}

#[test]
fn a_client_that_vanishes_changes_nothing() {
    if !require() {
        return;
    }
    let world = World::boot("vanish").unwrap();
    world.server.break_prefix("/nix/", Fault::Rate(8_000_000));
    let client = world.start("alice", &world.install_command()).unwrap();
    let operation = world.under_way(1).unwrap();
    let kill = "kill -KILL $(pgrep --exact --uid alice nixctl)";
    world.machine.sh(kill).unwrap().ok().unwrap();
    drop(client);
    world.server.heal();
    let watched = world
        .run("bob", &format!("nixctl watch {}", operation.id))
        .unwrap();
    assert!(watched.success(), "{watched:?}");
    let ended = world.settled(OPERATION).unwrap().unwrap();
    assert_eq!(ended.state, "succeeded", "{ended:?}");
    world.build("bob", "bash", "without-a-client").unwrap();
}

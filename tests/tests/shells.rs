//! After an install by alice, `nix-build` works for root and for bob in a login shell of every
//! kind, at once and after a reboot of the machine.
#![allow(clippy::unwrap_used)]

use nixctl_lab::require;
use nixctl_lab::world::{SHELLS, World};

fn builds_everywhere(world: &World, when: &str) {
    for user in ["root", "bob"] {
        for shell in SHELLS {
            world
                .build(user, shell, &format!("by-{user}-in-{shell}-{when}"))
                .unwrap();
        }
    }
}

fn survives_a_reboot(world: &mut World) {
    builds_everywhere(world, "at-once");
    world.machine.reboot().unwrap();
    builds_everywhere(world, "after-a-reboot");
    let state = world
        .machine
        .exec(&["systemctl", "is-system-running"])
        .unwrap();
    assert_eq!(state.text(), "running");
    let status = world.json("status").unwrap();
    assert_eq!(status["health"], "healthy", "{status}");
}

#[test]
fn the_older_nix_builds_in_every_shell() {
    if !require() {
        return;
    }
    let mut world = World::boot("shells").unwrap();
    world.install().unwrap().ok().unwrap();
    survives_a_reboot(&mut world);
}

#[test]
fn the_newer_nix_builds_in_every_shell() {
    if !require() {
        return;
    }
    let mut world = World::boot("shells-newer").unwrap();
    let url = world.server.release_url(world.newer());
    let command = format!("nixctl install --source {url} --yes");
    world.run("alice", &command).unwrap().ok().unwrap();
    survives_a_reboot(&mut world);
}

#[test]
fn a_users_own_profile_comes_first_and_cannot_take_nix_away() {
    if !require() {
        return;
    }
    let world = World::boot_installed("profile").unwrap();
    // bob and root empty their profiles; Nix is in one of its own.
    for user in ["bob", "root"] {
        world
            .run(user, "nix-env --uninstall '.*'")
            .unwrap()
            .ok()
            .unwrap();
        world
            .build(user, "bash", &format!("{user}-has-it-still"))
            .unwrap();
    }
    let release = world.release();
    let install = format!("nix-env --install {}", release.busybox);
    world.run("bob", &install).unwrap().ok().unwrap();
    let found = world.run("bob", "command -v busybox").unwrap();
    assert_eq!(found.text(), "/home/bob/.nix-profile/bin/busybox");
}

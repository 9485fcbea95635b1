//! A Nix that somebody else installed is taken over: nothing is installed again, and from then on
//! it is owned and can be taken off.
#![allow(clippy::unwrap_used)]

use nixctl_lab::dist::install_by_hand;
use nixctl_lab::require;
use nixctl_lab::world::{World, changes};

#[test]
fn an_install_by_script_is_taken_over_and_off() {
    if !require() {
        return;
    }
    let world = World::boot("adopt").unwrap();
    let before = world.snapshot().unwrap();
    install_by_hand(&world.machine, world.release(), 32).unwrap();
    world.build("bob", "bash", "before-adoption").unwrap();
    let inodes = "find /nix/store -mindepth 1 -printf '%i %T@ %p\n' | sort | sha256sum";
    let store = world.machine.sh(inodes).unwrap().ok().unwrap().stdout;
    let requests = world.server.requests().len();

    let output = world.run("alice", "nixctl install --adopt --yes").unwrap();
    println!("{output:?}");
    assert!(output.success(), "{output:?}\n{}", world.daemon_log());
    assert_eq!(
        world.server.requests().len(),
        requests,
        "something was downloaded"
    );
    let now = world.machine.sh(inodes).unwrap().ok().unwrap().stdout;
    assert_eq!(now, store, "the store was written");
    let status = world.json("status").unwrap();
    assert_eq!(status["nix_version"], *world.release().version, "{status}");
    assert_eq!(status["health"], "healthy", "{status}");
    world.build("bob", "bash", "after-adoption").unwrap();
    world.machine.read_text("/etc/nix/nix.conf").unwrap();

    let output = world.uninstall().unwrap();
    println!("{output:?}");
    assert!(output.success(), "{output:?}\n{}", world.daemon_log());
    assert!(!world.machine.exists("/nix").unwrap());
    // What the script's own nix-env made in root's home is root's.
    let after = world.snapshot_but(&["/root/.nix-defexpr"]).unwrap();
    let left = changes(&before, &after);
    assert_eq!(left, [""; 0], "{}", left.join("\n"));
}

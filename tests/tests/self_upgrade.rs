//! nixctl replaces itself by another version of it, and goes back by itself when that one does not
//! serve.
#![allow(clippy::unwrap_used)]

use std::time::Instant;

use nixctl_lab::dist::Neighbour;
use nixctl_lab::require;
use nixctl_lab::world::World;
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
        "/var/lib/nixctl/db.after",
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

//! Many ask at once: one operation runs, the others wait their turn or are refused clearly, and
//! everybody who watches sees the same end.
#![allow(clippy::unwrap_used)]

use nixctl_lab::require;
use nixctl_lab::server::Fault;
use nixctl_lab::world::{OPERATION, World};

#[test]
fn of_two_installs_at_once_one_installs() {
    if !require() {
        return;
    }
    let world = World::boot("two").unwrap();
    world.server.break_prefix("/nix/", Fault::Rate(12_000_000));
    let command = world.install_command();
    let clients = ["alice", "root"].map(|user| world.start(user, &command).unwrap());
    let outputs = clients.map(|client| client.wait(OPERATION).unwrap());
    let operations = world.operations().unwrap();
    println!("{outputs:?}\n{operations:#?}");
    let mut codes = outputs.each_ref().map(|output| output.status);
    codes.sort_unstable();
    assert_eq!(codes[0], 0, "neither installed: {outputs:?}");
    assert!(
        [0, 5].contains(&codes[1]),
        "the other was not told clearly: {outputs:?}"
    );
    for output in outputs.iter().filter(|output| !output.success()) {
        assert!(output.stderr.contains("error[NIX1"), "{output:?}");
    }
    let running = operations
        .iter()
        .filter(|one| one.state == "running")
        .count();
    assert_eq!(running, 0, "{operations:?}");
    world.build("bob", "bash", "after-two").unwrap();
}

#[test]
fn an_uninstall_queues_behind_an_install() {
    if !require() {
        return;
    }
    let world = World::boot("behind").unwrap();
    world.server.break_prefix("/nix/", Fault::Rate(12_000_000));
    let install = world.start("alice", &world.install_command()).unwrap();
    world.under_way(1).unwrap();
    let uninstall = world.start("root", "nixctl uninstall --yes").unwrap();
    let (install, uninstall) = (
        install.wait(OPERATION).unwrap(),
        uninstall.wait(OPERATION).unwrap(),
    );
    assert!(install.success(), "{install:?}");
    assert!(uninstall.success(), "{uninstall:?}");
    let shown = format!("{}{}", uninstall.stdout, uninstall.stderr);
    assert!(
        shown.contains("queued") || shown.contains("waiting"),
        "{uninstall:?}"
    );
    assert!(!world.machine.exists("/nix").unwrap());
}

#[test]
fn twenty_clients_see_the_same_end() {
    if !require() {
        return;
    }
    let world = World::boot("twenty").unwrap();
    world.server.break_prefix("/nix/", Fault::Rate(6_000_000));
    let install = world.start("alice", &world.install_command()).unwrap();
    let operation = world.under_way(1).unwrap();
    // Both transports, text and JSON.
    let watchers: Vec<_> = (0..20)
        .map(|number| {
            let socket = if number % 2 == 0 {
                "--socket /run/nixctl/socket"
            } else {
                ""
            };
            let command = format!("exec nixctl {socket} watch {} --json", operation.id);
            world
                .machine
                .command(&["sh", "-c", &command])
                .spawn()
                .unwrap()
        })
        .collect();
    for watcher in watchers {
        let output = watcher.wait(OPERATION).unwrap();
        assert!(output.success(), "{output:?}");
        let last: serde_json::Value =
            serde_json::from_str(output.stdout.lines().last().unwrap()).unwrap();
        assert_eq!(
            (&last["state"], &last["id"]),
            (&"succeeded".into(), &(*operation.id).into())
        );
        assert!(output.stdout.lines().count() > 2, "{output:?}");
    }
    assert!(install.wait(OPERATION).unwrap().success());
    // Watching what has ended already is no error either.
    let late = world
        .run("bob", &format!("nixctl watch {}", operation.id))
        .unwrap();
    assert!(late.success(), "{late:?}");
    let none = world.run("bob", "nixctl watch").unwrap();
    println!("{none:?}");
}

#[test]
fn the_same_request_id_is_the_same_operation() {
    if !require() {
        return;
    }
    let world = World::boot("request-id").unwrap();
    let call = |options: &str| {
        let text = format!(
            "busctl call org.nixctl1 /org/nixctl1 org.nixctl1.Manager Install 'a{{sv}}' {options}"
        );
        world.run("alice", &text).unwrap()
    };
    let source = world.source();
    let first = call(&format!("2 source s {source} request-id s mine-1"));
    let second = call(&format!("2 source s {source} request-id s mine-1"));
    assert!(
        first.success() && first.stdout == second.stdout,
        "{first:?} {second:?}"
    );
    let other = call(&format!(
        "2 version s {} request-id s mine-1",
        world.newer().version
    ));
    assert!(
        !other.success() && other.stderr.contains("NIX3006"),
        "{other:?}"
    );
    let unknown = call("1 colour s blue");
    assert!(
        !unknown.success() && unknown.stderr.contains("NIX3004"),
        "{unknown:?}"
    );
    assert!(unknown.stderr.contains("colour"), "{unknown:?}");
    let ended = world.settled(OPERATION).unwrap().unwrap();
    assert_eq!(ended.state, "succeeded");
    assert_eq!(world.operations().unwrap().len(), 1);
}

//! Who may do what: members of the group may install from trusted sources, administrators may after
//! they have typed a password, everybody may look, and nobody else may do anything.
#![allow(clippy::unwrap_used)]

use std::time::Duration;

use nixctl_lab::world::{OPERATION, World, changes};
use nixctl_lab::{Background, Output, require};

const PROMPT: Duration = Duration::from_secs(20);
/// What polkit's agent for terminals prints after a password.
const COMPLETE: &str = "AUTHENTICATION COMPLETE";
const FAILED: &str = "AUTHENTICATION FAILED";
const SOCKET: &str = "--socket /run/nixctl/socket";

/// A URL of the same file that is not below the trusted one.
fn untrusted(world: &World) -> String {
    world.install_command().replace("127.0.0.1", "localhost")
}

fn refused(output: &Output, code: &str) {
    assert_eq!(output.status, 3, "{output:?}");
    assert!(
        output.stderr.contains(&format!("error[{code}]")),
        "{output:?}"
    );
}

fn on_a_terminal(world: &World, user: &str, command: &str) -> Background {
    world
        .machine
        .command_on_terminal(user, command)
        .spawn()
        .unwrap()
}

#[test]
fn a_user_outside_the_group_is_refused_on_both_transports() {
    if !require() {
        return;
    }
    let world = World::boot("outside").unwrap();
    let before = world.snapshot().unwrap();
    let install = world.install_command();
    refused(&world.run("bob", &install).unwrap(), "NIX3001");
    let socket = install.replace("nixctl", &format!("nixctl {SOCKET}"));
    refused(&world.run("bob", &socket).unwrap(), "NIX3001");
    // A call without the client.
    let call = "busctl call org.nixctl1 /org/nixctl1 org.nixctl1.Manager Install 'a{sv}' 0";
    let called = world.run("bob", call).unwrap();
    assert!(
        !called.success() && called.stderr.contains("NIX3001"),
        "{called:?}"
    );
    let set = "nixctl config set install.version 1.0";
    refused(&world.run("bob", set).unwrap(), "NIX3001");
    refused(&world.run("alice", set).unwrap(), "NIX3001");
    let private = world
        .run("bob", &install.replace("nixctl", "nixctl --private"))
        .unwrap();
    refused(&private, "NIX3001");
    assert!(world.operations().unwrap().is_empty());
    assert_eq!(changes(&before, &world.snapshot().unwrap()), [""; 0]);
    // Looking is free, on both.
    for command in [
        "status",
        "operations",
        "config",
        "plan install --json",
        "daemon status",
    ] {
        for socket in ["", SOCKET] {
            let output = world
                .run("bob", &format!("nixctl {socket} {command}"))
                .unwrap();
            assert!(output.success(), "{command}: {output:?}");
        }
    }
}

#[test]
fn nobody_touches_the_operation_of_another() {
    if !require() {
        return;
    }
    let world = World::boot("others").unwrap();
    world
        .server
        .break_prefix("/nix/", nixctl_lab::server::Fault::Rate(8_000_000));
    let install = world.start("alice", &world.install_command()).unwrap();
    let operation = world.under_way(1).unwrap();
    for socket in ["", SOCKET] {
        let cancel = format!("nixctl {socket} cancel {}", operation.id);
        refused(&world.run("bob", &cancel).unwrap(), "NIX3001");
    }
    world.server.heal();
    assert!(install.wait(OPERATION).unwrap().success());
    let uninstall = world.run("bob", "nixctl uninstall --yes").unwrap();
    refused(&uninstall, "NIX3001");
    let uninstall = world
        .run("bob", &format!("nixctl {SOCKET} uninstall --yes"))
        .unwrap();
    refused(&uninstall, "NIX3001");
    world.build("bob", "bash", "still-there").unwrap();
}

#[test]
fn an_administrator_is_admitted_by_password() {
    if !require() {
        return;
    }
    let world = World::boot("admin").unwrap();
    let before = world.snapshot().unwrap();
    // Without a terminal nobody can be asked.
    refused(
        &world.run("carol", &world.install_command()).unwrap(),
        "NIX3001",
    );
    // A wrong password is none.
    let mut wrong = on_a_terminal(&world, "carol", &world.install_command());
    wrong
        .answer("Password", "not carol's", FAILED, PROMPT)
        .unwrap();
    let output = wrong.wait(OPERATION).unwrap();
    assert_eq!(output.status, 3, "{output:?}");
    assert_eq!(changes(&before, &world.snapshot().unwrap()), [""; 0]);

    let mut right = on_a_terminal(&world, "carol", &world.install_command());
    right.answer("Password", "carol", COMPLETE, PROMPT).unwrap();
    let output = right.wait(OPERATION).unwrap();
    assert_eq!(output.status, 0, "{output:?}\n{}", world.daemon_log());
    let uid = world.machine.exec(&["id", "-u", "carol"]).unwrap();
    assert_eq!(
        world.operations().unwrap()[0].requested_by.to_string(),
        uid.text()
    );
    world.build("bob", "bash", "thanks-to-carol").unwrap();
}

#[test]
fn bob_is_admitted_when_an_administrator_types_a_password_for_him() {
    if !require() {
        return;
    }
    let world = World::boot("for-bob").unwrap();
    let mut client = on_a_terminal(&world, "bob", &world.install_command());
    client.wait_for("carol", PROMPT).unwrap();
    client
        .answer("Password", "carol", COMPLETE, PROMPT)
        .unwrap();
    let output = client.wait(OPERATION).unwrap();
    assert_eq!(output.status, 0, "{output:?}\n{}", world.daemon_log());
    let asked = world
        .run("bob", "nixctl --no-ask-password uninstall --yes")
        .unwrap();
    println!("{asked:?}");
}

#[test]
fn an_untrusted_source_needs_an_administrator_even_for_members() {
    if !require() {
        return;
    }
    let world = World::boot("untrusted").unwrap();
    let before = world.snapshot().unwrap();
    let command = untrusted(&world);
    refused(&world.run("alice", &command).unwrap(), "NIX3009");
    let socket = command.replace("nixctl", &format!("nixctl {SOCKET}"));
    refused(&world.run("alice", &socket).unwrap(), "NIX3009");
    // What only looks like the trusted one is not it.
    for trick in [
        "http://127.0.0.1:8080@localhost:8080/nix/",
        "http://127.0.0.1:80801/nix/",
        "http://127.0.0.1:8080.example.org/nix/",
        "/home/alice/own.tar.xz",
    ] {
        let output = world
            .run("alice", &format!("nixctl install --source {trick} --yes"))
            .unwrap();
        assert!([2, 3].contains(&output.status), "{trick}: {output:?}");
    }
    assert_eq!(
        world.server.requests(),
        [],
        "something was fetched without permission"
    );
    assert_eq!(changes(&before, &world.snapshot().unwrap()), [""; 0]);

    let mut client = on_a_terminal(&world, "alice", &command);
    client.wait_for("carol", PROMPT).unwrap();
    client
        .answer("Password", "carol", COMPLETE, PROMPT)
        .unwrap();
    let output = client.wait(OPERATION).unwrap();
    assert_eq!(output.status, 0, "{output:?}\n{}", world.daemon_log());
    world.build("bob", "bash", "from-elsewhere").unwrap();
}

#[test]
fn a_member_through_the_socket_needs_no_bus() {
    if !require() {
        return;
    }
    let world = World::boot("socket").unwrap();
    let command = world
        .install_command()
        .replace("nixctl", &format!("nixctl {SOCKET}"));
    let output = world.run("alice", &command).unwrap();
    assert!(output.success(), "{output:?}\n{}", world.daemon_log());
    let uid = world.machine.exec(&["id", "-u", "alice"]).unwrap();
    assert_eq!(
        world.operations().unwrap()[0].requested_by.to_string(),
        uid.text()
    );
    world.build("bob", "bash", "over-the-socket").unwrap();
}

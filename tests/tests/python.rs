//! The D-Bus API as others use it: introspection equals the checked-in XML, and the Python example
//! of the documentation installs Nix and follows the progress, and another one lists what is wrong.
#![allow(clippy::unwrap_used)]

use std::collections::BTreeSet;

use nixctl_lab::world::{OPERATION, World};
use nixctl_lab::{paths, require};

/// The members of an interface in introspection XML, each as one line of words.
fn members(xml: &str, interface: &str) -> BTreeSet<String> {
    let mut inside = false;
    let mut member = Vec::new();
    let mut found = BTreeSet::new();
    for tag in xml.split('<').skip(1) {
        let tag = tag.split('>').next().unwrap_or_default().trim();
        let name = tag
            .split_whitespace()
            .next()
            .unwrap_or_default()
            .trim_end_matches('/');
        let attribute = |key: &str| {
            let start = tag.find(&format!(" {key}=\""))? + key.len() + 3;
            tag[start..].split('"').next().map(str::to_owned)
        };
        let said = |keys: &[&str]| {
            let values: Vec<String> = keys.iter().filter_map(|key| attribute(key)).collect();
            values.join(" ")
        };
        match name {
            "interface" => inside = attribute("name").as_deref() == Some(interface),
            "/interface" => inside = false,
            "method" | "signal" | "property" if inside => {
                member = vec![format!("{name} {}", said(&["name", "type", "access"]))];
                if tag.ends_with('/') || name == "property" {
                    found.insert(member.join(", "));
                }
            }
            "arg" if inside => {
                let direction = attribute("direction").unwrap_or_default();
                member.push(format!("{direction} {}", said(&["name", "type"])));
            }
            "/method" | "/signal" if inside => {
                found.insert(member.join(", "));
            }
            _ => {}
        }
    }
    found
}

fn checked_in(interface: &str) -> String {
    let file = paths::workspace().join(format!("proto/dbus/{interface}.xml"));
    std::fs::read_to_string(&file).unwrap_or_else(|why| panic!("{}: {why}", file.display()))
}

#[test]
fn introspection_shows_the_checked_in_interfaces() {
    if !require() {
        return;
    }
    let world = World::boot("introspect").unwrap();
    world.install().unwrap().ok().unwrap();
    let operation = world.operations().unwrap().remove(0).id;
    let object = format!("/org/nixctl1/operation/{operation}");
    for (path, interface) in [
        ("/org/nixctl1", "org.nixctl1.Manager"),
        (object.as_str(), "org.nixctl1.Operation"),
    ] {
        let argv = [
            "busctl",
            "introspect",
            "--xml-interface",
            "org.nixctl1",
            path,
        ];
        let shown = world.machine.exec(&argv).unwrap().ok().unwrap().stdout;
        let expected = members(&checked_in(interface), interface);
        assert!(expected.len() > 5, "{expected:?}");
        assert_eq!(members(&shown, interface), expected, "{interface}");
    }
    // As a person would look.
    let argv = ["busctl", "introspect", "org.nixctl1", "/org/nixctl1"];
    let text = world.machine.exec(&argv).unwrap().ok().unwrap().stdout;
    println!("{text}");
    for word in [
        "org.nixctl1.Manager",
        ".Install",
        ".Uninstall",
        ".NixVersion",
        ".ActiveOperation",
    ] {
        assert!(text.contains(word), "{word}");
    }
    for interface in [
        "org.freedesktop.DBus.ObjectManager",
        "org.freedesktop.LogControl1",
    ] {
        let tree = world
            .machine
            .sh("for path in /org/nixctl1 /org/freedesktop/LogControl1; do
                busctl introspect org.nixctl1 $path; done");
        assert!(tree.unwrap().stdout.contains(interface), "{interface}");
    }
}

#[test]
fn the_python_example_installs_nix_and_follows_the_progress() {
    if !require() {
        return;
    }
    let world = World::boot("python").unwrap();
    let example = paths::workspace().join("docs/examples/install.py");
    world
        .machine
        .copy_in(&example, "/usr/local/bin/install.py".as_ref(), 0o755)
        .unwrap();
    world
        .server
        .break_prefix("/nix/", nixctl_lab::server::Fault::Rate(20_000_000));
    let command = format!("python3 /usr/local/bin/install.py {}", world.source());
    let output = world.run("alice", &command).unwrap();
    println!("{output:?}");
    assert!(output.success(), "{output:?}\n{}", world.daemon_log());
    assert!(output.stdout.lines().count() > 5, "no progress: {output:?}");
    let operation = world.settled(OPERATION).unwrap().unwrap();
    assert_eq!(operation.state, "succeeded");
    world.build("bob", "bash", "by-python").unwrap();
    // bob is told that he may not.
    let refused = world.run("bob", &command).unwrap();
    assert!(!refused.success(), "{refused:?}");
    println!("{refused:?}");
}

#[test]
fn the_python_example_lists_what_is_wrong() {
    if !require() {
        return;
    }
    let world = World::boot("python-findings").unwrap();
    world.install().unwrap().ok().unwrap();
    let example = paths::workspace().join("docs/examples/findings.py");
    world
        .machine
        .copy_in(&example, "/usr/local/bin/findings.py".as_ref(), 0o755)
        .unwrap();
    // Anybody may ask.
    for argument in ["--check", ""] {
        let command = format!("python3 /usr/local/bin/findings.py {argument}");
        let output = world.run("bob", &command).unwrap();
        println!("{output:?}");
        assert!(output.success(), "{output:?}\n{}", world.daemon_log());
        assert!(output.stdout.starts_with("healthy: "), "{output:?}");
    }
}

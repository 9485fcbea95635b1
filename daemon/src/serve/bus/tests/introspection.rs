//! The running interfaces are those of the files under `proto/`.

use std::collections::BTreeSet;

use nixctl_proto::bus::OPERATION_INTERFACE;
use nixctl_proto::{BUS_NAME, MANAGER_PATH};
use zbus::fdo::IntrospectableProxy;

use super::World;

#[tokio::test]
async fn the_running_interfaces_are_those_of_the_files() {
    let world = World::new().await;
    let id = world.install(&[]).await.unwrap();
    let operation = id.object_path();
    for (path, interface, file) in [
        (
            MANAGER_PATH,
            "org.nixctl1.Manager",
            "org.nixctl1.Manager.xml",
        ),
        (
            operation.as_str(),
            OPERATION_INTERFACE,
            "org.nixctl1.Operation.xml",
        ),
    ] {
        let builder = IntrospectableProxy::builder(&world.client)
            .destination(BUS_NAME)
            .unwrap();
        let proxy = builder.path(path).unwrap().build().await.unwrap();
        let running = members(&proxy.introspect().await.unwrap(), interface);
        let file = format!("{}/../proto/dbus/{file}", env!("CARGO_MANIFEST_DIR"));
        let kept = members(&std::fs::read_to_string(file).unwrap(), interface);
        assert!(!kept.is_empty());
        assert_eq!(running, kept, "{interface}");
    }
}

/// The members of an interface without comments, spaces and their order; arguments keep theirs.
fn members(xml: &str, interface: &str) -> BTreeSet<String> {
    let mut rest = xml;
    let mut plain = String::new();
    while let Some((before, comment)) = rest.split_once("<!--") {
        plain.push_str(before);
        rest = comment.split_once("-->").map_or("", |(_, after)| after);
    }
    plain.push_str(rest);
    let start = format!("<interface name=\"{interface}\">");
    let body = plain
        .split_once(&start)
        .unwrap()
        .1
        .split_once("</interface>")
        .unwrap()
        .0;
    let lines = body
        .split('<')
        .map(str::trim)
        .filter(|line| !line.is_empty());
    let mut members = BTreeSet::new();
    let mut member = String::new();
    for line in lines {
        if !line.starts_with('/') {
            member.push_str(&tag(line));
        }
        let opens = ["method", "signal", "property"]
            .iter()
            .any(|word| line.starts_with(word));
        let alone = opens && line.ends_with("/>");
        let closes = ["/method", "/signal", "/property"]
            .iter()
            .any(|word| line.starts_with(word));
        if alone || closes {
            members.insert(std::mem::take(&mut member));
        }
    }
    members
}

/// A tag with its attributes in order and without what is the default.
fn tag(text: &str) -> String {
    let text = text.trim_end_matches('>').trim_end_matches('/').trim();
    let (name, attributes) = text.split_once(' ').unwrap_or((text, ""));
    let mut attributes: Vec<&str> = attributes
        .split_inclusive("\" ")
        .map(str::trim)
        .filter(|a| !a.is_empty())
        .collect();
    attributes.sort_unstable();
    format!("{name} {}; ", attributes.join(" "))
}

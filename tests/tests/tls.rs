//! Certificates that cannot be trusted: by an authority that nobody here knows, as of a proxy that
//! inspects TLS, or out of their time, as a wrong clock makes them. Each is told apart and refused.
#![allow(clippy::unwrap_used)]

mod cases;

use cases::Cases;
use nixctl_lab::require;
use nixctl_lab::server::{Authority, Front, Validity};
use nixctl_lab::world::{PORT, World};

const NAME: &str = "Lab Inspecting Proxy CA";
const HTTPS: u16 = 8443;
const PROXY: u16 = 3128;
const CA: &str = "/etc/lab-ca.pem";

fn front(world: &World, authority: &Authority, validity: Validity, port: u16) -> Front {
    let identity = authority.issue(validity).unwrap();
    let network = world.machine.network();
    Front::start(Some(&network), port, PORT, &identity).unwrap()
}

/// The command that installs the release from another place.
fn install_from(world: &World, place: &str) -> String {
    let http = format!("http://127.0.0.1:{PORT}");
    world.install_command().replace(&http, place)
}

fn set(world: &World, key: &str, value: &str) {
    let command = format!("nixctl config set install.{key} {value}");
    world.run("root", &command).unwrap().ok().unwrap();
}

fn trust(world: &World, authority: &Authority) {
    let certificate = authority.certificate();
    let target = std::path::Path::new(CA);
    world.machine.copy_in(&certificate, target, 0o644).unwrap();
    set(world, "ssl_cert_file", CA);
}

#[test]
fn an_unknown_authority_is_named_and_can_be_trusted() {
    if !require() {
        return;
    }
    let world = World::boot("unknown-ca").unwrap();
    let authority = Authority::make(NAME).unwrap();
    let server = front(&world, &authority, Validity::Now, HTTPS);
    let proxy = front(&world, &authority, Validity::Now, PROXY);
    let direct = install_from(&world, &format!("https://localhost:{}", server.port()));
    let inspected = install_from(&world, "https://releases.example.org");
    let mut cases = Cases::on(world);
    let said = cases.expect("", &direct, ("NIX1005", 5), "");
    assert!(said.stderr.contains("localhost"), "{said:?}");
    assert!(said.stderr.contains(NAME), "{said:?}");
    set(
        &cases.world,
        "proxy",
        &format!("http://127.0.0.1:{}", proxy.port()),
    );
    let said = cases.expect("", &inspected, ("NIX1005", 5), "");
    assert!(said.stderr.contains("releases.example.org"), "{said:?}");
    assert!(said.stderr.contains(NAME), "{said:?}");
    // Nothing was told to who could not be trusted.
    assert_eq!(cases.world.server.requests(), []);
    assert!(!proxy.tunnels().is_empty());

    // Where the machine's own bundle has the authority, that is enough.
    let pem = std::fs::read_to_string(authority.certificate()).unwrap();
    let bundle = "/etc/ssl/certs/ca-certificates.crt";
    let plan = direct
        .replace("install", "plan install")
        .replace(" --yes", "");
    let machine = &cases.world.machine;
    let before = machine.read_file(bundle).unwrap();
    let with = [&before[..], pem.as_bytes()].concat();
    machine.write_file(bundle, with, 0o644).unwrap();
    let planned = cases.world.run("root", &plan).unwrap();
    assert!(planned.success(), "{planned:?}");
    machine.write_file(bundle, before, 0o644).unwrap();

    // And so it is when the settings name it; Nix then trusts it too.
    trust(&cases.world, &authority);
    let output = cases.world.run("root", &inspected).unwrap();
    assert!(output.success(), "{output:?}\n{}", cases.world.daemon_log());
    let conf = machine.read_text("/etc/nix/nix.conf").unwrap();
    assert!(conf.contains(&format!("ssl-cert-file = {CA}")), "{conf}");
    cases.world.build("bob", "bash", "inspected").unwrap();
    cases.finish();
}

#[test]
fn a_wrong_clock_is_told_apart() {
    if !require() {
        return;
    }
    let world = World::boot("clock").unwrap();
    let authority = Authority::make(NAME).unwrap();
    trust(&world, &authority);
    let early = front(&world, &authority, Validity::Future, HTTPS);
    let late = front(&world, &authority, Validity::Past, PROXY);
    let mut cases = Cases::on(world);
    for (front, day) in [(&early, "2045-01-01"), (&late, "2001-01-01")] {
        let from = format!("https://localhost:{}", front.port());
        let install = install_from(&cases.world, &from);
        let said = cases.expect("", &install, ("NIX1006", 5), "");
        assert!(said.stderr.contains(day), "{said:?}");
    }
    assert_eq!(cases.world.server.requests(), []);
    // Without TLS the server's own clock tells.
    let install = cases.world.install_command();
    for date in [
        "Sun, 06 Nov 1994 08:49:37 GMT",
        "Fri, 01 Jan 2083 00:00:00 GMT",
    ] {
        cases.world.server.set_date(date);
        cases.expect("", &install, ("NIX1006", 5), "");
    }
    cases.finish();
}

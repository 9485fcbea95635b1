//! alice, in the group nixctl and no administrator, installs Nix over D-Bus and watches it happen.
#![allow(clippy::unwrap_used)]

use std::time::Duration;

use nixctl_lab::dist::Release;
use nixctl_lab::server::Fault;
use nixctl_lab::world::{OPERATION, World, changes};
use nixctl_lab::{Output, require};

fn alice_installs(world: &World, release: &Release, command: &str) -> Output {
    let output = world.run("alice", command).unwrap();
    assert!(output.success(), "{output:?}\n{}", world.daemon_log());
    let status = world.json("status").unwrap();
    assert_eq!(status["nix_version"], *release.version, "{status}");
    assert_eq!(status["health"], "healthy", "{status}");
    let operations = world.operations().unwrap();
    let alice = world.machine.exec(&["id", "-u", "alice"]).unwrap();
    assert_eq!(operations[0].state, "succeeded");
    assert_eq!(operations[0].requested_by.to_string(), alice.text());
    let said = world.run("bob", "nix --version").unwrap();
    assert_eq!(said.text(), format!("nix (Nix) {}", release.version));
    output
}

#[test]
fn the_older_nix_from_a_trusted_source() {
    if !require() {
        return;
    }
    let world = World::boot("install").unwrap();
    let before = world.snapshot().unwrap();
    let command = world.install_command();
    let output = alice_installs(&world, world.release(), &command);
    println!("{output:?}");
    let shown = format!("{}{}", output.stdout, output.stderr);
    let steps = shown.lines().filter(|line| line.contains("step ")).count();
    // What follows within a moment is shown once.
    assert!(steps >= 3, "too little progress was shown: {output:?}");
    let added = changes(&before, &world.snapshot().unwrap());
    for wanted in [
        "+ user:nixbld1:",
        "+ user:nixbld32:",
        "+ group:nixbld:",
        "+ /etc/nix/nix.conf:",
        "+ unit:nix-daemon.socket: enabled, active",
    ] {
        assert!(
            added.iter().any(|line| line.starts_with(wanted)),
            "missing {wanted}: {}",
            added.join("\n")
        );
    }
    // The units are files of their own, not links into /nix.
    for unit in ["nix-daemon.service", "nix-daemon.socket"] {
        let file = format!("/etc/systemd/system/{unit}");
        assert!(
            world
                .machine
                .exec(&["test", "-f", &file, "-a", "!", "-L", &file])
                .unwrap()
                .success()
        );
    }
    // Nothing of the way there is left.
    let downloads = world
        .machine
        .sh("ls -A /var/lib/nixctl/downloads 2>/dev/null")
        .unwrap();
    assert_eq!(downloads.text(), "");
    let verified = world
        .machine
        .exec_as("root", "nix-store --verify --check-contents")
        .unwrap();
    assert!(
        verified.success() && !verified.stderr.contains("error"),
        "{verified:?}"
    );
    // Asked again, there is nothing to do.
    let installed = world.snapshot().unwrap();
    let again = world.install().unwrap();
    assert!([0, 5].contains(&again.status), "{again:?}");
    assert_eq!(changes(&installed, &world.snapshot().unwrap()), [""; 0]);
}

#[test]
fn the_newer_nix_by_its_version() {
    if !require() {
        return;
    }
    let world = World::boot("newer").unwrap();
    let command = format!("nixctl install --version {} --yes", world.newer().version);
    alice_installs(&world, world.newer(), &command);
}

#[test]
fn zstd_and_a_local_file() {
    if !require() {
        return;
    }
    let world = World::boot("file").unwrap();
    let url = world.source().replace(".tar.xz", ".tar.zst");
    alice_installs(
        &world,
        world.release(),
        &format!("nixctl install --source {url} --yes"),
    );
    world.uninstall().unwrap().ok().unwrap();
    let file = format!("/var/tmp/{}.tar.zst", world.release().top());
    let release = world.release();
    world
        .machine
        .copy_in(&release.tar_zst, file.as_ref(), 0o644)
        .unwrap();
    let sum = &release.sha256_zst;
    let command = format!("nixctl install --source {file} --sha256 {sum} --yes");
    world.run("root", &command).unwrap().ok().unwrap();
    world.build("bob", "bash", "from-a-file").unwrap();
}

#[test]
fn an_interrupted_download_goes_on() {
    if !require() {
        return;
    }
    let world = World::boot("resume").unwrap();
    // Each connection breaks after 7 of some 17 million bytes.
    world
        .server
        .break_prefix("/nix/", Fault::Truncate(7_000_000));
    let output = world.install().unwrap();
    let requests = world.server.requests();
    assert!(
        output.success(),
        "{output:?}\n{requests:#?}\n{}",
        world.daemon_log()
    );
    let ranges = requests
        .iter()
        .filter(|request| request.range.is_some())
        .count();
    assert!(ranges >= 2, "{requests:#?}");
}

#[test]
fn json_is_one_document_an_event() {
    if !require() {
        return;
    }
    let world = World::boot("json").unwrap();
    let output = world
        .run("alice", &format!("{} --json", world.install_command()))
        .unwrap();
    assert!(output.success(), "{output:?}");
    let events: Vec<serde_json::Value> = output
        .stdout
        .lines()
        .map(|line| serde_json::from_str(line).unwrap_or_else(|why| panic!("{why}: {line}")))
        .collect();
    let last = events.last().unwrap();
    assert_eq!(last["state"], "succeeded", "{last}");
    let shares: Vec<f64> = events
        .iter()
        .filter_map(|event| event["progress"].as_f64())
        .collect();
    assert!(shares.len() > 5, "{events:#?}");
    assert!(shares.is_sorted(), "progress went backwards: {shares:?}");
}

#[test]
fn a_progress_bar_on_a_terminal_and_ctrl_c_detaches() {
    if !require() {
        return;
    }
    let world = World::boot("terminal").unwrap();
    world.server.break_prefix("/nix/", Fault::Rate(4_000_000));
    let command = world.install_command();
    let mut client = world
        .machine
        .command_on_terminal("alice", &command)
        .spawn()
        .unwrap();
    world.under_way(1).unwrap();
    client.wait_for("%", Duration::from_secs(30)).unwrap();
    client.write(b"\x03");
    let output = client.wait(Duration::from_secs(20)).unwrap();
    assert_eq!(output.status, 8, "{output:?}");
    assert!(output.stdout.contains("nixctl watch"), "{output:?}");
    assert!(output.stdout.contains("nixctl cancel"), "{output:?}");
    world.server.heal();
    let operation = world.settled(OPERATION).unwrap().unwrap();
    assert_eq!(operation.state, "succeeded", "{operation:?}");
}

#[test]
fn a_plan_changes_nothing_and_a_cancel_undoes() {
    if !require() {
        return;
    }
    let world = World::boot("cancel").unwrap();
    let before = world.snapshot().unwrap();
    let dry = world
        .run("alice", &format!("{} --dry-run", world.install_command()))
        .unwrap();
    assert!(dry.success() && dry.stdout.contains("nix.conf"), "{dry:?}");
    let source = world.source();
    let plan = world
        .json(&format!("plan install --source {source}"))
        .unwrap();
    assert!(plan["steps"].as_array().unwrap().len() > 10, "{plan}");
    assert_eq!(changes(&before, &world.snapshot().unwrap()), [""; 0]);

    world.server.break_prefix("/nix/", Fault::Rate(4_000_000));
    let install = world.start("alice", &world.install_command()).unwrap();
    let operation = world.under_way(1).unwrap();
    let stopped = world
        .run("alice", &format!("nixctl cancel {}", operation.id))
        .unwrap();
    assert!(stopped.success(), "{stopped:?}");
    let output = install.wait(OPERATION).unwrap();
    assert_eq!(output.status, 1, "{output:?}");
    assert!(output.stderr.contains("NIX2011"), "{output:?}");
    let operation = world.settled(OPERATION).unwrap().unwrap();
    assert_eq!(operation.state, "cancelled");
    assert_eq!(changes(&before, &world.snapshot().unwrap()), [""; 0]);
    // And tried again, it works.
    world.server.heal();
    let retried = world
        .run("alice", &format!("nixctl retry {}", operation.id))
        .unwrap();
    assert!(retried.success(), "{retried:?}");
    world.build("bob", "bash", "after-a-retry").unwrap();
}

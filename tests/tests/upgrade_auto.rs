//! Releases of a feed that nobody asks for: taken when nothing holds them, undone when they do not
//! work, and of a feed that is not to be believed nothing is taken.
#![allow(clippy::unwrap_used)]

use std::time::{Duration, Instant};

use nixctl_lab::world::{FEED, Follow, OPERATION, Operation, Publisher, World};
use nixctl_lab::{Background, paths, require};
use serde_json::Value;

/// Longest time until something is read, seen and told: the feed is read every ten seconds.
const SOON: Duration = Duration::from_secs(40);
const TICK: Duration = Duration::from_millis(200);

/// A machine with Nix 2.26, and a publisher.
fn boot(name: &str) -> (World, Publisher) {
    (
        World::boot_installed(name).unwrap(),
        Publisher::new().unwrap(),
    )
}

/// What `nixctl status` says of upgrades once it is so.
fn until(world: &World, what: &str, is_so: impl Fn(&Value) -> bool) -> Value {
    let begin = Instant::now();
    loop {
        // The daemon may be away for a moment.
        let status = world.json("status");
        if let Ok(status) = &status
            && is_so(&status["upgrade"])
        {
            println!("{what} after {:?}", begin.elapsed());
            return status["upgrade"].clone();
        }
        let log = || world.daemon_log();
        assert!(begin.elapsed() < SOON, "{what}: {status:?}\n{}", log());
        std::thread::sleep(TICK);
    }
}

/// The same once that is what holds the upgrade.
fn held_by(world: &World, hold: &str) -> Value {
    until(world, hold, |upgrade| upgrade["hold"] == hold)
}

/// Waits until the feed was read once more and nothing came of it.
fn read_again(world: &World) {
    let asked = || {
        let all = world.server.requests();
        all.iter().filter(|it| it.path == FEED).count()
    };
    let (before, begin) = (asked(), Instant::now());
    while asked() <= before {
        assert!(begin.elapsed() < SOON, "the feed is not read");
        std::thread::sleep(TICK);
    }
}

fn upgrades(world: &World) -> Vec<Operation> {
    let all = world.operations().unwrap().into_iter();
    all.filter(|it| it.kind == "upgrade").collect()
}

/// So many upgrades have ended; returns the newest.
fn ended(world: &World, count: usize) -> Operation {
    let is_so = |all: &[Operation]| {
        let mut upgrades = all.iter().filter(|it| it.kind == "upgrade");
        upgrades.clone().count() == count && upgrades.all(Operation::is_final)
    };
    let all = Operation::until(&world.machine, OPERATION, is_so).unwrap();
    let newest = all.into_iter().find(|it| it.kind == "upgrade");
    newest.unwrap()
}

fn version(world: &World) -> String {
    let said = world.run("bob", "nix --version").unwrap().ok().unwrap();
    let status = world.json("status").unwrap();
    let version = said.text().replace("nix (Nix) ", "");
    assert_eq!(status["nix_version"], *version, "{status}");
    version
}

fn property(world: &World, name: &str) -> String {
    let manager = ["org.nixctl1", "/org/nixctl1", "org.nixctl1.Manager", name];
    let argv = [&["busctl", "get-property"], &manager[..]].concat();
    let said = world.machine.exec(&argv).unwrap().ok().unwrap();
    said.text().to_owned()
}

/// The findings that stand, as D-Bus tells them: nobody looks anew for that.
fn findings(world: &World) -> String {
    let argv = "busctl call org.nixctl1 /org/nixctl1 org.nixctl1.Manager Findings";
    world.machine.sh(argv).unwrap().ok().unwrap().stdout
}

fn metrics(world: &World) -> String {
    world
        .run("bob", "nixctl metrics")
        .unwrap()
        .ok()
        .unwrap()
        .stdout
}

/// A program that holds upgrades up until its input is closed, or it is killed.
fn inhibitor(world: &World) -> Background {
    let example = paths::workspace().join("docs/examples/inhibit.py");
    let target = "/usr/local/bin/inhibit.py";
    world
        .machine
        .copy_in(&example, target.as_ref(), 0o755)
        .unwrap();
    let command = format!("python3 {target} upgrade backup 'it copies /nix' cat");
    let mut running = world.start("alice", &command).unwrap();
    running.wait_for("is held up", SOON).unwrap();
    running
}

#[test]
fn a_release_of_the_feed_is_taken_without_a_hand() {
    if !require() {
        return;
    }
    let (world, publisher) = boot("auto");
    let (old, new) = (
        world.release().version.clone(),
        world.newer().version.clone(),
    );
    world
        .server
        .put(FEED, publisher.with_newer(&world).unwrap());

    // Told only.
    let notify = Follow {
        policy: "notify",
        ..Follow::AUTO
    };
    world.follow(&publisher, &notify).unwrap();
    let told = held_by(&world, "notify-only");
    assert_eq!(told["available"], *new);
    assert_eq!(property(&world, "AvailableVersion"), format!("s \"{new}\""));
    assert_eq!(property(&world, "UpgradeHold"), "s \"notify-only\"");
    let numbers = metrics(&world);
    for line in [
        format!("nixctl_nix_info{{version=\"{old}\"}} 1"),
        format!("nixctl_available_info{{product=\"nix\",version=\"{new}\"}} 1"),
        "nixctl_upgrade_hold{kind=\"notify-only\"} 1".to_owned(),
        "nixctl_upgrade_hold{kind=\"inhibited\"} 0".to_owned(),
        "nixctl_rollout_share_ratio 1".to_owned(),
        "nixctl_feed_serial 1".to_owned(),
    ] {
        assert!(numbers.contains(&line), "no {line} in {numbers}");
    }
    let shown = world.run("bob", "nixctl status").unwrap().ok().unwrap();
    assert!(
        shown.stdout.contains(&format!("Nix {new}: the settings")),
        "{shown:?}"
    );
    let checked = world
        .run("bob", "nixctl upgrade --check")
        .unwrap()
        .ok()
        .unwrap();
    assert!(checked.stdout.contains(&new), "{checked:?}");

    // Not outside of a window, not while somebody asks to wait.
    let mut backup = inhibitor(&world);
    let day = world
        .machine
        .sh("date -u -d '3 days' +%a | tr A-Z a-z")
        .unwrap();
    let window = format!("{} 01:00-02:00 UTC", day.text());
    let windows: [&str; 1] = [&window];
    let later = Follow {
        windows: &windows,
        ..Follow::AUTO
    };
    world.follow(&publisher, &later).unwrap();
    let closed = held_by(&world, "outside-window");
    let waits = closed["waits"].as_str().unwrap();
    assert!(
        waits.contains("opens at") && waits.contains("01:00"),
        "{waits}"
    );
    world.follow(&publisher, &Follow::AUTO).unwrap();
    let inhibited = held_by(&world, "inhibited");
    assert!(
        inhibited["waits"]
            .as_str()
            .unwrap()
            .contains("backup asks to wait")
    );
    assert_eq!(inhibited["inhibitors"].as_array().unwrap().len(), 1);
    read_again(&world);
    assert!(
        findings(&world).contains("upgrade.available"),
        "{}",
        findings(&world)
    );

    // Withdrawn a moment before nothing holds it any more.
    let halted = publisher.next(&["--halt", &new]).unwrap();
    world.server.put(FEED, halted);
    backup.kill();
    held_by(&world, "halted");
    assert_eq!(property(&world, "AvailableVersion"), "s \"\"");
    assert_eq!(upgrades(&world), []);

    world
        .server
        .put(FEED, publisher.next(&["--resume", &new]).unwrap());
    let begin = Instant::now();
    let done = ended(&world, 1);
    println!("taken after {:?}", begin.elapsed());
    assert_eq!(
        (&*done.state, done.requested_by),
        ("succeeded", 0),
        "{done:?}"
    );
    assert_eq!(version(&world), new);
    world.build("bob", "bash", "by-itself").unwrap();
    let shown = world
        .run("bob", &format!("nixctl show {}", done.id))
        .unwrap();
    assert!(shown.stdout.contains("release feed"), "{shown:?}");
    let status = until(&world, "nothing is newer", |it| it["available"] == "");
    assert_eq!(status["hold"], "", "{status}");
    let numbers = metrics(&world);
    for line in [
        format!("nixctl_nix_info{{version=\"{new}\"}} 1"),
        "nixctl_operations_total{kind=\"upgrade\",outcome=\"succeeded\"} 1".to_owned(),
        "nixctl_feed_serial 3".to_owned(),
    ] {
        assert!(numbers.contains(&line), "no {line} in {numbers}");
    }
    assert!(!numbers.contains("nixctl_available_info"), "{numbers}");

    // Somebody goes back: that one is not taken again, a newer one is.
    let back = world
        .run("alice", "nixctl upgrade --rollback --yes")
        .unwrap();
    assert!(back.success(), "{back:?}\n{}", world.daemon_log());
    assert_eq!(version(&world), old);
    let left = held_by(&world, "abandoned");
    assert_eq!(left["available"], *new);
    assert!(
        left["waits"]
            .as_str()
            .unwrap()
            .contains("somebody went back"),
        "{left}"
    );
    read_again(&world);
    assert_eq!(upgrades(&world).len(), 2);
    let renamed = world.newer().renamed("2.34.9").unwrap();
    world
        .server
        .put(FEED, publisher.with(&world, "2.34.9", renamed).unwrap());
    let done = ended(&world, 3);
    assert_eq!(done.state, "succeeded", "{done:?}\n{}", world.daemon_log());
    assert_eq!(world.json("status").unwrap()["nix_version"], "2.34.9");
    world.build("bob", "bash", "newer").unwrap();
}

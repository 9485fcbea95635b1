//! Releases of a feed that nobody asks for: taken when nothing holds them, undone when they do not
//! work, and of a feed that is not to be believed nothing is taken.
#![allow(clippy::unwrap_used)]

use std::time::{Duration, Instant};

use nixctl_lab::dist::Broken;
use nixctl_lab::server::Fault;
use nixctl_lab::snapshot::Snapshot;
use nixctl_lab::world::{
    FEED, FOLLOWS, Follow, OPERATION, Operation, Publisher, World, changes, taken_under_kills,
};
use nixctl_lab::{Background, full, paths, require};
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

/// The machine without how it follows the feed.
fn snapshot(world: &World) -> Snapshot {
    world.snapshot_but(&[FOLLOWS]).unwrap()
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

#[test]
fn whatever_kills_the_daemon_the_release_is_taken() {
    if require() {
        taken_under_kills().unwrap();
    }
}

/// A release that is undone.
#[derive(Debug, Clone, Copy)]
enum Fails {
    /// Its bytes are not those that the feed names.
    WrongHash,
    /// It was published so.
    Is(Broken),
}

impl Fails {
    const ALL: [Self; 4] = [
        Self::Is(Broken::CannotBuild),
        Self::WrongHash,
        Self::Is(Broken::Ends),
        Self::Is(Broken::Hangs),
    ];

    fn publish(self, world: &World, publisher: &Publisher, version: &str) {
        let next = match self {
            Self::WrongHash => {
                let sum = "0".repeat(64);
                publisher.with_sum(world, version, vec![b'x'; 1000], &sum)
            }
            Self::Is(how) => {
                let archive = world.newer().broken(how, version).unwrap();
                publisher.with(world, version, archive)
            }
        };
        world.server.put(FEED, next.unwrap());
    }
}

#[test]
fn what_does_not_work_is_undone_and_left_alone_and_the_next_release_is_taken() {
    if !require() {
        return;
    }
    let (mut world, publisher) = boot("auto-broken");
    let old = world.release().version.clone();
    let set = "nixctl config set install.self_test_seconds 8";
    world.run("root", set).unwrap().ok().unwrap();
    world.follow(&publisher, &Follow::AUTO).unwrap();
    world.build("bob", "bash", "before").unwrap();
    let count = if full() { Fails::ALL.len() } else { 1 };
    for (index, how) in Fails::ALL.into_iter().take(count).enumerate() {
        let release = format!("2.34.{index}");
        let before = snapshot(&world);
        how.publish(&world, &publisher, &release);
        world.follow_anew(&publisher, &Follow::AUTO).unwrap();
        let begun =
            |all: &[Operation]| all.iter().filter(|it| it.kind == "upgrade").count() > index;
        Operation::until(&world.machine, SOON, begun).unwrap();
        let begin = Instant::now();
        let failed = ended(&world, index + 1);
        let undone = begin.elapsed();
        let left = changes(&before, &snapshot(&world));
        world
            .build("bob", "bash", &format!("after-{index}"))
            .unwrap();
        println!(
            "{how:?}: undone after {undone:?}, built after {:?}",
            begin.elapsed()
        );
        assert!(begin.elapsed() < Duration::from_secs(60), "{how:?}");
        assert_eq!(left, [""; 0], "{how:?}");
        assert_eq!(
            (&*failed.state, failed.requested_by),
            ("reverted", 0),
            "{failed:?}"
        );
        assert_eq!(version(&world), old);
        let shown = world
            .run("bob", &format!("nixctl show {}", failed.id))
            .unwrap();
        let why = failed.failure.unwrap().message;
        assert!(shown.stdout.contains("NIX") && !why.is_empty(), "{shown:?}");
        println!("{how:?}: {why}");
        left_alone(&world, &release, index + 1);
    }
    // For the next eight hours, as it is told, whatever is started again.
    let restart = ["systemctl", "restart", "nixctld.service"];
    world.machine.exec(&restart).unwrap().ok().unwrap();
    left_alone(&world, &format!("2.34.{}", count - 1), count);
    world.machine.reboot().unwrap();
    left_alone(&world, &format!("2.34.{}", count - 1), count);

    let next = publisher.with_newer(&world).unwrap();
    world.server.put(FEED, next);
    world.follow_anew(&publisher, &Follow::AUTO).unwrap();
    let done = ended(&world, count + 1);
    assert_eq!(done.state, "succeeded", "{done:?}\n{}", world.daemon_log());
    assert_eq!(version(&world), world.newer().version);
    world.build("bob", "bash", "works").unwrap();
}

/// A release that failed once is not tried again although it is offered, and it is told until when.
fn left_alone(world: &World, release: &str, tries: usize) {
    let hours = |hours: &str| {
        let date = format!("date -u -d '{hours} hours' '+%Y-%m-%d %H:'");
        world.machine.sh(&date).unwrap().text().to_owned()
    };
    let early = hours("7");
    let told = held_by(world, "ladder");
    assert_eq!(told["available"], *release);
    let waits = told["waits"].as_str().unwrap();
    assert!(
        waits.contains(&format!("nix {release} failed once")),
        "{waits}"
    );
    // Within the hour before.
    let (again, late) = (waits.split("tried again at ").nth(1).unwrap(), hours("8"));
    assert!(again.contains(&early) || again.contains(&late), "{waits}");
    let numbers = metrics(world);
    assert!(
        numbers.contains("nixctl_upgrade_hold{kind=\"ladder\"} 1"),
        "{numbers}"
    );
    read_again(world);
    held_by(world, "ladder");
    assert_eq!(upgrades(world).len(), tries);
}

/// What a machine gets instead of the feed.
enum Served {
    Bytes(Vec<u8>),
    Nothing,
    Fault(Fault),
    Redirect(&'static str),
}

/// A feed that is not gone by: the finding, the code, and what is said.
struct Odd(Served, &'static str, &'static str, &'static str);

impl Odd {
    fn serve(&self, world: &World) {
        world.server.heal();
        match &self.0 {
            Served::Bytes(bytes) => world.server.put(FEED, bytes.clone()),
            Served::Nothing => world.server.remove(FEED),
            Served::Fault(fault) => world.server.break_prefix(FEED, *fault),
            Served::Redirect(to) => world.server.redirect(FEED, to),
        }
    }
}

/// Feeds that would have the machine take a release which was withdrawn.
fn odd_feeds(publisher: &Publisher, replayed: Vec<u8>) -> Vec<Odd> {
    let edited = |edit: &dyn Fn(&mut Value)| {
        let edit = |text: String| {
            let mut feed: Value = serde_json::from_str(&text).unwrap();
            feed["releases"][0]["halted"] = false.into();
            edit(&mut feed);
            feed.to_string()
        };
        publisher.edited(edit).unwrap()
    };
    let good = edited(&|_| {});
    let by = |name: &str| {
        let other = Publisher::named(name).unwrap();
        Served::Bytes(other.in_place_of(publisher).unwrap())
    };
    let altered = String::from_utf8(good.clone()).unwrap();
    let altered = altered.replace("2.34.8", "2.34.9").into_bytes();
    let dated = |created: &str, expires: &str| {
        edited(&|feed| {
            feed["created"] = created.into();
            feed["expires"] = expires.into();
        })
    };
    let expired = dated("2020-01-01T00:00:00Z", "2020-02-01T00:00:00Z");
    let early = dated("2040-01-01T00:00:00Z", "2040-02-01T00:00:00Z");
    let other = edited(&|feed| feed["channel"] = "edge".into());
    let half = good[..good.len() / 2].to_vec();
    let (missing, untrusted) = ("upgrade.feed-missing", "upgrade.feed-untrusted");
    let (stale, malformed) = ("upgrade.feed-stale", "upgrade.feed-malformed");
    let bytes = Served::Bytes;
    vec![
        Odd(bytes(replayed), stale, "NIX1032", "serial 1, and serial 2"),
        Odd(
            by("example-1"),
            untrusted,
            "NIX1031",
            "not one of these bytes",
        ),
        Odd(bytes(half), malformed, "NIX1033", "cannot read the feed"),
        Odd(
            Served::Redirect("https://127.0.0.1:8080/good.json"),
            missing,
            "NIX1004",
            "redirects from http to https",
        ),
        Odd(Served::Nothing, missing, "NIX1013", "404"),
        Odd(Served::Fault(Fault::Status(503)), missing, "NIX1004", "503"),
        Odd(Served::Fault(Fault::Refuse), missing, "NIX1004", "cannot"),
        Odd(
            Served::Redirect("file:///etc/passwd"),
            missing,
            "NIX1013",
            "file",
        ),
        Odd(by("other-1"), untrusted, "NIX1031", "other-1"),
        Odd(
            bytes(altered),
            untrusted,
            "NIX1031",
            "not one of these bytes",
        ),
        Odd(bytes(expired), stale, "NIX1032", "expired"),
        Odd(bytes(early), stale, "NIX1032", "clock says"),
        Odd(bytes(other), malformed, "NIX1033", "`edge`"),
        Odd(
            bytes(vec![b' '; 2 << 20]),
            malformed,
            "NIX1033",
            "larger than",
        ),
        Odd(
            bytes(vec![b'['; 100_000]),
            malformed,
            "NIX1033",
            "cannot read the feed",
        ),
        Odd(
            bytes(Vec::new()),
            malformed,
            "NIX1033",
            "cannot read the feed",
        ),
    ]
}

/// Waits until a finding stands, or does not, that nobody looks for.
fn stands(world: &World, finding: &str, is_so: bool) {
    let begin = Instant::now();
    while findings(world).contains(finding) != is_so {
        let log = || world.daemon_log();
        assert!(begin.elapsed() < SOON, "{finding} {is_so}: {}", log());
        std::thread::sleep(TICK);
    }
    println!("{finding} {is_so} after {:?}", begin.elapsed());
}

#[test]
fn of_a_feed_that_is_not_to_be_believed_nothing_is_taken() {
    if !require() {
        return;
    }
    let (world, publisher) = boot("auto-odd");
    let replayed = publisher.with_newer(&world).unwrap();
    let halted = publisher.next(&["--halt", &world.newer().version]).unwrap();
    world.server.put(FEED, halted.clone());
    world.follow(&publisher, &Follow::AUTO).unwrap();
    held_by(&world, "halted");
    let before = snapshot(&world);
    let odd = odd_feeds(&publisher, replayed);
    // The first one is found by itself, and it is seen that it is good again.
    odd[0].serve(&world);
    stands(&world, odd[0].1, true);
    world.server.put(FEED, halted.clone());
    stands(&world, odd[0].1, false);
    for Odd(_, finding, code, said) in odd.iter().inspect(|one| one.serve(&world)) {
        world.follow_anew(&publisher, &Follow::AUTO).unwrap();
        let trouble = |it: &Value| {
            it["feed_trouble"]
                .as_str()
                .is_some_and(|it| it.contains(said))
        };
        let told = until(&world, said, trouble);
        println!("{told}");
        assert_eq!(told["available"], "");
        let looked = world.run("bob", "nixctl check").unwrap();
        assert!(looked.stdout.contains(finding), "{looked:?}");
        let asked = world.run("alice", "nixctl upgrade --yes").unwrap();
        assert_eq!(asked.status, 5, "{asked:?}");
        assert!(
            asked.stderr.contains(&format!("error[{code}]")),
            "{asked:?}"
        );
        assert_eq!(upgrades(&world), []);
    }
    world.server.heal();
    world.server.put(FEED, halted);
    world.follow_anew(&publisher, &Follow::AUTO).unwrap();
    until(&world, "it is good again", |it| it["feed_trouble"] == "");
    world.run("bob", "nixctl check").unwrap().ok().unwrap();
    held_by(&world, "halted");
    assert_eq!(changes(&before, &snapshot(&world)), [""; 0]);
    assert_eq!(version(&world), world.release().version);
}

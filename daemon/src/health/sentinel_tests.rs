use std::sync::mpsc::{Receiver, channel};

use super::*;
use crate::host::fake::{self, FakeServices};
use crate::resource::nix_tree::NixTree;
use crate::resource::service::Service;

/// Longest time until something is told.
const PATIENCE: Duration = Duration::from_secs(10);
/// Time within which nothing must be told: longer than the watch waits for more.
const QUIET: Duration = Duration::from_millis(2500);

impl Sentinel {
    /// One that may watch nothing.
    pub(crate) fn refused(host: Host, why: &str) -> Sentinel {
        let inner = Inner {
            host,
            tell: Arc::new(|_, _| {}),
            watch: OnceLock::new(),
            refused: Mutex::new(Some(why.to_owned())),
            aim: Mutex::default(),
            signals: Mutex::default(),
        };
        Sentinel {
            inner: Arc::new(inner),
            listening: None,
            thread: None,
        }
    }
}

struct Machine {
    dir: tempfile::TempDir,
    services: Arc<FakeServices>,
    sentinel: Sentinel,
    told: Receiver<(Cause, Areas)>,
}

/// A machine with a store of ours, which lies on a disk.
fn machine() -> Machine {
    let dir = tempfile::tempdir().unwrap();
    for folder in ["etc/nix", "nix/store", "nix/var/nix/db", "srv"] {
        std::fs::create_dir_all(dir.path().join(folder)).unwrap();
    }
    std::fs::write(
        dir.path().join("etc/fstab"),
        "/srv/disk /nix ext4 loop 0 0\n",
    )
    .unwrap();
    let (host, _, services) = fake::host(dir.path());
    let (sender, told) = channel();
    let tell: Tell = Arc::new(move |cause, areas| sender.send((cause, areas)).unwrap());
    let sentinel = Sentinel::start(host, tell);
    sentinel.set(&owned(), &Settings::default());
    sentinel.refresh();
    assert_eq!(sentinel.trouble(), None);
    Machine {
        dir,
        services,
        sentinel,
        told,
    }
}

fn owned() -> Vec<Resource> {
    let units = || vec!["nix-daemon.socket".to_owned()];
    vec![
        Resource::NixTree(NixTree {
            store_gid: 0,
            keep: false,
        }),
        Resource::Service(Service {
            enable: units(),
            start: units(),
            also_stop: Vec::new(),
        }),
    ]
}

impl Machine {
    fn write(&self, path: &str, text: &str) {
        std::fs::write(self.dir.path().join(path), text).unwrap();
    }

    fn say(&self, unit: &str, active: &str) {
        let (unit, active) = (unit.to_owned(), active.to_owned());
        self.services.say(&Heard::State { unit, active });
    }

    fn expect(&self, cause: Cause, area: &str) {
        let (why, areas) = self.told.recv_timeout(PATIENCE).expect("nothing was told");
        assert!(why == cause && areas.holds(area), "{why:?} {areas:?}");
    }

    fn expect_nothing(&self) {
        let told = self.told.recv_timeout(QUIET);
        assert!(told.is_err(), "{told:?}");
    }
}

#[test]
fn units_and_files_are_told_of_with_their_cause() {
    let machine = machine();
    machine.say("nix-daemon.socket", "active");
    machine.say("nix.mount", "active");
    machine.say("other.service", "failed");
    machine.write("nix/store/built", "x");
    machine.write("nix/var/nix/db/db.sqlite-wal", "x");
    machine.expect_nothing();
    machine.say("nix-daemon.socket", "failed");
    machine.expect(Cause::Unit, "daemon");
    machine.say("nix.mount", "inactive");
    machine.expect(Cause::Unit, "mounts");
    machine.write("srv/disk", "x");
    machine.expect(Cause::Files, "mounts");
    machine.sentinel.set(&[], &Settings::default());
    machine.sentinel.refresh();
    machine.write("srv/disk", "y");
    machine.say("nix.mount", "active");
    machine.expect_nothing();
}

#[test]
fn what_files_say_is_watched_from_then_on() {
    let machine = machine();
    machine.write("etc/fstab", "/srv/other /nix ext4 loop 0 0\n");
    machine.expect(Cause::Files, "mounts");
    // Until then the old ones may be watched still.
    machine.expect_nothing();
    machine.write("srv/disk", "of before");
    machine.expect_nothing();
    machine.write("srv/other", "x");
    machine.expect(Cause::Files, "mounts");
}

#[test]
fn what_is_mounted_over_a_folder_is_watched_when_the_mount_is_heard_of() {
    let machine = machine();
    machine.say("nix.mount", "inactive");
    // Another tree in its place, as a mount puts it there: no folder tells of it.
    let path = |name: &str| machine.dir.path().join(name);
    std::fs::create_dir_all(path("srv/new/var/nix")).unwrap();
    std::fs::rename(path("nix"), path("srv/old")).unwrap();
    std::fs::rename(path("srv/new"), path("nix")).unwrap();
    machine.say("nix.mount", "active");
    let causes: Vec<Cause> = machine
        .told
        .iter()
        .take(2)
        .map(|(cause, _)| cause)
        .collect();
    assert!(
        causes.contains(&Cause::Unit) && causes.contains(&Cause::Files),
        "{causes:?}"
    );
    std::fs::create_dir(path("nix/store")).unwrap();
    machine.expect(Cause::Files, "tree");
}

#[test]
fn it_ends_when_it_is_dropped() {
    let machine = machine();
    drop(machine.sentinel);
    machine.services.say(&Heard::State {
        unit: "nix-daemon.socket".to_owned(),
        active: "failed".to_owned(),
    });
    // Whoever tells is gone, too.
    assert!(machine.told.recv_timeout(PATIENCE).is_err());
    assert_eq!(machine.told.recv(), Err(std::sync::mpsc::RecvError));
}

/// The number of open files is the process's own, so it is limited only where each test has one.
#[test]
fn a_watch_that_is_refused_is_said_and_tried_again() {
    use rustix::process::{Resource as Limit, getrlimit, setrlimit};
    if std::env::var_os("NEXTEST").is_none() {
        return;
    }
    let dir = tempfile::tempdir().unwrap();
    std::fs::create_dir_all(dir.path().join("etc/nix")).unwrap();
    let (host, ..) = fake::host(dir.path());
    let (sender, told) = channel();
    let tell: Tell = Arc::new(move |cause, areas| sender.send((cause, areas)).unwrap());
    let before = getrlimit(Limit::Nofile);
    let none = rustix::process::Rlimit {
        current: Some(0),
        ..before
    };
    setrlimit(Limit::Nofile, none).unwrap();
    let sentinel = Sentinel::start(host, tell);
    let trouble = sentinel.trouble().unwrap();
    assert!(trouble.contains("max_user_instances"), "{trouble}");
    sentinel.refresh();
    assert_eq!(sentinel.trouble(), Some(trouble));
    setrlimit(Limit::Nofile, before).unwrap();
    sentinel.set(&owned(), &Settings::default());
    sentinel.refresh();
    assert_eq!(sentinel.trouble(), None);
    std::fs::create_dir_all(dir.path().join("nix/store")).unwrap();
    let (cause, areas) = told.recv_timeout(PATIENCE).expect("nothing was told");
    assert!(cause == Cause::Files && areas.holds("tree"), "{areas:?}");
}

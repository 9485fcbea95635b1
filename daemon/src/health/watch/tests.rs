use std::os::unix::fs::symlink;
use std::sync::mpsc::{Receiver, channel};
use std::time::Instant;

use super::*;

/// Shorter than in the daemon, long enough for a machine with much to do.
const SHORT: Duration = Duration::from_millis(150);
/// Longest time until something is told.
const PATIENCE: Duration = Duration::from_secs(10);
/// Time within which nothing must be told.
const QUIET: Duration = Duration::from_millis(600);

#[test]
fn why_something_cannot_be_watched_is_said_in_words_that_fit() {
    let error = |errno: Errno| io::Error::from(errno);
    for (errno, expected) in [
        (Errno::ENOSPC, "fs.inotify.max_user_watches"),
        (Errno::EMFILE, "fs.inotify.max_user_instances"),
        (Errno::EACCES, "Permission denied"),
    ] {
        let said = WatchError::Refused(error(errno)).to_string();
        assert!(said.contains(expected), "{said}");
        assert!(!is_gone(&error(errno)));
    }
    assert!(is_gone(&error(Errno::ENOENT)) && is_gone(&error(Errno::ENOTDIR)));
}

struct Machine {
    dir: tempfile::TempDir,
    watch: Watch,
    told: Receiver<Areas>,
}

/// A machine with these folders whose watch is on these: `path area`, `path/ area` for a folder
/// with all that is in it.
fn machine(folders: &[&str], targets: &[&str]) -> Machine {
    let dir = tempfile::tempdir().unwrap();
    for folder in folders {
        std::fs::create_dir_all(dir.path().join(folder)).unwrap();
    }
    let target = |text: &&str| {
        let (path, area) = text.split_once(' ').unwrap();
        Target {
            path: dir.path().join(path.trim_end_matches('/')),
            area: area.to_owned(),
            inside: path.ends_with('/'),
            counts: Counts::Content,
        }
    };
    let (sender, told) = channel();
    let targets = targets.iter().map(target).collect();
    let tell = Box::new(move |areas| sender.send(areas).unwrap());
    let watch = Watch::with_window(targets, tell, SHORT).unwrap();
    assert_eq!(watch.trouble(), None);
    Machine { dir, watch, told }
}

impl Machine {
    fn path(&self, path: &str) -> PathBuf {
        self.dir.path().join(path)
    }

    fn write(&self, path: &str, text: &str) {
        std::fs::write(self.path(path), text).unwrap();
    }

    fn rename(&self, from: &str, to: &str) {
        std::fs::rename(self.path(from), self.path(to)).unwrap();
    }

    /// Waits until the area is told of, and until all of the same is told.
    fn expect(&self, area: &str) {
        let end = Instant::now() + PATIENCE;
        loop {
            let left = end.saturating_duration_since(Instant::now());
            let areas = self.told.recv_timeout(left);
            if areas.expect("nothing was told").holds(area) {
                break;
            }
        }
        while self.told.recv_timeout(SHORT * 3).is_ok() {}
    }

    fn expect_nothing(&self) {
        let told = self.told.recv_timeout(QUIET);
        assert!(told.is_err(), "{told:?}");
    }
}

#[test]
fn files_that_come_change_are_replaced_and_go() {
    let machine = machine(&["etc/nix"], &["etc/nix/nix.conf conf"]);
    machine.expect_nothing();
    machine.write("etc/nix/nix.conf", "a");
    machine.expect("conf");
    machine.write("etc/nix/nix.conf", "b");
    machine.expect("conf");
    machine.write("etc/nix/new", "c");
    machine.expect_nothing();
    machine.rename("etc/nix/new", "etc/nix/nix.conf");
    machine.expect("conf");
    machine.write("etc/nix/nix.conf", "after it was replaced");
    machine.expect("conf");
    let mode = std::os::unix::fs::PermissionsExt::from_mode(0o600);
    std::fs::set_permissions(machine.path("etc/nix/nix.conf"), mode).unwrap();
    machine.expect("conf");
    std::fs::remove_file(machine.path("etc/nix/nix.conf")).unwrap();
    machine.expect("conf");
}

#[test]
fn what_is_only_read_or_beside_is_not_told() {
    let machine = machine(&["etc"], &["etc/profile shell"]);
    machine.write("etc/profile", "x");
    machine.expect("shell");
    for _ in 0..100 {
        std::fs::read(machine.path("etc/profile")).unwrap();
        machine.write("etc/passwd", "x");
    }
    machine.expect_nothing();
}

#[test]
fn a_folder_that_is_removed_and_made_again_stays_watched() {
    let machine = machine(&["etc/nix"], &["etc/nix/nix.conf conf", "etc/nix/d/ own"]);
    for round in 0..3 {
        std::fs::remove_dir_all(machine.path("etc/nix")).unwrap();
        machine.expect("conf");
        std::fs::create_dir_all(machine.path("etc/nix")).unwrap();
        machine.expect("conf");
        machine.write("etc/nix/nix.conf", &round.to_string());
        machine.expect("conf");
        std::fs::create_dir(machine.path("etc/nix/d")).unwrap();
        machine.expect("own");
        machine.write("etc/nix/d/anything", "x");
        machine.expect("own");
    }
}

#[test]
fn a_folder_that_is_exchanged_for_another_is_watched_in_its_place() {
    let machine = machine(&["etc/nix", "new"], &["etc/nix/nix.conf conf"]);
    machine.rename("etc/nix", "etc/old");
    machine.rename("new", "etc/nix");
    machine.expect("conf");
    machine.write("etc/old/nix.conf", "x");
    machine.expect_nothing();
    machine.write("etc/nix/nix.conf", "x");
    machine.expect("conf");
}

#[test]
fn what_is_not_there_yet_is_waited_for() {
    let machine = machine(&[], &["a/b/c/file own", "a/b/other tree"]);
    for folder in ["a", "a/b"] {
        std::fs::create_dir(machine.path(folder)).unwrap();
        machine.expect("own");
    }
    machine.write("a/b/other", "x");
    machine.expect("tree");
    // All at once, faster than anybody can watch it.
    std::fs::create_dir(machine.path("a/b/c")).unwrap();
    machine.write("a/b/c/file", "x");
    machine.expect("own");
    machine.write("a/b/c/file", "y");
    machine.expect("own");
}

#[test]
fn links_are_told_of_when_they_are_swapped() {
    let machine = machine(
        &["profiles", "one/etc", "two/etc"],
        &["profiles/system tree", "profiles/system/etc/conf conf"],
    );
    symlink("../one", machine.path("profiles/system")).unwrap();
    machine.expect("tree");
    machine.write("one/etc/conf", "x");
    machine.expect("conf");
    symlink("../two", machine.path("profiles/new")).unwrap();
    machine.rename("profiles/new", "profiles/system");
    machine.expect("tree");
    machine.write("one/etc/conf", "of before");
    machine.expect_nothing();
    machine.write("two/etc/conf", "x");
    machine.expect("conf");
}

#[test]
fn ten_thousand_changes_are_few_tellings() {
    let machine = machine(&["etc"], &["etc/a conf", "etc/b shell", "etc/d/ own"]);
    std::fs::create_dir(machine.path("etc/d")).unwrap();
    machine.expect("own");
    let begin = Instant::now();
    for number in 0..10_000 {
        machine.write("etc/new", "x");
        machine.rename("etc/new", if number % 2 == 0 { "etc/a" } else { "etc/b" });
    }
    let most = begin.elapsed().as_millis() / SHORT.as_millis() + 4;
    std::thread::sleep(SHORT * 4);
    let told: Vec<Areas> = machine.told.try_iter().collect();
    assert!((told.len() as u128) <= most, "{} of {most}", told.len());
    assert!(told.iter().any(|areas| areas.holds("conf")));
    assert!(told.iter().all(|areas| !areas.holds("own")));
    machine.write("etc/d/after", "x");
    machine.expect("own");
}

#[test]
fn folders_may_come_and_go_as_fast_as_they_can() {
    let machine = machine(&["etc/nix"], &["etc/nix/nix.conf conf"]);
    for round in 0..200 {
        std::fs::remove_dir_all(machine.path("etc/nix")).unwrap();
        if round % 3 == 0 {
            std::thread::sleep(Duration::from_millis(round % 7));
        }
        std::fs::create_dir(machine.path("etc/nix")).unwrap();
        machine.write("etc/nix/nix.conf", "x");
    }
    machine.expect("conf");
    machine.write("etc/nix/nix.conf", "the last");
    machine.expect("conf");
}

#[test]
fn other_targets_can_be_set_and_everything_watched_anew() {
    let machine = machine(&["etc"], &["etc/a conf"]);
    machine.write("etc/a", "before it was set");
    machine.watch.set(vec![Target {
        path: machine.path("etc/b"),
        area: "own".into(),
        inside: false,
        counts: Counts::Content,
    }]);
    machine.expect("conf");
    machine.write("etc/a", "x");
    machine.expect_nothing();
    machine.write("etc/b", "x");
    machine.expect("own");
    machine.watch.refresh();
    machine.write("etc/b", "y");
    machine.expect("own");
}

#[test]
fn what_is_told_may_be_answered_with_other_targets() {
    let (dir, (sender, told)) = (tempfile::tempdir().unwrap(), channel());
    let target = |name: &str| Target {
        path: dir.path().join(name),
        area: name.to_owned(),
        inside: false,
        counts: Counts::Content,
    };
    let own: Arc<Mutex<Option<Watch>>> = Arc::default();
    let (its, both) = (Arc::clone(&own), vec![target("a"), target("b")]);
    let tell = Box::new(move |areas| {
        if let Some(watch) = &*its.lock().unwrap() {
            watch.set(both.clone());
            watch.refresh();
        }
        sender.send(areas).unwrap();
    });
    let watch = Watch::with_window(vec![target("a")], tell, SHORT).unwrap();
    *own.lock().unwrap() = Some(watch);
    for name in ["a", "b"] {
        std::fs::write(dir.path().join(name), "x").unwrap();
        let areas = told.recv_timeout(PATIENCE).unwrap();
        assert!(areas.holds(name), "{areas:?}");
        std::thread::sleep(SHORT);
    }
    drop(own.lock().unwrap().take());
}

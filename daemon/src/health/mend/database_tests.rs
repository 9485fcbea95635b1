use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use super::super::Mend;
use super::*;
use crate::health::database::testing::{self, load, store_path};
use crate::host::fake::{self, Answer, FakeExec, FakeServices};
use crate::host::{Cancel, Output};
use crate::payload::worker::{InProcess, Task, Worker};
use crate::resource::Progress;
use crate::resource::testing::Notes;

const NIX: &str = "/nix/store/zzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzz-nix-2.31.2";

/// A machine whose database was copied with 2000 paths, has 2020, and is damaged.
struct Site {
    machine: testing::Machine,
    copy: String,
    host: Host,
    exec: Arc<FakeExec>,
    services: Arc<FakeServices>,
    notes: Notes,
    cancel: Cancel,
}

/// Files with their content, and units with whether they are active.
type Before = (BTreeMap<PathBuf, Vec<u8>>, Vec<(String, String)>);

/// Does its work, and then says that it was lost, from that one on.
struct Dying<'a> {
    site: &'a Site,
    left: AtomicUsize,
}

impl Worker for Dying<'_> {
    fn run(
        &self,
        task: &Task,
        progress: &dyn Progress,
        cancel: &Cancel,
    ) -> std::result::Result<(), PayloadError> {
        let fs = self.site.host.fs.clone();
        InProcess::new(fs).run(task, progress, cancel)?;
        let left = &self.left;
        let count = |left: usize| left.checked_sub(1);
        match left.fetch_update(Ordering::SeqCst, Ordering::SeqCst, count) {
            Ok(_) => Ok(()),
            Err(_) => Err(PayloadError::new(Code::WorkerLost, "it was killed")),
        }
    }
}

/// As Nix leaves a store path.
fn seal(machine: &testing::Machine, path: &str) {
    let path = Path::new(path);
    machine.fs.set_mode(path, 0o444).unwrap();
    machine.fs.set_times(path, 1).unwrap();
}

impl Site {
    fn new() -> Site {
        let machine = testing::Machine::new(2000);
        let copy = machine.copied();
        machine.add(&machine.nix(), 2000..2020);
        machine.damage(20..25);
        for number in 0..2020 {
            seal(&machine, &store_path(number));
        }
        let root = machine.dir.path();
        for folder in ["proc/self", "dev"] {
            std::fs::create_dir_all(root.join(folder)).unwrap();
        }
        for file in ["dev/ptmx", "nix/var/nix/db/big-lock"] {
            std::fs::write(root.join(file), "").unwrap();
        }
        std::fs::write(root.join("nix/var/nix/db/schema"), "10").unwrap();
        let (host, exec, services) = fake::host(root);
        for unit in [SOCKET_UNIT, SERVICE_UNIT] {
            services.set(unit, "enabled", "active");
        }
        let site = Site {
            copy,
            host,
            exec,
            services,
            notes: Notes::default(),
            cancel: Cancel::default(),
            machine,
        };
        site.nix_works();
        site
    }

    /// Loads what it is told, and makes a new database where there is none.
    fn nix_works(&self) {
        let database = self.machine.path(DATABASE);
        let schema = self.machine.path("/nix/var/nix/db/schema");
        let effect = move |command: &crate::host::Command| {
            assert!(command.args[1].ends_with("-nix-2.31.2/bin/nix-store"));
            assert_eq!(database.exists(), schema.exists(), "as Nix wants it");
            load(&database, std::str::from_utf8(&command.stdin).unwrap());
            std::fs::write(&schema, "10").unwrap();
            Output::default()
        };
        self.exec.answer("chroot", &[], Answer::effect(effect));
    }

    fn context<'a>(&'a self, worker: &'a dyn Worker) -> Context<'a> {
        Context {
            host: &self.host,
            progress: &self.notes,
            cancel: &self.cancel,
            worker,
        }
    }

    fn dying(&self, after: usize) -> Dying<'_> {
        let left = AtomicUsize::new(after);
        Dying { site: self, left }
    }

    fn living(&self) -> Dying<'_> {
        self.dying(usize::MAX)
    }

    fn mend(&self, copies: &[&str]) -> Mend {
        Mend::Database(Restore {
            nix: NIX.to_owned(),
            copies: copies.iter().map(|it| (*it).to_owned()).collect(),
            at: 7,
        })
    }

    /// Everything below /nix, and the units.
    fn state(&self) -> Before {
        fn walk(folder: &Path, into: &mut BTreeMap<PathBuf, Vec<u8>>) {
            for entry in std::fs::read_dir(folder).unwrap() {
                let path = entry.unwrap().path();
                if path.is_dir() {
                    into.insert(path.clone(), Vec::new());
                    walk(&path, into);
                } else {
                    into.insert(path.clone(), std::fs::read(&path).unwrap());
                }
            }
        }
        let mut files = BTreeMap::new();
        walk(&self.machine.path("/nix"), &mut files);
        let units = self.services.units().into_iter();
        (files, units.map(|(name, it)| (name, it.active)).collect())
    }

    fn known(&self) -> i64 {
        let nix = self.machine.nix();
        let sql = "SELECT count(*) FROM ValidPaths";
        nix.query_row(sql, [], |row| row.get(0)).unwrap()
    }

    fn notes(&self) -> String {
        self.notes.0.lock().unwrap().join("\n")
    }
}

#[test]
fn a_damaged_database_is_put_back_together_from_its_copy() {
    let site = Site::new();
    let living = site.living();
    let context = site.context(&living);
    let mend = site.mend(&[&site.copy]);
    let damaged = std::fs::read(site.machine.path(DATABASE)).unwrap();
    let before = site.state();
    let undo = mend.prepare(&site.host).unwrap();
    assert!(mend.verify(&site.host).is_err());
    assert_eq!(site.state(), before, "preparing changes nothing");
    mend.undo(&context, &undo).unwrap();
    assert_eq!(site.state(), before, "undoing nothing changes nothing");
    assert!(site.services.calls().is_empty());
    mend.apply(&context, &undo).unwrap();
    mend.verify(&site.host).unwrap();
    assert_eq!(site.known(), 2020, "what came after the copy, too");
    let calls = [
        "stop nix-daemon.socket",
        "stop nix-daemon.service",
        "start nix-daemon.socket",
        "start nix-daemon.service",
    ];
    assert_eq!(site.services.calls(), calls);
    let kept = site.machine.path("/nix/var/nix/db/damaged-7/db.sqlite");
    assert_eq!(std::fs::read(kept).unwrap(), damaged);
    assert!(site.notes().contains("2020 store paths again, 20 of them"));
    // Once is enough, and it stays when something later fails.
    let after = site.state();
    mend.apply(&context, &undo).unwrap();
    assert!(matches!(
        mend.undo(&context, &undo).unwrap(),
        Undone::Kept(_)
    ));
    assert_eq!(site.state(), after);
}

#[test]
fn without_a_copy_nix_makes_a_new_one() {
    for is_there in [true, false] {
        let site = Site::new();
        if !is_there {
            std::fs::remove_file(site.machine.path(DATABASE)).unwrap();
        }
        // Half a build. When it was registered, so was what refers to it.
        let half = store_path(3);
        site.host.fs.set_mode(Path::new(&half), 0o644).unwrap();
        let living = site.living();
        let context = site.context(&living);
        let mend = site.mend(&[]);
        let undo = mend.prepare(&site.host).unwrap();
        mend.apply(&context, &undo).unwrap();
        mend.verify(&site.host).unwrap();
        let (known, notes) = (site.known(), site.notes());
        let expected = "1 paths in the store are not registered";
        assert!(notes.contains(expected) && notes.contains(&half), "{notes}");
        let lost = std::fs::read_to_string(site.machine.path(LOST)).unwrap();
        assert_eq!((known, lost.trim()), (2019, half.as_str()), "{is_there}");
    }
}

#[test]
fn a_copy_that_is_damaged_itself_gives_way_to_an_older_one() {
    let site = Site::new();
    let bad = "db-000009-0000000000009-0000000000009.sqlite";
    std::fs::write(site.machine.path(COPIES_DIR).join(bad), "x").unwrap();
    let living = site.living();
    let context = site.context(&living);
    let mend = site.mend(&[bad, "db-gone", &site.copy]);
    let undo = mend.prepare(&site.host).unwrap();
    mend.apply(&context, &undo).unwrap();
    assert_eq!(site.known(), 2020);
    assert!(site.notes().contains(bad));
}

#[test]
fn a_repair_that_is_cut_off_anywhere_is_finished_or_taken_back() {
    for with_copy in [true, false] {
        for cut in 0..4 {
            let site = Site::new();
            let copies = [site.copy.as_str()];
            let mend = site.mend(if with_copy { &copies } else { &[] });
            let before = site.state();
            let undo = mend.prepare(&site.host).unwrap();
            for is_finished in [false, true] {
                let dying = site.dying(cut);
                let cut_off = mend.apply(&site.context(&dying), &undo);
                assert!(cut_off.is_err(), "{cut}");
                let living = site.living();
                let context = site.context(&living);
                if is_finished {
                    mend.apply(&context, &undo).unwrap();
                    mend.verify(&site.host).unwrap();
                    assert_eq!(site.known(), 2020);
                    break;
                }
                for _ in 0..2 {
                    assert_eq!(mend.undo(&context, &undo).unwrap(), Undone::Clean);
                    assert_eq!(site.state(), before, "{with_copy}, {cut}");
                }
            }
        }
    }
}

#[test]
fn what_fails_is_taken_back() {
    let site = Site::new();
    let before = site.state();
    let living = site.living();
    let context = site.context(&living);
    let mend = site.mend(&[&site.copy]);
    let undo = mend.prepare(&site.host).unwrap();
    site.exec
        .answer("chroot", &[], Answer::code(1, "error: disk full"));
    let error = mend.apply(&context, &undo).unwrap_err();
    assert!(error.to_string().contains("disk full"), "{error}");
    mend.undo(&context, &undo).unwrap();
    assert_eq!(site.state(), before);
    // Somebody's Nix goes on without the daemon.
    let lock = std::fs::File::open(site.machine.path("/nix/var/nix/db/big-lock")).unwrap();
    lock.lock_shared().unwrap();
    let error = mend.apply(&context, &undo).unwrap_err();
    assert_eq!(error.failure().code, Code::Busy);
    mend.undo(&context, &undo).unwrap();
    assert_eq!(site.state(), before);
}

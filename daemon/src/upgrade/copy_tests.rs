use std::collections::BTreeMap;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use nixctl_proto::Code;

use super::super::{SERVICE, SOCKET};
use super::*;
use crate::health::database::DATABASE;
use crate::health::database::testing::{self, load, store_path};
use crate::host::fake::{self, Answer, FakeServices};
use crate::host::{Cancel, Output};
use crate::payload::worker::{InProcess, Task, Worker};
use crate::resource::Progress;
use crate::resource::testing::{Machine, Notes};

/// Paths in the database when it is copied.
pub(in crate::upgrade) const PATHS: u32 = 200;
/// Paths that are registered after that.
pub(in crate::upgrade) const LATER: u32 = 5;

/// A machine with a database of the form 10, and an older copy of it.
pub(in crate::upgrade) struct Site {
    pub(in crate::upgrade) machine: testing::Machine,
    pub(in crate::upgrade) host: Host,
    pub(in crate::upgrade) services: Arc<FakeServices>,
    pub(in crate::upgrade) notes: Notes,
    cancel: Cancel,
    /// Whether who registers is the newer version.
    forwards: Arc<AtomicBool>,
}

/// Does its work, and then says that it was lost, from that one on.
pub(in crate::upgrade) struct Dying<'a> {
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
        let count = |left: usize| left.checked_sub(1);
        match self
            .left
            .fetch_update(Ordering::SeqCst, Ordering::SeqCst, count)
        {
            Ok(_) => Ok(()),
            Err(_) => Err(PayloadError::new(Code::WorkerLost, "it was killed")),
        }
    }
}

impl Site {
    pub(in crate::upgrade) fn new() -> Site {
        let machine = testing::Machine::new(PATHS - 100);
        machine.copied();
        machine.add(&machine.nix(), PATHS - 100..PATHS);
        let root = machine.dir.path();
        for folder in ["proc/self", "dev"] {
            std::fs::create_dir_all(root.join(folder)).unwrap();
        }
        for file in ["dev/ptmx", "nix/var/nix/db/big-lock"] {
            std::fs::write(root.join(file), "").unwrap();
        }
        let machine_root = root.to_owned();
        let (host, exec, services) = fake::host(root);
        for unit in [SOCKET, SERVICE] {
            services.set(unit, "enabled", "active");
        }
        let forwards = Arc::new(AtomicBool::new(false));
        let newer = Arc::clone(&forwards);
        let site = Site {
            forwards,
            host,
            services,
            notes: Notes::default(),
            cancel: Cancel::default(),
            machine,
        };
        site.set_schema("10");
        let (database, schema) = (site.machine.path(DATABASE), site.machine.path(SCHEMA));
        let empty = machine_root.join("var/lib/nixctl/empty-store/nix/var/nix/db");
        let effect = move |command: &crate::host::Command| {
            // Which form it writes, an empty store tells.
            if command.args.iter().any(|it| it == "--dump-db") {
                std::fs::create_dir_all(&empty).unwrap();
                std::fs::write(empty.join("schema"), "10").unwrap();
                return Output::default();
            }
            let expected = match newer.load(Ordering::SeqCst) {
                true => "11",
                false => "10",
            };
            assert_eq!(std::fs::read_to_string(&schema).unwrap(), expected);
            load(&database, std::str::from_utf8(&command.stdin).unwrap());
            Output::default()
        };
        exec.answer("chroot", &[], Answer::effect(effect));
        site
    }

    /// Another version of Nix takes the database over into its own form, and registers more.
    pub(in crate::upgrade) fn is_taken_over(&self) {
        let nix = self.machine.nix();
        nix.execute_batch("alter table ValidPaths add column novel text")
            .unwrap();
        self.machine.add(&nix, PATHS..PATHS + LATER);
        for number in 0..PATHS + LATER {
            let path = store_path(number);
            let path = Path::new(&path);
            self.host.fs.set_mode(path, 0o444).unwrap();
            self.host.fs.set_times(path, 1).unwrap();
        }
        self.set_schema("11");
    }

    pub(in crate::upgrade) fn set_schema(&self, number: &str) {
        std::fs::write(self.machine.path(SCHEMA), number).unwrap();
    }

    pub(in crate::upgrade) fn schema(&self) -> String {
        std::fs::read_to_string(self.machine.path(SCHEMA)).unwrap()
    }

    pub(in crate::upgrade) fn dying(&self, after: usize) -> Dying<'_> {
        let left = AtomicUsize::new(after);
        Dying { site: self, left }
    }

    pub(in crate::upgrade) fn context<'a>(&'a self, worker: &'a dyn Worker) -> Context<'a> {
        Context {
            host: &self.host,
            progress: &self.notes,
            cancel: &self.cancel,
            worker,
        }
    }

    /// From now on the newer version registers.
    pub(in crate::upgrade) fn forwards_again(&self) {
        self.forwards.store(true, Ordering::SeqCst);
    }

    /// How many paths are registered, and whether the database has the old form.
    pub(in crate::upgrade) fn known(&self) -> (u32, bool) {
        let nix = self.machine.nix();
        let sql = "SELECT count(*) FROM ValidPaths";
        let known = nix.query_row(sql, [], |row| row.get(0)).unwrap();
        (known, nix.prepare("SELECT novel FROM ValidPaths").is_err())
    }

    /// Every file below /nix and our own folder, with the hash of what it holds.
    pub(in crate::upgrade) fn files(&self) -> BTreeMap<PathBuf, u64> {
        fn walk(folder: &Path, into: &mut BTreeMap<PathBuf, u64>) {
            for entry in std::fs::read_dir(folder).unwrap() {
                let path = entry.unwrap().path();
                if path.is_dir() {
                    walk(&path, into);
                } else {
                    let mut hasher = DefaultHasher::new();
                    std::fs::read(&path).unwrap().hash(&mut hasher);
                    into.insert(path, hasher.finish());
                }
            }
        }
        let mut files = BTreeMap::new();
        for folder in ["/nix", "/var"] {
            walk(&self.machine.path(folder), &mut files);
        }
        files
    }
}

pub(in crate::upgrade) fn copy() -> Copy {
    Copy {
        nix: "/nix/store/zzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzz-nix-2.31.2".to_owned(),
        keep: 3,
        reserve: 0,
        at: 7,
    }
}

#[test]
fn where_no_database_is_nothing_is_copied() {
    // A worker would panic.
    let machine = Machine::new();
    let before = machine.state();
    let undo = copy().prepare(&machine.host).unwrap();
    assert_eq!(undo, Undo::Entries(Vec::new()));
    copy().apply(&machine.context(), &undo).unwrap();
    copy().undo(&machine.context(), &undo).unwrap();
    assert_eq!(machine.state(), before);
    assert!(machine.services.calls().is_empty());
}

#[test]
fn a_database_of_the_same_form_stays() {
    let site = Site::new();
    let living = site.dying(usize::MAX);
    let context = site.context(&living);
    let before = site.files();
    let undo = copy().prepare(&site.host).unwrap();
    assert_eq!(site.files(), before, "preparing changed something");
    assert_eq!(undo, Undo::Entries(vec!["10".to_owned()]));
    copy().undo(&context, &undo).unwrap();
    assert_eq!(site.files(), before, "undoing nothing changed something");
    for _ in 0..2 {
        copy().apply(&context, &undo).unwrap();
        let names = copies::all(&site.host.fs).unwrap();
        assert_eq!(names.len(), 2, "{names:?}");
    }
    // What was registered since then is worth more than going back.
    site.machine.add(&site.machine.nix(), PATHS..PATHS + LATER);
    let before = site.files();
    assert_eq!(copy().undo(&context, &undo).unwrap(), Undone::Clean);
    assert_eq!(site.files(), before);
    assert!(site.services.calls().is_empty());
}

#[test]
fn a_database_of_another_form_gives_way_to_the_copy() {
    let site = Site::new();
    let living = site.dying(usize::MAX);
    let context = site.context(&living);
    let undo = copy().prepare(&site.host).unwrap();
    copy().apply(&context, &undo).unwrap();
    site.is_taken_over();
    assert_eq!(site.known(), (PATHS + LATER, false));
    assert_eq!(copy().undo(&context, &undo).unwrap(), Undone::Clean);
    assert_eq!(site.schema(), "10");
    assert_eq!(site.known(), (PATHS + LATER, true), "with what came since");
    let notes = site.notes.0.lock().unwrap().join("\n");
    let newest = format!("{} store paths again, {LATER} of them", PATHS + LATER);
    assert!(notes.contains(&newest), "not from the newest copy: {notes}");
    assert!(site.host.fs.meta(&copy().mark()).unwrap().is_none());
    // Nobody is served before all of it is undone.
    let calls = ["stop nix-daemon.socket", "stop nix-daemon.service"];
    assert_eq!(site.services.calls(), calls);
    let after = site.files();
    assert_eq!(copy().undo(&context, &undo).unwrap(), Undone::Clean);
    assert_eq!(site.files(), after);
}

#[test]
fn going_back_that_is_cut_off_anywhere_is_finished_by_the_next() {
    for cut in 0..4 {
        let site = Site::new();
        let living = site.dying(usize::MAX);
        let undo = copy().prepare(&site.host).unwrap();
        copy().apply(&site.context(&living), &undo).unwrap();
        site.is_taken_over();
        let dying = site.dying(cut);
        let cut_off = copy().undo(&site.context(&dying), &undo);
        assert!(cut_off.is_err(), "{cut}");
        assert!(site.host.fs.meta(&copy().mark()).unwrap().is_some());
        // The number alone says that all is as before.
        assert_eq!(site.schema(), "10", "{cut}");
        for _ in 0..2 {
            copy().undo(&site.context(&living), &undo).unwrap();
            assert_eq!(site.known(), (PATHS + LATER, true), "{cut}");
        }
        assert!(site.host.fs.meta(&copy().mark()).unwrap().is_none());
    }
}

/// All of it was done, but for taking the mark away.
#[test]
fn a_mark_that_was_left_is_taken_away() {
    let site = Site::new();
    let living = site.dying(usize::MAX);
    let context = site.context(&living);
    let undo = copy().prepare(&site.host).unwrap();
    copy().apply(&context, &undo).unwrap();
    site.is_taken_over();
    copy().undo(&context, &undo).unwrap();
    let after = site.files();
    site.host
        .fs
        .write(&copy().mark(), b"", 0o600, None)
        .unwrap();
    copy().undo(&context, &undo).unwrap();
    assert_eq!(site.files(), after);
}

use std::sync::Mutex;

use super::*;
use crate::host::Cancel;
use crate::host::cancel::Stop;
use crate::host::fake::Answer;
use crate::payload::worker::{InProcess, Worker};
use crate::resource::Progress;
use crate::resource::nix_testing as release;
use crate::resource::testing::Machine;

const SERVER: &str = "http://localhost/nix-2.26.3-x86_64-linux.tar.xz";
const FILE: &str = "/srv/nix.tar.xz";
const OTHER_NIX: &str = "/nix/store/2123456789abcdfghijklmnpqrsvwxyz-nix-2.20.1";

type Outcome = std::result::Result<(), PayloadError>;

/// Notes what it is asked, and does what is said of each.
struct Scripted<F> {
    asked: Mutex<Vec<Task>>,
    answer: F,
}

impl<F: Fn(&Task, &Cancel) -> Outcome + Send + Sync> Scripted<F> {
    fn new(answer: F) -> Self {
        let asked = Mutex::default();
        Scripted { asked, answer }
    }

    fn tasks(&self) -> Vec<Task> {
        self.asked.lock().unwrap().clone()
    }
}

impl<F: Fn(&Task, &Cancel) -> Outcome + Send + Sync> Worker for Scripted<F> {
    fn run(&self, task: &Task, _progress: &dyn Progress, cancel: &Cancel) -> Outcome {
        self.asked.lock().unwrap().push(task.clone());
        (self.answer)(task, cancel)
    }
}

fn file() -> Source {
    Source::Path(FILE.into())
}

fn server() -> Source {
    Source::Url(SERVER.to_owned())
}

fn mend() -> Refetch {
    Refetch {
        sources: vec![file(), server()],
        nix: vec![release::NIX.to_owned(), OTHER_NIX.to_owned()],
        sha256: release::SHA256.to_owned(),
        version: "2.26.3".to_owned(),
        system: "x86_64-linux".to_owned(),
        store_gid: 30_000,
        proxy: String::new(),
        ssl_cert_file: String::new(),
    }
}

fn is_from(task: &Task, source: &Source) -> bool {
    matches!(task, Task::Fetch(fetch) if fetch.release.source == *source)
}

fn absent() -> PayloadError {
    PayloadError::new(Code::Network, "nobody answers")
}

fn apply(machine: &Machine, mend: &Refetch, worker: &dyn Worker) -> Result<()> {
    let context = Context {
        worker,
        ..machine.context()
    };
    mend.apply(&context, &Undo::Nothing)
}

/// A machine on which CERTS is gone, and on which only these Nixes run.
fn broken(running: &[&str]) -> Machine {
    let machine = Machine::new();
    release::unpacked(&machine);
    std::fs::remove_dir_all(machine.path(release::CERTS)).unwrap();
    let dead = Answer::code(127, "libsqlite3.so.0: file too short");
    machine.exec.answer("chroot", &[], dead);
    let root = machine.dir.path().display().to_string();
    for nix in running {
        let program = format!("{nix}/bin/nix-store");
        let args = [root.as_str(), program.as_str()];
        machine.exec.answer("chroot", &args, Answer::text(""));
    }
    machine
}

/// Has that Nix fetch the path when it is asked to.
fn can_fetch(machine: &Machine, nix: &str) {
    let root = machine.dir.path().display().to_string();
    let program = format!("{nix}/bin/nix-store");
    let args = [&root, &program, "--repair-path", release::CERTS];
    let path = machine.path(release::CERTS);
    let fetch = move |_: &crate::host::Command| {
        std::fs::create_dir_all(&path).unwrap();
        crate::host::Output::default()
    };
    machine.exec.answer("chroot", &args, Answer::effect(fetch));
}

#[test]
fn the_pinned_archive_is_fetched_unpacked_and_removed() {
    let machine = Machine::new();
    release::unpacked(&machine);
    let worker = Scripted::new(|task: &Task, _: &Cancel| {
        if let Task::Fetch(_) = task {
            machine.put(mend().archive().path().to_str().unwrap(), "x");
        }
        Ok(())
    });
    apply(&machine, &mend(), &worker).unwrap();
    let expected = [
        Task::Fetch(mend().fetch(&file())),
        Task::Unpack(mend().archive()),
    ];
    assert_eq!(worker.tasks(), expected);
    let archive = mend().archive().path();
    assert_eq!(machine.text(archive.to_str().unwrap()), None);
}

#[test]
fn what_one_source_has_not_another_may_have() {
    let machine = broken(&[]);
    let worker = Scripted::new(|task: &Task, _: &Cancel| match is_from(task, &file()) {
        true => Err(absent()),
        false => Ok(()),
    });
    apply(&machine, &mend(), &worker).unwrap();
    let expected = [
        Task::Fetch(mend().fetch(&file())),
        Task::Fetch(mend().fetch(&server())),
        Task::Unpack(mend().archive()),
    ];
    assert_eq!(worker.tasks(), expected);
    let note = "Nix 2.26.3 was not to be had from /srv/nix.tar.xz: nobody answers";
    assert_eq!(*machine.notes.0.lock().unwrap(), [note]);
}

#[test]
fn a_nix_that_runs_fetches_what_no_source_has() {
    let machine = broken(&[OTHER_NIX]);
    can_fetch(&machine, OTHER_NIX);
    let worker = Scripted::new(|_: &Task, _: &Cancel| Err(absent()));
    apply(&machine, &mend(), &worker).unwrap();
    mend().verify(&machine.host).unwrap();
    let repaired = |line: &&String| line.contains("--repair-path");
    let lines = machine.exec.lines();
    let lines: Vec<&String> = lines.iter().filter(repaired).collect();
    assert_eq!(lines.len(), 1, "{lines:?}");
    assert!(lines[0].contains(OTHER_NIX) && lines[0].ends_with(release::CERTS));
    assert_eq!(machine.notes.0.lock().unwrap().len(), 3);
}

#[test]
fn every_way_that_was_tried_is_named() {
    let machine = broken(&[OTHER_NIX]);
    let root = machine.dir.path().display().to_string();
    let program = format!("{OTHER_NIX}/bin/nix-store");
    let args = [&root, &program, "--repair-path"];
    let answer = Answer::code(1, "no substituter has it");
    machine.exec.answer("chroot", &args, answer);
    let worker = Scripted::new(|task: &Task, _: &Cancel| match is_from(task, &file()) {
        true => Err(absent()),
        false => Err(PayloadError::new(Code::BadSource, "no such file")),
    });
    let error = apply(&machine, &mend(), &worker).unwrap_err();
    assert_eq!(error.failure().code, Code::Network);
    let words = error.to_string();
    let parts = [
        "cannot fetch Nix 2.26.3 again: from /srv/nix.tar.xz: nobody answers; from http://localhost/",
        ".tar.xz: no such file; with /nix/store/0123456789abcdfghijklmnpqrsvwxyz-nix-2.26.3: ",
        "file too short",
        "; with /nix/store/2123456789abcdfghijklmnpqrsvwxyz-nix-2.20.1: cannot repair /nix/store/",
        "no substituter has it",
    ];
    let mut rest = words.as_str();
    for part in parts {
        let at = rest.find(part);
        rest = &rest[at.unwrap_or_else(|| panic!("{part} in {words}")) + part.len()..];
    }
    let nobody = Refetch {
        sources: Vec::new(),
        nix: Vec::new(),
        ..mend()
    };
    let error = apply(&machine, &nobody, &worker).unwrap_err();
    assert!(error.to_string().ends_with("nobody is known who has it"));
}

#[test]
fn a_source_that_takes_too_long_is_left_for_the_next() {
    let machine = broken(&[]);
    let worker = Scripted::new(|task: &Task, cancel: &Cancel| {
        if is_from(task, &file()) {
            assert_eq!(cancel.requested(), Some(Stop::Cancelled));
            return Err(PayloadError::Stopped);
        }
        Ok(())
    });
    let context = Context {
        worker: &worker,
        ..machine.context()
    };
    mend().apply_within(&context, Duration::ZERO).unwrap();
    assert_eq!(worker.tasks().len(), 3);
    let notes = machine.notes.0.lock().unwrap();
    assert!(notes[0].ends_with("it took longer than 0 s"), "{notes:?}");
}

#[test]
fn who_asks_it_to_stop_stops_all_of_it() {
    let machine = broken(&[OTHER_NIX]);
    let worker = Scripted::new(|_: &Task, _: &Cancel| {
        machine.cancel.request(Stop::Cancelled);
        Err(PayloadError::Stopped)
    });
    let error = apply(&machine, &mend(), &worker).unwrap_err();
    assert!(error.is_stopped());
    assert_eq!(worker.tasks().len(), 1);
    assert!(machine.exec.calls().is_empty());
}

#[test]
fn other_bytes_than_the_pinned_ones_replace_nothing() {
    let machine = broken(&[]);
    let elsewhere = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(elsewhere.path(), "an archive with other bytes").unwrap();
    let source = Source::Path(elsewhere.path().to_owned());
    let mend = Refetch {
        sources: vec![source],
        nix: Vec::new(),
        sha256: "ab".repeat(32),
        ..mend()
    };
    let state = || {
        let (mut tree, _) = machine.state();
        tree.retain(|path, _| path.display().to_string().contains("nix/store"));
        tree
    };
    let before = state();
    let real = InProcess::new(machine.host.fs.clone());
    let worker = Scripted::new(|task: &Task, cancel: &Cancel| {
        real.run(task, &crate::resource::Silent, cancel)
    });
    let error = apply(&machine, &mend, &worker).unwrap_err();
    assert_eq!(error.failure().code, Code::ChecksumMismatch);
    assert_eq!(worker.tasks().len(), 1, "it was unpacked");
    assert_eq!(state(), before);
    assert!(!before.is_empty());
}

#[test]
fn undoing_takes_away_what_was_downloaded() {
    let machine = Machine::new();
    let archive = mend().archive().path();
    machine.put(archive.to_str().unwrap(), "half");
    for _ in 0..2 {
        let undone = mend().undo(&machine.context(), &Undo::Nothing).unwrap();
        assert_eq!(undone, Undone::Clean);
        assert_eq!(machine.text(archive.to_str().unwrap()), None);
    }
}

#[test]
fn a_path_that_is_still_missing_or_cut_off_is_an_error() {
    let machine = Machine::new();
    let mut manifest = release::unpacked(&machine);
    mend().verify(&machine.host).unwrap();
    manifest.reginfo = format!("{}\nhash\n7\n\n0\n", release::CERTS);
    let bytes = serde_json::to_vec(&manifest).unwrap();
    let path = crate::payload::manifest_path(release::SHA256);
    machine.put(path.to_str().unwrap(), bytes);
    let error = mend().verify(&machine.host).unwrap_err().to_string();
    assert!(error.contains("-nss-cacert-3.1 is still"), "{error}");
    std::fs::remove_dir_all(machine.path(release::NIX)).unwrap();
    let error = mend().verify(&machine.host).unwrap_err().to_string();
    assert!(error.contains("-nix-2.26.3 is still"), "{error}");
}

#[test]
fn a_password_of_a_source_is_not_shown() {
    let mend = Refetch {
        sources: vec![Source::Url("https://me:secret@localhost/x".to_owned())],
        ..mend()
    };
    let details = mend.describe().details;
    assert_eq!(details[0], "from https://***@localhost/x");
    assert!(details[1].starts_with("else path by path with /nix/store/"));
}

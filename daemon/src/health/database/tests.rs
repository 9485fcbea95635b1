use std::time::Duration;

use rusqlite::Connection;

use super::testing::Machine;
use super::*;
use crate::host::cancel::Stop;
use crate::payload::worker::InProcess;
use crate::resource::Silent;

pub(super) fn examined(machine: &Machine) -> State {
    match machine.work(&Work::Examine).unwrap() {
        Report::Examined(state) => state,
        other => panic!("{other:?}"),
    }
}

pub(super) fn count(path: &Path) -> i64 {
    let database = Connection::open(path).unwrap();
    let sql = "SELECT count(*) FROM ValidPaths";
    database.query_row(sql, [], |row| row.get(0)).unwrap()
}

#[test]
fn a_sound_database_is_left_as_it_is() {
    let machine = Machine::new(500);
    let before = machine.files();
    assert_eq!(before.len(), 1, "Nix has closed it");
    assert_eq!(examined(&machine), State::Sound);
    assert_eq!(machine.files(), before);
}

#[test]
fn a_database_in_use_is_looked_at_all_the_same() {
    let machine = Machine::new(10);
    let nix = machine.nix();
    nix.execute_batch("BEGIN IMMEDIATE; DELETE FROM Refs")
        .unwrap();
    assert_eq!(examined(&machine), State::Sound);
    nix.execute_batch("ROLLBACK").unwrap();
}

#[test]
fn what_is_wrong_is_said() {
    let machine = Machine::bare();
    assert_eq!(examined(&machine), State::Missing);
    let path = machine.path(DATABASE);
    for (content, state) in [
        (&b""[..], State::Empty),
        (b"x", State::Strange),
        (&[0; 5000], State::Strange),
        (b"SQLite format 3\0", State::Strange),
    ] {
        std::fs::write(&path, content).unwrap();
        assert_eq!(examined(&machine), state);
    }
    std::fs::remove_file(&path).unwrap();
    let other = Connection::open(&path).unwrap();
    other.execute_batch("CREATE TABLE x (y)").unwrap();
    drop(other);
    let why = examined(&machine).complaint().unwrap();
    assert!(why.contains("no table ValidPaths"), "{why}");

    let machine = Machine::new(3000);
    machine.damage(20..30);
    let before = machine.files();
    match examined(&machine) {
        State::Damaged(complaints) => assert!(!complaints.is_empty()),
        other => panic!("{other:?}"),
    }
    assert_eq!(machine.files(), before);
    let file = std::fs::OpenOptions::new()
        .write(true)
        .open(machine.path(DATABASE))
        .unwrap();
    file.set_len(40_000).unwrap();
    assert!(matches!(examined(&machine), State::Damaged(_)), "cut short");
}

#[test]
fn a_database_without_a_log_is_copied_too() {
    let machine = Machine::new(100);
    let path = machine.path(DATABASE);
    let nix = machine.nix();
    nix.pragma_update(None, "journal_mode", "truncate").unwrap();
    drop(nix);
    let nix = Connection::open_with_flags_and_vfs(
        &path,
        rusqlite::OpenFlags::SQLITE_OPEN_READ_WRITE,
        "unix-dotfile",
    )
    .unwrap();
    nix.execute_batch("BEGIN; SELECT count(*) FROM Refs")
        .unwrap();
    // A lock of its own kind.
    assert!(machine.path(&format!("{DATABASE}.lock")).exists());
    nix.execute_batch("COMMIT").unwrap();
    drop(nix);
    let before = machine.files();
    assert_eq!(examined(&machine), State::Sound);
    let copy = machine.copied();
    assert_eq!(count(&machine.path(COPIES_DIR).join(copy)), 100);
    assert_eq!(machine.files(), before);
    assert!(!machine.path(&format!("{DATABASE}.lock")).exists());
}

/// As after a power cut: the database with its log, and nobody who has it open.
pub(super) fn with_log_left_behind() -> Machine {
    let machine = Machine::new(100);
    let nix = machine.nix();
    machine.add(&nix, 100..150);
    let after = Machine::bare();
    for suffix in ["", "-wal"] {
        let name = format!("{DATABASE}{suffix}");
        std::fs::copy(machine.path(&name), after.path(&name)).unwrap();
    }
    after
}

#[test]
fn a_log_that_was_left_behind_counts_and_stays() {
    let machine = with_log_left_behind();
    let before = machine.files();
    assert!(before[1].0.ends_with("-wal") && before[1].1.len() > 1000);
    assert_eq!(examined(&machine), State::Sound);
    let of_nix = |files: Vec<(String, Vec<u8>)>| -> Vec<(String, Vec<u8>)> {
        let is_nix = |name: &str| !name.ends_with("-shm");
        files.into_iter().filter(|it| is_nix(&it.0)).collect()
    };
    assert_eq!(of_nix(machine.files()), of_nix(before.clone()));
    let copy = machine.copied();
    assert_eq!(count(&Path::new(&machine.path(COPIES_DIR)).join(copy)), 150);
    assert_eq!(of_nix(machine.files()), of_nix(before));
}

#[test]
fn a_log_cut_short_ends_at_the_last_whole_change() {
    let machine = with_log_left_behind();
    let wal = machine.path(&format!("{DATABASE}-wal"));
    let file = std::fs::OpenOptions::new().write(true).open(&wal).unwrap();
    file.set_len(file.metadata().unwrap().len() - 100).unwrap();
    assert_eq!(examined(&machine), State::Sound);
    let copy = machine.copied();
    assert_eq!(count(&machine.path(COPIES_DIR).join(copy)), 100);
}

#[test]
fn copies_are_made_while_nix_goes_on_and_each_is_one_state() {
    let machine = Machine::new(2000);
    std::thread::scope(|scope| {
        let (over, waiting) = std::sync::mpsc::channel::<()>();
        let machine = &machine;
        let writer = scope.spawn(move || {
            let nix = machine.nix();
            nix.busy_timeout(Duration::from_secs(20)).unwrap();
            let mut next = 2000;
            while waiting.try_recv() != Err(std::sync::mpsc::TryRecvError::Disconnected) {
                // Always ten at a time.
                machine.add(&nix, next..next + 10);
                next += 10;
            }
        });
        let mut made = 0;
        for at in 1..=5000 {
            if made == 5 {
                break;
            }
            match machine.copy(2, at).unwrap() {
                Report::Copied { copy, bytes, .. } => {
                    assert!(bytes > 100_000);
                    let path = Path::new(COPIES_DIR).join(&copy);
                    assert_eq!(machine.examine(&path), State::Sound);
                    assert_eq!(count(&machine.path(COPIES_DIR).join(&copy)) % 10, 0);
                    made += 1;
                }
                // The writer waits for the disk.
                Report::Unchanged { .. } => std::thread::sleep(Duration::from_millis(5)),
                other => panic!("{other:?}"),
            }
        }
        drop(over);
        writer.join().unwrap();
    });
    let copies = copies::all(&machine.fs).unwrap();
    assert_eq!(copies.len(), 2, "no more than were asked for");
    let names = machine.fs.list(Path::new(COPIES_DIR)).unwrap();
    assert_eq!(names.len(), 3, "two copies and the report: {names:?}");
}

#[test]
fn nothing_is_copied_when_nothing_was_changed() {
    let machine = Machine::new(10);
    let first = machine.copied();
    for at in 0..50 {
        let copy = first.clone();
        assert_eq!(machine.copy(3, at).unwrap(), Report::Unchanged { copy });
    }
    std::thread::sleep(Duration::from_millis(20));
    let nix = machine.nix();
    machine.add(&nix, 10..11);
    assert!(matches!(machine.copy(3, 7).unwrap(), Report::Copied { .. }));
}

#[test]
fn a_damaged_database_takes_no_good_copy_away() {
    let machine = Machine::new(3000);
    let good = machine.copied();
    machine.damage(20..30);
    let error = machine.copy(1, 2).unwrap_err();
    assert!(error.to_string().contains("damaged"), "{error}");
    std::fs::write(machine.path(DATABASE), "").unwrap();
    let error = machine.copy(1, 3).unwrap_err();
    assert!(error.to_string().contains("it is empty"), "{error}");
    let copies = copies::all(&machine.fs).unwrap();
    assert_eq!(copies.len(), 1);
    assert_eq!(machine.examine(&copies[0].path()), State::Sound);
    assert_eq!(copies[0].name(), good);
    let names = machine.fs.list(Path::new(COPIES_DIR)).unwrap();
    assert!(
        names.iter().all(|name| name != ".incoming.sqlite"),
        "{names:?}"
    );
}

#[test]
fn without_room_nothing_is_copied_and_one_copy_stays() {
    let machine = Machine::new(10);
    machine.copied();
    std::thread::sleep(Duration::from_millis(20));
    machine.add(&machine.nix(), 10..11);
    let (keep, reserve, at) = (3, u64::MAX / 2, 2);
    let error = machine.work(&Work::Copy { keep, reserve, at }).unwrap_err();
    assert!(matches!(error, DatabaseError::NoSpace { .. }), "{error}");
    assert_eq!(copies::all(&machine.fs).unwrap().len(), 1);
}

#[test]
fn work_ends_when_it_is_asked_to() {
    let machine = Machine::new(10);
    let cancel = Cancel::default();
    cancel.request(Stop::Cancelled);
    let (keep, reserve, at) = (3, 0, 2);
    let copy = Work::Copy { keep, reserve, at };
    let error = work(&machine.fs, &copy, &Silent, &cancel).unwrap_err();
    assert!(matches!(error, DatabaseError::Stopped), "{error}");
    assert!(copies::all(&machine.fs).unwrap().is_empty());
}

#[test]
fn the_daemon_hears_from_its_child_how_it_ended() {
    let machine = Machine::new(10);
    let worker = InProcess::new(machine.fs.clone());
    let cancel = Cancel::default();
    let carry_out = |work| carry_out(&worker, &machine.fs, work, &Silent, &cancel);
    let report = carry_out(Work::Examine).unwrap();
    assert_eq!(report, Report::Examined(State::Sound));
    let copy = "none".to_owned();
    let error = carry_out(Work::Compare { copy: Some(copy) }).unwrap_err();
    assert_eq!(error.code(), nixctl_proto::Code::NotFound);
    assert!(
        !machine.path(REPORT).exists(),
        "no report of the work before"
    );
}

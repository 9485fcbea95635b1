//! Databases as Nix makes them, and ways to damage them.

use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};

use rusqlite::Connection;

use super::{Job, Report, Work};
use crate::host::{Cancel, Fs};
use crate::resource::Silent;

/// The tables of Nix 2.3x.
const SCHEMA: &str = "
    create table if not exists ValidPaths (
        id integer primary key autoincrement not null, path text unique not null,
        hash text not null, registrationTime integer not null, deriver text, narSize integer,
        ultimate integer, sigs text, ca text);
    create table if not exists Refs (
        referrer integer not null, reference integer not null,
        primary key (referrer, reference),
        foreign key (referrer) references ValidPaths(id) on delete cascade,
        foreign key (reference) references ValidPaths(id) on delete restrict);
    create index if not exists IndexReferrer on Refs(referrer);
    create index if not exists IndexReference on Refs(reference);
    create table if not exists DerivationOutputs (
        drv integer not null, id text not null, path text not null, primary key (drv, id),
        foreign key (drv) references ValidPaths(id) on delete cascade);";

/// A machine with a store and its database.
pub(crate) struct Machine {
    pub dir: tempfile::TempDir,
    pub fs: Fs,
}

impl Machine {
    /// With a folder for the database, and none in it.
    pub fn bare() -> Machine {
        let dir = tempfile::tempdir().unwrap();
        for folder in ["nix/store", "nix/var/nix/db", "var/lib"] {
            std::fs::create_dir_all(dir.path().join(folder)).unwrap();
        }
        let fs = Fs::at(dir.path());
        Machine { dir, fs }
    }

    /// With paths 0 to `paths`, each in the store, registered, and referring to itself and to the
    /// one before.
    pub fn new(paths: u32) -> Machine {
        let machine = Machine::bare();
        let nix = machine.nix();
        machine.add(&nix, 0..paths);
        machine
    }

    /// A database as Nix opens it: with a log.
    pub fn nix(&self) -> Connection {
        nix_at(&self.path(super::DATABASE))
    }

    /// Registers paths as one Nix operation, and puts them into the store.
    pub fn add(&self, nix: &Connection, paths: std::ops::Range<u32>) {
        nix.execute_batch("BEGIN IMMEDIATE").unwrap();
        for number in paths {
            let path = store_path(number);
            std::fs::write(self.path(&path), "x").unwrap();
            let hash = format!("sha256:{number:064x}");
            nix.execute(
                "insert into ValidPaths (path, hash, registrationTime, narSize) values (?1, ?2, 1, 7)",
                (&path, &hash),
            )
            .unwrap();
            let id = nix.last_insert_rowid();
            for reference in [id, id - 1] {
                if reference > 0 {
                    let row = [id, reference];
                    nix.execute("insert into Refs values (?1, ?2)", row)
                        .unwrap();
                }
            }
        }
        nix.execute_batch("COMMIT").unwrap();
    }

    pub fn path(&self, path: &str) -> PathBuf {
        self.dir.path().join(path.trim_start_matches('/'))
    }

    /// Does work as the child does it, and reads the report.
    pub fn work(&self, work: &Work) -> Result<Report, super::DatabaseError> {
        super::work(&self.fs, work, &Silent, &Cancel::default())?;
        super::report(&self.fs)
    }

    /// Copies with room for so many.
    pub fn copy(&self, keep: u32, at: u64) -> Result<Report, super::DatabaseError> {
        let reserve = 0;
        self.work(&Work::Copy { keep, reserve, at })
    }

    /// Copies, and gives the name of the copy.
    pub fn copied(&self) -> String {
        match self.copy(9, 1).unwrap() {
            Report::Copied { copy, .. } => copy,
            other => panic!("{other:?}"),
        }
    }

    /// Restores, compares and salvages: how many paths were found, are whole and are lost, and the
    /// names of some of the last.
    pub fn salvaged(&self, copy: Option<String>, aside: &str) -> (u64, u64, u64, Vec<String>) {
        let aside = aside.to_owned();
        let restore = Work::Restore {
            copy: copy.clone(),
            aside: aside.clone(),
        };
        self.work(&restore).unwrap();
        self.work(&Work::Compare { copy }).unwrap();
        match self.work(&Work::Salvage { aside }).unwrap() {
            Report::Salvaged {
                found,
                whole,
                lost,
                some_lost,
            } => (found, whole, lost, some_lost),
            other => panic!("{other:?}"),
        }
    }

    /// Looks at one file.
    pub fn examine(&self, path: &Path) -> super::State {
        let (fs, progress, cancel) = (&self.fs, &Silent, &Cancel::default());
        let job = Job {
            fs,
            progress,
            cancel,
        };
        job.examine(path).unwrap()
    }

    /// All files of the database with their content.
    pub fn files(&self) -> Vec<(String, Vec<u8>)> {
        let folder = self.path("nix/var/nix/db");
        let mut files: Vec<(String, Vec<u8>)> = std::fs::read_dir(folder)
            .unwrap()
            .flatten()
            .filter(|entry| entry.path().is_file())
            .map(|entry| {
                let name = entry.file_name().into_string().unwrap();
                (name, std::fs::read(entry.path()).unwrap())
            })
            .collect();
        files.sort();
        files
    }

    /// Overwrites a part of the database, in pages of 4 KiB.
    pub fn damage(&self, pages: std::ops::Range<u64>) {
        let path = self.path(super::DATABASE);
        let file = std::fs::OpenOptions::new().write(true).open(path).unwrap();
        for page in pages {
            file.write_all_at(&[0xa5; 4096], page * 4096).unwrap();
        }
    }
}

/// A database as Nix opens it: with a log.
pub(crate) fn nix_at(path: &Path) -> Connection {
    let connection = Connection::open(path).unwrap();
    connection
        .pragma_update(None, "journal_mode", "wal")
        .unwrap();
    connection.execute_batch(SCHEMA).unwrap();
    connection
}

/// What `nix-store --load-db` does with a registration.
pub(crate) fn load(path: &Path, registration: &str) {
    let nix = nix_at(path);
    let mut lines = registration.lines().map(str::to_owned);
    let mut references = Vec::new();
    nix.execute_batch("BEGIN IMMEDIATE").unwrap();
    while let Some(path) = lines.next() {
        let (hash, size) = (lines.next().unwrap(), lines.next().unwrap());
        let deriver = lines.next().unwrap();
        let count: usize = lines.next().unwrap().parse().unwrap();
        let sql =
            "insert or replace into ValidPaths (path, hash, registrationTime, deriver, narSize)
                   values (?1, 'sha256:' || ?2, 2, ?3, ?4)";
        nix.execute(sql, (&path, hash, deriver, size.parse::<i64>().unwrap()))
            .unwrap();
        for _ in 0..count {
            references.push((path.clone(), lines.next().unwrap()));
        }
    }
    for (from, to) in references {
        let sql = "insert or ignore into Refs values (
            (select id from ValidPaths where path = ?1), (select id from ValidPaths where path = ?2))";
        assert_eq!(nix.execute(sql, (&from, &to)).unwrap(), 1, "{from} {to}");
    }
    nix.execute_batch("COMMIT").unwrap();
}

/// A store path.
pub(crate) fn store_path(number: u32) -> String {
    format!("/nix/store/{number:032}-path-{number}")
}

//! Makes a copy while Nix goes on.

use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use rusqlite::backup::{Backup, StepResult};
use rusqlite::{Connection, OpenFlags};

use super::copies::{self, Copy};
use super::open::{BUSY_DEADLINE, DEADLINE, Header, failing};
use super::{COPIES_DIR, DATABASE, DatabaseError, Job, Report, beside};
use crate::host::FsError;

/// Name of a copy that is not complete.
const INCOMING: &str = ".incoming.sqlite";
/// What SQLite may have left beside it.
const BESIDE: [&str; 4] = ["", "-wal", "-shm", "-journal"];
/// Pages that are copied before it is looked whether to go on: 4 MiB.
const PAGES: i32 = 1024;
/// How long somebody else is waited for.
const PAUSE: Duration = Duration::from_millis(50);

impl Job<'_> {
    /// Makes a copy, unless nothing was changed since the last one, and deletes the oldest ones that
    /// are too many.
    pub(super) fn copy(&self, keep: u32, reserve: u64, at: u64) -> Result<Report, DatabaseError> {
        self.remove_incoming()?;
        let database = Path::new(DATABASE);
        let changed = copies::changed(self.fs)?;
        let mut copies = copies::all(self.fs)?;
        if let Some(last) = copies.last().filter(|last| last.changed == changed) {
            let copy = last.name();
            return Ok(Report::Unchanged { copy });
        }
        let mut dropped = self.make_room(&mut copies, reserve)?;
        let new = Copy {
            number: copies::next_number(&copies),
            at,
            changed,
            bytes: 0,
        };
        let incoming = Path::new(COPIES_DIR).join(INCOMING);
        let made = self.fill(database, &incoming).and_then(|bytes| {
            self.fs.rename(&incoming, &new.path())?;
            Ok(bytes)
        });
        let bytes = made.inspect_err(|_| drop(self.remove_incoming()))?;
        let most = usize::try_from(keep.max(1)).unwrap_or(usize::MAX);
        copies.push(new.clone());
        while copies.len() > most {
            dropped.push(self.drop_oldest(&mut copies)?);
        }
        let copy = new.name();
        Ok(Report::Copied {
            copy,
            bytes,
            dropped,
        })
    }

    /// Copies all pages, and proves what came of it. Returns its size.
    fn fill(&self, from: &Path, to: &Path) -> Result<u64, DatabaseError> {
        match self.header(from)? {
            Header::Database { .. } => {}
            _ => self.must_be_sound(from)?,
        }
        let source = self.open(from)?;
        // One state of the database for the whole copy; with a log that hinders nobody.
        if self.header(from)? == (Header::Database { by_log: true }) {
            let begin = "BEGIN; SELECT count(*) FROM sqlite_schema";
            source.execute_batch(begin).map_err(failing("read", from))?;
        }
        let fail = failing("write", to);
        let flags = OpenFlags::SQLITE_OPEN_READ_WRITE
            | OpenFlags::SQLITE_OPEN_CREATE
            | OpenFlags::SQLITE_OPEN_NO_MUTEX
            | OpenFlags::SQLITE_OPEN_NOFOLLOW;
        let mut target = Connection::open_with_flags(self.real(to)?, flags).map_err(&fail)?;
        self.copy_pages(&source, &mut target, from)?;
        // A copy is one file.
        target
            .pragma_update(None, "journal_mode", "DELETE")
            .map_err(&fail)?;
        target.close().map_err(|(_, error)| fail(error))?;
        drop(source);
        self.must_be_sound(to)?;
        self.sync(to)
    }

    fn copy_pages(
        &self,
        source: &Connection,
        target: &mut Connection,
        from: &Path,
    ) -> Result<(), DatabaseError> {
        let fail = failing("copy", from);
        let backup = Backup::new(source, target).map_err(&fail)?;
        let (begin, mut moved) = (Instant::now(), Instant::now());
        loop {
            self.go_on()?;
            let step = backup.step(PAGES).map_err(&fail)?;
            let (left, all) = (backup.progress().remaining, backup.progress().pagecount);
            let done = u64::try_from(all.saturating_sub(left)).unwrap_or(0);
            self.progress.bytes(done, u64::try_from(all).unwrap_or(0));
            match step {
                StepResult::Done => return Ok(()),
                StepResult::Busy | StepResult::Locked if moved.elapsed() < BUSY_DEADLINE => {
                    std::thread::sleep(PAUSE);
                }
                StepResult::More if begin.elapsed() < DEADLINE => moved = Instant::now(),
                _ => {
                    let (action, path) = ("copy", from.to_owned());
                    return Err(DatabaseError::Deadline { action, path });
                }
            }
        }
    }

    fn sync(&self, path: &Path) -> Result<u64, DatabaseError> {
        let fail = |source| FsError {
            action: "sync",
            path: path.to_owned(),
            source,
        };
        let file = self.fs.open(path)?;
        let file = file.ok_or_else(|| fail(std::io::ErrorKind::NotFound.into()))?;
        file.sync_all().map_err(fail)?;
        Ok(file.metadata().map_err(fail)?.len())
    }

    fn make_room(
        &self,
        copies: &mut Vec<Copy>,
        reserve: u64,
    ) -> Result<Vec<String>, DatabaseError> {
        let mut needed = reserve;
        for path in [PathBuf::from(DATABASE), beside(Path::new(DATABASE), "-wal")] {
            let size = self.fs.meta(&path)?.map_or(0, |meta| meta.size);
            needed = needed.saturating_add(size);
        }
        let free = self.fs.space(Path::new(COPIES_DIR))?.free_bytes;
        let number = copies::to_make_room(copies, free, needed);
        let number = number.ok_or(DatabaseError::NoSpace { needed, free })?;
        // No good copy goes for one of a database that is damaged.
        if number > 0 {
            self.must_be_sound(Path::new(DATABASE))?;
        }
        (0..number).map(|_| self.drop_oldest(copies)).collect()
    }

    fn drop_oldest(&self, copies: &mut Vec<Copy>) -> Result<String, DatabaseError> {
        let oldest = copies.remove(0);
        self.fs.remove_file(&oldest.path())?;
        Ok(oldest.name())
    }

    fn remove_incoming(&self) -> Result<(), DatabaseError> {
        let incoming = Path::new(COPIES_DIR).join(INCOMING);
        for suffix in BESIDE {
            self.fs.remove_file(&beside(&incoming, suffix))?;
        }
        Ok(())
    }
}

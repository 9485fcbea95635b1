//! Opening databases so that nothing is changed by it, and not waiting for ever.
//!
//! A database with a log that was left behind is opened for reading only, because SQLite would write
//! the log into it when it is closed; one without is opened for writing, because SQLite takes the
//! files away that it makes beside it only then. Nix without `use-sqlite-wal` keeps others away with
//! a lock of another kind, which is used here, too.

use std::path::{Path, PathBuf};
use std::sync::mpsc::{RecvTimeoutError, channel};
use std::time::{Duration, Instant};

use rusqlite::{Connection, ErrorCode, OpenFlags};

use super::{DatabaseError, Job, beside};

/// Longest time for one work.
pub(super) const DEADLINE: Duration = Duration::from_secs(600);
/// Longest time for a lock that somebody else holds.
pub(super) const BUSY_DEADLINE: Duration = Duration::from_secs(20);
/// How often it is looked whether work is to end.
const LOOK: Duration = Duration::from_millis(500);
/// Bytes of the header that say what it is: 16 of name, and at 18 and 19 how it is written to.
const HEADER_BYTES: usize = 100;
const NAME: &[u8] = b"SQLite format 3\0";
const WRITTEN_BY_LOG: u8 = 2;
/// Lock of a database without a log.
const DOTFILE: &str = "unix-dotfile";

/// Beginning of a database.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Header {
    /// There is no file.
    Missing,
    /// It has no bytes.
    Empty,
    /// It is something else, or cut short.
    Strange,
    /// A database, and whether it is written to by a log.
    Database {
        /// Whether it is (`journal_mode=wal`).
        by_log: bool,
    },
}

impl Job<'_> {
    /// What the file begins with.
    pub(super) fn header(&self, path: &Path) -> Result<Header, DatabaseError> {
        use std::io::Read;
        let Some(file) = self.fs.open(path)? else {
            return Ok(Header::Missing);
        };
        let mut bytes = Vec::new();
        let limit = HEADER_BYTES as u64;
        let read = file.take(limit).read_to_end(&mut bytes);
        read.map_err(|source| crate::host::FsError {
            action: "read",
            path: path.to_owned(),
            source,
        })?;
        Ok(match bytes.get(18) {
            _ if bytes.is_empty() => Header::Empty,
            Some(version) if bytes.starts_with(NAME) && bytes.len() == HEADER_BYTES => {
                let by_log = *version == WRITTEN_BY_LOG;
                Header::Database { by_log }
            }
            _ => Header::Strange,
        })
    }

    /// Opens a database to read it.
    pub(super) fn open(&self, path: &Path) -> Result<Connection, DatabaseError> {
        let log = self.fs.meta(&beside(path, "-wal"))?;
        let has_log = log.is_some_and(|meta| meta.size > 0);
        let by_log = self.header(path)? == Header::Database { by_log: true };
        let access = if by_log && !has_log {
            OpenFlags::SQLITE_OPEN_READ_WRITE
        } else {
            OpenFlags::SQLITE_OPEN_READ_ONLY
        };
        let flags = access | OpenFlags::SQLITE_OPEN_NO_MUTEX | OpenFlags::SQLITE_OPEN_NOFOLLOW;
        let real = self.real(path)?;
        let is_nix = path == Path::new(super::DATABASE);
        let opened = if is_nix && !by_log {
            Connection::open_with_flags_and_vfs(real, flags, DOTFILE)
        } else {
            Connection::open_with_flags(real, flags)
        };
        let fail = failing("open", path);
        let connection = opened.map_err(&fail)?;
        connection.busy_timeout(BUSY_DEADLINE).map_err(&fail)?;
        connection
            .execute_batch(
                "PRAGMA trusted_schema=OFF; PRAGMA cell_size_check=ON; PRAGMA query_only=ON",
            )
            .map_err(&fail)?;
        Ok(connection)
    }

    /// Where a path of the machine really is. SQLite follows no link on the way to a database.
    pub(super) fn real(&self, path: &Path) -> Result<PathBuf, DatabaseError> {
        let root = self.fs.root();
        let root = std::fs::canonicalize(root).map_err(|source| crate::host::FsError {
            action: "look at",
            path: root.to_owned(),
            source,
        })?;
        Ok(root.join(path.strip_prefix("/").unwrap_or(path)))
    }

    /// Carries out something that SQLite may take long for; it is interrupted at the deadline or when
    /// the work is to stop.
    pub(super) fn watched<T>(
        &self,
        connection: &Connection,
        action: &'static str,
        path: &Path,
        work: impl FnOnce() -> Result<T, DatabaseError>,
    ) -> Result<T, DatabaseError> {
        let handle = connection.get_interrupt_handle();
        let begin = Instant::now();
        let result = std::thread::scope(|scope| {
            let (over, waiting) = channel::<()>();
            scope.spawn(move || {
                while waiting.recv_timeout(LOOK) == Err(RecvTimeoutError::Timeout) {
                    // A sign of life for the daemon.
                    self.progress.bytes(0, 0);
                    if self.cancel.requested().is_some() || begin.elapsed() > DEADLINE {
                        handle.interrupt();
                    }
                }
            });
            let result = work();
            drop(over);
            result
        });
        match result {
            Err(DatabaseError::Sqlite { source, .. })
                if source.sqlite_error_code() == Some(ErrorCode::OperationInterrupted) =>
            {
                self.go_on()?;
                let path = path.to_owned();
                Err(DatabaseError::Deadline { action, path })
            }
            result => result,
        }
    }

    /// Whether the work may go on.
    pub(super) fn go_on(&self) -> Result<(), DatabaseError> {
        match self.cancel.requested() {
            Some(_) => Err(DatabaseError::Stopped),
            None => Ok(()),
        }
    }
}

/// Turns SQLite's reason into an error about `path`.
pub(super) fn failing<'a>(
    action: &'static str,
    path: &'a Path,
) -> impl Fn(rusqlite::Error) -> DatabaseError + 'a {
    move |source| DatabaseError::Sqlite {
        action,
        path: path.to_owned(),
        source,
    }
}

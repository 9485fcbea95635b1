//! Puts a copy into the place of the database, and what was there aside.
//!
//! The order makes every moment one that can be repeated from the top: the copy is complete beside
//! the database, then the logs go aside (a log of another database would destroy the copy), then
//! copy and database change places in one step, then the damaged one goes aside. Nix's own lock is
//! held all the time, so that no Nix opens anything in between.

use std::fs::{File, TryLockError};
use std::path::{Path, PathBuf};

use super::copies;
use super::{DATABASE, DatabaseError, Job, Report, beside};
use crate::host::FsError;
use crate::host::fs::Kind;

/// Folder of the database.
pub(super) const FOLDER: &str = "/nix/var/nix/db";
/// The lock that every Nix holds that has the store open.
const LOCK: &str = "/nix/var/nix/db/big-lock";
/// The file with its version, which Nix makes with a new database.
pub(super) const SCHEMA: &str = "/nix/var/nix/db/schema";
/// The copy before it is in the place.
pub(super) const NEW: &str = "/nix/var/nix/db/.nixctl-restored.sqlite";
/// Says in the folder that there was no database to be set aside.
pub(super) const NOTHING: &str = "there-was-none";
/// What lies beside a database, and goes aside before it.
pub(super) const LOGS: [&str; 3] = ["-wal", "-shm", "-journal"];

impl Job<'_> {
    /// Puts a copy into the place, or nothing. May be repeated after it was cut off.
    pub(super) fn restore(&self, copy: Option<&str>, aside: &str) -> Result<Report, DatabaseError> {
        let aside = aside_folder(aside)?;
        let Some(copy) = copy else {
            return self.clear(aside);
        };
        let copy = copies::named(self.fs, copy)?;
        let (database, new) = (Path::new(DATABASE), Path::new(NEW));
        self.must_be_sound(&copy.path())?;
        let _lock = self.lock()?;
        self.go_on()?;
        self.make_folder(&aside)?;
        let (old, none) = (aside.join("db.sqlite"), aside.join(NOTHING));
        let is_kept = self.fs.meta(&old)?.is_some() || self.fs.meta(&none)?.is_some();
        let is_new = self.fs.meta(new)?.is_some();
        // An earlier attempt may have come as far as the exchange.
        if !is_kept || is_new {
            if !is_kept {
                self.lay_beside(&copy.path(), new)?;
            }
            for suffix in LOGS {
                self.move_aside(suffix, &aside)?;
            }
            if !is_kept && self.fs.meta(database)?.is_some() {
                // A second name, so that there is a database at every moment.
                self.fs.link(database, &old)?;
            } else if !is_kept {
                self.fs.write(&none, b"", 0o600, None)?;
            }
            self.fs.rename(new, database)?;
        }
        self.must_be_sound(database)?;
        Ok(Report::Restored { aside })
    }

    /// Sets the database aside, so that Nix makes a new one. The database itself goes last.
    fn clear(&self, aside: PathBuf) -> Result<Report, DatabaseError> {
        let (database, schema) = (Path::new(DATABASE), Path::new(SCHEMA));
        let _lock = self.lock()?;
        self.go_on()?;
        self.make_folder(&aside)?;
        let (old, none) = (aside.join("db.sqlite"), aside.join(NOTHING));
        if self.fs.meta(&old)?.is_some() || self.fs.meta(&none)?.is_some() {
            return Ok(Report::Restored { aside });
        }
        self.fs.remove_file(Path::new(NEW))?;
        for suffix in LOGS {
            self.move_aside(suffix, &aside)?;
        }
        if self.fs.meta(schema)?.is_some() {
            self.fs.rename(schema, &aside.join("schema"))?;
        }
        if self.fs.meta(database)?.is_some() {
            self.fs.rename(database, &old)?;
        } else {
            self.fs.write(&none, b"", 0o600, None)?;
        }
        Ok(Report::Restored { aside })
    }

    /// Keeps every Nix away until it is dropped.
    pub(super) fn lock(&self) -> Result<File, DatabaseError> {
        let path = Path::new(LOCK);
        let fail = |source| FsError {
            action: "lock",
            path: path.to_owned(),
            source,
        };
        if self.fs.meta(path)?.is_none() {
            self.fs.write(path, b"", 0o600, None)?;
        }
        let file = self.fs.open(path)?;
        let file = file.ok_or_else(|| fail(std::io::ErrorKind::NotFound.into()))?;
        match file.try_lock() {
            Ok(()) => Ok(file),
            Err(TryLockError::WouldBlock) => Err(DatabaseError::InUse {
                path: DATABASE.into(),
            }),
            Err(TryLockError::Error(error)) => Err(fail(error).into()),
        }
    }

    fn make_folder(&self, aside: &Path) -> Result<(), DatabaseError> {
        match self.fs.meta(aside)? {
            Some(meta) if meta.kind == Kind::Directory => Ok(()),
            _ => Ok(self.fs.create_dir(aside, 0o700)?),
        }
    }

    /// The copy as the database that it will be.
    fn lay_beside(&self, copy: &Path, new: &Path) -> Result<(), DatabaseError> {
        let folder = self.fs.meta(Path::new(FOLDER))?;
        let owner = self.fs.meta(Path::new(DATABASE))?.or(folder);
        self.fs.copy_file(copy, new, 0o644)?;
        if let Some(owner) = owner {
            self.fs.set_owner(new, owner.uid, owner.gid)?;
        }
        Ok(())
    }

    /// Moves a log away. There may be one from an earlier attempt, which is kept, too.
    fn move_aside(&self, suffix: &str, aside: &Path) -> Result<(), DatabaseError> {
        let log = beside(Path::new(DATABASE), suffix);
        if self.fs.meta(&log)?.is_none() {
            return Ok(());
        }
        let mut target = aside.join(format!("db.sqlite{suffix}"));
        let mut number = 1;
        while self.fs.meta(&target)?.is_some() {
            target = aside.join(format!("db.sqlite{suffix}.{number}"));
            number += 1;
        }
        Ok(self.fs.rename(&log, &target)?)
    }
}

/// The folder of that name beside the database.
pub(super) fn aside_folder(name: &str) -> Result<PathBuf, DatabaseError> {
    let is_plain = |c: char| c.is_ascii_alphanumeric() || c == '-';
    if name.is_empty() || name.len() > 64 || !name.chars().all(is_plain) {
        let name = name.to_owned();
        return Err(DatabaseError::BadName { name });
    }
    Ok(Path::new(FOLDER).join(name))
}

//! Copies of Nix's database, and what they are good for when it is damaged.
//!
//! SQLite itself makes the copies while Nix goes on (its online backup), each is proven before it
//! gets its name, and a good one is never given up for a new one that is not. Restoring puts a copy
//! into the place and sets what was there aside; nothing of it is deleted. What the copy does not
//! know yet is found by comparing it with the store folder, and what the damaged database still
//! says of it is written down in the form that Nix loads, so that no store path is lost.
//!
//! All of it is work for the daemon's child: SQLite's memory comes back, and a database that makes
//! SQLite fail ends the child and not the daemon. How it ended is written to [`REPORT`].

mod compare;
pub mod copies;
mod copy;
mod error;
mod examine;
pub mod keep;
mod open;
mod put_back;
mod restore;
mod salvage;
#[cfg(test)]
pub(crate) mod testing;
mod whole;

use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

pub use compare::Comparison;
pub use error::DatabaseError;
use examine::Kind;
pub use examine::State;

use crate::host::{Cancel, Fs};
use crate::payload::PayloadError;
use crate::payload::files::private_dir;
use crate::payload::worker::{Task, Worker};
use crate::resource::{Progress, Silent};

/// Nix's database.
pub const DATABASE: &str = "/nix/var/nix/db/db.sqlite";
/// Where the copies lie.
pub const COPIES_DIR: &str = "/var/lib/nixctl/database";
/// How the last work ended.
pub const REPORT: &str = "/var/lib/nixctl/database/report.json";
/// Store paths that are in the store and not in the copy, one a line.
pub const UNREGISTERED: &str = "/var/lib/nixctl/database/unregistered";
/// What the damaged database says of those, as `nix-store --load-db` reads it.
pub const REGISTRATION: &str = "/var/lib/nixctl/database/registration";
/// Store paths that cannot be registered again, one a line.
pub const LOST: &str = "/var/lib/nixctl/database/lost";
/// Largest report.
const MAX_REPORT_BYTES: u64 = 1 << 20;

/// Something to be done with the database.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum Work {
    /// Look whether it is sound.
    Examine,
    /// Copy it, unless nothing was changed since the last copy.
    Copy {
        /// How many copies are kept.
        keep: u32,
        /// Bytes that must stay free.
        reserve: u64,
        /// Milliseconds since 1970.
        at: u64,
    },
    /// Put a copy into its place. Nix must not be running.
    Restore {
        /// Name of the copy; nothing: what is there is set aside, and Nix makes a new database.
        copy: Option<String>,
        /// Name of the folder beside the database where what was there is set aside; the same when
        /// the work is repeated after it was cut off.
        aside: String,
    },
    /// Compare a copy with the store folder.
    Compare {
        /// Name of the copy; nothing: the database that is in the place, if there is one.
        copy: Option<String>,
    },
    /// Write down what a database that was set aside says of what is not registered, and what store
    /// paths that it does not know say of themselves.
    Salvage {
        /// Name of the folder where it was set aside.
        aside: String,
    },
    /// Put back what was set aside, and take what took its place away. Nix must not be running.
    PutBack {
        /// Name of the folder where it was set aside.
        aside: String,
    },
}

/// How work ended.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum Report {
    /// How the database is.
    Examined(State),
    /// There is a new copy.
    Copied {
        /// Its name.
        copy: String,
        /// Its size.
        bytes: u64,
        /// Older copies that were deleted.
        dropped: Vec<String>,
    },
    /// Nothing was changed since this copy was made.
    Unchanged {
        /// Its name.
        copy: String,
    },
    /// The copy is in the place.
    Restored {
        /// Where what was there lies now.
        aside: PathBuf,
    },
    /// What differs between copy and store.
    Compared(Comparison),
    /// How many of the unregistered paths were found, and how many not.
    Salvaged {
        /// In [`REGISTRATION`] now, as the damaged database said.
        found: u64,
        /// There as well, as their files say: whole, with a hash and references made from them.
        whole: u64,
        /// Nothing, or not all, is known of them, and their files are not whole; in [`LOST`].
        lost: u64,
        /// The first of them.
        some_lost: Vec<String>,
    },
    /// What was set aside is in the place again.
    PutBack,
}

/// Does the work and writes the report: in the child.
///
/// # Errors
/// What went wrong. The database is as before, or as asked for.
pub fn work(
    fs: &Fs,
    work: &Work,
    progress: &dyn Progress,
    cancel: &Cancel,
) -> Result<(), DatabaseError> {
    private_dir(fs, Path::new(COPIES_DIR))?;
    fs.remove_file(Path::new(REPORT))?;
    let job = Job {
        fs,
        progress,
        cancel,
    };
    let report = match work {
        Work::Examine => Report::Examined(job.examine(Path::new(DATABASE))?),
        Work::Copy { keep, reserve, at } => job.copy(*keep, *reserve, *at)?,
        Work::Restore { copy, aside } => job.restore(copy.as_deref(), aside)?,
        Work::Compare { copy } => Report::Compared(job.compare(copy.as_deref())?),
        Work::Salvage { aside } => job.salvage(aside)?,
        Work::PutBack { aside } => job.put_back(aside)?,
    };
    let text = serde_json::to_vec(&report).map_err(|error| DatabaseError::Report {
        why: error.to_string(),
    })?;
    fs.write(Path::new(REPORT), &text, 0o600, None)?;
    Ok(())
}

/// Has the work done by a child, and says how it ended.
///
/// # Errors
/// What went wrong there, or that the child was lost.
pub fn carry_out(
    worker: &dyn Worker,
    fs: &Fs,
    work: Work,
    progress: &dyn Progress,
    cancel: &Cancel,
) -> Result<Report, PayloadError> {
    worker.run(&Task::Database(work), progress, cancel)?;
    Ok(report(fs)?)
}

fn report(fs: &Fs) -> Result<Report, DatabaseError> {
    let wrong = |why: String| DatabaseError::Report { why };
    let bytes = fs.read(Path::new(REPORT), MAX_REPORT_BYTES)?;
    let bytes = bytes.ok_or_else(|| wrong("it is not there".to_owned()))?;
    serde_json::from_slice(&bytes).map_err(|error| wrong(error.to_string()))
}

/// Exit codes of [`examine`].
pub const SOUND: u8 = 0;
/// It is damaged; the first line of the output says how.
pub const DAMAGED: u8 = 3;

/// Looks at the database at this path, Nix's own or another, and prints what is wrong with it: for a
/// child of the daemon.
pub fn examine(path: &Path, is_nix: bool) -> std::process::ExitCode {
    let (fs, progress, cancel) = (&Fs::at("/"), &Silent, &Cancel::default());
    let job = Job {
        fs,
        progress,
        cancel,
    };
    let kind = if is_nix { Kind::Nix } else { Kind::Any };
    match job.looked(path, kind).map(|state| state.complaint()) {
        Ok(None) => SOUND.into(),
        Ok(Some(complaint)) => {
            println!("{complaint}");
            DAMAGED.into()
        }
        Err(error) => {
            eprintln!("{error}");
            std::process::ExitCode::FAILURE
        }
    }
}

/// What work is done with.
#[derive(Clone, Copy)]
struct Job<'a> {
    fs: &'a Fs,
    progress: &'a dyn Progress,
    cancel: &'a Cancel,
}

/// The path of a file that SQLite keeps beside a database.
fn beside(database: &Path, suffix: &str) -> PathBuf {
    let mut name = database.as_os_str().to_owned();
    name.push(suffix);
    name.into()
}

#[cfg(test)]
mod restore_tests;
#[cfg(test)]
mod tests;

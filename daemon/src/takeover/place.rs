//! Programs and state come into a place and leave it: each of these can be done again from the top.

use std::path::{Path, PathBuf};

use super::note::Note;
use super::{PROGRAMS, keeper_path};
use crate::host::{Fs, FsError};
use crate::payload::STATE_DIR;

/// Mode of a program.
const MODE: u32 = 0o755;

/// The database.
const DATABASE: &str = "db";
/// Its copy from before the other version.
const BEFORE: &str = "db.before";
/// That copy, not whole yet.
const COPYING: &str = "db.before.part";
/// What the other version made of it, once that is taken back.
const AFTER: &str = "db.after";

/// Puts both programs of a folder in the place of those in use: a second name where the file system
/// allows that, else a copy.
pub fn put_programs(fs: &Fs, note: &Note, folder: &Path) -> Result<(), FsError> {
    for name in PROGRAMS {
        put(fs, &folder.join(name), &note.programs.join(name))?;
    }
    Ok(())
}

/// Puts the program that runs now where systemd finds it as the keeper.
pub fn put_keeper(fs: &Fs, note: &Note) -> Result<(), FsError> {
    match keeper_path(&note.programs) {
        Some(keeper) => put(fs, &note.from.folder.join(PROGRAMS[1]), &keeper),
        None => Ok(()),
    }
}

fn put(fs: &Fs, from: &Path, to: &Path) -> Result<(), FsError> {
    let mut name = std::ffi::OsString::from(".nixctl-next-");
    name.push(to.file_name().unwrap_or_default());
    let beside = to.with_file_name(name);
    fs.remove_file(&beside)?;
    match fs.link(from, &beside) {
        Ok(()) => {
            fs.rename(&beside, to)?;
            // Two names of one file: then renaming does nothing.
            fs.remove_file(&beside)
        }
        Err(_) => fs.copy_file(from, to, MODE),
    }
}

/// Copies the database, unless there is a whole copy already.
pub fn copy_state(fs: &Fs) -> Result<(), FsError> {
    let (before, copying) = (in_state(BEFORE), in_state(COPYING));
    if fs.meta(&before)?.is_some() {
        return Ok(());
    }
    fs.remove_tree(&copying)?;
    copy_folder(fs, &in_state(DATABASE), &copying)?;
    fs.rename(&copying, &before)
}

/// Puts the copy of the database in its place; what is there is put beside it.
pub fn put_state_back(fs: &Fs) -> Result<(), FsError> {
    let (database, before, after) = (in_state(DATABASE), in_state(BEFORE), in_state(AFTER));
    if fs.meta(&before)?.is_none() {
        return Ok(());
    }
    if fs.meta(&database)?.is_some() {
        fs.remove_tree(&after)?;
        fs.rename(&database, &after)?;
    }
    fs.rename(&before, &database)
}

/// Removes all copies of the database.
pub fn forget_state(fs: &Fs) -> Result<(), FsError> {
    for name in [BEFORE, COPYING, AFTER] {
        fs.remove_tree(&in_state(name))?;
    }
    Ok(())
}

fn copy_folder(fs: &Fs, from: &Path, to: &Path) -> Result<(), FsError> {
    fs.create_dir(to, 0o700)?;
    for name in fs.list(from)? {
        let (from, to) = (from.join(&name), to.join(&name));
        if fs.is_dir(&from) {
            copy_folder(fs, &from, &to)?;
        } else {
            fs.copy_file(&from, &to, 0o600)?;
        }
    }
    Ok(())
}

fn in_state(name: &str) -> PathBuf {
    Path::new(STATE_DIR).join(name)
}

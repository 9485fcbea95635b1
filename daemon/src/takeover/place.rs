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
/// A copy that is not whole yet.
const COPYING: &str = "db.part";

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

/// Puts the copy of the database in its place. The copy stays until all is over, so that this can be
/// begun again; and it is copied rather than renamed, because a folder of an image's lower layer cannot
/// be renamed.
pub fn put_state_back(fs: &Fs) -> Result<(), FsError> {
    let (database, before, copying) = (in_state(DATABASE), in_state(BEFORE), in_state(COPYING));
    if fs.meta(&before)?.is_none() {
        return Ok(());
    }
    fs.remove_tree(&copying)?;
    copy_folder(fs, &before, &copying)?;
    fs.remove_tree(&database)?;
    fs.rename(&copying, &database)
}

/// Removes all copies of the database.
pub fn forget_state(fs: &Fs) -> Result<(), FsError> {
    for name in [BEFORE, COPYING] {
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

#[cfg(test)]
mod tests {
    use super::*;

    fn state(fs: &Fs) -> Vec<(String, String)> {
        let folder = fs.real(&in_state(DATABASE));
        let mut all = Vec::new();
        for name in ["db", "conf", "blobs/1", "blobs/2"] {
            if let Ok(text) = std::fs::read_to_string(folder.join(name)) {
                all.push((name.to_owned(), text));
            }
        }
        all
    }

    #[test]
    fn a_state_comes_back_wherever_that_was_cut_off() {
        let root = tempfile::tempdir().unwrap();
        let fs = Fs::at(root.path().canonicalize().unwrap());
        let folder = fs.real(&in_state(DATABASE));
        std::fs::create_dir_all(folder.join("blobs")).unwrap();
        std::fs::write(folder.join("db"), "log").unwrap();
        std::fs::write(folder.join("blobs/1"), "large").unwrap();
        let before = state(&fs);
        // Cut off in the middle of the copy.
        std::fs::create_dir_all(fs.real(&in_state(COPYING))).unwrap();
        copy_state(&fs).unwrap();
        let change = || {
            std::fs::create_dir_all(folder.join("blobs")).unwrap();
            std::fs::write(folder.join("db"), "another log").unwrap();
            std::fs::write(folder.join("blobs/2"), "new").unwrap();
        };
        change();
        // What there is of before is not copied over.
        copy_state(&fs).unwrap();
        put_state_back(&fs).unwrap();
        assert_eq!(state(&fs), before);
        for cut in 0..3 {
            change();
            if cut > 0 {
                copy_folder(&fs, &in_state(BEFORE), &in_state(COPYING)).unwrap();
            }
            if cut > 1 {
                fs.remove_tree(&in_state(DATABASE)).unwrap();
            }
            put_state_back(&fs).unwrap();
            assert_eq!(state(&fs), before, "{cut}");
        }
        forget_state(&fs).unwrap();
        assert_eq!(fs.list(Path::new(STATE_DIR)).unwrap(), ["db"]);
    }

    #[test]
    fn a_program_takes_the_place_of_another_and_of_itself() {
        let root = tempfile::tempdir().unwrap();
        let fs = Fs::at(root.path().canonicalize().unwrap());
        for (name, text) in [("old", "old"), ("new", "new")] {
            std::fs::write(root.path().join(name), text).unwrap();
        }
        let (from, to) = (Path::new("/new"), Path::new("/old"));
        for _ in 0..2 {
            put(&fs, from, to).unwrap();
            assert_eq!(fs.read(to, 9).unwrap().unwrap(), b"new");
            assert_eq!(fs.list(Path::new("/")).unwrap(), ["new", "old"]);
        }
    }
}

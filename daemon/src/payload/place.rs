//! Moves unpacked store paths into the store.
//!
//! A path that is there already and equal stays as it is, so that a store that was kept, or an
//! attempt that was cut off, costs nothing; one that differs is exchanged atomically.

use std::fs;
use std::io::{self, Read};
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};

use rustix::fs::{CWD, RenameFlags, renameat_with};

use super::files::{open_regular, store_time};
use super::{PayloadError, UNPACK_DIR};
use crate::host::fs::Kind;
use crate::host::mounts::is_mount_point;
use crate::host::{Fs, FsError};

/// The store, as the machine sees it.
pub const STORE: &str = "/nix/store";
/// Where a release is unpacked when the store is a mount of its own: renames stay within it.
const UNPACK_DIR_IN_STORE: &str = "/nix/store/.nixctl-unpack";
/// Both places.
pub const UNPACK_DIRS: [&str; 2] = [UNPACK_DIR, UNPACK_DIR_IN_STORE];
/// Mode of everything in the store that is a folder or can be run.
pub const FOLDER_MODE: u32 = 0o555;

/// The folder to unpack into, on the same mount as the store.
pub fn unpack_dir(fs: &Fs) -> PathBuf {
    let dir = if is_mount_point(fs, STORE.as_ref()) {
        UNPACK_DIR_IN_STORE
    } else {
        UNPACK_DIR
    };
    PathBuf::from(dir)
}

/// Removes what unpacking may have left, in both places.
///
/// # Errors
/// When it cannot be removed.
pub fn clear(fs: &Fs) -> Result<(), FsError> {
    for dir in UNPACK_DIRS {
        if fs.meta(dir.as_ref())?.is_some() {
            fs.remove_tree(dir.as_ref())?;
        }
    }
    Ok(())
}

/// Whether unpacking left something.
///
/// # Errors
/// When it cannot be looked at.
pub fn has_leftovers(fs: &Fs) -> Result<bool, FsError> {
    Ok(fs.meta(UNPACK_DIR.as_ref())?.is_some() || fs.meta(UNPACK_DIR_IN_STORE.as_ref())?.is_some())
}

/// Moves `name` from the unpacking folder into the store. What it replaces is left in the
/// unpacking folder, to be removed with it.
///
/// # Errors
/// When it cannot be moved.
pub fn move_in(fs: &Fs, from_dir: &Path, name: &str) -> Result<(), PayloadError> {
    let to = Path::new(STORE).join(name);
    let (real_from, real_to) = (fs.real(&from_dir.join(name)), fs.real(&to));
    let fail = |source| FsError {
        action: "move into the store",
        path: to.clone(),
        source,
    };
    match fs.meta(&to)? {
        None => fs::rename(&real_from, &real_to).map_err(fail)?,
        Some(_) if same(&real_from, &real_to, true).map_err(fail)? => return Ok(()),
        Some(_) => exchange(fs, &real_from, &real_to, &to)?,
    }
    if fs
        .meta(&to)?
        .is_some_and(|meta| meta.kind == Kind::Directory)
    {
        seal(&real_to).map_err(fail)?;
    }
    Ok(())
}

/// Gives a folder the mode and time of a store path.
pub fn seal(path: &Path) -> io::Result<()> {
    let folder = fs::File::open(path)?;
    folder.set_permissions(fs::Permissions::from_mode(FOLDER_MODE))?;
    folder.set_modified(store_time())
}

fn exchange(fs: &Fs, from: &Path, to: &Path, shown: &Path) -> Result<(), FsError> {
    match renameat_with(CWD, from, CWD, to, RenameFlags::EXCHANGE) {
        Ok(()) => Ok(()),
        Err(_) => replace(fs, from, to, shown),
    }
}

/// Where the file system cannot exchange (an overlay's lower layer, for one).
fn replace(fs: &Fs, from: &Path, to: &Path, shown: &Path) -> Result<(), FsError> {
    fs.remove_tree(shown)?;
    fs.remove_file(shown)?;
    fs::rename(from, to).map_err(|source| FsError {
        action: "move into the store",
        path: shown.to_owned(),
        source,
    })
}

/// Whether two trees are equal in types, modes, owners and contents. The mode of the first one's
/// top folder does not count: it is set after the move.
fn same(new: &Path, old: &Path, top: bool) -> io::Result<bool> {
    let (a, b) = (fs::symlink_metadata(new)?, fs::symlink_metadata(old)?);
    if a.file_type() != b.file_type() || (a.uid(), a.gid()) != (b.uid(), b.gid()) {
        return Ok(false);
    }
    if a.is_symlink() {
        return Ok(fs::read_link(new)? == fs::read_link(old)?);
    }
    let expected = if top && a.is_dir() {
        FOLDER_MODE
    } else {
        a.mode() & 0o7777
    };
    if b.mode() & 0o7777 != expected {
        return Ok(false);
    }
    if a.is_dir() {
        same_folder(new, old)
    } else {
        same_file(new, old, a.len() == b.len())
    }
}

fn same_folder(new: &Path, old: &Path) -> io::Result<bool> {
    let names = |path: &Path| -> io::Result<Vec<_>> {
        let mut names = fs::read_dir(path)?
            .map(|e| Ok(e?.file_name()))
            .collect::<io::Result<Vec<_>>>()?;
        names.sort();
        Ok(names)
    };
    let entries = names(new)?;
    if entries != names(old)? {
        return Ok(false);
    }
    for name in entries {
        if !same(&new.join(&name), &old.join(&name), false)? {
            return Ok(false);
        }
    }
    Ok(true)
}

fn same_file(new: &Path, old: &Path, same_size: bool) -> io::Result<bool> {
    if !same_size {
        return Ok(false);
    }
    let open = |path: &Path| open_regular(path).map_err(|error| error.source);
    let (mut a, mut b) = (open(new)?, open(old)?);
    let (mut left, mut right) = (vec![0; 1 << 16], vec![0; 1 << 16]);
    loop {
        let count = a.read(&mut left)?;
        if count == 0 {
            return Ok(true);
        }
        b.read_exact(&mut right[..count])?;
        if left[..count] != right[..count] {
            return Ok(false);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tree(at: &Path, content: &str) {
        fs::create_dir_all(at.join("bin")).unwrap();
        fs::write(at.join("bin/a"), content).unwrap();
        std::os::unix::fs::symlink("bin/a", at.join("link")).unwrap();
    }

    #[test]
    fn an_equal_path_stays_and_another_is_exchanged() {
        let root = tempfile::tempdir().unwrap();
        let fs_ = Fs::at(root.path());
        let (new, store) = (root.path().join("nix/new"), root.path().join("nix/store"));
        fs::create_dir_all(&store).unwrap();
        fs::create_dir_all(&new).unwrap();
        for (name, content) in [("absent", None), ("equal", Some("x")), ("other", Some("y"))] {
            tree(&new.join(name), "x");
            if let Some(content) = content {
                tree(&store.join(name), content);
                seal(&store.join(name)).unwrap();
            }
        }
        let before = fs::metadata(store.join("equal")).unwrap().ino();
        for name in ["absent", "equal", "other"] {
            move_in(&fs_, Path::new("/nix/new"), name).unwrap();
            let meta = fs::metadata(store.join(name)).unwrap();
            assert_eq!(meta.mode() & 0o7777, FOLDER_MODE);
            assert_eq!(meta.modified().unwrap(), store_time());
            assert_eq!(
                fs::read_to_string(store.join(name).join("bin/a")).unwrap(),
                "x"
            );
        }
        assert_eq!(fs::metadata(store.join("equal")).unwrap().ino(), before);
        assert!(new.join("equal").exists());
        // Others than root may have to replace it: they cannot move a folder without write access.
        assert!(new.join("other").exists() || !nix::unistd::geteuid().is_root());
        assert!(!new.join("absent").exists());
    }

    /// Needs root, who may change what is sealed; says nothing for others.
    #[test]
    fn every_difference_counts() {
        if !nix::unistd::geteuid().is_root() {
            return;
        }
        let dir = tempfile::tempdir().unwrap();
        let (a, b) = (dir.path().join("a"), dir.path().join("b"));
        let changes: [fn(&Path); 5] = [
            |at| fs::write(at.join("bin/a"), "xyz").unwrap(),
            |at| fs::write(at.join("bin/more"), "").unwrap(),
            |at| fs::remove_file(at.join("link")).unwrap(),
            |at| fs::set_permissions(at.join("bin/a"), PermissionsExt::from_mode(0o600)).unwrap(),
            |at| fs::set_permissions(at, PermissionsExt::from_mode(0o700)).unwrap(),
        ];
        for change in changes {
            for at in [&a, &b] {
                let _ = fs::remove_dir_all(at);
                tree(at, "abc");
                seal(at).unwrap();
            }
            assert!(same(&a, &b, true).unwrap());
            change(&b);
            assert!(!same(&a, &b, true).unwrap());
        }
    }
}

//! Writing: a file gets its name when it is complete and on the disk, or not at all.
//!
//! The content goes into a temporary file in the same folder, `.nixctl-TARGET-ATTEMPT.tmp`, where
//! TARGET is a checksum of the name it will get and ATTEMPT begins with a number of this process.
//! So what a killed attempt left behind is known by its name, and is removed by the next write or
//! removal of the same file, while a write that another thread is at is left alone.

use std::ffi::{OsStr, OsString};
use std::fs::File;
use std::hash::{BuildHasher, Hasher};
use std::io::{self, Write};
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::path::Path;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicU32, Ordering};

use nix::errno::Errno;
use nix::fcntl::{OFlag, openat, renameat};
use nix::sys::stat::{Mode, fchmod};
use nix::unistd::{Gid, Uid, UnlinkatFlags, fchown, symlinkat, unlinkat};

use super::open::{Place, sync_dir};
use super::{Fs, FsError, Kind, entries, failing, look, open};

const PREFIX: &str = ".nixctl-";
const SUFFIX: &str = ".tmp";

impl Fs {
    /// Replaces a file: temporary file beside it, mode and owner set, fsync, rename, fsync of the
    /// folder. `owner` of `None` keeps the daemon's own ids.
    ///
    /// # Errors
    /// When any of that fails; up to the rename the old file is untouched, and the temporary one
    /// is gone.
    pub fn write(
        &self,
        path: &Path,
        content: &[u8],
        mode: u32,
        owner: Option<(u32, u32)>,
    ) -> Result<(), FsError> {
        self.write_with(path, mode, owner, &mut |file| file.write_all(content))
    }

    /// As [`Fs::write`], with content that `fill` produces; an error of `fill` leaves everything
    /// as it was.
    ///
    /// # Errors
    /// As [`Fs::write`].
    pub fn write_with(
        &self,
        path: &Path,
        mode: u32,
        owner: Option<(u32, u32)>,
        fill: &mut dyn FnMut(&mut File) -> io::Result<()>,
    ) -> Result<(), FsError> {
        let place = self.place_to_change(path).map_err(failing("write", path))?;
        replace(&place, mode, owner, fill).map_err(failing("write", path))
    }

    /// Copies a regular file, with the daemon's own ids, replacing what is at `to`.
    ///
    /// # Errors
    /// When there is nothing to copy, and as [`Fs::write`].
    pub fn copy_file(&self, from: &Path, to: &Path, mode: u32) -> Result<(), FsError> {
        let mut source = self.open(from)?.ok_or_else(|| FsError {
            action: "read",
            path: from.to_owned(),
            source: io::ErrorKind::NotFound.into(),
        })?;
        self.write_with(to, mode, None, &mut |file| {
            io::copy(&mut source, file).map(drop)
        })
    }

    /// Makes a symbolic link, replacing a link that is there atomically.
    ///
    /// # Errors
    /// When it cannot be made, or something other than a link is there.
    pub fn symlink(&self, target: &Path, path: &Path) -> Result<(), FsError> {
        let place = self.place_to_change(path).map_err(failing("link", path))?;
        replace_link(&place, target).map_err(failing("link", path))
    }

    /// Removes what killed attempts to write into this folder left behind; says how many there
    /// were. Nothing happens when the folder is not there.
    ///
    /// # Errors
    /// When the folder cannot be read or a file not removed.
    pub fn sweep_temporaries(&self, dir: &Path) -> Result<usize, FsError> {
        let fail = failing("remove the temporary files in", dir);
        let Some(place) = self.find_to_remove(dir).map_err(&fail)? else {
            return Ok(0);
        };
        match open::listable(&place.dir, &place.name) {
            Ok(dir) => sweep(&dir, "").map_err(fail),
            Err(Errno::ENOENT) => Ok(0),
            Err(errno) => Err(fail(errno.into())),
        }
    }
}

fn replace(
    place: &Place,
    mode: u32,
    owner: Option<(u32, u32)>,
    fill: &mut dyn FnMut(&mut File) -> io::Result<()>,
) -> io::Result<()> {
    sweep_for(place);
    let temporary = Temporary::new(place);
    let flags = OFlag::O_WRONLY | OFlag::O_CREAT | OFlag::O_EXCL | OFlag::O_CLOEXEC;
    let private = Mode::S_IRUSR | Mode::S_IWUSR;
    let mut file = File::from(openat(
        &place.dir,
        temporary.name.as_os_str(),
        flags,
        private,
    )?);
    fill(&mut file)?;
    if let Some((uid, gid)) = owner {
        fchown(&file, Some(Uid::from_raw(uid)), Some(Gid::from_raw(gid)))?;
    }
    // After the owner: changing that one takes the set-id bits away.
    fchmod(&file, super::change::mode_bits(mode))?;
    file.sync_all()?;
    temporary.give_name(place)
}

fn replace_link(place: &Place, target: &Path) -> io::Result<()> {
    if look(place)?.is_some_and(|meta| meta.kind != Kind::Link) {
        return Err(io::Error::new(
            io::ErrorKind::AlreadyExists,
            "something else is there",
        ));
    }
    sweep_for(place);
    let temporary = Temporary::new(place);
    symlinkat(target, &place.dir, temporary.name.as_os_str())?;
    temporary.give_name(place)
}

/// A name that is removed unless it became the real one.
struct Temporary<'a> {
    dir: &'a OwnedFd,
    name: OsString,
    named: bool,
}

impl<'a> Temporary<'a> {
    fn new(place: &'a Place) -> Self {
        static ATTEMPT: AtomicU32 = AtomicU32::new(0);
        let attempt = ATTEMPT.fetch_add(1, Ordering::Relaxed);
        let name = format!(
            "{}{}{attempt:08x}{SUFFIX}",
            target_prefix(&place.name),
            process_number()
        );
        Temporary {
            dir: &place.dir,
            name: name.into(),
            named: false,
        }
    }

    fn give_name(mut self, place: &Place) -> io::Result<()> {
        renameat(
            self.dir,
            self.name.as_os_str(),
            &place.dir,
            place.name.as_os_str(),
        )?;
        self.named = true;
        sync_dir(&place.dir)
    }
}

impl Drop for Temporary<'_> {
    fn drop(&mut self) {
        if !self.named {
            // Swept later when this fails too.
            let _ = unlinkat(self.dir, self.name.as_os_str(), UnlinkatFlags::NoRemoveDir);
        }
    }
}

/// Eight digits that no other process has, as far as chance allows.
fn process_number() -> &'static str {
    static NUMBER: OnceLock<String> = OnceLock::new();
    NUMBER.get_or_init(|| {
        let random = std::collections::hash_map::RandomState::new()
            .build_hasher()
            .finish();
        format!("{:08x}", random & 0xffff_ffff)
    })
}

fn target_prefix(name: &OsStr) -> String {
    format!("{PREFIX}{:08x}-", crc32fast::hash(name.as_bytes()))
}

/// A left-over that cannot be removed is no reason not to go on.
pub(super) fn sweep_for(place: &Place) {
    let _ = open::listable(&place.dir, OsStr::new("."))
        .map_err(io::Error::from)
        .and_then(|dir| sweep(&dir, &target_prefix(&place.name)));
}

/// Removes temporary files of other processes whose names begin with `prefix`.
fn sweep(dir: &OwnedFd, prefix: &str) -> io::Result<usize> {
    let mut swept = 0;
    for (name, _) in entries(dir.try_clone()?)? {
        let Some(text) = name.to_str() else { continue };
        if text.starts_with(prefix) && is_left_over(text) {
            match unlinkat(dir.as_fd(), name.as_os_str(), UnlinkatFlags::NoRemoveDir) {
                Ok(()) => swept += 1,
                Err(Errno::ENOENT) => {}
                Err(errno) => return Err(errno.into()),
            }
        }
    }
    Ok(swept)
}

fn is_left_over(name: &str) -> bool {
    let Some((target, attempt)) = name
        .strip_prefix(PREFIX)
        .and_then(|rest| rest.strip_suffix(SUFFIX))
        .and_then(|rest| rest.split_once('-'))
    else {
        return false;
    };
    let digits = |text: &str, count| {
        text.len() == count && text.bytes().all(|byte| byte.is_ascii_hexdigit())
    };
    digits(target, 8) && digits(attempt, 16) && !attempt.starts_with(process_number())
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::{MetadataExt, PermissionsExt, symlink};

    use super::*;

    fn names(dir: &Path) -> Vec<String> {
        let mut names: Vec<String> = std::fs::read_dir(dir)
            .unwrap()
            .map(|entry| entry.unwrap().file_name().into_string().unwrap())
            .collect();
        names.sort();
        names
    }

    #[test]
    fn a_file_is_replaced_whole_with_its_mode() {
        let dir = tempfile::tempdir().unwrap();
        let fs = Fs::at(dir.path());
        let path = Path::new("/conf");
        for (content, mode) in [("one", 0o644), ("two", 0o600), ("", 0o4755)] {
            fs.write(path, content.as_bytes(), mode, None).unwrap();
            let meta = std::fs::metadata(dir.path().join("conf")).unwrap();
            assert_eq!(
                std::fs::read_to_string(dir.path().join("conf")).unwrap(),
                content
            );
            assert_eq!(meta.permissions().mode() & 0o7777, mode);
            assert_eq!(names(dir.path()), ["conf"]);
        }
    }

    #[test]
    fn a_link_in_the_place_is_replaced_and_not_written_through() {
        let dir = tempfile::tempdir().unwrap();
        std::fs::write(dir.path().join("victim"), "keep").unwrap();
        symlink("victim", dir.path().join("conf")).unwrap();
        Fs::at(dir.path())
            .write(Path::new("/conf"), b"new", 0o644, None)
            .unwrap();
        assert_eq!(std::fs::read(dir.path().join("victim")).unwrap(), b"keep");
        assert!(
            std::fs::symlink_metadata(dir.path().join("conf"))
                .unwrap()
                .is_file()
        );
    }

    #[test]
    fn failure_leaves_the_old_file_and_nothing_else() {
        let dir = tempfile::tempdir().unwrap();
        let fs = Fs::at(dir.path());
        fs.write(Path::new("/conf"), b"old", 0o644, None).unwrap();
        let failed = fs.write_with(Path::new("/conf"), 0o644, None, &mut |file| {
            file.write_all(b"half")?;
            Err(io::Error::other("no"))
        });
        assert!(failed.is_err());
        std::fs::create_dir(dir.path().join("folder")).unwrap();
        assert!(fs.write(Path::new("/folder"), b"", 0o644, None).is_err());
        assert!(fs.write(Path::new("/no/conf"), b"", 0o644, None).is_err());
        assert_eq!(fs.read(Path::new("/conf"), 9).unwrap().unwrap(), b"old");
        assert_eq!(names(dir.path()), ["conf", "folder"]);
    }

    #[test]
    fn left_overs_of_the_same_target_are_swept() {
        let dir = tempfile::tempdir().unwrap();
        let fs = Fs::at(dir.path());
        let stale = |target: &str| {
            format!(
                "{}0123456789abcdef{SUFFIX}",
                target_prefix(OsStr::new(target))
            )
        };
        let mine = format!(
            "{}{}ffffffff{SUFFIX}",
            target_prefix("conf".as_ref()),
            process_number()
        );
        for name in [&stale("conf"), &stale("other"), &mine, ".nixctl-notes.tmp"] {
            std::fs::write(dir.path().join(name), "").unwrap();
        }
        fs.write(Path::new("/conf"), b"", 0o644, None).unwrap();
        assert!(!dir.path().join(stale("conf")).exists());
        assert!(dir.path().join(stale("other")).exists());
        assert!(
            dir.path().join(&mine).exists(),
            "a write of this process is not disturbed"
        );
        assert_eq!(fs.sweep_temporaries(Path::new("/")).unwrap(), 1);
        assert_eq!(fs.sweep_temporaries(Path::new("/none")).unwrap(), 0);
        assert!(dir.path().join(".nixctl-notes.tmp").exists());
        // Whoever takes back a write that was cut off removes what it did not get to name.
        std::fs::write(dir.path().join(stale("never-there")), "").unwrap();
        fs.remove_file(Path::new("/never-there")).unwrap();
        assert!(!dir.path().join(stale("never-there")).exists());
    }

    #[test]
    fn links_replace_links_only() {
        let dir = tempfile::tempdir().unwrap();
        let fs = Fs::at(dir.path());
        fs.symlink(Path::new("/a"), Path::new("/link")).unwrap();
        fs.symlink(Path::new("/b"), Path::new("/link")).unwrap();
        assert_eq!(
            fs.read_link(Path::new("/link")).unwrap().unwrap(),
            Path::new("/b")
        );
        fs.write(Path::new("/file"), b"x", 0o644, None).unwrap();
        assert!(fs.symlink(Path::new("/b"), Path::new("/file")).is_err());
        assert_eq!(names(dir.path()), ["file", "link"]);
    }

    #[test]
    fn copies_are_whole() {
        let dir = tempfile::tempdir().unwrap();
        let fs = Fs::at(dir.path());
        let big = vec![7u8; 3 << 20];
        fs.write(Path::new("/big"), &big, 0o600, None).unwrap();
        fs.copy_file(Path::new("/big"), Path::new("/copy"), 0o755)
            .unwrap();
        assert_eq!(std::fs::read(dir.path().join("copy")).unwrap(), big);
        assert_eq!(
            std::fs::metadata(dir.path().join("copy")).unwrap().mode() & 0o7777,
            0o755
        );
        assert!(
            fs.copy_file(Path::new("/none"), Path::new("/copy"), 0o755)
                .is_err()
        );
    }
}

//! Small changes: modes, owners, times, folders, names.

use std::ffi::OsStr;
use std::io;
use std::path::Path;

use nix::errno::Errno;
use nix::fcntl::{AtFlags, OFlag, openat, renameat};
use nix::sys::stat::{FchmodatFlags, Mode, UtimensatFlags, fchmod, fchmodat, mkdirat, utimensat};
use nix::sys::time::TimeSpec;
use nix::unistd::{Gid, Uid, UnlinkatFlags, fchownat, linkat, unlinkat};

use super::open::{Place, listable, sync_dir};
use super::write::sweep_for;
use super::{Fs, FsError, Kind, failing, look, open};

impl Fs {
    /// Sets permission bits.
    ///
    /// # Errors
    /// When the operating system refuses, or the path is a link.
    pub fn set_mode(&self, path: &Path, mode: u32) -> Result<(), FsError> {
        let fail = failing("set the mode of", path);
        let place = self.place_to_change(path).map_err(&fail)?;
        change_mode(&place, mode).map_err(fail)
    }

    /// Sets owner and group of the path itself.
    ///
    /// # Errors
    /// When the operating system refuses.
    pub fn set_owner(&self, path: &Path, uid: u32, gid: u32) -> Result<(), FsError> {
        let fail = failing("set the owner of", path);
        let place = self.place_to_change(path).map_err(&fail)?;
        let (uid, gid) = (Uid::from_raw(uid), Gid::from_raw(gid));
        let name = place.name.as_os_str();
        fchownat(
            &place.dir,
            name,
            Some(uid),
            Some(gid),
            AtFlags::AT_SYMLINK_NOFOLLOW,
        )
        .map_err(|errno| fail(errno.into()))
    }

    /// Sets the time of last change, and of last access, of the path itself, in seconds since 1970.
    ///
    /// # Errors
    /// When the operating system refuses.
    pub fn set_times(&self, path: &Path, seconds: i64) -> Result<(), FsError> {
        let fail = failing("set the times of", path);
        let place = self.place_to_change(path).map_err(&fail)?;
        let time = TimeSpec::new(seconds, 0);
        let name = place.name.as_os_str();
        utimensat(
            &place.dir,
            name,
            &time,
            &time,
            UtimensatFlags::NoFollowSymlink,
        )
        .map_err(|errno| fail(errno.into()))
    }

    /// Makes one folder with exactly this mode (the umask does not matter); its parent must exist.
    ///
    /// # Errors
    /// When it cannot be made; also when something is there already.
    pub fn create_dir(&self, path: &Path, mode: u32) -> Result<(), FsError> {
        let fail = failing("create", path);
        let place = self.place_to_change(path).map_err(&fail)?;
        mkdirat(&place.dir, place.name.as_os_str(), Mode::S_IRWXU)
            .map_err(io::Error::from)
            .and_then(|()| change_mode(&place, mode))
            .and_then(|()| sync_dir(&place.dir))
            .map_err(fail)
    }

    /// Removes a file, link or other non-folder, and what a killed attempt to write it left; nothing
    /// else happens when it is not there. The folder is synced.
    ///
    /// # Errors
    /// When the operating system refuses.
    pub fn remove_file(&self, path: &Path) -> Result<(), FsError> {
        let fail = failing("remove", path);
        let Some(place) = self.find_to_remove(path).map_err(&fail)? else {
            return Ok(());
        };
        sweep_for(&place);
        match unlinkat(
            &place.dir,
            place.name.as_os_str(),
            UnlinkatFlags::NoRemoveDir,
        ) {
            Ok(()) => sync_dir(&place.dir).map_err(fail),
            Err(Errno::ENOENT) => Ok(()),
            Err(errno) => Err(fail(errno.into())),
        }
    }

    /// Removes an empty folder; says whether it was removed (false: not empty, busy or not there).
    ///
    /// # Errors
    /// When the operating system refuses for another reason.
    pub fn remove_dir(&self, path: &Path) -> Result<bool, FsError> {
        let fail = failing("remove", path);
        let Some(place) = self.find_to_remove(path).map_err(&fail)? else {
            return Ok(false);
        };
        match unlinkat(&place.dir, place.name.as_os_str(), UnlinkatFlags::RemoveDir) {
            Ok(()) => sync_dir(&place.dir).map(|()| true).map_err(fail),
            Err(Errno::ENOENT | Errno::ENOTEMPTY | Errno::EEXIST | Errno::EBUSY) => Ok(false),
            Err(errno) => Err(fail(errno.into())),
        }
    }

    /// Renames within one file system, replacing the target, and syncs both folders.
    ///
    /// # Errors
    /// When the operating system refuses.
    pub fn rename(&self, from: &Path, to: &Path) -> Result<(), FsError> {
        let fail = failing("rename", from);
        let old = self.place_to_change(from).map_err(&fail)?;
        let new = self.place_to_change(to).map_err(&fail)?;
        renameat(
            &old.dir,
            old.name.as_os_str(),
            &new.dir,
            new.name.as_os_str(),
        )
        .map_err(io::Error::from)
        .and_then(|()| sync_dir(&new.dir))
        .and_then(|()| sync_dir(&old.dir))
        .map_err(fail)
    }

    /// Gives a file a second name in the same file system, and syncs its folder.
    ///
    /// # Errors
    /// When the operating system refuses; also when something has that name already.
    pub fn link(&self, from: &Path, to: &Path) -> Result<(), FsError> {
        let fail = failing("link", from);
        let old = self.place(from).map_err(&fail)?;
        let new = self.place_to_change(to).map_err(&fail)?;
        linkat(
            &old.dir,
            old.name.as_os_str(),
            &new.dir,
            new.name.as_os_str(),
            AtFlags::empty(),
        )
        .map_err(io::Error::from)
        .and_then(|()| sync_dir(&new.dir))
        .map_err(fail)
    }

    /// Writes everything of the file system that holds `path` to the disk (`syncfs`).
    ///
    /// # Errors
    /// When the operating system reports lost writes.
    pub fn sync_file_system(&self, path: &Path) -> Result<(), FsError> {
        let fail = failing("sync", path);
        let dir = match open::directory(self.root(), path) {
            Ok(dir) => dir,
            Err(_) => self.place(path).map_err(&fail)?.dir,
        };
        sync_whole(&listable(dir, OsStr::new(".")).map_err(|errno| fail(errno.into()))?)
            .map_err(|errno| fail(errno.into()))
    }
}

pub(super) fn mode_bits(mode: u32) -> Mode {
    // The type's width differs between Linux and macOS; the bits fit into both.
    Mode::from_bits_truncate((mode & 0o7777) as _)
}

/// Through an open descriptor where the file can be opened, which needs no /proc; else by name,
/// which the C library does without following a link.
fn change_mode(place: &Place, mode: u32) -> io::Result<()> {
    match look(place)?.map(|meta| meta.kind) {
        None => return Err(io::ErrorKind::NotFound.into()),
        Some(Kind::Link) => return Err(io::Error::other("it is a symbolic link")),
        Some(Kind::File | Kind::Directory) => {
            let flags = OFlag::O_RDONLY | OFlag::O_NOFOLLOW | OFlag::O_NONBLOCK | OFlag::O_CLOEXEC;
            if let Ok(fd) = openat(&place.dir, place.name.as_os_str(), flags, Mode::empty()) {
                return Ok(fchmod(fd, mode_bits(mode))?);
            }
        }
        Some(Kind::Other) => {}
    }
    let flag = FchmodatFlags::NoFollowSymlink;
    Ok(fchmodat(
        &place.dir,
        place.name.as_os_str(),
        mode_bits(mode),
        flag,
    )?)
}

#[cfg(target_os = "linux")]
fn sync_whole(dir: &std::os::fd::OwnedFd) -> nix::Result<()> {
    nix::unistd::syncfs(dir)
}

#[cfg(not(target_os = "linux"))]
fn sync_whole(dir: &std::os::fd::OwnedFd) -> nix::Result<()> {
    nix::unistd::sync();
    nix::unistd::fsync(dir)
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::{MetadataExt, symlink};

    use super::*;
    use crate::host::fs::testing::rooted;

    #[test]
    fn a_mode_is_set_whatever_the_umask_and_never_through_a_link() {
        let (dir, fs) = rooted();
        fs.create_dir(Path::new("/d"), 0o1777).unwrap();
        assert_eq!(fs.meta(Path::new("/d")).unwrap().unwrap().mode, 0o1777);
        std::fs::write(dir.path().join("victim"), "").unwrap();
        let before = std::fs::metadata(dir.path().join("victim")).unwrap().mode();
        symlink("victim", dir.path().join("link")).unwrap();
        assert!(fs.set_mode(Path::new("/link"), 0o4777).is_err());
        assert_eq!(
            std::fs::metadata(dir.path().join("victim")).unwrap().mode(),
            before
        );
        nix::unistd::mkfifo(&dir.path().join("pipe"), Mode::S_IRWXU).unwrap();
        fs.set_mode(Path::new("/pipe"), 0o640).unwrap();
        assert_eq!(fs.meta(Path::new("/pipe")).unwrap().unwrap().mode, 0o640);
    }

    #[test]
    fn an_owner_is_set_on_the_link_itself() {
        let (dir, fs) = rooted();
        if !Uid::effective().is_root() {
            return;
        }
        std::fs::write(dir.path().join("victim"), "").unwrap();
        symlink("victim", dir.path().join("link")).unwrap();
        fs.set_owner(Path::new("/link"), 7, 8).unwrap();
        let link = fs.meta(Path::new("/link")).unwrap().unwrap();
        assert_eq!((link.uid, link.gid), (7, 8));
        assert_eq!(
            std::fs::metadata(dir.path().join("victim")).unwrap().uid(),
            0
        );
    }

    #[test]
    fn a_second_name_replaces_nothing() {
        let (dir, fs) = rooted();
        std::fs::write(dir.path().join("one"), "1").unwrap();
        symlink("one", dir.path().join("link")).unwrap();
        fs.link(Path::new("/one"), Path::new("/two")).unwrap();
        assert_eq!(
            std::fs::metadata(dir.path().join("two")).unwrap().nlink(),
            2
        );
        assert!(fs.link(Path::new("/one"), Path::new("/two")).is_err());
        assert!(fs.link(Path::new("/none"), Path::new("/three")).is_err());
        fs.link(Path::new("/link"), Path::new("/four")).unwrap();
        let four = fs.meta(Path::new("/four")).unwrap().unwrap();
        assert_eq!(four.kind, Kind::Link, "the link itself");
    }

    #[test]
    fn removing_what_is_not_there_is_nothing() {
        let (dir, fs) = rooted();
        fs.remove_file(Path::new("/no")).unwrap();
        fs.remove_file(Path::new("/no/where")).unwrap();
        assert!(!fs.remove_dir(Path::new("/no")).unwrap());
        fs.create_dir(Path::new("/d"), 0o755).unwrap();
        std::fs::write(dir.path().join("d/f"), "").unwrap();
        assert!(!fs.remove_dir(Path::new("/d")).unwrap());
        assert!(fs.remove_file(Path::new("/d")).is_err());
        fs.remove_file(Path::new("/d/f")).unwrap();
        assert!(fs.remove_dir(Path::new("/d")).unwrap());
    }

    #[test]
    fn names_and_times_change() {
        let (dir, fs) = rooted();
        std::fs::write(dir.path().join("a"), "a").unwrap();
        std::fs::write(dir.path().join("b"), "b").unwrap();
        fs.rename(Path::new("/a"), Path::new("/b")).unwrap();
        assert_eq!(fs.read(Path::new("/b"), 9).unwrap().unwrap(), b"a");
        fs.set_times(Path::new("/b"), 1).unwrap();
        assert_eq!(std::fs::metadata(dir.path().join("b")).unwrap().mtime(), 1);
        fs.sync_file_system(Path::new("/b")).unwrap();
        assert!(fs.rename(Path::new("/a"), Path::new("/c")).is_err());
    }
}

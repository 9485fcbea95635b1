//! Files under a root, opened without following links at the end of a path and without leaving
//! the root on the way.
//!
//! Every operation opens the folder that holds the path (`open`) and then works on a name in that
//! open folder, so that nothing can be put in its way between a look and an act. What is written
//! is complete and on the disk before it gets its name (`write`). Nothing here follows a link that
//! is the last name of a path, and nothing crosses into another mount while removing (`remove`).
//! Nothing is changed in the store of Nix by way of a link that leads there (`store`).

mod border;
mod change;
mod open;
mod remove;
mod space;
mod store;
#[cfg(test)]
pub(crate) mod testing;
mod write;

use std::ffi::OsString;
use std::io::{self, Read};
use std::os::unix::ffi::OsStringExt;
use std::path::{Path, PathBuf};

use nix::errno::Errno;
use nix::fcntl::{AtFlags, OFlag, openat, readlinkat};
use nix::sys::stat::{FileStat, Mode, SFlag, fstatat};

use open::Place;
pub use space::{Space, allocate};

/// What a path is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// A regular file.
    File,
    /// A folder.
    Directory,
    /// A symbolic link.
    Link,
    /// A device, socket or pipe.
    Other,
}

/// What is known of a path itself, links not followed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Meta {
    /// What it is.
    pub kind: Kind,
    /// Permission bits, 0 to 0o7777.
    pub mode: u32,
    /// Owner.
    pub uid: u32,
    /// Group.
    pub gid: u32,
    /// Size in bytes.
    pub size: u64,
    /// Number of the file system's device.
    pub device: u64,
    /// When it was changed, in milliseconds since 1970; 0 before that.
    pub modified: u64,
}

impl Meta {
    // The widths of these fields differ between Linux and macOS.
    #[allow(clippy::unnecessary_cast, clippy::cast_sign_loss)]
    fn of(stat: &FileStat) -> Self {
        let kind = match SFlag::from_bits_truncate(stat.st_mode & SFlag::S_IFMT.bits()) {
            SFlag::S_IFREG => Kind::File,
            SFlag::S_IFDIR => Kind::Directory,
            SFlag::S_IFLNK => Kind::Link,
            _ => Kind::Other,
        };
        Meta {
            kind,
            mode: (stat.st_mode & 0o7777) as u32,
            uid: stat.st_uid,
            gid: stat.st_gid,
            size: u64::try_from(stat.st_size).unwrap_or(0),
            device: stat.st_dev as u64,
            modified: u64::try_from(
                stat.st_mtime as i64 * 1000 + stat.st_mtime_nsec as i64 / 1_000_000,
            )
            .unwrap_or(0),
        }
    }
}

/// Why a file could not be used.
#[derive(Debug, thiserror::Error)]
#[error("cannot {action} {}: {source}", path.display())]
pub struct FsError {
    /// What was tried: read, write, create, remove, rename, sync.
    pub action: &'static str,
    /// On what, as the machine sees it.
    pub path: PathBuf,
    /// Reason of the operating system.
    pub source: io::Error,
}

impl FsError {
    /// Whether the work ended because it was asked to.
    pub fn is_stopped(&self) -> bool {
        self.source.kind() == io::ErrorKind::Interrupted
    }

    /// Whether the operating system does not let it go: something is mounted there, it is busy,
    /// or not even root may remove it (a flag such as `chattr +i`).
    pub fn is_left(&self) -> bool {
        use io::ErrorKind::{CrossesDevices, PermissionDenied, ResourceBusy};
        let kind = self.source.kind();
        matches!(kind, CrossesDevices | PermissionDenied | ResourceBusy)
    }
}

/// Files under a root. Cheap to clone.
#[derive(Debug, Clone)]
pub struct Fs {
    root: PathBuf,
}

impl Fs {
    /// Files under `root`, which must be an existing folder.
    pub fn at(root: impl Into<PathBuf>) -> Self {
        Fs { root: root.into() }
    }

    /// The root.
    pub fn root(&self) -> &Path {
        &self.root
    }

    /// Where a machine path really is, for programs that must be told (no links are resolved).
    pub fn real(&self, path: &Path) -> PathBuf {
        self.root.join(path.strip_prefix("/").unwrap_or(path))
    }

    /// What the path itself is; `None` when there is nothing.
    ///
    /// # Errors
    /// When it cannot be read for another reason.
    pub fn meta(&self, path: &Path) -> Result<Option<Meta>, FsError> {
        let fail = failing("look at", path);
        let Some(place) = self.find(path).map_err(&fail)? else {
            return Ok(None);
        };
        look(&place).map_err(fail)
    }

    /// Whether the path is a folder, or a link to one below the root.
    pub fn is_dir(&self, path: &Path) -> bool {
        open::directory(&self.root, path).is_ok()
    }

    /// A regular file opened for reading; `None` when there is nothing.
    ///
    /// # Errors
    /// When it is no regular file or cannot be opened.
    pub fn open(&self, path: &Path) -> Result<Option<std::fs::File>, FsError> {
        let fail = failing("read", path);
        let Some(place) = self.find(path).map_err(&fail)? else {
            return Ok(None);
        };
        open_regular(&place).map_err(fail)
    }

    /// Bytes of a regular file of at most `limit` bytes; `None` when there is nothing.
    ///
    /// # Errors
    /// When it is no regular file, larger than the limit, or cannot be read.
    pub fn read(&self, path: &Path, limit: u64) -> Result<Option<Vec<u8>>, FsError> {
        let fail = failing("read", path);
        let Some(file) = self.open(path)? else {
            return Ok(None);
        };
        let mut bytes = Vec::new();
        file.take(limit.saturating_add(1))
            .read_to_end(&mut bytes)
            .map_err(&fail)?;
        if bytes.len() as u64 > limit {
            return Err(fail(io::Error::other(format!(
                "it is larger than {limit} bytes"
            ))));
        }
        Ok(Some(bytes))
    }

    /// Target of a link; `None` when there is nothing or no link.
    ///
    /// # Errors
    /// When it cannot be read.
    pub fn read_link(&self, path: &Path) -> Result<Option<PathBuf>, FsError> {
        let fail = failing("read", path);
        let Some(place) = self.find(path).map_err(&fail)? else {
            return Ok(None);
        };
        match readlinkat(&place.dir, place.name.as_os_str()) {
            Ok(target) => Ok(Some(target.into())),
            Err(Errno::EINVAL | Errno::ENOENT) => Ok(None),
            Err(errno) => Err(fail(errno.into())),
        }
    }

    /// Names in a folder, sorted; empty when there is none. Names that are not UTF-8 are kept.
    ///
    /// # Errors
    /// When it is no folder or cannot be read.
    pub fn list(&self, path: &Path) -> Result<Vec<OsString>, FsError> {
        let fail = failing("list", path);
        let Some(place) = self.find(path).map_err(&fail)? else {
            return Ok(Vec::new());
        };
        let mut names = match open::listable(&place.dir, &place.name) {
            Ok(dir) => entries(dir).map_err(|errno| fail(errno.into()))?,
            Err(Errno::ENOENT) => return Ok(Vec::new()),
            Err(errno) => return Err(fail(errno.into())),
        };
        names.sort_unstable_by(|a, b| a.0.cmp(&b.0));
        Ok(names.into_iter().map(|(name, _)| name).collect())
    }

    /// The open folder that holds the path; `None` when that folder is not there.
    fn find(&self, path: &Path) -> io::Result<Option<Place>> {
        match self.place(path) {
            Ok(place) => Ok(Some(place)),
            Err(error) if is_absent(&error) => Ok(None),
            Err(error) => Err(error),
        }
    }

    fn place(&self, path: &Path) -> io::Result<Place> {
        open::place(&self.root, path)
    }
}

/// Turns the reason of the operating system into an error about `path`.
fn failing<'a>(action: &'static str, path: &'a Path) -> impl Fn(io::Error) -> FsError + 'a {
    move |source| FsError {
        action,
        path: path.to_owned(),
        source,
    }
}

fn is_absent(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        io::ErrorKind::NotFound | io::ErrorKind::NotADirectory
    )
}

fn look(place: &Place) -> io::Result<Option<Meta>> {
    match fstatat(
        &place.dir,
        place.name.as_os_str(),
        AtFlags::AT_SYMLINK_NOFOLLOW,
    ) {
        Ok(stat) => Ok(Some(Meta::of(&stat))),
        Err(Errno::ENOENT) => Ok(None),
        Err(errno) => Err(errno.into()),
    }
}

/// Opens a regular file. It is looked at before, because opening a device can have effects, and
/// after, because it may have been exchanged; a pipe in its place does not make the call wait.
fn open_regular(place: &Place) -> io::Result<Option<std::fs::File>> {
    let other = || io::Error::other("it is not a regular file");
    match look(place)? {
        None => return Ok(None),
        Some(meta) if meta.kind != Kind::File => return Err(other()),
        Some(_) => {}
    }
    let flags = OFlag::O_RDONLY
        | OFlag::O_NOFOLLOW
        | OFlag::O_NONBLOCK
        | OFlag::O_NOCTTY
        | OFlag::O_CLOEXEC;
    match openat(&place.dir, place.name.as_os_str(), flags, Mode::empty()) {
        Ok(fd) => {
            let file = std::fs::File::from(fd);
            if file.metadata()?.is_file() {
                Ok(Some(file))
            } else {
                Err(other())
            }
        }
        Err(Errno::ENOENT) => Ok(None),
        Err(errno) => Err(errno.into()),
    }
}

/// Entries of an open folder but `.` and `..`, each with whether it is a folder, where the file
/// system says so.
fn entries(dir: std::os::fd::OwnedFd) -> nix::Result<Vec<(OsString, Option<bool>)>> {
    let mut found = Vec::new();
    for entry in nix::dir::Dir::from_fd(dir)?.iter() {
        let entry = entry?;
        let name = entry.file_name().to_bytes();
        if name != b"." && name != b".." {
            let folder = entry
                .file_type()
                .map(|kind| kind == nix::dir::Type::Directory);
            found.push((OsString::from_vec(name.to_vec()), folder));
        }
    }
    Ok(found)
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::symlink;

    use super::*;
    use crate::host::fs::testing::rooted;

    #[test]
    fn what_is_absent_is_nothing() {
        let (dir, fs) = rooted();
        std::fs::write(dir.path().join("file"), "").unwrap();
        for path in ["/no", "/no/where", "/file/below"] {
            let path = Path::new(path);
            assert_eq!(fs.meta(path).unwrap(), None);
            assert_eq!(fs.read(path, 10).unwrap(), None);
            assert_eq!(fs.read_link(path).unwrap(), None);
            assert!(fs.list(path).unwrap().is_empty());
        }
        assert!(fs.list(Path::new("/file")).is_err());
    }

    #[test]
    fn the_root_itself_can_be_looked_at() {
        let (_dir, fs) = rooted();
        assert_eq!(
            fs.meta(Path::new("/")).unwrap().unwrap().kind,
            Kind::Directory
        );
        assert!(fs.list(Path::new("/")).unwrap().is_empty());
    }

    #[test]
    fn reading_is_bounded_and_of_regular_files_only() {
        let (dir, fs) = rooted();
        std::fs::write(dir.path().join("five"), "12345").unwrap();
        nix::unistd::mkfifo(&dir.path().join("pipe"), Mode::S_IRWXU).unwrap();
        symlink("five", dir.path().join("link")).unwrap();
        assert_eq!(fs.read(Path::new("/five"), 5).unwrap().unwrap(), b"12345");
        for path in ["/pipe", "/link", "/"] {
            assert!(fs.read(Path::new(path), 5).is_err(), "{path}");
        }
        assert!(fs.read(Path::new("/five"), 4).is_err());
        assert_eq!(
            fs.read_link(Path::new("/link")).unwrap().unwrap(),
            Path::new("five")
        );
        assert_eq!(fs.read_link(Path::new("/five")).unwrap(), None);
    }

    #[test]
    fn a_link_out_of_the_root_leads_nowhere() {
        let (dir, fs) = rooted();
        let outside = tempfile::tempdir().unwrap();
        std::fs::write(outside.path().join("secret"), "x").unwrap();
        symlink(outside.path(), dir.path().join("out")).unwrap();
        assert_eq!(fs.read(Path::new("/out/secret"), 10).unwrap(), None);
        assert!(fs.write(Path::new("/out/new"), b"", 0o644, None).is_err());
        assert!(std::fs::read_dir(outside.path()).unwrap().count() == 1);
    }

    #[test]
    fn names_are_listed_in_order() {
        let (dir, fs) = rooted();
        for name in ["b", "a", "c"] {
            std::fs::write(dir.path().join(name), "").unwrap();
        }
        assert_eq!(fs.list(Path::new("/")).unwrap(), ["a", "b", "c"]);
    }
}

//! Writes files, folders and links below one folder, each relative to the open folder it lies
//! in: no link that the archive made is ever followed, and nothing is written twice.

use std::ffi::{OsStr, OsString};
use std::fs::File;
use std::io::{self, Read, Write};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use nix::errno::Errno;
use nix::fcntl::{OFlag, open, openat};
use nix::sys::stat::{Mode, UtimensatFlags, mkdirat, utimensat};
use nix::sys::time::TimeSpec;
use nix::unistd::symlinkat;

use super::files::store_time;
use super::place::seal;
use crate::host::FsError;

const FOLDER: OFlag = OFlag::O_DIRECTORY
    .union(OFlag::O_NOFOLLOW)
    .union(OFlag::O_CLOEXEC);
const MAX_TARGET: usize = 4095;
/// Bytes written between two reports.
const BUFFER: usize = 256 << 10;

/// Why an entry could not be written.
#[derive(Debug)]
pub enum TreeError {
    /// The archive must not do that.
    Entry(String),
    /// The archive could not be read.
    Read(io::Error),
    /// The machine refused.
    Write(FsError),
}

/// Folders below one folder, the way to the last used one kept open.
#[derive(Debug)]
pub struct Tree {
    base: OwnedFd,
    real: PathBuf,
    shown: PathBuf,
    way: Vec<(OsString, OwnedFd)>,
    folders: Vec<PathBuf>,
    buffer: Vec<u8>,
}

impl Tree {
    /// Writes below the folder `real`, which errors call `shown`.
    ///
    /// # Errors
    /// When it cannot be opened.
    pub fn at(real: &Path, shown: &Path) -> Result<Tree, FsError> {
        let base = open(real, FOLDER, Mode::empty()).map_err(|errno| FsError {
            action: "open",
            path: shown.to_owned(),
            source: errno.into(),
        })?;
        Ok(Tree {
            base,
            real: real.to_owned(),
            shown: shown.to_owned(),
            way: Vec::new(),
            folders: Vec::new(),
            buffer: vec![0; BUFFER],
        })
    }

    /// Makes a folder with its parents; one that is there already is right.
    pub fn folder(&mut self, parts: &[&OsStr]) -> Result<(), TreeError> {
        self.enter(parts).map(|_| ())
    }

    /// Writes a new file with what `content` gives.
    pub fn file(
        &mut self,
        parts: &[&OsStr],
        executable: bool,
        content: &mut impl Read,
        report: &dyn Fn(),
    ) -> Result<(), TreeError> {
        let mut file = self.create(parts)?;
        let mut buffer = std::mem::take(&mut self.buffer);
        let written = copy(content, &mut file, &mut buffer, report);
        self.buffer = buffer;
        written.map_err(|error| match error {
            Failed::Read(error) => TreeError::Read(error),
            Failed::Write(error) => self.refused("write", parts, error),
        })?;
        self.finish(&file, executable, parts)
    }

    /// Writes a link whose target is any text.
    pub fn link(&mut self, parts: &[&OsStr], target: &[u8]) -> Result<(), TreeError> {
        if target.is_empty() || target.len() > MAX_TARGET || target.contains(&0) {
            return Err(TreeError::Entry("its target is not a path".to_owned()));
        }
        let (name, folder) = self.parent(parts)?;
        let made = symlinkat(OsStr::from_bytes(target), folder, name);
        let time = TimeSpec::new(1, 0);
        let dated = made
            .and_then(|()| utimensat(folder, name, &time, &time, UtimensatFlags::NoFollowSymlink));
        dated.map_err(|errno| self.failed("link", parts, errno))
    }

    /// Writes a copy of an earlier file: hard links have no place in a new store.
    pub fn copy(&mut self, parts: &[&OsStr], from: &[&OsStr]) -> Result<(), TreeError> {
        let (name, folder) = self.parent(from)?;
        let flags = OFlag::O_RDONLY | OFlag::O_NOFOLLOW | OFlag::O_CLOEXEC | OFlag::O_NONBLOCK;
        let missing = || TreeError::Entry("the file it links to is not there".to_owned());
        let mut source =
            File::from(openat(folder, name, flags, Mode::empty()).map_err(|_| missing())?);
        let meta = source.metadata().map_err(TreeError::Read)?;
        if !meta.is_file() {
            return Err(missing());
        }
        self.file(
            parts,
            meta.permissions().mode() & 0o100 != 0,
            &mut source,
            &|| {},
        )
    }

    /// Gives every folder but the top ones its final mode and time, deepest first.
    pub fn seal(&mut self) -> Result<(), FsError> {
        self.way.clear();
        self.folders.sort();
        for folder in self
            .folders
            .iter()
            .rev()
            .filter(|path| path.components().count() > 1)
        {
            seal(&self.real.join(folder)).map_err(|source| FsError {
                action: "set the mode of",
                path: self.shown.join(folder),
                source,
            })?;
        }
        Ok(())
    }

    fn create(&mut self, parts: &[&OsStr]) -> Result<File, TreeError> {
        let (name, folder) = self.parent(parts)?;
        let flags =
            OFlag::O_WRONLY | OFlag::O_CREAT | OFlag::O_EXCL | OFlag::O_NOFOLLOW | OFlag::O_CLOEXEC;
        let opened = openat(folder, name, flags, Mode::S_IRUSR | Mode::S_IWUSR);
        opened
            .map(File::from)
            .map_err(|errno| self.failed("create", parts, errno))
    }

    fn finish(&self, file: &File, executable: bool, parts: &[&OsStr]) -> Result<(), TreeError> {
        let mode = std::fs::Permissions::from_mode(if executable { 0o555 } else { 0o444 });
        file.set_permissions(mode)
            .and_then(|()| file.set_modified(store_time()))
            .map_err(|error| self.refused("set the mode of", parts, error))
    }

    fn parent<'a>(
        &mut self,
        parts: &[&'a OsStr],
    ) -> Result<(&'a OsStr, BorrowedFd<'_>), TreeError> {
        let (name, folder) = parts
            .split_last()
            .ok_or_else(|| TreeError::Entry("it has no name".to_owned()))?;
        Ok((name, self.enter(folder)?))
    }

    /// Opens the folder with these parts, making what is missing on the way.
    fn enter(&mut self, parts: &[&OsStr]) -> Result<BorrowedFd<'_>, TreeError> {
        let common = self
            .way
            .iter()
            .zip(parts)
            .take_while(|((name, _), part)| name == *part)
            .count();
        self.way.truncate(common);
        for (depth, part) in parts.iter().enumerate().skip(common) {
            let parent = self
                .way
                .last()
                .map_or(self.base.as_fd(), |(_, fd)| fd.as_fd());
            let opened = match openat(parent, *part, FOLDER, Mode::empty()) {
                Err(Errno::ENOENT) => {
                    let mode = Mode::from_bits_truncate(0o755);
                    let made = mkdirat(parent, *part, mode)
                        .and_then(|()| openat(parent, *part, FOLDER, Mode::empty()));
                    if made.is_ok() {
                        self.folders.push(parts[..=depth].iter().collect());
                    }
                    made
                }
                result => result,
            };
            let folder = opened.map_err(|errno| self.failed("create", &parts[..=depth], errno))?;
            self.way.push(((*part).to_owned(), folder));
        }
        Ok(self
            .way
            .last()
            .map_or(self.base.as_fd(), |(_, fd)| fd.as_fd()))
    }

    fn failed(&self, action: &'static str, parts: &[&OsStr], errno: Errno) -> TreeError {
        match errno {
            Errno::EEXIST => TreeError::Entry("it is there twice".to_owned()),
            Errno::ELOOP | Errno::ENOTDIR => {
                TreeError::Entry("it lies below something that is not a folder".to_owned())
            }
            errno => self.refused(action, parts, errno.into()),
        }
    }

    fn refused(&self, action: &'static str, parts: &[&OsStr], source: io::Error) -> TreeError {
        let path = self.shown.join(parts.iter().collect::<PathBuf>());
        TreeError::Write(FsError {
            action,
            path,
            source,
        })
    }
}

enum Failed {
    Read(io::Error),
    Write(io::Error),
}

fn copy(
    from: &mut impl Read,
    to: &mut File,
    buffer: &mut [u8],
    report: &dyn Fn(),
) -> Result<(), Failed> {
    loop {
        match from.read(buffer) {
            Ok(0) => return Ok(()),
            Ok(count) => to.write_all(&buffer[..count]).map_err(Failed::Write)?,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(Failed::Read(error)),
        }
        report();
    }
}

//! Files that the user asked for: complete, or not there.

use std::ffi::OsString;
use std::fs::{File, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

/// Mode of a file that others may read.
pub const OPEN: u32 = 0o666;
/// Names that are tried for the temporary file.
const ATTEMPTS: u32 = 16;

/// Writes a file: a temporary one beside it, synced, then renamed. Only a regular file is
/// replaced; a link is neither followed nor replaced, and so are devices and the like. The mode is
/// what the umask leaves of it.
pub fn replace(path: &Path, content: &[u8], mode: u32) -> io::Result<()> {
    match std::fs::symlink_metadata(path) {
        Ok(there) if !there.is_file() => {
            let why = "something other than a regular file is there";
            return Err(io::Error::new(io::ErrorKind::AlreadyExists, why));
        }
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
        _ => {}
    }
    let (temporary, mut file) = create_beside(path, mode)?;
    let written = file
        .write_all(content)
        .and_then(|()| file.sync_all())
        .and_then(|()| std::fs::rename(&temporary, path));
    if written.is_err() {
        // What matters is why it could not be written.
        let _ = std::fs::remove_file(&temporary);
    }
    written.and_then(|()| File::open(folder_of(path))?.sync_all())
}

/// Writes a file that is not there yet: a temporary one beside it, synced, then given its name,
/// which fails where anything has it.
pub fn create(path: &Path, content: &[u8], mode: u32) -> io::Result<()> {
    let (temporary, mut file) = create_beside(path, mode)?;
    let written = file
        .write_all(content)
        .and_then(|()| file.sync_all())
        .and_then(|()| std::fs::hard_link(&temporary, path));
    // What matters is whether the name was given, and if not why.
    let _ = std::fs::remove_file(&temporary);
    written.and_then(|()| File::open(folder_of(path))?.sync_all())
}

/// The folder that a file lies in.
fn folder_of(path: &Path) -> &Path {
    match path.parent() {
        Some(folder) if !folder.as_os_str().is_empty() => folder,
        _ => Path::new("."),
    }
}

fn create_beside(path: &Path, mode: u32) -> io::Result<(PathBuf, File)> {
    let name = path.file_name().ok_or(io::ErrorKind::InvalidFilename)?;
    for attempt in 0..ATTEMPTS {
        let mut temporary = OsString::from(".");
        temporary.push(name);
        temporary.push(format!(".{}-{attempt}.tmp", std::process::id()));
        let temporary = path.with_file_name(temporary);
        let made = OpenOptions::new()
            .write(true)
            .create_new(true)
            .mode(mode)
            .open(&temporary);
        match made {
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {}
            Ok(file) => return Ok((temporary, file)),
            Err(error) => return Err(error),
        }
    }
    Err(io::ErrorKind::AlreadyExists.into())
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::{PermissionsExt, symlink};

    use super::*;

    #[test]
    fn what_is_there_is_left_alone() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("a");
        create(&file, b"one", 0o600).unwrap();
        let mode = std::fs::metadata(&file).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o600);
        symlink("nowhere", folder.path().join("link")).unwrap();
        for name in ["a", "link", "."] {
            assert!(create(&folder.path().join(name), b"two", OPEN).is_err());
        }
        assert_eq!(std::fs::read(&file).unwrap(), b"one");
        assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 2);
    }

    #[test]
    fn only_a_regular_file_is_replaced() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("a");
        replace(&file, b"one", OPEN).unwrap();
        replace(&file, b"two", OPEN).unwrap();
        assert_eq!(std::fs::read(&file).unwrap(), b"two");

        for (name, target) in [("link", "a"), ("dangling", "nowhere")] {
            let link = folder.path().join(name);
            symlink(target, &link).unwrap();
            assert!(replace(&link, b"three", OPEN).is_err());
            assert!(link.is_symlink());
        }
        assert!(replace(folder.path(), b"", OPEN).is_err());
        assert!(replace(Path::new("/dev/null"), b"", OPEN).is_err());
        assert!(replace(&folder.path().join("no/b"), b"", OPEN).is_err());
        assert_eq!(std::fs::read(&file).unwrap(), b"two");
        assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 3);
    }
}

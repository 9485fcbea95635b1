//! The lock that everybody who switches a machine takes, so that no two do it at once.

use std::fs::File;
use std::path::Path;

use crate::host::{Fs, FsError};

const DIRECTORY: &str = "/run/nixos";
const FILE: &str = "/run/nixos/switch-to-configuration.lock";

/// Held until it is dropped; the kernel drops it for a process that was killed.
#[derive(Debug)]
pub struct Lock(#[expect(dead_code, reason = "the lock is the open file")] File);

/// Takes the lock; `None` when somebody has it.
///
/// # Errors
/// When the file cannot be made or opened.
pub fn take(fs: &Fs) -> Result<Option<Lock>, FsError> {
    let path = Path::new(FILE);
    let directory = Path::new(DIRECTORY);
    if fs.meta(directory)?.is_none() {
        fs.create_dir(directory, 0o755)?;
    }
    if fs.meta(path)?.is_none() {
        fs.write(path, b"", 0o644, None)?;
    }
    let error = |source| FsError {
        action: "lock",
        path: path.to_owned(),
        source,
    };
    let file = fs
        .open(path)?
        .ok_or_else(|| error(std::io::ErrorKind::NotFound.into()))?;
    match file.try_lock() {
        Ok(()) => Ok(Some(Lock(file))),
        Err(std::fs::TryLockError::WouldBlock) => Ok(None),
        Err(std::fs::TryLockError::Error(source)) => Err(error(source)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_one_has_it() {
        let dir = tempfile::tempdir().unwrap();
        std::fs::create_dir(dir.path().join("run")).unwrap();
        let fs = Fs::at(dir.path());
        let first = take(&fs).unwrap();
        assert!(first.is_some());
        assert!(take(&fs).unwrap().is_none());
        drop(first);
        assert!(take(&fs).unwrap().is_some());
    }
}

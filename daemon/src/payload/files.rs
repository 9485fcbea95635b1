//! Small pieces of file handling that only releases need.

use std::io::Read;
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use nix::libc::{O_CLOEXEC, O_NOFOLLOW, O_NONBLOCK};
use sha2::{Digest, Sha256};

use super::PayloadError;
use crate::host::fs::Kind;
use crate::host::{Fs, FsError};

/// Time stamp of everything in a store.
pub fn store_time() -> SystemTime {
    UNIX_EPOCH + Duration::from_secs(1)
}

/// Makes a folder for root only, with its parents; leaves one that is there.
///
/// # Errors
/// When it cannot be made.
pub fn private_dir(fs: &Fs, path: &Path) -> Result<(), FsError> {
    if fs
        .meta(path)?
        .is_some_and(|meta| meta.kind == Kind::Directory)
    {
        return Ok(());
    }
    if let Some(parent) = path
        .parent()
        .filter(|parent| fs.meta(parent).is_ok_and(|m| m.is_none()))
    {
        private_dir(fs, parent)?;
    }
    match fs.create_dir(path, 0o700) {
        Err(error) if error.source.kind() == std::io::ErrorKind::AlreadyExists => Ok(()),
        result => result,
    }
}

/// Opens a regular file for reading, never through a link at the end of its path and never
/// waiting for the other end of a pipe.
///
/// # Errors
/// When it cannot be opened or is no regular file.
pub fn open_regular(path: &Path) -> Result<std::fs::File, FsError> {
    let fail = |source| FsError {
        action: "open",
        path: path.to_owned(),
        source,
    };
    let file = std::fs::OpenOptions::new()
        .read(true)
        .custom_flags(O_NOFOLLOW | O_CLOEXEC | O_NONBLOCK)
        .open(path)
        .map_err(fail)?;
    if !file.metadata().map_err(fail)?.is_file() {
        return Err(fail(std::io::Error::other("it is not a regular file")));
    }
    Ok(file)
}

/// SHA-256 of all that is left to read, in lower case hexadecimal; `each` is told the bytes of
/// every piece and can end it.
///
/// # Errors
/// When reading fails, or `each` does.
pub fn hash_all(
    reader: &mut impl Read,
    path: &Path,
    mut each: impl FnMut(&[u8]) -> Result<(), PayloadError>,
) -> Result<String, PayloadError> {
    let mut hasher = Sha256::new();
    let mut buffer = vec![0; 1 << 20];
    loop {
        let count = match reader.read(&mut buffer) {
            Err(error) if error.kind() == std::io::ErrorKind::Interrupted => continue,
            result => result.map_err(|source| FsError {
                action: "read",
                path: path.to_owned(),
                source,
            })?,
        };
        if count == 0 {
            return Ok(hex(&hasher.finalize()));
        }
        hasher.update(&buffer[..count]);
        each(&buffer[..count])?;
    }
}

/// Hashes what is read through it.
pub struct Hashing<R> {
    reader: R,
    hasher: Sha256,
}

impl<R: Read> Hashing<R> {
    /// Reads from `reader`.
    pub fn new(reader: R) -> Self {
        let hasher = Sha256::new();
        Hashing { reader, hasher }
    }

    /// SHA-256 of all that was read, in lower case hexadecimal.
    pub fn finish(self) -> String {
        hex(&self.hasher.finalize())
    }
}

impl<R: Read> Read for Hashing<R> {
    fn read(&mut self, buffer: &mut [u8]) -> std::io::Result<usize> {
        let count = self.reader.read(buffer)?;
        self.hasher.update(&buffer[..count]);
        Ok(count)
    }
}

/// Lower case hexadecimal.
pub fn hex(bytes: &[u8]) -> String {
    use std::fmt::Write;
    bytes
        .iter()
        .fold(String::with_capacity(bytes.len() * 2), |mut text, byte| {
            let _ = write!(text, "{byte:02x}");
            text
        })
}

/// Whether it is a SHA-256 in lower case hexadecimal.
pub fn is_sha256(text: &str) -> bool {
    text.len() == 64 && text.bytes().all(|b| matches!(b, b'0'..=b'9' | b'a'..=b'f'))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_regular_files_are_opened() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("link");
        std::os::unix::fs::symlink("/etc/passwd", &path).unwrap();
        assert!(open_regular(&path).is_err());
        assert!(open_regular(dir.path()).is_err());
        let pipe = dir.path().join("pipe");
        nix::unistd::mkfifo(&pipe, nix::sys::stat::Mode::S_IRWXU).unwrap();
        assert!(open_regular(&pipe).is_err());
    }

    #[test]
    fn hashes_are_known() {
        let mut seen = 0;
        let hash = hash_all(&mut &b"abc"[..], Path::new("x"), |bytes| {
            seen += bytes.len();
            Ok(())
        });
        assert_eq!(
            hash.unwrap(),
            "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"
        );
        assert_eq!(seen, 3);
    }
}

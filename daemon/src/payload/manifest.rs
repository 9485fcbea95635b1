//! The manifest of an unpacked release: written last, so that it says "unpacked and on the disk".

use std::path::{Path, PathBuf};

use super::{MANIFESTS_DIR, Manifest, PayloadError, STATE_DIR, manifest_path};
use crate::host::{Fs, FsError};

/// Largest manifest that is read.
const MAX_MANIFEST: u64 = 32 << 20;

impl Manifest {
    /// Reads the manifest of an archive; `None` when it was not unpacked.
    ///
    /// # Errors
    /// When it cannot be read or is damaged.
    pub fn load(fs: &Fs, sha256: &str) -> Result<Option<Manifest>, FsError> {
        read(fs, &manifest_path(sha256))
    }

    /// The manifest of an archive whose unpacking was cut off while its paths moved into the
    /// store, or that is complete: the paths that may be there.
    ///
    /// # Errors
    /// When it cannot be read or is damaged.
    pub fn load_begun(fs: &Fs, sha256: &str) -> Result<Option<Manifest>, FsError> {
        match read(fs, &manifest_path(sha256))? {
            Some(manifest) => Ok(Some(manifest)),
            None => read(fs, &begun_path(sha256)),
        }
    }

    /// Removes the manifest of an archive.
    ///
    /// # Errors
    /// When it cannot be removed.
    pub fn remove(fs: &Fs, sha256: &str) -> Result<(), FsError> {
        for path in [manifest_path(sha256), begun_path(sha256)] {
            if fs.meta(&path)?.is_some() {
                fs.remove_file(&path)?;
            }
        }
        Ok(())
    }

    /// Writes down, before the first path moves, which paths will.
    pub(super) fn begin(&self, fs: &Fs, sha256: &str) -> Result<(), PayloadError> {
        super::files::private_dir(fs, STATE_DIR.as_ref())?;
        super::files::private_dir(fs, MANIFESTS_DIR.as_ref())?;
        self.write(fs, &begun_path(sha256))
    }

    /// Makes it the manifest, durably: everything it names is there and on the disk.
    pub(super) fn save(&self, fs: &Fs, sha256: &str) -> Result<(), PayloadError> {
        Ok(fs.rename(&begun_path(sha256), &manifest_path(sha256))?)
    }

    fn write(&self, fs: &Fs, path: &Path) -> Result<(), PayloadError> {
        let bytes = serde_json::to_vec_pretty(self).map_err(|error| FsError {
            action: "write",
            path: path.to_owned(),
            source: std::io::Error::other(error),
        })?;
        Ok(fs.write(path, &bytes, 0o644, None)?)
    }
}

fn begun_path(sha256: &str) -> PathBuf {
    PathBuf::from(MANIFESTS_DIR).join(format!("{sha256}.begun.json"))
}

fn read(fs: &Fs, path: &Path) -> Result<Option<Manifest>, FsError> {
    let Some(bytes) = fs.read(path, MAX_MANIFEST)? else {
        return Ok(None);
    };
    serde_json::from_slice(&bytes)
        .map(Some)
        .map_err(|error| FsError {
            action: "read",
            path: path.to_owned(),
            source: std::io::Error::new(std::io::ErrorKind::InvalidData, error),
        })
}

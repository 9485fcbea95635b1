//! Files and folders around the database: the reserve, private folders, syncing.

use std::fs::File;
use std::path::Path;

use super::StoreError;
use crate::host::fs::{Space, allocate};

/// Bytes kept aside so that the journal can be written on a full disk.
pub(super) const RESERVE_BYTES: u64 = 4 << 20;
/// Free bytes below which the reserve is given up.
pub(super) const LOW_BYTES: u64 = 2 << 20;

pub(super) fn use_reserve_when_low(folder: &Path) {
    if free_bytes(folder).is_some_and(|free| free < LOW_BYTES) {
        let path = folder.join("reserve");
        if std::fs::remove_file(&path).is_ok() {
            tracing::warn!(
                "the disk is almost full; the reserve {} is in use",
                path.display()
            );
        }
    }
}

pub(super) fn free_bytes(folder: &Path) -> Option<u64> {
    let space = Space::of(File::open(folder).ok()?).ok()?;
    Some(space.free_bytes)
}

pub(super) fn make_private(folder: &Path) -> Result<(), StoreError> {
    use std::os::unix::fs::{DirBuilderExt, PermissionsExt};
    let fail = |action| {
        move |source| StoreError::File {
            action,
            path: folder.to_owned(),
            source,
        }
    };
    if !folder.is_dir() {
        std::fs::DirBuilder::new()
            .recursive(true)
            .mode(0o700)
            .create(folder)
            .map_err(fail("create"))?;
        if let Some(parent) = folder.parent() {
            sync_folder(parent)?;
        }
    }
    let private = std::fs::Permissions::from_mode(0o700);
    std::fs::set_permissions(folder, private).map_err(fail("set the mode of"))
}

pub(super) fn open_for_sync(path: &Path) -> Result<File, StoreError> {
    File::open(path).map_err(|source| StoreError::File {
        action: "open",
        path: path.to_owned(),
        source,
    })
}

/// Moves a folder by moving what is in it; may be repeated after it was cut off.
pub(super) fn move_content(from: &Path, to: &Path) -> std::io::Result<()> {
    use std::os::unix::fs::DirBuilderExt;
    if !to.is_dir() {
        std::fs::DirBuilder::new().mode(0o700).create(to)?;
    }
    for entry in std::fs::read_dir(from)? {
        let entry = entry?;
        let target = to.join(entry.file_name());
        if entry.file_type()?.is_dir() {
            move_content(&entry.path(), &target)?;
        } else {
            std::fs::rename(entry.path(), target)?;
        }
    }
    std::fs::remove_dir(from)
}

pub(super) fn sync_folder(path: &Path) -> Result<(), StoreError> {
    open_for_sync(path)?
        .sync_all()
        .map_err(|source| StoreError::File {
            action: "sync",
            path: path.to_owned(),
            source,
        })
}

pub(super) fn write_reserve(path: &Path) -> std::io::Result<()> {
    let mut file = File::create(path)?;
    allocate(&mut file, RESERVE_BYTES)?;
    file.sync_all()
}

//! Where the lab keeps its things: `target/lab` of the workspace, nothing else on the host.
//!
//! `images/` and `dist/` are caches that any number of processes share (built aside, then renamed,
//! under one lock per entry); `machines/` holds one folder per running machine.

use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use sha2::{Digest, Sha256};

use crate::error::{Context, Error, Result};
use crate::exec::Run;

/// Deadline of copying a tree.
const COPY_DEADLINE: Duration = Duration::from_secs(120);

/// The workspace this package belongs to.
#[must_use]
pub fn workspace() -> PathBuf {
    let package = Path::new(env!("CARGO_MANIFEST_DIR"));
    package.parent().unwrap_or(package).to_path_buf()
}

/// Cargo's target folder: `CARGO_TARGET_DIR` when set, else the workspace's.
#[must_use]
pub fn target() -> PathBuf {
    match std::env::var_os("CARGO_TARGET_DIR") {
        Some(dir) => workspace().join(dir),
        None => workspace().join("target"),
    }
}

/// A folder of the lab, made when it is not there.
pub fn lab(name: &str) -> Result<PathBuf> {
    let dir = target().join("lab").join(name);
    fs::create_dir_all(&dir).context(|| format!("create {}", dir.display()))?;
    Ok(dir)
}

/// A short name that no other process or thread of this host uses.
#[must_use]
pub fn unique(name: &str) -> String {
    static NEXT: AtomicU32 = AtomicU32::new(0);
    format!(
        "{name}-{}-{}",
        std::process::id(),
        NEXT.fetch_add(1, Ordering::Relaxed)
    )
}

/// First 16 hex digits of the SHA-256 over all parts: the key of a cache entry.
#[must_use]
pub fn key(parts: &[&str]) -> String {
    let mut hash = Sha256::new();
    for part in parts {
        hash.update(part.len().to_le_bytes());
        hash.update(part);
    }
    hex(&hash.finalize())[..16].to_owned()
}

/// Lower-case hexadecimal.
#[must_use]
pub fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// A cache entry: returns `parent/name`, calling `build` with a fresh folder when it is missing.
///
/// The folder appears under its name only when complete; of several processes one builds and the
/// others wait. A failing build is tried again, three times in all, since mirrors hiccup.
pub fn cached(
    parent: &Path,
    name: &str,
    build: impl FnMut(&Path) -> Result<()>,
) -> Result<PathBuf> {
    cached_with(parent, name, 3, build)
}

/// The same with so many attempts to build.
pub fn cached_with(
    parent: &Path,
    name: &str,
    attempts: u64,
    mut build: impl FnMut(&Path) -> Result<()>,
) -> Result<PathBuf> {
    let entry = parent.join(name);
    if entry.exists() {
        return Ok(entry);
    }
    let lock_path = parent.join(format!("{name}.lock"));
    let lock = File::create(&lock_path).context(|| format!("create {}", lock_path.display()))?;
    lock.lock()
        .context(|| format!("lock {}", lock_path.display()))?;
    let mut attempt = 1;
    while !entry.exists() {
        let scratch = parent.join(format!("{name}.part"));
        remove_tree(&scratch)?;
        fs::create_dir_all(&scratch).context(|| format!("create {}", scratch.display()))?;
        match build(&scratch) {
            Ok(()) => fs::rename(&scratch, &entry)
                .context(|| format!("rename {} into place", scratch.display()))?,
            Err(error) if attempt < attempts => {
                eprintln!("lab: building {name} failed, trying again: {error}");
                std::thread::sleep(Duration::from_secs(5 * attempt));
                attempt += 1;
            }
            Err(error) => return Err(error),
        }
    }
    Ok(entry)
}

/// Copies a tree with everything that its files have: owners, times, attributes.
pub fn copy_tree(from: &Path, to: &Path) -> Result<()> {
    let (from, to) = (from.to_string_lossy(), to.to_string_lossy());
    Run::new(&["cp", "--archive", "--reflink=auto", &from, &to])
        .deadline(COPY_DEADLINE)
        .run()?
        .ok()
        .map(drop)
}

/// Removes a tree; a missing one is fine. One with something mounted in it is refused: a bootstrap
/// whose test was killed may still have the host's own /dev/shm bound there.
pub fn remove_tree(dir: &Path) -> Result<()> {
    if let Some(mount) = mount_below(dir) {
        let why = format!("{} is mounted", mount.display());
        return Err(Error::new(format!("remove {}", dir.display()), why));
    }
    match fs::remove_dir_all(dir) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
            Err(error).context(|| format!("remove {}", dir.display()))
        }
        _ => Ok(()),
    }
}

/// A mount point in a folder, the folder itself included.
fn mount_below(dir: &Path) -> Option<PathBuf> {
    let real = fs::canonicalize(dir).ok()?;
    let mounts = fs::read_to_string("/proc/self/mounts").ok()?;
    let mut targets = mounts.lines().filter_map(|line| line.split(' ').nth(1));
    targets
        .find(|target| Path::new(target).starts_with(&real))
        .map(PathBuf::from)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_has_a_mount_in_it_is_left_alone() {
        assert!(mount_below(Path::new("/proc")).is_some());
        let dir = std::env::temp_dir().join(unique("no-mount"));
        fs::create_dir(&dir).unwrap();
        assert_eq!(mount_below(&dir), None);
        remove_tree(&dir).unwrap();
        assert!(!dir.exists());
        remove_tree(&dir).unwrap();
    }
}

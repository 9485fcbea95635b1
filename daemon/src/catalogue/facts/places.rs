//! The places that an install writes to: room, write protection, and what is at /nix already.

use std::ffi::OsString;
use std::path::{Path, PathBuf};

use crate::host::fs::Kind;
use crate::host::mounts::{self, Mount};
use crate::host::{Fs, FsError};
use crate::payload::STATE_DIR;

/// A place, with what is known of the file system that holds it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Place {
    /// Path that was looked at; where it is missing, its nearest parent counts.
    pub path: PathBuf,
    /// Bytes free for root.
    pub free_bytes: u64,
    /// Inodes free; `u64::MAX` where they are not counted.
    pub free_inodes: u64,
    /// Whether nothing can be written.
    pub read_only: bool,
    /// Whether no program can run from it.
    pub noexec: bool,
    /// Device of the file system, to tell whether two places share it.
    pub device: u64,
}

/// All places that matter.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Places {
    /// The root folder.
    pub root: Place,
    /// /etc.
    pub etc: Place,
    /// /nix, or the root folder when there is none.
    pub store: Place,
    /// The daemon's state.
    pub state: Place,
    /// /usr/local/bin, where our own programs go.
    pub programs: Place,
    /// /usr/share, where bus and polkit look.
    pub share: Place,
}

/// What is at /nix.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub enum NixDir {
    /// Nothing.
    #[default]
    Absent,
    /// A symbolic link, which Nix refuses as a store.
    Link(PathBuf),
    /// A file or something else that is no folder.
    NotDirectory,
    /// A folder.
    Directory {
        /// Type of the file system mounted there, when it is a mount point.
        mounted: Option<String>,
        /// Owner.
        uid: u32,
        /// Names in it, without `lost+found`.
        entries: Vec<String>,
    },
}

impl NixDir {
    /// Whether there is anything in it.
    pub fn has_content(&self) -> bool {
        matches!(self, NixDir::Directory { entries, .. } if !entries.is_empty())
    }
}

pub(super) fn read(fs: &Fs) -> Result<Places, FsError> {
    Ok(Places {
        root: place(fs, "/")?,
        etc: place(fs, "/etc")?,
        store: place(fs, "/nix")?,
        state: place(fs, STATE_DIR)?,
        programs: place(fs, "/usr/local/bin")?,
        share: place(fs, "/usr/share")?,
    })
}

fn place(fs: &Fs, path: &str) -> Result<Place, FsError> {
    let path = PathBuf::from(path);
    let space = fs.space(&path)?;
    Ok(Place {
        free_bytes: space.free_bytes,
        free_inodes: space.free_inodes,
        read_only: space.read_only,
        noexec: space.noexec,
        device: device(fs, &path)?,
        path,
    })
}

/// Device of the path or its nearest existing parent.
fn device(fs: &Fs, path: &Path) -> Result<u64, FsError> {
    for parent in path.ancestors() {
        if let Some(meta) = fs.meta(parent)? {
            return Ok(meta.device);
        }
    }
    Ok(0)
}

pub(in crate::catalogue) fn nix_dir(fs: &Fs, mounts: &[Mount]) -> Result<NixDir, FsError> {
    let path = Path::new("/nix");
    let Some(meta) = fs.meta(path)? else {
        return Ok(NixDir::Absent);
    };
    Ok(match meta.kind {
        Kind::Link => NixDir::Link(fs.read_link(path)?.unwrap_or_default()),
        Kind::File | Kind::Other => NixDir::NotDirectory,
        Kind::Directory => NixDir::Directory {
            mounted: mounts::at(mounts, path).map(|mount| mount.kind.clone()),
            uid: meta.uid,
            entries: fs
                .list(path)?
                .into_iter()
                .filter(|name| name != "lost+found")
                .map(text)
                .collect(),
        },
    })
}

fn text(name: OsString) -> String {
    name.to_string_lossy().into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::catalogue::facts::testing::Machine;

    #[test]
    fn nix_is_absent_empty_mounted_filled_or_a_link() {
        let of = |machine: Machine, mounts: &str| {
            nix_dir(&machine.host().fs, &mounts::parse(mounts)).unwrap()
        };
        assert_eq!(of(Machine::new(), ""), NixDir::Absent);
        assert_eq!(
            of(Machine::new().link("/nix", "/data"), ""),
            NixDir::Link("/data".into())
        );
        assert_eq!(
            of(Machine::new().file("/nix", ""), ""),
            NixDir::NotDirectory
        );
        let mounted = of(
            Machine::new().directory("/nix/lost+found"),
            "26 25 8:2 / /nix rw - ext4 /dev/vdb rw\n",
        );
        assert!(!mounted.has_content());
        assert!(matches!(mounted, NixDir::Directory { mounted: Some(kind), .. } if kind == "ext4"));
        assert!(of(Machine::new().directory("/nix/store"), "").has_content());
    }

    #[test]
    fn places_that_are_missing_count_as_their_parent() {
        let machine = Machine::new().directory("/etc");
        let places = read(&machine.host().fs).unwrap();
        assert_eq!(places.store.device, places.root.device);
        assert!(places.state.free_bytes > 0 && !places.root.read_only);
    }
}

//! Opening a folder without crossing into another mount.
//!
//! The kernel does both in one call (`openat2` with `RESOLVE_NO_XDEV`). A seccomp filter can deny
//! that call, and `RestrictSUIDSGID=` of a unit does, because it cannot look into its arguments:
//! then the folder is opened first and the ids of both mounts are compared. The numbers of the
//! devices alone say nothing of a bind mount within one file system.

use std::ffi::OsStr;
use std::os::fd::OwnedFd;

use nix::errno::Errno;
use nix::sys::stat::{FchmodatFlags, Mode, fchmodat, fstat};

use super::open::listable;

/// Opens a folder of the same mount; `EXDEV` when it is another one.
pub(super) fn open_folder(parent: &OwnedFd, name: &OsStr) -> nix::Result<OwnedFd> {
    match open_same_mount(parent, name) {
        Err(Errno::EACCES) => {
            fchmodat(parent, name, Mode::S_IRWXU, FchmodatFlags::NoFollowSymlink)?;
            open_same_mount(parent, name)
        }
        answer => answer,
    }
}

#[cfg(target_os = "linux")]
fn open_same_mount(parent: &OwnedFd, name: &OsStr) -> nix::Result<OwnedFd> {
    use nix::fcntl::{OFlag, OpenHow, ResolveFlag, openat2};
    let how = OpenHow::new()
        .flags(OFlag::O_RDONLY | OFlag::O_DIRECTORY | OFlag::O_NOFOLLOW | OFlag::O_CLOEXEC)
        .resolve(ResolveFlag::RESOLVE_NO_XDEV | ResolveFlag::RESOLVE_NO_SYMLINKS);
    match openat2(parent, name, how) {
        Err(Errno::ENOSYS | Errno::EPERM | Errno::EAGAIN) => open_and_compare(parent, name),
        answer => answer,
    }
}

#[cfg(not(target_os = "linux"))]
fn open_same_mount(parent: &OwnedFd, name: &OsStr) -> nix::Result<OwnedFd> {
    open_and_compare(parent, name)
}

fn open_and_compare(parent: &OwnedFd, name: &OsStr) -> nix::Result<OwnedFd> {
    let dir = listable(parent, name)?;
    let same = fstat(parent)?.st_dev == fstat(&dir)?.st_dev && mount_id(parent) == mount_id(&dir);
    if same { Ok(dir) } else { Err(Errno::EXDEV) }
}

/// Number of the mount that a descriptor lies in, from the kernel (since 5.8) or from /proc.
#[cfg(target_os = "linux")]
fn mount_id(dir: &OwnedFd) -> Option<u64> {
    use rustix::fs::{AtFlags, StatxFlags, statx};
    match statx(dir, "", AtFlags::EMPTY_PATH, StatxFlags::MNT_ID) {
        Ok(stat) if stat.stx_mask & StatxFlags::MNT_ID.bits() != 0 => Some(stat.stx_mnt_id),
        _ => mount_id_by_name(dir),
    }
}

#[cfg(target_os = "linux")]
fn mount_id_by_name(dir: &OwnedFd) -> Option<u64> {
    use std::os::fd::AsRawFd;
    let info = format!("/proc/self/fdinfo/{}", dir.as_raw_fd());
    let text = std::fs::read_to_string(info).ok()?;
    let id = text.lines().find_map(|line| line.strip_prefix("mnt_id:"))?;
    id.trim().parse().ok()
}

/// A mount is a file system of its own there.
#[cfg(not(target_os = "linux"))]
fn mount_id(_dir: &OwnedFd) -> Option<u64> {
    None
}

#[cfg(all(test, target_os = "linux"))]
mod tests {
    use nix::fcntl::{OFlag, open};

    use super::*;
    use crate::host::fs::testing::Bound;

    #[test]
    fn every_way_sees_a_bind_mount_of_the_same_device() {
        let dir = tempfile::tempdir().unwrap();
        for name in ["plain", "bound", "data"] {
            std::fs::create_dir(dir.path().join(name)).unwrap();
        }
        let parent = open(dir.path(), OFlag::O_DIRECTORY, Mode::empty()).unwrap();
        let open = |name: &str| listable(&parent, OsStr::new(name)).unwrap();
        let Some(_bound) = Bound::new(&dir.path().join("data"), &dir.path().join("bound")) else {
            return;
        };
        for way in [open_same_mount, open_and_compare] {
            assert!(way(&parent, OsStr::new("plain")).is_ok());
            let bound = way(&parent, OsStr::new("bound"));
            assert_eq!(bound.unwrap_err(), Errno::EXDEV);
        }
        for id in [mount_id, mount_id_by_name] {
            assert!(id(&parent).is_some());
            assert_eq!(id(&parent), id(&open("plain")));
            assert_ne!(id(&parent), id(&open("bound")));
        }
    }
}

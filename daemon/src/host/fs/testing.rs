//! What tests of files need: a root of their own, and things that cannot be removed.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use super::Fs;

/// A machine of files: an empty temporary folder.
pub(crate) fn rooted() -> (tempfile::TempDir, Fs) {
    let dir = tempfile::tempdir().unwrap();
    let fs = Fs::at(dir.path());
    (dir, fs)
}

/// A folder or file mounted over another, until it is dropped.
pub(crate) struct Bound(PathBuf);

impl Bound {
    /// `None` without the right to mount: the test has nothing to say then.
    #[cfg(target_os = "linux")]
    pub(crate) fn new(from: &Path, to: &Path) -> Option<Self> {
        use nix::mount::{MsFlags, mount};
        let none = None::<&str>;
        let mounted = mount(Some(from), to, none, MsFlags::MS_BIND, none);
        mounted.is_ok().then(|| Bound(to.to_owned()))
    }

    /// Nothing is mounted elsewhere.
    #[cfg(not(target_os = "linux"))]
    pub(crate) fn new(_from: &Path, _to: &Path) -> Option<Self> {
        None
    }
}

impl Drop for Bound {
    fn drop(&mut self) {
        #[cfg(target_os = "linux")]
        nix::mount::umount2(&self.0, nix::mount::MntFlags::MNT_DETACH).unwrap();
    }
}

/// A file that not even root can remove, until it is dropped.
pub(crate) struct Fixed(PathBuf);

impl Fixed {
    /// `None` where the file system has no such flag, or without the right to set it.
    pub(crate) fn new(path: &Path) -> Option<Self> {
        change(path, "+i").then(|| Fixed(path.to_owned()))
    }
}

impl Drop for Fixed {
    fn drop(&mut self) {
        assert!(change(&self.0, "-i"));
    }
}

fn change(path: &Path, flag: &str) -> bool {
    let mut chattr = Command::new("chattr");
    chattr.arg(flag).arg(path).stderr(Stdio::null());
    chattr.status().is_ok_and(|status| status.success())
}

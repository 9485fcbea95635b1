//! Keeps a garbage collection from taking a release that is in the store and not yet in the database.
//!
//! Nix's collector takes every store path that its database does not know. What it leaves alone are
//! the paths of temporary roots: files below `/nix/var/nix/temproots` that are named by a process and
//! locked by it, with the paths in full, each ended by a zero byte (`findTempRoots` in Nix's gc.cc).
//! The lock ends with the process, so nothing is left behind that holds anything.

use std::fs::{File, TryLockError};
use std::path::{Path, PathBuf};

use crate::engine::Step;
use crate::engine::step::PlannedStep;
use crate::host::{Fs, FsError};
use crate::payload::Manifest;
use crate::resource::Resource;

/// Where Nix's processes keep theirs.
const FOLDER: &str = "/nix/var/nix/temproots";
/// Where ours is written: the collector takes every name in that folder for a process.
const WRITTEN: &str = "/nix/var/nix/.nixctl-temproots";

/// Why the release is not held.
#[derive(Debug, thiserror::Error)]
pub enum TempRootsError {
    /// A file.
    #[error(transparent)]
    Fs(#[from] FsError),
    /// Somebody else has locked a file that was just made.
    #[error("cannot lock {WRITTEN}: {0}")]
    Locked(TryLockError),
}

/// A release that no collection takes, as long as this lives.
#[derive(Debug)]
pub struct TempRoots {
    fs: Fs,
    path: PathBuf,
    /// Has the lock.
    _file: File,
}

impl TempRoots {
    /// Holds the paths of a release. `None` where no Nix keeps temporary roots: nobody collects there.
    ///
    /// # Errors
    /// The file cannot be made or locked.
    pub fn hold(fs: &Fs, release: &Manifest) -> Result<Option<TempRoots>, TempRootsError> {
        if !fs.is_dir(Path::new(FOLDER)) {
            return Ok(None);
        }
        let written = Path::new(WRITTEN);
        let paths: String = release.paths.iter().map(|it| format!("{it}\0")).collect();
        fs.write(written, paths.as_bytes(), 0o600, None)?;
        let Some(file) = fs.open(written)? else {
            return Ok(None);
        };
        // Locked before it is where a collector would take one without a lock for a leftover.
        file.try_lock_shared().map_err(TempRootsError::Locked)?;
        let path = Path::new(FOLDER).join(std::process::id().to_string());
        fs.rename(written, &path)?;
        Ok(Some(TempRoots {
            fs: fs.clone(),
            path,
            _file: file,
        }))
    }
}

impl Drop for TempRoots {
    fn drop(&mut self) {
        if let Err(error) = self.fs.remove_file(&self.path) {
            tracing::debug!("cannot remove {}: {error}", self.path.display());
        }
    }
}

/// The release that is in the store and not in the database when this step begins.
pub fn unregistered(steps: &[PlannedStep], index: u32) -> Option<&str> {
    let (before, after) = steps.split_at_checked(index as usize)?;
    let unpacked = before.iter().find_map(|it| match &it.step {
        Step::Ensure(Resource::Payload(payload)) => Some(payload.archive.sha256.as_str()),
        _ => None,
    })?;
    let is_entered = |it: &PlannedStep| match &it.step {
        Step::Ensure(Resource::Registration(registration)) => registration.sha256 == unpacked,
        _ => false,
    };
    after.iter().any(is_entered).then_some(unpacked)
}

#[cfg(test)]
mod tests {
    use nixctl_proto::plan::PlanAction;

    use super::*;
    use crate::payload::Archive;
    use crate::resource::payload::Payload;
    use crate::resource::registration::Registration;

    fn manifest() -> Manifest {
        Manifest {
            version: "2.0".to_owned(),
            nix: "/nix/store/a-nix-2.0".to_owned(),
            cacert: None,
            paths: vec!["/nix/store/a-nix-2.0".into(), "/nix/store/b-lib".into()],
            reginfo: String::new(),
            unpacked_bytes: 1,
            unpacked_inodes: 1,
        }
    }

    #[test]
    fn what_is_held_is_what_a_collector_looks_for() {
        let dir = tempfile::tempdir().unwrap();
        let fs = Fs::at(dir.path());
        assert!(TempRoots::hold(&fs, &manifest()).unwrap().is_none());
        let folder = dir.path().join(FOLDER.trim_start_matches('/'));
        std::fs::create_dir_all(&folder).unwrap();
        let held = TempRoots::hold(&fs, &manifest()).unwrap().unwrap();
        let names = || std::fs::read_dir(&folder).unwrap().count();
        assert_eq!(names(), 1);
        let file = folder.join(std::process::id().to_string());
        let text = std::fs::read(&file).unwrap();
        assert_eq!(text, b"/nix/store/a-nix-2.0\0/nix/store/b-lib\0");
        // Whoever can lock it takes it for a leftover.
        let theirs = File::open(&file).unwrap();
        assert!(theirs.try_lock().is_err());
        drop(held);
        assert!(theirs.try_lock().is_ok());
        assert_eq!(names(), 0);
    }

    #[test]
    fn from_unpacking_until_it_is_registered() {
        let archive = |sha256: &str| Archive {
            sha256: sha256.to_owned(),
            version: "2.0".to_owned(),
            system: "x86_64-linux".to_owned(),
            store_gid: 0,
        };
        let payload = |it: &str| {
            Step::Ensure(Resource::Payload(Payload {
                archive: archive(it),
            }))
        };
        let entered = |it: &str| {
            let sha256 = it.to_owned();
            Step::Ensure(Resource::Registration(Registration { sha256 }))
        };
        let other = || Step::Discard("/x".into());
        let planned = |steps: Vec<Step>| -> Vec<PlannedStep> {
            let action = PlanAction::Run;
            let planned = |step| PlannedStep { step, action };
            steps.into_iter().map(planned).collect()
        };
        let all = planned(vec![other(), payload("a"), other(), entered("a"), other()]);
        let held: Vec<bool> = (0..7).map(|it| unregistered(&all, it).is_some()).collect();
        assert_eq!(held, [false, false, true, true, false, false, false]);
        // One that was kept in the store is in the database.
        let kept = planned(vec![other(), entered("a"), other()]);
        assert!((0..3).all(|it| unregistered(&kept, it).is_none()));
        let another = planned(vec![payload("b"), entered("a")]);
        assert_eq!(unregistered(&another, 1), None);
    }
}

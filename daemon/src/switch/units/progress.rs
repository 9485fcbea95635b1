//! How far an activation is, kept in /run: it survives the daemon and ends with the boot.
//!
//! The journal knows what an activation is to do; this file knows what of it was done, so that a
//! daemon that comes back goes on where the last one ended, and an activation that was done is not
//! done again. It is replaced as a whole after every phase.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use nixctl_planner::units::{Decisions, Phase, UnitName};
use serde::{Deserialize, Serialize};

use crate::host::{Fs, FsError};
use crate::switch::activate::error::{ActivateError, UnitFailure};

/// Folder of the files.
const DIRECTORY: &str = "/run/nixctl";

const PREFIX: &str = "activation-";
const SUFFIX: &str = ".json";

/// Far beyond any real one.
const MAX_BYTES: u64 = 16 << 20;

/// What an activation has done.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Progress {
    /// Phases that ended.
    pub done: Vec<Phase>,
    /// The decisions, with what the activation script added.
    pub decisions: Decisions,
    /// Which start of the units to be restarted was the last before.
    pub invocations: BTreeMap<UnitName, String>,
    /// Units that ran before.
    pub active: BTreeSet<UnitName>,
    /// Units that had failed before.
    pub failed: BTreeSet<String>,
    /// What went wrong so far.
    pub failures: Vec<UnitFailure>,
}

/// The file of one activation.
#[derive(Debug)]
pub struct ProgressFile<'a> {
    fs: &'a Fs,
    path: PathBuf,
}

impl<'a> ProgressFile<'a> {
    /// The file of the activation of this name.
    pub fn new(fs: &'a Fs, run: &str) -> Self {
        let path = Path::new(DIRECTORY).join(format!("{PREFIX}{run}{SUFFIX}"));
        ProgressFile { fs, path }
    }

    /// What an earlier attempt left; nothing when there was none, or it cannot be understood.
    ///
    /// # Errors
    /// When the file cannot be read.
    pub fn read(&self) -> Result<Option<Progress>, FsError> {
        let bytes = self.fs.read(&self.path, MAX_BYTES)?;
        Ok(bytes.and_then(|bytes| serde_json::from_slice(&bytes).ok()))
    }

    /// Replaces it.
    ///
    /// # Errors
    /// When it cannot be written.
    pub fn write(&self, progress: &Progress) -> Result<(), ActivateError> {
        let directory = Path::new(DIRECTORY);
        if self.fs.meta(directory)?.is_none() {
            self.fs.create_dir(directory, 0o755)?;
        }
        let bytes = serde_json::to_vec(progress)?;
        Ok(self.fs.write(&self.path, &bytes, 0o600, None)?)
    }

    /// Takes away what earlier activations left.
    ///
    /// # Errors
    /// When a file cannot be removed.
    pub fn remove_others(&self) -> Result<(), FsError> {
        let directory = Path::new(DIRECTORY);
        for name in self.fs.list(directory)? {
            let path = directory.join(&name);
            let name = name.to_string_lossy();
            if name.starts_with(PREFIX) && name.ends_with(SUFFIX) && path != self.path {
                self.fs.remove_file(&path)?;
            }
        }
        Ok(())
    }
}

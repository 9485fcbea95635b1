//! What the daemons of both versions and the keeper leave word of for each other.
//!
//! A JSON file beside the database, written whole, and read by both versions: what one of them does
//! not know is passed over, and what may be missing is given.

use std::path::{Path, PathBuf};

use nixctl_proto::{Code, Failure};
use serde::{Deserialize, Serialize};

use crate::host::clock::Moment;
use crate::host::{Fs, FsError};
use crate::payload::STATE_DIR;

/// Name of the file in the folder of the state.
const NAME: &str = "takeover.json";
/// Largest note that is read.
const MAX_BYTES: u64 = 1 << 20;

/// How far a take-over is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Phase {
    /// All is ready, and nothing is exchanged.
    Prepared,
    /// The other version is in place and has to prove itself.
    Trying,
    /// It is to be taken back.
    GivenUp,
    /// It was taken back.
    Back,
    /// It has proven itself.
    Proven,
}

/// One of the two versions.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Side {
    /// Its version.
    pub version: String,
    /// The form of the state that it writes.
    pub schema: u32,
    /// Folder with both of its programs.
    pub folder: PathBuf,
    /// SHA-256 of its daemon.
    pub nixctld: String,
}

/// Why a version is taken back.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Why {
    /// Code, which the one who reads it may not know.
    pub code: String,
    /// In words.
    pub message: String,
    /// Deeper causes.
    #[serde(default)]
    pub causes: Vec<String>,
}

/// A take-over.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Note {
    /// The version before.
    pub from: Side,
    /// The version after.
    pub to: Side,
    /// Folder of the programs in use.
    pub programs: PathBuf,
    /// How far it is.
    pub phase: Phase,
    /// How often the other version was started.
    #[serde(default)]
    pub attempts: u32,
    /// When for the first time.
    #[serde(default)]
    pub began: Option<Moment>,
    /// What was seen after the last start.
    #[serde(default)]
    pub seen: String,
    /// Why it is taken back.
    #[serde(default)]
    pub why: Option<Why>,
    /// Files that the version after has made and the one before does not know.
    #[serde(default)]
    pub made: Vec<PathBuf>,
}

impl From<&Failure> for Why {
    fn from(failure: &Failure) -> Why {
        Why {
            code: failure.code.to_string(),
            message: failure.message.clone(),
            causes: failure.causes.clone(),
        }
    }
}

impl Why {
    /// A reason in words.
    pub fn new(message: impl Into<String>) -> Why {
        Why {
            code: Code::TakenBack.to_string(),
            message: message.into(),
            causes: Vec::new(),
        }
    }

    /// As the failure of the operation that it ended.
    pub fn failure(&self, to: &str) -> Failure {
        let text = format!("cannot go on with nixctl {to}: {}", self.message);
        let code = Code::parse(&self.code).filter(|code| *code == Code::Cancelled);
        let mut failure = Failure::new(code.unwrap_or(Code::TakenBack), text);
        failure.causes.clone_from(&self.causes);
        failure
    }
}

impl Note {
    /// The note, if there is one.
    ///
    /// # Errors
    /// When it cannot be read.
    pub fn load(fs: &Fs) -> Result<Option<Note>, FsError> {
        let path = path();
        let Some(bytes) = fs.read(&path, MAX_BYTES)? else {
            return Ok(None);
        };
        let note = serde_json::from_slice(&bytes);
        note.map(Some).map_err(|error| FsError {
            action: "read",
            path,
            source: error.into(),
        })
    }

    /// Writes it; it is on the disk when this returns.
    ///
    /// # Errors
    /// When the disk refuses.
    pub fn save(&self, fs: &Fs) -> Result<(), FsError> {
        let path = path();
        let bytes = serde_json::to_vec_pretty(self).map_err(|error| FsError {
            action: "write",
            path: path.clone(),
            source: error.into(),
        })?;
        fs.write(&path, &bytes, 0o600, None)
    }

    /// Removes it.
    ///
    /// # Errors
    /// When the disk refuses.
    pub fn remove(fs: &Fs) -> Result<(), FsError> {
        fs.remove_file(&path())
    }
}

/// Whether another version is in place that has not proven itself. What cannot be read is none.
pub fn is_tried(fs: &Fs) -> bool {
    let note = Note::load(fs).ok().flatten();
    note.is_some_and(|note| matches!(note.phase, Phase::Trying | Phase::GivenUp))
}

/// The same for the folder of a state: a state that cannot be read is then no reason to begin a new
/// one, but to go back.
pub fn is_tried_beside(state: &Path) -> bool {
    let Ok(bytes) = std::fs::read(state.join(NAME)) else {
        return false;
    };
    let note = serde_json::from_slice::<Note>(&bytes);
    note.is_ok_and(|note| matches!(note.phase, Phase::Trying | Phase::GivenUp))
}

fn path() -> PathBuf {
    Path::new(STATE_DIR).join(NAME)
}

//! The step in which one version ends and the other takes over.
//!
//! Begun by the version of before, which leaves word and ends; found done by the version after, or,
//! when that did not serve, begun once more by the version of before, which finds why.

use std::path::{Path, PathBuf};
use std::sync::OnceLock;

use nixctl_proto::{Code, Failure};
use serde::{Deserialize, Serialize};

use super::note::{Note, Phase, Side, Why};
use super::step::{check, clear};
use super::{Edition, PROGRAMS, drop_in, keeper_path, place};
use crate::engine::step::StepFailure;
use crate::host::{Cancel, Fs, Host};
use crate::payload::files::{hash_all, open_regular};
use crate::resource::file::File;
use crate::resource::{Description, ResourceError};

/// One version takes over from another.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct HandOver {
    /// Version of before.
    pub from: String,
    /// Version after.
    pub to: String,
    /// Folder with the programs of before.
    pub from_folder: PathBuf,
    /// Folder with the programs after.
    pub to_folder: PathBuf,
    /// Folder of the programs in use.
    pub programs: PathBuf,
    /// The daemon's own files as the version of before wants them.
    pub files: Vec<File>,
}

/// Who looks at the step.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Stand {
    /// The version of before, which has to end.
    Leaves,
    /// The version after: it is done.
    TookOver,
    /// The version of before, which is back.
    Back(Failure),
}

/// What is left to do to take the step back.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Return {
    /// All is taken back.
    Done,
    /// This is the version after: it has to end.
    Leaves,
}

impl HandOver {
    pub(super) fn describe(&self) -> Description {
        let HandOver { from, to, .. } = self;
        Description {
            id: "hand-over".to_owned(),
            summary: format!("nixctld ends, and starts again as {to}"),
            details: vec![
                "its sockets stay open: whoever connects meanwhile waits".to_owned(),
                "the state is copied before, and put into the form of that version".to_owned(),
                format!("should it not start, answer and stay, {from} comes back with its state"),
            ],
        }
    }

    /// Leaves word, as the version of before; or sees how the other one stands.
    ///
    /// # Errors
    /// When the machine refuses, or the programs are not what they were.
    pub fn apply(&self, host: &Host, cancel: &Cancel) -> Result<Stand, StepFailure> {
        let fs = &host.fs;
        let note = Note::load(fs).map_err(ResourceError::from)?;
        let me = running().map_err(ResourceError::from)?;
        match note {
            Some(note) if note.phase == Phase::Back => {
                let why = note.why.unwrap_or_else(|| Why::new("nobody knows why"));
                return Ok(Stand::Back(why.failure(&self.to)));
            }
            Some(note) if note.phase != Phase::Prepared && note.to.nixctld == me => {
                return Ok(Stand::TookOver);
            }
            Some(note) if note.phase == Phase::Prepared => self.tell_systemd(host, &note)?,
            None => {
                let note = self.note(host, me, cancel)?;
                place::forget_state(fs).map_err(ResourceError::from)?;
                place::put_keeper(fs, &note).map_err(ResourceError::from)?;
                note.save(fs).map_err(ResourceError::from)?;
                self.tell_systemd(host, &note)?;
            }
            // The keeper has exchanged the programs, and yet it is this one that was started.
            Some(_) => {}
        }
        Ok(Stand::Leaves)
    }

    /// Takes it back, as the version of before; or has the keeper do that, as the version after.
    ///
    /// # Errors
    /// When the machine refuses.
    pub fn undo(&self, host: &Host, why: Option<&Failure>) -> Result<Return, StepFailure> {
        let fs = &host.fs;
        let Some(mut note) = Note::load(fs).map_err(ResourceError::from)? else {
            // It was cut off before it left word, or after all was taken back.
            if let Some(keeper) = keeper_path(&self.programs) {
                fs.remove_file(&keeper).map_err(ResourceError::from)?;
            }
            return Ok(Return::Done);
        };
        let is_tried = matches!(note.phase, Phase::Trying | Phase::GivenUp);
        if is_tried && running().map_err(ResourceError::from)? == note.to.nixctld {
            note.phase = Phase::GivenUp;
            note.why = why.map(Why::from);
            note.save(fs).map_err(ResourceError::from)?;
            return Ok(Return::Leaves);
        }
        self.restore_files(fs, &note)?;
        clear(host, &note)?;
        Ok(Return::Done)
    }

    /// Makes the daemon's files what they were, whatever the other version made of them before it was
    /// taken back without having undone that.
    fn restore_files(&self, fs: &Fs, note: &Note) -> Result<(), StepFailure> {
        if note.phase != Phase::Back {
            return Ok(());
        }
        for path in &note.made {
            fs.remove_file(path).map_err(ResourceError::from)?;
        }
        for file in &self.files {
            let there = fs.read(&file.path, 1 << 20).map_err(ResourceError::from)?;
            if there.as_deref() != Some(file.content.as_bytes()) {
                let owner = Some((file.uid, file.gid));
                fs.write(&file.path, file.content.as_bytes(), file.mode, owner)
                    .map_err(ResourceError::from)?;
            }
        }
        Ok(())
    }

    fn note(&self, host: &Host, me: String, cancel: &Cancel) -> Result<Note, StepFailure> {
        let of = |folder: &Path| {
            let path = folder.join(PROGRAMS[1]);
            sha256(&host.fs, &path).map_err(StepFailure::from)
        };
        if of(&self.from_folder)? != me {
            let text = format!(
                "cannot hand over: nixctld in {} is not the one that runs",
                self.programs.display()
            );
            return Err(Failure::new(Code::NotReplaceable, text).into());
        }
        let edition = check(Edition::of(host, &self.to_folder, cancel), &self.to)?;
        Ok(Note {
            from: Side {
                version: self.from.clone(),
                schema: Edition::own().schema,
                folder: self.from_folder.clone(),
                nixctld: me,
            },
            to: Side {
                version: self.to.clone(),
                schema: edition.schema,
                folder: self.to_folder.clone(),
                nixctld: of(&self.to_folder)?,
            },
            programs: self.programs.clone(),
            phase: Phase::Prepared,
            attempts: 0,
            began: None,
            seen: String::new(),
            why: None,
            made: Vec::new(),
        })
    }

    /// Has systemd run the keeper around each start.
    fn tell_systemd(&self, host: &Host, note: &Note) -> Result<(), StepFailure> {
        let fs = &host.fs;
        let shipped = drop_in(&note.programs);
        let path = Path::new(shipped.path);
        if let Some(folder) = path.parent().filter(|folder| !fs.is_dir(folder)) {
            fs.create_dir(folder, 0o755).map_err(ResourceError::from)?;
        }
        fs.write(path, shipped.content.as_bytes(), 0o644, None)
            .map_err(ResourceError::from)?;
        Ok(host.services.reload().map_err(ResourceError::from)?)
    }
}

/// SHA-256 of the program that runs.
fn running() -> Result<String, crate::payload::PayloadError> {
    static OWN: OnceLock<String> = OnceLock::new();
    if let Some(own) = OWN.get() {
        return Ok(own.clone());
    }
    let path = Path::new("/proc/self/exe");
    let fail = |source| crate::host::FsError {
        action: "read",
        path: path.to_owned(),
        source,
    };
    let mut file = std::fs::File::open(path).map_err(fail)?;
    let own = hash_all(&mut file, path, |_| Ok(()))?;
    Ok(OWN.get_or_init(|| own).clone())
}

/// SHA-256 of a file.
pub(super) fn sha256(fs: &Fs, path: &Path) -> Result<String, crate::payload::PayloadError> {
    let real = fs.real(path);
    let mut file = open_regular(&real)?;
    hash_all(&mut file, &real, |_| Ok(()))
}

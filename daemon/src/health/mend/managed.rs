//! A file that the user put under care is written whole.
//!
//! Its content may be a secret and never goes into a plan or a journal: they hold its hash, and the
//! settings and the source are read again when it is written. What it replaces may be one, too: it is
//! copied into a folder that only root enters, until the operation is over.

use std::path::{Path, PathBuf};

use nixctl_proto::settings;
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use crate::health::managed;
use crate::host::Host;
use crate::host::fs::Kind;
use crate::payload::STATE_DIR;
use crate::payload::files::{hex, private_dir};
use crate::resource::file::{File, Rights, SavedFile};
use crate::resource::saved::{Seen, foreign, look, mismatch, put_back, rights};
use crate::resource::{Context, Description, ResourceError, Result, Undo, Undone};

/// Folder for what is replaced, below the state folder.
const FOLDER: &str = "managed";
/// Largest file that is replaced.
const LIMIT: u64 = 16 << 20;

/// A file as it should be.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Managed {
    /// Absolute path.
    pub path: PathBuf,
    /// Hash of its content.
    pub sha256: String,
    /// Permission bits.
    pub mode: u32,
    /// Owner.
    pub uid: u32,
    /// Group.
    pub gid: u32,
    /// When it was planned, milliseconds since 1970: part of the name of what it replaces.
    pub at: u64,
}

/// What is in the place of such a file. Links are not followed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Place {
    /// The file, as it should be.
    Right,
    /// Nothing.
    Nothing,
    /// The file, with these rights.
    OtherRights(Rights),
    /// A file with other content, and these rights.
    OtherContent(Rights),
    /// A link to this.
    Link(PathBuf),
    /// Something that is not replaced, in words.
    Strange(&'static str),
}

impl Managed {
    /// The file as the settings say, without its content.
    pub fn of(file: &File) -> Managed {
        Managed {
            path: file.path.clone(),
            sha256: sha256(file.content.as_bytes()),
            mode: file.mode,
            uid: file.uid,
            gid: file.gid,
            at: 0,
        }
    }

    /// What is in its place.
    ///
    /// # Errors
    /// When that cannot be read.
    pub fn look(&self, host: &Host) -> Result<Place> {
        let size = host.fs.meta(&self.path)?.map_or(0, |meta| meta.size);
        Ok(match look(host, &self.path)? {
            Seen::Nothing => Place::Nothing,
            Seen::Saved(SavedFile::Regular {
                content,
                mode,
                uid,
                gid,
            }) => {
                let rights = Rights { mode, uid, gid };
                match sha256(&content) == self.sha256 {
                    true if rights == self.rights() => Place::Right,
                    true => Place::OtherRights(rights),
                    false => Place::OtherContent(rights),
                }
            }
            Seen::Saved(SavedFile::Link { target }) => Place::Link(target),
            _ if size > LIMIT => Place::Strange("a large file"),
            seen => Place::Strange(seen.words()),
        })
    }

    pub(super) fn describe(&self) -> Description {
        let path = self.path.display();
        Description {
            id: self.id(),
            summary: format!("write {path} as the settings say"),
            details: vec![
                rights(self.mode, self.uid, self.gid),
                "its content is not shown".to_owned(),
            ],
        }
    }

    pub(super) fn prepare(&self, host: &Host) -> Result<Undo> {
        Ok(match self.look(host)? {
            Place::Right => Undo::Nothing,
            Place::Nothing => Undo::Entries(missing_folders(host, &self.path)?),
            Place::OtherRights(rights) | Place::OtherContent(rights) => Undo::Rights(rights),
            Place::Link(target) => Undo::File(SavedFile::Link { target }),
            Place::Strange(what) => return Err(foreign(self.id(), what)),
        })
    }

    pub(super) fn apply(&self, context: &Context<'_>, undo: &Undo) -> Result<()> {
        let host = context.host;
        let content = match (self.look(host)?, undo) {
            (Place::Right, _) => return Ok(()),
            (Place::Nothing | Place::OtherRights(_), _) => self.content(host)?,
            (Place::Link(there), Undo::File(SavedFile::Link { target })) if there == *target => {
                self.content(host)?
            }
            (Place::OtherContent(_), Undo::Rights(_)) => {
                let content = self.content(host)?;
                self.save(host)?;
                content
            }
            (Place::OtherContent(_), _) => return Err(foreign(self.id(), "another file by now")),
            (Place::Link(_), _) => return Err(foreign(self.id(), "another link by now")),
            (Place::Strange(what), _) => return Err(foreign(self.id(), what)),
        };
        if let Undo::Entries(folders) = undo {
            self.make_folders(host, folders)?;
        }
        let (path, owner) = (&self.path, Some((self.uid, self.gid)));
        Ok(host.fs.write(path, content.as_bytes(), self.mode, owner)?)
    }

    pub(super) fn verify(&self, host: &Host) -> Result<()> {
        let seen = match self.look(host)? {
            Place::Right => return Ok(()),
            Place::Nothing => "it is not there".to_owned(),
            Place::OtherRights(it) => rights(it.mode, it.uid, it.gid),
            Place::OtherContent(_) => "it has other content".to_owned(),
            Place::Link(_) => "a symbolic link is there".to_owned(),
            Place::Strange(what) => format!("{what} is there"),
        };
        Err(self.unlike(seen))
    }

    pub(super) fn undo(&self, context: &Context<'_>, undo: &Undo) -> Result<Undone> {
        let host = context.host;
        let there = self.look(host)?;
        let is_free = matches!(there, Place::Right | Place::Nothing | Place::OtherRights(_));
        match undo {
            Undo::Nothing => {}
            Undo::Entries(folders) if is_free => {
                host.fs.remove_file(&self.path)?;
                for folder in folders.iter().rev() {
                    host.fs.remove_dir(Path::new(folder))?;
                }
            }
            Undo::File(saved @ SavedFile::Link { target }) => match there {
                Place::Link(there) if there == *target => {}
                _ if is_free => put_back(host, &self.path, saved)?,
                _ => return Ok(self.kept()),
            },
            Undo::Rights(before) => return self.undo_replacing(host, *before, &there),
            Undo::Entries(_) => return Ok(self.kept()),
            _ => return Err(mismatch(self.id())),
        }
        Ok(Undone::Clean)
    }

    /// Removes the copy of what was replaced.
    pub(super) fn forget(&self, host: &Host) -> Result<()> {
        host.fs.remove_file(&self.saved())?;
        host.fs.remove_dir(&folder())?;
        Ok(())
    }

    fn undo_replacing(&self, host: &Host, before: Rights, there: &Place) -> Result<Undone> {
        let Rights { mode, uid, gid } = before;
        let fs = &host.fs;
        match (fs.read(&self.saved(), LIMIT)?, there) {
            // Only its rights were others, or it was not written.
            (None, Place::Right | Place::OtherRights(_)) => {
                fs.set_owner(&self.path, uid, gid)?;
                fs.set_mode(&self.path, mode)?;
            }
            (None, _) => {}
            (Some(content), Place::Right | Place::Nothing | Place::OtherRights(_)) => {
                fs.write(&self.path, &content, mode, Some((uid, gid)))?;
            }
            (Some(content), _) if self.is_there(host, &content)? => {}
            // The copy is the last one of what was there.
            (Some(_), _) => {
                let (path, saved) = (self.path.display(), self.saved());
                return Ok(Undone::Kept(format!(
                    "{path}: something else is there by now; what was there before stays at {}",
                    saved.display()
                )));
            }
        }
        self.forget(host)?;
        Ok(Undone::Clean)
    }

    /// Copies what is there, once.
    fn save(&self, host: &Host) -> Result<()> {
        let (fs, saved) = (&host.fs, self.saved());
        match fs.read(&saved, LIMIT)? {
            None => {
                private_dir(fs, Path::new(STATE_DIR))?;
                private_dir(fs, &folder())?;
                Ok(fs.copy_file(&self.path, &saved, 0o600)?)
            }
            Some(content) if self.is_there(host, &content)? => Ok(()),
            Some(_) => Err(foreign(self.id(), "another file by now")),
        }
    }

    fn is_there(&self, host: &Host, content: &[u8]) -> Result<bool> {
        let there = host.fs.read(&self.path, LIMIT)?;
        Ok(there.as_deref() == Some(content))
    }

    /// The content, as long as the settings and the source say what they said.
    fn content(&self, host: &Host) -> Result<String> {
        let (settings, _) = settings::load(host.fs.root())
            .map_err(|error| self.unlike(format!("the settings cannot be read: {error}")))?;
        let mut entries = settings.managed.iter();
        let entry = entries.find(|entry| Path::new(&entry.path) == self.path);
        let entry = entry.ok_or_else(|| self.unlike("it is not under care any more"))?;
        let file = managed::file(entry, &[], host).map_err(|why| self.unlike(why))?;
        let now = Managed {
            at: self.at,
            ..Managed::of(&file)
        };
        if now != *self {
            return Err(self.unlike("its source or the settings were changed meanwhile"));
        }
        Ok(file.content)
    }

    fn make_folders(&self, host: &Host, folders: &[String]) -> Result<()> {
        let mode = if self.mode & 0o044 == 0 { 0o700 } else { 0o755 };
        for folder in folders.iter().map(Path::new) {
            if host.fs.meta(folder)?.is_none() {
                host.fs.create_dir(folder, mode)?;
            }
            host.fs.set_owner(folder, self.uid, self.gid)?;
        }
        Ok(())
    }

    /// Where what is replaced is kept.
    fn saved(&self) -> PathBuf {
        let names = self.path.iter().skip(1);
        let names: Vec<_> = names.map(|name| name.to_string_lossy()).collect();
        folder().join(format!("{}-{}", self.at, names.join("-")))
    }

    fn rights(&self) -> Rights {
        Rights {
            mode: self.mode,
            uid: self.uid,
            gid: self.gid,
        }
    }

    fn id(&self) -> String {
        format!("managed:{}", self.path.display())
    }

    fn unlike(&self, seen: impl Into<String>) -> ResourceError {
        ResourceError::Drifted {
            id: self.id(),
            seen: seen.into(),
        }
    }

    fn kept(&self) -> Undone {
        let path = self.path.display();
        Undone::Kept(format!("{path}: something else is there by now, it stays"))
    }
}

fn folder() -> PathBuf {
    Path::new(STATE_DIR).join(FOLDER)
}

fn sha256(content: &[u8]) -> String {
    hex(&Sha256::digest(content))
}

/// The folders on the way to a file that are not there, the outermost first.
fn missing_folders(host: &Host, path: &Path) -> Result<Vec<String>> {
    let mut missing = Vec::new();
    for folder in path.ancestors().skip(1) {
        match host.fs.meta(folder)?.map(|meta| meta.kind) {
            None => missing.push(folder.to_string_lossy().into_owned()),
            Some(Kind::Directory | Kind::Link) => break,
            Some(_) => {
                let id = format!("managed:{}", path.display());
                return Err(foreign(id, "a file where its folder should be"));
            }
        }
    }
    missing.reverse();
    Ok(missing)
}

#[cfg(test)]
#[path = "managed_tests.rs"]
mod tests;

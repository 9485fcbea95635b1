//! A marked block at the beginning of somebody else's file.
//!
//! The text begins and ends with the lines that all known installers of Nix use (`# Nix`,
//! `# End Nix`), so that they recognise ours and we recognise theirs. A file that is a symbolic
//! link belongs to somebody else (nix-darwin, NixOS) and is left alone.

use std::path::PathBuf;

use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use super::file::{Rights, SavedFile};
use super::saved::{Seen, foreign, look_within, mismatch};
use super::{Context, Description, Presence, Result, Undo, Undone};
use crate::host::Host;
use crate::payload::files::hex;

/// First and last line of a block, of ours and of every other installer's.
const BEGIN: &[u8] = b"# Nix";
const END: &[u8] = b"# End Nix";

/// Mode of a file that we make.
const MODE: u32 = 0o644;

/// Bytes of the largest file that is changed. Start-up files have a few thousand.
const LIMIT: u64 = 1 << 20;

/// A block of lines in a file that is not ours.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Block {
    /// Absolute path of the file.
    pub path: PathBuf,
    /// The whole block, markers and surrounding blank lines included, as it stands in the file.
    pub text: String,
    /// Whether the file is made (mode 0644, root) when it is not there.
    pub create: bool,
}

/// Where a block stands, or is to stand, and what is around it. Never the file's content, which
/// may be large, or be nobody's business.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct BlockUndo {
    /// Bytes before it.
    pub offset: u64,
    /// SHA-256 of the file without it.
    pub rest: String,
    /// Mode and owner of the file.
    pub rights: Rights,
}

impl Block {
    /// What it is, for people.
    pub fn describe(&self) -> Description {
        let mut details: Vec<String> = self.text.lines().map(str::to_owned).collect();
        details.push("a file that is a symbolic link is left alone".to_owned());
        Description {
            id: self.id(),
            summary: format!("add a block to {}", self.path.display()),
            details,
        }
    }

    /// Whether it is on the machine as it should be. A link, and a file that is not there and
    /// would not be made, are as they should be.
    pub fn probe(&self, host: &Host) -> Result<Presence> {
        let seen = self.look(host)?;
        Ok(match &seen {
            Seen::Nothing if self.create => Presence::Absent,
            Seen::Nothing | Seen::Saved(SavedFile::Link { .. }) => Presence::Present,
            Seen::Saved(SavedFile::Regular { content, .. }) => {
                if find(content, self.text.as_bytes()).is_some() {
                    Presence::Present
                } else if self.is_in_conflict_with(content) {
                    Presence::Foreign(format!(
                        "{} has a block `# Nix` with other content",
                        self.path.display()
                    ))
                } else {
                    Presence::Absent
                }
            }
            Seen::Large => Presence::Foreign(format!(
                "{} has more than 1 MiB, and start-up files that large are not changed",
                self.path.display()
            )),
            _ => Presence::Foreign(format!("{} is {}", self.path.display(), seen.words())),
        })
    }

    /// Reads what undoing will need.
    pub fn prepare(&self, host: &Host) -> Result<Undo> {
        match self.probe(host)? {
            Presence::Present => Ok(Undo::Nothing),
            Presence::Drifted(seen) | Presence::Foreign(seen) => Err(foreign(self.id(), seen)),
            Presence::Absent => match self.look(host)? {
                Seen::Nothing => Ok(Undo::Created),
                Seen::Saved(SavedFile::Regular {
                    content,
                    mode,
                    uid,
                    gid,
                }) => Ok(Undo::Block(BlockUndo {
                    offset: 0,
                    rest: sha256(&content),
                    rights: Rights { mode, uid, gid },
                })),
                seen => Err(foreign(self.id(), seen.words())),
            },
        }
    }

    /// Makes it so.
    pub fn apply(&self, context: &Context<'_>, undo: &Undo) -> Result<()> {
        let host = context.host;
        match self.look(host)? {
            Seen::Saved(SavedFile::Link { .. }) => {
                let path = self.path.display();
                context
                    .progress
                    .note(&format!("{path} is a symbolic link and was left alone"));
            }
            // It was right before, so undoing would not take away what is added now.
            _ if *undo == Undo::Nothing => {}
            Seen::Nothing if self.create => {
                host.fs
                    .write(&self.path, self.text.as_bytes(), MODE, None)?;
            }
            Seen::Nothing => {}
            Seen::Saved(SavedFile::Regular {
                content,
                mode,
                uid,
                gid,
            }) => {
                if find(&content, self.text.as_bytes()).is_none() {
                    if self.is_in_conflict_with(&content) {
                        return Err(foreign(self.id(), "a block with other content"));
                    }
                    let whole = [self.text.as_bytes(), &content].concat();
                    host.fs.write(&self.path, &whole, mode, Some((uid, gid)))?;
                }
            }
            seen => return Err(foreign(self.id(), seen.words())),
        }
        Ok(())
    }

    /// Takes it back to what it was: exactly the block goes, wherever it stands by now.
    pub fn undo(&self, context: &Context<'_>, undo: &Undo) -> Result<Undone> {
        let created = match undo {
            Undo::Nothing => return Ok(Undone::Clean),
            Undo::Created => true,
            // Earlier versions kept the whole file.
            Undo::Block(_) | Undo::File(_) => false,
            _ => return Err(mismatch(self.id())),
        };
        let host = context.host;
        let path = self.path.display();
        let (content, mode, owner) = match self.look(host)? {
            Seen::Saved(SavedFile::Regular {
                content,
                mode,
                uid,
                gid,
            }) => (content, mode, (uid, gid)),
            Seen::Large => {
                return Ok(Undone::Kept(format!(
                    "{path}: it has more than 1 MiB by now, the block in it stays"
                )));
            }
            _ => return Ok(Undone::Clean),
        };
        let Some(rest) = without(&content, self.text.as_bytes()) else {
            return Ok(if self.is_in_conflict_with(&content) {
                Undone::Kept(format!(
                    "{path}: the block in it was changed after the install, it stays"
                ))
            } else if created {
                Undone::Kept(format!(
                    "{path}: it was changed after the install, it stays"
                ))
            } else {
                Undone::Clean
            });
        };
        if created && rest.is_empty() {
            host.fs.remove_file(&self.path)?;
            return Ok(Undone::Clean);
        }
        host.fs.write(&self.path, &rest, mode, Some(owner))?;
        Ok(if created {
            Undone::Kept(format!(
                "{path}: lines were added after the install, they stay"
            ))
        } else {
            Undone::Clean
        })
    }

    /// Reads what bringing it back will need.
    pub fn prepare_removal(&self, host: &Host) -> Result<Undo> {
        let Seen::Saved(SavedFile::Regular {
            content,
            mode,
            uid,
            gid,
        }) = self.look(host)?
        else {
            return Ok(Undo::Nothing);
        };
        let text = self.text.as_bytes();
        Ok(match (find(&content, text), without(&content, text)) {
            (Some(offset), Some(rest)) => Undo::Block(BlockUndo {
                offset: offset as u64,
                rest: sha256(&rest),
                rights: Rights { mode, uid, gid },
            }),
            _ => Undo::Nothing,
        })
    }

    /// Brings it back to where it stood, or to the beginning of a file that was changed since.
    pub fn restore(&self, context: &Context<'_>, place: &BlockUndo) -> Result<()> {
        let fs = &context.host.fs;
        let text = self.text.as_bytes();
        let (content, Rights { mode, uid, gid }) = match self.look(context.host)? {
            Seen::Nothing if place.rest == sha256(b"") => (Vec::new(), place.rights),
            Seen::Saved(SavedFile::Regular {
                content,
                mode,
                uid,
                gid,
            }) => (content, Rights { mode, uid, gid }),
            seen => return Err(foreign(self.id(), seen.words())),
        };
        if find(&content, text).is_some() {
            return Ok(());
        }
        if self.is_in_conflict_with(&content) {
            return Err(foreign(self.id(), "a block with other content"));
        }
        let same = place.rest == sha256(&content);
        let offset = usize::try_from(place.offset).unwrap_or(0);
        let (before, after) = content
            .split_at_checked(offset)
            .filter(|_| same)
            .unwrap_or((&[], &content));
        let whole = [before, text, after].concat();
        Ok(fs.write(&self.path, &whole, mode, Some((uid, gid)))?)
    }

    fn look(&self, host: &Host) -> Result<Seen> {
        look_within(host, &self.path, LIMIT)
    }

    /// A block without the common markers stands beside one of another installer: it is another
    /// thing, with a name of its own.
    fn id(&self) -> String {
        let beside = if has_marked_block(self.text.as_bytes()) {
            ""
        } else {
            "#own"
        };
        format!("block:{}{beside}", self.path.display())
    }

    /// Whether the file has a block between the same markers that says something else.
    fn is_in_conflict_with(&self, content: &[u8]) -> bool {
        has_marked_block(self.text.as_bytes()) && has_marked_block(content)
    }
}

fn sha256(content: &[u8]) -> String {
    hex(&Sha256::digest(content))
}

fn find(content: &[u8], text: &[u8]) -> Option<usize> {
    content
        .windows(text.len().max(1))
        .position(|window| window == text)
}

/// The content without the first occurrence of the text.
fn without(content: &[u8], text: &[u8]) -> Option<Vec<u8>> {
    let (before, rest) = content.split_at_checked(find(content, text)?)?;
    Some([before, rest.get(text.len()..)?].concat())
}

/// Whether there is a block between the markers, whatever it says.
fn has_marked_block(content: &[u8]) -> bool {
    let mut lines = content.split(|&byte| byte == b'\n').map(<[u8]>::trim_ascii);
    lines.any(|line| line == BEGIN) && lines.any(|line| line == END)
}

#[cfg(test)]
#[path = "block_tests.rs"]
mod tests;

//! A file whose whole content is ours.
//!
//! Undoing removes it or puts back what was there, unless a user changed it since: then it stays
//! and is named.

use std::path::PathBuf;

use serde::{Deserialize, Serialize};

use super::saved::{Seen, foreign, kept_changed, look, mismatch, put_back, rights};
use super::{Context, Description, Presence, Result, Undo, Undone};
use crate::host::Host;

/// A regular file, written whole.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct File {
    /// Absolute path.
    pub path: PathBuf,
    /// Content.
    pub content: String,
    /// Permission bits.
    pub mode: u32,
    /// Owner.
    pub uid: u32,
    /// Group.
    pub gid: u32,
    /// Whether something else in its place may be replaced (and is put back at the end).
    pub replace: bool,
}

/// What was in a place before.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum SavedFile {
    /// A regular file.
    Regular {
        /// Content.
        content: Vec<u8>,
        /// Permission bits.
        mode: u32,
        /// Owner.
        uid: u32,
        /// Group.
        gid: u32,
    },
    /// A symbolic link.
    Link {
        /// Target.
        target: PathBuf,
    },
    /// A folder, of which only mode and owner are put back.
    Directory {
        /// Permission bits.
        mode: u32,
        /// Owner.
        uid: u32,
        /// Group.
        gid: u32,
    },
}

/// Mode and owner.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Rights {
    /// Permission bits.
    pub mode: u32,
    /// Owner.
    pub uid: u32,
    /// Group.
    pub gid: u32,
}

impl File {
    /// What it is, for people.
    pub fn describe(&self) -> Description {
        let mut details = vec![rights(self.mode, self.uid, self.gid)];
        // Plans can be read by everybody.
        if self.mode & 0o004 == 0 {
            details.push("its content is not shown, not everybody may read it".to_owned());
        } else {
            details.extend(self.content.lines().map(str::to_owned));
        }
        Description {
            id: self.id(),
            summary: format!("write the file {}", self.path.display()),
            details,
        }
    }

    /// Whether it is on the machine as it should be.
    pub fn probe(&self, host: &Host) -> Result<Presence> {
        let seen = look(host, &self.path)?;
        Ok(match &seen {
            Seen::Nothing => Presence::Absent,
            Seen::Saved(saved) if *saved == self.wanted() => Presence::Present,
            Seen::Saved(SavedFile::Regular { mode, uid, gid, .. }) if self.is_content(&seen) => {
                Presence::Drifted(format!(
                    "{}, expected {}",
                    rights(*mode, *uid, *gid),
                    rights(self.mode, self.uid, self.gid)
                ))
            }
            Seen::Saved(SavedFile::Regular { .. } | SavedFile::Link { .. }) if self.replace => {
                Presence::Drifted(format!("{}, expected our own file", seen.words()))
            }
            _ => Presence::Foreign(format!("{} is {}", self.path.display(), seen.words())),
        })
    }

    /// Reads what undoing will need.
    pub fn prepare(&self, host: &Host) -> Result<Undo> {
        match self.probe(host)? {
            Presence::Present => Ok(Undo::Nothing),
            Presence::Absent => Ok(Undo::Created),
            Presence::Foreign(seen) => Err(foreign(self.id(), seen)),
            Presence::Drifted(_) => match look(host, &self.path)? {
                Seen::Saved(saved) => Ok(Undo::File(saved)),
                seen => Err(foreign(self.id(), seen.words())),
            },
        }
    }

    /// Makes it so. What came into the place after `prepare` looked is not replaced.
    pub fn apply(&self, context: &Context<'_>, undo: &Undo) -> Result<()> {
        let seen = look(context.host, &self.path)?;
        let ours = self.is_content(&seen);
        match (&seen, undo) {
            (Seen::Saved(saved), _) if *saved == self.wanted() => return Ok(()),
            (Seen::Nothing, _) => {}
            (Seen::Saved(there), Undo::File(saved)) if ours || there == saved => {}
            (_, Undo::Created | Undo::Nothing) if ours => {}
            _ => return Err(foreign(self.id(), seen.words())),
        }
        put_back(context.host, &self.path, &self.wanted())
    }

    /// Takes it back to what it was.
    pub fn undo(&self, context: &Context<'_>, undo: &Undo) -> Result<Undone> {
        let host = context.host;
        let seen = look(host, &self.path)?;
        match (undo, &seen) {
            (Undo::Nothing, _) | (Undo::Created, Seen::Nothing) => {}
            (Undo::File(saved), Seen::Saved(there)) if saved == there => {}
            (Undo::Created, _) if self.is_content(&seen) => host.fs.remove_file(&self.path)?,
            (Undo::File(saved), _) if self.is_content(&seen) || seen == Seen::Nothing => {
                put_back(host, &self.path, saved)?;
            }
            (Undo::Created | Undo::File(_), _) => return Ok(kept_changed(&self.path)),
            _ => return Err(mismatch(self.id())),
        }
        Ok(Undone::Clean)
    }

    /// Reads what bringing it back will need.
    pub fn prepare_removal(&self, host: &Host) -> Result<Undo> {
        Ok(look(host, &self.path)?.to_be_removed())
    }

    /// Brings it back as it was taken away.
    pub fn restore(&self, context: &Context<'_>, made: &Undo, rights: Rights) -> Result<()> {
        let seen = look(context.host, &self.path)?;
        let free = match (&seen, made) {
            (Seen::Nothing, _) => true,
            (Seen::Saved(there), Undo::File(before)) => there == before,
            _ => false,
        };
        if !free && !self.is_content(&seen) {
            return Err(foreign(self.id(), seen.words()));
        }
        put_back(context.host, &self.path, &self.with(rights))
    }

    fn id(&self) -> String {
        format!("file:{}", self.path.display())
    }

    fn wanted(&self) -> SavedFile {
        let (mode, uid, gid) = (self.mode, self.uid, self.gid);
        self.with(Rights { mode, uid, gid })
    }

    fn with(&self, Rights { mode, uid, gid }: Rights) -> SavedFile {
        SavedFile::Regular {
            content: self.content.clone().into_bytes(),
            mode,
            uid,
            gid,
        }
    }

    /// Whether it is a file with our content, whatever its mode and owner.
    fn is_content(&self, seen: &Seen) -> bool {
        matches!(seen, Seen::Saved(SavedFile::Regular { content, .. })
            if content == self.content.as_bytes())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::resource::Resource;
    use crate::resource::testing::{Machine, check_laws, check_removal, make, own_ids, undone};

    const PATH: &str = "/etc/x";

    fn file(replace: bool) -> Resource {
        let (uid, gid) = own_ids();
        let content = "ours\n".to_owned();
        Resource::File(File {
            path: PATH.into(),
            content,
            mode: 0o640,
            uid,
            gid,
            replace,
        })
    }

    #[test]
    fn what_only_some_may_read_is_not_described() {
        let mut secret = File {
            path: PATH.into(),
            content: "http_proxy=http://me:secret@proxy\n".to_owned(),
            mode: 0o600,
            uid: 0,
            gid: 0,
            replace: false,
        };
        let told = |file: &File| file.describe().details.join("\n");
        assert!(!told(&secret).contains("secret"));
        secret.mode = 0o644;
        assert!(told(&secret).contains("secret"));
    }

    #[test]
    fn laws() {
        check_laws(&Machine::new(), &file(false));
        for (content, mode) in [("ours\n", 0o600), ("theirs", 0o755)] {
            let machine = Machine::new();
            machine.put(PATH, content);
            machine.chmod(PATH, mode);
            check_laws(&machine, &file(true));
        }
        let linked = Machine::new();
        std::os::unix::fs::symlink("/etc/none", linked.path(PATH)).unwrap();
        check_laws(&linked, &file(true));
        let right = Machine::new();
        make(&right, &file(false)).unwrap();
        assert_eq!(file(false).prepare(&right.host).unwrap(), Undo::Nothing);
        check_laws(&right, &file(false));
    }

    #[test]
    fn what_a_user_changed_stays_and_is_named() {
        for (before, undo_kind) in [(None, false), (Some("theirs"), true)] {
            let machine = Machine::new();
            if let Some(content) = before {
                machine.put(PATH, content);
            }
            let undo = make(&machine, &file(undo_kind)).unwrap();
            machine.put(PATH, "edited");
            let kept = undone(&machine, &file(undo_kind), &undo).unwrap();
            assert_eq!(kept, "/etc/x: it was changed after the install, it stays");
            assert_eq!(machine.text(PATH).unwrap(), "edited");
        }
    }

    #[test]
    fn what_is_gone_already_is_clean() {
        let machine = Machine::new();
        let undo = make(&machine, &file(false)).unwrap();
        std::fs::remove_file(machine.path(PATH)).unwrap();
        assert_eq!(undone(&machine, &file(false), &undo), None);
    }

    #[test]
    fn a_link_that_was_half_put_back_is_put_back() {
        let machine = Machine::new();
        std::os::unix::fs::symlink("/etc/none", machine.path(PATH)).unwrap();
        let before = machine.state();
        let undo = make(&machine, &file(true)).unwrap();
        std::fs::remove_file(machine.path(PATH)).unwrap();
        assert_eq!(undone(&machine, &file(true), &undo), None);
        assert_eq!(machine.state(), before);
    }

    #[test]
    fn what_is_not_ours_is_not_replaced() {
        let machine = Machine::new();
        machine.put(PATH, "theirs");
        let before = machine.state();
        assert!(matches!(
            file(false).probe(&machine.host).unwrap(),
            Presence::Foreign(_)
        ));
        assert!(file(false).prepare(&machine.host).is_err());
        for late in [Undo::Created, Undo::Nothing] {
            assert!(
                file(true).apply(&machine.context(), &late).is_err(),
                "it came in between"
            );
        }
        assert!(undone(&machine, &file(true), &Undo::Created).is_some());
        assert_eq!(machine.state(), before);
        std::fs::remove_file(machine.path(PATH)).unwrap();
        std::fs::create_dir(machine.path(PATH)).unwrap();
        assert!(file(true).prepare(&machine.host).is_err());
    }

    #[test]
    fn a_folder_that_leads_into_the_store_is_left_alone() {
        let machine = Machine::new();
        machine.put("/nix/store/p/units/y", "theirs");
        let link = machine.path("/etc/units");
        std::os::unix::fs::symlink("/nix/store/p/units", link).unwrap();
        let before = machine.state();
        let Resource::File(file) = file(false) else {
            unreachable!()
        };
        let path = "/etc/units/x.service".into();
        let file = Resource::File(File { path, ..file });
        let undo = file.prepare(&machine.host).unwrap();
        let failure = file.apply(&machine.context(), &undo).unwrap_err().failure();
        assert_eq!(failure.code, nixctl_proto::Code::FileFailed);
        let why = "cannot write /etc/units/x.service: it lies in the store, by way of a link";
        assert!(failure.message.contains(why), "{}", failure.message);
        assert_eq!(undone(&machine, &file, &undo), None);
        assert_eq!(machine.state(), before);
    }

    #[test]
    fn undo_data_of_another_kind_is_refused() {
        let undo = Undo::Entries(Vec::new());
        assert!(file(false).undo(&Machine::new().context(), &undo).is_err());
    }

    #[test]
    fn what_was_taken_away_comes_back_with_the_rights_it_had() {
        for there in [false, true] {
            let machine = Machine::new();
            if there {
                machine.put(PATH, "theirs");
            }
            let file = file(true);
            let made = make(&machine, &file).unwrap();
            machine.chmod(PATH, 0o600);
            check_removal(&machine, &file, &made);
        }
    }
}

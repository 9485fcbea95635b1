//! A folder with a mode and an owner.
//!
//! Undoing removes it only when it was made by us and is empty by then.

use std::path::PathBuf;

use serde::{Deserialize, Serialize};

use super::file::{Rights, SavedFile};
use super::saved::{Seen, foreign, kept_changed, look, mismatch, put_back, rights};
use super::{Context, Description, Presence, Result, Undo, Undone};
use crate::host::Host;

/// A folder; its parent exists or is a resource before it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Directory {
    /// Absolute path.
    pub path: PathBuf,
    /// Permission bits.
    pub mode: u32,
    /// Owner.
    pub uid: u32,
    /// Group.
    pub gid: u32,
    /// Accept an existing folder with another mode or owner as it is.
    pub lenient: bool,
}

impl Directory {
    /// What it is, for people.
    pub fn describe(&self) -> Description {
        Description {
            id: self.id(),
            summary: format!("create the directory {}", self.path.display()),
            details: vec![rights(self.mode, self.uid, self.gid)],
        }
    }

    /// Whether it is on the machine as it should be.
    pub fn probe(&self, host: &Host) -> Result<Presence> {
        Ok(match look(host, &self.path)? {
            Seen::Nothing => Presence::Absent,
            Seen::Saved(seen) if seen == self.wanted() => Presence::Present,
            Seen::Saved(SavedFile::Directory { mode, uid, gid }) => {
                if self.lenient {
                    Presence::Present
                } else {
                    Presence::Drifted(format!(
                        "{}, expected {}",
                        rights(mode, uid, gid),
                        rights(self.mode, self.uid, self.gid)
                    ))
                }
            }
            Seen::Saved(SavedFile::Link { .. }) if self.lenient && host.fs.is_dir(&self.path) => {
                Presence::Present
            }
            seen => Presence::Foreign(format!("{} is {}", self.path.display(), seen.words())),
        })
    }

    /// Reads what undoing will need.
    pub fn prepare(&self, host: &Host) -> Result<Undo> {
        match self.probe(host)? {
            Presence::Present => Ok(Undo::Nothing),
            Presence::Absent => Ok(Undo::Created),
            Presence::Foreign(seen) => Err(foreign(self.id(), seen)),
            Presence::Drifted(_) => match look(host, &self.path)? {
                Seen::Saved(saved @ SavedFile::Directory { .. }) => Ok(Undo::File(saved)),
                seen => Err(foreign(self.id(), seen.words())),
            },
        }
    }

    /// Makes it so.
    pub fn apply(&self, context: &Context<'_>, undo: &Undo) -> Result<()> {
        let host = context.host;
        match look(host, &self.path)? {
            Seen::Nothing => host.fs.create_dir(&self.path, self.mode)?,
            Seen::Saved(seen) if seen == self.wanted() => return Ok(()),
            Seen::Saved(SavedFile::Directory { .. }) => {
                // A lenient one that we made and were cut off at is finished all the same.
                if self.lenient && *undo != Undo::Created {
                    return Ok(());
                }
            }
            seen => {
                return match self.probe(host)? {
                    Presence::Present => Ok(()),
                    _ => Err(foreign(self.id(), seen.words())),
                };
            }
        }
        put_back(host, &self.path, &self.wanted())
    }

    /// Takes it back to what it was.
    pub fn undo(&self, context: &Context<'_>, undo: &Undo) -> Result<Undone> {
        let host = context.host;
        let path = self.path.display();
        match undo {
            Undo::Nothing => Ok(Undone::Clean),
            Undo::Created => match look(host, &self.path)? {
                Seen::Nothing => Ok(Undone::Clean),
                Seen::Saved(SavedFile::Directory { .. }) => {
                    if host.fs.remove_dir(&self.path)? || host.fs.meta(&self.path)?.is_none() {
                        Ok(Undone::Clean)
                    } else if host.fs.list(&self.path)?.is_empty() {
                        Ok(Undone::Kept(format!("{path}: it is in use, it stays")))
                    } else {
                        Ok(Undone::Kept(format!("{path}: it is not empty, it stays")))
                    }
                }
                seen => Ok(Undone::Kept(format!(
                    "{path}: it is now {}, it stays",
                    seen.words()
                ))),
            },
            Undo::File(saved @ SavedFile::Directory { .. }) => match look(host, &self.path)? {
                Seen::Saved(seen) if self.is_between(&seen, saved) => {
                    put_back(host, &self.path, saved)?;
                    Ok(Undone::Clean)
                }
                Seen::Nothing => Ok(Undone::Clean),
                _ => Ok(kept_changed(&self.path)),
            },
            _ => Err(mismatch(self.id())),
        }
    }

    /// Reads what bringing it back will need.
    pub fn prepare_removal(&self, host: &Host) -> Result<Undo> {
        Ok(look(host, &self.path)?.to_be_removed())
    }

    /// Brings it back as it was taken away; one that was not empty never went.
    pub fn restore(&self, context: &Context<'_>, made: &Undo, rights: Rights) -> Result<()> {
        let host = context.host;
        let Rights { mode, uid, gid } = rights;
        let taken = SavedFile::Directory { mode, uid, gid };
        match (look(host, &self.path)?, made) {
            (Seen::Nothing, _) => host.fs.create_dir(&self.path, mode)?,
            // Made anew by an attempt that was cut off before it got its owner.
            (Seen::Saved(SavedFile::Directory { .. }), Undo::Created) => {}
            (Seen::Saved(seen), Undo::File(before)) if seen == *before || seen == taken => {}
            (seen, _) => return Err(foreign(self.id(), seen.words())),
        }
        put_back(host, &self.path, &taken)
    }

    fn id(&self) -> String {
        format!("directory:{}", self.path.display())
    }

    /// Whether mode and owner are each as before or as we set them: attempts can be cut off
    /// between the two.
    fn is_between(&self, seen: &SavedFile, saved: &SavedFile) -> bool {
        match (seen, saved) {
            (
                SavedFile::Directory { mode, uid, gid },
                SavedFile::Directory {
                    mode: old_mode,
                    uid: old_uid,
                    gid: old_gid,
                },
            ) => {
                [*old_mode, self.mode].contains(mode)
                    && [(*old_uid, *old_gid), (self.uid, self.gid)].contains(&(*uid, *gid))
            }
            _ => false,
        }
    }

    fn wanted(&self) -> SavedFile {
        SavedFile::Directory {
            mode: self.mode,
            uid: self.uid,
            gid: self.gid,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::resource::Resource;
    use crate::resource::testing::{Machine, check_laws, check_removal, make, own_ids, undone};

    fn directory(lenient: bool) -> Resource {
        let (uid, gid) = own_ids();
        Resource::Directory(Directory {
            path: "/etc/nix".into(),
            mode: 0o1775,
            uid,
            gid,
            lenient,
        })
    }

    #[test]
    fn laws() {
        for lenient in [false, true] {
            check_laws(&Machine::new(), &directory(lenient));
            let there = Machine::new();
            std::fs::create_dir(there.path("/etc/nix")).unwrap();
            there.chmod("/etc/nix", 0o700);
            check_laws(&there, &directory(lenient));
        }
    }

    #[test]
    fn an_attempt_that_was_cut_off_is_finished_or_undone() {
        for finish in [true, false] {
            let machine = Machine::new();
            let directory = directory(true);
            let undo = directory.prepare(&machine.host).unwrap();
            std::fs::create_dir(machine.path("/etc/nix")).unwrap();
            machine.chmod("/etc/nix", 0o700);
            if finish {
                directory.apply(&machine.context(), &undo).unwrap();
                assert_eq!(machine.state().0[&machine.path("/etc/nix")].2, 0o1775);
            }
            assert_eq!(undone(&machine, &directory, &undo), None);
            assert!(!machine.path("/etc/nix").exists());
        }
    }

    #[test]
    fn rights_that_were_half_changed_are_put_back_and_others_stay() {
        let machine = Machine::new();
        std::fs::create_dir(machine.path("/etc/nix")).unwrap();
        machine.chmod("/etc/nix", 0o700);
        let undo = make(&machine, &directory(false)).unwrap();
        machine.chmod("/etc/nix", 0o755);
        assert!(undone(&machine, &directory(false), &undo).is_some());
        machine.chmod("/etc/nix", 0o700);
        assert_eq!(undone(&machine, &directory(false), &undo), None);
        assert_eq!(machine.state().0[&machine.path("/etc/nix")].2, 0o700);
    }

    #[test]
    fn a_folder_with_something_in_it_stays() {
        let machine = Machine::new();
        let undo = make(&machine, &directory(false)).unwrap();
        machine.put("/etc/nix/mine", "");
        let kept = undone(&machine, &directory(false), &undo).unwrap();
        assert_eq!(kept, "/etc/nix: it is not empty, it stays");
    }

    #[test]
    fn something_else_in_the_place_is_left() {
        let machine = Machine::new();
        machine.put("/etc/nix", "");
        assert!(matches!(
            directory(true).probe(&machine.host).unwrap(),
            Presence::Foreign(_)
        ));
        assert!(directory(true).prepare(&machine.host).is_err());
        assert!(
            directory(true)
                .apply(&machine.context(), &Undo::Created)
                .is_err()
        );
        assert!(undone(&machine, &directory(true), &Undo::Created).is_some());
    }

    #[test]
    fn a_link_to_a_folder_will_do_when_lenient() {
        let machine = Machine::new();
        std::os::unix::fs::symlink("/run", machine.path("/etc/nix")).unwrap();
        check_laws(&machine, &directory(true));
        assert!(directory(false).prepare(&machine.host).is_err());
    }

    #[test]
    fn what_was_taken_away_comes_back_with_the_rights_it_had() {
        for there in [false, true] {
            let machine = Machine::new();
            if there {
                std::fs::create_dir(machine.path("/etc/nix")).unwrap();
                machine.chmod("/etc/nix", 0o700);
            }
            let made = make(&machine, &directory(false)).unwrap();
            if !there {
                machine.chmod("/etc/nix", 0o711);
            }
            check_removal(&machine, &directory(false), &made);
        }
        // One that is not empty never went.
        let machine = Machine::new();
        let made = make(&machine, &directory(false)).unwrap();
        machine.chmod("/etc/nix", 0o711);
        machine.put("/etc/nix/mine", "");
        check_removal(&machine, &directory(false), &made);
    }
}

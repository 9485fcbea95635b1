//! Something is moved out of the way and kept.
//!
//! It goes to a name that no other repair uses: beside it, or into a folder of our own where
//! leaving it beside would go on doing harm (a root of the garbage collector, a unit).

use std::io::ErrorKind;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use super::line;
use crate::host::Host;
use crate::host::fs::Kind;
use crate::payload::STATE_DIR;
use crate::payload::files::private_dir;
use crate::resource::file::SavedFile;
use crate::resource::saved::{Seen, foreign, look, put_back};
use crate::resource::{Context, Description, ResourceError, Result, Undo, Undone};

/// Folder for what is set aside, below the state folder.
const FOLDER: &str = "aside";

/// A link or file that leaves its place.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct SetAside {
    /// Where it is.
    pub path: PathBuf,
    /// Where it goes.
    pub to: PathBuf,
}

impl SetAside {
    /// Into the daemon's own folder; `now` (milliseconds since 1970) makes the name unique.
    pub fn apart(path: &Path, now: u64) -> SetAside {
        let name: Vec<String> = path
            .iter()
            .skip(1)
            .map(|name| name.to_string_lossy().into_owned())
            .collect();
        let name = format!("{now}-{}", name.join("-"));
        SetAside {
            path: path.to_owned(),
            to: Path::new(STATE_DIR).join(FOLDER).join(name),
        }
    }

    /// Beside itself, replacing what was set aside there before: for what can be made again.
    pub fn beside(path: &Path) -> SetAside {
        let mut to = path.as_os_str().to_owned();
        to.push(".damaged");
        SetAside {
            path: path.to_owned(),
            to: to.into(),
        }
    }

    pub(super) fn describe(&self) -> Description {
        let (path, to) = (self.path.display(), self.to.display());
        line(format!("aside:{path}"), format!("move {path} to {to}"))
    }

    pub(super) fn prepare(&self, host: &Host) -> Result<Undo> {
        Ok(match host.fs.meta(&self.path)?.map(|meta| meta.kind) {
            None => Undo::Nothing,
            Some(Kind::File | Kind::Link) => Undo::Created,
            Some(Kind::Directory) => return Err(self.refuse("a directory")),
            Some(Kind::Other) => return Err(self.refuse("a device, socket or pipe")),
        })
    }

    pub(super) fn apply(&self, context: &Context<'_>, undo: &Undo) -> Result<()> {
        let fs = &context.host.fs;
        if *undo == Undo::Nothing || fs.meta(&self.path)?.is_none() {
            return Ok(());
        }
        if let Some(folder) = self.to.parent().filter(|it| it.starts_with(STATE_DIR)) {
            private_dir(fs, folder)?;
        }
        self.travel(context.host, &self.path, &self.to)
    }

    pub(super) fn verify(&self, host: &Host) -> Result<()> {
        match host.fs.meta(&self.path)? {
            None => Ok(()),
            Some(_) => Err(ResourceError::Drifted {
                id: self.describe().id,
                seen: "it is still there".to_owned(),
            }),
        }
    }

    pub(super) fn undo(&self, context: &Context<'_>, undo: &Undo) -> Result<Undone> {
        let fs = &context.host.fs;
        if *undo == Undo::Nothing || fs.meta(&self.to)?.is_none() {
            return Ok(Undone::Clean);
        }
        if fs.meta(&self.path)?.is_none() {
            self.travel(context.host, &self.to, &self.path)?;
        } else if look(context.host, &self.path)? == look(context.host, &self.to)? {
            // Cut off between copying and removing.
            fs.remove_file(&self.to)?;
        } else {
            let (path, to) = (self.path.display(), self.to.display());
            return Ok(Undone::Kept(format!(
                "{path}: something else is there by now; what was moved away stays at {to}"
            )));
        }
        self.remove_empty_folder(context.host)?;
        Ok(Undone::Clean)
    }

    /// Renames, or copies to the other file system and then removes.
    fn travel(&self, host: &Host, from: &Path, to: &Path) -> Result<()> {
        match host.fs.rename(from, to) {
            Err(error) if error.source.kind() == ErrorKind::CrossesDevices => {
                match look(host, from)? {
                    Seen::Nothing => return Ok(()),
                    Seen::Saved(saved @ (SavedFile::Regular { .. } | SavedFile::Link { .. })) => {
                        put_back(host, to, &saved)?
                    }
                    other => return Err(self.refuse(other.words())),
                }
                Ok(host.fs.remove_file(from)?)
            }
            renamed => Ok(renamed?),
        }
    }

    fn remove_empty_folder(&self, host: &Host) -> Result<()> {
        let folder = Path::new(STATE_DIR).join(FOLDER);
        if self.to.starts_with(&folder) {
            host.fs.remove_dir(&folder)?;
        }
        Ok(())
    }

    fn refuse(&self, what: &str) -> ResourceError {
        foreign(self.describe().id, what)
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::symlink;

    use super::super::Mend;
    use super::super::testing::check_laws;
    use super::*;
    use crate::resource::testing::Machine;

    const PATH: &str = "/etc/ssl/bundle.crt";

    fn machine() -> Machine {
        let machine = Machine::new();
        machine.put("/etc/ssl/other", "");
        std::fs::create_dir_all(machine.path("/var/lib/nixctl")).unwrap();
        machine
    }

    #[test]
    fn laws() {
        for aside in [
            SetAside::apart(Path::new(PATH), 7),
            SetAside::beside(Path::new(PATH)),
        ] {
            let absent = machine();
            check_laws(&absent, &Mend::SetAside(aside.clone()));
            let link = machine();
            symlink("/gone", link.path(PATH)).unwrap();
            check_laws(&link, &Mend::SetAside(aside.clone()));
            let file = machine();
            file.put(PATH, "x");
            file.chmod(PATH, 0o640);
            check_laws(&file, &Mend::SetAside(aside));
        }
    }

    #[test]
    fn the_name_tells_where_it_was() {
        let aside = SetAside::apart(Path::new(PATH), 7);
        let expected = "/var/lib/nixctl/aside/7-etc-ssl-bundle.crt";
        assert_eq!(aside.to, Path::new(expected));
        let machine = machine();
        machine.put(PATH, "x");
        let undo = aside.prepare(&machine.host).unwrap();
        aside.apply(&machine.context(), &undo).unwrap();
        assert_eq!(machine.text(expected).as_deref(), Some("x"));
    }

    #[test]
    fn folders_are_never_moved() {
        let machine = machine();
        let aside = SetAside::apart(Path::new("/etc/ssl"), 7);
        assert!(aside.prepare(&machine.host).is_err());
    }

    #[test]
    fn what_came_into_the_place_meanwhile_stays_and_so_does_what_left_it() {
        let machine = machine();
        machine.put(PATH, "theirs");
        let aside = SetAside::apart(Path::new(PATH), 7);
        let undo = aside.prepare(&machine.host).unwrap();
        aside.apply(&machine.context(), &undo).unwrap();
        machine.put(PATH, "new");
        let undone = aside.undo(&machine.context(), &undo).unwrap();
        assert!(matches!(undone, Undone::Kept(_)));
        assert_eq!(machine.text(PATH).as_deref(), Some("new"));
        let kept = machine.text(aside.to.to_str().unwrap());
        assert_eq!(kept.as_deref(), Some("theirs"));
        // The same again, as after a copy that was cut off before the removal.
        machine.put(PATH, "theirs");
        assert_eq!(
            aside.undo(&machine.context(), &undo).unwrap(),
            Undone::Clean
        );
        assert_eq!(machine.text(PATH).as_deref(), Some("theirs"));
        assert!(!machine.path(aside.to.to_str().unwrap()).exists());
    }
}

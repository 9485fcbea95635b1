//! Our settings in nix.conf, merged into what the user wrote.
//!
//! A key that is set keeps its value, whoever set it; order, comments and odd lines are kept.
//! Undoing takes away the lines that were added and nothing else.

mod lines;

use std::path::Path;

use serde::{Deserialize, Serialize};

use super::file::{Rights, SavedFile};
use super::saved::{Seen, foreign, look, mismatch};
use super::{Context, Description, Presence, Result, Undo, Undone};
use crate::host::Host;

/// The file, whose folder is a resource before it.
const PATH: &str = "/etc/nix/nix.conf";

/// Mode of a file that we make.
const MODE: u32 = 0o644;

/// One setting.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Setting {
    /// Name.
    pub key: String,
    /// Value.
    pub value: String,
    /// Why it is there; written as a comment above it when not empty.
    pub reason: String,
}

/// Settings in /etc/nix/nix.conf.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct NixConf {
    /// Settings to have; a key the user set already keeps the user's value.
    pub settings: Vec<Setting>,
    /// Files included at the end, `!include NAME`.
    pub includes: Vec<String>,
}

/// What was there before.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct NixConfUndo {
    /// Whether the file was not there.
    pub created: bool,
    /// Lines that were added, exactly as written.
    pub added: Vec<String>,
}

impl NixConf {
    /// What it is, for people.
    pub fn describe(&self) -> Description {
        Description {
            id: self.id(),
            summary: format!("add settings to {PATH}"),
            details: lines::missing(b"", &self.settings, &self.includes),
        }
    }

    /// Whether it is on the machine as it should be: every key is set, whoever set it.
    pub fn probe(&self, host: &Host) -> Result<Presence> {
        let content = match look(host, Path::new(PATH))? {
            Seen::Nothing => return Ok(Presence::Absent),
            Seen::Saved(SavedFile::Regular { content, .. }) => content,
            seen => return Ok(Presence::Foreign(format!("{PATH} is {}", seen.words()))),
        };
        let missing = self.missing(&content);
        Ok(if missing.is_empty() {
            Presence::Present
        } else if lines::present(&content, &self.missing(b"")) == 0 {
            Presence::Absent
        } else {
            let missing: Vec<&str> = missing
                .iter()
                .map(String::as_str)
                .filter(|line| !line.starts_with('#'))
                .collect();
            Presence::Drifted(format!("without `{}`", missing.join("`, `")))
        })
    }

    /// Reads what undoing will need.
    pub fn prepare(&self, host: &Host) -> Result<Undo> {
        let (created, content) = match look(host, Path::new(PATH))? {
            Seen::Nothing => (true, Vec::new()),
            Seen::Saved(SavedFile::Regular { content, .. }) => (false, content),
            seen => return Err(foreign(self.id(), seen.words())),
        };
        let added = self.missing(&content);
        if added.is_empty() && !created {
            return Ok(Undo::Nothing);
        }
        Ok(Undo::NixConf(NixConfUndo { created, added }))
    }

    /// Makes it so.
    pub fn apply(&self, context: &Context<'_>, undo: &Undo) -> Result<()> {
        self.add(context, undo, MODE, None)
    }

    /// Adds the lines; a file that is not there gets this mode and owner.
    fn add(
        &self,
        context: &Context<'_>,
        undo: &Undo,
        new_mode: u32,
        new_owner: Option<(u32, u32)>,
    ) -> Result<()> {
        let added = match undo {
            // It was right before, so undoing would not take away what is added now.
            Undo::Nothing => return Ok(()),
            Undo::NixConf(undo) => &undo.added,
            _ => return Err(mismatch(self.id())),
        };
        let host = context.host;
        let path = Path::new(PATH);
        let (content, mode, owner) = match look(host, path)? {
            Seen::Nothing => {
                let whole = lines::insert(b"", added);
                return Ok(host.fs.write(path, &whole, new_mode, new_owner)?);
            }
            Seen::Saved(SavedFile::Regular {
                content,
                mode,
                uid,
                gid,
            }) => (content, mode, (uid, gid)),
            seen => return Err(foreign(self.id(), seen.words())),
        };
        let whole = lines::insert(&content, added);
        if whole != content {
            host.fs.write(path, &whole, mode, Some(owner))?;
        }
        Ok(())
    }

    /// Takes it back to what it was: the lines that were added go, wherever they stand by now.
    pub fn undo(&self, context: &Context<'_>, undo: &Undo) -> Result<Undone> {
        let undo = match undo {
            Undo::Nothing => return Ok(Undone::Clean),
            Undo::NixConf(undo) => undo,
            _ => return Err(mismatch(self.id())),
        };
        let host = context.host;
        let path = Path::new(PATH);
        let Seen::Saved(SavedFile::Regular {
            content,
            mode,
            uid,
            gid,
        }) = look(host, path)?
        else {
            return Ok(Undone::Clean);
        };
        let rest = lines::remove(&content, &undo.added);
        if undo.created && rest.trim_ascii().is_empty() {
            host.fs.remove_file(path)?;
            return Ok(Undone::Clean);
        }
        if rest != content {
            host.fs.write(path, &rest, mode, Some((uid, gid)))?;
        }
        let changed = lines::changed(&rest, &undo.added);
        Ok(if !changed.is_empty() {
            let keys = changed.join("`, `");
            Undone::Kept(format!(
                "{PATH}: `{keys}` was changed after the install, it stays"
            ))
        } else if undo.created {
            Undone::Kept(format!(
                "{PATH}: lines were added after the install, they stay"
            ))
        } else {
            Undone::Clean
        })
    }

    /// Reads what bringing it back will need.
    pub fn prepare_removal(&self, host: &Host) -> Result<Undo> {
        Ok(look(host, Path::new(PATH))?.to_be_removed())
    }

    /// Brings the lines back; a file that went with them gets the mode and owner that it had.
    pub fn restore(&self, context: &Context<'_>, made: &Undo, rights: Rights) -> Result<()> {
        let Rights { mode, uid, gid } = rights;
        self.add(context, made, mode, Some((uid, gid)))
    }

    fn id(&self) -> String {
        format!("nix-conf:{PATH}")
    }

    fn missing(&self, content: &[u8]) -> Vec<String> {
        lines::missing(content, &self.settings, &self.includes)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::resource::Resource;
    use crate::resource::testing::{Machine, check_laws, check_removal, make, undone};

    fn conf() -> Resource {
        let setting = |key: &str, value: &str, reason: &str| Setting {
            key: key.to_owned(),
            value: value.to_owned(),
            reason: reason.to_owned(),
        };
        Resource::NixConf(NixConf {
            settings: vec![
                setting("build-users-group", "nixbld", ""),
                setting("sandbox", "false", "user namespaces are off"),
            ],
            includes: vec!["nix.custom.conf".to_owned()],
        })
    }

    fn machine() -> Machine {
        let machine = Machine::new();
        std::fs::create_dir(machine.path("/etc/nix")).unwrap();
        machine
    }

    #[test]
    fn laws() {
        check_laws(&machine(), &conf());
        let empty = machine();
        empty.put(PATH, "");
        check_laws(&empty, &conf());
        let right = machine();
        right.put(
            PATH,
            "sandbox = true\nbuild-users-group = x\n!include nix.custom.conf",
        );
        check_laws(&right, &conf());
        assert_eq!(conf().prepare(&right.host).unwrap(), Undo::Nothing);
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(48))]

        #[test]
        fn laws_hold_for_any_file(
            content in prop_oneof![
                any::<Vec<u8>>(),
                "(\n|# user namespaces are off\n|sandbox = x\n|a|\r\n| ){0,8}"
                    .prop_map(String::into_bytes),
            ],
            mode in 0o400u32..0o777,
        ) {
            let machine = machine();
            machine.put(PATH, content);
            machine.chmod(PATH, mode);
            check_laws(&machine, &conf());
        }
    }

    #[test]
    fn lines_of_a_user_stay_in_a_file_that_we_made() {
        let machine = machine();
        let undo = make(&machine, &conf()).unwrap();
        let ours = machine.text(PATH).unwrap();
        machine.put(PATH, format!("max-jobs = 4\n{ours}"));
        let kept = undone(&machine, &conf(), &undo).unwrap();
        assert!(kept.contains("they stay"), "{kept}");
        assert_eq!(machine.text(PATH).unwrap(), "max-jobs = 4\n");
    }

    #[test]
    fn a_changed_value_stays_and_is_named() {
        let machine = machine();
        machine.put(PATH, "max-jobs = 4\n");
        let undo = make(&machine, &conf()).unwrap();
        let edited = machine
            .text(PATH)
            .unwrap()
            .replace("sandbox = false", "sandbox = relaxed");
        machine.put(PATH, edited);
        conf().verify(&machine.host).unwrap();
        let kept = undone(&machine, &conf(), &undo).unwrap();
        assert!(kept.contains("`sandbox`"), "{kept}");
        let rest = "max-jobs = 4\n# user namespaces are off\nsandbox = relaxed\n";
        assert_eq!(machine.text(PATH).unwrap(), rest);
        assert_eq!(undone(&machine, &conf(), &undo).unwrap(), kept);
    }

    #[test]
    fn lines_that_went_missing_are_told_and_put_back() {
        let machine = machine();
        let undo = make(&machine, &conf()).unwrap();
        machine.put(
            PATH,
            "build-users-group = nixbld\n!include nix.custom.conf\n",
        );
        let seen = conf().probe(&machine.host).unwrap();
        assert_eq!(
            seen,
            Presence::Drifted("without `sandbox = false`".to_owned())
        );
        conf().apply(&machine.context(), &undo).unwrap();
        conf().verify(&machine.host).unwrap();
    }

    #[test]
    fn what_is_gone_is_clean_and_a_link_is_foreign() {
        let machine = machine();
        let undo = make(&machine, &conf()).unwrap();
        std::fs::remove_file(machine.path(PATH)).unwrap();
        assert_eq!(undone(&machine, &conf(), &undo), None);
        std::os::unix::fs::symlink("/etc/static/nix.conf", machine.path(PATH)).unwrap();
        assert!(conf().prepare(&machine.host).is_err());
        assert_eq!(undone(&machine, &conf(), &undo), None);
    }

    #[test]
    fn what_was_taken_away_comes_back_with_the_rights_it_had() {
        let machine = machine();
        let made = make(&machine, &conf()).unwrap();
        machine.chmod(PATH, 0o640);
        check_removal(&machine, &conf(), &made);
    }
}

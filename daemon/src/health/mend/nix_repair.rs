//! What other programs put right: labels of SELinux, store paths that Nix fetches again, and Nix's
//! own paths in its database.
//!
//! None has a way back, and none needs one: labels follow from the policy, a store path is exchanged
//! by Nix as a whole or not at all, and what is registered is kept.

use std::path::PathBuf;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::line;
use crate::host::{Command, Host};
use crate::resource::nix_command;
use crate::resource::registration::Registration;
use crate::resource::{Context, Description, Resource, ResourceError, Result, Undo, Undone};

/// Every file below the path is looked at.
const RESTORECON_DEADLINE: Duration = Duration::from_secs(600);
/// A download of one path.
const REPAIR_DEADLINE: Duration = Duration::from_secs(1800);
/// Nix walks the references of the whole store.
const ROOTS_DEADLINE: Duration = Duration::from_secs(60);
/// Roots that are named.
const NAMED_ROOTS: usize = 5;

/// Labels below a path.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Relabel {
    /// Absolute path.
    pub path: PathBuf,
}

/// A store path that is registered, and missing or damaged.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct RepairPath {
    /// Store path of the Nix that does it.
    pub nix: String,
    /// Store path.
    pub path: String,
}

/// Nix's own store paths, which its database does not know.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Register {
    /// Names the release, as [`Registration`] does.
    pub sha256: String,
}

impl Relabel {
    pub(super) fn describe(&self) -> Description {
        let path = self.path.display();
        line(
            format!("relabel:{path}"),
            format!("give everything below {path} its SELinux label"),
        )
    }

    pub(super) fn prepare(&self, _host: &Host) -> Result<Undo> {
        Ok(Undo::Nothing)
    }

    pub(super) fn apply(&self, context: &Context<'_>, _undo: &Undo) -> Result<()> {
        let host = context.host;
        let command = Command::new("restorecon")
            .arg("-RF")
            .arg(host.fs.real(&self.path).to_string_lossy())
            .deadline(RESTORECON_DEADLINE);
        host.exec.run(&command, context.cancel)?;
        Ok(())
    }

    pub(super) fn verify(&self, _host: &Host) -> Result<()> {
        Ok(())
    }

    pub(super) fn undo(&self, _context: &Context<'_>, _undo: &Undo) -> Result<Undone> {
        Ok(Undone::Clean)
    }
}

impl Register {
    fn resource(&self) -> Registration {
        let sha256 = self.sha256.clone();
        Registration { sha256 }
    }

    pub(super) fn describe(&self) -> Description {
        line(
            format!("register:{}", self.sha256),
            "register Nix's own paths in its database again".to_owned(),
        )
    }

    pub(super) fn prepare(&self, _host: &Host) -> Result<Undo> {
        Ok(Undo::Nothing)
    }

    pub(super) fn apply(&self, context: &Context<'_>, undo: &Undo) -> Result<()> {
        self.resource().apply(context, undo)
    }

    pub(super) fn verify(&self, host: &Host) -> Result<()> {
        Resource::Registration(self.resource()).verify(host)
    }

    /// Undoing the resource deletes the paths from the store.
    pub(super) fn undo(&self, _context: &Context<'_>, _undo: &Undo) -> Result<Undone> {
        Ok(Undone::Clean)
    }
}

impl RepairPath {
    pub(super) fn describe(&self) -> Description {
        let path = &self.path;
        line(
            format!("repair-path:{path}"),
            format!("have Nix fetch {path} again"),
        )
    }

    pub(super) fn prepare(&self, _host: &Host) -> Result<Undo> {
        Ok(Undo::Nothing)
    }

    pub(super) fn apply(&self, context: &Context<'_>, _undo: &Undo) -> Result<()> {
        let args = ["--repair-path", self.path.as_str()];
        let command = nix_command::command_of(context.host, &self.nix, "nix-store", &args)
            .deadline(REPAIR_DEADLINE);
        match nix_command::run(context.host, &command, context.cancel) {
            Ok(_) => Ok(()),
            Err(error) if error.is_stopped() => Err(error),
            Err(error) => Err(ResourceError::Unrepaired {
                path: self.path.clone(),
                why: error.to_string(),
                roots: self.roots(context),
            }),
        }
    }

    /// What keeps the path in the store, in words.
    fn roots(&self, context: &Context<'_>) -> String {
        let args = ["--query", "--roots", self.path.as_str()];
        let command = nix_command::command_of(context.host, &self.nix, "nix-store", &args)
            .deadline(ROOTS_DEADLINE);
        match nix_command::run(context.host, &command, context.cancel) {
            Ok(output) => roots_in_words(&output.text()),
            Err(_) => "what needs it cannot be told".to_owned(),
        }
    }

    pub(super) fn verify(&self, host: &Host) -> Result<()> {
        if host.fs.meta(self.path.as_ref())?.is_some() {
            return Ok(());
        }
        Err(crate::resource::ResourceError::Drifted {
            id: self.describe().id,
            seen: "it is still not in the store".to_owned(),
        })
    }

    pub(super) fn undo(&self, _context: &Context<'_>, _undo: &Undo) -> Result<Undone> {
        Ok(Undone::Clean)
    }
}

/// From lines of `nix-store --query --roots`: `ROOT -> PATH`, or a path that a process uses.
fn roots_in_words(lines: &str) -> String {
    let root = |line: &str| {
        let (root, _) = line.split_once(" -> ").unwrap_or((line, ""));
        root.trim().to_owned()
    };
    let all: std::collections::BTreeSet<String> = lines
        .lines()
        .map(root)
        .filter(|root| !root.is_empty())
        .collect();
    let some: Vec<&str> = all.iter().take(NAMED_ROOTS).map(String::as_str).collect();
    match (some.as_slice(), all.len().saturating_sub(NAMED_ROOTS)) {
        ([], _) => "nothing needs it".to_owned(),
        (some, 0) => format!("needed by {}", some.join(", ")),
        (some, more) => format!("needed by {} and {more} more", some.join(", ")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::host::fake::Answer;
    use crate::resource::nix_testing as release;
    use crate::resource::testing::Machine;

    #[test]
    fn labels_are_given_below_the_path() {
        let machine = Machine::new();
        let path = PathBuf::from("/nix");
        let relabel = Relabel { path };
        assert!(relabel.apply(&machine.context(), &Undo::Nothing).is_err());
        machine.exec.install("restorecon");
        relabel.apply(&machine.context(), &Undo::Nothing).unwrap();
        let expected = format!("restorecon -RF {}/nix", machine.dir.path().display());
        assert_eq!(machine.exec.lines().last(), Some(&expected));
    }

    #[test]
    fn roots_are_named_up_to_a_number() {
        assert_eq!(roots_in_words(""), "nothing needs it");
        assert_eq!(roots_in_words("/a -> /x\n/a -> /x\n"), "needed by /a");
        let many: String = (0..9).map(|number| format!("/{number} -> /x\n")).collect();
        assert_eq!(
            roots_in_words(&many),
            "needed by /0, /1, /2, /3, /4 and 4 more"
        );
    }

    #[test]
    fn what_was_registered_again_is_never_deleted() {
        let machine = Machine::new();
        release::unpacked(&machine);
        machine.exec.install("chroot");
        let register = Register {
            sha256: release::SHA256.to_owned(),
        };
        let undo = register.prepare(&machine.host).unwrap();
        register.apply(&machine.context(), &undo).unwrap();
        let line = machine.exec.lines().pop().unwrap();
        assert!(line.ends_with("nix-store --load-db"), "{line}");
        machine.exec.forget();
        register.undo(&machine.context(), &undo).unwrap();
        assert!(machine.exec.calls().is_empty());
    }

    #[test]
    fn a_path_that_cannot_be_fetched_is_an_error_that_names_who_needs_it() {
        let machine = Machine::new();
        let path = "/nix/store/0123456789abcdfghijklmnpqrsvwxyz-x".to_owned();
        let repair = RepairPath {
            nix: "/nix/store/1123456789abcdfghijklmnpqrsvwxyz-nix-2.26.3".to_owned(),
            path: path.clone(),
        };
        std::fs::create_dir_all(machine.path("/proc/self")).unwrap();
        machine.put("/dev/ptmx", "");
        machine
            .exec
            .answer("chroot", &[], Answer::code(1, "cannot repair path"));
        let root = machine.dir.path().display().to_string();
        let store = format!("{}/bin/nix-store", repair.nix);
        let args = [root.as_str(), store.as_str(), "--query"];
        let roots = "/nix/var/nix/profiles/default-1-link -> /nix/store/x\n{lsof}\n";
        machine.exec.answer("chroot", &args, Answer::text(roots));
        let error = repair.apply(&machine.context(), &Undo::Nothing);
        let words = error.unwrap_err().to_string();
        for part in [
            "cannot repair /nix/store/0123456789abcdfghijklmnpqrsvwxyz-x: ",
            "cannot repair path",
            "; needed by /nix/var/nix/profiles/default-1-link, {lsof}",
        ] {
            assert!(words.contains(part), "{words}");
        }
        assert!(repair.verify(&machine.host).is_err());
        machine.put(&path, "");
        repair.verify(&machine.host).unwrap();
    }
}

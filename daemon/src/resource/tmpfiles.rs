//! A tmpfiles.d file, applied at once.

use std::path::PathBuf;

use serde::{Deserialize, Serialize};

use super::file::{File, Rights};
use super::{Context, Description, Presence, Result, Undo, Undone};
use crate::host::{Command, Host};

const PROGRAM: &str = "systemd-tmpfiles";

/// Exit codes that tell of lines in other files (65) or of folders that cannot be made (73) while
/// ours may well have been; what is missing shows in the step that needs it (DS#680, DS#1215).
const TOLERATED: [i32; 2] = [65, 73];

/// A file in /etc/tmpfiles.d.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Tmpfiles {
    /// Absolute path.
    pub path: PathBuf,
    /// Content.
    pub content: String,
}

impl Tmpfiles {
    /// What it is, for people.
    pub fn describe(&self) -> Description {
        let file = self.file().describe();
        Description {
            id: format!("tmpfiles:{}", self.path.display()),
            summary: format!("write {} and create what it names", self.path.display()),
            details: file.details,
        }
    }

    /// Whether it is on the machine as it should be.
    pub fn probe(&self, host: &Host) -> Result<Presence> {
        self.file().probe(host)
    }

    /// Reads what undoing will need.
    pub fn prepare(&self, host: &Host) -> Result<Undo> {
        self.file().prepare(host)
    }

    /// Makes it so.
    pub fn apply(&self, context: &Context<'_>, undo: &Undo) -> Result<()> {
        self.file().apply(context, undo)?;
        self.create(context)
    }

    fn create(&self, context: &Context<'_>) -> Result<()> {
        let host = context.host;
        if host.exec.find(PROGRAM).is_none() {
            return Ok(());
        }
        let mut command = Command::new(PROGRAM);
        if host.is_image() {
            command = command.arg(format!("--root={}", host.fs.root().display()));
        }
        let command = command.arg("--create").arg(self.path.to_string_lossy());
        let output = host.exec.output(&command, context.cancel)?;
        if TOLERATED.contains(&output.code) {
            let said = String::from_utf8_lossy(&output.stderr).trim().to_owned();
            context
                .progress
                .note(&format!("{PROGRAM} complained and was not heeded: {said}"));
            return Ok(());
        }
        Ok(output.success(&command)?)
    }

    /// Takes it back to what it was. What the file named lies below /nix and goes with it.
    pub fn undo(&self, context: &Context<'_>, undo: &Undo) -> Result<Undone> {
        self.file().undo(context, undo)
    }

    /// Reads what bringing it back will need.
    pub fn prepare_removal(&self, host: &Host) -> Result<Undo> {
        self.file().prepare_removal(host)
    }

    /// Brings it back as it was taken away, and what it names.
    pub fn restore(&self, context: &Context<'_>, made: &Undo, rights: Rights) -> Result<()> {
        self.file().restore(context, made, rights)?;
        self.create(context)
    }

    fn file(&self) -> File {
        File {
            path: self.path.clone(),
            content: self.content.clone(),
            mode: 0o644,
            uid: 0,
            gid: 0,
            replace: false,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::host::fake::Answer;
    use crate::resource::Resource;
    use crate::resource::testing::{Machine, check_laws, make};

    fn tmpfiles() -> Resource {
        Resource::Tmpfiles(Tmpfiles {
            path: "/etc/tmpfiles.d/nix.conf".into(),
            content: "d /nix/var/nix/builds 0755 root root 7d\n".to_owned(),
        })
    }

    fn machine() -> Machine {
        let machine = Machine::new();
        std::fs::create_dir(machine.path("/etc/tmpfiles.d")).unwrap();
        machine
    }

    #[test]
    fn laws() {
        if !nix::unistd::geteuid().is_root() {
            return;
        }
        check_laws(&machine(), &tmpfiles());
        let with_program = machine();
        with_program.exec.install(PROGRAM);
        check_laws(&with_program, &tmpfiles());
        let lines = with_program.exec.lines();
        assert!(
            lines[0].ends_with("--create /etc/tmpfiles.d/nix.conf"),
            "{}",
            lines[0]
        );
    }

    #[test]
    fn complaints_about_others_are_noted() {
        if !nix::unistd::geteuid().is_root() {
            return;
        }
        for (code, fine) in [(0, true), (65, true), (73, true), (1, false)] {
            let machine = machine();
            machine
                .exec
                .answer(PROGRAM, &[], Answer::code(code, "bad line"));
            assert_eq!(make(&machine, &tmpfiles()).is_ok(), fine, "{code}");
            assert_eq!(
                machine.notes.0.lock().unwrap().len(),
                usize::from(TOLERATED.contains(&code))
            );
        }
    }
}

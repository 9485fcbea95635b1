//! SELinux: a policy module with the labels of the store, and the labels themselves.

use std::path::{Path, PathBuf};
use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::saved::mismatch;
use super::{Context, Description, Presence, ResourceError, Result, Undo, Undone};
use crate::host::{Cancel, Command, Host};

/// The policy, in the common intermediate language that `semodule` compiles.
const POLICY: &str = include_str!("nixctl.cil");

/// Where the policy lies while it is loaded: a folder that the programs which load policies may
/// read. The module is named after the file.
const FOLDER: &str = "/etc/selinux";

/// The whole policy of a machine is compiled anew.
const SEMODULE_DEADLINE: Duration = Duration::from_secs(300);

/// Listing the modules compiles nothing; probes do it too.
const LIST_DEADLINE: Duration = Duration::from_secs(60);

/// Every file below /nix is looked at.
const RESTORECON_DEADLINE: Duration = Duration::from_secs(600);

/// Only part of a catalogue where SELinux is enabled.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Selinux {
    /// Name of the policy module.
    pub module: String,
}

impl Selinux {
    /// What it is, for people.
    pub fn describe(&self) -> Description {
        Description {
            id: self.id(),
            summary: format!(
                "load the SELinux policy module {} and label /nix",
                self.module
            ),
            details: POLICY.lines().map(str::to_owned).collect(),
        }
    }

    /// Whether it is on the machine as it should be. Labels are not looked at one by one.
    pub fn probe(&self, host: &Host) -> Result<Presence> {
        Ok(if self.is_loaded(host)? {
            Presence::Present
        } else {
            Presence::Absent
        })
    }

    /// Reads what undoing will need.
    pub fn prepare(&self, host: &Host) -> Result<Undo> {
        for tool in ["semodule", "restorecon"] {
            if host.exec.find(tool).is_none() {
                return Err(ResourceError::MissingTool {
                    what: "label /nix for SELinux".to_owned(),
                    tools: tool.to_owned(),
                });
            }
        }
        Ok(if self.is_loaded(host)? {
            Undo::Nothing
        } else {
            Undo::Created
        })
    }

    /// Makes it so.
    pub fn apply(&self, context: &Context<'_>, _undo: &Undo) -> Result<()> {
        let host = context.host;
        if !self.is_loaded(host)? {
            let file = self.file();
            host.fs.write(&file, POLICY.as_bytes(), 0o600, None)?;
            let command = Command::new("semodule")
                .arg("-i")
                .arg(host.fs.real(&file).to_string_lossy())
                .deadline(SEMODULE_DEADLINE);
            let loaded = host.exec.run(&command, context.cancel);
            host.fs.remove_file(&file)?;
            loaded?;
        }
        let command = Command::new("restorecon")
            .arg("-RF")
            .arg(host.fs.real(Path::new("/nix")).to_string_lossy())
            .deadline(RESTORECON_DEADLINE);
        host.exec.run(&command, context.cancel)?;
        Ok(())
    }

    /// Takes it back to what it was. Labels of a store that is kept stay as they are.
    pub fn undo(&self, context: &Context<'_>, undo: &Undo) -> Result<Undone> {
        match undo {
            Undo::Nothing => return Ok(Undone::Clean),
            Undo::Created => {}
            _ => return Err(mismatch(self.id())),
        }
        let host = context.host;
        host.fs.remove_file(&self.file())?;
        if self.is_loaded(host)? {
            let command = Command::new("semodule")
                .args(["-r", &self.module])
                .deadline(SEMODULE_DEADLINE);
            host.exec.run(&command, context.cancel)?;
        }
        Ok(Undone::Clean)
    }

    fn id(&self) -> String {
        format!("selinux:{}", self.module)
    }

    fn file(&self) -> PathBuf {
        Path::new(FOLDER).join(format!("{}.cil", self.module))
    }

    fn is_loaded(&self, host: &Host) -> Result<bool> {
        if host.exec.find("semodule").is_none() {
            return Ok(false);
        }
        let command = Command::new("semodule").arg("-l").deadline(LIST_DEADLINE);
        let output = host.exec.run(&command, &Cancel::default())?;
        // Old versions print the module's version behind its name.
        Ok(output
            .text()
            .lines()
            .any(|line| line.split_whitespace().next() == Some(&self.module)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::host::Output;
    use crate::host::fake::Answer;
    use crate::resource::Resource;
    use crate::resource::testing::{Machine, check_laws, make, undone};

    fn selinux() -> Resource {
        Resource::Selinux(Selinux {
            module: "nixctl".to_owned(),
        })
    }

    /// A machine whose list of modules is a file.
    fn machine() -> Machine {
        let machine = Machine::new();
        machine.put("/modules", "abrt 1.0\nnixctl2\n");
        std::fs::create_dir(machine.path("/etc/selinux")).unwrap();
        let path = machine.path("/modules");
        let change = move |command: &Command| {
            let modules = std::fs::read_to_string(&path).unwrap();
            match command.args[0].as_str() {
                "-l" => {
                    return Output {
                        stdout: modules.into(),
                        ..Output::default()
                    };
                }
                "-i" => {
                    assert_eq!(std::fs::read_to_string(&command.args[1]).unwrap(), POLICY);
                    std::fs::write(&path, modules + "nixctl\n").unwrap();
                }
                _ => std::fs::write(&path, modules.replace("nixctl\n", "")).unwrap(),
            }
            Output::default()
        };
        machine.exec.answer("semodule", &[], Answer::effect(change));
        machine.exec.install("restorecon");
        machine
    }

    #[test]
    fn laws() {
        check_laws(&machine(), &selinux());
        let loaded = machine();
        loaded.put("/modules", "nixctl\t1.0\n");
        check_laws(&loaded, &selinux());
    }

    #[test]
    fn what_was_cut_off_is_undone() {
        let machine = machine();
        let before = machine.state();
        let undo = selinux().prepare(&machine.host).unwrap();
        machine.put("/etc/selinux/nixctl.cil", POLICY);
        assert_eq!(undone(&machine, &selinux(), &undo), None);
        assert_eq!(machine.state(), before);
    }

    #[test]
    fn a_policy_that_does_not_compile_is_an_error_and_leaves_no_file() {
        let machine = machine();
        machine
            .exec
            .answer("semodule", &["-i"], Answer::code(1, "Failed to resolve"));
        assert!(make(&machine, &selinux()).is_err());
        assert!(!machine.path("/etc/selinux/nixctl.cil").exists());
        machine.exec.uninstall("restorecon");
        assert!(matches!(
            selinux().prepare(&machine.host),
            Err(ResourceError::MissingTool { .. })
        ));
    }

    #[test]
    fn the_policy_is_balanced() {
        let code: String = POLICY
            .lines()
            .filter(|line| !line.starts_with(';'))
            .collect();
        assert_eq!(code.matches('(').count(), code.matches(')').count());
    }
}

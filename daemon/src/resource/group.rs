//! A group without members, such as `nixctl`.

use serde::{Deserialize, Serialize};

use super::saved::mismatch;
use super::user_tools::Tools;
use super::{Context, Description, Presence, Result, Undo, Undone};
use crate::host::Host;
use crate::host::accounts::{self, GroupEntry};

/// Exit codes of `groupdel`: there is no such group; it is somebody's main group.
const NO_SUCH_GROUP: i32 = 6;
const MAIN_GROUP: i32 = 8;

/// A system group; its id is chosen by the system.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Group {
    /// Name.
    pub name: String,
}

impl Group {
    /// What it is, for people.
    pub fn describe(&self) -> Description {
        Description {
            id: self.id(),
            summary: format!("create the system group {}", self.name),
            details: vec!["its id is chosen by the system".to_owned()],
        }
    }

    /// Whether it is on the machine as it should be.
    pub fn probe(&self, host: &Host) -> Result<Presence> {
        Ok(match accounts::group(host, &self.name)? {
            Some(_) => Presence::Present,
            None => Presence::Absent,
        })
    }

    /// Reads what undoing will need.
    pub fn prepare(&self, host: &Host) -> Result<Undo> {
        Ok(match accounts::group(host, &self.name)? {
            Some(_) => Undo::Nothing,
            None => Undo::Created,
        })
    }

    /// Makes it so.
    pub fn apply(&self, context: &Context<'_>, _undo: &Undo) -> Result<()> {
        let host = context.host;
        if accounts::group(host, &self.name)?.is_some() {
            return Ok(());
        }
        let command = Tools::for_making_group(host, &self.name)?.make_group(host, &self.name);
        let output = host.exec.output(&command, context.cancel)?;
        // Somebody else may have made it in the meantime.
        if output.code != 0 && accounts::group(host, &self.name)?.is_some() {
            return Ok(());
        }
        Ok(output.success(&command)?)
    }

    /// Takes it back to what it was, unless somebody is in it by now.
    pub fn undo(&self, context: &Context<'_>, undo: &Undo) -> Result<Undone> {
        match undo {
            Undo::Nothing => return Ok(Undone::Clean),
            Undo::Created => {}
            _ => return Err(mismatch(self.id())),
        }
        let host = context.host;
        let Some(group) = accounts::group(host, &self.name)? else {
            return Ok(Undone::Clean);
        };
        if let Some(kept) = self.used_by(host, &group)? {
            return Ok(kept);
        }
        let tools = Tools::for_removing_group(host, &self.name)?;
        let command = tools.remove_group(host, &self.name);
        let output = host.exec.output(&command, context.cancel)?;
        match output.code {
            0 | NO_SUCH_GROUP => Ok(Undone::Clean),
            MAIN_GROUP => Ok(self.kept("it is the main group of a user")),
            _ => Err(output
                .success(&command)
                .err()
                .map_or_else(|| mismatch(self.id()), Into::into)),
        }
    }

    fn id(&self) -> String {
        format!("group:{}", self.name)
    }

    fn kept(&self, why: &str) -> Undone {
        Undone::Kept(format!("the group {}: {why}, it stays", self.name))
    }

    /// Why the group is still needed.
    fn used_by(&self, host: &Host, group: &GroupEntry) -> Result<Option<Undone>> {
        if !group.members.is_empty() {
            let members = group.members.join(", ");
            return Ok(Some(self.kept(&format!("it has members ({members})"))));
        }
        let users = accounts::local_users_of_group(host, group.gid)?;
        Ok(users
            .first()
            .map(|user| self.kept(&format!("it is the main group of {}", user.name))))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::host::Output;
    use crate::host::fake::Answer;
    use crate::resource::testing::{Machine, check_laws, make, undone};
    use crate::resource::{Resource, ResourceError};

    const BEFORE: &str = "root:x:0:\n";
    const AFTER: &str = "root:x:0:\nnixctl:x:990:\n";

    fn group() -> Resource {
        Resource::Group(Group {
            name: "nixctl".to_owned(),
        })
    }

    fn writes(machine: &Machine, content: &'static str) -> Answer {
        let path = machine.path("/etc/group");
        Answer::effect(move |_| {
            std::fs::write(&path, content).unwrap();
            Output::default()
        })
    }

    fn machine(create: &str, delete: &str) -> Machine {
        let machine = Machine::new();
        machine.put("/etc/group", BEFORE);
        machine.exec.answer(create, &[], writes(&machine, AFTER));
        machine.exec.answer(delete, &[], writes(&machine, BEFORE));
        machine
    }

    #[test]
    fn laws_with_every_tool() {
        for (create, delete, expected) in [
            (
                "systemd-sysusers",
                "groupdel",
                "systemd-sysusers --root=R -",
            ),
            (
                "groupadd",
                "groupdel",
                "groupadd --prefix R --system nixctl",
            ),
        ] {
            let machine = machine(create, delete);
            check_laws(&machine, &group());
            let root = machine.dir.path().display().to_string();
            let calls = machine.exec.calls();
            assert_eq!(calls[0].line().replace(&root, "R"), expected);
            assert_eq!(
                calls[1].line().replace(&root, "R"),
                "groupdel --prefix R nixctl"
            );
            if create == "systemd-sysusers" {
                assert_eq!(calls[0].stdin, b"g nixctl -\n");
            }
        }
        let busybox = machine("chroot", "delgroup");
        busybox.exec.install("addgroup");
        let undo = make(&busybox, &group()).unwrap();
        assert!(busybox.exec.lines()[0].ends_with("addgroup -S nixctl"));
        busybox.exec.answer("chroot", &[], writes(&busybox, BEFORE));
        assert_eq!(undone(&busybox, &group(), &undo), None);
        assert!(busybox.exec.lines()[1].ends_with("delgroup nixctl"));
    }

    #[test]
    fn a_group_that_was_there_stays() {
        let machine = machine("groupadd", "groupdel");
        machine.put("/etc/group", AFTER);
        check_laws(&machine, &group());
        assert!(machine.exec.lines().is_empty());
    }

    #[test]
    fn a_group_that_is_used_stays_and_says_by_whom() {
        let machine = machine("groupadd", "groupdel");
        let undo = make(&machine, &group()).unwrap();
        machine.put("/etc/group", "nixctl:x:990:lisa,max\n");
        let kept = undone(&machine, &group(), &undo).unwrap();
        assert_eq!(
            kept,
            "the group nixctl: it has members (lisa, max), it stays"
        );
        machine.put("/etc/group", AFTER);
        machine.put("/etc/passwd", "lisa:x:1000:990::/home/lisa:/bin/sh\n");
        let kept = undone(&machine, &group(), &undo).unwrap();
        assert_eq!(
            kept,
            "the group nixctl: it is the main group of lisa, it stays"
        );
        std::fs::remove_file(machine.path("/etc/passwd")).unwrap();
        machine.exec.answer("groupdel", &[], Answer::code(8, ""));
        assert!(undone(&machine, &group(), &undo).is_some());
    }

    #[test]
    fn failures_are_told() {
        let machine = machine("groupadd", "groupdel");
        machine
            .exec
            .answer("groupadd", &[], Answer::code(10, "cannot lock"));
        let error = make(&machine, &group()).unwrap_err().to_string();
        assert!(error.contains("cannot lock"), "{error}");
        machine.exec.answer("groupadd", &[], Answer::Hang);
        assert!(make(&machine, &group()).is_err());
        machine.exec.uninstall("groupadd");
        assert!(matches!(
            make(&machine, &group()).unwrap_err(),
            ResourceError::MissingTool { .. }
        ));
        machine.put("/etc/group", AFTER);
        machine
            .exec
            .answer("groupdel", &[], Answer::code(10, "cannot lock"));
        assert!(group().undo(&machine.context(), &Undo::Created).is_err());
    }
}

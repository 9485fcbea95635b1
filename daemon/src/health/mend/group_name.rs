//! A group gets its name back, with the shadow tools: its id and its members stay.
//!
//! For a name with a blank at its end, after an edit by hand: no program finds such a group, and
//! making another one fails, since its id is taken.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::line;
use crate::host::accounts;
use crate::host::{Command, Host};
use crate::resource::{Context, Description, ResourceError, Result, Undo, Undone};

/// Somebody else may hold the lock of the files.
const DEADLINE: Duration = Duration::from_secs(60);

/// A group of the local file, and the name that it should have.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct GroupName {
    /// As it stands in the file.
    pub from: String,
    /// As it should be.
    pub to: String,
}

impl GroupName {
    pub(super) fn describe(&self) -> Description {
        let GroupName { from, to } = self;
        line(
            format!("group-name:{to}"),
            format!("name the group `{from}` {to}, as it was"),
        )
    }

    pub(super) fn prepare(&self, host: &Host) -> Result<Undo> {
        Ok(match accounts::group(host, &self.to)? {
            Some(_) => Undo::Nothing,
            None => Undo::Created,
        })
    }

    pub(super) fn apply(&self, context: &Context<'_>, undo: &Undo) -> Result<()> {
        if *undo == Undo::Nothing || accounts::group(context.host, &self.to)?.is_some() {
            return Ok(());
        }
        rename(context, &self.from, &self.to)
    }

    pub(super) fn verify(&self, host: &Host) -> Result<()> {
        if accounts::group(host, &self.to)?.is_some() {
            return Ok(());
        }
        Err(ResourceError::Drifted {
            id: self.describe().id,
            seen: "the group is still not there".to_owned(),
        })
    }

    /// A name that nothing finds is not worth bringing back, and the shadow tools refuse it.
    pub(super) fn undo(&self, _context: &Context<'_>, _undo: &Undo) -> Result<Undone> {
        Ok(Undone::Clean)
    }
}

fn rename(context: &Context<'_>, from: &str, to: &str) -> Result<()> {
    let host = context.host;
    let root = host.fs.root().display().to_string();
    let image = host.is_image().then_some(["--prefix".to_owned(), root]);
    let command = Command::new("groupmod")
        .args(image.into_iter().flatten())
        .args(["--new-name", to, from])
        .deadline(DEADLINE);
    host.exec.run(&command, context.cancel)?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::resource::testing::Machine;

    fn mend() -> GroupName {
        GroupName {
            from: "nixbld ".to_owned(),
            to: "nixbld".to_owned(),
        }
    }

    #[test]
    fn the_name_is_given_back_once() {
        let machine = Machine::new();
        machine.put("/etc/group", "nixbld :x:30000:nixbld1\n");
        machine.put("/etc/passwd", "");
        machine.exec.install("groupmod");
        let undo = mend().prepare(&machine.host).unwrap();
        assert_eq!(undo, Undo::Created);
        mend().apply(&machine.context(), &undo).unwrap();
        let line = machine.exec.lines().pop().unwrap();
        assert!(line.starts_with("groupmod "), "{line}");
        assert!(line.contains("--new-name nixbld"), "{line}");
        assert!(mend().verify(&machine.host).is_err());
        machine.put("/etc/group", "nixbld:x:30000:nixbld1\n");
        mend().verify(&machine.host).unwrap();
        machine.exec.forget();
        mend().apply(&machine.context(), &undo).unwrap();
        let calls = machine.exec.lines();
        assert!(!calls.iter().any(|line| line.starts_with("groupmod")));
    }
}

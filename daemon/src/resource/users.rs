//! The build users and their group, made in one go.
//!
//! What Nix asks for is membership: it takes whoever the group lists. So a user that exists with
//! another id is adopted when it is a member, or made one; only what is new goes at the end.
//! Users are looked up where they may be kept (sssd, LDAP), never in /etc/passwd alone.

use std::time::{Duration, Instant};

use serde::{Deserialize, Serialize};

use super::user_tools::Tools;
use super::{Context, Description, Presence, ResourceError, Result, Undo, Undone};
use crate::host::accounts;
use crate::host::{ExecError, Host};

/// Attempts while somebody else holds the lock of the user database, or a build still runs.
const ATTEMPTS: u32 = 6;
const PAUSE: Duration = Duration::from_millis(500);

/// Users `PREFIX1` to `PREFIXn` with ids `base + 1` to `base + n`, in a group with id `base`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct BuildUsers {
    /// Name of the group.
    pub group: String,
    /// Id of the group.
    pub gid: u32,
    /// Names are this and a number from 1.
    pub prefix: String,
    /// How many.
    pub count: u32,
    /// User N has this id plus N, unless it exists with another id and is adopted.
    pub uid_base: u32,
}

/// Which of them are new.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct UsersUndo {
    /// Users that were not there.
    pub users: Vec<String>,
    /// Users that were there but no members: membership is new.
    pub members: Vec<String>,
    /// Whether the group was not there.
    pub group: bool,
}

/// A user that is there and becomes a member.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Adopted {
    /// Name.
    pub name: String,
    /// Id.
    pub uid: u32,
    /// Id of the user's own group.
    pub gid: u32,
}

/// A user to be made.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NewUser {
    /// Name.
    pub name: String,
    /// Id.
    pub uid: u32,
    /// For the comment.
    pub number: u32,
}

/// What is there of them.
struct Seen {
    gid: Option<u32>,
    absent: Vec<NewUser>,
    strangers: Vec<Adopted>,
}

impl BuildUsers {
    /// What it is, for people.
    pub fn describe(&self) -> Description {
        let (first, last) = (self.uid_base + 1, self.uid_base + self.count);
        Description {
            id: format!("users:{}", self.group),
            summary: format!(
                "create {} build users and the group {}",
                self.count, self.group
            ),
            details: vec![
                format!("group {} with the id {}", self.group, self.gid),
                format!(
                    "users {0}1 to {0}{1} with the ids {first} to {last}",
                    self.prefix, self.count
                ),
            ],
        }
    }

    /// Whether it is on the machine as it should be.
    pub fn probe(&self, host: &Host) -> Result<Presence> {
        let seen = self.look(host)?;
        let absent = seen.absent.len();
        if seen.gid.is_none() && absent == self.count as usize {
            return Ok(Presence::Absent);
        }
        let mut wrong = Vec::new();
        if seen.gid.is_none() {
            wrong.push(format!("the group {} is not there", self.group));
        }
        if let Some(first) = seen.absent.first() {
            wrong.push(format!(
                "{absent} users are not there, such as {}",
                first.name
            ));
        }
        if let Some(first) = seen.strangers.first() {
            let count = seen.strangers.len();
            wrong.push(format!(
                "{count} users are not in {}, such as {}",
                self.group, first.name
            ));
        }
        Ok(if wrong.is_empty() {
            Presence::Present
        } else {
            Presence::Drifted(wrong.join("; "))
        })
    }

    /// Reads what undoing will need.
    pub fn prepare(&self, host: &Host) -> Result<Undo> {
        let seen = self.look(host)?;
        let undo = UsersUndo {
            users: seen.absent.into_iter().map(|user| user.name).collect(),
            members: seen.strangers.into_iter().map(|user| user.name).collect(),
            group: seen.gid.is_none(),
        };
        let nothing = undo.users.is_empty() && undo.members.is_empty() && !undo.group;
        Ok(if nothing {
            Undo::Nothing
        } else {
            Undo::Users(undo)
        })
    }

    /// Makes it so.
    pub fn apply(&self, context: &Context<'_>, undo: &Undo) -> Result<()> {
        let _ = undo;
        let seen = self.look(context.host)?;
        if seen.gid.is_some() && seen.absent.is_empty() && seen.strangers.is_empty() {
            return Ok(());
        }
        let tools = Tools::for_making(context.host)?;
        let gid = seen.gid.unwrap_or(self.gid);
        let started = Instant::now();
        let commands = tools.make(
            context.host,
            (&self.group, gid, seen.gid.is_none()),
            &seen.absent,
            &seen.strangers,
        );
        for command in &commands {
            self.patiently(context, command)?;
        }
        if !seen.absent.is_empty() {
            context.progress.note(&format!(
                "made {} build users with {} in {} ms",
                seen.absent.len(),
                tools.name(),
                started.elapsed().as_millis()
            ));
        }
        Ok(())
    }

    /// Takes it back to what it was.
    pub fn undo(&self, context: &Context<'_>, undo: &Undo) -> Result<Undone> {
        let Undo::Users(made) = undo else {
            return Ok(Undone::Clean);
        };
        let host = context.host;
        let there = accounts::users_by_name(host, &made.users)?;
        let group = accounts::group(host, &self.group)?;
        let member = |name: &str| {
            group
                .iter()
                .any(|group| group.members.iter().any(|m| m == name))
        };
        let leaving: Vec<&String> = made.members.iter().filter(|name| member(name)).collect();
        let gone = there.is_empty() && leaving.is_empty() && (group.is_none() || !made.group);
        if gone {
            return Ok(Undone::Clean);
        }
        let tools = Tools::for_removing(host)?;
        for user in &there {
            self.patiently(context, &tools.remove_user(host, &user.name))?;
        }
        for name in leaving {
            self.patiently(context, &tools.leave(host, name, &self.group))?;
        }
        if made.group {
            self.remove_group(context, &tools)
        } else {
            Ok(Undone::Clean)
        }
    }

    /// The group goes last, and only when nobody else came to be in it.
    fn remove_group(&self, context: &Context<'_>, tools: &Tools) -> Result<Undone> {
        let Some(group) = accounts::group(context.host, &self.group)? else {
            return Ok(Undone::Clean);
        };
        if let Some(other) = group.members.first() {
            return Ok(Undone::Kept(format!(
                "the group {} stays: {other} is in it",
                self.group
            )));
        }
        let users = accounts::local_users_of_group(context.host, group.gid)?;
        if let Some(other) = users.first() {
            let name = &other.name;
            return Ok(Undone::Kept(format!(
                "the group {} stays: {name} is in it",
                self.group
            )));
        }
        self.patiently(context, &tools.remove_group(context.host, &self.group))?;
        Ok(Undone::Clean)
    }

    /// Runs it, again after a while when somebody else holds the lock or a process still runs.
    fn patiently(&self, context: &Context<'_>, command: &crate::host::Command) -> Result<()> {
        for attempt in 1.. {
            match context.host.exec.run(command, context.cancel) {
                Err(ExecError::Failed { stderr, .. })
                    if attempt < ATTEMPTS && may_pass(&stderr) =>
                {
                    self.pause(context)?;
                }
                result => return result.map(|_| ()).map_err(ResourceError::from),
            }
        }
        Ok(())
    }

    fn pause(&self, context: &Context<'_>) -> Result<()> {
        let until = Instant::now() + PAUSE;
        while Instant::now() < until {
            if context.cancel.requested().is_some() {
                return Err(ResourceError::Stopped {
                    id: self.describe().id,
                });
            }
            std::thread::sleep(Duration::from_millis(50));
        }
        Ok(())
    }

    fn look(&self, host: &Host) -> Result<Seen> {
        let group = accounts::group(host, &self.group)?;
        let names: Vec<String> = (1..=self.count)
            .map(|n| format!("{}{n}", self.prefix))
            .collect();
        let there = accounts::users_by_name(host, &names)?;
        let mut seen = Seen {
            gid: group.as_ref().map(|group| group.gid),
            absent: vec![],
            strangers: vec![],
        };
        for (number, name) in (1..).zip(names) {
            let user = there.iter().find(|user| user.name == name);
            let is_member = group.iter().any(|group| group.members.contains(&name));
            match user {
                None => seen.absent.push(NewUser {
                    name,
                    uid: self.uid_base + number,
                    number,
                }),
                Some(user) if !is_member => seen.strangers.push(Adopted {
                    name,
                    uid: user.uid,
                    gid: user.gid,
                }),
                Some(_) => {}
            }
        }
        Ok(seen)
    }
}

/// Whether the words of a tool speak of something that passes.
fn may_pass(stderr: &str) -> bool {
    [
        "cannot lock",
        "try again later",
        "currently used by process",
        "existing lock",
        "currently logged in",
    ]
    .iter()
    .any(|words| stderr.contains(words))
}

#[cfg(test)]
#[path = "users_tests.rs"]
pub(crate) mod tests;

//! The build users and their group, in the local files and in the directory of users.

use std::path::Path;

use super::{At, Expected, Result, Scene, text};
use crate::host::accounts;
use crate::resource::users::BuildUsers;

/// Largest user database that is read.
const LIMIT: u64 = 16 << 20;

/// Build users.
#[derive(Debug, Clone, PartialEq)]
pub struct AccountFacts {
    /// What should be there; nothing for a single-user install.
    pub wanted: Option<BuildUsers>,
    /// Every entry of the group in the local file: its id.
    pub local_groups: Vec<u32>,
    /// The name of an entry with the group's id that differs from its name in blanks alone.
    pub misnamed: Option<String>,
    /// The group as programs see it.
    pub group: Option<Group>,
    /// Names of wanted users that are not there.
    pub missing: Vec<String>,
    /// Names of wanted users that are there and no members.
    pub strangers: Vec<String>,
    /// Build users whose id another user has, too: the two names.
    pub shared: Vec<(String, String)>,
    /// The store.
    pub store: At,
    /// Why the directory of users could not be asked.
    pub directory_error: Option<String>,
}

/// A group.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Group {
    /// Id.
    pub gid: u32,
    /// Names that it lists.
    pub members: Vec<String>,
}

/// A user as it is known: name, id, main group.
#[derive(Debug, Clone, PartialEq, Eq)]
struct User {
    name: String,
    uid: u32,
}

pub(super) fn look(scene: &Scene<'_>, expected: &Expected) -> Result<AccountFacts> {
    let host = scene.host;
    let mut facts = AccountFacts {
        wanted: expected.users.clone(),
        local_groups: Vec::new(),
        misnamed: None,
        group: None,
        missing: Vec::new(),
        strangers: Vec::new(),
        shared: Vec::new(),
        store: At::look(&host.fs, "/nix/store")?,
        directory_error: None,
    };
    let Some(wanted) = &expected.users else {
        return Ok(facts);
    };
    let local = Local::read(scene)?;
    facts.local_groups = local.groups(&wanted.group).map(|group| group.gid).collect();
    facts.misnamed = local.misnamed(wanted);
    facts.group = match accounts::group(host, &wanted.group) {
        Ok(group) => group.map(|it| Group {
            gid: it.gid,
            members: it.members,
        }),
        Err(error) => {
            facts.directory_error = Some(error.to_string());
            local.groups(&wanted.group).next()
        }
    };
    if scene.is_deep && !facts.local_groups.is_empty() {
        facts.directory_error = match accounts::is_group_known(host, &wanted.group) {
            Ok(true) => facts.directory_error,
            Ok(false) => Some(format!(
                "the group {} is in /etc/group, and whoever asks the system does not find it",
                wanted.group
            )),
            Err(error) => Some(error.to_string()),
        };
    }
    let names: Vec<String> = (1..=wanted.count)
        .map(|number| format!("{}{number}", wanted.prefix))
        .collect();
    let users: Vec<User> = match accounts::users_by_name(host, &names) {
        Ok(users) => users.into_iter().map(user).collect(),
        Err(error) => {
            facts.directory_error = Some(error.to_string());
            local
                .users()
                .filter(|it| names.contains(&it.name))
                .collect()
        }
    };
    for name in names {
        let is_member = facts
            .group
            .as_ref()
            .is_some_and(|group| group.members.contains(&name));
        if !users.iter().any(|user| user.name == name) {
            facts.missing.push(name);
        } else if !is_member {
            facts.strangers.push(name);
        }
    }
    let ids: Vec<u32> = users.iter().map(|user| user.uid).collect();
    let holders: Vec<User> = match accounts::users_by_id(host, &ids) {
        Ok(holders) => holders.into_iter().map(user).collect(),
        Err(error) => {
            facts.directory_error = Some(error.to_string());
            local.users().filter(|it| ids.contains(&it.uid)).collect()
        }
    };
    facts.shared = shared(&users, &holders);
    Ok(facts)
}

fn user(it: accounts::User) -> User {
    User {
        name: it.name,
        uid: it.uid,
    }
}

/// Build users with an id that somebody else has, each pair once.
fn shared(users: &[User], holders: &[User]) -> Vec<(String, String)> {
    let mut pairs: Vec<(String, String)> = Vec::new();
    for user in users {
        for other in holders.iter().chain(users) {
            let is_other = other.uid == user.uid && other.name != user.name;
            let known = |(a, b): &(String, String)| {
                (a == &user.name && b == &other.name) || (a == &other.name && b == &user.name)
            };
            if is_other && !pairs.iter().any(known) {
                pairs.push((user.name.clone(), other.name.clone()));
            }
        }
    }
    pairs
}

/// The local files.
struct Local {
    passwd: String,
    group: String,
}

impl Local {
    fn read(scene: &Scene<'_>) -> Result<Local> {
        let fs = &scene.host.fs;
        let read = |path| text(fs, Path::new(path), LIMIT);
        Ok(Local {
            passwd: read("/etc/passwd")?.unwrap_or_default(),
            group: read("/etc/group")?.unwrap_or_default(),
        })
    }

    fn groups<'a>(&'a self, name: &'a str) -> impl Iterator<Item = Group> + 'a {
        self.group.lines().filter_map(move |line| {
            let fields: Vec<&str> = line.split(':').collect();
            let [found, _, gid, members] = fields[..] else {
                return None;
            };
            let members = members.split(',').filter(|it| !it.is_empty());
            (found == name).then_some(Group {
                gid: gid.parse().ok()?,
                members: members.map(str::to_owned).collect(),
            })
        })
    }

    fn misnamed(&self, wanted: &BuildUsers) -> Option<String> {
        self.group.lines().find_map(|line| {
            let mut fields = line.split(':');
            let name = fields.next()?;
            let gid: u32 = fields.nth(1)?.parse().ok()?;
            let differs = name != wanted.group && name.trim() == wanted.group;
            (differs && gid == wanted.gid).then(|| name.to_owned())
        })
    }

    fn users(&self) -> impl Iterator<Item = User> + '_ {
        self.passwd.lines().filter_map(|line| {
            let mut fields = line.split(':');
            let name = fields.next()?.to_owned();
            let uid = fields.nth(1)?.parse().ok()?;
            Some(User { name, uid })
        })
    }
}

#[cfg(test)]
mod tests {
    use super::super::testing::look_at;
    use super::super::{Area, Facts};
    use super::*;
    use crate::catalogue::facts::testing::Machine;
    use crate::resource::Resource;

    fn of(passwd: &str, group: &str) -> AccountFacts {
        let users = Resource::BuildUsers(BuildUsers {
            group: "nixbld".to_owned(),
            gid: 30000,
            prefix: "nixbld".to_owned(),
            count: 2,
            uid_base: 30000,
        });
        let machine = Machine::new()
            .file("/etc/passwd", passwd)
            .file("/etc/group", group);
        match look_at(&machine, &[users], Area::Accounts) {
            Facts::Accounts(facts) => *facts,
            other => panic!("{other:?}"),
        }
    }

    const BOTH: &str = "nixbld1:x:30001:30000::/:/x\nnixbld2:x:30002:30000::/:/x\n";

    #[test]
    fn users_and_group_are_read() {
        let facts = of(BOTH, "nixbld:x:30000:nixbld1,nixbld2\n");
        assert_eq!(facts.local_groups, [30000]);
        assert!(facts.missing.is_empty() && facts.strangers.is_empty() && facts.shared.is_empty());
        assert_eq!(facts.directory_error, None);
    }

    #[test]
    fn what_is_missing_strange_shared_or_double_is_seen() {
        let passwd = "jo:x:30001:1::/:/x\nnixbld1:x:30001:30000::/:/x\n";
        let facts = of(passwd, "nixbld:x:30000:\nnixbld:x:998:nixbld1\n");
        assert_eq!(facts.local_groups, [30000, 998]);
        assert_eq!(facts.missing, ["nixbld2"]);
        assert_eq!(facts.strangers, ["nixbld1"]);
        assert_eq!(facts.shared, [("nixbld1".to_owned(), "jo".to_owned())]);
        assert_eq!(of(BOTH, "").group, None);
        let blank = of(BOTH, "nixbld :x:30000:nixbld1,nixbld2\n");
        assert_eq!(blank.misnamed.as_deref(), Some("nixbld "));
        // One of another id is another group.
        assert_eq!(of(BOTH, "nixbld :x:7:nixbld1\n").misnamed, None);
    }

    #[test]
    fn two_build_users_with_one_id_are_a_pair_once() {
        let both = "nixbld1:x:30001:30000::/:/x\nnixbld2:x:30001:30000::/:/x\n";
        let facts = of(both, "nixbld:x:30000:nixbld1,nixbld2\n");
        assert_eq!(facts.shared.len(), 1);
    }
}

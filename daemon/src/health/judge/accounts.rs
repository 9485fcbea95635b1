//! Whether builds find users to run as.

use nixctl_proto::health::check::Check;

use super::Found;
use crate::health::look::accounts::AccountFacts;
use crate::health::mend::Mend;
use crate::health::mend::group_name::GroupName;
use crate::resource::Resource;
use crate::resource::users::BuildUsers;

/// Names that a sentence lists.
const NAMED: usize = 3;

pub(super) fn judge(facts: &AccountFacts) -> Vec<Found> {
    let Some(wanted) = &facts.wanted else {
        return Vec::new();
    };
    let mut found = Vec::new();
    found.extend(directory(facts));
    if facts.group.is_none() {
        if let Some(name) = &facts.misnamed {
            found.push(misnamed(wanted, name));
            return found;
        }
        found.push(
            Found::new(Check::GroupMissing, &wanted.group)
                .seen(format!("the group {} is not there", wanted.group))
                .expected(format!("the group with the id {}", wanted.gid))
                .ensure(users(wanted)),
        );
        return found;
    }
    found.extend(missing(facts, wanted));
    // Which of two entries is the group's, nobody decides who only adds members.
    match duplicate(facts, wanted) {
        Some(twice) => found.push(twice),
        None => found.extend(strangers(facts, wanted)),
    }
    found.extend(renumbered(facts, wanted));
    found.extend(shared(facts));
    found
}

/// Its entry is there under a damaged name; another one could not have its id.
fn misnamed(wanted: &BuildUsers, name: &str) -> Found {
    Found::new(Check::GroupMissing, &wanted.group)
        .seen(format!(
            "the group {} is not there, and /etc/group has one with the name `{name}`",
            wanted.group
        ))
        .expected(format!("the group with the id {}", wanted.gid))
        .mend(Mend::GroupName(GroupName {
            from: name.to_owned(),
            to: wanted.group.clone(),
        }))
}

fn users(wanted: &BuildUsers) -> Resource {
    Resource::BuildUsers(wanted.clone())
}

fn directory(facts: &AccountFacts) -> Option<Found> {
    let error = facts.directory_error.as_ref()?;
    Some(
        Found::new(Check::DirectorySilent, "getent")
            .seen(error)
            .expected("an answer")
            .help("see `systemctl status sssd nscd`, and /etc/nsswitch.conf"),
    )
}

fn missing(facts: &AccountFacts, wanted: &BuildUsers) -> Option<Found> {
    listed(&facts.missing).map(|names| {
        Found::new(Check::UsersMissing, &wanted.group)
            .seen(format!("{names} not there"))
            .expected(format!("{} build users", wanted.count))
            .ensure(users(wanted))
    })
}

fn strangers(facts: &AccountFacts, wanted: &BuildUsers) -> Option<Found> {
    listed(&facts.strangers).map(|names| {
        Found::new(Check::NotMembers, &wanted.group)
            .seen(format!("{names} not listed by the group {}", wanted.group))
            .expected("all build users are members")
            .ensure(users(wanted))
    })
}

fn listed(names: &[String]) -> Option<String> {
    let shown: Vec<&str> = names.iter().take(NAMED).map(String::as_str).collect();
    let more = names.len().saturating_sub(NAMED);
    let verb = if names.len() == 1 { "is" } else { "are" };
    let tail = match more {
        0 => String::new(),
        more => format!(" and {more} more"),
    };
    (!names.is_empty()).then(|| format!("{}{tail} {verb}", shown.join(", ")))
}

fn duplicate(facts: &AccountFacts, wanted: &BuildUsers) -> Option<Found> {
    if facts.local_groups.len() < 2 {
        return None;
    }
    let ids: Vec<String> = facts.local_groups.iter().map(u32::to_string).collect();
    Some(
        Found::new(Check::DuplicateGroup, &wanted.group)
            .seen(format!(
                "/etc/group has {} entries of that name, with the ids {}",
                ids.len(),
                ids.join(", ")
            ))
            .expected("one entry")
            .help("keep the entry with the members, remove the others (vigr)"),
    )
}

fn renumbered(facts: &AccountFacts, wanted: &BuildUsers) -> Option<Found> {
    let gid = facts.group.as_ref()?.gid;
    let store = facts.store.meta.filter(|_| facts.store.is_directory())?;
    // Which entry counts has to be settled first; a store that was given away is the tree's matter.
    if store.gid == gid || gid == wanted.gid || facts.local_groups.len() > 1 {
        return None;
    }
    Some(
        Found::new(Check::Renumbered, &wanted.group)
            .seen(format!(
                "the group {} has the id {gid}, the store belongs to {}",
                wanted.group, store.gid
            ))
            .expected(format!("the id {}", wanted.gid))
            .help(format!(
                "give the group its id back: groupmod -g {} {}",
                wanted.gid, wanted.group
            )),
    )
}

fn shared(facts: &AccountFacts) -> Vec<Found> {
    let one = |(user, other): &(String, String)| {
        Found::new(Check::SharedId, user)
            .seen(format!("{user} and {other} have the same id"))
            .expected("an id of its own")
            .help(format!("give one of them another id: usermod -u ID {user}"))
    };
    facts.shared.iter().map(one).collect()
}

#[cfg(test)]
mod tests {
    use super::super::testing::{at, ids};
    use super::*;
    use crate::health::look::accounts::Group;
    use crate::host::fs::Kind;

    fn healthy() -> AccountFacts {
        let mut store = at("/nix/store", Kind::Directory, 0o1775);
        store.meta.as_mut().unwrap().gid = 30000;
        AccountFacts {
            wanted: Some(BuildUsers {
                group: "nixbld".to_owned(),
                gid: 30000,
                prefix: "nixbld".to_owned(),
                count: 32,
                uid_base: 30000,
            }),
            local_groups: vec![30000],
            misnamed: None,
            group: Some(Group {
                gid: 30000,
                members: Vec::new(),
            }),
            missing: Vec::new(),
            strangers: Vec::new(),
            shared: Vec::new(),
            store,
            directory_error: None,
        }
    }

    fn with(change: impl FnOnce(&mut AccountFacts)) -> Vec<Found> {
        let mut facts = healthy();
        change(&mut facts);
        judge(&facts)
    }

    #[test]
    fn a_healthy_machine_has_no_finding() {
        assert_eq!(judge(&healthy()), []);
        // A group of the directory is in no local file; a store that is not there is another's.
        assert_eq!(with(|facts| facts.local_groups.clear()), []);
        assert_eq!(with(|facts| facts.store.meta = None), []);
        assert_eq!(
            with(|facts| facts.store.meta.as_mut().unwrap().gid = 998),
            []
        );
        assert_eq!(with(|facts| facts.wanted = None), []);
    }

    #[test]
    fn nobody_becomes_a_member_of_a_group_that_is_there_twice() {
        let found = with(|facts| {
            facts.local_groups = vec![977, 30000];
            facts.strangers = vec!["nixbld2".to_owned()];
        });
        assert_eq!(ids(&found), ["accounts.duplicate-group nixbld"]);
    }

    #[test]
    fn a_group_under_a_damaged_name_gets_its_name_back() {
        let found = with(|facts| {
            facts.group = None;
            facts.misnamed = Some("nixbld ".to_owned());
        });
        assert_eq!(ids(&found), ["accounts.group-missing nixbld"]);
        let name = Mend::GroupName(GroupName {
            from: "nixbld ".to_owned(),
            to: "nixbld".to_owned(),
        });
        assert_eq!(found[0].cures, [crate::health::judge::Cure::Mend(name)]);
    }

    #[test]
    fn what_is_wrong_is_named() {
        type Change = fn(&mut AccountFacts);
        let table: [(Change, &str, usize); 7] = [
            (
                |facts| facts.group = None,
                "accounts.group-missing nixbld",
                1,
            ),
            (
                |facts| facts.missing = vec!["nixbld7".to_owned()],
                "accounts.users-missing nixbld",
                1,
            ),
            (
                |facts| facts.strangers = vec!["nixbld7".to_owned()],
                "accounts.not-members nixbld",
                1,
            ),
            (
                |facts| facts.group.as_mut().unwrap().gid = 998,
                "accounts.renumbered nixbld",
                0,
            ),
            (
                |facts| facts.local_groups = vec![30000, 998],
                "accounts.duplicate-group nixbld",
                0,
            ),
            (
                |facts| facts.shared = vec![("nixbld1".to_owned(), "jo".to_owned())],
                "accounts.shared-id nixbld1",
                0,
            ),
            (
                |facts| facts.directory_error = Some("no answer".to_owned()),
                "accounts.directory-silent getent",
                0,
            ),
        ];
        for (change, expected, cures) in table {
            let found = with(change);
            assert_eq!(ids(&found), [expected]);
            assert_eq!(found[0].cures.len(), cures, "{expected}");
        }
    }

    #[test]
    fn many_names_are_counted() {
        let names: Vec<String> = (1..=32).map(|number| format!("nixbld{number}")).collect();
        assert_eq!(
            listed(&names).unwrap(),
            "nixbld1, nixbld2, nixbld3 and 29 more are"
        );
        assert_eq!(listed(&names[..1]).unwrap(), "nixbld1 is");
        assert_eq!(listed(&[]), None);
    }
}

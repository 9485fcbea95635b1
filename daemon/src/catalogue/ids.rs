//! Which ids the build users get: those they have already, those asked for, or a free range.
//!
//! User N has the id `uid_base + N`, the group has `gid`. An existing group and existing users
//! keep their ids: files of the store belong to them. A range is searched, never assumed.

use nixctl_proto::settings::InstallSettings;
use nixctl_proto::{Code, Failure};

use super::facts::Facts;
use super::facts::accounts::{BuildUsersFact, IdRange, free_range};

/// The ids, and where they came from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Ids {
    /// Id of the group.
    pub gid: u32,
    /// User N has this plus N, unless it exists with another id.
    pub uid_base: u32,
    /// Where they came from, one sentence.
    pub origin: String,
}

/// Chooses the ids.
///
/// # Errors
/// [`Code::IdsTaken`] when the range asked for is in use or none is free;
/// [`Code::UnsupportedSystem`] when this container has no such ids.
pub fn choose(facts: &Facts, settings: &InstallSettings) -> Result<Ids, Failure> {
    let ids = range(&facts.build_users, settings)?;
    let last = ids.uid_base.saturating_add(settings.build_user_count);
    let mapped = covers(&facts.uid_map, ids.uid_base.saturating_add(1), last)
        && covers(&facts.gid_map, ids.gid, ids.gid);
    if mapped {
        return Ok(ids);
    }
    let message = format!(
        "cannot make the build users: their ids up to {last} do not exist in this container, \
         whose id map is too small"
    );
    Err(Failure::new(Code::UnsupportedSystem, message).with_help(
        "give the container more ids (LXC: a larger lxc.idmap or security.idmap.size), or choose \
         a smaller [install] build_user_id_base",
    ))
}

fn range(fact: &BuildUsersFact, settings: &InstallSettings) -> Result<Ids, Failure> {
    let count = settings.build_user_count;
    if let Some(base) = base_of_existing(fact, count) {
        let gid = fact.gid.unwrap_or(base);
        let origin = format!(
            "the build users that exist keep their ids, from {} on",
            base.saturating_add(1)
        );
        return Ok(Ids {
            gid,
            uid_base: base,
            origin,
        });
    }
    if settings.build_user_id_base != 0 {
        return asked_for(fact, settings);
    }
    let Some(base) = free_range(fact, count) else {
        let message = format!(
            "cannot find {} free ids in a row for the build users",
            count + 1
        );
        return Err(Failure::new(Code::IdsTaken, message));
    };
    let (gid, group) = match fact.gid {
        Some(gid) => (gid, format!("; the group keeps {gid}")),
        None => (base, String::new()),
    };
    let origin = format!(
        "the build users get the free ids {} to {}{group}",
        base.saturating_add(1),
        base.saturating_add(count)
    );
    Ok(Ids {
        gid,
        uid_base: base,
        origin,
    })
}

/// The base that fits the users that exist, when they fit one and the others' ids are free.
fn base_of_existing(fact: &BuildUsersFact, count: u32) -> Option<u32> {
    let wanted = |number: &u32| (1..=count).contains(number);
    let mut bases = fact
        .users
        .iter()
        .filter(|(number, _)| wanted(number))
        .map(|(n, id)| id.checked_sub(*n));
    let base = bases.next()??;
    let alike = bases.all(|other| other == Some(base));
    let rest_is_free = (1..=count)
        .filter(|number| !fact.users.contains_key(number))
        .all(|number| !fact.taken_uids.contains(&base.saturating_add(number)));
    let group_is_free = fact.gid.is_some() || !fact.taken_gids.contains(&base);
    (alike && rest_is_free && group_is_free).then_some(base)
}

fn asked_for(fact: &BuildUsersFact, settings: &InstallSettings) -> Result<Ids, Failure> {
    let base = settings.build_user_id_base;
    let gid = fact.gid.unwrap_or(base);
    let taken_user = (1..=settings.build_user_count)
        .filter(|number| !fact.users.contains_key(number))
        .map(|number| base.saturating_add(number))
        .find(|id| fact.taken_uids.contains(id));
    let taken = match taken_user {
        Some(id) => Some(format!("the user id {id}")),
        None if fact.gid.is_none() && fact.taken_gids.contains(&base) => {
            Some(format!("the group id {base}"))
        }
        None => None,
    };
    match taken {
        None => Ok(Ids {
            gid,
            uid_base: base,
            origin: format!("the ids from {base} on were set in [install] build_user_id_base"),
        }),
        Some(taken) => {
            let message = format!(
                "cannot use [install] build_user_id_base = {base} for the build users: {taken} is in use"
            );
            let help = "set it to the start of a free range, or to 0 to have one searched";
            Err(Failure::new(Code::IdsTaken, message).with_help(help))
        }
    }
}

fn covers(map: &[IdRange], first: u32, last: u32) -> bool {
    let mut next = u64::from(first);
    let mut ranges: Vec<IdRange> = map.to_vec();
    ranges.sort_unstable_by_key(|range| range.first);
    for range in ranges {
        let begin = u64::from(range.first);
        let end = begin + u64::from(range.count);
        if begin <= next && next < end {
            next = end;
        }
    }
    next > u64::from(last)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn settings(base: u32) -> InstallSettings {
        InstallSettings {
            build_user_count: 4,
            build_user_id_base: base,
            ..InstallSettings::default()
        }
    }

    fn chosen(fact: BuildUsersFact, base: u32) -> Result<(u32, u32), Code> {
        let facts = Facts {
            build_users: fact,
            ..Facts::plain_debian()
        };
        choose(&facts, &settings(base))
            .map(|ids| (ids.gid, ids.uid_base))
            .map_err(|f| f.code)
    }

    #[test]
    fn ids_are_kept_taken_as_asked_or_searched() {
        let fact = |gid, users: &[(u32, u32)], uids: &[u32], gids: &[u32]| BuildUsersFact {
            gid,
            members: Vec::new(),
            users: users.iter().copied().collect(),
            taken_uids: uids
                .iter()
                .copied()
                .chain(users.iter().map(|user| user.1))
                .collect(),
            taken_gids: gids.iter().copied().chain(gid).collect(),
        };
        let table = [
            (fact(None, &[], &[], &[]), 0, Ok((30000, 30000))),
            (fact(None, &[], &[30002], &[]), 0, Ok((30003, 30003))),
            (fact(None, &[], &[], &[30000]), 0, Ok((30001, 30001))),
            (fact(Some(998), &[], &[], &[]), 0, Ok((998, 30000))),
            (
                fact(Some(400), &[(1, 501), (2, 502)], &[], &[]),
                0,
                Ok((400, 500)),
            ),
            (fact(None, &[(1, 501)], &[], &[]), 0, Ok((500, 500))),
            // Users that fit no base, or whose missing neighbours' ids are taken: a new range.
            (
                fact(None, &[(1, 501), (2, 777)], &[], &[]),
                0,
                Ok((30000, 30000)),
            ),
            (fact(None, &[(1, 501)], &[503], &[]), 0, Ok((30000, 30000))),
            (fact(None, &[], &[], &[]), 700, Ok((700, 700))),
            (fact(None, &[], &[704], &[]), 700, Err(Code::IdsTaken)),
            (fact(None, &[], &[705], &[]), 700, Ok((700, 700))),
            (fact(None, &[], &[], &[700]), 700, Err(Code::IdsTaken)),
        ];
        for (fact, base, expected) in table {
            assert_eq!(chosen(fact.clone(), base), expected, "{fact:?}");
        }
    }

    #[test]
    fn a_container_must_have_the_ids() {
        let with = |first, count| Facts {
            uid_map: vec![IdRange { first, count }],
            ..Facts::plain_debian()
        };
        assert!(choose(&with(0, 65536), &settings(0)).is_ok());
        assert!(choose(&with(0, 30005), &settings(0)).is_ok());
        assert_eq!(
            choose(&with(0, 30004), &settings(0)).unwrap_err().code,
            Code::UnsupportedSystem
        );
        assert!(choose(&with(0, 2000), &settings(1000)).is_ok());
        let two = [
            IdRange {
                first: 10,
                count: 10,
            },
            IdRange {
                first: 0,
                count: 10,
            },
        ];
        assert!(covers(&two, 0, 19) && !covers(&two, 0, 20));
    }
}

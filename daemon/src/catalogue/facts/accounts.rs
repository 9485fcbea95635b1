//! Users and groups: what exists, which ids are taken, which ids this machine can use at all.
//!
//! `getent` is asked, so that users of a directory (sssd, LDAP) count, too; a directory that
//! refuses to list everybody is asked for the ids of the wanted range one by one. The local files
//! are read besides, because an image has no `getent` and a broken directory hides nothing then.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::time::Duration;

use nixctl_proto::settings::InstallSettings;

use super::links::read_text;
use crate::host::accounts::AccountsError;
use crate::host::{Cancel, Command, ExecError, FsError, Host};

/// Tools that may be needed for users and groups, SELinux aside.
const TOOLS: [&str; 13] = [
    "systemd-sysusers",
    "useradd",
    "userdel",
    "usermod",
    "groupadd",
    "groupdel",
    "gpasswd",
    "adduser",
    "deluser",
    "addgroup",
    "delgroup",
    "getent",
    "busybox",
];

/// Time for one question to the user databases.
const DEADLINE: Duration = Duration::from_secs(20);
/// Lines of a database that are read at most: directories of big companies are long.
const LIMIT: u64 = 64 << 20;

/// Where the search for a free range begins.
pub const FIRST_ID: u32 = 30_000;
/// From here on ids have other uses: home directories managed by systemd (60001), its dynamic
/// users (61184), nobody (65534), and the ranges of containers.
const LAST_ID: u32 = 59_999;
/// Ranges that are looked at before the search gives up.
const RANGES: u32 = 64;

/// A range of ids that exists in this user namespace.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct IdRange {
    /// First id.
    pub first: u32,
    /// How many.
    pub count: u32,
}

/// The build users and the ids around them.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct BuildUsersFact {
    /// Id of the build group, when it exists.
    pub gid: Option<u32>,
    /// Names listed as members of the group.
    pub members: Vec<String>,
    /// Users with the names of build users, by number, with their ids.
    pub users: BTreeMap<u32, u32>,
    /// User ids in use.
    pub taken_uids: BTreeSet<u32>,
    /// Group ids in use.
    pub taken_gids: BTreeSet<u32>,
}

/// Tools that are installed.
pub(super) fn tools(host: &Host) -> BTreeSet<String> {
    let found = TOOLS.iter().filter(|tool| host.exec.find(tool).is_some());
    found.map(|tool| (*tool).to_owned()).collect()
}

/// Ids of users (`uid_map`) or groups (`gid_map`) that exist here; everything when unknown.
pub(crate) fn id_map(host: &Host, name: &str) -> Result<Vec<IdRange>, FsError> {
    let text = read_text(&host.fs, &Path::new("/proc/self").join(name), 1 << 16)?;
    let ranges: Vec<IdRange> = text
        .as_deref()
        .unwrap_or_default()
        .lines()
        .filter_map(range)
        .collect();
    Ok(if ranges.is_empty() {
        vec![IdRange {
            first: 0,
            count: u32::MAX,
        }]
    } else {
        ranges
    })
}

fn range(line: &str) -> Option<IdRange> {
    let mut fields = line.split_whitespace().map(str::parse::<u32>);
    let (first, _outside, count) = (fields.next()?.ok()?, fields.next()?, fields.next()?.ok()?);
    Some(IdRange { first, count })
}

/// Reads users, groups and ids.
pub(super) fn read(
    host: &Host,
    image: bool,
    settings: &InstallSettings,
    cancel: &Cancel,
) -> Result<BuildUsersFact, AccountsError> {
    let passwd = database(host, image, "passwd", cancel)?;
    let group = database(host, image, "group", cancel)?;
    let mut fact = BuildUsersFact::default();
    for (name, id, _) in passwd.lines().filter_map(entry) {
        fact.taken_uids.insert(id);
        let number = name.strip_prefix(settings.build_user_prefix.as_str());
        if let Some(number) = number.and_then(|number| number.parse::<u32>().ok()) {
            fact.users.entry(number).or_insert(id);
        }
    }
    for (name, id, members) in group.lines().filter_map(entry) {
        fact.taken_gids.insert(id);
        if name == settings.build_group {
            fact.gid = Some(id);
            fact.members = members
                .split(',')
                .filter(|m| !m.is_empty())
                .map(str::to_owned)
                .collect();
        }
    }
    if !image && fact.gid.is_none() && fact.users.is_empty() {
        ask_for_range(host, settings, &mut fact, cancel)?;
    }
    Ok(fact)
}

/// All entries of a database: those of the local file, then those that `getent` tells.
fn database(
    host: &Host,
    image: bool,
    name: &str,
    cancel: &Cancel,
) -> Result<String, AccountsError> {
    let mut text = read_text(&host.fs, &Path::new("/etc").join(name), LIMIT)?.unwrap_or_default();
    if !image {
        text.push('\n');
        text.push_str(&getent(host, name, &[], cancel)?);
    }
    Ok(text)
}

/// Answer of `getent`; empty when it is missing, fails or takes too long: a directory that is
/// down must not stop an install.
fn getent(host: &Host, name: &str, keys: &[u32], cancel: &Cancel) -> Result<String, ExecError> {
    let command = Command::new("getent")
        .arg(name)
        .args(keys.iter().map(u32::to_string))
        .deadline(DEADLINE);
    match host.exec.output(&command, cancel) {
        // 2: one or more of the keys were not found; the others are in the output.
        Ok(output) => Ok(output.text()),
        Err(error @ ExecError::Stopped { .. }) => Err(error),
        Err(_) => Ok(String::new()),
    }
}

/// Asks for every id of the first free-looking range, until one really is free.
fn ask_for_range(
    host: &Host,
    settings: &InstallSettings,
    fact: &mut BuildUsersFact,
    cancel: &Cancel,
) -> Result<(), ExecError> {
    for _ in 0..RANGES {
        let wanted = match settings.build_user_id_base {
            0 => free_range(fact, settings.build_user_count),
            base => Some(base),
        };
        let Some(base) = wanted else { return Ok(()) };
        let ids: Vec<u32> = (base..=base.saturating_add(settings.build_user_count)).collect();
        let mut news = false;
        for (_, id, _) in getent(host, "passwd", &ids, cancel)?
            .lines()
            .filter_map(entry)
        {
            news |= fact.taken_uids.insert(id);
        }
        for (_, id, _) in getent(host, "group", &ids, cancel)?
            .lines()
            .filter_map(entry)
        {
            news |= fact.taken_gids.insert(id);
        }
        if !news || settings.build_user_id_base != 0 {
            return Ok(());
        }
    }
    Ok(())
}

/// The first base whose group id and `count` user ids after it are free, as far as is known.
pub(crate) fn free_range(fact: &BuildUsersFact, count: u32) -> Option<u32> {
    let mut base = FIRST_ID;
    loop {
        let last = base.checked_add(count).filter(|last| *last <= LAST_ID)?;
        let taken = (base..=last)
            .rev()
            .find(|id| fact.taken_uids.contains(id) || fact.taken_gids.contains(id));
        match taken {
            None => return Some(base),
            Some(id) => base = id.checked_add(1)?,
        }
    }
}

/// Name, id and last field of a line of passwd or group.
fn entry(line: &str) -> Option<(&str, u32, &str)> {
    let mut fields = line.split(':');
    let name = fields.next()?;
    let id = fields.nth(1)?.parse().ok()?;
    Some((name, id, fields.next_back().unwrap_or_default()))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::catalogue::facts::testing::Machine;

    fn of(machine: &Machine) -> BuildUsersFact {
        read(
            &machine.host(),
            false,
            &InstallSettings::default(),
            &Cancel::default(),
        )
        .unwrap()
    }

    #[test]
    fn local_and_directory_users_count() {
        let machine = Machine::new()
            .file("/etc/passwd", "root:x:0:0::/root:/bin/sh\n")
            .file("/etc/group", "root:x:0:\n")
            .answer("getent passwd", 0, "jo:x:1000:1000::/home/jo:/bin/sh\n", "")
            .answer("getent group", 0, "jo:x:1000:\n", "")
            .answer(
                "getent passwd 30000",
                2,
                "ldap1:x:30005:30005::/:/bin/sh\n",
                "",
            );
        let fact = of(&machine);
        assert_eq!(fact.taken_uids, BTreeSet::from([0, 1000, 30005]));
        assert_eq!(free_range(&fact, 32), Some(30006));
    }

    #[test]
    fn an_existing_group_with_its_users_is_seen() {
        let machine = Machine::new()
            .file(
                "/etc/passwd",
                "nixbld1:x:998:400::/:/x\nnixbld2:x:997:400::/:/x\nnixbldx:x:9:9::/:/x\n",
            )
            .file("/etc/group", "nixbld:x:400:nixbld1,nixbld2\n");
        let fact = of(&machine);
        assert_eq!(fact.gid, Some(400));
        assert_eq!(fact.members, ["nixbld1", "nixbld2"]);
        assert_eq!(fact.users, BTreeMap::from([(1, 998), (2, 997)]));
    }

    #[test]
    fn id_maps_of_containers_and_machines() {
        let machine =
            Machine::new().file("/proc/self/uid_map", "         0     100000      65536\n");
        assert_eq!(
            id_map(&machine.host(), "uid_map").unwrap(),
            [IdRange {
                first: 0,
                count: 65536
            }]
        );
        assert_eq!(
            id_map(&machine.host(), "gid_map").unwrap()[0].count,
            u32::MAX
        );
    }

    #[test]
    fn a_range_is_searched_over_every_id() {
        let mut fact = BuildUsersFact::default();
        assert_eq!(free_range(&fact, 32), Some(30000));
        fact.taken_gids.insert(30000);
        fact.taken_uids.insert(30020);
        assert_eq!(free_range(&fact, 32), Some(30021));
        fact.taken_uids.extend(FIRST_ID..LAST_ID - 32);
        assert_eq!(free_range(&fact, 32), Some(LAST_ID - 32));
        assert_eq!(free_range(&fact, 33), None);
    }

    proptest! {
        #[test]
        fn a_found_range_is_free_and_ordinary(
            uids in proptest::collection::btree_set(30_000u32..30_500, 0..20),
            gids in proptest::collection::btree_set(30_000u32..30_500, 0..20),
            count in 1u32..64,
        ) {
            let fact = BuildUsersFact {
                taken_uids: uids.clone(),
                taken_gids: gids.clone(),
                ..BuildUsersFact::default()
            };
            let base = free_range(&fact, count).unwrap();
            let mut range = base..=base + count;
            prop_assert!(base >= FIRST_ID && base + count <= LAST_ID);
            prop_assert!(range.all(|id| !uids.contains(&id) && !gids.contains(&id)));
        }
    }
}

//! Users and groups, wherever they are kept.
//!
//! A static binary cannot load the modules by which sssd or LDAP answer, so the question goes to
//! `getent`, or to systemd's user database where there is no `getent`. The local files are asked
//! first for names (as every usual order of sources does) and alone for images and where no
//! such program exists. Lines that are not as they should be are passed over.

mod entry;

use std::path::Path;
use std::time::Duration;

use entry::{Entry, parse, valid_name};

use super::{Cancel, Command, ExecError, FsError, Host};

/// Bytes of a local file that are read.
const FILE_LIMIT: u64 = 64 << 20;

/// A directory server that does not answer must not hang an installation.
const DEADLINE: Duration = Duration::from_secs(20);

/// Exit code of `getent` when a key is not known.
const GETENT_NOT_FOUND: i32 = 2;

/// Ids of people by the usual convention (`UID_MIN` and `UID_MAX` of login.defs).
const ORDINARY: std::ops::RangeInclusive<u32> = 1000..=60000;

/// A user.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct User {
    /// Name.
    pub name: String,
    /// Id.
    pub uid: u32,
    /// Id of the main group.
    pub gid: u32,
    /// Home folder.
    pub home: String,
    /// Login shell.
    pub shell: String,
}

/// A group.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct GroupEntry {
    /// Name.
    pub name: String,
    /// Id.
    pub gid: u32,
    /// Names of the members, without those whose main group it is.
    pub members: Vec<String>,
}

/// Why users or groups could not be looked up.
#[derive(Debug, thiserror::Error)]
pub enum AccountsError {
    /// A local file.
    #[error(transparent)]
    Fs(#[from] FsError),
    /// The program that knows them.
    #[error(transparent)]
    Exec(#[from] ExecError),
}

/// Result of a look-up.
pub type Result<T> = std::result::Result<T, AccountsError>;

/// The user of that name.
///
/// # Errors
/// When it cannot be told, because a file cannot be read or a directory does not answer.
pub fn user(host: &Host, name: &str) -> Result<Option<User>> {
    let found = by_name::<User>(host, name)?;
    Ok(found
        .into_iter()
        .find(|user| user.name.eq_ignore_ascii_case(name)))
}

/// The users of these names, asked for in one go; names nobody has are passed over.
///
/// # Errors
/// As [`user`].
pub fn users_by_name(host: &Host, names: &[String]) -> Result<Vec<User>> {
    let mut found = local::<User>(host)?;
    found.retain(|user| names.contains(&user.name));
    let known = |name: &&String| found.iter().any(|user| user.name == **name);
    let missing: Vec<String> = names.iter().filter(|name| !known(name)).cloned().collect();
    if !missing.is_empty() {
        let mut elsewhere = asked::<User>(host, &missing)?.unwrap_or_default();
        elsewhere.retain(|user| missing.contains(&user.name));
        found.extend(elsewhere);
    }
    Ok(found)
}

/// The users that have one of these ids; ids nobody has are passed over.
///
/// # Errors
/// As [`user`].
pub fn users_by_id(host: &Host, ids: &[u32]) -> Result<Vec<User>> {
    let mut found = by_id::<User>(host, ids)?;
    found.retain(|user| ids.contains(&user.uid));
    Ok(found)
}

/// The group of that name.
///
/// # Errors
/// As [`user`].
pub fn group(host: &Host, name: &str) -> Result<Option<GroupEntry>> {
    let found = by_name::<GroupEntry>(host, name)?;
    Ok(found
        .into_iter()
        .find(|group| group.name.eq_ignore_ascii_case(name)))
}

/// Whether programs that ask the system for a group find it: where somebody can be asked and does not
/// know it, they do not, though a local file has it.
///
/// # Errors
/// As [`user`].
pub fn is_group_known(host: &Host, name: &str) -> Result<bool> {
    let found = asked::<GroupEntry>(host, &[name.to_owned()])?;
    Ok(found.is_none_or(|found| !found.is_empty()))
}

/// The groups that have one of these ids; ids nobody has are passed over.
///
/// # Errors
/// As [`user`].
pub fn groups_by_id(host: &Host, ids: &[u32]) -> Result<Vec<GroupEntry>> {
    let mut found = by_id::<GroupEntry>(host, ids)?;
    found.retain(|group| ids.contains(&group.gid));
    Ok(found)
}

/// The user with the lowest ordinary id who can log in and has a home, of the local ones: whole
/// directories are not listed.
///
/// # Errors
/// When the local file cannot be read.
pub fn first_ordinary_user(host: &Host) -> Result<Option<User>> {
    let mut users = local::<User>(host)?;
    users.retain(|user| {
        ORDINARY.contains(&user.uid)
            && !["nologin", "false", ""].contains(&file_name(&user.shell))
            && host.fs.is_dir(Path::new(&user.home))
    });
    Ok(users.into_iter().min_by_key(|user| user.uid))
}

/// Local users whose main group has this id.
///
/// # Errors
/// When the local file cannot be read.
pub fn local_users_of_group(host: &Host, gid: u32) -> Result<Vec<User>> {
    let mut users = local::<User>(host)?;
    users.retain(|user| user.gid == gid);
    Ok(users)
}

fn file_name(path: &str) -> &str {
    path.rsplit('/').next().unwrap_or_default()
}

fn by_name<E: Entry>(host: &Host, name: &str) -> Result<Vec<E>> {
    if valid_name(name).is_none() || name.contains([':', '\n']) {
        return Ok(Vec::new());
    }
    let mut found = local::<E>(host)?;
    found.retain(|entry| entry.name() == name);
    if found.is_empty() {
        found = asked::<E>(host, std::slice::from_ref(&name.to_owned()))?.unwrap_or_default();
    }
    Ok(found)
}

fn by_id<E: Entry>(host: &Host, ids: &[u32]) -> Result<Vec<E>> {
    if ids.is_empty() {
        return Ok(Vec::new());
    }
    let mut found = local::<E>(host)?;
    found.retain(|entry| ids.contains(&entry.id()));
    let keys: Vec<String> = ids.iter().map(u32::to_string).collect();
    for entry in asked::<E>(host, &keys)?.unwrap_or_default() {
        if !found
            .iter()
            .any(|known| known.id() == entry.id() && known.name() == entry.name())
        {
            found.push(entry);
        }
    }
    Ok(found)
}

fn local<E: Entry>(host: &Host) -> Result<Vec<E>> {
    let bytes = host
        .fs
        .read(Path::new(E::FILE), FILE_LIMIT)?
        .unwrap_or_default();
    Ok(parse(&bytes, E::from_line))
}

/// What the programs know of these names or ids; `None` where there is nobody to ask.
fn asked<E: Entry>(host: &Host, keys: &[String]) -> Result<Option<Vec<E>>> {
    if host.is_image() {
        return Ok(None);
    }
    if host.exec.find("getent").is_some() {
        let command = Command::new("getent")
            .arg(E::DATABASE)
            .args(keys)
            .deadline(DEADLINE);
        let output = host.exec.output(&command, &Cancel::default())?;
        return match output.code {
            0 | GETENT_NOT_FOUND => Ok(Some(parse(&output.stdout, E::from_line))),
            code => Err(failed(&command, code, &output.stderr)),
        };
    }
    if host.exec.find("userdbctl").is_some() {
        let command = Command::new("userdbctl")
            .args(["--json=short", E::RECORD])
            .args(keys)
            .deadline(DEADLINE);
        // Its exit code also tells that one of several was not found, so only the answers count.
        let output = host.exec.output(&command, &Cancel::default())?;
        return Ok(Some(parse(&output.stdout, E::from_json)));
    }
    Ok(None)
}

fn failed(command: &Command, code: i32, stderr: &[u8]) -> AccountsError {
    let stderr = String::from_utf8_lossy(stderr).into_owned();
    ExecError::Failed {
        line: command.line(),
        code,
        stderr,
    }
    .into()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::host::fake;

    fn machine() -> (tempfile::TempDir, Host, std::sync::Arc<fake::FakeExec>) {
        let dir = tempfile::tempdir().unwrap();
        std::fs::create_dir_all(dir.path().join("etc")).unwrap();
        std::fs::create_dir_all(dir.path().join("home/u")).unwrap();
        std::fs::write(
            dir.path().join("etc/passwd"),
            "root:x:0:0::/root:/bin/sh\nv:x:1001:100::/home/u:/usr/sbin/nologin\n\
             w:x:1002:100::/home/none:/bin/sh\nu:x:1003:100::/home/u:/bin/sh\n\
             nobody:x:65534:65534::/:/bin/sh\n",
        )
        .unwrap();
        std::fs::write(dir.path().join("etc/group"), "root:x:0:\nusers:x:100:u\n").unwrap();
        let (host, exec, _) = fake::host(dir.path());
        (dir, host, exec)
    }

    #[test]
    fn an_image_is_read_from_its_files_alone() {
        let (_dir, host, exec) = machine();
        exec.install("getent");
        assert_eq!(user(&host, "u").unwrap().unwrap().uid, 1003);
        assert_eq!(user(&host, "x").unwrap(), None);
        assert_eq!(group(&host, "users").unwrap().unwrap().members, ["u"]);
        assert_eq!(users_by_id(&host, &[1003, 5]).unwrap().len(), 1);
        assert_eq!(groups_by_id(&host, &[100, 0]).unwrap().len(), 2);
        assert_eq!(first_ordinary_user(&host).unwrap().unwrap().name, "u");
        assert_eq!(local_users_of_group(&host, 100).unwrap().len(), 3);
        assert!(exec.lines().is_empty());
    }

    /// A running machine has `/` as its root, so these look-ups use names no machine has.
    fn running(exec: &std::sync::Arc<fake::FakeExec>) -> Host {
        let (mut host, _, _) = fake::host(Path::new("/"));
        host.exec = exec.clone();
        host
    }

    #[test]
    fn directory_users_are_asked_for() {
        let exec = std::sync::Arc::new(fake::FakeExec::default());
        let host = running(&exec);
        assert_eq!(user(&host, "nixctl-test-x").unwrap(), None);
        exec.answer(
            "userdbctl",
            &[],
            fake::Answer::text(r#"{"userName":"nixctl-test-x","uid":77}"#),
        );
        assert_eq!(user(&host, "nixctl-test-x").unwrap().unwrap().gid, 77);
        exec.answer(
            "getent",
            &["passwd"],
            fake::Answer::code(GETENT_NOT_FOUND, ""),
        );
        assert_eq!(user(&host, "nixctl-test-x").unwrap(), None);
        let line = "nixctl-test-x:*:4000000001:5::/h:/bin/sh\n";
        exec.answer("getent", &["passwd"], fake::Answer::text(line));
        assert_eq!(
            user(&host, "nixctl-test-x").unwrap().unwrap().uid,
            4_000_000_001
        );
        assert_eq!(users_by_id(&host, &[4_000_000_001]).unwrap().len(), 1);
        assert_eq!(
            users_by_id(&host, &[4_000_000_002]).unwrap().len(),
            0,
            "another id is answered"
        );
        exec.answer("getent", &["passwd"], fake::Answer::Hang);
        assert!(
            user(&host, "nixctl-test-x").is_err(),
            "not knowing is not the same as not there"
        );
        assert_eq!(exec.lines().last().unwrap(), "getent passwd nixctl-test-x");
        assert_eq!(user(&host, "").unwrap(), None);
        assert_eq!(user(&host, "-x").unwrap(), None);
    }
}

//! Homes of the people of a machine, as far as looking there waits for nobody.
//!
//! Only users of the local file, and only homes that are on no file system of the network: one whose
//! server is away would hold a check up.

use std::path::{Path, PathBuf};

use super::{Result, Scene, text};
use crate::host::mounts::{self, MOUNTINFO, Mount};

/// Ids of people.
const PEOPLE: std::ops::Range<u32> = 1000..60_000;
/// Homes that are looked at.
const LIMIT: usize = 64;
/// Largest files that are read.
const PASSWD_LIMIT: u64 = 16 << 20;
const MOUNTS_LIMIT: u64 = 4 << 20;
/// File systems that answer when somebody else does.
const REMOTE: [&str; 10] = [
    "nfs", "nfs4", "cifs", "smb3", "autofs", "9p", "afs", "ceph", "sshfs", "fuse",
];

/// Homes of people.
pub(super) fn of_people(scene: &Scene<'_>) -> Result<Vec<PathBuf>> {
    let fs = &scene.host.fs;
    let passwd = text(fs, Path::new("/etc/passwd"), PASSWD_LIMIT)?.unwrap_or_default();
    let table = text(fs, Path::new(MOUNTINFO), MOUNTS_LIMIT)?.unwrap_or_default();
    let mounts = mounts::parse(&table);
    let homes = passwd.lines().filter_map(home);
    Ok(homes
        .filter(|home| !is_remote(&mounts, home))
        .take(LIMIT)
        .collect())
}

/// The home in a line of the file of users, when it is a person's.
fn home(line: &str) -> Option<PathBuf> {
    let fields: Vec<&str> = line.split(':').collect();
    let [_, _, uid, _, _, home, _] = fields[..] else {
        return None;
    };
    let is_person = uid.parse::<u32>().is_ok_and(|uid| PEOPLE.contains(&uid));
    (is_person && home.starts_with('/') && home != "/").then(|| home.into())
}

fn is_remote(mounts: &[Mount], path: &Path) -> bool {
    let nearest = path.ancestors().find_map(|it| mounts::at(mounts, it));
    nearest.is_some_and(|mount| {
        let kind = mount.kind.split('.').next().unwrap_or_default();
        REMOTE.contains(&kind)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_people_have_homes() {
        let table = [
            ("jo:x:1000:1000::/home/jo:/bin/sh", Some("/home/jo")),
            ("root:x:0:0::/root:/bin/sh", None),
            ("nixbld1:x:30001:30000::/:/sbin/nologin", None),
            ("nobody:x:65534:65534::/nowhere:/bin/false", None),
            ("odd:x:1000", None),
        ];
        for (line, expected) in table {
            assert_eq!(home(line).as_deref(), expected.map(Path::new), "{line}");
        }
    }

    #[test]
    fn a_home_of_a_server_is_not_looked_at() {
        let table = "1 0 8:1 / / rw - ext4 /dev/a rw\n\
                     2 1 0:9 / /home/far rw - nfs4 server:/far rw\n\
                     3 1 0:9 / /home/fuse rw - fuse.sshfs server:/fuse rw\n";
        let mounts = mounts::parse(table);
        for (path, expected) in [
            ("/home/jo", false),
            ("/home/far/jo", true),
            ("/home/fuse", true),
        ] {
            assert_eq!(is_remote(&mounts, Path::new(path)), expected, "{path}");
        }
    }
}

//! Things that nixctl owns, each probed: the daemon's own files, folders, programs and groups.
//!
//! What another area looks at in more detail is left to it.

use std::path::Path;

use super::{At, Scene, is_daemons_own};
use crate::catalogue::facts::leftovers::{UNIT_DIR, UNITS};
use crate::host::Fs;
use crate::payload::STATE_DIR;
use crate::resource::directory::Directory;
use crate::resource::{Presence, Resource};

/// One owned thing and what its probe saw.
#[derive(Debug, Clone, PartialEq)]
pub struct OwnedFact {
    /// The thing.
    pub resource: Resource,
    /// What was seen, or why it could not be.
    pub seen: Result<Presence, String>,
    /// Whether the folder that it lies in is there.
    pub has_folder: bool,
    /// Whether it can be made again: what it is copied from is there.
    pub has_source: bool,
}

/// The folder of the daemon's own state, which only root enters. It is nobody's to take away, so it is
/// not among the owned things; nothing where it is as it should be.
pub(super) fn state(scene: &Scene<'_>) -> Option<OwnedFact> {
    let at = At::look(&scene.host.fs, STATE_DIR).ok()?;
    let mode = at.meta.filter(|_| at.is_directory())?.mode & 0o7777;
    (mode & OF_OTHERS != 0).then(|| OwnedFact {
        resource: Resource::Directory(Directory {
            path: STATE_DIR.into(),
            mode: STATE_MODE,
            uid: 0,
            gid: 0,
            lenient: false,
        }),
        seen: Ok(Presence::Drifted(format!("mode {mode:04o}"))),
        has_folder: true,
        has_source: true,
    })
}

/// Mode of that folder.
const STATE_MODE: u32 = 0o700;
/// What nobody else may do with it.
const OF_OTHERS: u32 = 0o022;

/// Probes the owned things that `is_wanted` picks.
pub(super) fn look(scene: &Scene<'_>, is_wanted: fn(&Resource) -> bool) -> Vec<OwnedFact> {
    let wanted = scene.owned.iter().filter(|resource| is_wanted(resource));
    wanted
        .take_while(|_| scene.cancel.requested().is_none())
        .map(|resource| OwnedFact {
            resource: resource.clone(),
            seen: resource
                .probe(scene.host)
                .map_err(|error| error.to_string()),
            has_folder: has_folder(scene, resource),
            has_source: has_source(resource),
        })
        .collect()
}

/// Programs are copied from another place, on the running machine also for an image.
fn has_source(resource: &Resource) -> bool {
    match resource {
        Resource::Program(it) => Fs::at("/").meta(&it.from).is_ok_and(|meta| meta.is_some()),
        _ => true,
    }
}

fn has_folder(scene: &Scene<'_>, resource: &Resource) -> bool {
    let path = match resource {
        Resource::Block(it) => &it.path,
        Resource::File(it) => &it.path,
        Resource::Tmpfiles(it) => &it.path,
        Resource::Program(it) => &it.path,
        Resource::Directory(it) => &it.path,
        _ => return true,
    };
    path.parent()
        .is_none_or(|folder| scene.host.fs.is_dir(folder))
}

/// Whether it is the file of a unit of nix-daemon: the area of the daemon looks at its content.
pub fn is_daemon_unit(resource: &Resource) -> bool {
    match resource {
        Resource::File(it) => UNITS
            .iter()
            .any(|unit| it.path == Path::new(UNIT_DIR).join(unit)),
        _ => false,
    }
}

/// Whether no other area looks at it.
pub(super) fn is_own_area(resource: &Resource) -> bool {
    match resource {
        // Of the units of nix-daemon only mode and owner are judged.
        Resource::Directory(_)
        | Resource::Group(_)
        | Resource::Tmpfiles(_)
        | Resource::Program(_) => true,
        Resource::File(_) => !super::shells::is_shell_area(resource),
        Resource::Service(_) => is_daemons_own(resource),
        Resource::Block(_)
        | Resource::BuildUsers(_)
        | Resource::NixTree(_)
        | Resource::Payload(_)
        | Resource::Registration(_)
        | Resource::Profile(_)
        | Resource::NixConf(_)
        | Resource::Selinux(_) => false,
    }
}

#[cfg(test)]
mod tests {
    use super::super::testing::look_at;
    use super::super::{Area, Facts};
    use super::*;
    use crate::catalogue::facts::testing::Machine;
    use crate::resource::testing::empty_file;

    fn file(path: &str) -> Resource {
        Resource::File(empty_file(path))
    }

    #[test]
    fn each_thing_is_looked_at_by_one_area() {
        let folder = Resource::Directory(Directory {
            path: "/etc/nix".into(),
            mode: 0o755,
            uid: 0,
            gid: 0,
            lenient: true,
        });
        let owned = [
            folder,
            file("/etc/dbus-1/system.d/org.nixctl1.conf"),
            file("/etc/nix/nixctl.sh"),
            file("/etc/systemd/system/nix-daemon.socket"),
        ];
        let paths = |area| {
            let facts = look_at(&Machine::new(), &owned, area);
            let (Facts::Own { things: all, .. } | Facts::Shells(all)) = facts else {
                panic!()
            };
            all.iter()
                .map(|fact| fact.resource.describe().id)
                .collect::<Vec<_>>()
        };
        assert_eq!(
            paths(Area::Own),
            [
                "directory:/etc/nix",
                "file:/etc/dbus-1/system.d/org.nixctl1.conf",
                "file:/etc/systemd/system/nix-daemon.socket",
            ]
        );
        assert_eq!(paths(Area::Shells), ["file:/etc/nix/nixctl.sh"]);
    }
}

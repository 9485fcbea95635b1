//! Folders, links and store paths below /nix.

mod again;
mod links;
pub(crate) mod nar_size;

use std::path::{Path, PathBuf};

use super::mounts::is_mount_missing;
use super::{At, Expected, Result, Scene};
use crate::health::mend::refetch::Refetch;
use crate::host::accounts;
use crate::resource::nix_tree::NixTree;
use crate::resource::profile::Profile;
use crate::resource::{Presence, Resource};

pub use links::{DanglingLink, Whose};

/// Folders of Nix that belong to root and that nobody else may change.
pub(crate) const FOLDERS: [&str; 15] = [
    "/nix",
    "/nix/var",
    "/nix/var/log",
    "/nix/var/log/nix",
    "/nix/var/log/nix/drvs",
    "/nix/var/nix",
    "/nix/var/nix/db",
    "/nix/var/nix/gcroots",
    "/nix/var/nix/gcroots/per-user",
    "/nix/var/nix/profiles",
    "/nix/var/nix/profiles/per-user",
    "/nix/var/nix/temproots",
    "/nix/var/nix/userpool",
    "/nix/var/nix/daemon-socket",
    "/nix/var/nix/builds",
];

/// Below /nix.
#[derive(Debug, Clone, PartialEq)]
pub struct TreeFacts {
    /// The tree, when nixctl owns one.
    pub tree: Option<NixTree>,
    /// Whether something should be mounted at /nix and is not: then nothing here means anything.
    pub is_mount_missing: bool,
    /// The store itself.
    pub store: At,
    /// The folders that belong to root.
    pub folders: Vec<At>,
    /// What the tree's own probe saw.
    pub presence: Option<Presence>,
    /// The profile that holds Nix, and what its probe saw.
    pub profile: Option<(Profile, Presence)>,
    /// Links that lead to nothing.
    pub dangling: Vec<DanglingLink>,
    /// Store path of our Nix.
    pub nix: Option<String>,
    /// How the release that our Nix came with is fetched again.
    pub again: Option<Refetch>,
    /// How many store paths Nix itself has.
    pub own_paths: usize,
    /// Store paths of Nix itself that are not there.
    pub missing: Vec<String>,
    /// Store paths of Nix itself whose size is not the registered one; only when looked deeply.
    pub damaged: Vec<Damaged>,
}

/// A store path with another size than the registered one.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Damaged {
    /// Store path.
    pub path: String,
    /// Bytes of its archive as it is now.
    pub seen: u64,
    /// Bytes that were registered.
    pub expected: u64,
}

/// The tree as it should be, with the number that its group has now: Nix itself gives the store to
/// the group when it is started, and that another number is in force is the matter of accounts.
fn tree_of_now(scene: &Scene<'_>, expected: &Expected) -> Result<Option<NixTree>> {
    let (Some(tree), Some(users)) = (&expected.tree, &expected.users) else {
        return Ok(expected.tree.clone());
    };
    // Who cannot be asked is told by accounts, too.
    let group = accounts::group(scene.host, &users.group).ok().flatten();
    let store_gid = match group {
        Some(group) if tree.store_gid != 0 => group.gid,
        _ => tree.store_gid,
    };
    Ok(Some(NixTree {
        store_gid,
        ..tree.clone()
    }))
}

pub(super) fn look(scene: &Scene<'_>, expected: &Expected) -> Result<TreeFacts> {
    let fs = &scene.host.fs;
    let is_mount_missing = is_mount_missing(scene)?;
    let mut facts = TreeFacts {
        tree: tree_of_now(scene, expected)?,
        is_mount_missing,
        store: At::look(fs, "/nix/store")?,
        folders: Vec::new(),
        presence: None,
        profile: None,
        dangling: Vec::new(),
        nix: expected.manifest.as_ref().map(|it| it.nix.clone()),
        again: again::look(scene, expected)?,
        own_paths: expected.manifest.as_ref().map_or(0, |it| it.paths.len()),
        missing: Vec::new(),
        damaged: Vec::new(),
    };
    if is_mount_missing || !facts.store.is_directory() {
        return Ok(facts);
    }
    facts.dangling = links::dangling(fs, expected.profile.as_ref())?;
    let Some(tree) = facts.tree.clone() else {
        return Ok(facts);
    };
    for path in FOLDERS {
        facts.folders.push(At::look(fs, path)?);
    }
    facts.presence = Some(Resource::NixTree(tree).probe(scene.host)?);
    if let Some(profile) = &expected.profile {
        let presence = Resource::Profile(profile.clone()).probe(scene.host)?;
        facts.profile = Some((profile.clone(), presence));
    }
    if let Some(manifest) = &expected.manifest {
        paths(scene, manifest, &mut facts)?;
    }
    Ok(facts)
}

/// Looks whether the store paths of Nix itself are there and whole.
fn paths(
    scene: &Scene<'_>,
    manifest: &crate::payload::Manifest,
    facts: &mut TreeFacts,
) -> Result<()> {
    let fs = &scene.host.fs;
    for path in &manifest.paths {
        if fs.meta(Path::new(path))?.is_none() {
            facts.missing.push(path.clone());
        }
    }
    if !scene.is_deep {
        return Ok(());
    }
    for (path, expected) in nar_size::registered(&manifest.reginfo) {
        if scene.cancel.requested().is_some() || facts.missing.contains(&path) {
            continue;
        }
        let seen = nar_size::of(fs, &PathBuf::from(&path))?;
        if seen != expected {
            facts.damaged.push(Damaged {
                path,
                seen,
                expected,
            });
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::super::testing::look_at;
    use super::super::{Area, Facts};
    use super::*;
    use crate::catalogue::facts::testing::Machine;
    use crate::payload::{Manifest, manifest_path};

    const NIX: &str = "/nix/store/0123456789abcdfghijklmnpqrsvwxyz-nix-2.26.3";
    const CERTS: &str = "/nix/store/1123456789abcdfghijklmnpqrsvwxyz-nss-cacert-3.1";

    fn owned() -> Vec<Resource> {
        vec![
            Resource::NixTree(NixTree {
                store_gid: 0,
                keep: false,
            }),
            Resource::Profile(Profile {
                link: "/nix/var/nix/profiles/nixctl".into(),
                sha256: "aa".to_owned(),
            }),
        ]
    }

    fn machine() -> Machine {
        // An empty file has an archive of 112 bytes.
        let manifest = Manifest {
            version: "2.26.3".to_owned(),
            nix: NIX.to_owned(),
            cacert: Some(CERTS.to_owned()),
            paths: vec![NIX.to_owned(), CERTS.to_owned()],
            reginfo: format!("{NIX}\nhash\n112\n\n1\n{CERTS}\n{CERTS}\nhash\n112\n\n0\n"),
            unpacked_bytes: 0,
            unpacked_inodes: 0,
        };
        let manifest = serde_json::to_string(&manifest).unwrap();
        Machine::new()
            .file(manifest_path("aa").to_str().unwrap(), &manifest)
            .directory("/nix/store")
    }

    fn of(machine: &Machine) -> TreeFacts {
        match look_at(machine, &owned(), Area::Tree) {
            Facts::Tree(facts) => *facts,
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn paths_of_nix_are_missing_damaged_or_whole() {
        let facts = of(&machine().file(NIX, "").file(CERTS, ""));
        assert_eq!((facts.missing, facts.damaged), (Vec::new(), Vec::new()));
        let facts = of(&machine().file(NIX, "much too long"));
        assert_eq!(facts.missing, [CERTS]);
        assert_eq!(facts.damaged[0].path, NIX);
        assert_eq!(facts.damaged[0].seen, 128);
    }

    #[test]
    fn nothing_is_looked_at_below_a_mount_that_is_missing() {
        let machine = machine().file("/etc/fstab", "/dev/vdb /nix ext4 defaults 0 0\n");
        let facts = of(&machine);
        assert!(facts.is_mount_missing && facts.missing.is_empty() && facts.presence.is_none());
    }

    #[test]
    fn folders_and_presence_are_read() {
        let facts = of(&machine());
        assert!(facts.folders[0].is_directory() && facts.folders[1].meta.is_none());
        assert!(matches!(facts.presence, Some(Presence::Drifted(_))));
        assert!(matches!(facts.profile, Some((_, Presence::Absent))));
    }
}

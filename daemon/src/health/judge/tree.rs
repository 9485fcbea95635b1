//! Whether the folders, links and store paths below /nix are as Nix needs them.

use std::path::Path;

use nixctl_proto::health::check::Check;

use super::Found;
use crate::health::look::At;
use crate::health::look::tree::{DanglingLink, TreeFacts, Whose};
use crate::health::mend::Mend;
use crate::health::mend::nix_repair::RepairPath;
use crate::health::mend::rights::Rights;
use crate::host::fs::Kind;
use crate::resource::{Presence, Resource};

/// Mode of the folders that belong to root.
const MODE: u32 = 0o755;
/// What older versions of Nix gave the folders of users.
const SHARED: u32 = 0o1777;

pub(super) fn judge(facts: &TreeFacts) -> Vec<Found> {
    // What is seen below a mount point without its mount says nothing.
    if facts.is_mount_missing {
        return Vec::new();
    }
    // Of a disk that is not there the folder that it is mounted on stays, empty.
    let is_empty = facts.own_paths > 0 && facts.missing.len() == facts.own_paths;
    if !facts.store.is_directory() || is_empty {
        return store_gone(facts).into_iter().collect();
    }
    let mut found: Vec<Found> = facts.folders.iter().filter_map(rights).collect();
    found.extend(presence(facts));
    found.extend(facts.missing.iter().map(|path| missing(facts, path)));
    found.extend(damaged(facts));
    found.extend(profile(facts));
    found.extend(facts.dangling.iter().map(dangling));
    found
}

fn store_gone(facts: &TreeFacts) -> Option<Found> {
    facts.tree.as_ref()?;
    Some(
        Found::new(Check::StoreGone, "/nix/store")
            .seen("the store is not there or empty, and nothing is to be mounted")
            .expected("the store")
            .help("bring the disk or folder back, or make a new store with `nixctl install`"),
    )
}

/// Folders that only the daemon enters: Nix may close them to others.
const OF_THE_DAEMON: [&str; 4] = [
    "/nix/var/log/nix/drvs",
    "/nix/var/nix/temproots",
    "/nix/var/nix/userpool",
    "/nix/var/nix/builds",
];

/// Others must be able to read and enter it, and only root to change it.
fn rights(at: &At) -> Option<Found> {
    let meta = at.meta.filter(|meta| meta.kind == Kind::Directory)?;
    let is_private = OF_THE_DAEMON.iter().any(|path| at.path == Path::new(path));
    let needed = if is_private { 0o700 } else { MODE };
    // Where everybody may make a folder of their own, nobody may take another's away.
    let is_shared = meta.mode & 0o7777 == SHARED;
    let is_closed = meta.mode & 0o022 == 0 || is_shared;
    let is_right = meta.uid == 0 && meta.mode & needed == needed && is_closed;
    if is_right {
        return None;
    }
    let path = at.path.display().to_string();
    Some(
        Found::new(Check::Rights, path)
            .seen(format!("mode {:04o}, owner {}", meta.mode, meta.uid))
            .expected(format!("mode {MODE:04o}, owner 0"))
            .mend(Mend::Rights(Rights {
                path: at.path.clone(),
                mode: MODE,
                uid: 0,
                gid: 0,
            })),
    )
}

fn presence(facts: &TreeFacts) -> Option<Found> {
    let tree = facts.tree.as_ref()?;
    let found = |check, subject: &str, seen: &str| Found::new(check, subject).seen(seen);
    let whole = || Resource::NixTree(tree.clone());
    let is_store_right = facts.store.meta.is_none_or(|it| {
        let wanted = (tree.store_mode(), 0, tree.store_gid);
        (it.mode, it.uid, it.gid) == wanted
    });
    Some(match facts.presence.as_ref()? {
        Presence::Present => return None,
        // By itself rather than with the tree, which does not know the way back.
        Presence::Drifted(seen) if !is_store_right => found(Check::Rights, "/nix/store", seen)
            .expected("owner and mode that Nix needs")
            .mend(Mend::Rights(Rights {
                path: "/nix/store".into(),
                mode: tree.store_mode(),
                uid: 0,
                gid: tree.store_gid,
            })),
        Presence::Drifted(seen) => found(Check::FolderMissing, "/nix", seen)
            .expected("all folders of Nix")
            .ensure(whole()),
        Presence::Absent => found(Check::FolderMissing, "/nix", "no folder of Nix is there")
            .expected("all folders of Nix")
            .ensure(whole()),
        Presence::Foreign(seen) => found(Check::FolderMissing, "/nix", seen)
            .expected("folders")
            .help("move what is there out of the way, then run `nixctl repair`"),
    })
}

fn missing(facts: &TreeFacts, path: &str) -> Found {
    let found = Found::new(Check::PathMissing, path)
        .seen(format!("{path} is not in the store"))
        .expected("the store path");
    fetched(found, facts, path)
}

fn damaged(facts: &TreeFacts) -> Vec<Found> {
    let one = |it: &crate::health::look::tree::Damaged| {
        let found = Found::new(Check::PathDamaged, &it.path)
            .seen(format!("its archive would have {} bytes", it.seen))
            .expected(format!("{} bytes", it.expected));
        fetched(found, facts, &it.path)
    };
    facts.damaged.iter().map(one).collect()
}

/// The release is fetched again, which needs no Nix that starts. Of one that was taken over nothing
/// is known but its paths: Nix fetches them, unless it is what is broken.
fn fetched(found: Found, facts: &TreeFacts, path: &str) -> Found {
    if let Some(again) = &facts.again {
        return found.mend(Mend::Refetch(again.clone()));
    }
    match &facts.nix {
        Some(nix) if nix != path && !facts.missing.contains(nix) => {
            found.mend(Mend::RepairPath(RepairPath {
                nix: nix.clone(),
                path: path.to_owned(),
            }))
        }
        _ => found.help(
            "Nix itself is what is broken: bring the path back from a backup or another machine, \
             or uninstall with `nixctl uninstall --keep-store` and install again",
        ),
    }
}

fn profile(facts: &TreeFacts) -> Option<Found> {
    let (profile, presence) = facts.profile.as_ref()?;
    let seen = match presence {
        Presence::Present => return None,
        Presence::Absent => "it is gone",
        Presence::Drifted(seen) | Presence::Foreign(seen) => seen,
    };
    let link = profile.link.display().to_string();
    let found = Found::new(Check::ProfileDangling, link)
        .seen(seen)
        .expected("a profile with Nix");
    // Without the programs that make a profile there is nothing to make it with.
    let is_nix_there = facts
        .nix
        .as_ref()
        .is_some_and(|nix| !facts.missing.contains(nix));
    Some(match presence {
        Presence::Foreign(_) => found.help("move it out of the way, then run `nixctl repair`"),
        _ if !is_nix_there => found.help("bring the store paths of Nix back first"),
        _ => found.ensure(Resource::Profile(profile.clone())),
    })
}

fn dangling(link: &DanglingLink) -> Found {
    let path = link.path.display().to_string();
    let check = match link.whose {
        Whose::Everybodys | Whose::Systems => Check::DefaultProfileDangling,
        Whose::Users(_) => Check::UserProfileDangling,
        Whose::Root => Check::RootDangling,
    };
    let found = Found::new(check, path)
        .seen(format!("it leads to {}, which is gone", link.end.display()))
        .expected("something that is there");
    match &link.whose {
        Whose::Everybodys | Whose::Root => found.set_aside(&link.path),
        // What the machine boots is never moved.
        Whose::Systems => found.help("go back with `nixctl rollback`, or boot an older generation"),
        Whose::Users(name) => {
            found.help(format!("as {name}: nix-env --rollback, or remove the link"))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::testing::{at, expect_one, ids};
    use super::*;
    use crate::health::judge::Cure;
    use crate::health::look::tree::Damaged;
    use crate::health::mend::refetch::Refetch;
    use crate::payload::Source;
    use crate::resource::nix_tree::NixTree;
    use crate::resource::profile::Profile;

    const NIX: &str = "/nix/store/0123456789abcdfghijklmnpqrsvwxyz-nix-2.26.3";

    fn folder(path: &str, mode: u32) -> At {
        at(path, Kind::Directory, mode)
    }

    fn store(mode: u32) -> At {
        let mut store = folder("/nix/store", mode);
        store.meta.as_mut().unwrap().gid = 30000;
        store
    }

    fn healthy() -> TreeFacts {
        TreeFacts {
            tree: Some(NixTree {
                store_gid: 30000,
                keep: false,
            }),
            is_mount_missing: false,
            store: store(0o1775),
            folders: vec![folder("/nix", 0o755), folder("/nix/var/nix/db", 0o755)],
            presence: Some(Presence::Present),
            profile: Some((
                Profile {
                    link: "/nix/var/nix/profiles/nixctl".into(),
                    sha256: "aa".to_owned(),
                },
                Presence::Present,
            )),
            dangling: Vec::new(),
            nix: Some(NIX.to_owned()),
            again: None,
            own_paths: 2,
            missing: Vec::new(),
            damaged: Vec::new(),
        }
    }

    fn with(change: impl FnOnce(&mut TreeFacts)) -> Vec<Found> {
        let mut facts = healthy();
        change(&mut facts);
        judge(&facts)
    }

    fn link(whose: Whose) -> DanglingLink {
        DanglingLink {
            path: "/nix/var/nix/profiles/default".into(),
            end: "/nix/store/x".into(),
            whose,
        }
    }

    #[test]
    fn a_healthy_machine_has_no_finding() {
        assert_eq!(judge(&healthy()), []);
        // A folder that is missing is told by the tree's own probe.
        assert_eq!(with(|facts| facts.folders[1].meta = None), []);
        // Some releases close the folder of running builds.
        let found = with(|facts| facts.folders[1] = folder("/nix/var/nix/builds", 0o711));
        assert_eq!(found, []);
    }

    #[test]
    fn what_is_wrong_is_named() {
        type Change = fn(&mut TreeFacts);
        let table: [(Change, &str, usize); 11] = [
            (
                |facts| facts.missing = vec![NIX.to_owned(), "/nix/store/x".to_owned()],
                "tree.store-gone /nix/store",
                0,
            ),
            (
                |facts| facts.store.meta = None,
                "tree.store-gone /nix/store",
                0,
            ),
            (
                |facts| facts.folders[0] = folder("/nix", 0o700),
                "tree.rights /nix",
                1,
            ),
            (
                |facts| facts.folders[1] = folder("/nix/var/nix/db", 0o777),
                "tree.rights /nix/var/nix/db",
                1,
            ),
            (
                |facts| {
                    facts.store = store(0o755);
                    facts.presence = Some(Presence::Drifted("mode 0755".to_owned()));
                },
                "tree.rights /nix/store",
                1,
            ),
            (
                |facts| facts.presence = Some(Presence::Drifted("lacks".to_owned())),
                "tree.folder-missing /nix",
                1,
            ),
            (
                |facts| facts.profile.as_mut().unwrap().1 = Presence::Absent,
                "tree.profile-dangling /nix/var/nix/profiles/nixctl",
                1,
            ),
            (
                |facts| facts.dangling = vec![link(Whose::Everybodys)],
                "tree.default-profile-dangling /nix/var/nix/profiles/default",
                1,
            ),
            (
                |facts| facts.dangling = vec![link(Whose::Systems)],
                "tree.default-profile-dangling /nix/var/nix/profiles/default",
                0,
            ),
            (
                |facts| facts.dangling = vec![link(Whose::Users("jo".to_owned()))],
                "tree.user-profile-dangling /nix/var/nix/profiles/default",
                0,
            ),
            (
                |facts| facts.dangling = vec![link(Whose::Root)],
                "tree.root-dangling /nix/var/nix/profiles/default",
                1,
            ),
        ];
        for (change, expected, cures) in table {
            let found = with(change);
            expect_one(&found, expected, cures);
        }
    }

    #[test]
    fn a_path_is_fetched_again_by_a_nix_that_is_there() {
        let path = "/nix/store/1123456789abcdfghijklmnpqrsvwxyz-libssh";
        let found = with(|facts| facts.missing = vec![path.to_owned()]);
        assert_eq!(ids(&found), [format!("tree.path-missing {path}")]);
        assert!(
            matches!(&found[0].cures[..], [Cure::Mend(Mend::RepairPath(it))] if it.path == path)
        );
        let found = with(|facts| {
            facts.damaged = vec![Damaged {
                path: path.to_owned(),
                seen: 112,
                expected: 5000,
            }];
        });
        assert_eq!(ids(&found), [format!("tree.path-damaged {path}")]);
        let found = with(|facts| {
            facts.missing = vec![NIX.to_owned()];
            facts.profile.as_mut().unwrap().1 = Presence::Drifted("leads to nothing".to_owned());
        });
        assert!(
            found
                .iter()
                .all(|it| it.cures.is_empty() && !it.help.is_empty())
        );
    }

    #[test]
    fn a_release_that_nixctl_has_unpacked_is_fetched_once_for_all_its_paths() {
        let again = Refetch {
            sources: vec![Source::Url("https://releases.nixos.org/x".to_owned())],
            nix: Vec::new(),
            sha256: "aa".to_owned(),
            version: "2.26.3".to_owned(),
            system: "x86_64-linux".to_owned(),
            store_gid: 30_000,
            proxy: String::new(),
            ssl_cert_file: String::new(),
        };
        let found = with(|facts| {
            facts.again = Some(again.clone());
            facts.missing = vec![NIX.to_owned()];
            facts.damaged = vec![Damaged {
                path: "/nix/store/1123456789abcdfghijklmnpqrsvwxyz-libssh".to_owned(),
                seen: 112,
                expected: 5000,
            }];
        });
        assert_eq!(found.len(), 2);
        for one in found {
            assert_eq!(one.cures, [Cure::Mend(Mend::Refetch(again.clone()))]);
        }
    }

    #[test]
    fn nothing_is_judged_where_the_mount_is_missing() {
        let found = with(|facts| {
            facts.is_mount_missing = true;
            facts.store.meta = None;
            facts.presence = Some(Presence::Absent);
        });
        assert_eq!(found, []);
    }
}

//! Whether what nixctl made is still as it was made.

use std::path::Path;

use nixctl_proto::health::check::Check;

use super::{Cure, Found};
use crate::health::look::owned::{OwnedFact, is_daemon_unit};
use crate::health::mend::Mend;
use crate::health::mend::rights::Rights;
use crate::payload::STATE_DIR;
use crate::resource::{Presence, Resource};

/// Programs are copied from where they were unpacked, which is seldom there later.
const REINSTALL: &str = "put the program back: run `nixctl daemon install` of the version you want";

pub(super) fn judge(facts: &[OwnedFact]) -> Vec<Found> {
    facts.iter().filter_map(one).collect()
}

pub(super) fn unwatched(why: &str) -> Found {
    Found::new(Check::Unwatched, "files")
        .seen(why)
        .expected("the kernel tells of files that change")
        .help(
            "where a limit is reached, raise it (`sysctl fs.inotify` shows it), \
             or end the programs that use it up",
        )
}

fn one(fact: &OwnedFact) -> Option<Found> {
    let resource = &fact.resource;
    let subject = subject(resource);
    let is_hook = is_hook(resource);
    // The shell that read this file is gone, and its folder with it.
    if is_hook && !fact.has_folder {
        return None;
    }
    // What has become of such a file is told with the daemon; here only its rights.
    if is_daemon_unit(resource) && !matches!(fact.seen, Ok(Presence::Drifted(_))) {
        return None;
    }
    let found = |check| Found::new(check, subject.clone()).expected("as nixctl made it");
    Some(match &fact.seen {
        Ok(Presence::Present) => return None,
        Ok(Presence::Absent) => {
            let check = if is_hook {
                Check::HookLost
            } else {
                Check::Lost
            };
            let seen = match resource {
                Resource::Block(_) => format!("{subject} has no lines for Nix any more"),
                _ => format!("{subject} is gone"),
            };
            let found = found(check).seen(seen);
            if fact.has_source {
                found.ensure(resource.clone())
            } else {
                found.help(REINSTALL)
            }
        }
        Ok(Presence::Drifted(seen)) => found(Check::OwnRights)
            .seen(format!("{subject}: {seen}"))
            .cure(rights(resource)),
        Ok(Presence::Foreign(seen)) => changed(resource, found, seen),
        Err(why) => found(Check::CannotLook)
            .seen(why.clone())
            .help("see the reason, and the log of nixctld"),
    })
}

/// The folder of the daemon's own state is no owned thing, and does not become one.
fn rights(resource: &Resource) -> Cure {
    match resource {
        Resource::Directory(it) if it.path == Path::new(STATE_DIR) => {
            Cure::Mend(Mend::Rights(Rights {
                path: it.path.clone(),
                mode: it.mode,
                uid: it.uid,
                gid: it.gid,
            }))
        }
        _ => Cure::Ensure(Box::new(resource.clone())),
    }
}

/// Something else is in the place: set aside where that is possible, and only when asked.
fn changed(resource: &Resource, found: impl Fn(Check) -> Found, seen: &str) -> Found {
    match resource {
        Resource::Block(_) => found(Check::HookChanged)
            .seen(seen)
            .help("compare it with a fresh `nixctl plan install`, or leave it"),
        Resource::File(it) => found(Check::Changed)
            .seen(seen)
            .set_aside(&it.path)
            .ensure(resource.clone()),
        Resource::Tmpfiles(it) => found(Check::Changed)
            .seen(seen)
            .set_aside(&it.path)
            .ensure(resource.clone()),
        Resource::Program(_) => found(Check::Changed).seen(seen).help(REINSTALL),
        _ => found(Check::Changed)
            .seen(seen)
            .help("move what is there out of the way, then run `nixctl repair`"),
    }
}

fn is_hook(resource: &Resource) -> bool {
    match resource {
        Resource::Block(_) => true,
        Resource::File(it) => {
            it.path.starts_with("/etc/nix") && it.path.to_string_lossy().contains("/nixctl.")
        }
        _ => false,
    }
}

/// Its path or name.
fn subject(resource: &Resource) -> String {
    if let Resource::Block(it) = resource {
        return it.path.display().to_string();
    }
    let id = resource.describe().id;
    id.split_once(':')
        .map_or(id.clone(), |(_, name)| name.to_owned())
}

#[cfg(test)]
mod tests {
    use super::super::testing::{expect_one, ids};
    use super::*;
    use crate::health::judge::Cure;
    use crate::health::look::Facts;
    use crate::resource::block::Block;
    use crate::resource::group::Group;
    use crate::resource::program::Program;
    use crate::resource::testing::empty_file;

    fn fact(resource: Resource, seen: Presence) -> OwnedFact {
        OwnedFact {
            resource,
            seen: Ok(seen),
            has_folder: true,
            has_source: true,
        }
    }

    fn file(path: &str) -> Resource {
        Resource::File(empty_file(path))
    }

    fn block() -> Resource {
        Resource::Block(Block {
            path: "/etc/zshrc".into(),
            text: String::new(),
            create: true,
        })
    }

    fn group() -> Resource {
        let name = "nixctl".to_owned();
        Resource::Group(Group { name })
    }

    #[test]
    fn a_healthy_machine_has_no_finding() {
        let all: Vec<OwnedFact> = [file("/etc/x"), block(), group()]
            .into_iter()
            .map(|it| fact(it, Presence::Present))
            .collect();
        assert_eq!(judge(&all), []);
    }

    #[test]
    fn what_is_wrong_is_named() {
        let other = || Presence::Foreign("other".to_owned());
        let drifted = || Presence::Drifted("mode 0600".to_owned());
        for (resource, seen, expected, cures) in [
            (file("/etc/x"), Presence::Absent, "own.lost /etc/x", 1),
            (file("/etc/x"), drifted(), "own.rights /etc/x", 1),
            (file("/etc/x"), other(), "own.changed /etc/x", 2),
            (group(), Presence::Absent, "own.lost nixctl", 1),
            (group(), other(), "own.changed nixctl", 0),
            (block(), Presence::Absent, "shells.hook-lost /etc/zshrc", 1),
            (block(), other(), "shells.hook-changed /etc/zshrc", 0),
            (
                file("/etc/nix/nixctl.sh"),
                Presence::Absent,
                "shells.hook-lost /etc/nix/nixctl.sh",
                1,
            ),
        ] {
            let found = judge(&[fact(resource, seen)]);
            expect_one(&found, expected, cures);
        }
    }

    #[test]
    fn a_program_without_its_source_is_not_made() {
        let program = Resource::Program(Program {
            from: "/gone/nixctl".into(),
            sha256: String::new(),
            path: "/usr/local/bin/nixctl".into(),
        });
        let mut fact = fact(program, Presence::Absent);
        assert_eq!(judge(std::slice::from_ref(&fact))[0].cures.len(), 1);
        fact.has_source = false;
        let found = judge(&[fact]);
        assert_eq!(ids(&found), ["own.lost /usr/local/bin/nixctl"]);
        assert!(found[0].cures.is_empty() && found[0].help.contains("daemon install"));
    }

    #[test]
    fn of_the_daemons_units_only_the_rights_are_judged() {
        let unit = || file("/etc/systemd/system/nix-daemon.socket");
        assert_eq!(judge(&[fact(unit(), Presence::Absent)]), []);
        let drifted = Presence::Drifted("mode 0600".to_owned());
        let found = judge(&[fact(unit(), drifted)]);
        assert_eq!(found[0].check, Check::OwnRights);
    }

    #[test]
    fn what_was_changed_leaves_its_place_before_ours_is_written() {
        let found = judge(&[fact(file("/etc/x"), Presence::Foreign("x".to_owned()))]);
        assert!(matches!(found[0].cures[0], Cure::SetAside(_)));
        assert!(matches!(found[0].cures[1], Cure::Ensure(_)));
    }

    #[test]
    fn a_shell_that_was_taken_off_is_not_missed() {
        let mut fact = fact(block(), Presence::Absent);
        fact.has_folder = false;
        assert_eq!(judge(&[fact]), []);
    }

    #[test]
    fn what_cannot_be_watched_is_said_and_left_to_a_person() {
        let judged = |unwatched: Option<&str>| {
            super::super::judge(&Facts::Own {
                things: Vec::new(),
                unwatched: unwatched.map(str::to_owned),
            })
        };
        assert_eq!(judged(None), []);
        let found = judged(Some("cannot watch /etc: the limit is reached"));
        assert_eq!(ids(&found), ["own.unwatched files"]);
        assert_eq!(found[0].seen, "cannot watch /etc: the limit is reached");
        assert!(found[0].cures.is_empty() && found[0].help.contains("sysctl"));
    }

    #[test]
    fn what_cannot_be_probed_is_said() {
        let fact = OwnedFact {
            seen: Err("cannot read".to_owned()),
            ..fact(group(), Presence::Present)
        };
        assert_eq!(ids(&judge(&[fact])), ["own.cannot-look nixctl"]);
    }
}

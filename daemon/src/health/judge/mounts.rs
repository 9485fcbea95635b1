//! Whether the store is mounted as the machine's own configuration says.

use std::path::Path;

use nixctl_proto::health::check::Check;

use super::Found;
use crate::health::look::mounts::{MountFacts, Wanted};
use crate::health::mend::Mend;
use crate::health::mend::unit::Start;
use crate::host::fs::Kind;

pub(super) fn judge(facts: &MountFacts) -> Vec<Found> {
    let mut found: Vec<Found> = facts.wanted.iter().filter_map(wanted).collect();
    let is_mounted = found.is_empty();
    found.extend(link(facts));
    if is_mounted && facts.nix.is_directory() {
        found.extend(read_only(facts));
        found.extend(noexec(facts));
        found.extend(waiting(facts));
    }
    found
}

fn wanted(wanted: &Wanted) -> Option<Found> {
    match &wanted.mounted {
        None => Some(not_mounted(wanted)),
        Some(_) => wrong_device(wanted),
    }
}

fn not_mounted(wanted: &Wanted) -> Found {
    let point = wanted.point.display();
    let expected = format!("{}, as {} says", wanted.device, wanted.said_by.display());
    let found = match wanted.elsewhere.first() {
        Some(place) => Found::new(Check::WrongPlace, point.to_string()).seen(format!(
            "{} is mounted at {} and not at {point}",
            wanted.device,
            place.display()
        )),
        None => Found::new(Check::NotMounted, point.to_string())
            .seen(format!("nothing is mounted at {point}")),
    };
    let found = found.expected(expected);
    if wanted.is_absent {
        let device = &wanted.device;
        return found
            .seen(format!(
                "nothing is mounted at {point}, and {device} is not there"
            ))
            .help(format!(
                "attach {device}; it is mounted as soon as it is there"
            ));
    }
    match &wanted.unit {
        Some((unit, _)) => found.mend(Mend::Start(Start {
            unit: unit.clone(),
            stays: true,
        })),
        None => found.help(format!("mount it: mount {point}")),
    }
}

fn wrong_device(wanted: &Wanted) -> Option<Found> {
    if wanted.is_other {
        return Some(other(wanted));
    }
    let (mounted, expected) = (wanted.mounted_device.as_ref()?, wanted.resolved.as_ref()?);
    let is_btrfs = wanted.mounted.as_ref().is_some_and(|it| it.kind == "btrfs");
    let is_bind = wanted.options.split(',').any(|option| option == "bind");
    if mounted == expected || is_btrfs || is_bind {
        return None;
    }
    let point = wanted.point.display().to_string();
    let help = format!("correct {} or the mount", wanted.said_by.display());
    Some(
        Found::new(Check::WrongDevice, point)
            .seen(format!("{} is mounted there", mounted.display()))
            .expected(format!("{} ({})", wanted.device, expected.display()))
            .help(help),
    )
}

/// Something is mounted over a folder that is bound there.
fn other(wanted: &Wanted) -> Found {
    let source = wanted.mounted.as_ref().map(|it| it.source.as_str());
    let point = wanted.point.display();
    Found::new(Check::WrongDevice, point.to_string())
        .seen(format!(
            "{} is mounted there",
            source.unwrap_or("something else")
        ))
        .expected(format!("{}, bound there", wanted.device))
        .help(format!(
            "see what it is (findmnt {point}), then: umount {point}, or correct {}",
            wanted.said_by.display()
        ))
}

fn link(facts: &MountFacts) -> Option<Found> {
    facts.nix.meta.filter(|meta| meta.kind == Kind::Link)?;
    let target = facts.nix.target.as_deref().unwrap_or(Path::new("?"));
    let target = target.display();
    Some(
        Found::new(Check::NixIsLink, "/nix")
            .seen(format!("/nix is a link to {target}"))
            .expected("a folder")
            .help(format!(
                "replace the link by a folder and mount the other place there: \
                 mount --bind {target} /nix"
            )),
    )
}

fn read_only(facts: &MountFacts) -> Option<Found> {
    let mount = facts.holds_state.as_ref().filter(|it| it.read_only)?;
    let point = mount.point.display();
    let wished = facts.wanted.iter().any(|wanted| {
        wanted.point == mount.point && wanted.options.split(',').any(|option| option == "ro")
    });
    let help = if wished {
        format!("take `ro` out of the options of {point}, then: mount -o remount,rw {point}")
    } else {
        format!(
            "look for errors of {} in `journalctl -k`, check the file system, then: \
             mount -o remount,rw {point}",
            mount.source
        )
    };
    Some(
        Found::new(Check::ReadOnly, point.to_string())
            .seen(format!("{} is mounted read-only", mount.source))
            .expected("a file system that can be written")
            .help(help),
    )
}

fn noexec(facts: &MountFacts) -> Option<Found> {
    facts.noexec.then(|| {
        Found::new(Check::Noexec, "/nix/store")
            .seen("its file system is mounted with noexec")
            .expected("programs can run from it")
            .help("take `noexec` out of its options, then: mount -o remount,exec /nix")
    })
}

fn waiting(facts: &MountFacts) -> Vec<Found> {
    let one = |it: &crate::health::look::mounts::Waiting| {
        Found::new(Check::WaitingUnits, it.unit.clone())
            .seen("it did not start because /nix was not there")
            .expected("it runs, now that /nix is there")
            .mend(Mend::Start(Start {
                unit: it.unit.clone(),
                stays: !it.is_oneshot,
            }))
    };
    facts.waiting.iter().map(one).collect()
}

#[cfg(test)]
mod tests {
    use super::super::testing::{at, ids};
    use super::*;
    use crate::health::judge::Cure;
    use crate::health::look::At;
    use crate::health::look::mounts::Waiting;
    use crate::host::mounts::Mount;
    use crate::host::service::UnitState;

    fn nix(kind: Kind) -> At {
        At {
            target: (kind == Kind::Link).then(|| "/data/nix".into()),
            ..at("/nix", kind, 0o755)
        }
    }

    fn mount(source: &str, read_only: bool) -> Mount {
        Mount {
            point: "/nix".into(),
            kind: "ext4".to_owned(),
            source: source.to_owned(),
            read_only,
        }
    }

    fn healthy() -> MountFacts {
        MountFacts {
            nix: nix(Kind::Directory),
            wanted: vec![Wanted {
                point: "/nix".into(),
                device: "UUID=aa".to_owned(),
                kind: "ext4".to_owned(),
                options: "defaults".to_owned(),
                said_by: "/etc/fstab".into(),
                unit: Some(("nix.mount".to_owned(), UnitState::not_found())),
                resolved: Some("/dev/vdb".into()),
                is_absent: false,
                mounted: Some(mount("/dev/vdb", false)),
                mounted_device: Some("/dev/vdb".into()),
                is_other: false,
                elsewhere: Vec::new(),
            }],
            holds_state: Some(mount("/dev/vdb", false)),
            noexec: false,
            waiting: Vec::new(),
        }
    }

    fn with(change: impl FnOnce(&mut MountFacts)) -> Vec<Found> {
        let mut facts = healthy();
        change(&mut facts);
        judge(&facts)
    }

    #[test]
    fn a_healthy_machine_has_no_finding() {
        assert_eq!(judge(&healthy()), []);
        assert_eq!(with(|facts| facts.wanted.clear()), []);
        // A bind mount and a subvolume have other names in the kernel's list.
        for change in [
            |it: &mut Wanted| it.options = "bind".to_owned(),
            |it: &mut Wanted| it.mounted.as_mut().unwrap().kind = "btrfs".to_owned(),
        ] {
            let found = with(|facts| {
                facts.wanted[0].mounted_device = Some("/dev/vdz".into());
                change(&mut facts.wanted[0]);
            });
            assert_eq!(found, []);
        }
    }

    #[test]
    fn a_store_that_is_not_mounted_is_mounted_by_its_unit() {
        let found = with(|facts| facts.wanted[0].mounted = None);
        assert_eq!(ids(&found), ["mounts.not-mounted /nix"]);
        let start = Mend::Start(Start {
            unit: "nix.mount".to_owned(),
            stays: true,
        });
        assert_eq!(found[0].cures, [Cure::Mend(start)]);
        let found = with(|facts| {
            facts.wanted[0].mounted = None;
            facts.wanted[0].unit = None;
        });
        assert!(found[0].cures.is_empty() && found[0].help.contains("mount /nix"));
    }

    #[test]
    fn what_is_wrong_is_named() {
        type Change = fn(&mut MountFacts);
        let table: [(Change, &str); 6] = [
            (
                |facts| {
                    facts.wanted[0].mounted = None;
                    facts.wanted[0].elsewhere = vec!["/media/x".into()];
                },
                "mounts.wrong-place /nix",
            ),
            (
                |facts| facts.wanted[0].mounted_device = Some("/dev/vdz".into()),
                "mounts.wrong-device /nix",
            ),
            (
                |facts| facts.holds_state = Some(mount("/dev/vdb", true)),
                "mounts.read-only /nix",
            ),
            (|facts| facts.noexec = true, "mounts.noexec /nix/store"),
            (
                |facts| facts.nix = nix(Kind::Link),
                "mounts.nix-is-link /nix",
            ),
            (
                |facts| {
                    facts.waiting = vec![Waiting {
                        unit: "a.service".to_owned(),
                        is_oneshot: false,
                    }];
                },
                "mounts.waiting-units a.service",
            ),
        ];
        for (change, expected) in table {
            assert_eq!(ids(&with(change)), [expected]);
        }
    }

    #[test]
    fn a_disk_that_is_not_there_is_not_waited_for() {
        let found = with(|facts| {
            facts.wanted[0].mounted = None;
            facts.wanted[0].is_absent = true;
        });
        assert!(found[0].cures.is_empty() && found[0].help.contains("UUID=aa"));
    }

    #[test]
    fn units_are_not_started_before_the_store_is_there() {
        let found = with(|facts| {
            facts.wanted[0].mounted = None;
            facts.waiting = vec![Waiting {
                unit: "a.service".to_owned(),
                is_oneshot: false,
            }];
        });
        assert_eq!(ids(&found), ["mounts.not-mounted /nix"]);
    }
}

//! What should be mounted at /nix and below, by /etc/fstab and by mount units, and what is.

mod waiting;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use nixctl_planner::units::{Fstab, Mode, UnitFile, escape_path};

use super::{At, Result, Scene};
use crate::catalogue::facts::links::{follow, read_text};
use crate::host::mounts::{self, MOUNTINFO, Mount};
use crate::host::service::UnitState;

pub use waiting::Waiting;

/// Largest list of mounts, and largest fstab, that is read.
const MOUNTS_LIMIT: u64 = 8 << 20;
const FSTAB_LIMIT: u64 = 1 << 20;
/// Largest unit file that is read.
const UNIT_LIMIT: u64 = 64 << 10;
/// Points that a mount unit is looked for.
pub(crate) const POINTS: [&str; 4] = ["/nix", "/nix/store", "/nix/var", "/nix/var/nix"];
pub(crate) const FSTAB: &str = "/etc/fstab";
/// Where Nix keeps what must always be writable.
const STATE: &str = "/nix/var/nix";

/// Mounts of the store.
#[derive(Debug, Clone, PartialEq)]
pub struct MountFacts {
    /// /nix itself.
    pub nix: At,
    /// Everything that should be mounted at /nix or below.
    pub wanted: Vec<Wanted>,
    /// The mount that holds Nix's state.
    pub holds_state: Option<Mount>,
    /// Whether programs cannot run from the store.
    pub noexec: bool,
    /// Units that need /nix and did not start for want of it.
    pub waiting: Vec<Waiting>,
}

/// A mount that should be there.
#[derive(Debug, Clone, PartialEq)]
pub struct Wanted {
    /// Where.
    pub point: PathBuf,
    /// What, as it is written.
    pub device: String,
    /// Type of the file system, as it is written.
    pub kind: String,
    /// Options, as they are written.
    pub options: String,
    /// Who says so: a file.
    pub said_by: PathBuf,
    /// Unit that mounts it, where a service manager runs.
    pub unit: Option<(String, UnitState)>,
    /// The device's own name, links followed; `None` when it is not there or no device.
    pub resolved: Option<PathBuf>,
    /// Whether a device is named that is not there.
    pub is_absent: bool,
    /// What is mounted there.
    pub mounted: Option<Mount>,
    /// The name of the device that is mounted there, links followed.
    pub mounted_device: Option<PathBuf>,
    /// Whether something else is mounted over a folder that is bound there.
    pub is_other: bool,
    /// Other places where the same device is mounted.
    pub elsewhere: Vec<PathBuf>,
}

pub(super) fn look(scene: &Scene<'_>) -> Result<MountFacts> {
    let fs = &scene.host.fs;
    let table = read_text(fs, Path::new(MOUNTINFO), MOUNTS_LIMIT)?.unwrap_or_default();
    let mounts = mounts::parse(&table);
    let mut wanted = BTreeMap::new();
    for declared in declared(scene)? {
        let point = declared.point.clone();
        wanted
            .entry(point)
            .or_insert(completed(scene, declared, &mounts)?);
    }
    let holds_state = Path::new(STATE)
        .ancestors()
        .find_map(|point| mounts::at(&mounts, point));
    let waiting = waiting::look(scene, !wanted.is_empty())?;
    Ok(MountFacts {
        nix: At::look(fs, "/nix")?,
        wanted: wanted.into_values().collect(),
        holds_state: holds_state.cloned(),
        noexec: fs.space(Path::new("/nix/store"))?.noexec,
        waiting,
    })
}

/// Whether something should be mounted at /nix or below and is not.
pub(super) fn is_mount_missing(scene: &Scene<'_>) -> Result<bool> {
    let fs = &scene.host.fs;
    let table = read_text(fs, Path::new(MOUNTINFO), MOUNTS_LIMIT)?.unwrap_or_default();
    let mounts = mounts::parse(&table);
    let declared = declared(scene)?;
    Ok(declared
        .iter()
        .any(|it| mounts::at(&mounts, &it.point).is_none()))
}

/// What fstab and mount units say, fstab first.
fn declared(scene: &Scene<'_>) -> Result<Vec<Wanted>> {
    let mut found = Vec::new();
    let fstab = read_text(&scene.host.fs, Path::new(FSTAB), FSTAB_LIMIT)?.unwrap_or_default();
    for (point, it) in Fstab::parse(&fstab, Mode::Right).file_systems {
        let point = PathBuf::from(point);
        let is_manual = it.options.split(',').any(|option| option == "noauto");
        if point.starts_with("/nix") && !is_manual {
            found.push(plain(point, it.device, it.kind, it.options, FSTAB.into()));
        }
    }
    for point in POINTS {
        found.extend(by_unit(scene, point)?);
    }
    Ok(found)
}

fn plain(
    point: PathBuf,
    device: String,
    kind: String,
    options: String,
    said_by: PathBuf,
) -> Wanted {
    Wanted {
        point,
        device,
        kind,
        options,
        said_by,
        unit: None,
        resolved: None,
        is_absent: false,
        mounted: None,
        mounted_device: None,
        is_other: false,
        elsewhere: Vec::new(),
    }
}

/// A mount unit with a file of its own that starts at boot.
fn by_unit(scene: &Scene<'_>, point: &str) -> Result<Option<Wanted>> {
    let name = format!("{}.mount", escape_path(point));
    let state = scene.host.services.state(&name)?;
    let path = PathBuf::from(&state.fragment);
    let starts = state.is_enabled() || matches!(state.file.as_str(), "static" | "generated");
    if state.load != "loaded" || state.fragment.is_empty() || !starts {
        return Ok(None);
    }
    let Some(bytes) = scene.host.fs.read(&path, UNIT_LIMIT)? else {
        return Ok(None);
    };
    // A file that systemd has loaded and we cannot read says nothing about the machine.
    let Ok(unit) = UnitFile::parse(&state.fragment, &bytes) else {
        return Ok(None);
    };
    let value = |key| unit.last("Mount", key).unwrap_or_default().to_owned();
    let (device, kind, options) = (value("What"), value("Type"), value("Options"));
    Ok(Some(plain(point.into(), device, kind, options, path)))
}

/// The same with what the machine says about it.
fn completed(scene: &Scene<'_>, mut wanted: Wanted, mounts: &[Mount]) -> Result<Wanted> {
    let fs = &scene.host.fs;
    let services = &scene.host.services;
    if services.is_running() {
        let unit = format!("{}.mount", escape_path(&wanted.point.to_string_lossy()));
        let state = services.state(&unit)?;
        wanted.unit = Some((unit, state));
    }
    let resolve =
        |path: &Path| -> Result<Option<PathBuf>> { Ok(follow(fs, path)?.map(|found| found.path)) };
    if let Some(path) = device_path(&wanted.device) {
        wanted.resolved = resolve(&path)?;
        wanted.is_absent = wanted.resolved.is_none();
    } else if wanted.device.starts_with('/') {
        // A folder, an image, or a name that somebody has given a device.
        wanted.is_absent = resolve(Path::new(&wanted.device))?.is_none();
    }
    wanted.mounted = mounts::at(mounts, &wanted.point).cloned();
    if let Some(source) = wanted
        .mounted
        .as_ref()
        .and_then(|it| device_path(&it.source))
    {
        wanted.mounted_device = resolve(&source)?;
    }
    let is_bind = wanted.options.split(',').any(|it| it == "bind");
    // What hides a bound folder hides it in both places: devices do not tell them apart.
    let mut there = mounts.iter().filter(|mount| mount.point == wanted.point);
    if let (true, Some(first), Some(last)) = (is_bind, there.next(), there.next_back()) {
        wanted.is_other = first.source != last.source;
    }
    // Subvolumes of one btrfs share a device and are different things.
    let shares = wanted.kind == "btrfs" || is_bind;
    if wanted.mounted.is_none() && !shares {
        for mount in mounts.iter().filter(|mount| mount.kind != "btrfs") {
            if let Some(source) = device_path(&mount.source)
                && wanted.resolved.is_some()
                && resolve(&source)? == wanted.resolved
            {
                wanted.elsewhere.push(mount.point.clone());
            }
        }
    }
    Ok(wanted)
}

/// The path of a device as fstab or the kernel names it.
pub(crate) fn device_path(device: &str) -> Option<PathBuf> {
    for (tag, folder) in [
        ("UUID=", "by-uuid"),
        ("LABEL=", "by-label"),
        ("PARTUUID=", "by-partuuid"),
        ("PARTLABEL=", "by-partlabel"),
    ] {
        if let Some(name) = device.strip_prefix(tag) {
            let name = name.trim_matches('"');
            return Some(Path::new("/dev/disk").join(folder).join(name));
        }
    }
    device.starts_with("/dev/").then(|| PathBuf::from(device))
}

#[cfg(test)]
mod tests {
    use super::super::testing::look_at;
    use super::super::{Area, Facts};
    use super::*;
    use crate::catalogue::facts::testing::Machine;

    fn of(machine: &Machine) -> MountFacts {
        match look_at(machine, &[], Area::Mounts) {
            Facts::Mounts(facts) => *facts,
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn fstab_is_held_against_the_mounts() {
        let machine = Machine::new()
            .directory("/nix/store")
            .file("/dev/vdb", "")
            .link("/dev/disk/by-uuid/aa-bb", "../../vdb")
            .file(
                "/etc/fstab",
                "UUID=aa-bb /nix ext4 defaults 0 2\n/dev/gone /nix/store xfs ro 0 0\n\
                 /dev/vdc /nix/var ext4 noauto 0 0\n/dev/vdd /srv ext4 defaults 0 0\n",
            )
            .file(
                "/proc/self/mountinfo",
                "1 0 8:1 / /media/disk rw - ext4 /dev/vdb rw\n",
            );
        let facts = of(&machine);
        let points: Vec<&Path> = facts.wanted.iter().map(|it| it.point.as_path()).collect();
        assert_eq!(points, [Path::new("/nix"), Path::new("/nix/store")]);
        let nix = &facts.wanted[0];
        assert_eq!(nix.resolved.as_deref(), Some(Path::new("/dev/vdb")));
        assert_eq!(nix.elsewhere, [Path::new("/media/disk")]);
        assert!(!nix.is_absent && nix.mounted.is_none());
        assert_eq!(nix.unit.as_ref().unwrap().0, "nix.mount");
        assert!(facts.wanted[1].is_absent);
    }

    #[test]
    fn what_is_mounted_over_a_bound_folder_is_seen() {
        let bound = "1 0 8:1 /srv/nix /nix rw - ext4 /dev/a rw\n";
        let machine = |mounts: &str| {
            Machine::new()
                .file("/etc/fstab", "/srv/nix /nix none bind 0 0\n")
                .file("/proc/self/mountinfo", mounts)
        };
        assert!(!of(&machine(bound)).wanted[0].is_other);
        let over = format!("{bound}2 1 0:9 / /nix rw - tmpfs mine rw\n");
        assert!(of(&machine(&over)).wanted[0].is_other);
    }

    #[test]
    fn a_mount_unit_counts_when_it_starts_at_boot() {
        let unit = "[Mount]\nWhat=/dev/vdb\nWhere=/nix\nType=ext4\nOptions=noatime\n";
        let machine = |file| {
            Machine::new()
                .file("/etc/systemd/system/nix.mount", unit)
                .unit("nix.mount", file, "inactive")
        };
        let facts = of(&machine("enabled"));
        assert_eq!(facts.wanted[0].device, "/dev/vdb");
        assert_eq!(facts.wanted[0].options, "noatime");
        assert!(of(&machine("disabled")).wanted.is_empty());
    }

    #[test]
    fn the_mount_that_holds_the_state_is_the_nearest() {
        let machine = Machine::new().file(
            "/proc/self/mountinfo",
            "1 0 8:1 / / rw - ext4 /dev/a rw\n2 1 8:2 / /nix ro - ext4 /dev/b ro\n\
             3 1 8:2 / /nix/store ro - ext4 /dev/b rw\n",
        );
        let state = of(&machine).holds_state.unwrap();
        assert_eq!(
            (state.point.as_path(), state.read_only),
            (Path::new("/nix"), true)
        );
    }
}

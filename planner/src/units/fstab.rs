//! The file systems and swaps that a generation declares in `etc/fstab`, and what a change of them means.
//!
//! New file systems need no decision: their mounts are pulled in by `local-fs.target`. An entry that is
//! gone is unmounted, one with another device is mounted anew, one with other options is remounted.

use std::collections::{BTreeMap, BTreeSet};

use super::decisions::{Decisions, note};
use super::mode::Mode;
use super::name::{UnitName, UnitType};
use super::reason::{Cause, MountChange, Rule};

/// What must stay mounted in any case; switch-to-configuration knows only the first two.
const VITAL: [&str; 4] = ["/", "/nix", "/nix/store", "/usr"];

/// Options that speak to systemd and to mount(8), not to the mounted file system.
const NOT_FOR_THE_KERNEL: [&str; 8] = [
    "auto", "noauto", "nofail", "_netdev", "user", "nouser", "users", "owner",
];

/// One file system.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FileSystem {
    /// Device, or whatever the type takes for one.
    pub device: String,
    /// Type.
    pub kind: String,
    /// Options, separated by commas.
    pub options: String,
}

/// An fstab.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Fstab {
    /// File systems by mount point.
    pub file_systems: BTreeMap<String, FileSystem>,
    /// Swap devices.
    pub swaps: BTreeSet<String>,
}

impl Fstab {
    /// Reads the file; lines that are none are left out.
    ///
    /// switch-to-configuration leaves out every line with a `#` anywhere, so that a mount whose device
    /// has one in its label seems to vanish, and it takes escapes (`\040`) for themselves.
    #[must_use]
    pub fn parse(text: &str, mode: Mode) -> Fstab {
        let mut fstab = Fstab::default();
        for line in text.lines() {
            let comment = match mode {
                Mode::Exact => line.contains('#'),
                Mode::Right => line.trim_start().starts_with('#'),
            };
            let mut fields = line.split_whitespace().map(|field| match mode {
                Mode::Exact => field.to_owned(),
                Mode::Right => unescape(field),
            });
            let (false, Some(device), Some(mount_point), Some(kind)) =
                (comment, fields.next(), fields.next(), fields.next())
            else {
                continue;
            };
            let options = fields.next().unwrap_or_default();
            if kind == "swap" {
                fstab.swaps.insert(device);
            } else if mode == Mode::Exact || mount_point.starts_with('/') {
                let file_system = FileSystem {
                    device,
                    kind,
                    options,
                };
                fstab.file_systems.insert(mount_point, file_system);
            }
        }
        fstab
    }
}

/// Decides about the mounts and swaps of two generations. `is_active` tells of a unit whether it is there.
pub(super) fn decide(
    decisions: &mut Decisions,
    (old, new): (&Fstab, &Fstab),
    mode: Mode,
    is_active: &dyn Fn(&UnitName) -> bool,
) {
    for (mount_point, before) in &old.file_systems {
        let after = new.file_systems.get(mount_point);
        let Some(what) = change(before, after, mode) else {
            continue;
        };
        // A mount point whose name does not fit into that of a unit has no unit.
        if let Ok(mount) = UnitName::for_path(mount_point, UnitType::Mount) {
            let place = Place {
                mount_point,
                mount,
                before,
                after,
            };
            match mode {
                Mode::Exact => place.decide_exact(decisions, what),
                Mode::Right => place.decide_right(decisions, what, is_active),
            }
        }
    }
    let gone = old.swaps.difference(&new.swaps);
    decisions.swapoff.extend(gone.map(|device| match mode {
        Mode::Exact => device.clone(),
        Mode::Right => device_path(device),
    }));
}

/// A mount point whose entry differs.
struct Place<'a> {
    mount_point: &'a str,
    mount: UnitName,
    before: &'a FileSystem,
    after: Option<&'a FileSystem>,
}

impl Place<'_> {
    fn decide_exact(self, decisions: &mut Decisions, what: MountChange) {
        let options_differ = self
            .after
            .is_none_or(|after| after.options != self.before.options);
        let (reasons, unit, rule) = match what {
            MountChange::Device if !matches!(self.mount_point, "/" | "/nix") => {
                (&mut decisions.restart, self.mount, Rule::Remount)
            }
            MountChange::Device if options_differ => {
                (&mut decisions.reload, self.mount, Rule::VitalMount)
            }
            MountChange::Device => (&mut decisions.skip, self.mount, Rule::VitalMount),
            MountChange::Options => (&mut decisions.reload, self.mount, Rule::Reload),
            MountChange::Gone => {
                let automount = self.before.options.contains("x-systemd.automount");
                (&mut decisions.stop, self.unit(automount), Rule::StopGone)
            }
        };
        note(reasons, &unit, Cause::Mount { what }, rule);
    }

    fn decide_right(
        self,
        decisions: &mut Decisions,
        what: MountChange,
        is_active: &dyn Fn(&UnitName) -> bool,
    ) {
        let vital = VITAL.contains(&self.mount_point);
        let automount = self.unit(has_option(&self.before.options, "x-systemd.automount"));
        let options_differ = self
            .after
            .is_some_and(|after| for_kernel(&after.options) != for_kernel(&self.before.options));
        let (reasons, unit, rule) = match what {
            MountChange::Gone | MountChange::Device if vital && !options_differ => {
                (&mut decisions.skip, self.mount, Rule::VitalMount)
            }
            MountChange::Device if vital => (&mut decisions.reload, self.mount, Rule::VitalMount),
            MountChange::Gone if is_active(&automount) => {
                (&mut decisions.stop, automount, Rule::StopGone)
            }
            MountChange::Gone => (&mut decisions.stop, self.mount, Rule::StopGone),
            MountChange::Device => (&mut decisions.restart, self.mount, Rule::Remount),
            MountChange::Options => (&mut decisions.reload, self.mount, Rule::Reload),
        };
        if is_active(&unit) {
            note(reasons, &unit, Cause::Mount { what }, rule);
        }
    }

    fn unit(&self, automount: bool) -> UnitName {
        let other = automount.then(|| self.mount.with_type(UnitType::Automount));
        other.flatten().unwrap_or_else(|| self.mount.clone())
    }
}

fn change(before: &FileSystem, after: Option<&FileSystem>, mode: Mode) -> Option<MountChange> {
    let Some(after) = after else {
        return Some(MountChange::Gone);
    };
    let same_options = match mode {
        Mode::Exact => before.options == after.options,
        Mode::Right => for_kernel(&before.options) == for_kernel(&after.options),
    };
    if before.kind != after.kind || before.device != after.device {
        Some(MountChange::Device)
    } else {
        (!same_options).then_some(MountChange::Options)
    }
}

fn for_kernel(options: &str) -> Vec<&str> {
    let options = options.split(',');
    options
        .filter(|option| {
            let name = option.split('=').next().unwrap_or_default();
            !option.is_empty()
                && !name.starts_with("x-")
                && name != "comment"
                && *option != "defaults"
                && !NOT_FOR_THE_KERNEL.contains(&name)
        })
        .collect()
}

fn has_option(options: &str, wanted: &str) -> bool {
    let mut options = options.split(',');
    options.any(|option| option.split('=').next() == Some(wanted))
}

/// The path of a device that fstab names by a tag: swapoff(2) takes only paths.
fn device_path(device: &str) -> String {
    let Some((tag, value)) = device.split_once('=') else {
        return device.into();
    };
    let folder = match tag {
        "UUID" => "by-uuid",
        "LABEL" => "by-label",
        "PARTUUID" => "by-partuuid",
        "PARTLABEL" => "by-partlabel",
        _ => return device.into(),
    };
    format!("/dev/disk/{folder}/{}", value.trim_matches('"'))
}

/// Undoes the octal escapes of white space and of the backslash.
fn unescape(field: &str) -> String {
    let replaced = [
        ("\\040", " "),
        ("\\011", "\t"),
        ("\\012", "\n"),
        ("\\043", "#"),
    ]
    .into_iter()
    .fold(field.to_owned(), |field, (code, c)| field.replace(code, c));
    replaced.replace("\\134", "\\")
}

#[cfg(test)]
#[path = "fstab_tests.rs"]
mod tests;

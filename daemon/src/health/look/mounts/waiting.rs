//! Units that need /nix and did not start because it was not mounted.
//!
//! Two kinds: those that failed as units do whose program is not there, and those that the next
//! boot would start and this one did not, because systemd could not even read them (links into
//! /nix) or they depend on the mount. The second kind is only looked for where /nix is a mount,
//! and never on NixOS, where every unit is a link into the store.

use std::path::Path;

use super::super::{Result, Scene, text};
use super::UNIT_LIMIT;
use crate::catalogue::facts::leftovers::UNIT_DIR;
use crate::catalogue::facts::links::{exists, follow};
use crate::host::service::Control;

/// Failed units that are looked at: on a machine where more fail, the store is not the reason.
const FAILED_LIMIT: usize = 64;
/// Units that one target wants and that are looked at.
const WANTED_LIMIT: usize = 128;
/// Exit codes of systemd for a program, folder or root that is not there: they tell of units that
/// failed because something was not mounted.
const NOT_THERE: [i32; 3] = [203, 200, 226];
/// Targets that every boot reaches.
const TARGETS: [&str; 5] = [
    "default.target",
    "graphical.target",
    "multi-user.target",
    "sockets.target",
    "timers.target",
];

/// A unit that waits for /nix.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Waiting {
    /// Unit.
    pub unit: String,
    /// Whether it ends once it has done its work.
    pub is_oneshot: bool,
}

/// All of them; none as long as the store is not there.
pub(super) fn look(scene: &Scene<'_>, is_mount: bool) -> Result<Vec<Waiting>> {
    let fs = &scene.host.fs;
    let (Some(control), true) = (
        scene.host.services.control(),
        exists(fs, Path::new("/nix/store"))?,
    ) else {
        return Ok(Vec::new());
    };
    let mut found = failed(scene, control)?;
    if is_mount && !exists(fs, Path::new("/etc/NIXOS"))? {
        found.extend(never_started(scene, control)?);
    }
    found.sort();
    found.dedup();
    Ok(found)
}

fn failed(scene: &Scene<'_>, control: &dyn Control) -> Result<Vec<Waiting>> {
    let loaded = control.loaded()?;
    let failed: Vec<&str> = loaded
        .iter()
        .filter(|unit| unit.active == "failed" && !is_nix_daemon(&unit.name))
        .map(|unit| unit.name.as_str())
        .take(FAILED_LIMIT)
        .collect();
    let mut found = Vec::new();
    for (unit, fragment) in control.fragments(&failed) {
        let was_absent = NOT_THERE.contains(&control.details(&unit)?.exit_status);
        if was_absent && !fragment.is_empty() {
            found.extend(needing(scene, unit, Path::new(&fragment))?);
        }
    }
    Ok(found)
}

/// Units that a target wants, that need /nix, and that have not run since the machine was booted.
fn never_started(scene: &Scene<'_>, control: &dyn Control) -> Result<Vec<Waiting>> {
    let fs = &scene.host.fs;
    let mut found = Vec::new();
    for target in TARGETS {
        let folder = Path::new(UNIT_DIR).join(format!("{target}.wants"));
        if !fs.is_dir(&folder) {
            continue;
        }
        for name in fs.list(&folder)?.into_iter().take(WANTED_LIMIT) {
            let Some(unit) = name.to_str().filter(|name| !is_nix_daemon(name)) else {
                continue;
            };
            let Some(waiting) = needing(scene, unit.to_owned(), &folder.join(unit))? else {
                continue;
            };
            let details = control.details(unit)?;
            if details.active == "inactive" && details.invocation.is_empty() {
                found.push(waiting);
            }
        }
    }
    Ok(found)
}

/// The unit of this file, when it needs /nix. One with conditions may have been left out for them.
fn needing(scene: &Scene<'_>, unit: String, file: &Path) -> Result<Option<Waiting>> {
    let fs = &scene.host.fs;
    let Some(followed) = follow(fs, file)? else {
        return Ok(None);
    };
    // A unit that cannot be read as a file is none that somebody waits for.
    let content = text(fs, &followed.path, UNIT_LIMIT).ok().flatten();
    let content = content.unwrap_or_default();
    let is_link = in_nix(&followed.path) || followed.links.iter().any(|link| in_nix(link));
    let has_conditions = content
        .lines()
        .any(|line| line.starts_with("Condition") || line.starts_with("Assert"));
    let needs = !has_conditions && (is_link || names_nix(&content));
    Ok(needs.then(|| Waiting {
        is_oneshot: content.lines().any(|line| line.trim() == "Type=oneshot"),
        unit,
    }))
}

fn in_nix(path: &Path) -> bool {
    path.starts_with("/nix")
}

/// It has findings of its own.
fn is_nix_daemon(unit: &str) -> bool {
    unit.starts_with("nix-daemon.")
}

/// Whether a unit file has a line that needs something below /nix.
fn names_nix(content: &str) -> bool {
    let needs = |line: &str| line.starts_with("Exec") || line.starts_with("WorkingDirectory");
    content
        .lines()
        .any(|line| needs(line.trim_start()) && line.contains("/nix/"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::catalogue::facts::testing::Machine;
    use crate::host::Cancel;

    fn of(machine: &Machine, is_mount: bool) -> Vec<(String, bool)> {
        let (host, settings, cancel) = (machine.host(), Default::default(), Cancel::default());
        let scene = Scene::bare(&host, &settings, &cancel);
        let found = look(&scene, is_mount).unwrap();
        found
            .into_iter()
            .map(|it| (it.unit, it.is_oneshot))
            .collect()
    }

    fn unit(machine: Machine, name: &str, text: &str, active: &str) -> Machine {
        let text = format!("[Service]\n{text}");
        machine
            .file(&format!("{UNIT_DIR}/{name}"), &text)
            .unit(name, "enabled", active)
    }

    #[test]
    fn units_that_missed_the_store_are_told_from_those_that_failed_otherwise() {
        let mut machine = Machine::new().directory("/nix/store");
        for (name, text, code) in [
            ("a.service", "ExecStart=/nix/store/x/bin/a\n", 203),
            ("b.service", "ExecStart=/nix/store/x/bin/b\n", 1),
            ("c.service", "ExecStart=/usr/bin/c\n", 203),
            (
                "d.service",
                "Type=oneshot\nExecStart=/nix/store/x/bin/d\n",
                203,
            ),
            ("nix-daemon.service", "ExecStart=/nix/store/x\n", 203),
        ] {
            machine = unit(machine, name, text, "failed");
            machine
                .services()
                .change_details(name, |details| details.exit_status = code);
        }
        let expected = [
            ("a.service".to_owned(), false),
            ("d.service".to_owned(), true),
        ];
        assert_eq!(of(&machine, false), expected);
    }

    #[test]
    fn units_that_this_boot_did_not_start_are_found_where_nix_is_a_mount() {
        let wants = format!("{UNIT_DIR}/multi-user.target.wants");
        let mut machine = Machine::new()
            .file("/nix/store/x/linked.service", "[Service]\n")
            .link(
                &format!("{wants}/linked.service"),
                "/nix/store/x/linked.service",
            )
            .unit("linked.service", "enabled", "inactive")
            .link(&format!("{wants}/gone.service"), "/nix/store/gone.service");
        for (name, text, active, ran) in [
            ("own.service", "ExecStart=/nix/store/x/a\n", "inactive", ""),
            (
                "ran.service",
                "ExecStart=/nix/store/x/a\n",
                "inactive",
                "77",
            ),
            ("runs.service", "ExecStart=/nix/store/x/a\n", "active", "78"),
            ("other.service", "ExecStart=/usr/bin/a\n", "inactive", ""),
            (
                "maybe.service",
                "ConditionHost=x\nExecStart=/nix/store/x\n",
                "inactive",
                "",
            ),
        ] {
            machine = unit(machine, name, text, active)
                .link(&format!("{wants}/{name}"), &format!("{UNIT_DIR}/{name}"));
            machine
                .services()
                .change_details(name, |details| details.invocation = ran.to_owned());
        }
        let expected = ["linked.service", "own.service"].map(|name| (name.to_owned(), false));
        assert_eq!(of(&machine, true), expected);
        assert_eq!(of(&machine, false), []);
        assert_eq!(of(&machine.file("/etc/NIXOS", ""), true), []);
    }
}

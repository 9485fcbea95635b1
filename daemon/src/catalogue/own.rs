//! The daemon's own files: programs, group, units, bus and polkit files.
//!
//! Programs go to /usr/local/bin, or to /opt/nixctl/bin where /usr/local is read-only. Bus and
//! polkit look for vendors' files in /usr/share; where that is read-only the bus finds its
//! activation file in /usr/local/share, and polkit (from version 125 on) both of its files in
//! /etc. The units come last, so that nothing is started before all of it is there.

use std::path::{Path, PathBuf};

use nixctl_proto::ADMIN_GROUP;

use super::facts::{Facts, Manager};
use super::files::{
    BUS_ACTIVATION, BUS_POLICY, NIXCTL_SYSUSERS, NIXCTLD_PROGRAM, NIXCTLD_SERVICE, NIXCTLD_SOCKET,
    POLKIT_ACTIONS, POLKIT_RULES, Shipped,
};
use super::steps::{directory, file, shipped};
use crate::engine::Step;
use crate::resource::Resource;
use crate::resource::group::Group;
use crate::resource::program::Program;
use crate::resource::service::Service;
use crate::takeover;

/// Where programs go.
pub const PROGRAMS_DIR: &str = "/usr/local/bin";
/// Where programs go when that cannot be written.
pub const OTHER_PROGRAMS_DIR: &str = "/opt/nixctl/bin";
/// Units of the daemon.
pub const UNITS: [&str; 2] = ["nixctld.socket", "nixctld.service"];

/// A program to install.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Source {
    /// Name it gets.
    pub name: &'static str,
    /// Absolute path to copy from.
    pub from: PathBuf,
    /// SHA-256 of its content.
    pub sha256: String,
}

/// The steps of putting the daemon on a machine.
pub fn install(facts: &Facts, programs: &[Source]) -> Vec<Step> {
    let elsewhere = facts.places.programs.read_only;
    let mut steps = program_steps(elsewhere, programs);
    steps.push(Step::Ensure(Resource::Group(Group {
        name: ADMIN_GROUP.to_owned(),
    })));
    let systemd = match facts.system.manager {
        Manager::Systemd | Manager::Image { systemd: true } => true,
        Manager::None | Manager::Image { systemd: false } => false,
    };
    if systemd {
        steps.extend([
            directory("/etc/sysusers.d", 0o755),
            shipped(NIXCTL_SYSUSERS, 0o644),
        ]);
        steps.extend(bus_and_polkit(facts.places.share.read_only));
        steps.extend(units(elsewhere));
        steps.push(Step::Ensure(Resource::Service(service(facts.is_image()))));
    }
    steps
}

fn program_steps(elsewhere: bool, programs: &[Source]) -> Vec<Step> {
    let folder = if elsewhere {
        OTHER_PROGRAMS_DIR
    } else {
        PROGRAMS_DIR
    };
    let folders: &[&str] = if elsewhere {
        &["/opt", "/opt/nixctl", OTHER_PROGRAMS_DIR]
    } else {
        &["/usr/local", PROGRAMS_DIR]
    };
    let mut steps: Vec<Step> = folders.iter().map(|path| directory(path, 0o755)).collect();
    steps.extend(programs.iter().map(|program| {
        Step::Ensure(Resource::Program(Program {
            from: program.from.clone(),
            sha256: program.sha256.clone(),
            path: Path::new(folder).join(program.name),
        }))
    }));
    steps
}

/// Where the bus and polkit find our files when /usr/share cannot be written.
fn place(shipped: Shipped, share_is_read_only: bool) -> PathBuf {
    let moved = [
        ("/usr/share/dbus-1", "/usr/local/share/dbus-1"),
        ("/usr/share/polkit-1", "/etc/polkit-1"),
    ];
    let path = Path::new(shipped.path);
    if share_is_read_only {
        for (from, to) in moved {
            if let Ok(rest) = path.strip_prefix(from) {
                return Path::new(to).join(rest);
            }
        }
    }
    path.to_owned()
}

fn bus_and_polkit(share_is_read_only: bool) -> Vec<Step> {
    let mut steps = Vec::new();
    for shipped in [BUS_POLICY, BUS_ACTIVATION, POLKIT_ACTIONS, POLKIT_RULES] {
        let path = place(shipped, share_is_read_only);
        let mut parents: Vec<&Path> = path.ancestors().skip(1).take(2).collect();
        parents.reverse();
        for folder in parents.into_iter().map(|parent| directory(parent, 0o755)) {
            if !steps.contains(&folder) {
                steps.push(folder);
            }
        }
        steps.push(file(path.clone(), shipped.content, 0o644));
    }
    steps
}

fn units(elsewhere: bool) -> Vec<Step> {
    let mut steps = vec![
        shipped(NIXCTLD_SERVICE, 0o644),
        shipped(NIXCTLD_SOCKET, 0o644),
    ];
    if elsewhere {
        steps.push(directory("/etc/systemd/system/nixctld.service.d", 0o755));
        steps.push(shipped(NIXCTLD_PROGRAM, 0o644));
    }
    steps
}

fn service(image: bool) -> Service {
    let units: Vec<String> = UNITS.map(str::to_owned).into();
    let start = if image { Vec::new() } else { units.clone() };
    Service {
        enable: units,
        start,
        also_stop: Vec::new(),
    }
}

/// Whether a resource is part of the daemon itself rather than of Nix.
pub fn is_own(resource: &Resource) -> bool {
    let in_folder = |path: &Path| {
        let text = path.to_string_lossy();
        ["nixctld.", "org.nixctl1.", "50-nixctl.rules"]
            .iter()
            .any(|part| text.contains(part))
            || path == Path::new(NIXCTL_SYSUSERS.path)
    };
    match resource {
        Resource::Program(_) => true,
        Resource::Group(group) => group.name == ADMIN_GROUP,
        Resource::File(it) => in_folder(&it.path),
        Resource::Directory(it) => {
            in_folder(&it.path)
                || own_folders().contains(&it.path.as_path())
                || takeover::is_in_library(&it.path)
        }
        Resource::Service(it) => it.enable.iter().any(|unit| UNITS.contains(&unit.as_str())),
        _ => false,
    }
}

/// Folders that only we may have made.
fn own_folders() -> [&'static Path; 21] {
    [
        "/usr/local",
        "/usr/local/lib",
        PROGRAMS_DIR,
        "/opt",
        "/opt/nixctl",
        OTHER_PROGRAMS_DIR,
        "/etc/sysusers.d",
        "/etc/dbus-1",
        "/etc/dbus-1/system.d",
        "/usr/share/dbus-1",
        "/usr/share/dbus-1/system-services",
        "/usr/local/share/dbus-1",
        "/usr/local/share/dbus-1/system-services",
        "/usr/share/polkit-1",
        "/usr/share/polkit-1/actions",
        "/usr/share/polkit-1/rules.d",
        "/etc/polkit-1",
        "/etc/polkit-1/actions",
        "/etc/polkit-1/rules.d",
        "/usr/local/share",
        "/etc/systemd/system/nixctld.service.d",
    ]
    .map(Path::new)
}

#[cfg(test)]
#[path = "own_tests.rs"]
mod tests;

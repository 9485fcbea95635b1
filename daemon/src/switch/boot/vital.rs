//! Which units must be well after a boot into a generation: those that are active when it becomes
//! the default and that its own targets pull in at a boot. What somebody started by hand, or what waits
//! for a socket, is none of them.

use std::collections::BTreeSet;
use std::path::Path;

use serde::{Deserialize, Serialize};

use crate::host::service::LoadedUnit;
use crate::host::{Fs, FsError};
use crate::switch::files::existing;

/// Folders beside a target with what it pulls in.
const FOLDERS: [&str; 3] = [".target.wants", ".target.requires", ".target.upholds"];
/// Kinds of units that stay active once they are.
const KINDS: [&str; 7] = [
    ".service",
    ".socket",
    ".mount",
    ".automount",
    ".swap",
    ".timer",
    ".path",
];
/// The daemon looks itself: it runs.
const OURSELVES: [&str; 2] = ["nixctld.service", "nixctld.socket"];

/// A unit that must be well.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Vital {
    /// Its name.
    pub unit: String,
    /// Whether it must be active; otherwise it must not have failed: what ends by itself may have
    /// had nothing to do in this boot.
    pub active: bool,
}

/// The vital units of a generation, of those that are loaded now.
///
/// # Errors
/// When its units cannot be read.
pub fn vital(fs: &Fs, toplevel: &Path, loaded: &[LoadedUnit]) -> Result<Vec<Vital>, FsError> {
    let pulled = pulled_in(fs, toplevel)?;
    let active = loaded.iter().filter(|it| it.active == "active");
    let known = active.filter(|it| pulled.contains(&it.name));
    Ok(known
        .filter(|it| KINDS.iter().any(|kind| it.name.ends_with(kind)))
        .filter(|it| !OURSELVES.contains(&it.name.as_str()))
        .map(|it| Vital {
            unit: it.name.clone(),
            active: it.sub != "exited",
        })
        .collect())
}

/// What a generation's targets pull in.
fn pulled_in(fs: &Fs, toplevel: &Path) -> Result<BTreeSet<String>, FsError> {
    let mut names = BTreeSet::new();
    let Some(units) = existing(fs, &toplevel.join("etc/systemd/system"))? else {
        return Ok(names);
    };
    for name in fs.list(&units)? {
        let is_target = name
            .to_str()
            .is_some_and(|name| FOLDERS.iter().any(|end| name.ends_with(end)));
        if !is_target {
            continue;
        }
        if let Some(folder) = existing(fs, &units.join(&name))? {
            let inside = fs.list(&folder)?.into_iter();
            names.extend(inside.filter_map(|name| name.into_string().ok()));
        }
    }
    Ok(names)
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::symlink;

    use super::*;

    #[test]
    fn what_is_active_and_pulled_in_by_a_target_is_vital() {
        let dir = tempfile::tempdir().unwrap();
        let at = |path: &str| dir.path().join(path);
        std::fs::create_dir_all(at("nix/store/units/multi-user.target.wants")).unwrap();
        std::fs::create_dir_all(at("nix/store/units/a.service.wants")).unwrap();
        std::fs::create_dir_all(at("nix/store/top/etc/systemd")).unwrap();
        symlink("/nix/store/units", at("nix/store/top/etc/systemd/system")).unwrap();
        for name in [
            "a.service",
            "once.service",
            "nixctld.service",
            "idle.service",
        ] {
            let link = format!("nix/store/units/multi-user.target.wants/{name}");
            symlink(format!("../{name}"), at(&link)).unwrap();
        }
        symlink("../b", at("nix/store/units/a.service.wants/b.service")).unwrap();
        let unit = |name: &str, active: &str, sub: &str| LoadedUnit {
            name: name.to_owned(),
            active: active.to_owned(),
            sub: sub.to_owned(),
            ..LoadedUnit::default()
        };
        let loaded = [
            unit("a.service", "active", "running"),
            unit("b.service", "active", "running"),
            unit("by-hand.service", "active", "running"),
            unit("idle.service", "inactive", "dead"),
            unit("nixctld.service", "active", "running"),
            unit("once.service", "active", "exited"),
        ];
        let fs = Fs::at(dir.path());
        let found = vital(&fs, Path::new("/nix/store/top"), &loaded).unwrap();
        let found: Vec<(&str, bool)> = found
            .iter()
            .map(|it| (it.unit.as_str(), it.active))
            .collect();
        assert_eq!(found, [("a.service", true), ("once.service", false)]);
        let none = vital(&fs, Path::new("/nix/store/none"), &loaded).unwrap();
        assert_eq!(none, []);
    }
}

//! Which generations the system has, read from its profile's links.
//!
//! A generation is the link `system-N-link` beside the profile `system`, which points to the default
//! one. What runs and what was booted are links under `/run`. Everything is read anew each time:
//! others (`nixos-rebuild`, an administrator) change these links as well.

use std::path::Path;

use nixctl_proto::Generation;
use serde::Deserialize;

use crate::host::{Fs, FsError};
use crate::switch::files::existing;
use crate::switch::identity::PROFILE;
use crate::switch::profile::{generation_link, number_of, numbered};
use crate::switch::running::{
    BOOTED_SYSTEM, BootParts, CURRENT_SYSTEM, Running, booted_parts, reboot_reasons,
};

/// The file at the top of a hybrid generation that says what it is made of.
const MARKER: &str = "nixctl-hybrid";
/// Largest marker that is read.
const MARKER_BYTES: u64 = 64 << 10;

/// The marker of a hybrid generation.
#[derive(Deserialize)]
struct Marker {
    #[serde(default)]
    label: String,
}

/// The generations, newest first. Which of them were proven is not in the links.
///
/// # Errors
/// When the folder of the profiles cannot be read.
pub fn list(fs: &Fs) -> Result<Vec<Generation>, FsError> {
    let profile = Path::new(PROFILE);
    let default = fs.read_link(profile)?;
    let default = default.and_then(|target| number_of(profile, target.file_name()?.to_str()?));
    let running = fs.read_link(Path::new(CURRENT_SYSTEM))?;
    let booted = fs.read_link(Path::new(BOOTED_SYSTEM))?;
    let mut generations = Vec::new();
    for (number, target) in numbered(fs, profile)? {
        let marker = marker(fs, &target);
        generations.push(Generation {
            number,
            created: created(fs, &generation_link(profile, number)),
            current: running.as_ref() == Some(&target),
            default: default == Some(number),
            booted: booted.as_ref() == Some(&target),
            hybrid: marker.is_some(),
            label: marker.map(|marker| marker.label).unwrap_or_default(),
            path: target.to_string_lossy().into_owned(),
            ..Generation::default()
        });
    }
    generations.sort_unstable_by_key(|generation| std::cmp::Reverse(generation.number));
    Ok(generations)
}

/// Number of the generation that runs: of those with the same path the default one, else the
/// newest; 0 when none runs.
pub fn current(generations: &[Generation]) -> u64 {
    let running = || generations.iter().filter(|generation| generation.current);
    let current = running().find(|generation| generation.default);
    current
        .or_else(|| running().next())
        .map_or(0, |generation| generation.number)
}

/// Whether what runs, or what is the default of the next boot, is in force as a whole only after a
/// restart of the machine.
///
/// # Errors
/// When links or files cannot be read.
pub fn needs_reboot(fs: &Fs) -> Result<bool, FsError> {
    let Some(current) = Running::read(fs)?.current else {
        return Ok(false);
    };
    let current = BootParts::read(fs, Path::new(&current))?;
    let Some(booted) = booted_parts(fs, &current)? else {
        return Ok(false);
    };
    let waits = |new: &BootParts| !reboot_reasons(&booted, &current, new).is_empty();
    let default = existing(fs, Path::new(PROFILE))?;
    let default = default.map(|path| BootParts::read(fs, &path)).transpose()?;
    Ok(waits(&current) || default.is_some_and(|default| waits(&default)))
}

/// A marker that cannot be read makes a generation a hybrid all the same.
fn marker(fs: &Fs, toplevel: &Path) -> Option<Marker> {
    let bytes = fs.read(&toplevel.join(MARKER), MARKER_BYTES).ok()??;
    let marker = serde_json::from_slice(&bytes);
    Some(marker.unwrap_or(Marker {
        label: String::new(),
    }))
}

/// When the link was made; 0 when that cannot be told. Nothing of a store path has a time that means
/// something.
fn created(fs: &Fs, link: &Path) -> u64 {
    let meta = fs.meta(link).ok().flatten();
    meta.map_or(0, |meta| meta.modified)
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::symlink;

    use super::*;

    const FOLDER: &str = "/nix/var/nix/profiles";

    /// A machine with generations 1 to 3: 2 is a hybrid and runs, 3 is the default.
    fn machine() -> (tempfile::TempDir, Fs) {
        let folder = tempfile::tempdir().unwrap();
        let at = |path: &str| folder.path().join(path.trim_start_matches('/'));
        for dir in [
            FOLDER,
            "/run",
            "/nix/store/a",
            "/nix/store/b",
            "/nix/store/c",
        ] {
            std::fs::create_dir_all(at(dir)).unwrap();
        }
        for (number, path) in [(1, "a"), (2, "b"), (3, "c"), (10, "c")] {
            let link = at(&format!("{PROFILE}-{number}-link"));
            symlink(format!("/nix/store/{path}"), link).unwrap();
        }
        symlink("system-3-link", at(PROFILE)).unwrap();
        symlink("x", at(&format!("{PROFILE}--link"))).unwrap();
        symlink("x", at(&format!("{FOLDER}/per-user-4-link"))).unwrap();
        symlink("/nix/store/b", at(CURRENT_SYSTEM)).unwrap();
        symlink("/nix/store/a", at(BOOTED_SYSTEM)).unwrap();
        let marker = r#"{"base":"a","target":"c","label":"1 of 2 components"}"#;
        std::fs::write(at("/nix/store/b/nixctl-hybrid"), marker).unwrap();
        let fs = Fs::at(folder.path());
        (folder, fs)
    }

    #[test]
    fn links_are_generations() {
        let (_folder, fs) = machine();
        let all = list(&fs).unwrap();
        let numbers: Vec<u64> = all.iter().map(|generation| generation.number).collect();
        assert_eq!(numbers, [10, 3, 2, 1]);
        assert!(all.iter().all(|generation| generation.created > 0));
        let [_, three, two, one] = all.as_slice() else {
            panic!()
        };
        assert!(three.default && !three.current && !three.hybrid);
        assert!(two.current && two.hybrid && two.label == "1 of 2 components");
        assert!(one.booted && one.path == "/nix/store/a");
        assert_eq!(current(&all), 2);
    }

    #[test]
    fn of_two_with_one_path_the_default_runs() {
        let (folder, fs) = machine();
        std::fs::remove_file(folder.path().join("run/current-system")).unwrap();
        assert_eq!(current(&list(&fs).unwrap()), 0);
        symlink("/nix/store/c", folder.path().join("run/current-system")).unwrap();
        assert_eq!(current(&list(&fs).unwrap()), 3);
    }

    #[test]
    fn another_kernel_needs_a_reboot() {
        let (folder, fs) = machine();
        assert!(!needs_reboot(&fs).unwrap());
        symlink("/nix/store/k1", folder.path().join("nix/store/a/kernel")).unwrap();
        symlink("/nix/store/k2", folder.path().join("nix/store/b/kernel")).unwrap();
        assert!(needs_reboot(&fs).unwrap());
    }

    #[test]
    fn a_default_that_must_not_be_activated_needs_a_reboot() {
        let (folder, fs) = machine();
        let write = |path: &str, value: &str| {
            let text = format!(r#"{{"dbus":"{value}"}}"#);
            std::fs::write(folder.path().join(path).join("switch-inhibitors"), text).unwrap();
        };
        write("nix/store/b", "dbus");
        write("nix/store/c", "dbus");
        assert!(!needs_reboot(&fs).unwrap());
        write("nix/store/c", "broker");
        assert!(needs_reboot(&fs).unwrap());
    }

    #[test]
    fn a_booted_generation_that_is_gone_is_judged_by_what_is_kept_of_it() {
        let (folder, fs) = machine();
        let at = |path: &str| folder.path().join(path);
        std::fs::remove_dir(at("nix/store/a")).unwrap();
        symlink("/nix/store/k2", at("nix/store/b/kernel")).unwrap();
        assert!(!needs_reboot(&fs).unwrap(), "nothing is known of it");
        let roots = at("nix/var/nix/gcroots/nixctl/booted");
        std::fs::create_dir_all(&roots).unwrap();
        symlink("/nix/store/k2", roots.join("k2")).unwrap();
        assert!(!needs_reboot(&fs).unwrap(), "the same kernel");
        std::fs::remove_file(roots.join("k2")).unwrap();
        symlink("/nix/store/k1", roots.join("k1")).unwrap();
        assert!(needs_reboot(&fs).unwrap());
    }

    #[test]
    fn a_machine_without_generations_has_none() {
        let folder = tempfile::tempdir().unwrap();
        let fs = Fs::at(folder.path());
        assert_eq!(list(&fs).unwrap(), []);
        assert!(!needs_reboot(&fs).unwrap());
    }
}

//! Which generations the system has, read from its profile's links.
//!
//! A generation is the link `system-N-link` beside the profile `system`, which points to the default
//! one. What runs and what was booted are links under `/run`. Everything is read anew each time:
//! others (`nixos-rebuild`, an administrator) change these links as well.

use std::path::{Path, PathBuf};

use nixctl_proto::Generation;
use serde::Deserialize;

use crate::host::{Fs, FsError};
use crate::switch::running::{BOOTED_SYSTEM, BootParts, CURRENT_SYSTEM, Running, reboot_reasons};

/// Folder of the profiles.
const PROFILES: &str = "/nix/var/nix/profiles";
/// The profile, as a link in that folder.
const PROFILE: &str = "system";
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
    let folder = Path::new(PROFILES);
    let default = fs.read_link(&folder.join(PROFILE))?.and_then(number);
    let running = fs.read_link(Path::new(CURRENT_SYSTEM))?;
    let booted = fs.read_link(Path::new(BOOTED_SYSTEM))?;
    let mut generations = Vec::new();
    for name in fs.list(folder)? {
        let Some(number) = number(PathBuf::from(&name)) else {
            continue;
        };
        let link = folder.join(&name);
        let Some(target) = fs.read_link(&link)? else {
            continue;
        };
        let marker = marker(fs, &target);
        generations.push(Generation {
            number,
            created: created(fs, &link),
            current: running.as_ref() == Some(&target),
            default: default == Some(number),
            booted: booted.as_ref() == Some(&target),
            proven: false,
            hybrid: marker.is_some(),
            label: marker.map(|marker| marker.label).unwrap_or_default(),
            path: target.to_string_lossy().into_owned(),
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

/// Whether what runs is in force as a whole only after a restart of the machine.
///
/// # Errors
/// When links or files cannot be read.
pub fn needs_reboot(fs: &Fs) -> Result<bool, FsError> {
    let Running { current, booted } = Running::read(fs)?;
    let (Some(current), Some(booted)) = (current, booted) else {
        return Ok(false);
    };
    let current = BootParts::read(fs, Path::new(&current))?;
    let booted = BootParts::read(fs, Path::new(&booted))?;
    Ok(!reboot_reasons(&booted, &current, &current).is_empty())
}

/// `system-42-link`
fn number(link: PathBuf) -> Option<u64> {
    let name = link.file_name()?.to_str()?;
    let digits = name
        .strip_prefix(PROFILE)?
        .strip_prefix('-')?
        .strip_suffix("-link")?;
    if digits.is_empty() || !digits.bytes().all(|byte| byte.is_ascii_digit()) {
        return None;
    }
    digits.parse().ok()
}

/// A marker that cannot be read makes a generation a hybrid all the same.
fn marker(fs: &Fs, toplevel: &Path) -> Option<Marker> {
    let bytes = fs.read(&toplevel.join(MARKER), MARKER_BYTES).ok()??;
    let marker = serde_json::from_slice(&bytes);
    Some(marker.unwrap_or(Marker {
        label: String::new(),
    }))
}

/// When the link was made; 0 when that cannot be told.
fn created(fs: &Fs, link: &Path) -> u64 {
    // The link's own time is wanted: nothing of a store path has one that means something.
    std::fs::symlink_metadata(fs.real(link))
        .and_then(|meta| meta.modified())
        .ok()
        .and_then(|time| time.duration_since(std::time::UNIX_EPOCH).ok())
        .and_then(|time| u64::try_from(time.as_millis()).ok())
        .unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::symlink;

    use super::*;

    /// A machine with generations 1 to 3: 2 is a hybrid and runs, 3 is the default.
    fn machine() -> (tempfile::TempDir, Fs) {
        let folder = tempfile::tempdir().unwrap();
        let at = |path: &str| folder.path().join(path.trim_start_matches('/'));
        for dir in [
            PROFILES,
            "/run",
            "/nix/store/a",
            "/nix/store/b",
            "/nix/store/c",
        ] {
            std::fs::create_dir_all(at(dir)).unwrap();
        }
        for (number, path) in [(1, "a"), (2, "b"), (3, "c"), (10, "c")] {
            let link = at(&format!("{PROFILES}/system-{number}-link"));
            symlink(format!("/nix/store/{path}"), link).unwrap();
        }
        symlink("system-3-link", at(&format!("{PROFILES}/system"))).unwrap();
        symlink("x", at(&format!("{PROFILES}/system--link"))).unwrap();
        symlink("x", at(&format!("{PROFILES}/per-user-4-link"))).unwrap();
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
    fn a_machine_without_generations_has_none() {
        let folder = tempfile::tempdir().unwrap();
        let fs = Fs::at(folder.path());
        assert_eq!(list(&fs).unwrap(), []);
        assert!(!needs_reboot(&fs).unwrap());
    }
}

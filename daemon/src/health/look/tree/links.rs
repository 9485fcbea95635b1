//! Profiles and roots of the garbage collector that lead to nothing.
//!
//! A link counts when its end lies in the store, or is a numbered generation, and is gone. One
//! that leads to a profile that was never made is what Nix itself leaves in a new home.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use super::super::Result;
use crate::host::Fs;
use crate::host::fs::Kind;
use crate::resource::profile::Profile;

const PROFILES: &str = "/nix/var/nix/profiles";
const ROOTS: &str = "/nix/var/nix/gcroots";
/// Profiles of root that its shells use.
const OF_ROOT: [&str; 2] = ["/root/.nix-profile", "/root/.local/state/nix/profile"];
/// Links that are looked at in one folder, and users.
const LIMIT: usize = 256;
/// Links that are followed before a path counts as a loop; the kernel's own limit.
const MAX_LINKS: usize = 40;

/// A link that leads to nothing.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DanglingLink {
    /// Where it is.
    pub path: PathBuf,
    /// What it names in the end.
    pub end: PathBuf,
    /// Whose it is.
    pub whose: Whose,
}

/// Whose a link is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Whose {
    /// A profile of all users, or of root.
    Everybodys,
    /// The profile of a system that is switched (NixOS).
    Systems,
    /// A user's own.
    Users(String),
    /// A root of the garbage collector.
    Root,
}

/// All of them, but for the profile that holds Nix, which is looked at by itself.
pub(super) fn dangling(fs: &Fs, ours: Option<&Profile>) -> Result<Vec<DanglingLink>> {
    let mut found = Vec::new();
    for path in links_in(fs, Path::new(PROFILES))? {
        let whose = match path.file_name().and_then(|name| name.to_str()) {
            Some("system") => Whose::Systems,
            _ => Whose::Everybodys,
        };
        if ours.is_none_or(|ours| ours.link != path) {
            found.extend(gone(fs, path, whose)?);
        }
    }
    let per_user = Path::new(PROFILES).join("per-user");
    for name in fs.list(&per_user)?.into_iter().take(LIMIT) {
        let folder = per_user.join(&name);
        if fs
            .meta(&folder)?
            .is_none_or(|it| it.kind != Kind::Directory)
        {
            continue;
        }
        for path in links_in(fs, &folder)? {
            let whose = match name.to_str() {
                Some("root") => Whose::Everybodys,
                _ => Whose::Users(name.to_string_lossy().into_owned()),
            };
            found.extend(gone(fs, path, whose)?);
        }
    }
    for path in OF_ROOT.map(PathBuf::from) {
        found.extend(gone(fs, path, Whose::Everybodys)?);
    }
    for path in links_in(fs, Path::new(ROOTS))? {
        found.extend(gone(fs, path, Whose::Root)?);
    }
    // Several names of one profile are one finding.
    let mut ends = BTreeSet::new();
    found.retain(|it| ends.insert(it.end.clone()));
    Ok(found)
}

/// Links in a folder that are no numbered generations.
fn links_in(fs: &Fs, folder: &Path) -> Result<Vec<PathBuf>> {
    let mut found = Vec::new();
    if fs.meta(folder)?.is_none_or(|it| it.kind != Kind::Directory) {
        return Ok(found);
    }
    for name in fs.list(folder)?.into_iter().take(LIMIT) {
        let path = folder.join(name);
        if !is_generation(&path) && fs.read_link(&path)?.is_some() {
            found.push(path);
        }
    }
    Ok(found)
}

fn gone(fs: &Fs, path: PathBuf, whose: Whose) -> Result<Option<DanglingLink>> {
    let Some(end) = end(fs, &path)?.filter(|end| *end != path) else {
        return Ok(None);
    };
    let is_gone = fs.meta(&end)?.is_none();
    let counts = end.starts_with("/nix/store") || is_generation(&end);
    Ok((is_gone && counts).then_some(DanglingLink { path, end, whose }))
}

/// What a path names in the end, there or not; the path itself when it is no link, and `None` when
/// links go round in circles.
pub(super) fn end(fs: &Fs, path: &Path) -> Result<Option<PathBuf>> {
    let mut at = path.to_owned();
    for _ in 0..MAX_LINKS {
        let Some(target) = fs.read_link(&at)? else {
            return Ok(Some(at));
        };
        let folder = at.parent().unwrap_or(Path::new("/"));
        at = normal(&folder.join(target));
    }
    Ok(None)
}

/// `NAME-7-link`.
fn is_generation(path: &Path) -> bool {
    let name = path.file_name().and_then(|name| name.to_str());
    name.and_then(|name| name.strip_suffix("-link"))
        .and_then(|name| name.rsplit_once('-'))
        .is_some_and(|(_, number)| number.parse::<u64>().is_ok())
}

/// The path without `.` and `..`, as it is written.
fn normal(path: &Path) -> PathBuf {
    let mut whole = PathBuf::from("/");
    for part in path.components() {
        match part {
            std::path::Component::Normal(name) => whole.push(name),
            std::path::Component::ParentDir => {
                whole.pop();
            }
            _ => {}
        }
    }
    whole
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::catalogue::facts::testing::Machine;

    fn of(machine: &Machine) -> Vec<(String, Whose)> {
        let all = dangling(&machine.host().fs, None).unwrap();
        all.into_iter()
            .map(|it| (it.path.display().to_string(), it.whose))
            .collect()
    }

    #[test]
    fn a_healthy_tree_has_none() {
        let machine = Machine::new()
            .file("/nix/store/aaa-env/bin/x", "")
            .link("/nix/var/nix/profiles/default", "default-1-link")
            .link("/nix/var/nix/profiles/default-1-link", "/nix/store/aaa-env")
            .link("/nix/var/nix/gcroots/profiles", "/nix/var/nix/profiles")
            .link("/nix/var/nix/gcroots/current", "/run/current-system")
            // What Nix makes in a new home: a link to a profile that has no generation yet.
            .link(
                "/root/.nix-profile",
                "/root/.local/state/nix/profiles/profile",
            );
        assert_eq!(of(&machine), []);
    }

    #[test]
    fn links_to_what_is_gone_are_found_once() {
        let profiles = "/nix/var/nix/profiles";
        let machine = Machine::new()
            .directory("/nix/store")
            .link(&format!("{profiles}/default"), "default-1-link")
            .link(&format!("{profiles}/default-1-link"), "/nix/store/aaa-env")
            .link(&format!("{profiles}/system"), "system-3-link")
            .link(&format!("{profiles}/per-user/jo/profile"), "profile-2-link")
            .link("/root/.nix-profile", &format!("{profiles}/default"))
            .link("/nix/var/nix/gcroots/mine", "/nix/store/bbb");
        let path = |name: &str| format!("{profiles}/{name}");
        assert_eq!(
            of(&machine),
            [
                (path("default"), Whose::Everybodys),
                (path("system"), Whose::Systems),
                (path("per-user/jo/profile"), Whose::Users("jo".to_owned())),
                ("/nix/var/nix/gcroots/mine".to_owned(), Whose::Root),
            ]
        );
    }

    #[test]
    fn loops_end() {
        let machine = Machine::new().link("/nix/var/nix/gcroots/a", "a");
        assert_eq!(of(&machine), []);
    }
}

//! The profile that holds Nix itself, apart from the users' default profile.
//!
//! It is made by `nix-env` in one call that names everything it shall hold: run again, that gives
//! the same environment and therefore no new generation. Profiles are roots of the garbage
//! collector, so what it holds stays.

use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use super::file::SavedFile;
use super::{Context, Description, Presence, ResourceError, Result, Undo, Undone, nix_command};
use crate::host::Host;
use crate::host::fs::Kind;
use crate::payload::Manifest;

/// Largest list of a profile's elements that is read.
const MAX_LIST: u64 = 1 << 20;

/// The environment is put together by Nix itself: it needs neither network, sandbox nor build users,
/// and must not fail for want of one of them.
const BY_ITSELF: [&str; 9] = [
    "--option",
    "substitute",
    "false",
    "--option",
    "sandbox",
    "false",
    "--option",
    "build-users-group",
    "",
];

/// A profile with the packages of a release (Nix and its CA certificates).
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Profile {
    /// Link of the profile: `/nix/var/nix/profiles/nixctl`.
    pub link: PathBuf,
    /// SHA-256 of the archive: names the release's manifest that unpacking kept.
    pub sha256: String,
}

impl Profile {
    /// What it is, for people.
    pub fn describe(&self) -> Description {
        Description {
            id: format!("profile:{}", self.link.display()),
            summary: format!("put Nix into the profile {}", self.link.display()),
            details: vec!["nix-env --install, with the certificates of the release".to_owned()],
        }
    }

    /// Whether it is on the machine as it should be.
    pub fn probe(&self, host: &Host) -> Result<Presence> {
        match host.fs.meta(&self.link)? {
            None => return Ok(Presence::Absent),
            Some(meta) if meta.kind != Kind::Link => {
                let seen = format!("{} is no symbolic link", self.link.display());
                return Ok(Presence::Foreign(seen));
            }
            Some(_) => {}
        }
        let Some(manifest) = Manifest::load(&host.fs, &self.sha256)? else {
            return Ok(Presence::Drifted("the release was not unpacked".to_owned()));
        };
        let Some(elements) = self.elements(host)? else {
            return Ok(Presence::Drifted("the profile leads to nothing".to_owned()));
        };
        let lacking = wanted(&manifest)
            .into_iter()
            .find(|path| !elements.contains(path));
        Ok(match lacking {
            Some(path) => Presence::Drifted(format!("{path} is not in the profile")),
            None => Presence::Present,
        })
    }

    /// Reads what undoing will need: the generation that is current.
    pub fn prepare(&self, host: &Host) -> Result<Undo> {
        match self.probe(host)? {
            Presence::Present => Ok(Undo::Nothing),
            Presence::Absent => Ok(Undo::Created),
            Presence::Foreign(seen) => Err(ResourceError::Foreign {
                id: self.describe().id,
                seen,
            }),
            Presence::Drifted(_) => Ok(match host.fs.read_link(&self.link)? {
                Some(target) => Undo::File(SavedFile::Link { target }),
                None => Undo::Created,
            }),
        }
    }

    /// Makes it so.
    pub fn apply(&self, context: &Context<'_>, undo: &Undo) -> Result<()> {
        let _ = undo;
        self.install(context, &["--remove-all"])
    }

    /// Puts the release into the profile in the place of another version of it; what else the profile
    /// holds stays.
    ///
    /// # Errors
    /// When it could not be done.
    pub fn exchange(&self, context: &Context<'_>) -> Result<()> {
        self.install(context, &[])
    }

    fn install(&self, context: &Context<'_>, more: &[&str]) -> Result<()> {
        let manifest = nix_command::manifest(context.host, &self.sha256, &self.describe().id)?;
        let link = self.link.display().to_string();
        let mut args = vec!["--profile", &link, "--install"];
        args.extend(more);
        args.extend(BY_ITSELF);
        args.extend(wanted(&manifest));
        let command = nix_command::command(context.host, &manifest, "nix-env", &args);
        nix_command::run_with_home(context, &command)?;
        self.rebuild(context, &manifest)
    }

    /// Has Nix build the environment again that it believes to be there, and that is gone.
    fn rebuild(&self, context: &Context<'_>, manifest: &Manifest) -> Result<()> {
        let Some(environment) = self.environment(context.host)? else {
            return Ok(());
        };
        if context.host.fs.meta(&environment)?.is_some() {
            return Ok(());
        }
        let path = environment.display().to_string();
        let args = [&["--repair-path", &path], &BY_ITSELF[..]].concat();
        let command = nix_command::command(context.host, manifest, "nix-store", &args);
        nix_command::run_with_home(context, &command)?;
        Ok(())
    }

    /// Takes it back to what it was.
    pub fn undo(&self, context: &Context<'_>, undo: &Undo) -> Result<Undone> {
        let fs = &context.host.fs;
        nix_command::remove_home(context.host)?;
        let kept = match undo {
            Undo::Created => 0,
            Undo::File(SavedFile::Link { target }) => {
                if fs.read_link(&self.link)?.as_ref() != Some(target) {
                    fs.symlink(target, &self.link)?;
                }
                target
                    .to_str()
                    .and_then(|name| self.generation(name))
                    .unwrap_or(u64::MAX)
            }
            _ => return Ok(Undone::Clean),
        };
        let Some(folder) = self.link.parent().filter(|folder| fs.is_dir(folder)) else {
            return Ok(Undone::Clean);
        };
        if kept == 0 {
            fs.remove_file(&self.link)?;
        }
        for name in fs.list(folder)? {
            let ours = name.to_str().is_some_and(|name| {
                self.generation(name).is_some_and(|number| number > kept) || self.is_lock(name)
            });
            if ours {
                fs.remove_file(&folder.join(name))?;
            }
        }
        Ok(Undone::Clean)
    }

    /// The environment that the profile leads to, there or not.
    fn environment(&self, host: &Host) -> Result<Option<PathBuf>> {
        let mut at = self.link.clone();
        // From the profile to its generation, and from there to the environment.
        for _ in 0..2 {
            let Some(target) = host.fs.read_link(&at)? else {
                return Ok(None);
            };
            at = at
                .parent()
                .map_or_else(|| target.clone(), |folder| folder.join(&target));
        }
        Ok(Some(at))
    }

    /// Whether the current generation was made by `nix-env` and holds this store path.
    ///
    /// # Errors
    /// When it cannot be read.
    pub fn holds(&self, host: &Host, path: &str) -> Result<bool> {
        let elements = self.elements(host)?;
        Ok(elements.is_some_and(|elements| elements.contains(path)))
    }

    /// What the list of the current generation names.
    fn elements(&self, host: &Host) -> Result<Option<String>> {
        match self.environment(host)? {
            Some(environment) => list_of(host, &environment),
            None => Ok(None),
        }
    }

    /// The generations besides the current one that hold this store path: name of the link and where
    /// it leads.
    ///
    /// # Errors
    /// When they cannot be read.
    pub fn others_with(&self, host: &Host, path: &str) -> Result<Vec<(PathBuf, PathBuf)>> {
        let Some(folder) = self.link.parent().filter(|folder| host.fs.is_dir(folder)) else {
            return Ok(Vec::new());
        };
        let current = host.fs.read_link(&self.link)?;
        let mut found = Vec::new();
        for name in host.fs.list(folder)? {
            let is_other = current.as_ref().is_none_or(|it| it.as_os_str() != name);
            let is_one = name
                .to_str()
                .is_some_and(|it| self.generation(it).is_some());
            let link = folder.join(&name);
            if !is_one || !is_other {
                continue;
            }
            if let Some(environment) = host.fs.read_link(&link)?
                && list_of(host, &environment)?.is_some_and(|list| list.contains(path))
            {
                found.push((link, environment));
            }
        }
        found.sort();
        Ok(found)
    }

    /// Number of a generation of this profile, from its name `LINK-N-link`.
    fn generation(&self, name: &str) -> Option<u64> {
        let name = Path::new(name).file_name()?.to_str()?;
        let own = self.link.file_name()?.to_str()?;
        name.strip_prefix(own)?
            .strip_prefix('-')?
            .strip_suffix("-link")?
            .parse()
            .ok()
    }

    fn is_lock(&self, name: &str) -> bool {
        let own = self.link.file_name().and_then(|name| name.to_str());
        own.is_some_and(|own| name.strip_prefix(own) == Some(".lock"))
    }
}

/// The list of what an environment holds.
fn list_of(host: &Host, environment: &Path) -> Result<Option<String>> {
    let list = environment.join("manifest.nix");
    let file = host.fs.read_link(&list)?.unwrap_or(list);
    let bytes = host.fs.read(&file, MAX_LIST)?;
    Ok(bytes.map(|bytes| String::from_utf8_lossy(&bytes).into_owned()))
}

fn wanted(manifest: &Manifest) -> Vec<&str> {
    std::iter::once(&manifest.nix)
        .chain(&manifest.cacert)
        .map(String::as_str)
        .collect()
}

#[cfg(test)]
mod tests {
    use super::super::testing::{Machine, make, undone};
    use super::super::{Resource, nix_testing as release};
    use super::*;
    use crate::host::Output;
    use crate::host::fake::Answer;

    const LINK: &str = "/nix/var/nix/profiles/nixctl";

    /// A machine whose nix-env makes generation `number`, as the real one does.
    fn machine(number: u32) -> Machine {
        let machine = Machine::new();
        release::unpacked(&machine);
        std::fs::create_dir_all(machine.path("/nix/var/nix/profiles")).unwrap();
        let root = machine.dir.path().to_owned();
        let effect = move |command: &crate::host::Command| {
            let store = root.join("nix/store/2123456789abcdfghijklmnpqrsvwxyz-user-environment");
            std::fs::create_dir_all(&store).unwrap();
            let named: Vec<&String> = command
                .args
                .iter()
                .filter(|arg| arg.starts_with("/nix/store/"))
                .collect();
            std::fs::write(store.join("manifest.nix"), format!("{named:?}")).unwrap();
            let profiles = root.join("nix/var/nix/profiles");
            let name = format!("nixctl-{number}-link");
            let target = "/nix/store/2123456789abcdfghijklmnpqrsvwxyz-user-environment";
            let _ = std::fs::remove_file(profiles.join("nixctl"));
            let _ = std::os::unix::fs::symlink(target, profiles.join(&name));
            std::os::unix::fs::symlink(&name, profiles.join("nixctl")).unwrap();
            Output::default()
        };
        machine.exec.answer("chroot", &[], Answer::effect(effect));
        machine
    }

    fn profile() -> Resource {
        Resource::Profile(Profile {
            link: LINK.into(),
            sha256: release::SHA256.into(),
        })
    }

    #[test]
    fn a_new_profile_holds_the_release_and_goes_without_a_trace() {
        let machine = machine(1);
        assert_eq!(profile().probe(&machine.host).unwrap(), Presence::Absent);
        let undo = make(&machine, &profile()).unwrap();
        assert_eq!(undo, Undo::Created);
        assert_eq!(profile().probe(&machine.host).unwrap(), Presence::Present);
        let line = machine.exec.lines().pop().unwrap();
        assert!(line.contains(&format!("--profile {LINK}")), "{line}");
        assert!(
            line.ends_with(&format!("{} {}", release::NIX, release::CERTS)),
            "{line}"
        );
        machine.put("/nix/var/nix/profiles/nixctl.lock", "");
        machine.put("/nix/var/nix/profiles/default-1-link", "");
        machine.put("/nix/var/nix/profiles/nixctl-2-linked", "");
        for _ in 0..2 {
            assert_eq!(undone(&machine, &profile(), &undo), None);
            let names = machine
                .host
                .fs
                .list("/nix/var/nix/profiles".as_ref())
                .unwrap();
            assert_eq!(names, ["default-1-link", "nixctl-2-linked"]);
        }
    }

    #[test]
    fn an_earlier_generation_comes_back() {
        let machine = machine(5);
        let profiles = machine.path("/nix/var/nix/profiles");
        for number in [3, 4] {
            std::os::unix::fs::symlink(
                "/nix/store/old",
                profiles.join(format!("nixctl-{number}-link")),
            )
            .unwrap();
        }
        std::os::unix::fs::symlink("nixctl-4-link", profiles.join("nixctl")).unwrap();
        assert!(matches!(
            profile().probe(&machine.host).unwrap(),
            Presence::Drifted(_)
        ));
        let undo = make(&machine, &profile()).unwrap();
        assert_eq!(profile().probe(&machine.host).unwrap(), Presence::Present);
        assert_eq!(undone(&machine, &profile(), &undo), None);
        assert_eq!(
            std::fs::read_link(profiles.join("nixctl")).unwrap(),
            Path::new("nixctl-4-link")
        );
        assert!(!profiles.join("nixctl-5-link").is_symlink());
        assert!(profiles.join("nixctl-3-link").is_symlink());
    }

    #[test]
    fn something_else_in_the_place_is_left_alone() {
        let machine = machine(1);
        machine.put(LINK, "a file");
        assert!(matches!(
            profile().probe(&machine.host).unwrap(),
            Presence::Foreign(_)
        ));
        assert!(profile().prepare(&machine.host).is_err());
    }
}

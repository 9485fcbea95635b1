//! Which Nix is installed, which one nix-daemon runs, and which others are found first.

use std::path::{Path, PathBuf};

use super::{Expected, Result, Scene, homes, text};
use crate::catalogue::existing::store_version;
use crate::catalogue::facts::links::follow;
use crate::catalogue::linux::SERVICE_UNIT;

/// Control group of the service.
const GROUP: &str = "/sys/fs/cgroup/system.slice/nix-daemon.service/cgroup.procs";
const GROUP_LIMIT: u64 = 1 << 20;
/// Where another Nix would be found before ours.
pub(crate) const OTHERS: [&str; 4] = [
    "/usr/local/bin/nix",
    "/nix/var/nix/profiles/default/bin/nix",
    "/root/.nix-profile/bin/nix",
    "/root/.local/state/nix/profile/bin/nix",
];

/// Where a user has a Nix of the own profile, in the home.
const OF_A_USER: [&str; 2] = [".nix-profile/bin/nix", ".local/state/nix/profile/bin/nix"];

/// Versions.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct VersionFacts {
    /// Version of the Nix that is ours.
    pub ours: Option<String>,
    /// Store path of the program in our profile.
    pub installed: Option<String>,
    /// What nix-daemon runs.
    pub running: Option<Running>,
    /// Programs that may be found first, with their versions.
    pub others: Vec<(PathBuf, String)>,
}

/// A nix-daemon that runs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Running {
    /// Unit.
    pub unit: String,
    /// Store path of its program.
    pub path: String,
    /// Whether it works for somebody: it has children.
    pub is_busy: bool,
}

pub(super) fn look(scene: &Scene<'_>, expected: &Expected) -> Result<VersionFacts> {
    let fs = &scene.host.fs;
    let mut facts = VersionFacts {
        ours: expected.manifest.as_ref().map(|it| it.version.clone()),
        installed: None,
        running: running(scene)?,
        others: Vec::new(),
    };
    let Some(profile) = &expected.profile else {
        return Ok(facts);
    };
    if let Some(found) = follow(fs, &profile.link.join("bin/nix-daemon"))? {
        facts.installed = store_path(&found.path);
    }
    let homes = homes::of_people(scene)?;
    let of_users = homes
        .iter()
        .flat_map(|home| OF_A_USER.map(|it| home.join(it)));
    for path in OTHERS.map(PathBuf::from).into_iter().chain(of_users) {
        if let Some(found) = follow(fs, &path)? {
            let version = found.store_names().find_map(store_version);
            facts.others.extend(version.map(|it| (path, it.to_owned())));
        }
    }
    Ok(facts)
}

/// The first process of the service's control group is the daemon; the others are its children.
fn running(scene: &Scene<'_>) -> Result<Option<Running>> {
    let fs = &scene.host.fs;
    let list = text(fs, Path::new(GROUP), GROUP_LIMIT)?.unwrap_or_default();
    let processes: Vec<&str> = list.lines().collect();
    let Some(first) = processes.first().filter(|it| it.parse::<u32>().is_ok()) else {
        return Ok(None);
    };
    // It may have ended since.
    let program = fs.read_link(&Path::new("/proc").join(first).join("exe"));
    let path = program.ok().flatten().and_then(|it| store_path(&it));
    Ok(path.map(|path| Running {
        unit: SERVICE_UNIT.to_owned(),
        path,
        is_busy: processes.len() > 1,
    }))
}

/// The store path that a program lies in.
fn store_path(program: &Path) -> Option<String> {
    let name = program.strip_prefix("/nix/store").ok()?.iter().next()?;
    Some(format!("/nix/store/{}", name.to_str()?))
}

#[cfg(test)]
mod tests {
    use super::super::testing::look_at;
    use super::super::{Area, Facts};
    use super::*;
    use crate::catalogue::facts::testing::Machine;
    use crate::resource::Resource;
    use crate::resource::profile::Profile;

    const OLD: &str = "/nix/store/0123456789abcdfghijklmnpqrsvwxyz-nix-2.26.3";
    const NEW: &str = "/nix/store/1123456789abcdfghijklmnpqrsvwxyz-nix-2.34.8";

    #[test]
    fn the_program_that_runs_is_told_from_the_one_that_is_installed() {
        let profile = Resource::Profile(Profile {
            link: "/nix/var/nix/profiles/nixctl".into(),
            sha256: "aa".to_owned(),
        });
        let machine = Machine::new()
            .file(&format!("{NEW}/bin/nix"), "")
            .link(&format!("{NEW}/bin/nix-daemon"), "nix")
            .link("/nix/var/nix/profiles/nixctl", NEW)
            .file(&format!("{OLD}/bin/nix"), "")
            .link("/nix/var/nix/profiles/default", OLD)
            .file(GROUP, "70\n71\n")
            .link("/proc/70/exe", &format!("{OLD}/bin/nix"));
        let Facts::Versions(facts) = look_at(&machine, &[profile], Area::Versions) else {
            panic!()
        };
        assert_eq!(facts.installed.as_deref(), Some(NEW));
        let running = facts.running.unwrap();
        assert_eq!((running.path.as_str(), running.is_busy), (OLD, true));
        let path = PathBuf::from("/nix/var/nix/profiles/default/bin/nix");
        assert_eq!(facts.others, [(path, "2.26.3".to_owned())]);
    }

    #[test]
    fn another_nix_is_seen_beside_the_system_and_in_a_home() {
        let profile = Resource::Profile(Profile {
            link: "/nix/var/nix/profiles/nixctl".into(),
            sha256: "aa".to_owned(),
        });
        let machine = Machine::new()
            .file(&format!("{OLD}/bin/nix"), "")
            .link("/usr/local/bin/nix", &format!("{OLD}/bin/nix"))
            .file("/etc/passwd", "jo:x:1000:1000::/home/jo:/bin/sh\n")
            .link("/home/jo/.nix-profile", OLD);
        let Facts::Versions(facts) = look_at(&machine, &[profile], Area::Versions) else {
            panic!()
        };
        let seen = ["/usr/local/bin/nix", "/home/jo/.nix-profile/bin/nix"];
        assert_eq!(
            facts.others,
            seen.map(|path| (PathBuf::from(path), "2.26.3".to_owned()))
        );
    }

    #[test]
    fn without_a_daemon_nothing_runs() {
        let Facts::Versions(facts) = look_at(&Machine::new(), &[], Area::Versions) else {
            panic!()
        };
        assert_eq!((facts.running, facts.installed), (None, None));
    }
}

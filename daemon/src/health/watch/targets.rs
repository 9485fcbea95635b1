//! Everything whose change can make or end a finding, as targets of the watch. Pure.
//!
//! A machine in use must stay quiet here: builds, `nix-env`, logins and upgrades of other things
//! are to cause no round, and hardly an event. So whatever is written all the time counts only as
//! being there (Nix's database, links of profiles), or is left to the timer: the store itself, the
//! lists of what binary caches have, room on disks. Each row says why it is quiet.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use nixctl_proto::health::check::Area;
use nixctl_proto::settings::Settings;

use super::ground::Ground;
use super::plan::{Counts, Target};
use crate::catalogue::facts::leftovers::{BACKUP_SUFFIX, UNIT_DIR};
use crate::catalogue::facts::shells::{CA_BUNDLES, RC_FILES};
use crate::catalogue::linux::{SERVICE_UNIT, SOCKET_UNIT};
use crate::catalogue::own;
use crate::health::look::conf::NIX_CONF;
use crate::health::look::database::{DATABASE, SCHEMA};
use crate::health::look::leftovers::{OF_ROOT, RECEIPTS};
use crate::health::look::mounts::FSTAB;
use crate::health::look::tree::FOLDERS;
use crate::health::look::versions::OTHERS;
use crate::health::look::{owned, shells};
use crate::resource::Resource;

/// The databases of users: changed when accounts are, not at logins.
const ACCOUNTS: [&str; 3] = ["/etc/passwd", "/etc/group", "/etc/nsswitch.conf"];
/// Folders in which a unit's file is searched for, and those with links to what a boot starts. An
/// upgrade of packages puts files of others beside them.
const UNIT_DIRS: [&str; 2] = [UNIT_DIR, "/run/systemd/system"];
const WANTS: [&str; 2] = ["multi-user.target.wants", "sockets.target.wants"];
/// Links of profiles of everybody, and roots of the garbage collector; those of builds lie a folder
/// deeper. Changed when root changes a profile.
const LINKS: [&str; 3] = [
    "/nix/var/nix/profiles",
    "/nix/var/nix/profiles/per-user/root",
    "/nix/var/nix/gcroots",
];
/// Root's own profiles. What root does at home comes and goes beside them.
const PROFILES_OF_ROOT: [&str; 2] = ["/root/.nix-profile", "/root/.local/state/nix/profile"];
/// Programs of a distribution's own package.
const PACKAGED: [&str; 2] = ["/usr/bin/nix", "/usr/bin/nix-daemon"];

/// What is to be watched, each once.
pub fn targets(owned: &[Resource], settings: &Settings, ground: &Ground) -> Vec<Target> {
    let mut all = Targets::default();
    for resource in owned {
        all.of_resource(resource);
    }
    if owned.iter().any(|it| matches!(it, Resource::NixTree(_))) {
        all.of_store(ground);
        all.of_others();
    }
    for entry in &settings.managed {
        all.add(&entry.path, Area::Own, Counts::Content);
        if let Some(source) = &entry.source {
            all.add(source, Area::Own, Counts::Content);
        }
    }
    all.0.into_iter().collect()
}

/// The same with the ends of those that are links: what they lead to may be written, too.
pub fn with_ends(targets: Vec<Target>, end: &dyn Fn(&Path) -> Option<PathBuf>) -> Vec<Target> {
    let ends = targets.iter().filter(|it| it.counts == Counts::Content);
    let ends = ends.filter_map(|it| {
        let path = end(&it.path).filter(|end| *end != it.path)?;
        Some(Target { path, ..it.clone() })
    });
    let all: BTreeSet<Target> = ends.chain(targets.iter().cloned()).collect();
    all.into_iter().collect()
}

#[derive(Default)]
struct Targets(BTreeSet<Target>);

impl Targets {
    fn add(&mut self, path: impl Into<PathBuf>, area: Area, counts: Counts) {
        self.insert(path.into(), area, counts, false);
    }

    /// A folder with all that is in it.
    fn inside(&mut self, path: impl Into<PathBuf>, area: Area, counts: Counts) {
        self.insert(path.into(), area, counts, true);
    }

    fn insert(&mut self, path: PathBuf, area: Area, counts: Counts, inside: bool) {
        // Relative ones are refused elsewhere.
        if path.is_absolute() {
            self.0.insert(Target {
                path,
                area: area.name().to_owned(),
                inside,
                counts,
            });
        }
    }

    fn of_resource(&mut self, resource: &Resource) {
        match resource {
            Resource::Directory(it) => self.add(&it.path, Area::Own, Counts::Rights),
            Resource::File(it) => {
                let area = match resource {
                    it if shells::is_shell_area(it) => Area::Shells,
                    it if owned::is_daemon_unit(it) => Area::Daemon,
                    _ => Area::Own,
                };
                self.add(&it.path, area, Counts::Content);
                if area == Area::Daemon {
                    self.add(&it.path, Area::Own, Counts::Rights);
                }
            }
            // A start-up file of everybody, changed by upgrades of its shell and by hand.
            Resource::Block(it) => self.add(&it.path, Area::Shells, Counts::Content),
            Resource::Tmpfiles(it) => self.add(&it.path, Area::Own, Counts::Content),
            Resource::Program(it) => self.add(&it.path, Area::Own, Counts::Content),
            Resource::Group(_) => self.add("/etc/group", Area::Own, Counts::Content),
            Resource::BuildUsers(_) => {
                for path in ACCOUNTS {
                    self.add(path, Area::Accounts, Counts::Content);
                }
            }
            Resource::Profile(it) => {
                self.add(&it.link, Area::Tree, Counts::Being);
                self.add(&it.link, Area::Versions, Counts::Being);
            }
            Resource::NixConf(_) => self.add(NIX_CONF, Area::Conf, Counts::Content),
            Resource::Service(it) => {
                let area = match own::is_own(resource) {
                    true => Area::Own,
                    false => Area::Daemon,
                };
                for unit in it.enable.iter().chain(&it.start) {
                    self.of_unit(unit, area);
                }
            }
            // Loading a policy writes elsewhere in each distribution: the timer looks.
            Resource::Selinux(_) => self.add("/etc/selinux/config", Area::Selinux, Counts::Content),
            // The store is written by every build.
            Resource::NixTree(_) | Resource::Payload(_) | Resource::Registration(_) => {}
        }
    }

    /// Files, additions and links of one unit: written by administrators and installers only.
    fn of_unit(&mut self, unit: &str, area: Area) {
        for folder in UNIT_DIRS.map(Path::new) {
            self.add(folder.join(unit), area, Counts::Content);
            self.inside(folder.join(format!("{unit}.d")), area, Counts::Content);
        }
        for wants in WANTS {
            let link = Path::new(UNIT_DIR).join(wants).join(unit);
            self.add(link, area, Counts::Being);
        }
    }

    fn of_store(&mut self, ground: &Ground) {
        // Being and rights of folders, heard from the folders they lie in. Nix makes its lock and
        // its sockets there once; paths are made in the store, which nobody listens to.
        for path in FOLDERS.iter().chain(&["/nix/store"]) {
            self.add(*path, Area::Tree, Counts::Rights);
        }
        self.add("/nix", Area::Mounts, Counts::Being);
        self.add("/nix/store", Area::Accounts, Counts::Rights);
        // A build writes the database and its log: only another file in its place counts. The
        // version is written when Nix is upgraded.
        self.add(DATABASE, Area::Database, Counts::Being);
        self.add(SCHEMA, Area::Database, Counts::Content);
        for path in LINKS {
            self.inside(path, Area::Tree, Counts::Being);
        }
        for path in PROFILES_OF_ROOT {
            self.add(path, Area::Tree, Counts::Being);
        }
        self.add(FSTAB, Area::Mounts, Counts::Content);
        for point in &ground.points {
            let name = nixctl_planner::units::escape_path(&point.to_string_lossy());
            let path = Path::new(UNIT_DIR).join(format!("{name}.mount"));
            self.add(&path, Area::Mounts, Counts::Content);
        }
        // Names of devices come and go with them. Their content is the store: it does not count.
        for source in &ground.sources {
            self.add(source, Area::Mounts, Counts::Being);
        }
        for path in &ground.includes {
            self.add(path, Area::Conf, Counts::Content);
        }
        for path in &ground.named {
            self.add(path, Area::Conf, Counts::Being);
        }
        // Made anew when the system's certificates are updated.
        for path in CA_BUNDLES {
            self.add(path, Area::Tls, Counts::Content);
            self.add(path, Area::Conf, Counts::Being);
        }
    }

    /// Traces of other installations, which are there or not.
    fn of_others(&mut self) {
        for unit in [SOCKET_UNIT, SERVICE_UNIT] {
            self.of_unit(unit, Area::Daemon);
        }
        for path in OTHERS.iter().chain(&["/nix/var/nix/profiles/default"]) {
            self.add(*path, Area::Versions, Counts::Being);
        }
        for path in RECEIPTS.iter().chain(&PACKAGED).chain(&["/etc/static"]) {
            self.add(*path, Area::Leftovers, Counts::Being);
        }
        for path in RC_FILES {
            let copy = format!("{path}{BACKUP_SUFFIX}");
            self.add(copy, Area::Leftovers, Counts::Being);
        }
        // Root edits these; a shell's history lies beside them and is not listened to.
        for path in OF_ROOT {
            self.add(path, Area::Leftovers, Counts::Content);
        }
    }
}

#[cfg(test)]
#[path = "targets_tests.rs"]
mod tests;

//! What other installers of Nix, and systems that once managed /etc, left behind.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use super::{At, Expected, Result, Scene, homes, text};
use crate::catalogue::existing::{ExistingKind, package};
use crate::catalogue::facts::leftovers::{self as known, LeftoverKind};
use crate::catalogue::facts::shells::rc_files;

/// What other installers go on owning.
pub(crate) const RECEIPTS: [&str; 5] = [
    "/nix/receipt.json",
    "/nix/nix-installer",
    "/usr/local/bin/determinate-nixd",
    "/etc/systemd/system/determinate-nixd.socket",
    "/nix/var/determinate",
];
/// Start-up files of root that an installation without a daemon adds a marked line to.
pub(crate) const OF_ROOT: [&str; 4] = [
    "/root/.profile",
    "/root/.bash_profile",
    "/root/.bash_login",
    "/root/.zshenv",
];
/// The same files of other people, in their homes.
const OF_A_USER: [&str; 4] = [".profile", ".bash_profile", ".bash_login", ".zshenv"];
/// That mark.
const MARK: &str = "# added by Nix installer";
const RC_LIMIT: u64 = 1 << 20;

/// Leftovers.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct LeftoverFacts {
    /// Links into /etc/static and that folder itself, with what was seen.
    pub statics: Vec<(PathBuf, String)>,
    /// Receipts, uninstallers and daemons of others.
    pub receipts: Vec<PathBuf>,
    /// Copies of start-up files that differ from them.
    pub backups: Vec<(PathBuf, String)>,
    /// A program of a distribution's package, and who manages that.
    pub package: Option<(String, String)>,
    /// Traces of an installation for a single user.
    pub single_user: Vec<(PathBuf, String)>,
}

pub(super) fn look(scene: &Scene<'_>, expected: &Expected) -> Result<LeftoverFacts> {
    let fs = &scene.host.fs;
    let mut facts = LeftoverFacts::default();
    // On NixOS these are how the system works; without a Nix of ours nothing is in its way.
    let is_nixos = At::look(fs, "/etc/NIXOS")?.meta.is_some();
    if is_nixos || expected.tree.is_none() {
        return Ok(facts);
    }
    for left in known::read(fs, &rc_files(fs)?, &BTreeSet::new())? {
        match left.kind {
            LeftoverKind::StaticLink => facts.statics.push((left.path, left.seen)),
            LeftoverKind::Backup => facts.backups.push((left.path, left.seen)),
            LeftoverKind::Unit
            | LeftoverKind::MaskedUnit
            | LeftoverKind::DropIn
            | LeftoverKind::ProfileScript
            | LeftoverKind::DanglingBundle => {}
        }
    }
    for path in RECEIPTS.map(PathBuf::from) {
        if At::look(fs, &path)?.meta.is_some() {
            facts.receipts.push(path);
        }
    }
    if let Some((ExistingKind::DistributionPackage(manager), seen)) = package(fs)? {
        facts.package = seen.into_iter().next().map(|program| (program, manager));
    }
    let homes = homes::of_people(scene)?;
    let of_users = homes
        .iter()
        .flat_map(|home| OF_A_USER.map(|it| home.join(it)));
    for path in OF_ROOT.map(PathBuf::from).into_iter().chain(of_users) {
        let at = At::look(fs, &path)?;
        let is_small = at.is_file() && at.meta.is_some_and(|meta| meta.size <= RC_LIMIT);
        if is_small && text(fs, &path, RC_LIMIT)?.is_some_and(|it| it.contains(MARK)) {
            let seen = format!("it has a line `{MARK}`");
            facts.single_user.push((path, seen));
        }
    }
    let store = At::look(fs, "/nix/store")?;
    if let Some(meta) = store.meta.filter(|meta| meta.uid >= FIRST_USER) {
        let seen = format!("the store belongs to the user with the id {}", meta.uid);
        facts
            .single_user
            .push((Path::new("/nix/store").into(), seen));
    }
    Ok(facts)
}

/// Ids from here on are those of people.
const FIRST_USER: u32 = 1000;

#[cfg(test)]
mod tests {
    use super::super::testing::look_at;
    use super::super::{Area, Facts};
    use super::*;
    use crate::catalogue::facts::testing::Machine;
    use crate::resource::Resource;
    use crate::resource::nix_tree::NixTree;

    fn of(machine: &Machine) -> LeftoverFacts {
        let tree = Resource::NixTree(NixTree {
            store_gid: 0,
            keep: false,
        });
        match look_at(machine, &[tree], Area::Leftovers) {
            Facts::Leftovers(facts) => facts,
            other => panic!("{other:?}"),
        }
    }

    fn full() -> Machine {
        Machine::new()
            .directory("/etc/static")
            .file("/nix/receipt.json", "{}")
            .file("/etc/bashrc", "a\n")
            .file("/etc/bashrc.backup-before-nix", "b\n")
            .file("/usr/bin/nix", "")
            .file("/var/lib/dpkg/info/nix-bin.list", "")
            .file(
                "/root/.profile",
                "if x; then . y; fi # added by Nix installer\n",
            )
    }

    #[test]
    fn each_is_found() {
        let facts = of(&full());
        assert_eq!(facts.statics.len(), 1);
        assert_eq!(facts.receipts, [Path::new("/nix/receipt.json")]);
        assert_eq!(facts.backups.len(), 1);
        assert_eq!(facts.package.unwrap().1, "dpkg");
        assert_eq!(facts.single_user[0].0, Path::new(OF_ROOT[0]));
    }

    #[test]
    fn a_user_with_a_nix_of_their_own_is_found() {
        let machine = Machine::new()
            .file("/etc/passwd", "jo:x:1000:1000::/home/jo:/bin/sh\n")
            .file("/home/jo/.profile", "fine\n. x # added by Nix installer\n");
        assert_eq!(
            of(&machine).single_user[0].0,
            Path::new("/home/jo/.profile")
        );
    }

    #[test]
    fn on_nixos_and_on_a_clean_machine_there_is_nothing() {
        assert_eq!(of(&full().file("/etc/NIXOS", "")), LeftoverFacts::default());
        assert_eq!(of(&Machine::new()), LeftoverFacts::default());
    }
}

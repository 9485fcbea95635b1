//! What earlier installs of Nix, by others, left behind.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use super::shells::{RcFile, RcState, dangling_ca_bundles};
use crate::catalogue::existing::is_shipped;
use crate::catalogue::files::{
    BLOCK_FISH, BLOCK_SH, NIX_DAEMON_SERVICE, NIX_DAEMON_SOCKET, OWN_BLOCK_BEGIN, common_part,
};
use crate::host::fs::Kind;
use crate::host::{Fs, FsError};

/// Ending of the copies that the official script makes of start-up files.
pub const BACKUP_SUFFIX: &str = ".backup-before-nix";
/// Folder of units that administrators and installers write.
pub const UNIT_DIR: &str = "/etc/systemd/system";
/// Units of Nix's daemon.
pub const UNITS: [&str; 2] = ["nix-daemon.service", "nix-daemon.socket"];

/// Largest file that is read.
const LIMIT: u64 = 4 << 20;

/// Something left behind.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Leftover {
    /// What it is.
    pub kind: LeftoverKind,
    /// Where it is.
    pub path: PathBuf,
    /// What was seen, for people.
    pub seen: String,
}

/// Kinds of leftovers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LeftoverKind {
    /// A copy of a start-up file that differs from the file today.
    Backup,
    /// A link into /etc/static, which nix-darwin and NixOS make.
    StaticLink,
    /// A unit that is not ours.
    Unit,
    /// A unit that was made impossible to start.
    MaskedUnit,
    /// A folder with additions to a unit.
    DropIn,
    /// /etc/profile.d/nix.sh with other content than a known block.
    ProfileScript,
    /// A CA bundle that is a link to nothing.
    DanglingBundle,
}

/// Everything that is in the way, but for paths that are ours.
pub(crate) fn read(
    fs: &Fs,
    rc_files: &[RcFile],
    owned: &BTreeSet<PathBuf>,
) -> Result<Vec<Leftover>, FsError> {
    let mut found = Vec::new();
    for rc in rc_files {
        found.extend(backup(fs, rc)?);
        found.extend(static_link(rc));
        found.extend(profile_script(rc, owned));
    }
    if fs.meta(Path::new("/etc/static"))?.is_some() {
        found.push(leftover(
            LeftoverKind::StaticLink,
            "/etc/static",
            "a folder of nix-darwin or NixOS",
        ));
    }
    for unit in UNITS {
        found.extend(unit_file(fs, unit, owned)?);
        found.extend(drop_in(fs, unit, owned)?);
    }
    for (path, target) in dangling_ca_bundles(fs)? {
        let seen = format!("a link to {}, which is not there", target.display());
        found.push(Leftover {
            kind: LeftoverKind::DanglingBundle,
            path,
            seen,
        });
    }
    Ok(found)
}

fn leftover(kind: LeftoverKind, path: impl Into<PathBuf>, seen: &str) -> Leftover {
    Leftover {
        kind,
        path: path.into(),
        seen: seen.to_owned(),
    }
}

/// Where the copy of a start-up file would be.
pub fn backup_path(rc: &Path) -> PathBuf {
    let mut name = rc.as_os_str().to_owned();
    name.push(BACKUP_SUFFIX);
    PathBuf::from(name)
}

fn backup(fs: &Fs, rc: &RcFile) -> Result<Option<Leftover>, FsError> {
    let path = backup_path(&rc.path);
    let Some(meta) = fs.meta(&path)? else {
        return Ok(None);
    };
    let saved = match meta.kind {
        Kind::File if meta.size <= LIMIT => fs.read(&path, LIMIT)?,
        _ => None,
    };
    let today = match &rc.state {
        RcState::Regular(text) => Some(without_blocks(text)),
        RcState::Absent { .. } | RcState::Link(_) => None,
    };
    let same = match (saved, today) {
        (Some(saved), Some(today)) => saved == today.as_bytes(),
        _ => false,
    };
    let seen = format!("a copy of {} that differs from it", rc.path.display());
    Ok((!same).then_some(Leftover {
        kind: LeftoverKind::Backup,
        path,
        seen,
    }))
}

fn static_link(rc: &RcFile) -> Option<Leftover> {
    let RcState::Link(target) = &rc.state else {
        return None;
    };
    target.starts_with("/etc/static").then(|| Leftover {
        kind: LeftoverKind::StaticLink,
        path: rc.path.clone(),
        seen: format!("a link to {}", target.display()),
    })
}

/// Only a file that holds more than known blocks is in the way: it is a package's or a person's.
fn profile_script(rc: &RcFile, owned: &BTreeSet<PathBuf>) -> Option<Leftover> {
    let RcState::Regular(text) = &rc.state else {
        return None;
    };
    let ours = owned.contains(&rc.path) || text.contains(OWN_BLOCK_BEGIN);
    if rc.path != Path::new(BLOCK_SH.path) || ours || without_blocks(text).trim().is_empty() {
        return None;
    }
    Some(leftover(
        LeftoverKind::ProfileScript,
        &rc.path,
        "a script of another installation of Nix",
    ))
}

fn unit_file(fs: &Fs, unit: &str, owned: &BTreeSet<PathBuf>) -> Result<Option<Leftover>, FsError> {
    let path = Path::new(UNIT_DIR).join(unit);
    if owned.contains(&path) {
        return Ok(None);
    }
    let Some(meta) = fs.meta(&path)? else {
        return Ok(None);
    };
    for shipped in [NIX_DAEMON_SERVICE, NIX_DAEMON_SOCKET] {
        if Path::new(shipped.path) == path && is_shipped(fs, shipped)? {
            return Ok(None);
        }
    }
    Ok(Some(match (meta.kind, fs.read_link(&path)?) {
        (Kind::Link, Some(target)) if target == Path::new("/dev/null") => leftover(
            LeftoverKind::MaskedUnit,
            path,
            "a masked unit (a link to /dev/null)",
        ),
        (Kind::Link, Some(target)) => {
            let seen = format!("a unit that is a link to {}", target.display());
            Leftover {
                kind: LeftoverKind::Unit,
                path,
                seen,
            }
        }
        _ => leftover(LeftoverKind::Unit, path, "a unit that nixctl did not write"),
    }))
}

fn drop_in(fs: &Fs, unit: &str, owned: &BTreeSet<PathBuf>) -> Result<Option<Leftover>, FsError> {
    let path = Path::new(UNIT_DIR).join(format!("{unit}.d"));
    if owned.contains(&path) {
        return Ok(None);
    }
    let is_folder = fs
        .meta(&path)?
        .is_some_and(|meta| meta.kind == Kind::Directory);
    if !is_folder || fs.list(&path)?.is_empty() {
        return Ok(None);
    }
    let seen = format!("additions to {unit} that nixctl did not write");
    Ok(Some(Leftover {
        kind: LeftoverKind::DropIn,
        path,
        seen,
    }))
}

/// Blocks that known installers write: the one of Determinate and the NixOS fork, which is also
/// ours, and the one of the official script, which indents by two.
fn known_blocks() -> [String; 4] {
    let two = |block: &str| {
        block
            .replace("\n    .", "\n  .")
            .replace("\n\n        \n", "\n\n")
    };
    let (sh, fish) = (common_part(BLOCK_SH), common_part(BLOCK_FISH));
    [sh.to_owned(), fish.to_owned(), two(sh), two(fish)]
}

/// The block that an installer wrote into a start-up file, exactly as it stands there, when
/// there is one and it is not ours.
pub fn foreign_block(text: &str) -> Option<String> {
    known_blocks().into_iter().find(|block| {
        text.split_once(block.as_str())
            .is_some_and(|(_, after)| !after.starts_with(OWN_BLOCK_BEGIN))
    })
}

fn without_blocks(text: &str) -> String {
    known_blocks().iter().fold(text.to_owned(), |text, block| {
        text.replacen(block.as_str(), "", 1)
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::catalogue::facts::shells::rc_files;
    use crate::catalogue::facts::testing::Machine;

    fn kinds(machine: Machine, owned: &[&str]) -> Vec<LeftoverKind> {
        let fs = machine.host().fs;
        let owned = owned.iter().map(PathBuf::from).collect();
        let found = read(&fs, &rc_files(&fs).unwrap(), &owned).unwrap();
        found.into_iter().map(|leftover| leftover.kind).collect()
    }

    #[test]
    fn a_clean_machine_has_none() {
        assert_eq!(
            kinds(Machine::new().file("/etc/bash.bashrc", "x\n"), &[]),
            []
        );
    }

    #[test]
    fn each_kind_is_found() {
        let unit = "/etc/systemd/system/nix-daemon.service";
        let table = [
            (
                Machine::new()
                    .file("/etc/bashrc", "a\n")
                    .file("/etc/bashrc.backup-before-nix", "b\n"),
                LeftoverKind::Backup,
            ),
            (
                Machine::new().file("/etc/zshrc.backup-before-nix", "b\n"),
                LeftoverKind::Backup,
            ),
            (
                Machine::new().link("/etc/zshrc", "/etc/static/zshrc"),
                LeftoverKind::StaticLink,
            ),
            (
                Machine::new().directory("/etc/static"),
                LeftoverKind::StaticLink,
            ),
            (Machine::new().file(unit, "[Unit]\n"), LeftoverKind::Unit),
            (
                Machine::new().link(unit, "/nix/var/nix/profiles/default/x"),
                LeftoverKind::Unit,
            ),
            (
                Machine::new().link(unit, "/dev/null"),
                LeftoverKind::MaskedUnit,
            ),
            (
                Machine::new().file("/etc/systemd/system/nix-daemon.service.d/override.conf", ""),
                LeftoverKind::DropIn,
            ),
            (
                Machine::new().file("/etc/profile.d/nix.sh", "export X=1\n"),
                LeftoverKind::ProfileScript,
            ),
            (
                Machine::new().link("/etc/ssl/certs/ca-certificates.crt", "/etc/static/x"),
                LeftoverKind::DanglingBundle,
            ),
        ];
        for (machine, kind) in table {
            assert_eq!(kinds(machine, &[]), [kind]);
        }
    }

    #[test]
    fn what_is_ours_or_harmless_is_not_a_leftover() {
        let unit = "/etc/systemd/system/nix-daemon.service";
        assert_eq!(kinds(Machine::new().file(unit, "[Unit]\n"), &[unit]), []);
        assert_eq!(
            kinds(
                Machine::new().directory("/etc/systemd/system/nix-daemon.service.d"),
                &[]
            ),
            []
        );
        assert_eq!(
            kinds(Machine::new().file(BLOCK_SH.path, BLOCK_SH.content), &[]),
            []
        );
        assert_eq!(
            kinds(
                Machine::new().file(BLOCK_SH.path, common_part(BLOCK_SH)),
                &[]
            ),
            []
        );
        // The official script: copy made, block appended, nothing else changed since.
        let rc = format!("a\n{}", known_blocks()[2]);
        let machine = Machine::new()
            .file("/etc/bashrc", &rc)
            .file("/etc/bashrc.backup-before-nix", "a\n");
        assert_eq!(kinds(machine, &[]), []);
    }

    #[test]
    fn blocks_of_others_are_told_from_ours() {
        assert_eq!(foreign_block("a\n"), None);
        assert_eq!(foreign_block(BLOCK_SH.content), None);
        let script = "a\n\n# Nix\nif [ -e '/nix/var/nix/profiles/default/etc/profile.d/nix-daemon.sh' ]; then\n  . '/nix/var/nix/profiles/default/etc/profile.d/nix-daemon.sh'\nfi\n# End Nix\n\n";
        assert_eq!(foreign_block(script).as_deref(), Some(&script[2..]));
        let determinate = format!("{}rest\n", common_part(BLOCK_SH));
        assert_eq!(
            foreign_block(&determinate).as_deref(),
            Some(common_part(BLOCK_SH))
        );
    }
}

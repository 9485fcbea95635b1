//! Installations of Nix that are not ours: which kind it is, and whether it can be taken over.
//!
//! Other installers' receipts are never parsed (their shape changes with every version); what is
//! on the machine is looked at instead. Taking over is called safe only when everything that an
//! uninstall would have to remove is known and nobody else goes on managing it.

pub mod parts;

use std::path::Path;

use nixctl_proto::settings::InstallSettings;

pub use parts::{FoundFile, Parts};

use super::facts::leftovers::{UNIT_DIR, UNITS, backup_path};
use super::facts::links::{Followed, exists, follow, read_text};
use super::facts::places::NixDir;
use super::facts::shells::RcFile;
use super::files::{NIX_DAEMON_SERVICE, NIX_DAEMON_SOCKET, Shipped};
use crate::host::fs::Kind;
use crate::host::{Fs, FsError};

/// The profile where every installer but ours puts Nix.
pub const DEFAULT_PROFILE: &str = "/nix/var/nix/profiles/default";
/// The profile where we put Nix.
pub const OWN_PROFILE: &str = "/nix/var/nix/profiles/nixctl";

/// Who installed it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ExistingKind {
    /// The official multi-user script.
    MultiUserScript,
    /// Determinate Nix, with a daemon of its own.
    Determinate,
    /// The NixOS fork of that installer, or that installer with upstream Nix.
    InstallerFork,
    /// A package of the distribution, and its package manager.
    DistributionPackage(String),
    /// A single-user install: no daemon.
    SingleUser,
    /// A store that our own `uninstall --keep-store` left.
    Kept,
    /// An install of ours whose record was lost with the daemon's state.
    Own,
    /// Something in /nix that is none of these.
    Unknown,
}

impl ExistingKind {
    /// What it is called in messages.
    pub fn name(&self) -> String {
        match self {
            ExistingKind::MultiUserScript => {
                "an install of the official multi-user script".to_owned()
            }
            ExistingKind::Determinate => "Determinate Nix".to_owned(),
            ExistingKind::InstallerFork => "an install of nix-installer".to_owned(),
            ExistingKind::DistributionPackage(manager) => {
                format!("a package of the distribution ({manager})")
            }
            ExistingKind::SingleUser => "a single-user install".to_owned(),
            ExistingKind::Kept => "a store that nixctl left in place".to_owned(),
            ExistingKind::Own => "an install of nixctl whose record was lost".to_owned(),
            ExistingKind::Unknown => "content in /nix of unknown origin".to_owned(),
        }
    }
}

/// Whether it can be taken over.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Adoption {
    /// It is taken over without being asked for: it was ours.
    Natural,
    /// With `--adopt`, and these are its parts.
    Safe(Box<Parts>),
    /// Not, for this reason, and this is what to do instead.
    Unsafe {
        /// Why not.
        why: String,
        /// The command that helps.
        help: String,
    },
}

/// An installation that is not ours.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Existing {
    /// Who installed it.
    pub kind: ExistingKind,
    /// Its version, when it can be read.
    pub version: Option<String>,
    /// Store path of its Nix, when it can be read.
    pub store_path: Option<String>,
    /// What it was recognised by.
    pub seen: Vec<String>,
    /// Whether it can be taken over.
    pub adoption: Adoption,
}

impl Existing {
    /// What it is and its version, for messages.
    pub fn name(&self) -> String {
        match &self.version {
            Some(version) => format!("{}, version {version}", self.kind.name()),
            None => self.kind.name(),
        }
    }
}

pub(super) fn read(
    fs: &Fs,
    nix_dir: &NixDir,
    rc_files: &[RcFile],
    settings: &InstallSettings,
) -> Result<Option<Existing>, FsError> {
    let Some((kind, seen)) = recognise(fs, nix_dir, rc_files)? else {
        return Ok(None);
    };
    let nix = installed_nix(fs, &kind)?;
    let adoption = match &kind {
        ExistingKind::Kept => Adoption::Natural,
        ExistingKind::MultiUserScript | ExistingKind::InstallerFork | ExistingKind::Own => {
            match &nix {
                Some((store_path, version)) => {
                    parts::read(fs, rc_files, settings, &kind, store_path, version)?
                }
                None => refused(
                    &format!("the profile {} holds no Nix", profile(&kind)),
                    "repair it with its own installer, or move /nix away",
                ),
            }
        }
        ExistingKind::Determinate => refused(
            "its daemon determinate-nixd goes on managing nix.conf and Nix itself",
            "remove it with `/nix/nix-installer uninstall`, then run the command again",
        ),
        ExistingKind::DistributionPackage(manager) => refused(
            "its files belong to the package manager",
            &format!(
                "remove the package ({}), then run the command again",
                removal(manager)
            ),
        ),
        ExistingKind::SingleUser => refused(
            "its store belongs to a user, and its paths would have to be given to root",
            "move /nix away or remove it, then run the command again",
        ),
        ExistingKind::Unknown => refused(
            "it is not known what an uninstall would have to leave in place",
            "look at /nix and move away what is there, then run the command again",
        ),
    };
    let (store_path, version) = nix.unzip();
    Ok(Some(Existing {
        kind,
        version,
        store_path,
        seen,
        adoption,
    }))
}

fn refused(why: &str, help: &str) -> Adoption {
    Adoption::Unsafe {
        why: why.to_owned(),
        help: help.to_owned(),
    }
}

fn removal(manager: &str) -> &'static str {
    match manager {
        "dpkg" => "apt remove nix-bin",
        "rpm" => "dnf remove nix",
        "pacman" => "pacman -R nix",
        "apk" => "apk del nix",
        _ => "with the system's package manager",
    }
}

/// The kind, with what it was recognised by; `None` when there is no other Nix.
fn recognise(
    fs: &Fs,
    nix_dir: &NixDir,
    rc_files: &[RcFile],
) -> Result<Option<(ExistingKind, Vec<String>)>, FsError> {
    let there = |paths: &[&str]| -> Result<Vec<String>, FsError> {
        let mut found = Vec::new();
        for path in paths {
            if fs.meta(Path::new(path))?.is_some() {
                found.push((*path).to_owned());
            }
        }
        Ok(found)
    };
    let marks = there(&["/usr/local/bin/determinate-nixd", "/nix/var/determinate"])?;
    if !marks.is_empty() {
        return Ok(Some((ExistingKind::Determinate, marks)));
    }
    if let Some(found) = package(fs)? {
        return Ok(Some(found));
    }
    let marks = there(&["/nix/receipt.json", "/nix/nix-installer"])?;
    if !marks.is_empty() {
        return Ok(Some((ExistingKind::InstallerFork, marks)));
    }
    let NixDir::Directory { uid, .. } = nix_dir else {
        return Ok(None);
    };
    if !nix_dir.has_content() {
        return Ok(None);
    }
    let marks = there(&[OWN_PROFILE])?;
    if !marks.is_empty() {
        let kind = if has_own_units(fs)? {
            ExistingKind::Own
        } else {
            ExistingKind::Kept
        };
        return Ok(Some((kind, marks)));
    }
    let root = fs.meta(Path::new("/"))?.map_or(0, |meta| meta.uid);
    if *uid != root {
        let seen = vec![format!("/nix, which belongs to the user with the id {uid}")];
        return Ok(Some((ExistingKind::SingleUser, seen)));
    }
    let marks = script_marks(fs, rc_files)?;
    if !marks.is_empty() {
        return Ok(Some((ExistingKind::MultiUserScript, marks)));
    }
    let marks = there(&["/nix/var/nix/db/db.sqlite"])?;
    if !marks.is_empty() {
        return Ok(Some((ExistingKind::SingleUser, marks)));
    }
    Ok(Some((
        ExistingKind::Unknown,
        vec!["/nix, which is not empty".to_owned()],
    )))
}

/// Whether the units of nix-daemon are files that we wrote: a kept store has none.
fn has_own_units(fs: &Fs) -> Result<bool, FsError> {
    for shipped in [NIX_DAEMON_SERVICE, NIX_DAEMON_SOCKET] {
        if is_shipped(fs, shipped)? {
            return Ok(true);
        }
    }
    Ok(false)
}

/// Whether a file of ours is there, as we ship it.
pub(super) fn is_shipped(fs: &Fs, shipped: Shipped) -> Result<bool, FsError> {
    let path = Path::new(shipped.path);
    let is_file = fs.meta(path)?.is_some_and(|meta| meta.kind == Kind::File);
    // One byte more than ours is another file; `read` refuses it by its size.
    let limit = shipped.content.len() as u64;
    let fits = is_file && fs.meta(path)?.is_some_and(|meta| meta.size <= limit);
    Ok(fits && fs.read(path, limit)?.as_deref() == Some(shipped.content.as_bytes()))
}

/// What the official script leaves: units that are links into the default profile, and copies of
/// start-up files.
fn script_marks(fs: &Fs, rc_files: &[RcFile]) -> Result<Vec<String>, FsError> {
    let mut marks = Vec::new();
    for unit in UNITS {
        let path = Path::new(UNIT_DIR).join(unit);
        if fs
            .read_link(&path)?
            .is_some_and(|target| target.starts_with(DEFAULT_PROFILE))
        {
            marks.push(path.display().to_string());
        }
    }
    for rc in rc_files {
        let path = backup_path(&rc.path);
        if fs.meta(&path)?.is_some() {
            marks.push(path.display().to_string());
        }
    }
    Ok(marks)
}

/// A Nix in /usr/bin, which only packages put there.
pub(crate) fn package(fs: &Fs) -> Result<Option<(ExistingKind, Vec<String>)>, FsError> {
    for program in ["/usr/bin/nix-store", "/usr/bin/nix"] {
        let Some(found) = follow(fs, Path::new(program))? else {
            continue;
        };
        if found.path.starts_with("/nix") {
            continue;
        }
        let databases = [
            ("/var/lib/dpkg/info/nix-bin.list", "dpkg"),
            ("/var/lib/pacman/local", "pacman"),
            ("/lib/apk/db/installed", "apk"),
            ("/usr/lib/sysimage/rpm", "rpm"),
            ("/var/lib/rpm", "rpm"),
            ("/var/lib/dpkg/status", "dpkg"),
        ];
        let mut manager = "unknown package manager";
        for (database, name) in databases {
            if exists(fs, Path::new(database))? {
                manager = name;
                break;
            }
        }
        let kind = ExistingKind::DistributionPackage(manager.to_owned());
        return Ok(Some((kind, vec![program.to_owned()])));
    }
    Ok(None)
}

/// The profile that holds Nix.
pub(super) fn profile(kind: &ExistingKind) -> &'static str {
    match kind {
        ExistingKind::Kept | ExistingKind::Own => OWN_PROFILE,
        ExistingKind::MultiUserScript
        | ExistingKind::Determinate
        | ExistingKind::InstallerFork
        | ExistingKind::DistributionPackage(_)
        | ExistingKind::SingleUser
        | ExistingKind::Unknown => DEFAULT_PROFILE,
    }
}

/// Store path and version of the Nix that is installed.
fn installed_nix(fs: &Fs, kind: &ExistingKind) -> Result<Option<(String, String)>, FsError> {
    if matches!(kind, ExistingKind::DistributionPackage(_)) {
        return Ok(None);
    }
    let program = Path::new(profile(kind)).join("bin/nix");
    let Some(followed) = follow(fs, &program)? else {
        return Ok(None);
    };
    Ok(nix_on_the_way(&followed))
}

/// The first store path on the way to the program that is a Nix: newer releases have one path
/// that links to others with parts of it.
fn nix_on_the_way(followed: &Followed) -> Option<(String, String)> {
    followed.store_names().find_map(|name| {
        let version = store_version(name)?;
        Some((format!("/nix/store/{name}"), version.to_owned()))
    })
}

/// Version in the name of a store path of Nix: `HASH-nix-2.26.3`.
pub(crate) fn store_version(name: &str) -> Option<&str> {
    let (hash, name) = name.split_once('-')?;
    let version = name.strip_prefix("nix-")?;
    let plain = hash.len() == 32 && version.starts_with(|digit: char| digit.is_ascii_digit());
    // Outputs of the same name (`nix-2.26.3-man`) hold no programs.
    (plain && !version.ends_with("-man") && !version.ends_with("-doc")).then_some(version)
}

/// Value of a setting in the text of nix.conf.
pub(super) fn conf_value<'a>(text: &'a str, key: &str) -> Option<&'a str> {
    text.lines()
        .filter_map(|line| line.split('#').next().unwrap_or_default().split_once('='))
        .filter(|(name, _)| name.trim() == key)
        .map(|(_, value)| value.trim())
        .next_back()
}

pub(super) fn nix_conf(fs: &Fs) -> Result<Option<String>, FsError> {
    read_text(fs, Path::new("/etc/nix/nix.conf"), 1 << 20)
}

#[cfg(test)]
#[path = "existing_tests.rs"]
mod tests;

//! The parts of a foreign installation that can be taken over.

use std::path::{Path, PathBuf};

use nixctl_proto::settings::InstallSettings;

use super::{Adoption, ExistingKind, conf_value, nix_conf, profile, refused};
use crate::catalogue::facts::leftovers::{UNIT_DIR, UNITS, backup_path, foreign_block};
use crate::catalogue::facts::links::{exists, follow};
use crate::catalogue::facts::shells::{RcFile, RcState};
use crate::host::fs::Kind;
use crate::host::{Fs, FsError};

/// Largest file that is taken over with its content.
const LIMIT: u64 = 4 << 20;

/// Settings that the installers write into nix.conf; only these lines are taken away again.
const INSTALLER_KEYS: [&str; 9] = [
    "build-users-group",
    "extra-experimental-features",
    "experimental-features",
    "max-jobs",
    "auto-optimise-store",
    "always-allow-substitutes",
    "bash-prompt-prefix",
    "extra-nix-path",
    "upgrade-nix-store-path-url",
];

/// A file with its content.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FoundFile {
    /// Absolute path.
    pub path: PathBuf,
    /// Content.
    pub content: String,
    /// Permission bits.
    pub mode: u32,
    /// Owner.
    pub uid: u32,
    /// Group.
    pub gid: u32,
}

/// What belongs to a foreign installation.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Parts {
    /// Store path of Nix.
    pub nix: String,
    /// Store path of its CA certificates, when it has them.
    pub cacert: Option<String>,
    /// Version of Nix.
    pub version: String,
    /// Blocks in start-up files, exactly as they stand there.
    pub blocks: Vec<(PathBuf, String)>,
    /// Copies of start-up files.
    pub backups: Vec<FoundFile>,
    /// Lines of nix.conf that the installer wrote, exactly as they stand there.
    pub conf_lines: Vec<String>,
    /// Additions to the units, file by file.
    pub drop_ins: Vec<FoundFile>,
}

/// Reads the parts, or says why the installation cannot be taken over.
pub(super) fn read(
    fs: &Fs,
    rc_files: &[RcFile],
    settings: &InstallSettings,
    kind: &ExistingKind,
    nix: &str,
    version: &str,
) -> Result<Adoption, FsError> {
    if !exists(fs, Path::new("/nix/var/nix/db/db.sqlite"))? {
        let help = "repair it with its own installer, or move /nix away";
        return Ok(refused(
            "its database /nix/var/nix/db/db.sqlite is missing",
            help,
        ));
    }
    let conf = nix_conf(fs)?.unwrap_or_default();
    let group = conf_value(&conf, "build-users-group").unwrap_or(&settings.build_group);
    if group != settings.build_group {
        return Ok(refused(
            &format!(
                "its build users are in the group {group}, not {}",
                settings.build_group
            ),
            &format!("set [install] build_group = \"{group}\" in /etc/nixctl/config.toml"),
        ));
    }
    let mut parts = Parts {
        nix: nix.to_owned(),
        version: version.to_owned(),
        cacert: cacert(fs, profile(kind))?,
        conf_lines: conf_lines(&conf, kind),
        ..Parts::default()
    };
    for rc in rc_files {
        if let RcState::Regular(text) = &rc.state
            && let Some(block) = foreign_block(text)
        {
            parts.blocks.push((rc.path.clone(), block));
        }
        parts
            .backups
            .extend(found_file(fs, &backup_path(&rc.path))?);
    }
    for unit in UNITS {
        let folder = Path::new(UNIT_DIR).join(format!("{unit}.d"));
        if fs
            .meta(&folder)?
            .is_some_and(|meta| meta.kind == Kind::Directory)
        {
            for name in fs.list(&folder)? {
                parts.drop_ins.extend(found_file(fs, &folder.join(name))?);
            }
        }
    }
    Ok(Adoption::Safe(Box::new(parts)))
}

/// Store path of the CA certificates in a profile.
fn cacert(fs: &Fs, profile: &str) -> Result<Option<String>, FsError> {
    let bundle = Path::new(profile).join("etc/ssl/certs/ca-bundle.crt");
    let Some(found) = follow(fs, &bundle)? else {
        return Ok(None);
    };
    let mut names = found.store_names();
    Ok(names
        .find(|name| name.contains("-nss-cacert-"))
        .map(|name| format!("/nix/store/{name}")))
}

/// Lines that the installer wrote: the script writes one, the others a generated file.
fn conf_lines(conf: &str, kind: &ExistingKind) -> Vec<String> {
    if *kind == ExistingKind::Own {
        return own_conf_lines(conf);
    }
    let keys = match kind {
        ExistingKind::MultiUserScript => &INSTALLER_KEYS[..1],
        _ => &INSTALLER_KEYS[..],
    };
    conf.lines()
        .filter(|line| {
            line.split_once('=')
                .is_some_and(|(key, _)| keys.contains(&key.trim()))
        })
        .map(str::to_owned)
        .collect()
}

/// Lines that we wrote ourselves: those with a fixed value, those with a reason above them, and
/// the include. A line that a person could as well have written stays that person's.
fn own_conf_lines(conf: &str) -> Vec<String> {
    const FIXED: [&str; 3] = [
        "max-jobs = auto",
        "extra-experimental-features = nix-command flakes",
        "!include nix.custom.conf",
    ];
    let mut lines = Vec::new();
    let mut above: Option<&str> = None;
    for line in conf.lines() {
        let key = line.split_once('=').map_or("", |(key, _)| key.trim());
        match (key, above) {
            ("ssl-cert-file" | "sandbox", Some(reason)) => {
                lines.extend([reason.to_owned(), line.to_owned()]);
            }
            _ if FIXED.contains(&line) || key == "build-users-group" => lines.push(line.to_owned()),
            _ => {}
        }
        above = line.starts_with("# ").then_some(line);
    }
    lines
}

/// A small text file; others are left where they are.
fn found_file(fs: &Fs, path: &Path) -> Result<Option<FoundFile>, FsError> {
    let Some(meta) = fs.meta(path)? else {
        return Ok(None);
    };
    if meta.kind != Kind::File || meta.size > LIMIT {
        return Ok(None);
    }
    let bytes = fs.read(path, LIMIT)?.unwrap_or_default();
    Ok(String::from_utf8(bytes).ok().map(|content| FoundFile {
        path: path.to_owned(),
        content,
        mode: meta.mode,
        uid: meta.uid,
        gid: meta.gid,
    }))
}

//! Shells, their start-up files, and the CA bundle of the machine.

use std::path::{Path, PathBuf};

use super::links::{exists, follow};
use crate::host::fs::Kind;
use crate::host::{Fs, FsError};

/// Shells that are looked for.
pub const SHELLS: [&str; 4] = ["sh", "bash", "zsh", "fish"];

/// Start-up files that an install may write a block into, in this order.
pub const RC_FILES: [&str; 8] = [
    "/etc/profile.d/nix.sh",
    "/etc/bash.bashrc",
    "/etc/bash.bashrc.local",
    "/etc/bashrc",
    "/etc/zsh/zshrc",
    "/etc/zsh/zprofile",
    "/etc/zshrc",
    "/etc/fish/conf.d/nix.fish",
];

/// Where CA bundles lie, in the order that every installer of Nix uses.
pub const CA_BUNDLES: [&str; 4] = [
    "/etc/ssl/certs/ca-certificates.crt",
    "/etc/ssl/ca-bundle.pem",
    "/etc/ssl/certs/ca-bundle.crt",
    "/etc/pki/tls/certs/ca-bundle.crt",
];

/// Largest start-up file that is read.
const RC_LIMIT: u64 = 4 << 20;

/// A start-up file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RcFile {
    /// Absolute path.
    pub path: PathBuf,
    /// What is there.
    pub state: RcState,
}

/// What is at the path of a start-up file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum RcState {
    /// Nothing, and whether the folder for it is there.
    Absent {
        /// Whether the folder is there.
        parent: bool,
    },
    /// A symbolic link to this: somebody else manages the file.
    Link(PathBuf),
    /// A file with this content; empty when it is too large or no text.
    Regular(String),
}

impl RcFile {
    /// Whether there is a file or a link.
    pub fn exists(&self) -> bool {
        !matches!(self.state, RcState::Absent { .. })
    }
}

pub(super) fn shells(fs: &Fs) -> Result<Vec<String>, FsError> {
    let mut found = Vec::new();
    for shell in SHELLS {
        for folder in ["/bin", "/usr/bin", "/usr/local/bin"] {
            if exists(fs, &Path::new(folder).join(shell))? {
                found.push(shell.to_owned());
                break;
            }
        }
    }
    Ok(found)
}

pub(crate) fn rc_files(fs: &Fs) -> Result<Vec<RcFile>, FsError> {
    RC_FILES
        .iter()
        .map(|path| rc_file(fs, Path::new(path)))
        .collect()
}

fn rc_file(fs: &Fs, path: &Path) -> Result<RcFile, FsError> {
    let state = match fs.meta(path)? {
        None => RcState::Absent {
            parent: match path.parent() {
                Some(parent) => exists(fs, parent)?,
                None => false,
            },
        },
        Some(meta) if meta.kind == Kind::Link => {
            RcState::Link(fs.read_link(path)?.unwrap_or_default())
        }
        Some(meta) if meta.kind == Kind::File && meta.size <= RC_LIMIT => {
            let bytes = fs.read(path, RC_LIMIT)?.unwrap_or_default();
            RcState::Regular(String::from_utf8(bytes).unwrap_or_default())
        }
        Some(_) => RcState::Regular(String::new()),
    };
    Ok(RcFile {
        path: path.to_owned(),
        state,
    })
}

/// The first CA bundle that is there and not empty. The path before following links is given:
/// updates of the certificates move what is behind it.
pub fn ca_bundle(fs: &Fs) -> Result<Option<PathBuf>, FsError> {
    for path in CA_BUNDLES.map(PathBuf::from) {
        if let Some(found) = follow(fs, &path)?
            && let Some(meta) = fs.meta(&found.path)?
            && meta.kind == Kind::File
            && meta.size > 0
        {
            return Ok(Some(path));
        }
    }
    Ok(None)
}

/// CA bundles that are links to nothing, left by a system that managed /etc once.
pub fn dangling_ca_bundles(fs: &Fs) -> Result<Vec<(PathBuf, PathBuf)>, FsError> {
    let mut found = Vec::new();
    for path in CA_BUNDLES.map(PathBuf::from) {
        if let Some(target) = fs.read_link(&path)?
            && (target.starts_with("/etc/static") || target.starts_with("/nix"))
            && !exists(fs, &path)?
        {
            found.push((path, target));
        }
    }
    Ok(found)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::catalogue::facts::testing::Machine;

    #[test]
    fn shells_are_found_through_links() {
        let machine = Machine::new()
            .file("/usr/bin/dash", "")
            .link("/usr/bin/sh", "dash")
            .link("/bin", "usr/bin")
            .file("/usr/local/bin/fish", "")
            .link("/usr/bin/zsh", "/gone");
        assert_eq!(shells(&machine.host().fs).unwrap(), ["sh", "fish"]);
    }

    #[test]
    fn rc_files_are_told_apart() {
        let machine = Machine::new()
            .file("/etc/bash.bashrc", "x\n")
            .directory("/etc/zsh")
            .link("/etc/zshrc", "/etc/static/zshrc");
        let files = rc_files(&machine.host().fs).unwrap();
        let of = |path: &str| {
            files
                .iter()
                .find(|rc| rc.path == Path::new(path))
                .unwrap()
                .state
                .clone()
        };
        assert_eq!(of("/etc/bash.bashrc"), RcState::Regular("x\n".to_owned()));
        assert_eq!(of("/etc/zsh/zshrc"), RcState::Absent { parent: true });
        assert_eq!(
            of("/etc/fish/conf.d/nix.fish"),
            RcState::Absent { parent: false }
        );
        assert_eq!(of("/etc/zshrc"), RcState::Link("/etc/static/zshrc".into()));
    }

    #[test]
    fn an_empty_or_dangling_bundle_does_not_count() {
        let machine = Machine::new()
            .link(
                "/etc/ssl/certs/ca-certificates.crt",
                "/etc/static/ssl/certs/ca-certificates.crt",
            )
            .file("/etc/ssl/ca-bundle.pem", "")
            .file("/etc/pki/extracted.pem", "cert\n")
            .link("/etc/pki/tls/certs/ca-bundle.crt", "/etc/pki/extracted.pem");
        let fs = machine.host().fs;
        assert_eq!(
            ca_bundle(&fs).unwrap(),
            Some("/etc/pki/tls/certs/ca-bundle.crt".into())
        );
        assert_eq!(dangling_ca_bundles(&fs).unwrap().len(), 1);
        assert_eq!(ca_bundle(&Machine::new().host().fs).unwrap(), None);
    }
}

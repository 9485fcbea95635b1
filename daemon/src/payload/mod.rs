//! Releases of Nix: where they come from, how they are fetched, checked and unpacked.
//!
//! The downloading and unpacking themselves run in a child of the daemon ([`worker`]): cancelling
//! is a kill, and their memory comes back. Nothing of an archive is used before its SHA-256 was
//! compared; nothing is written outside the unpacking folder.

pub(crate) mod certificate;
pub(crate) mod date;
pub(crate) mod decode;
pub(crate) mod entry;
pub mod estimate;
mod fetch;
pub(crate) mod files;
pub mod http;
mod http_fault;
mod manifest;
pub(crate) mod place;
mod reginfo;
pub mod release;
#[cfg(test)]
pub(crate) mod test_server;
mod tree;
pub(crate) mod trust;
mod unpack;
pub mod url;
pub mod worker;

use std::path::PathBuf;

use nixctl_proto::{Code, Failure};
use serde::{Deserialize, Serialize};

use crate::host::FsError;

/// Folder of the daemon's state, on every Linux machine.
pub const STATE_DIR: &str = "/var/lib/nixctl";
/// Downloads, complete (`SHA256`) and partial (`SHA256.part`), root only.
pub const DOWNLOADS_DIR: &str = "/var/lib/nixctl/downloads";
/// Manifests of unpacked releases, `SHA256.json`.
pub const MANIFESTS_DIR: &str = "/var/lib/nixctl/releases";
/// Folder in /nix where a release is unpacked before its paths move into the store.
pub const UNPACK_DIR: &str = "/nix/.nixctl-unpack";

/// Where a release comes from.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub enum Source {
    /// An http or https URL of the archive.
    Url(String),
    /// An absolute path.
    Path(PathBuf),
}

impl std::fmt::Display for Source {
    /// For people: without credentials.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Source::Url(url) => f.write_str(&url::redact(url)),
            Source::Path(path) => path.display().fmt(f),
        }
    }
}

/// A release that was found and pinned: from here on only these bytes are accepted.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Release {
    /// Where it is.
    pub source: Source,
    /// SHA-256 of the archive, 64 lower case hexadecimal digits.
    pub sha256: String,
    /// Size of the archive in bytes, when known.
    pub size: Option<u64>,
    /// Version, such as `2.26.3`.
    pub version: String,
    /// System, such as `x86_64-linux`.
    pub system: String,
}

/// Fetches a release's archive into [`DOWNLOADS_DIR`] and checks it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Fetch {
    /// What to fetch.
    pub release: Release,
    /// Proxy URL; empty for the environment's.
    pub proxy: String,
    /// CA bundle; empty for the machine's own.
    pub ssl_cert_file: String,
}

/// A fetched and verified archive.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Archive {
    /// SHA-256 of the archive; it lies at [`DOWNLOADS_DIR`]/SHA256.
    pub sha256: String,
    /// Version it must hold.
    pub version: String,
    /// System it must be for.
    pub system: String,
    /// Group of the store.
    pub store_gid: u32,
}

impl Archive {
    /// Where the archive lies, as the machine sees it.
    pub fn path(&self) -> PathBuf {
        PathBuf::from(DOWNLOADS_DIR).join(&self.sha256)
    }
}

/// Where the manifest of an archive lies, as the machine sees it.
pub fn manifest_path(sha256: &str) -> PathBuf {
    PathBuf::from(MANIFESTS_DIR).join(format!("{sha256}.json"))
}

/// What an unpacked release holds; kept at [`MANIFESTS_DIR`]/SHA256.json.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Manifest {
    /// Version of Nix.
    pub version: String,
    /// Store path of Nix itself, `/nix/store/HASH-nix-VERSION`.
    pub nix: String,
    /// Store path of the CA certificates, when the release has them.
    pub cacert: Option<String>,
    /// Every store path of the release, sorted.
    pub paths: Vec<String>,
    /// The release's `.reginfo`, as it is.
    pub reginfo: String,
    /// Bytes of all files, unpacked.
    pub unpacked_bytes: u64,
    /// Files, folders and links, unpacked.
    pub unpacked_inodes: u64,
}

/// Why a release could not be found, fetched or unpacked.
#[derive(Debug, thiserror::Error)]
pub enum PayloadError {
    /// A file.
    #[error(transparent)]
    Fs(#[from] FsError),
    /// Any other reason, already in words, with its code. Made by the submodules.
    #[error("{message}")]
    Reported {
        /// Code from the catalogue.
        code: Code,
        /// "cannot ...: why".
        message: String,
        /// Deeper causes.
        causes: Vec<String>,
        /// What to do, when it is more exact than the catalogue's help.
        help: Option<String>,
    },
    /// The work was asked to stop.
    #[error("cannot finish the work on the release: it was asked to stop")]
    Stopped,
}

impl PayloadError {
    /// A reason in words, with its code.
    pub fn new(code: Code, message: impl Into<String>) -> Self {
        PayloadError::Reported {
            code,
            message: message.into(),
            causes: Vec::new(),
            help: None,
        }
    }

    /// The same with one more cause.
    pub fn with_cause(mut self, cause: impl ToString) -> Self {
        if let PayloadError::Reported { causes, .. } = &mut self {
            causes.push(cause.to_string());
        }
        self
    }

    /// The same with a more exact help.
    pub fn with_help(mut self, text: impl Into<String>) -> Self {
        if let PayloadError::Reported { help, .. } = &mut self {
            *help = Some(text.into());
        }
        self
    }

    /// The error for people, with its code, causes and help.
    pub fn failure(&self) -> Failure {
        let mut failure = Failure::from_error(self.code(), self);
        if let PayloadError::Reported { causes, help, .. } = self {
            failure.causes.extend(causes.iter().cloned());
            if let Some(help) = help {
                failure.help.clone_from(help);
            }
        }
        failure
    }

    /// Code for people and programs.
    pub fn code(&self) -> Code {
        match self {
            PayloadError::Fs(error) => crate::resource::error::fs_code(&error.source),
            PayloadError::Reported { code, .. } => *code,
            PayloadError::Stopped => Code::Cancelled,
        }
    }

    /// Whether the work ended because it was asked to.
    pub fn is_stopped(&self) -> bool {
        matches!(self, PayloadError::Stopped)
    }
}

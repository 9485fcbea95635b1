//! Real Nix releases, made of Debian's `nix-bin`, in the shape of the official tarballs.
//!
//! Debian's binary and the libraries it needs become one store path, the CA certificates and a
//! static busybox two more; a release is those with their registration, packed twice. Trixie and
//! sid carry different versions, so upgrades and downgrades run between two real ones.

mod broken;
mod by_hand;
mod nar;
mod neighbour;
mod pack;
pub(crate) mod relocate;
mod sized;

use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

pub use broken::Broken;
pub use by_hand::install_by_hand;
pub use neighbour::{GARBAGE, Neighbour};
pub use sized::{Sized, lab_size, official_size};

use crate::error::{Context, Result};
use crate::{image, paths};

/// Which Nix.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Version {
    /// The older one, of Debian trixie (2.26.3 when this was written).
    Nix226,
    /// The newer one, of Debian sid (2.34.8 when this was written).
    Nix234,
}

impl Version {
    /// Both, older first.
    pub const ALL: [Self; 2] = [Self::Nix226, Self::Nix234];

    fn suite(self) -> image::Suite {
        match self {
            Self::Nix226 => image::Suite::Trixie,
            Self::Nix234 => image::Suite::Sid,
        }
    }
}

/// A release on the host's disk.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Release {
    /// The version Nix itself names, as `2.26.3`.
    pub version: String,
    /// As `x86_64-linux`.
    pub system: String,
    /// The `.tar.xz`.
    pub tar_xz: PathBuf,
    /// The same content as `.tar.zst`.
    pub tar_zst: PathBuf,
    /// SHA-256 of the `.tar.xz`, in hex.
    pub sha256_xz: String,
    /// SHA-256 of the `.tar.zst`, in hex.
    pub sha256_zst: String,
    /// Store path of Nix.
    pub nix: String,
    /// Store path of the CA certificates (`etc/ssl/certs/ca-bundle.crt`).
    pub cacert: String,
    /// Store path of the static busybox, one link per applet in `bin`.
    pub busybox: String,
    /// All store paths with what is registered of them.
    pub paths: Vec<StorePath>,
}

/// One store path as the registration file names it.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct StorePath {
    /// `/nix/store/HASH-NAME`.
    pub path: String,
    /// SHA-256 of its NAR, in hex.
    pub nar_sha256: String,
    /// Bytes of its NAR.
    pub nar_size: u64,
    /// Store paths it refers to, itself included when it does.
    pub references: Vec<String>,
}

impl Release {
    /// The top folder of the tarball: `nix-VERSION-SYSTEM`.
    #[must_use]
    pub fn top(&self) -> String {
        format!("nix-{}-{}", self.version, self.system)
    }
}

/// The release of this version, built when it is not there yet (about half a minute).
pub fn nix_release(version: Version) -> Result<Release> {
    let suite = version.suite();
    let recipe = paths::key(&recipe(suite));
    let name = format!("nix-{}-{recipe}", suite.name());
    let entry = paths::cached(&paths::lab("dist")?, &name, |scratch| {
        println!(
            "lab: making a Nix release of Debian {} (once)",
            suite.name()
        );
        build(suite, &recipe, scratch)
    })?;
    let manifest = entry.join("release.json");
    let text = std::fs::read(&manifest).context(|| format!("read {}", manifest.display()))?;
    let mut release: Release =
        serde_json::from_slice(&text).context(|| format!("read {}", manifest.display()))?;
    release.tar_xz = entry.join(&release.tar_xz);
    release.tar_zst = entry.join(&release.tar_zst);
    Ok(release)
}

fn recipe(suite: image::Suite) -> [&'static str; 10] {
    [
        suite.name(),
        relocate::PACKAGES,
        include_str!("relocate.rs"),
        include_str!("nar.rs"),
        include_str!("pack.rs"),
        include_str!("../../files/nix-daemon.sh"),
        include_str!("../../files/nix-daemon.fish"),
        include_str!("../../files/nix-daemon.service"),
        include_str!("../../files/nix-daemon.socket"),
        include_str!("../../files/nix-daemon.conf"),
    ]
}

fn build(suite: image::Suite, recipe: &str, scratch: &Path) -> Result<()> {
    let root = scratch.join("packages");
    image::bootstrap(
        &root,
        suite,
        image::Variant::Extract,
        relocate::PACKAGES,
        None,
    )?;
    let parts = relocate::relocate(&root, recipe)?;
    let paths = nar::register(&root, &parts)?;
    let release = pack::pack(scratch, &root, &parts, paths)?;
    paths::remove_tree(&root)?;
    let _ = std::fs::remove_file(scratch.join("packages.packages"));
    let manifest = scratch.join("release.json");
    let text = serde_json::to_vec_pretty(&release).context(|| "write the manifest")?;
    std::fs::write(&manifest, text).context(|| format!("write {}", manifest.display()))
}

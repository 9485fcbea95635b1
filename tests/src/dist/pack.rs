//! Packs a release as the official ones are: sorted, owner 0:0, no times, `.tar.xz` and `.tar.zst`.

use std::fmt::Write;
use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use sha2::{Digest, Sha256};

use super::relocate::Parts;
use super::{Release, StorePath};
use crate::error::{Context, Result};
use crate::exec::Run;
use crate::paths::hex;

/// Deadline of one compression.
const DEADLINE: Duration = Duration::from_secs(300);

/// Moves the store paths out of `root`, writes `.reginfo` and both tarballs into `scratch`.
pub fn pack(scratch: &Path, root: &Path, parts: &Parts, paths: Vec<StorePath>) -> Result<Release> {
    let system = format!("{}-linux", std::env::consts::ARCH);
    let top = format!("nix-{}-{system}", parts.version);
    let dir = scratch.join(&top);
    fs::create_dir_all(&dir).context(|| format!("create {}", dir.display()))?;
    fs::rename(root.join("nix/store"), dir.join("store")).context(|| "move the store paths")?;
    fs::write(dir.join(".reginfo"), registration(&paths)).context(|| "write .reginfo")?;
    let (tar_xz, sha256_xz) = tarball(scratch, &top, "xz", "xz -T0 -2")?;
    let (tar_zst, sha256_zst) = tarball(scratch, &top, "zst", "zstd -q -T0 -9")?;
    crate::paths::remove_tree(&dir)?;
    Ok(Release {
        version: parts.version.clone(),
        system,
        tar_xz,
        tar_zst,
        sha256_xz,
        sha256_zst,
        nix: parts.nix.clone(),
        cacert: parts.cacert.clone(),
        busybox: parts.busybox.clone(),
        paths,
    })
}

/// The text `nix-store --load-db` reads.
fn registration(paths: &[StorePath]) -> String {
    let mut text = String::new();
    for path in paths {
        let count = path.references.len();
        let _ = write!(
            text,
            "{}\n{}\n{}\n\n{count}\n",
            path.path, path.nar_sha256, path.nar_size
        );
        for reference in &path.references {
            let _ = writeln!(text, "{reference}");
        }
    }
    text
}

fn tarball(scratch: &Path, top: &str, ending: &str, filter: &str) -> Result<(PathBuf, String)> {
    let name = format!("{top}.tar.{ending}");
    let argv = [
        "tar",
        "--sort=name",
        "--owner=0",
        "--group=0",
        "--numeric-owner",
        "--mtime=@0",
        "--mode=u+rw,a+r",
        "--hard-dereference",
        "-I",
        filter,
        "-cf",
        &name,
        top,
    ];
    Run::new(&argv)
        .in_dir(scratch)
        .deadline(DEADLINE)
        .run()?
        .ok()?;
    let bytes = fs::read(scratch.join(&name)).context(|| format!("read {name}"))?;
    Ok((PathBuf::from(&name), hex(&Sha256::digest(bytes))))
}

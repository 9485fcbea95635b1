//! What Nix registers of a store path, asked from the relocated Nix itself: it must run to answer.

use std::path::Path;

use sha2::{Digest, Sha256};

use super::StorePath;
use super::relocate::{Parts, chroot_run};
use crate::error::{Error, Result};
use crate::paths::hex;

/// Dumps each path with the built Nix; finds references by looking for hash parts in the NAR.
pub fn register(root: &Path, parts: &Parts) -> Result<Vec<StorePath>> {
    let all = [&parts.nix, &parts.cacert, &parts.busybox];
    let program = format!("{}/bin/nix-store", parts.nix);
    all.iter()
        .map(|&path| {
            let nar = chroot_run(root, &[&program, "--dump", path])
                .run()?
                .ok()?
                .bytes;
            if !nar.starts_with(b"\x0d\0\0\0\0\0\0\0nix-archive-1") {
                return Err(Error::new(format!("dump {path}"), "the answer is no NAR"));
            }
            let references = all
                .iter()
                .filter(|candidate| contains(&nar, hash_part(candidate).as_bytes()))
                .map(|&reference| reference.clone())
                .collect();
            Ok(StorePath {
                path: path.clone(),
                nar_sha256: hex(&Sha256::digest(&nar)),
                nar_size: nar.len() as u64,
                references,
            })
        })
        .collect()
}

fn hash_part(path: &str) -> &str {
    path.trim_start_matches("/nix/store/")
        .split('-')
        .next()
        .unwrap_or_default()
}

fn contains(haystack: &[u8], needle: &[u8]) -> bool {
    haystack
        .windows(needle.len())
        .any(|window| window == needle)
}

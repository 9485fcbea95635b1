//! A release that looks unpacked, for the tests of what comes after it.

use super::testing::Machine;
use crate::payload::{Manifest, manifest_path};

pub(crate) const SHA256: &str = "aa";
pub(crate) const NIX: &str = "/nix/store/0123456789abcdfghijklmnpqrsvwxyz-nix-2.26.3";
pub(crate) const CERTS: &str = "/nix/store/1123456789abcdfghijklmnpqrsvwxyz-nss-cacert-3.1";

pub(crate) fn unpacked(machine: &Machine) -> Manifest {
    let manifest = Manifest {
        version: "2.26.3".into(),
        nix: NIX.into(),
        cacert: Some(CERTS.into()),
        paths: vec![NIX.into(), CERTS.into()],
        reginfo: "the registration".into(),
        unpacked_bytes: 1,
        unpacked_inodes: 1,
    };
    let path = manifest_path(SHA256);
    machine.put(
        path.to_str().unwrap(),
        serde_json::to_vec(&manifest).unwrap(),
    );
    for program in ["nix-store", "nix-env", "nix-build"] {
        machine.put(&format!("{NIX}/bin/{program}"), "");
    }
    machine.put(&format!("{CERTS}/etc/ssl/certs/ca-bundle.crt"), "");
    for furniture in ["/proc/self", "/dev/ptmx"] {
        std::fs::create_dir_all(machine.path(furniture)).unwrap();
    }
    manifest
}

//! What the host must have for the lab, and installing it on a Debian or Ubuntu host as root.
//!
//! [`missing`] only looks; [`install`] runs `apt-get`, and only when something is missing. Package
//! names are those of Debian 12 and later.

use std::path::Path;
use std::time::Duration;

use crate::error::{Error, Result};
use crate::exec::Run;

/// A tool and the Debian package it is in.
const TOOLS: [(&str, &str); 16] = [
    ("mmdebstrap", "mmdebstrap"),
    ("systemd-nspawn", "systemd-container"),
    ("patchelf", "patchelf"),
    ("dbus-daemon", "dbus"),
    ("xz", "xz-utils"),
    ("zstd", "zstd"),
    ("tar", "tar"),
    ("ip", "iproute2"),
    ("nsenter", "util-linux"),
    ("unshare", "util-linux"),
    ("script", "bsdutils"),
    ("sqlite3", "sqlite3"),
    ("gpgv", "gpgv"),
    ("getfattr", "attr"),
    ("strace", "strace"),
    ("openssl", "openssl"),
];

/// Keys that Debian's mirror is checked with, and their package.
const KEYRING: (&str, &str) = (
    "/usr/share/keyrings/debian-archive-keyring.gpg",
    "debian-archive-keyring",
);

/// Deadline of one `apt-get`.
const APT_DEADLINE: Duration = Duration::from_secs(600);

/// Everything the lab lacks here, as sentences for a person; empty when it can run.
#[must_use]
pub fn missing() -> Vec<String> {
    let mut reasons = Vec::new();
    if !cfg!(target_os = "linux") {
        reasons.push("the lab needs Linux".to_owned());
        return reasons;
    }
    if !nix::unistd::geteuid().is_root() {
        reasons.push("the lab needs root (machines, mounts and namespaces)".to_owned());
    }
    if !kernel_has_filesystem("overlay") {
        reasons.push("the kernel has no overlayfs".to_owned());
    }
    if crate::machine::cgroup_roots().is_empty() {
        reasons.push("no cgroup2 file system is mounted".to_owned());
    }
    let packages = missing_packages();
    if !packages.is_empty() {
        let list = packages.join(" ");
        reasons.push(format!(
            "packages are missing: {list} (`cargo lab prepare` installs them)"
        ));
    }
    reasons
}

/// Installs what is missing and says so. Needs root and `apt-get` only when there is work to do.
pub fn install() -> Result<()> {
    let packages = missing_packages();
    if packages.is_empty() {
        println!("lab: the host has every tool the lab needs");
        return Ok(());
    }
    println!("lab: installing {}", packages.join(" "));
    if find("apt-get").is_none() {
        return Err(Error::new("install tools", "this host has no apt-get"));
    }
    let mut arguments = vec!["install", "--yes", "--no-install-recommends"];
    arguments.extend(&packages);
    retry(|| {
        apt(&["update"])?;
        apt(&arguments)
    })
}

/// Tries something that downloads, three times in all: mirrors hiccup.
pub fn retry(mut work: impl FnMut() -> Result<()>) -> Result<()> {
    for pause in [5, 20] {
        match work() {
            Ok(()) => return Ok(()),
            Err(error) => eprintln!("lab: {error}; trying again in {pause} s"),
        }
        std::thread::sleep(Duration::from_secs(pause));
    }
    work()
}

fn missing_packages() -> Vec<&'static str> {
    let mut packages: Vec<&str> = TOOLS
        .iter()
        .filter(|(tool, _)| find(tool).is_none())
        .map(|(_, package)| *package)
        .chain((!Path::new(KEYRING.0).exists()).then_some(KEYRING.1))
        .collect();
    packages.sort_unstable();
    packages.dedup();
    packages
}

fn apt(arguments: &[&str]) -> Result<()> {
    let mut argv = vec![
        "apt-get",
        "-o",
        "Acquire::Retries=5",
        "-o",
        "DPkg::Lock::Timeout=300",
    ];
    argv.extend(arguments);
    Run::new(&argv)
        .env("DEBIAN_FRONTEND", "noninteractive")
        .deadline(APT_DEADLINE)
        .run()?
        .ok()
        .map(drop)
}

fn find(tool: &str) -> Option<std::path::PathBuf> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    std::env::split_paths(&path)
        .chain(["/usr/sbin", "/sbin"].map(Into::into))
        .map(|dir| dir.join(tool))
        .find(|candidate| candidate.is_file())
}

fn kernel_has_filesystem(name: &str) -> bool {
    let listed = || {
        std::fs::read_to_string("/proc/filesystems").is_ok_and(|list| {
            list.lines()
                .any(|line| line.split_whitespace().last() == Some(name))
        })
    };
    listed() || {
        let _ = Run::new(&["modprobe", name]).run();
        listed()
    }
}

//! What kind of system this is: distribution, service manager, container, WSL, NixOS, image.

use std::path::Path;

use super::links::{exists, read_text};
use crate::host::mounts::{self, Mount};
use crate::host::{FsError, Host};

/// Largest text file that is read for facts.
pub(super) const TEXT_LIMIT: u64 = 1 << 20;

/// The system.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct System {
    /// What Nix calls this machine, such as `x86_64-linux`.
    pub name: String,
    /// The distribution.
    pub os: OsRelease,
    /// Who starts and stops services.
    pub manager: Manager,
    /// Kind of the container this runs in, such as `docker`; `None` on a machine.
    pub container: Option<String>,
    /// Windows Subsystem for Linux.
    pub wsl: Option<Wsl>,
    /// Whether it is NixOS.
    pub nixos: bool,
    /// Whether it was booted from an ostree deployment.
    pub ostree: bool,
    /// Whether its root is a composefs, which nothing can ever be added to.
    pub composefs: bool,
}

/// From os-release.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct OsRelease {
    /// `debian`, `fedora`, ... in lower case; empty when there is no file.
    pub id: String,
    /// Distributions it is derived from.
    pub like: Vec<String>,
    /// `13`, `42`, ...; empty for rolling ones.
    pub version: String,
    /// Name for people.
    pub name: String,
}

impl OsRelease {
    /// Whether it is this distribution or derived from it.
    pub fn is_like(&self, id: &str) -> bool {
        self.id == id || self.like.iter().any(|like| like == id)
    }
}

/// Who starts and stops services.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Manager {
    /// systemd runs.
    #[default]
    Systemd,
    /// Nobody we know: a container without init, or another service manager.
    None,
    /// This is an image that is not running; `systemd` says whether it has systemd.
    Image {
        /// Whether systemd is installed in it.
        systemd: bool,
    },
}

/// Windows Subsystem for Linux.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Wsl {
    /// 1 (no Linux kernel) or 2.
    pub version: u8,
}

pub(super) fn read(host: &Host, image: bool, mounts: &[Mount]) -> Result<System, FsError> {
    let fs = &host.fs;
    let there = |path: &str| exists(fs, Path::new(path));
    let text = |path: &str| read_text(fs, Path::new(path), TEXT_LIMIT);
    let os = match text("/etc/os-release")? {
        Some(text) => os_release(&text),
        None => text("/usr/lib/os-release")?
            .map(|text| os_release(&text))
            .unwrap_or_default(),
    };
    let manager = if image {
        Manager::Image {
            systemd: there("/usr/lib/systemd/systemd")? || there("/lib/systemd/systemd")?,
        }
    } else if there("/run/systemd/system")? {
        Manager::Systemd
    } else {
        Manager::None
    };
    let kernel = text("/proc/sys/kernel/osrelease")?.unwrap_or_default();
    let root = mounts::at(mounts, Path::new("/"));
    Ok(System {
        name: format!("{}-linux", nix_arch(std::env::consts::ARCH)),
        os,
        manager,
        container: container(host)?,
        wsl: wsl(&kernel),
        nixos: there("/etc/NIXOS")?,
        ostree: there("/run/ostree-booted")?,
        composefs: root
            .is_some_and(|root| root.kind == "composefs" || root.source.contains("composefs")),
    })
}

/// Nix's word for a processor, from Rust's.
fn nix_arch(arch: &str) -> &str {
    match arch {
        "x86" => "i686",
        "arm" => "armv7l",
        "powerpc64" => "powerpc64le",
        other => other,
    }
}

/// Kind of the container, by the marks that container managers leave.
fn container(host: &Host) -> Result<Option<String>, FsError> {
    let fs = &host.fs;
    if let Some(kind) = read_text(fs, Path::new("/run/systemd/container"), 256)? {
        return Ok(Some(kind.trim().to_owned()));
    }
    for (mark, kind) in [("/run/.containerenv", "podman"), ("/.dockerenv", "docker")] {
        if exists(fs, Path::new(mark))? {
            return Ok(Some(kind.to_owned()));
        }
    }
    // Only root may read it; a refusal says nothing about containers.
    let environment = fs
        .read(Path::new("/proc/1/environ"), TEXT_LIMIT)
        .ok()
        .flatten();
    Ok(environment.as_deref().and_then(container_variable))
}

fn container_variable(environment: &[u8]) -> Option<String> {
    environment
        .split(|byte| *byte == 0)
        .find_map(|variable| variable.strip_prefix(b"container="))
        .map(|kind| String::from_utf8_lossy(kind).into_owned())
        .filter(|kind| !kind.is_empty())
}

fn wsl(kernel: &str) -> Option<Wsl> {
    let kernel = kernel.to_lowercase();
    kernel.contains("microsoft").then(|| Wsl {
        version: if kernel.contains("microsoft-standard") || kernel.contains("wsl2") {
            2
        } else {
            1
        },
    })
}

fn os_release(text: &str) -> OsRelease {
    let value = |key: &str| {
        text.lines()
            .filter_map(|line| line.trim().split_once('='))
            .find(|(name, _)| *name == key)
            .map(|(_, value)| value.trim_matches(['"', '\'']).to_owned())
            .unwrap_or_default()
    };
    OsRelease {
        id: value("ID").to_lowercase(),
        like: value("ID_LIKE")
            .to_lowercase()
            .split_whitespace()
            .map(str::to_owned)
            .collect(),
        version: value("VERSION_ID"),
        name: value("PRETTY_NAME"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::catalogue::facts::testing::Machine;

    #[test]
    fn a_debian_machine_is_read() {
        let machine = Machine::new()
            .file(
                "/usr/lib/os-release",
                "PRETTY_NAME=\"Debian 13\"\nID=debian\nVERSION_ID=\"13\"\n",
            )
            .link("/etc/os-release", "../usr/lib/os-release")
            .directory("/run/systemd/system")
            .file("/proc/sys/kernel/osrelease", "6.12.0-amd64\n");
        let system = read(&machine.host(), false, &[]).unwrap();
        assert_eq!(system.os.id, "debian");
        assert_eq!(system.os.version, "13");
        assert_eq!(system.manager, Manager::Systemd);
        assert_eq!((system.container, system.wsl), (None, None));
        assert!(!system.nixos && !system.ostree && !system.composefs);
        assert!(system.name.ends_with("-linux"));
    }

    #[test]
    fn an_image_has_no_running_manager() {
        let machine = Machine::new()
            .file("/usr/lib/systemd/systemd", "")
            .directory("/run/systemd/system");
        assert_eq!(
            read(&machine.host(), true, &[]).unwrap().manager,
            Manager::Image { systemd: true }
        );
        assert_eq!(
            read(&Machine::new().host(), true, &[]).unwrap().manager,
            Manager::Image { systemd: false }
        );
    }

    #[test]
    fn containers_are_known_by_their_marks() {
        let of = |machine: Machine| read(&machine.host(), false, &[]).unwrap().container;
        assert_eq!(
            of(Machine::new().file("/.dockerenv", "")).as_deref(),
            Some("docker")
        );
        assert_eq!(
            of(Machine::new().file("/run/.containerenv", "")).as_deref(),
            Some("podman")
        );
        assert_eq!(
            of(Machine::new().file("/run/systemd/container", "systemd-nspawn\n")).as_deref(),
            Some("systemd-nspawn")
        );
        assert_eq!(
            of(Machine::new().file("/proc/1/environ", "A=1\0container=lxc\0")).as_deref(),
            Some("lxc")
        );
        assert_eq!(
            of(Machine::new().file("/proc/1/environ", "xcontainer=lxc\0")),
            None
        );
    }

    #[test]
    fn wsl_is_known_by_its_kernel() {
        assert_eq!(wsl("6.12.0-amd64\n"), None);
        assert_eq!(wsl("4.4.0-19041-Microsoft\n"), Some(Wsl { version: 1 }));
        assert_eq!(
            wsl("5.15.153.1-microsoft-standard-WSL2\n"),
            Some(Wsl { version: 2 })
        );
    }

    #[test]
    fn composefs_and_nixos_are_known() {
        let mounts = mounts::parse("25 1 0:23 / / ro - overlay composefs ro\n");
        let machine = Machine::new()
            .file("/run/ostree-booted", "")
            .file("/etc/NIXOS", "");
        let system = read(&machine.host(), false, &mounts).unwrap();
        assert!(system.composefs && system.ostree && system.nixos);
        assert!(
            !read(
                &machine.host(),
                false,
                &mounts::parse("25 1 0:23 / / rw - overlay overlay rw\n")
            )
            .unwrap()
            .composefs
        );
    }
}

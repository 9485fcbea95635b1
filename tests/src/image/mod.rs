//! The Debian roots that machines are laid over: built once, shared read-only, never changed.
//!
//! A recipe is a list of packages and a script that runs in the new root; an image's name carries
//! the hash of its recipe, so that a changed recipe gives a new image and old ones stay usable.

mod debian;
mod debs;

use std::path::PathBuf;

pub use debian::{Suite, Variant, bootstrap};
pub use debs::{Deb, unpack};

use crate::error::Result;
use crate::paths;

/// Which root a machine is made of.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// Debian with systemd, D-Bus, polkit, four shells and the users alice, bob and carol.
    System,
    /// Debian without init and bus, as in a container image: bash, core tools, CA certificates.
    Container,
}

/// What every image has: sandbox shell of Debian's Nix, certificates, tools that tests call.
const COMMON: &str = "bash,bash-static,bsdutils,ca-certificates,libc-bin,passwd,procps,util-linux,\
                      xz-utils,zstd,sqlite3";
const SYSTEM: &str = "systemd,systemd-sysv,dbus,polkitd,libpam-systemd,sudo,zsh,fish,iproute2,\
                      python3-minimal,python3-dbus,python3-gi,attr,acl,less,strace,curl,login,\
                      dbus-bin,e2fsprogs";
/// Runs in the new root of every kind; `$1` is "system" or "container".
const SETUP: &str = include_str!("setup.sh");

impl Kind {
    fn name(self) -> &'static str {
        match self {
            Self::System => "system",
            Self::Container => "container",
        }
    }

    fn packages(self) -> String {
        match self {
            Self::System => format!("{COMMON},{SYSTEM}"),
            Self::Container => COMMON.to_owned(),
        }
    }
}

/// The root folder of an image, built when it is not there yet (one to two minutes).
pub fn root(kind: Kind) -> Result<PathBuf> {
    let packages = kind.packages();
    let key = paths::key(&[kind.name(), &packages, SETUP, debian::RECIPE]);
    let name = format!("{}-{key}", kind.name());
    let image = paths::cached(&paths::lab("images")?, &name, |scratch| {
        println!("lab: building the image `{}` (once)", kind.name());
        let root = scratch.join("root");
        let variant = match kind {
            Kind::System => Variant::Apt,
            Kind::Container => Variant::Essential,
        };
        let setup = format!("{SETUP}\nsetup {}\n", kind.name());
        bootstrap(&root, Suite::Trixie, variant, &packages, Some(&setup))
    })?;
    Ok(image.join("root"))
}

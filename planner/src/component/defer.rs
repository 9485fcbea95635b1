//! What waits for the final step because of what it is.
//!
//! The tables name what is known to be shared by everything; what is not known at all waits too, so a
//! name that is missing here costs nothing but disk.

use super::link::World;
use super::piece::{ComponentId, ComponentKind};
use super::reason::DeferReason;
use super::unit::Unit;
use crate::units::UnitType;

/// Families of units that everything runs on, beside those whose name begins with `systemd-`: the bus,
/// name lookups, authorisation, users, and Nix and nixctl themselves, which carry the switch out.
const CORE_UNITS: [&str; 16] = [
    "autovt",
    "console-getty",
    "container-getty",
    "dbus",
    "dbus-broker",
    "emergency",
    "getty",
    "nix-daemon",
    "nixctld",
    "nscd",
    "nsncd",
    "polkit",
    "rescue",
    "serial-getty",
    "sssd",
    "userborn",
];

/// Packages of the same kind: a unit that comes from one belongs to it.
const CORE_PACKAGES: [&str; 21] = [
    "dbus",
    "dbus-broker",
    "glibc",
    "glibc-locales",
    "kmod",
    "linux",
    "linux-firmware",
    "linux-pam",
    "musl",
    "nix",
    "nixctl",
    "nscd",
    "nsncd",
    "polkit",
    "shadow",
    "sssd",
    "sudo",
    "systemd",
    "systemd-minimal",
    "udev",
    "userborn",
];

/// Entries of `etc` that everything reads, or that only the activation or early boot applies.
const SHARED_ETC: [&str; 67] = [
    "NIXOS",
    "adjtime",
    "binfmt.d",
    "ca-certificates",
    "crypttab",
    "dbus-1",
    "doas.conf",
    "environment",
    "fstab",
    "gai.conf",
    "group",
    "gshadow",
    "host.conf",
    "hostname",
    "hosts",
    "kernel",
    "ld-nix.so.preload",
    "ld.so.cache",
    "ld.so.conf",
    "ld.so.conf.d",
    "ld.so.preload",
    "locale.conf",
    "localtime",
    "login.defs",
    "lsb-release",
    "lvm",
    "machine-id",
    "mdadm.conf",
    "modprobe.d",
    "modules-load.d",
    "mtab",
    "netgroup",
    "networks",
    "nix",
    "nixctl",
    "nixos",
    "nscd.conf",
    "nsncd.conf",
    "nsswitch.conf",
    "os-release",
    "pam",
    "pam.conf",
    "pam.d",
    "passwd",
    "pki",
    "polkit-1",
    "profile",
    "profiles",
    "protocols",
    "resolv.conf",
    "rpc",
    "securetty",
    "security",
    "services",
    "set-environment",
    "shadow",
    "shells",
    "ssl",
    "static",
    "subgid",
    "subuid",
    "sudoers",
    "sudoers.d",
    "sysctl.d",
    "systemd",
    "udev",
    "zoneinfo",
];

/// Entries that only programs read which a person starts, afresh each time.
const ALONE_ETC: [&str; 18] = [
    "bash.bashrc",
    "bash_completion.d",
    "bashrc",
    "emacs",
    "fonts",
    "gitconfig",
    "htoprc",
    "inputrc",
    "issue",
    "lesskey",
    "man_db.conf",
    "motd",
    "nanorc",
    "terminfo",
    "tmux.conf",
    "vim",
    "xdg",
    "zshrc",
];

/// Units of early boot are ordered before one of these, or wanted by it.
const EARLY_TARGETS: [&str; 8] = [
    "basic.target",
    "cryptsetup.target",
    "initrd.target",
    "local-fs-pre.target",
    "local-fs.target",
    "swap.target",
    "sysinit-reactivation.target",
    "sysinit.target",
];

/// Whether everything reads this entry of `etc`, so that naming it says nothing.
pub(super) fn is_shared_etc(id: &ComponentId) -> bool {
    id.kind() == ComponentKind::Etc && SHARED_ETC.contains(&id.name())
}

/// Whether this entry of `etc` can change alone although no unit names it.
pub(super) fn is_alone_etc(id: &ComponentId) -> bool {
    id.kind() == ComponentKind::Etc && ALONE_ETC.contains(&id.name())
}

/// Why a piece waits because of what it is.
pub(super) fn own_reason(world: &World<'_>, id: &ComponentId) -> Option<DeferReason> {
    match id.kind() {
        ComponentKind::Unit => unit_reason(world, id),
        ComponentKind::Etc => is_shared_etc(id).then(|| DeferReason::EverythingReads {
            path: id.name().to_owned(),
        }),
        ComponentKind::Package => is_core_package(id.name()).then(|| core(id.name())),
        ComponentKind::Final => None,
    }
}

fn unit_reason(world: &World<'_>, id: &ComponentId) -> Option<DeferReason> {
    let family = id.name();
    if CORE_UNITS.contains(&family) || family.starts_with("systemd-") {
        return Some(core(family));
    }
    let mut units = world.units_of(id).peekable();
    if units.peek().is_none() {
        return Some(DeferReason::ManyUnits {
            folder: family.to_owned(),
        });
    }
    units.find_map(reason_of)
}

fn reason_of(unit: &Unit) -> Option<DeferReason> {
    let name = unit.name.as_str().to_owned();
    let alone = [
        UnitType::Service,
        UnitType::Socket,
        UnitType::Timer,
        UnitType::Path,
    ];
    if !alone.contains(&unit.name.kind()) {
        return Some(DeferReason::UnitKind { unit: name });
    }
    if let Err(why) = &unit.file {
        return Some(DeferReason::Unreadable { why: why.clone() });
    }
    if let Some(origin) = unit
        .origins
        .iter()
        .map(|origin| origin.package().name)
        .find(|package| is_core_package(package))
    {
        return Some(core(&origin));
    }
    early_sign(unit).map(|sign| DeferReason::EarlyBoot { unit: name, sign })
}

fn early_sign(unit: &Unit) -> Option<String> {
    if !unit.flag("Unit", "DefaultDependencies", true) {
        return Some("DefaultDependencies=no".to_owned());
    }
    let early = |name: &String| EARLY_TARGETS.contains(&name.as_str());
    for (section, key) in [
        ("Unit", "Before"),
        ("Install", "WantedBy"),
        ("Install", "RequiredBy"),
    ] {
        if let Some(target) = unit.words(section, key).into_iter().find(early) {
            return Some(format!("{key}={target}"));
        }
    }
    let target = unit.wanted_by.iter().find(|name| early(name))?;
    Some(format!("{target} wants it"))
}

fn is_core_package(name: &str) -> bool {
    CORE_PACKAGES.contains(&name)
}

fn core(what: &str) -> DeferReason {
    DeferReason::Core {
        what: what.to_owned(),
    }
}

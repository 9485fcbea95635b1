//! Machines with one obstacle each, and the check that must find it.

use super::*;

/// One thing that differs from a plain machine, the check that must fail, its code, and a part of
/// the message and of the help.
pub(super) type Row = (
    &'static str,
    Code,
    fn(&mut Facts),
    &'static str,
    &'static str,
);

pub(super) fn table() -> Vec<Row> {
    vec![
        (
            "nixos",
            Code::IsNixos,
            |f| f.system.nixos = true,
            "/etc/NIXOS",
            "nixctl switch",
        ),
        (
            "existing-nix",
            Code::ForeignNix,
            |f| {
                let parts = Adoption::Safe(Box::default());
                f.existing = found(ExistingKind::MultiUserScript, parts);
            },
            "official multi-user script, version 2.20.1: /some/mark was found; taking it over is safe",
            "--adopt",
        ),
        (
            "existing-nix",
            Code::ForeignNix,
            |f| {
                f.existing = found(
                    ExistingKind::Determinate,
                    unsafe_because("it stays", "rm it"),
                );
            },
            "/some/mark was found, and it stays",
            "rm it",
        ),
        (
            "nix-folder",
            Code::UnsupportedSystem,
            |f| f.nix_dir = NixDir::Link("/data/nix".into()),
            "a link to /data/nix",
            "mount --bind",
        ),
        (
            "nix-folder",
            Code::UnsupportedSystem,
            |f| f.nix_dir = NixDir::NotDirectory,
            "not a folder",
            "move /nix away",
        ),
        (
            "leftovers",
            Code::Leftovers,
            |f| {
                f.leftovers = vec![leftover(
                    LeftoverKind::Backup,
                    "/etc/bashrc.backup-before-nix",
                )]
            },
            "/etc/bashrc.backup-before-nix (seen)",
            "mv /etc/bashrc.backup-before-nix",
        ),
        (
            "leftovers",
            Code::Leftovers,
            |f| f.leftovers = vec![leftover(LeftoverKind::MaskedUnit, "/x/nix-daemon.socket")],
            "/x/nix-daemon.socket",
            "systemctl unmask nix-daemon.socket",
        ),
        (
            "leftovers",
            Code::Leftovers,
            |f| f.leftovers = vec![leftover(LeftoverKind::StaticLink, "/etc/static")],
            "/etc/static",
            "mv /etc/static",
        ),
        (
            "wsl",
            Code::UnsupportedSystem,
            |f| {
                f.system.wsl = Some(Wsl { version: 2 });
                f.system.manager = Manager::None;
            },
            "without systemd",
            "/etc/wsl.conf",
        ),
        (
            "wsl",
            Code::UnsupportedSystem,
            |f| f.system.wsl = Some(Wsl { version: 1 }),
            "WSL 1",
            "--set-version",
        ),
        (
            "image-based",
            Code::UnsupportedSystem,
            |f| f.system.composefs = true,
            "composefs",
            "prepare-root.conf",
        ),
        (
            "image-based",
            Code::UnsupportedSystem,
            |f| f.system.ostree = true,
            "ostree",
            "prepare-root.conf",
        ),
        (
            "read-only",
            Code::ReadOnly,
            |f| f.places.root.read_only = true,
            "cannot make /nix: the file system of / is read-only",
            "mount -o remount,rw /",
        ),
        (
            "read-only",
            Code::ReadOnly,
            |f| f.places.etc.read_only = true,
            "the file system of /etc",
            "remount,rw /etc",
        ),
        (
            "read-only",
            Code::ReadOnly,
            |f| f.places.state.read_only = true,
            "cannot write the journal",
            "remount,rw /var/lib/nixctl",
        ),
        (
            "noexec",
            Code::NoexecTemp,
            |f| f.places.store.noexec = true,
            "noexec",
            "remount,exec",
        ),
        (
            "space",
            Code::NoSpace,
            |f| f.places.store.free_bytes = 1 << 20,
            "the file system of /nix: it needs",
            "free",
        ),
        (
            "space",
            Code::NoSpace,
            |f| f.places.store.free_inodes = 10,
            "inodes free, reserve included, and has 10",
            "inodes",
        ),
        (
            "space",
            Code::NoSpace,
            |f| {
                f.places.state.device = 2;
                f.places.state.free_bytes = 1 << 20;
            },
            "the file system of /var/lib/nixctl",
            "/var/lib/nixctl",
        ),
        (
            "ids",
            Code::IdsTaken,
            |f| f.build_users.taken_uids = (30_000..5_000_000).step_by(20).collect(),
            "free ids in a row",
            "build_user_id_base",
        ),
        (
            "ids",
            Code::UnsupportedSystem,
            |f| {
                f.uid_map = vec![IdRange {
                    first: 0,
                    count: 1000,
                }]
            },
            "id map is too small",
            "lxc.idmap",
        ),
        (
            "tools",
            Code::MissingTool,
            |f| f.tools.clear(),
            "systemd-sysusers, useradd with groupadd, adduser with addgroup",
            "install",
        ),
        (
            "tools",
            Code::MissingTool,
            |f| {
                f.tools.remove("userdel");
            },
            "take away the build users",
            "install",
        ),
        (
            "tools",
            Code::MissingTool,
            |f| {
                let missing_tools = vec!["semodule".to_owned()];
                f.selinux = Selinux {
                    enabled: true,
                    enforcing: true,
                    missing_tools,
                };
            },
            "`semodule` is not installed",
            "policycoreutils",
        ),
        (
            "clock",
            Code::ClockOff,
            |f| f.clock_skew = Some(7300),
            "2 h behind",
            "timedatectl",
        ),
        (
            "clock",
            Code::ClockOff,
            |f| f.clock_skew = Some(-7300),
            "2 h ahead of",
            "timedatectl",
        ),
        (
            "clock",
            Code::ClockOff,
            |f| {
                f.clock_skew = None;
                f.now = 0;
            },
            "before nixctl was made",
            "timedatectl",
        ),
        (
            "network",
            Code::TlsIntercepted,
            |f| {
                f.network = Some(Failure::new(
                    Code::TlsIntercepted,
                    "cannot trust proxy.corp",
                ))
            },
            "proxy.corp",
            "CA bundle",
        ),
        (
            "release",
            Code::BadSource,
            |f| f.system.name = "aarch64-linux".to_owned(),
            "it is for x86_64-linux, not aarch64-linux",
            "aarch64-linux",
        ),
    ]
}

pub(super) fn leftover(kind: LeftoverKind, path: &str) -> Leftover {
    Leftover {
        kind,
        path: path.into(),
        seen: "seen".to_owned(),
    }
}

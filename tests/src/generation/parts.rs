//! What each service brings to a generation: packages, units, files of /etc and a user. The texts
//! are real files under `files/generation`, with `@NAME@` where a store path or setting goes.

use super::spec::Service;

/// A part of a generation.
#[derive(Debug)]
pub struct Part {
    /// Packages, whole.
    pub packages: &'static [&'static str],
    /// Name and text of each unit.
    pub units: &'static [(&'static str, &'static str)],
    /// Path below /etc and text of each file.
    pub etc: &'static [(&'static str, &'static str)],
    /// The user it runs as, with id and home.
    pub user: Option<(&'static str, u32, &'static str)>,
}

macro_rules! service {
    ($file:literal) => {
        include_str!(concat!("../../files/generation/services/", $file))
    };
}
macro_rules! system {
    ($file:literal) => {
        include_str!(concat!("../../files/generation/system/", $file))
    };
}
macro_rules! product {
    ($file:literal) => {
        include_str!(concat!("../../../units/etc/systemd/system/", $file))
    };
}

/// The scripts of a toplevel.
pub const ACTIVATE: &str = system!("activate.sh");
/// What runs as process 1 until systemd does.
pub const INIT: &str = system!("init.sh");
/// Brings the generation to a running machine.
pub const SWITCH: &str = system!("switch-to-configuration.sh");
/// Writes the boot entries.
pub const BOOT_ENTRIES: &str = system!("install-boot-entries.sh");
/// The machine's boot loader and first stage; not part of a generation.
pub const BOOT: &str = system!("boot.sh");

/// The packages whose commands are in `sw`.
pub const TOOLS: [&str; 10] = [
    "bash",
    "coreutils",
    "curl",
    "git",
    "jq",
    "openssh-client",
    "openssl",
    "postgresql-client-17",
    "redis-tools",
    "sqlite3",
];

/// The few tools of a small generation.
pub const FEW_TOOLS: [&str; 3] = ["bash", "coreutils", "redis-tools"];

/// What every generation has, nixctl's own units included, as a module of NixOS would bring them:
/// /etc/systemd/system belongs to the generation, so nothing else can put units there.
pub const SYSTEM: Part = Part {
    packages: &[],
    units: &[
        ("network.service", system!("network.service")),
        ("beat.service", system!("beat.service")),
        ("beat.timer", system!("beat.timer")),
        ("note@.service", system!("note@.service")),
        ("greet.socket", system!("greet.socket")),
        ("greet.service", system!("greet.service")),
        ("nix.mount", system!("nix.mount")),
        (
            "sysinit-reactivation.target",
            system!("sysinit-reactivation.target"),
        ),
        (
            "systemd-tmpfiles-resetup.service",
            system!("systemd-tmpfiles-resetup.service"),
        ),
        ("nix-daemon.service", product!("nix-daemon.service")),
        ("nix-daemon.socket", product!("nix-daemon.socket")),
        ("nixctld.service", product!("nixctld.service")),
        ("nixctld.socket", product!("nixctld.socket")),
        ("nixctld.service.d/lab.conf", system!("nixctld-lab.conf")),
    ],
    etc: &[
        ("os-release", system!("os-release")),
        ("profile.d/lab-generation.sh", system!("profile.sh")),
        ("tmpfiles.d/lab-generation.conf", system!("tmpfiles.conf")),
    ],
    user: None,
};

/// Links in the folder of units beside those that `[Install]` asks for: an instance of a template
/// with a dot in its name, and another name for nixctl's daemon on the bus.
pub const LINKS: [(&str, &str); 2] = [
    (
        "multi-user.target.wants/note@a.b.service",
        "../note@.service",
    ),
    ("dbus-org.nixctl1.service", "nixctld.service"),
];

/// Units of the machine's Debian that nobody needs in the lab.
pub const MASKED: [&str; 13] = [
    "apt-daily-upgrade.timer",
    "apt-daily.timer",
    "console-getty.service",
    "dpkg-db-backup.timer",
    "e2scrub_all.timer",
    "e2scrub_reap.service",
    "fstrim.timer",
    "getty.target",
    "ldconfig.service",
    "man-db.timer",
    "systemd-firstboot.service",
    "systemd-journal-catalog-update.service",
    "systemd-networkd-wait-online.service",
];

/// What a service brings.
#[must_use]
pub fn part(service: Service) -> Part {
    match service {
        Service::Redis => Part {
            packages: &["redis-server"],
            units: &[("redis.service", service!("redis.service"))],
            etc: &[("redis/redis.conf", service!("redis.conf"))],
            user: Some(("redis", 910, "/var/lib/redis")),
        },
        Service::Nginx => Part {
            packages: &["nginx", "nginx-common"],
            units: &[("nginx.service", service!("nginx.service"))],
            etc: &[("nginx/nginx.conf", service!("nginx.conf"))],
            user: Some(("nginx", 911, "/var/empty")),
        },
        Service::Sshd => Part {
            packages: &["openssh-server", "openssh-client"],
            units: &[("sshd.service", service!("sshd.service"))],
            etc: &[
                ("ssh/sshd_config", service!("sshd_config")),
                ("ssh/ssh_config", service!("ssh_config")),
            ],
            user: Some(("sshd", 912, "/var/empty")),
        },
        Service::Postgresql => Part {
            packages: &["postgresql-17"],
            units: &[("postgresql.service", service!("postgresql.service"))],
            etc: &[],
            user: Some(("postgres", 913, "/var/lib/postgresql")),
        },
        Service::Memcached => Part {
            packages: &["memcached"],
            units: &[("memcached.service", service!("memcached.service"))],
            etc: &[],
            user: Some(("memcached", 914, "/var/empty")),
        },
        Service::Caddy => Part {
            packages: &["caddy"],
            units: &[("caddy.service", service!("caddy.service"))],
            etc: &[("caddy/Caddyfile", service!("Caddyfile"))],
            user: Some(("caddy", 915, "/var/lib/caddy")),
        },
        Service::NodeExporter => Part {
            packages: &["prometheus-node-exporter"],
            units: &[("node-exporter.service", service!("node-exporter.service"))],
            etc: &[],
            user: Some(("metrics", 916, "/var/empty")),
        },
        Service::Nats => Part {
            packages: &["nats-server"],
            units: &[("nats.service", service!("nats.service"))],
            etc: &[],
            user: Some(("nats", 917, "/var/empty")),
        },
        Service::Haproxy => Part {
            packages: &["haproxy"],
            units: &[("haproxy.service", service!("haproxy.service"))],
            etc: &[("haproxy/haproxy.cfg", service!("haproxy.cfg"))],
            user: Some(("haproxy", 918, "/var/empty")),
        },
        Service::Unbound => Part {
            packages: &["unbound"],
            units: &[("unbound.service", service!("unbound.service"))],
            etc: &[("unbound/unbound.conf", service!("unbound.conf"))],
            user: Some(("unbound", 919, "/var/empty")),
        },
    }
}

/// Every package that some generation needs.
#[must_use]
pub fn packages() -> Vec<&'static str> {
    let services = Service::ALL.into_iter().flat_map(|one| part(one).packages);
    let mut all: Vec<&str> = TOOLS.iter().chain(services).copied().collect();
    all.extend(SYSTEM.packages);
    all.push(super::relocate::SHELL);
    all.sort_unstable();
    all.dedup();
    all
}

/// The texts of everything, for the key of what is built of them.
#[must_use]
pub fn texts() -> Vec<&'static str> {
    let parts = Service::ALL.into_iter().map(part).chain([SYSTEM]);
    let files = parts.flat_map(|part| part.units.iter().chain(part.etc));
    let files = files.flat_map(|(name, text)| [*name, *text]);
    let scripts = [ACTIVATE, INIT, SWITCH, BOOT_ENTRIES];
    files.chain(scripts).collect()
}

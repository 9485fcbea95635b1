//! What a generation shall be, in a few words: its packages' suite, its services, its tweaks.

/// Which packages a generation is made of. No store path of a package is in both.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Base {
    /// Debian trixie.
    Old,
    /// Debian sid: another glibc, so every path differs. PostgreSQL stays the version of trixie,
    /// rebuilt against sid's libraries, since its major versions cannot read each other's data.
    New,
}

impl Base {
    /// Both, the older first.
    pub const ALL: [Self; 2] = [Self::Old, Self::New];

    /// The word in names and versions.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Old => "old",
            Self::New => "new",
        }
    }
}

/// A service that a generation may have; all of them listen on 127.0.0.1.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Service {
    /// Port 6379, data in /var/lib/redis.
    Redis,
    /// Port 80: one page that names the generation.
    Nginx,
    /// Port 22, keys of /root/.ssh/authorized_keys.
    Sshd,
    /// Port 5432 and /run/postgresql, data in /var/lib/postgresql.
    Postgresql,
    /// Port 11211.
    Memcached,
    /// Port 8081: one page that names the generation.
    Caddy,
    /// Port 9100.
    NodeExporter,
    /// Port 4222.
    Nats,
    /// Port 8082, in front of nginx; reloads rather than restarts.
    Haproxy,
    /// Port 5353: the TXT record of `generation.lab` names the generation.
    Unbound,
}

impl Service {
    /// Every service.
    pub const ALL: [Self; 10] = [
        Self::Redis,
        Self::Nginx,
        Self::Sshd,
        Self::Postgresql,
        Self::Memcached,
        Self::Caddy,
        Self::NodeExporter,
        Self::Nats,
        Self::Haproxy,
        Self::Unbound,
    ];

    /// The unit.
    #[must_use]
    pub fn unit(self) -> &'static str {
        match self {
            Self::Redis => "redis.service",
            Self::Nginx => "nginx.service",
            Self::Sshd => "sshd.service",
            Self::Postgresql => "postgresql.service",
            Self::Memcached => "memcached.service",
            Self::Caddy => "caddy.service",
            Self::NodeExporter => "node-exporter.service",
            Self::Nats => "nats.service",
            Self::Haproxy => "haproxy.service",
            Self::Unbound => "unbound.service",
        }
    }

    /// The TCP port it answers on.
    #[must_use]
    pub fn port(self) -> u16 {
        match self {
            Self::Redis => 6379,
            Self::Nginx => 80,
            Self::Sshd => 22,
            Self::Postgresql => 5432,
            Self::Memcached => 11211,
            Self::Caddy => 8081,
            Self::NodeExporter => 9100,
            Self::Nats => 4222,
            Self::Haproxy => 8082,
            Self::Unbound => 5353,
        }
    }
}

/// A small change that gives another generation at the cost of a few small files.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Tweak {
    /// Redis runs but on port 7379: the unit is active, a probe of the usual port fails.
    RedisElsewhere,
    /// Redis does not start: its configuration is wrong.
    RedisBroken,
    /// The loopback goes down: nobody comes in over the network any more.
    NetworkDown,
    /// Memcached gets another setting, all else stays.
    OneUnit,
    /// A snippet of the activation fails; the rest goes on.
    ActivationFails,
    /// A switch inhibitor has another value: only a reboot may bring this generation.
    Inhibitor,
    /// Redis runs when the generation is switched to, and not when it is booted.
    SickAtBoot,
    /// Another kernel and another initial RAM disk.
    OtherKernel,
    /// Another init interface: the switch ends with 100.
    InitInterface,
    /// A service keeps its package of the older base, and so the very same unit and closure. Only for
    /// services whose unit names nothing else that differs: the node exporter and memcached.
    Kept(Service),
    /// Each trivial unit has a comment more, which changes its file and nothing else.
    Comment,
    /// Only the tools that campaigns need are in `sw`: a fifth of the bytes of all.
    FewTools,
    /// So many one-shot units that do nothing, of which the first `changed` differ from those of a
    /// generation with fewer changed ones.
    TrivialUnits {
        /// How many there are.
        count: u32,
        /// How many are changed.
        changed: u32,
    },
}

/// The description of a generation. Two that are equal give the same store paths.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Spec {
    /// What pages and notes call the generation.
    pub name: String,
    /// The packages.
    pub base: Base,
    /// The services.
    pub services: Vec<Service>,
    /// The changes.
    pub tweaks: Vec<Tweak>,
}

impl Spec {
    /// The older main generation: all services, from trixie.
    #[must_use]
    pub fn old() -> Self {
        Self::of(Base::Old)
    }

    /// The newer main generation: all services, from sid.
    #[must_use]
    pub fn new() -> Self {
        Self::of(Base::New)
    }

    fn of(base: Base) -> Self {
        Self {
            name: base.name().to_owned(),
            base,
            services: Service::ALL.to_vec(),
            tweaks: Vec::new(),
        }
    }

    /// The same with a change, under another name.
    #[must_use]
    pub fn with(mut self, name: &str, tweak: Tweak) -> Self {
        name.clone_into(&mut self.name);
        self.tweaks.push(tweak);
        self
    }

    /// The same with a change that the generation does not show in its pages: what does not carry
    /// the change is the same store path as without it.
    #[must_use]
    pub fn tweaked(mut self, tweak: Tweak) -> Self {
        self.tweaks.push(tweak);
        self
    }

    /// Packages that are of the older base whatever the base is.
    pub(super) fn kept_packages(&self) -> impl Iterator<Item = &'static str> {
        let kept = self.tweaks.iter().filter_map(|tweak| match tweak {
            Tweak::Kept(service) => Some(super::parts::part(*service).packages),
            _ => None,
        });
        kept.flatten().copied()
    }

    /// The same with these services only, under another name.
    #[must_use]
    pub fn only(mut self, name: &str, services: &[Service]) -> Self {
        name.clone_into(&mut self.name);
        self.services = services.to_vec();
        self
    }
}

impl Default for Spec {
    fn default() -> Self {
        Self::new()
    }
}

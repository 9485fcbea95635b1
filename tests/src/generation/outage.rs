//! Watches from inside a machine how long each of its services is away.
//!
//! One small program asks every service every 50 ms in its own language. A service is away from its
//! last good answer until its next one, when it failed to answer in between.

use std::collections::BTreeMap;
use std::fmt;
use std::time::Duration;

use serde::Deserialize;

use super::spec::Service;
use crate::Machine;
use crate::error::{Context, Result};
use crate::exec::{Background, Output};

/// The program that asks.
const POLL: &str = include_str!("../../files/poll.py");
/// Where it lies in the machine: not on /nix, which may be full.
const PLACE: &str = "/var/tmp/poll.py";
/// How long it may take to begin and to end.
const PATIENCE: Duration = Duration::from_secs(30);

/// Asks the services of a machine until it is stopped.
#[derive(Debug)]
pub struct Poller(Background);

/// What came of asking one service.
#[derive(Debug, Clone, Default, Deserialize)]
pub struct Watched {
    /// How often it was asked.
    pub polls: u32,
    /// When it was away.
    pub outages: Vec<Outage>,
}

/// One time that a service was away, by the machine's monotonic clock in seconds.
#[derive(Debug, Clone, Deserialize)]
pub struct Outage {
    /// The last good answer.
    pub from: f64,
    /// The next good answer.
    pub to: f64,
    /// How often it was asked in between.
    pub failed: u32,
}

impl Outage {
    /// How long it took.
    #[must_use]
    pub fn length(&self) -> Duration {
        Duration::from_secs_f64((self.to - self.from).max(0.0))
    }
}

impl Watched {
    /// The longest outage; none when every question was answered.
    #[must_use]
    pub fn longest(&self) -> Option<Duration> {
        self.outages.iter().map(Outage::length).max()
    }

    /// Questions that were not answered.
    #[must_use]
    pub fn failed(&self) -> u32 {
        self.outages.iter().map(|outage| outage.failed).sum()
    }
}

impl fmt::Display for Watched {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} of {} polls failed", self.failed(), self.polls)?;
        for outage in &self.outages {
            let length = outage.length().as_secs_f64();
            write!(f, "; {length:.2} s from {:.2}", outage.from)?;
        }
        Ok(())
    }
}

impl Service {
    /// The language it is asked in.
    fn language(self) -> &'static str {
        match self {
            Self::Redis => "redis",
            Self::Nginx | Self::Caddy | Self::NodeExporter => "http",
            Self::Haproxy => "proxy",
            Self::Sshd => "ssh",
            Self::Postgresql => "postgres",
            Self::Memcached => "memcached",
            Self::Nats => "nats",
            Self::Unbound => "dns",
        }
    }
}

impl Poller {
    /// Begins to ask these services.
    pub fn start(machine: &Machine, services: &[Service]) -> Result<Self> {
        machine.write_file(PLACE, POLL, 0o644)?;
        let mut words = vec!["python3".to_owned(), PLACE.to_owned()];
        for service in services {
            words.push(service.unit().to_owned());
            words.push(service.language().to_owned());
            words.push(service.port().to_string());
        }
        let mut poller = machine.spawn(&words)?;
        poller.wait_for("polling", PATIENCE)?;
        Ok(Self(poller))
    }

    /// Ends; what came of each service, by its unit.
    pub fn stop(mut self) -> Result<BTreeMap<String, Watched>> {
        self.0.close_input();
        let text = self.0.wait(PATIENCE)?.ok()?.stdout;
        let report = text.lines().last().unwrap_or_default();
        serde_json::from_str(report).context(|| format!("read what the poller saw: {report}"))
    }
}

/// Stops a unit, activates the generation that runs, and starts the unit: how NixOS restarts a
/// service. Arguments: the toplevel, the unit.
const STOP_AND_START: &str = "systemctl stop \"$2\" && \"$1/activate\" && systemctl daemon-reload && \
                              systemctl restart sysinit-reactivation.target && systemctl start \"$2\"";

/// How long a service is away when nothing but itself is restarted.
#[derive(Debug, Clone, Copy, Default)]
pub struct Alone {
    /// By `systemctl restart`.
    pub restart: Duration,
    /// Stopped before an activation and started after it.
    pub stop_and_start: Duration,
}

/// Restarts each of these services by itself, in both ways, one after the other.
pub fn alone(machine: &Machine, services: &[Service]) -> Result<BTreeMap<String, Alone>> {
    let toplevel = machine.exec(&["readlink", "-f", "/run/current-system"])?;
    let toplevel = toplevel.ok()?.text().to_owned();
    let restart = |unit: &str| machine.exec(&["systemctl", "restart", unit])?.ok();
    let whole = |unit: &str| {
        let words = ["sh", "-c", STOP_AND_START, "sh", &toplevel, unit];
        machine.exec(&words)?.ok()
    };
    let restarts = watch(machine, services, restart)?;
    let whole = watch(machine, services, whole)?;
    let both = restarts.into_iter().map(|(unit, restart)| {
        let stop_and_start = whole.get(&unit).copied().unwrap_or_default();
        let alone = Alone {
            restart,
            stop_and_start,
        };
        (unit, alone)
    });
    Ok(both.collect())
}

/// The longest outage of each service while this is done with one after the other.
fn watch(
    machine: &Machine,
    services: &[Service],
    work: impl Fn(&str) -> Result<Output>,
) -> Result<BTreeMap<String, Duration>> {
    let poller = Poller::start(machine, services)?;
    for service in services {
        work(service.unit())?;
        service.wait(machine, PATIENCE)?;
    }
    // So that the last one is seen to be back.
    std::thread::sleep(Duration::from_millis(500));
    let seen = poller.stop()?.into_iter();
    Ok(seen
        .map(|(unit, watched)| (unit, watched.longest().unwrap_or_default()))
        .collect())
}

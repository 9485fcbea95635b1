//! Tells the service manager how the daemon is: sd_notify(3) and its watchdog.

use std::ffi::OsString;
use std::io;
use std::os::unix::net::{SocketAddr, UnixDatagram};
use std::time::Duration;

/// The service manager's ear; silent when there is none.
#[derive(Debug, Default)]
pub struct Notifier {
    manager: Option<(UnixDatagram, SocketAddr)>,
    watchdog: Option<Duration>,
}

impl Notifier {
    /// The one that the environment names.
    pub fn from_environment() -> Self {
        let watchdog = watchdog_interval(
            std::env::var("WATCHDOG_USEC").ok().as_deref(),
            std::env::var("WATCHDOG_PID").ok().as_deref(),
            std::process::id(),
        );
        let manager = std::env::var_os("NOTIFY_SOCKET").and_then(|name| {
            let address = address(&name);
            match address.and_then(|address| Ok((UnixDatagram::unbound()?, address))) {
                Ok(manager) => Some(manager),
                Err(error) => {
                    tracing::warn!("cannot notify the service manager: {error}");
                    None
                }
            }
        });
        Notifier { manager, watchdog }
    }

    /// How often the watchdog wants to be told, half of its deadline.
    pub fn watchdog(&self) -> Option<Duration> {
        self.watchdog.filter(|_| self.manager.is_some())
    }

    /// Ready to serve.
    pub fn ready(&self) {
        self.send("READY=1");
    }

    /// What is being done, one line.
    pub fn status(&self, text: &str) {
        self.send(&format!("STATUS={}", text.replace('\n', " ")));
    }

    /// Still alive.
    pub fn alive(&self) {
        self.send("WATCHDOG=1");
    }

    /// Reading settings; [`Notifier::ready`] follows.
    pub fn reloading(&self) {
        use nix::time::{ClockId, clock_gettime};

        // Needed by Type=notify-reload to tell this reload from earlier ones.
        let now = clock_gettime(ClockId::CLOCK_MONOTONIC).map_or(Duration::ZERO, Duration::from);
        self.send(&format!("RELOADING=1\nMONOTONIC_USEC={}", now.as_micros()));
    }

    /// On the way out, for at most this long.
    pub fn stopping(&self, limit: Duration) {
        self.send(&format!(
            "STOPPING=1\nEXTEND_TIMEOUT_USEC={}",
            limit.as_micros()
        ));
    }

    fn send(&self, state: &str) {
        let Some((socket, address)) = &self.manager else {
            return;
        };
        if let Err(error) = socket.send_to_addr(state.as_bytes(), address) {
            tracing::debug!("cannot notify the service manager: {error}");
        }
    }
}

/// A path, or after `@` a name in Linux's abstract name space.
fn address(name: &OsString) -> io::Result<SocketAddr> {
    #[cfg(target_os = "linux")]
    {
        use std::os::linux::net::SocketAddrExt;
        use std::os::unix::ffi::OsStrExt;
        if let [b'@', rest @ ..] = name.as_bytes() {
            return SocketAddr::from_abstract_name(rest);
        }
    }
    SocketAddr::from_pathname(name)
}

fn watchdog_interval(usec: Option<&str>, pid: Option<&str>, own: u32) -> Option<Duration> {
    let usec: u64 = usec?.parse().ok().filter(|usec| *usec > 0)?;
    let mine = pid.is_none_or(|pid| pid.parse() == Ok(own));
    mine.then(|| Duration::from_micros(usec / 2))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pair(address: SocketAddr) -> (UnixDatagram, Notifier) {
        let manager = UnixDatagram::bind_addr(&address).unwrap();
        let socket = UnixDatagram::unbound().unwrap();
        (
            manager,
            Notifier {
                manager: Some((socket, address)),
                watchdog: None,
            },
        )
    }

    fn received(manager: &UnixDatagram) -> String {
        let mut bytes = [0; 200];
        let length = manager.recv(&mut bytes).unwrap();
        String::from_utf8_lossy(&bytes[..length]).into_owned()
    }

    #[test]
    fn both_kinds_of_addresses_are_heard() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("notify").into_os_string();
        let mut names = vec![path];
        if cfg!(target_os = "linux") {
            names.push(format!("@nixctld-test-{}", std::process::id()).into());
        }
        for name in names {
            let (manager, notifier) = pair(address(&name).unwrap());
            notifier.ready();
            assert_eq!(received(&manager), "READY=1");
            notifier.status("a\nb");
            assert_eq!(received(&manager), "STATUS=a b");
            notifier.reloading();
            let text = received(&manager);
            let usec = text.strip_prefix("RELOADING=1\nMONOTONIC_USEC=").unwrap();
            assert!(usec.parse::<u64>().unwrap() > 0);
        }
    }

    #[test]
    fn without_a_manager_nothing_happens() {
        let notifier = Notifier::default();
        notifier.ready();
        notifier.stopping(Duration::from_secs(1));
        assert_eq!(notifier.watchdog(), None);
    }

    #[test]
    fn the_watchdog_is_told_in_half_its_time() {
        let half = Some(Duration::from_secs(5));
        assert_eq!(watchdog_interval(Some("10000000"), None, 7), half);
        assert_eq!(watchdog_interval(Some("10000000"), Some("7"), 7), half);
        assert_eq!(watchdog_interval(Some("10000000"), Some("8"), 7), None);
        for wrong in [None, Some(""), Some("0"), Some("x")] {
            assert_eq!(watchdog_interval(wrong, None, 7), None);
        }
    }
}

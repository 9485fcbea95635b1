//! Whether the machine runs from a battery, and whether its network costs.
//!
//! The first is read from the kernel's power supplies. The second is asked of NetworkManager, where
//! one runs; it is not started for that, and has a deadline for its answer. Both may be unknown, as
//! on most servers, which then stands for the ordinary: mains power, and a network that costs
//! nothing.

use std::fmt::Debug;
use std::path::Path;
use std::time::Duration;

use tokio::runtime::Handle;
use zbus::connection::Builder;
use zbus::proxy::{CacheProperties, MethodFlags};
use zbus::zvariant::OwnedValue;
use zbus::{Connection, Proxy};

use super::Fs;

/// Folder of the kernel with an entry for each power supply.
const SUPPLIES: &str = "/sys/class/power_supply";
const MAX_ATTRIBUTE_BYTES: u64 = 4096;
const NETWORK_MANAGER: &str = "org.freedesktop.NetworkManager";
const NETWORK_MANAGER_PATH: &str = "/org/freedesktop/NetworkManager";
const PROPERTIES: &str = "org.freedesktop.DBus.Properties";
/// For connecting and the answer together.
const DEADLINE: Duration = Duration::from_secs(10);

/// What the machine runs from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Supply {
    /// The mains.
    Mains,
    /// A battery, or a UPS, that empties.
    Battery,
    /// Nobody says.
    Unknown,
}

impl Supply {
    /// Whether it runs from a battery, as far as is known.
    pub fn is_battery(self) -> bool {
        self == Supply::Battery
    }
}

/// Whether the network costs by what is fetched.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Metered {
    /// It does, or seems to.
    Yes,
    /// It does not, or seems not to.
    No,
    /// Nobody says.
    Unknown,
}

impl Metered {
    /// Whether it costs, as far as is known.
    pub fn costs(self) -> bool {
        self == Metered::Yes
    }
}

/// Knows the network.
pub trait Network: Send + Sync + Debug {
    /// Whether it costs by what is fetched.
    fn metered(&self) -> Metered;
}

/// What the machine with these files runs from. Batteries of mice and headsets are not meant.
pub fn supply(fs: &Fs) -> Supply {
    let names = fs.list(Path::new(SUPPLIES)).unwrap_or_default();
    let mut found = Supply::Unknown;
    for name in names {
        let folder = Path::new(SUPPLIES).join(name);
        let read = |attribute: &str| {
            let bytes = fs.read(&folder.join(attribute), MAX_ATTRIBUTE_BYTES);
            let bytes = bytes.ok().flatten().unwrap_or_default();
            String::from_utf8_lossy(&bytes).trim().to_owned()
        };
        match read("type").as_str() {
            _ if read("scope") == "Device" => {}
            "Battery" | "UPS" if read("status") == "Discharging" => found = Supply::Battery,
            "Battery" | "UPS" | "" => {}
            // One charger that is plugged in is enough; a laptop with USB-C has several sockets.
            _ if !["", "0"].contains(&read("online").as_str()) => return Supply::Mains,
            _ => {}
        }
    }
    found
}

/// NetworkManager of this machine.
#[derive(Debug)]
pub struct NetworkManager {
    handle: Handle,
    bus: Option<String>,
}

impl NetworkManager {
    /// The one on the system bus. The runtime behind `handle` must be driven by another thread than
    /// the callers'.
    pub fn new(handle: Handle) -> NetworkManager {
        NetworkManager { handle, bus: None }
    }

    async fn ask(&self) -> zbus::Result<Metered> {
        let bus = match &self.bus {
            Some(address) => Builder::address(address.as_str())?,
            None => Builder::system()?,
        };
        read(&bus.build().await?).await
    }
}

impl Network for NetworkManager {
    fn metered(&self) -> Metered {
        let asked = async { tokio::time::timeout(DEADLINE, self.ask()).await };
        match self.handle.block_on(asked) {
            Ok(Ok(metered)) => metered,
            Ok(Err(error)) => {
                tracing::debug!(
                    "cannot ask NetworkManager whether the network is metered: {error}"
                );
                Metered::Unknown
            }
            Err(_) => {
                tracing::debug!("NetworkManager does not say whether the network is metered");
                Metered::Unknown
            }
        }
    }
}

async fn read(connection: &Connection) -> zbus::Result<Metered> {
    let proxy: Proxy<'_> = zbus::proxy::Builder::new(connection)
        .destination(NETWORK_MANAGER)?
        .path(NETWORK_MANAGER_PATH)?
        .interface(PROPERTIES)?
        .cache_properties(CacheProperties::No)
        .build()
        .await?;
    let flags = MethodFlags::NoAutoStart.into();
    let body = (NETWORK_MANAGER, "Metered");
    let value: Option<OwnedValue> = proxy.call_with_flags("Get", flags, &body).await?;
    let number = value.and_then(|value| u32::try_from(value).ok());
    // NMMetered: unknown, yes, no, guess-yes, guess-no.
    Ok(match number {
        Some(1 | 3) => Metered::Yes,
        Some(2 | 4) => Metered::No,
        _ => Metered::Unknown,
    })
}

#[cfg(test)]
mod tests {
    use std::io::{BufRead, BufReader};
    use std::os::unix::fs::symlink;
    use std::process::{Child, Command, Stdio};

    use tempfile::TempDir;

    use super::*;

    /// A machine with power supplies as the kernel shows them: `NAME/ATTRIBUTE VALUE`.
    fn machine(lines: &[&str]) -> (TempDir, Fs) {
        let dir = TempDir::new().unwrap();
        let class = dir.path().join("sys/class/power_supply");
        std::fs::create_dir_all(&class).unwrap();
        for line in lines {
            let (path, value) = line.split_once(' ').unwrap();
            let (name, attribute) = path.split_once('/').unwrap();
            let device = dir.path().join("sys/devices").join(name);
            if !device.exists() {
                std::fs::create_dir_all(&device).unwrap();
                symlink(format!("../../devices/{name}"), class.join(name)).unwrap();
            }
            std::fs::write(device.join(attribute), format!("{value}\n")).unwrap();
        }
        let fs = Fs::at(dir.path());
        (dir, fs)
    }

    #[test]
    fn power_comes_from_the_mains_or_a_battery() {
        let (empty, full) = ("BAT0/status Discharging", "BAT0/status Full");
        let battery = "BAT0/type Battery";
        let mains = "AC/type Mains";
        let cases: [(&[&str], Supply); 11] = [
            (&[], Supply::Unknown),
            (&[battery, empty], Supply::Battery),
            (&[battery, full], Supply::Unknown),
            (&[battery, empty, mains, "AC/online 0"], Supply::Battery),
            (&[battery, empty, mains, "AC/online 1"], Supply::Mains),
            // Plugged in, and yet not charging.
            (
                &[battery, "BAT0/status Not charging", mains, "AC/online 1"],
                Supply::Mains,
            ),
            (&[mains, "AC/online 0"], Supply::Unknown),
            (
                &[
                    battery,
                    empty,
                    "ucsi/type USB",
                    "ucsi/online 0",
                    "ucsj/type USB",
                    "ucsj/online 1",
                ],
                Supply::Mains,
            ),
            // A mouse.
            (
                &[
                    "hid/type Battery",
                    "hid/scope Device",
                    "hid/status Discharging",
                ],
                Supply::Unknown,
            ),
            (&["ups/type UPS", "ups/status Discharging"], Supply::Battery),
            (&["odd/online 1"], Supply::Unknown),
        ];
        for (lines, expected) in cases {
            let (_dir, fs) = machine(lines);
            assert_eq!(supply(&fs), expected, "{lines:?}");
        }
        let none = TempDir::new().unwrap();
        assert_eq!(supply(&Fs::at(none.path())), Supply::Unknown);
    }

    const CONFIG: &str = r#"<busconfig><type>custom</type><listen>unix:path=PATH</listen>
<auth>EXTERNAL</auth><policy context="default"><allow send_destination="*"/><allow own="*"/>
<allow receive_sender="*"/></policy></busconfig>"#;

    struct Bus(TempDir, Child);

    impl Bus {
        fn start() -> Bus {
            let folder = TempDir::new().unwrap();
            let (path, config) = (folder.path().join("bus"), folder.path().join("bus.conf"));
            std::fs::write(&config, CONFIG.replace("PATH", path.to_str().unwrap())).unwrap();
            let mut daemon = Command::new("dbus-daemon")
                .arg(format!("--config-file={}", config.display()))
                .args(["--nofork", "--print-address"])
                .stdout(Stdio::piped())
                .spawn()
                .expect("dbus-daemon is needed for these tests");
            let mut line = String::new();
            let mut out = BufReader::new(daemon.stdout.take().unwrap());
            out.read_line(&mut line).unwrap();
            Bus(folder, daemon)
        }

        fn address(&self) -> String {
            format!("unix:path={}", self.0.path().join("bus").display())
        }
    }

    impl Drop for Bus {
        fn drop(&mut self) {
            let _ = self.1.kill();
            let _ = self.1.wait();
        }
    }

    struct Fake(u32);

    #[zbus::interface(name = "org.freedesktop.NetworkManager")]
    impl Fake {
        #[zbus(property)]
        fn metered(&self) -> u32 {
            self.0
        }
    }

    #[test]
    fn network_manager_is_asked_and_may_be_away() {
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(1)
            .enable_all()
            .build()
            .unwrap();
        let bus = Bus::start();
        let network = NetworkManager {
            handle: runtime.handle().clone(),
            bus: Some(bus.address()),
        };
        assert_eq!(network.metered(), Metered::Unknown);
        for (number, expected) in [
            (0, Metered::Unknown),
            (1, Metered::Yes),
            (2, Metered::No),
            (3, Metered::Yes),
            (4, Metered::No),
            (77, Metered::Unknown),
        ] {
            let serving = async {
                Builder::address(bus.address().as_str())
                    .unwrap()
                    .serve_at(NETWORK_MANAGER_PATH, Fake(number))
                    .unwrap()
                    .name(NETWORK_MANAGER)
                    .unwrap()
                    .build()
                    .await
                    .unwrap()
            };
            let served = runtime.block_on(serving);
            assert_eq!(network.metered(), expected, "{number}");
            runtime.block_on(async { served.close().await.unwrap() });
        }
        drop(bus);
        assert_eq!(network.metered(), Metered::Unknown);
    }
}

//! Tests on a bus of their own, with a backend in memory and a polkit that does as it is told.

mod going_away;
mod health;
mod inhibit;
mod introspection;
mod objects;
mod polkit;
mod switch;

use std::collections::HashMap;
use std::io::{BufRead, BufReader};
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::time::Duration;

use nixctl_proto::OperationId;
use nixctl_proto::bus::OPERATION_INTERFACE;
use nixctl_proto::request::{InstallRequest, OperationRequest};
use tempfile::TempDir;
use tokio::sync::oneshot;
use zbus::connection::Builder;
use zbus::fdo::PropertiesProxy;
use zbus::zvariant::{OwnedObjectPath, Value};
use zbus::{Connection, Proxy};

use super::*;
use crate::serve::gate::Opener;
use crate::serve::testing::FakeBackend;
use crate::serve::{Authority, Backend, Gate};

const CONFIG: &str = r#"<busconfig><type>custom</type><listen>unix:path=PATH</listen>
<auth>EXTERNAL</auth><policy context="default"><allow send_destination="*"/><allow own="*"/>
<allow receive_sender="*"/></policy></busconfig>"#;

/// Longest wait of a test for something that should come at once.
const SOON: Duration = Duration::from_secs(20);

async fn soon<T>(future: impl Future<Output = T>) -> T {
    tokio::time::timeout(SOON, future)
        .await
        .expect("it did not come")
}

/// A bus of its own.
struct Bus {
    folder: TempDir,
    daemon: Child,
}

impl Bus {
    fn start() -> Self {
        let folder = TempDir::new().unwrap();
        let daemon = Bus::daemon(&folder);
        Bus { folder, daemon }
    }

    fn daemon(folder: &TempDir) -> Child {
        let path = folder.path().join("bus");
        let config = folder.path().join("bus.conf");
        std::fs::write(&config, CONFIG.replace("PATH", path.to_str().unwrap())).unwrap();
        let mut daemon = Command::new("dbus-daemon")
            .arg(format!("--config-file={}", config.display()))
            .args(["--nofork", "--print-address"])
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .expect("dbus-daemon is needed for these tests");
        // The address is printed when the bus listens.
        let mut line = String::new();
        BufReader::new(daemon.stdout.take().unwrap())
            .read_line(&mut line)
            .unwrap();
        assert!(line.starts_with("unix:"), "{line}");
        daemon
    }

    fn address(&self) -> String {
        format!("unix:path={}", self.folder.path().join("bus").display())
    }

    fn stop(&mut self) {
        self.daemon.kill().unwrap();
        self.daemon.wait().unwrap();
    }

    fn restart(&mut self) {
        self.daemon = Bus::daemon(&self.folder);
    }

    async fn client(&self) -> Connection {
        Builder::address(self.address().as_str())
            .unwrap()
            .build()
            .await
            .unwrap()
    }
}

impl Drop for Bus {
    fn drop(&mut self) {
        let _ = self.daemon.kill();
        let _ = self.daemon.wait();
    }
}

/// So that these tests need not be run by root.
fn own_group() -> Option<u32> {
    Some(nix::unistd::getgid().as_raw())
}

/// A daemon on a bus of its own.
struct World {
    bus: Bus,
    backend: Arc<FakeBackend>,
    client: Connection,
    serving: tokio::task::JoinHandle<()>,
}

impl Drop for World {
    fn drop(&mut self) {
        self.serving.abort();
    }
}

impl World {
    async fn new() -> Self {
        let (opener, world) = World::loading().await;
        opener.open(Arc::clone(&world.backend) as Arc<dyn Backend>);
        world
    }

    /// One whose backend is not there yet.
    async fn loading() -> (Opener, Self) {
        let bus = Bus::start();
        let address = Address::At(bus.address());
        World::loading_on(bus, address).await
    }

    /// One that reaches its bus at this address.
    async fn on(bus: Bus, address: Address) -> Self {
        let (opener, world) = World::loading_on(bus, address).await;
        opener.open(Arc::clone(&world.backend) as Arc<dyn Backend>);
        world
    }

    async fn loading_on(bus: Bus, address: Address) -> (Opener, Self) {
        let (opener, gate) = Gate::new();
        let service = Service::new(gate, Authority::with_group(own_group));
        let (tried, outcome) = oneshot::channel();
        let serving = tokio::spawn(serve(address, service, LogControl::detached(), tried));
        assert!(soon(outcome).await.unwrap());
        let client = bus.client().await;
        (
            opener,
            World {
                bus,
                backend: FakeBackend::new(),
                client,
                serving,
            },
        )
    }

    async fn manager(&self) -> Proxy<'static> {
        Proxy::new(&self.client, BUS_NAME, MANAGER_PATH, "org.nixctl1.Manager")
            .await
            .unwrap()
    }

    async fn operation(&self, id: &OperationId) -> Proxy<'static> {
        let builder = zbus::proxy::Builder::<Proxy<'static>>::new(&self.client);
        builder
            .destination(BUS_NAME)
            .unwrap()
            .path(id.object_path())
            .unwrap()
            .interface(OPERATION_INTERFACE)
            .unwrap()
            .cache_properties(zbus::proxy::CacheProperties::No)
            .build()
            .await
            .unwrap()
    }

    async fn properties(&self, path: &str) -> PropertiesProxy<'static> {
        PropertiesProxy::new(&self.client, BUS_NAME, path.to_owned())
            .await
            .unwrap()
    }

    async fn install(&self, options: &[(&str, Value<'_>)]) -> zbus::Result<OperationId> {
        let options: HashMap<&str, &Value<'_>> = options.iter().map(|(k, v)| (*k, v)).collect();
        let path: OwnedObjectPath = self.manager().await.call("Install", &(options,)).await?;
        Ok(path.as_str().parse().unwrap())
    }
}

fn request() -> OperationRequest {
    OperationRequest::Install(InstallRequest::default())
}

//! A bus that dies, or that says what no bus should say: the daemon lives on and serves again.

use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};

use nixctl_proto::operation::OperationState;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::unix::{OwnedReadHalf, OwnedWriteHalf};
use tokio::net::{UnixListener, UnixStream};
use zbus::names::UniqueName;

use super::*;

static PANICS: AtomicUsize = AtomicUsize::new(0);

/// Counts panics of the bus code, ours and that of the library; those of other tests are theirs.
fn count_panics() {
    static ONCE: Mutex<bool> = Mutex::new(false);
    let mut set = ONCE.lock().unwrap();
    if !std::mem::replace(&mut *set, true) {
        let before = std::panic::take_hook();
        std::panic::set_hook(Box::new(move |panic| {
            let place = panic.location().map_or("", |place| place.file());
            // One that the test below brings about on purpose, when both run in one process.
            let on_purpose = std::thread::current()
                .name()
                .is_some_and(|name| name.ends_with("has_gone_deaf_is_replaced"));
            if !on_purpose && (place.contains("zbus") || place.contains("serve/bus/")) {
                PANICS.fetch_add(1, Ordering::SeqCst);
            }
            before(panic);
        }));
    }
}

/// Until the object of the operation is served on the bus.
async fn served(world: &World, id: &OperationId) {
    let operation = world.operation(id).await;
    while operation.get_property::<String>("State").await.is_err() {
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

#[tokio::test]
async fn a_bus_that_dies_in_the_middle_of_calls_costs_nothing() {
    count_panics();
    let before = PANICS.load(Ordering::SeqCst);
    for round in 0..12u64 {
        let mut world = World::new().await;
        let id = world.install(&[]).await.unwrap();
        let mut calls = Vec::new();
        for _ in 0..8 {
            let manager = world.manager().await;
            calls.push(tokio::spawn(async move {
                let none = (HashMap::<&str, Value<'_>>::new(),);
                let install = || manager.call::<_, _, OwnedObjectPath>("Install", &none);
                while install().await.is_ok() {}
            }));
        }
        tokio::time::sleep(Duration::from_millis(round * 3)).await;
        world.bus.stop();
        for call in calls {
            soon(call).await.unwrap();
        }
        // Operations go on without a bus.
        world
            .backend
            .advance(&id, |view| view.state = OperationState::Succeeded);
        assert!(!world.serving.is_finished());
        if round % 4 == 0 {
            world.bus.restart();
            world.client = world.bus.client().await;
            soon(served(&world, &id)).await;
        }
    }
    assert_eq!(PANICS.load(Ordering::SeqCst), before);
}

/// Stands between the daemon and the bus, and can say something to the daemon itself.
struct Between {
    _folder: TempDir,
    address: String,
    to_daemon: Arc<tokio::sync::Mutex<Option<OwnedWriteHalf>>>,
}

impl Between {
    fn start(bus: &Bus) -> Self {
        let folder = TempDir::new().unwrap();
        let path = folder.path().join("between");
        let listener = UnixListener::bind(&path).unwrap();
        let to_daemon = Arc::new(tokio::sync::Mutex::new(None));
        let (shared, bus) = (Arc::clone(&to_daemon), bus.folder.path().join("bus"));
        tokio::spawn(async move {
            while let Ok((daemon, _)) = listener.accept().await {
                let (from_bus, to_bus) = UnixStream::connect(&bus).await.unwrap().into_split();
                let (from_daemon, writer) = daemon.into_split();
                *shared.lock().await = Some(writer);
                tokio::spawn(upwards(from_daemon, to_bus));
                tokio::spawn(downwards(from_bus, Arc::clone(&shared)));
            }
        });
        let address = format!("unix:path={}", path.display());
        Between {
            _folder: folder,
            address,
            to_daemon,
        }
    }

    async fn say(&self, message: &zbus::Message) {
        let mut writer = self.to_daemon.lock().await;
        let writer = writer.as_mut().unwrap();
        writer.write_all(message.data()).await.unwrap();
    }
}

async fn upwards(mut from: OwnedReadHalf, mut to: OwnedWriteHalf) {
    let _ = tokio::io::copy(&mut from, &mut to).await;
}

async fn downwards(mut from: OwnedReadHalf, to: Arc<tokio::sync::Mutex<Option<OwnedWriteHalf>>>) {
    let mut bytes = vec![0; 4096];
    while let Ok(length @ 1..) = from.read(&mut bytes).await {
        let mut to = to.lock().await;
        let Some(to) = to.as_mut() else { return };
        if to.write_all(&bytes[..length]).await.is_err() {
            return;
        }
    }
}

#[tokio::test]
async fn a_connection_that_has_gone_deaf_is_replaced() {
    let bus = Bus::start();
    let between = Between::start(&bus);
    let world = World::on(bus, Address::At(between.address.clone())).await;
    let id = world.install(&[]).await.unwrap();
    // The library does not survive a sender that is no unique name.
    let sender = UniqueName::from_static_str_unchecked("org.example.Nobody");
    let message = zbus::Message::signal("/", "org.example.Nobody", "Gone")
        .unwrap()
        .sender(sender)
        .unwrap()
        .build(&())
        .unwrap();
    between.say(&message).await;
    soon(served(&world, &id)).await;
}

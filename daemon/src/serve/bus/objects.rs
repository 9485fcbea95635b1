//! Keeps the objects on a connection equal to the operations of the backend, and tells of their
//! changes at most ten times a second each.

use std::borrow::Cow;
use std::collections::{BTreeSet, HashMap};
use std::sync::Arc;
use std::time::Duration;

use nixctl_proto::bus::{MANAGER_INTERFACE, OPERATION_INTERFACE};
use nixctl_proto::{MANAGER_PATH, OperationId, OperationView};
use tokio::sync::broadcast::Receiver;
use tokio::sync::broadcast::error::{RecvError, TryRecvError};
use tokio::sync::watch;
use zbus::Connection;
use zbus::fdo::Properties;
use zbus::names::InterfaceName;
use zbus::object_server::SignalEmitter;
use zbus::zvariant::Value;

use super::manager::{self, Manager};
use super::operation::{self, Operation};
use crate::serve::{Change, Service};

/// Shortest time between two signals about the same object.
const PAUSE: Duration = Duration::from_millis(100);

/// Properties with their values, in a fixed order.
type Snapshot = Vec<(&'static str, Value<'static>)>;

/// Publishes operations and their changes until the backend has gone or the bus refuses.
pub async fn publish(connection: &Connection, service: &Arc<Service>) {
    let Ok(backend) = service.gate().backend().await else {
        // The daemon ends by itself when its state cannot be loaded.
        return;
    };
    let mut changes = backend.changes();
    let mut published = BTreeSet::new();
    let mut status = manager::properties(&backend.status());
    synchronise(connection, service, &mut published, false).await;
    while let Some(batch) = next(&mut changes).await {
        let has_findings = batch.has_findings();
        match batch {
            Batch::All => synchronise(connection, service, &mut published, true).await,
            Batch::Some(batch) => {
                for change in batch {
                    apply(connection, service, &mut published, change).await;
                }
            }
        }
        let now = manager::properties(&backend.status());
        if tell(connection, MANAGER_PATH, MANAGER_INTERFACE, &status, &now)
            .await
            .is_err()
        {
            return;
        }
        status = now;
        if has_findings && tell_findings(connection).await.is_err() {
            return;
        }
        tokio::time::sleep(PAUSE).await;
    }
}

/// Publishes one operation, unless it is already. The object is there before this returns. Of a
/// fresh operation the end is told even when it came before anybody could watch.
pub async fn publish_one(
    connection: &Connection,
    service: &Arc<Service>,
    id: &OperationId,
    fresh: bool,
) {
    let Ok(view) = service.watch(id).await else {
        return;
    };
    let object = Operation::new(Arc::clone(service), id.clone(), view.clone());
    match connection
        .object_server()
        .at(id.object_path(), object)
        .await
    {
        Ok(true) => {
            let ended = view.borrow().state.is_final();
            if fresh || !ended {
                tokio::spawn(follow(connection.clone(), id.clone(), view));
            }
        }
        Ok(false) => {}
        Err(error) => tracing::warn!(OPERATION_ID = %id, "cannot publish on the bus: {error}"),
    }
}

/// What happened since the last time.
enum Batch {
    /// These changes.
    Some(Vec<Change>),
    /// More than was kept.
    All,
}

impl Batch {
    /// Whether the findings may be other ones.
    fn has_findings(&self) -> bool {
        match self {
            Batch::All => true,
            Batch::Some(changes) => changes.contains(&Change::Findings),
        }
    }
}

/// Waits for changes and takes all there are; `None` when there will be no more.
async fn next(changes: &mut Receiver<Change>) -> Option<Batch> {
    let mut batch = match changes.recv().await {
        Ok(change) => vec![change],
        Err(RecvError::Lagged(_)) => return Some(Batch::All),
        Err(RecvError::Closed) => return None,
    };
    loop {
        match changes.try_recv() {
            Ok(change) => batch.push(change),
            Err(TryRecvError::Lagged(_)) => return Some(Batch::All),
            Err(TryRecvError::Empty | TryRecvError::Closed) => return Some(Batch::Some(batch)),
        }
    }
}

async fn apply(
    connection: &Connection,
    service: &Arc<Service>,
    published: &mut BTreeSet<OperationId>,
    change: Change,
) {
    match change {
        Change::OperationAdded(id) => {
            publish_one(connection, service, &id, true).await;
            published.insert(id);
        }
        Change::OperationRemoved(id) => {
            withdraw(connection, &id).await;
            published.remove(&id);
        }
        Change::Status | Change::Findings => {}
    }
}

/// Tells that the findings are other ones; which, the caller asks for.
async fn tell_findings(connection: &Connection) -> zbus::Result<()> {
    let emitter = SignalEmitter::new(connection, MANAGER_PATH)?;
    Manager::findings_changed(&emitter).await
}

/// Publishes what the backend has and withdraws what it has no more.
async fn synchronise(
    connection: &Connection,
    service: &Arc<Service>,
    published: &mut BTreeSet<OperationId>,
    fresh: bool,
) {
    let Ok(views) = service.list(0).await else {
        return;
    };
    let there: BTreeSet<OperationId> = views.into_iter().map(|view| view.id).collect();
    for id in published.difference(&there) {
        withdraw(connection, id).await;
    }
    for id in there.difference(published) {
        publish_one(connection, service, id, fresh).await;
    }
    *published = there;
}

async fn withdraw(connection: &Connection, id: &OperationId) {
    let removed = connection
        .object_server()
        .remove::<Operation, _>(id.object_path())
        .await;
    if let Err(error) = removed {
        tracing::warn!(OPERATION_ID = %id, "cannot withdraw from the bus: {error}");
    }
}

/// Tells of the changes of one operation until it has ended.
async fn follow(connection: Connection, id: OperationId, mut view: watch::Receiver<OperationView>) {
    let path = id.object_path();
    let mut told = operation::properties(&view.borrow());
    loop {
        let now = view.borrow_and_update().clone();
        let properties = operation::properties(&now);
        if tell(&connection, &path, OPERATION_INTERFACE, &told, &properties)
            .await
            .is_err()
        {
            return;
        }
        told = properties;
        if now.state.is_final() {
            if let Err(error) = finished(&connection, &path, &now).await {
                tracing::debug!(OPERATION_ID = %id, "cannot tell of the end: {error}");
            }
            return;
        }
        if view.changed().await.is_err() {
            return;
        }
        tokio::time::sleep(PAUSE).await;
    }
}

async fn finished(connection: &Connection, path: &str, view: &OperationView) -> zbus::Result<()> {
    let emitter = SignalEmitter::new(connection, path)?;
    let success = view.state == nixctl_proto::OperationState::Succeeded;
    let (code, message) = match &view.failure {
        Some(failure) => (failure.code.to_string(), failure.message.as_str()),
        None => (String::new(), ""),
    };
    Operation::finished(&emitter, success, &code, message).await
}

/// One signal with the properties that differ, if any do.
async fn tell(
    connection: &Connection,
    path: &str,
    interface: &'static str,
    before: &Snapshot,
    now: &Snapshot,
) -> zbus::Result<()> {
    let changed = differing(before, now);
    if changed.is_empty() {
        return Ok(());
    }
    let emitter = SignalEmitter::new(connection, path)?;
    let interface = InterfaceName::from_static_str(interface)?;
    Properties::properties_changed(&emitter, interface, changed, Cow::Borrowed(&[])).await
}

fn differing(before: &Snapshot, now: &Snapshot) -> HashMap<&'static str, Value<'static>> {
    now.iter()
        .zip(before)
        .filter(|(new, old)| new.1 != old.1)
        .filter_map(|(new, _)| Some((new.0, new.1.try_clone().ok()?)))
        .collect()
}

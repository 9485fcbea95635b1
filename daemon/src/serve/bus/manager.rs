//! `org.nixctl1.Manager`: asks for operations and says how the machine is.

use std::sync::Arc;

use nixctl_proto::OperationId;
use nixctl_proto::status::Status;
use zbus::message::Header;
use zbus::object_server::SignalEmitter;
use zbus::zvariant::{ObjectPath, OwnedFd, OwnedObjectPath, Value};
use zbus::{Connection, fdo, interface};

use super::objects::publish_one;
use super::options::{self, Options};
use super::rows::{self, Row};
use super::{BusError, caller};
use crate::serve::Service;

/// The manager object.
#[derive(Debug)]
pub struct Manager {
    service: Arc<Service>,
}

impl Manager {
    /// The manager of a service.
    pub fn new(service: Arc<Service>) -> Self {
        Manager { service }
    }

    async fn status(&self) -> Result<Status, BusError> {
        Ok(self.service.status().await?)
    }
}

#[interface(name = "org.nixctl1.Manager", introspection_docs = false)]
impl Manager {
    #[zbus(out_args("operation"))]
    async fn install(
        &self,
        options: Options,
        #[zbus(header)] header: Header<'_>,
        #[zbus(connection)] connection: &Connection,
    ) -> Result<OwnedObjectPath, BusError> {
        let (request, options) = options::install(options)?;
        let caller = caller(connection, &header).await?;
        let id = self.service.submit(&caller, request, options).await?;
        publish_one(connection, &self.service, &id, true).await;
        path_of(&id)
    }

    #[zbus(out_args("operation"))]
    async fn uninstall(
        &self,
        options: Options,
        #[zbus(header)] header: Header<'_>,
        #[zbus(connection)] connection: &Connection,
    ) -> Result<OwnedObjectPath, BusError> {
        let (request, options) = options::uninstall(options)?;
        let caller = caller(connection, &header).await?;
        let id = self.service.submit(&caller, request, options).await?;
        publish_one(connection, &self.service, &id, true).await;
        path_of(&id)
    }

    #[zbus(out_args("operation"))]
    async fn upgrade(
        &self,
        options: Options,
        #[zbus(header)] header: Header<'_>,
        #[zbus(connection)] connection: &Connection,
    ) -> Result<OwnedObjectPath, BusError> {
        let (request, options) = options::upgrade(options)?;
        let caller = caller(connection, &header).await?;
        let id = self.service.submit(&caller, request, options).await?;
        publish_one(connection, &self.service, &id, true).await;
        path_of(&id)
    }

    #[zbus(out_args("operation"))]
    async fn upgrade_self(
        &self,
        options: Options,
        #[zbus(header)] header: Header<'_>,
        #[zbus(connection)] connection: &Connection,
    ) -> Result<OwnedObjectPath, BusError> {
        let (request, options) = options::upgrade_self(options)?;
        let caller = caller(connection, &header).await?;
        let id = self.service.submit(&caller, request, options).await?;
        publish_one(connection, &self.service, &id, true).await;
        path_of(&id)
    }

    #[zbus(out_args("operation"))]
    async fn switch(
        &self,
        toplevel: String,
        options: Options,
        #[zbus(header)] header: Header<'_>,
        #[zbus(connection)] connection: &Connection,
    ) -> Result<OwnedObjectPath, BusError> {
        let (request, options) = options::switch(toplevel, options)?;
        let caller = caller(connection, &header).await?;
        let id = self.service.submit(&caller, request, options).await?;
        publish_one(connection, &self.service, &id, true).await;
        path_of(&id)
    }

    #[zbus(out_args("operation"))]
    async fn rollback(
        &self,
        generation: u64,
        options: Options,
        #[zbus(header)] header: Header<'_>,
        #[zbus(connection)] connection: &Connection,
    ) -> Result<OwnedObjectPath, BusError> {
        let (request, options) = options::rollback(generation, options)?;
        let caller = caller(connection, &header).await?;
        let id = self.service.submit(&caller, request, options).await?;
        publish_one(connection, &self.service, &id, true).await;
        path_of(&id)
    }

    async fn confirm(
        &self,
        operation: OwnedObjectPath,
        #[zbus(header)] header: Header<'_>,
        #[zbus(connection)] connection: &Connection,
    ) -> Result<(), BusError> {
        let id = id_of(&operation)?;
        let caller = caller(connection, &header).await?;
        Ok(self.service.confirm(&caller, &id).await?)
    }

    #[zbus(out_args("operation"))]
    async fn repair(
        &self,
        findings: Vec<String>,
        options: Options,
        #[zbus(header)] header: Header<'_>,
        #[zbus(connection)] connection: &Connection,
    ) -> Result<OwnedObjectPath, BusError> {
        let (request, options) = options::repair(findings.iter().map(String::as_str), options)?;
        let caller = caller(connection, &header).await?;
        let id = self.service.submit(&caller, request, options).await?;
        publish_one(connection, &self.service, &id, true).await;
        path_of(&id)
    }

    #[zbus(out_args("findings"))]
    async fn check(&self, checks: Vec<String>) -> Result<Vec<Row>, BusError> {
        let found = self.service.check(checks).await?.findings;
        Ok(found.into_iter().map(rows::finding).collect())
    }

    #[zbus(out_args("findings"))]
    async fn findings(&self) -> Result<Vec<Row>, BusError> {
        let found = self.service.findings().await?.findings;
        Ok(found.into_iter().map(rows::finding).collect())
    }

    #[zbus(out_args("events"))]
    async fn list_health_events(&self, limit: u32) -> Result<Vec<Row>, BusError> {
        let events = self.service.history(limit).await?;
        Ok(events.into_iter().map(rows::event).collect())
    }

    #[zbus(out_args("inhibitor"))]
    async fn inhibit(
        &self,
        what: String,
        who: String,
        why: String,
        #[zbus(header)] header: Header<'_>,
        #[zbus(connection)] connection: &Connection,
    ) -> Result<OwnedFd, BusError> {
        let caller = caller(connection, &header).await?;
        let held = self.service.inhibit(&caller, &what, &who, &why).await?;
        Ok(held.into())
    }

    #[zbus(out_args("text"))]
    async fn metrics(&self) -> Result<String, BusError> {
        Ok(self.service.metrics().await?)
    }

    #[zbus(signal)]
    pub async fn findings_changed(emitter: &SignalEmitter<'_>) -> zbus::Result<()>;

    #[zbus(out_args("generations"))]
    async fn list_generations(&self) -> Result<Vec<Row>, BusError> {
        let generations = self.service.generations().await?;
        Ok(generations.into_iter().map(rows::generation).collect())
    }

    #[zbus(out_args("packages"))]
    async fn diff(&self, from: String, to: String) -> Result<Vec<Row>, BusError> {
        let packages = self.service.diff(&from, &to).await?;
        Ok(packages.into_iter().map(rows::difference).collect())
    }

    #[zbus(out_args("plan"))]
    async fn plan(
        &self,
        kind: String,
        argument: String,
        options: Options,
        #[zbus(header)] header: Header<'_>,
        #[zbus(connection)] connection: &Connection,
    ) -> Result<String, BusError> {
        let request = options::plan(&kind, &argument, options)?;
        let caller = caller(connection, &header).await?;
        let plan = self.service.plan(&caller, request).await?;
        serde_json::to_string(&plan).map_err(|error| {
            let text = format!("internal error: the plan is not JSON: {error}");
            nixctl_proto::Failure::new(nixctl_proto::Code::Internal, text).into()
        })
    }

    #[zbus(out_args("operations"))]
    async fn list_operations(&self, limit: u32) -> Result<Vec<OwnedObjectPath>, BusError> {
        let views = self.service.list(limit).await?;
        views.iter().map(|view| path_of(&view.id)).collect()
    }

    async fn configure(
        &self,
        key: String,
        value: String,
        #[zbus(header)] header: Header<'_>,
        #[zbus(connection)] connection: &Connection,
    ) -> Result<(), BusError> {
        let caller = caller(connection, &header).await?;
        Ok(self.service.configure(&caller, key, value).await?)
    }

    #[zbus(out_args("settings"))]
    async fn settings(&self) -> Result<Vec<Row>, BusError> {
        let views = self.service.settings().await?;
        Ok(views.into_iter().map(rows::setting).collect())
    }

    #[zbus(property(emits_changed_signal = "const"))]
    async fn version(&self) -> String {
        nixctl_proto::version().to_owned()
    }

    #[zbus(property)]
    async fn health(&self) -> fdo::Result<String> {
        Ok(self.status().await?.health.as_str().to_owned())
    }

    #[zbus(property)]
    async fn health_reason(&self) -> fdo::Result<String> {
        Ok(self.status().await?.health_reason)
    }

    #[zbus(property)]
    async fn health_seen(&self) -> fdo::Result<u64> {
        Ok(self.status().await?.health_seen)
    }

    #[zbus(property)]
    async fn health_note(&self) -> fdo::Result<String> {
        Ok(self.status().await?.health_note)
    }

    #[zbus(property)]
    async fn finding_count(&self) -> fdo::Result<u32> {
        Ok(self.status().await?.findings)
    }

    #[zbus(property)]
    async fn queued(&self) -> fdo::Result<u32> {
        Ok(self.status().await?.queued)
    }

    #[zbus(property)]
    async fn converged(&self) -> fdo::Result<f64> {
        Ok(self.status().await?.converged)
    }

    #[zbus(property)]
    async fn convergence(&self) -> fdo::Result<String> {
        Ok(self.status().await?.convergence)
    }

    #[zbus(property)]
    async fn current_generation(&self) -> fdo::Result<u64> {
        Ok(self.status().await?.current_generation)
    }

    #[zbus(property)]
    async fn target_generation(&self) -> fdo::Result<u64> {
        Ok(self.status().await?.target_generation)
    }

    #[zbus(property)]
    async fn reboot_needed(&self) -> fdo::Result<bool> {
        Ok(self.status().await?.reboot_needed)
    }

    #[zbus(property)]
    async fn boot_failure(&self) -> fdo::Result<String> {
        Ok(self.status().await?.boot_failure)
    }

    #[zbus(property)]
    async fn active_operation(&self) -> fdo::Result<OwnedObjectPath> {
        Ok(active_path(&self.status().await?))
    }

    #[zbus(property)]
    async fn nix_version(&self) -> fdo::Result<String> {
        Ok(self.status().await?.nix_version)
    }

    #[zbus(property)]
    async fn available_version(&self) -> fdo::Result<String> {
        Ok(self.status().await?.upgrade.available)
    }

    #[zbus(property)]
    async fn upgrade_waits(&self) -> fdo::Result<String> {
        Ok(self.status().await?.upgrade.waits)
    }

    #[zbus(property)]
    async fn upgrade_hold(&self) -> fdo::Result<String> {
        Ok(self.status().await?.upgrade.hold)
    }

    #[zbus(property)]
    async fn feed_read(&self) -> fdo::Result<u64> {
        Ok(self.status().await?.upgrade.feed_read)
    }

    #[zbus(property)]
    async fn feed_trouble(&self) -> fdo::Result<String> {
        Ok(self.status().await?.upgrade.feed_trouble)
    }

    #[zbus(property)]
    async fn fleet_lock(&self) -> fdo::Result<String> {
        Ok(self.status().await?.upgrade.fleet_lock)
    }

    #[zbus(property)]
    async fn following(&self) -> fdo::Result<String> {
        Ok(self.status().await?.upgrade.following)
    }

    #[zbus(property)]
    async fn follow_state(&self) -> fdo::Result<String> {
        Ok(self.status().await?.upgrade.follow_state)
    }

    #[zbus(property(emits_changed_signal = "false"))]
    async fn inhibitors(&self) -> fdo::Result<Vec<String>> {
        Ok(self.status().await?.upgrade.inhibitors)
    }
}

/// The properties of the manager that change.
pub fn properties(status: &Status) -> Vec<(&'static str, Value<'static>)> {
    vec![
        ("Health", Value::from(status.health.as_str())),
        ("HealthReason", Value::from(status.health_reason.clone())),
        ("HealthSeen", Value::from(status.health_seen)),
        ("HealthNote", Value::from(status.health_note.clone())),
        ("FindingCount", Value::from(status.findings)),
        ("Queued", Value::from(status.queued)),
        ("Converged", Value::from(status.converged)),
        ("Convergence", Value::from(status.convergence.clone())),
        ("CurrentGeneration", Value::from(status.current_generation)),
        ("TargetGeneration", Value::from(status.target_generation)),
        ("RebootNeeded", Value::from(status.reboot_needed)),
        ("BootFailure", Value::from(status.boot_failure.clone())),
        (
            "ActiveOperation",
            Value::from(active_path(status).into_inner()),
        ),
        ("NixVersion", Value::from(status.nix_version.clone())),
        (
            "AvailableVersion",
            Value::from(status.upgrade.available.clone()),
        ),
        ("UpgradeWaits", Value::from(status.upgrade.waits.clone())),
        ("UpgradeHold", Value::from(status.upgrade.hold.clone())),
        ("FeedRead", Value::from(status.upgrade.feed_read)),
        (
            "FeedTrouble",
            Value::from(status.upgrade.feed_trouble.clone()),
        ),
        ("FleetLock", Value::from(status.upgrade.fleet_lock.clone())),
        ("Following", Value::from(status.upgrade.following.clone())),
        (
            "FollowState",
            Value::from(status.upgrade.follow_state.clone()),
        ),
    ]
}

/// The operation at work, `/` when there is none.
fn active_path(status: &Status) -> OwnedObjectPath {
    let root = || ObjectPath::from_static_str_unchecked("/").into();
    match &status.active {
        Some(view) => path_of(&view.id).unwrap_or_else(|_| root()),
        None => root(),
    }
}

fn id_of(path: &OwnedObjectPath) -> Result<OperationId, BusError> {
    path.as_str().parse().map_err(|error| {
        let text = format!("cannot find the operation {path}: {error}");
        nixctl_proto::Failure::new(nixctl_proto::Code::NotFound, text).into()
    })
}

fn path_of(id: &OperationId) -> Result<OwnedObjectPath, BusError> {
    OwnedObjectPath::try_from(id.object_path()).map_err(|error| {
        let text = format!("internal error: an operation has no path: {error}");
        nixctl_proto::Failure::new(nixctl_proto::Code::Internal, text).into()
    })
}

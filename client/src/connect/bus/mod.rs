//! The system bus: one connection, as few round trips as the question needs.
//!
//! Reading the manager's properties is what finds out whether the daemon is there, and is the
//! whole of `nixctl status`. A watch subscribes *before* it reads, so that nothing is missed, and
//! keeps the properties up to date from the signals.

mod error;
mod follow;
// They need dbus-daemon.
#[cfg(test)]
#[cfg(target_os = "linux")]
mod fake;
#[cfg(test)]
#[cfg(target_os = "linux")]
mod tests;

use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use futures_util::future::join_all;
use nixctl_proto::bus::{MANAGER_INTERFACE, OPERATION_INTERFACE};
use nixctl_proto::dbus::{Dictionary, ManagerProxy, OperationProxy, Options, options, values};
use nixctl_proto::health::{Findings, HealthEvent, Target};
use nixctl_proto::operation::JournalLine;
use nixctl_proto::plan::{DiffEntry, Plan};
use nixctl_proto::request::{OperationRequest, RequestOptions};
use nixctl_proto::settings::SettingView;
use nixctl_proto::status::Status;
use nixctl_proto::{BUS_NAME, Code, Failure, Generation, MANAGER_PATH, OperationId, OperationView};
use serde::Serialize;
use tokio::time::timeout;
use zbus::Proxy;
use zbus::connection::Builder;
use zbus::proxy::{CacheProperties, MethodFlags};
use zbus::zvariant::{DynamicDeserialize, DynamicType, ObjectPath, OwnedObjectPath};

use error::{about, refused, trouble};
use follow::Follower;

use super::watch::Watch;
use super::{ANSWER, LOOKING, PLANNING, Trouble, agent};

/// Where the bus listens when the environment does not say.
const BUS_SOCKETS: [&str; 2] = [
    "/run/dbus/system_bus_socket",
    "/var/run/dbus/system_bus_socket",
];

/// The daemon on the system bus.
#[derive(Debug)]
pub struct Bus {
    connection: zbus::Connection,
    /// Whether somebody may be asked for a password.
    interactive: bool,
    /// The manager's properties as they were read when connecting; used once.
    first: Mutex<Option<Dictionary>>,
}

impl Bus {
    /// Connects and finds the daemon, which may be started for it; else says why not.
    pub async fn open(interactive: bool) -> Result<Bus, String> {
        let named = std::env::var_os("DBUS_SYSTEM_BUS_ADDRESS").is_some();
        if !named
            && !BUS_SOCKETS
                .iter()
                .any(|path| std::path::Path::new(path).exists())
        {
            return Err("there is none".to_owned());
        }
        Bus::at(
            Builder::system().map_err(|error| error.to_string())?,
            interactive,
        )
        .await
    }

    /// The same for a bus that may be another than the system's.
    async fn at(builder: Builder<'_>, interactive: bool) -> Result<Bus, String> {
        let connection = match timeout(ANSWER, builder.build()).await {
            Ok(connection) => connection.map_err(|error| error.to_string())?,
            Err(_) => return Err("it does not answer".to_owned()),
        };
        let bus = Bus {
            connection,
            interactive,
            first: Mutex::new(None),
        };
        let first = match bus.manager_properties().await {
            Ok(first) => first,
            Err(Trouble::Lost(why)) => return Err(why),
            Err(Trouble::Refused(failure)) => return Err(failure.message),
        };
        *bus.first.lock().unwrap_or_else(PoisonError::into_inner) = Some(first);
        Ok(bus)
    }

    /// Version of the daemon, where it says so.
    pub async fn version(&self) -> Option<String> {
        let properties = self.manager_properties().await.ok()?;
        let (status, _) = values::status(&properties).ok()?;
        Some(status.version)
    }

    /// See [`super::Connection::status`].
    pub async fn status(&self) -> Result<Status, Trouble> {
        let first = self
            .first
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .take();
        let properties = match first {
            Some(properties) => properties,
            None => self.manager_properties().await?,
        };
        let (mut status, active) = values::status(&properties).map_err(refused)?;
        if let Some(id) = active {
            status.active = match self.show(&id).await {
                Ok(view) => Some(view),
                // It ended in between.
                Err(Trouble::Refused(failure)) if failure.code == Code::NotFound => None,
                Err(trouble) => return Err(trouble),
            };
        }
        Ok(status)
    }

    /// See [`super::Connection::plan`].
    pub async fn plan(&self, request: &OperationRequest) -> Result<Plan, Trouble> {
        let common = RequestOptions::default();
        let options = options::options(request, &common);
        let manager = self.manager().await?;
        let argument = options::argument(request);
        let plan = manager.plan(request.kind().as_str(), &argument, options);
        let json = within(PLANNING, plan).await?;
        serde_json::from_str(&json).map_err(|error| {
            let message = format!("cannot read nixctld's plan: {error}");
            Trouble::Refused(Failure::new(Code::BadFrame, message))
        })
    }

    /// See [`super::Connection::submit`].
    pub async fn submit(
        &self,
        request: &OperationRequest,
        options: &RequestOptions,
    ) -> Result<OperationId, Trouble> {
        let options: Options<'_> = options::options(request, options);
        let manager = self.manager().await?;
        let proxy = manager.inner();
        let path = match request {
            OperationRequest::Install(_) => self.authorised(proxy, "Install", &(options,)).await,
            OperationRequest::Uninstall(_) => {
                self.authorised(proxy, "Uninstall", &(options,)).await
            }
            OperationRequest::Upgrade(_) => self.authorised(proxy, "Upgrade", &(options,)).await,
            OperationRequest::SelfUpgrade(_) => {
                self.authorised(proxy, "UpgradeSelf", &(options,)).await
            }
            OperationRequest::Switch(switch) => {
                let body = (switch.toplevel.as_str(), options);
                self.authorised(proxy, "Switch", &body).await
            }
            OperationRequest::Rollback(rollback) => {
                let body = (rollback.to.unwrap_or(0), options);
                self.authorised(proxy, "Rollback", &body).await
            }
            OperationRequest::Repair(repair) => {
                let targets: Vec<String> = repair.targets.iter().map(Target::to_string).collect();
                self.authorised(proxy, "Repair", &(targets, options)).await
            }
            OperationRequest::SelfInstall(_) | OperationRequest::SelfUninstall => {
                let message = "cannot change nixctld over the bus: only an own one can do that";
                Err(Trouble::Refused(Failure::new(
                    Code::InvalidArgument,
                    message,
                )))
            }
        };
        accepted(path?)
    }

    /// See [`super::Connection::list`].
    pub async fn list(&self, limit: u32) -> Result<Vec<OperationView>, Trouble> {
        let manager = self.manager().await?;
        let paths = within(ANSWER, manager.list_operations(limit)).await?;
        let ids: Vec<OperationId> = paths.iter().filter_map(|path| path.parse().ok()).collect();
        let views = join_all(ids.iter().map(|id| self.show(id))).await;
        views
            .into_iter()
            // One may be forgotten in between.
            .filter(|view| !matches!(view, Err(Trouble::Refused(f)) if f.code == Code::NotFound))
            .collect()
    }

    /// See [`super::Connection::show`].
    pub async fn show(&self, id: &OperationId) -> Result<OperationView, Trouble> {
        let all = properties(
            &self.connection,
            &id.object_path(),
            OPERATION_INTERFACE,
            true,
        )
        .await
        .map_err(|trouble| about(trouble, id))?;
        values::operation(id.clone(), &all).map_err(refused)
    }

    /// See [`super::Connection::journal`].
    pub async fn journal(&self, id: &OperationId) -> Result<Vec<JournalLine>, Trouble> {
        let operation = self.operation(id).await?;
        let lines = within(ANSWER, operation.journal())
            .await
            .map_err(|lost| about(lost, id))?;
        lines
            .iter()
            .map(|line| values::journal_line(line).map_err(refused))
            .collect()
    }

    /// See [`super::Connection::watch`].
    pub fn watch(&self, id: &OperationId) -> Watch {
        Watch::start(Follower::new(self.connection.clone(), id.clone()))
    }

    /// See [`super::Connection::cancel`].
    pub async fn cancel(&self, id: &OperationId) -> Result<(), Trouble> {
        let operation = self.operation(id).await?;
        let cancelled = self.authorised(operation.inner(), "Cancel", &()).await;
        cancelled.map_err(|trouble| about(trouble, id))
    }

    /// See [`super::Connection::retry`].
    pub async fn retry(&self, id: &OperationId) -> Result<OperationId, Trouble> {
        let operation = self.operation(id).await?;
        let retried = self.authorised(operation.inner(), "Retry", &()).await;
        accepted(retried.map_err(|trouble| about(trouble, id))?)
    }

    /// See [`super::Connection::settings`].
    pub async fn settings(&self) -> Result<Vec<SettingView>, Trouble> {
        let manager = self.manager().await?;
        let settings = within(ANSWER, manager.settings()).await?;
        settings
            .iter()
            .map(|setting| values::setting(setting).map_err(refused))
            .collect()
    }

    /// See [`super::Connection::configure`].
    pub async fn configure(&self, key: &str, value: &str) -> Result<(), Trouble> {
        let manager = self.manager().await?;
        self.authorised(manager.inner(), "Configure", &(key, value))
            .await
    }

    /// See [`super::Connection::confirm`].
    pub async fn confirm(&self, id: &OperationId) -> Result<(), Trouble> {
        let path = ObjectPath::try_from(id.object_path()).map_err(|error| trouble(error.into()))?;
        let manager = self.manager().await?;
        self.authorised(manager.inner(), "Confirm", &(path,)).await
    }

    /// See [`super::Connection::generations`].
    pub async fn generations(&self) -> Result<Vec<Generation>, Trouble> {
        let manager = self.manager().await?;
        let rows = within(ANSWER, manager.list_generations()).await?;
        let read = |row| values::generation(row).map_err(refused);
        rows.iter().map(read).collect()
    }

    /// See [`super::Connection::diff`].
    pub async fn diff(&self, from: &str, to: &str) -> Result<Vec<DiffEntry>, Trouble> {
        let manager = self.manager().await?;
        let rows = within(PLANNING, manager.diff(from, to)).await?;
        let read = |row| values::difference(row).map_err(refused);
        rows.iter().map(read).collect()
    }

    /// See [`super::Connection::check`].
    pub async fn check(&self, checks: &[String]) -> Result<Findings, Trouble> {
        let manager = self.manager().await?;
        let rows = within(LOOKING, manager.check(checks)).await?;
        self.findings_of(&rows).await
    }

    /// See [`super::Connection::findings`].
    pub async fn findings(&self) -> Result<Findings, Trouble> {
        let manager = self.manager().await?;
        let rows = within(ANSWER, manager.findings()).await?;
        self.findings_of(&rows).await
    }

    /// See [`super::Connection::history`].
    pub async fn history(&self, limit: u32) -> Result<Vec<HealthEvent>, Trouble> {
        let manager = self.manager().await?;
        let rows = within(ANSWER, manager.list_health_events(limit)).await?;
        let read = |row| values::event(row).map_err(refused);
        rows.iter().map(read).collect()
    }

    /// See [`super::Connection::metrics`].
    pub async fn metrics(&self) -> Result<String, Trouble> {
        let manager = self.manager().await?;
        within(ANSWER, manager.metrics()).await
    }

    /// The findings of these rows, with the words of the manager's properties.
    async fn findings_of(&self, rows: &[Dictionary]) -> Result<Findings, Trouble> {
        let properties = self.manager_properties().await?;
        let (status, _) = values::status(&properties).map_err(refused)?;
        let read = |row| values::finding(row).map_err(refused);
        Ok(Findings {
            health: status.health,
            reason: status.health_reason,
            seen: status.health_seen,
            note: status.health_note,
            findings: rows.iter().map(read).collect::<Result<_, _>>()?,
        })
    }

    async fn manager_properties(&self) -> Result<Dictionary, Trouble> {
        properties(&self.connection, MANAGER_PATH, MANAGER_INTERFACE, true).await
    }

    async fn manager(&self) -> Result<ManagerProxy<'_>, Trouble> {
        let builder = ManagerProxy::builder(&self.connection);
        builder
            .cache_properties(CacheProperties::No)
            .build()
            .await
            .map_err(trouble)
    }

    async fn operation(&self, id: &OperationId) -> Result<OperationProxy<'static>, Trouble> {
        let builder = OperationProxy::builder(&self.connection).path(id.object_path());
        let builder = builder
            .map_err(trouble)?
            .cache_properties(CacheProperties::No);
        builder.build().await.map_err(trouble)
    }

    /// A call that may have to wait for somebody to type a password, and so has no deadline.
    async fn authorised<B, R>(
        &self,
        proxy: &Proxy<'_>,
        method: &str,
        body: &B,
    ) -> Result<R, Trouble>
    where
        B: Serialize + DynamicType,
        R: for<'d> DynamicDeserialize<'d>,
    {
        let _agent = if self.interactive {
            agent::start()
        } else {
            None
        };
        let flags = if self.interactive {
            MethodFlags::AllowInteractiveAuth.into()
        } else {
            Default::default()
        };
        match proxy.call_with_flags(method, flags, body).await {
            Ok(Some(answer)) => Ok(answer),
            Ok(None) => Err(Trouble::Lost("no answer".to_owned())),
            Err(error) => Err(trouble(error)),
        }
    }
}

/// Every property of an object in one round trip; whether the daemon may be started for it.
async fn properties(
    connection: &zbus::Connection,
    path: &str,
    interface: &str,
    start: bool,
) -> Result<Dictionary, Trouble> {
    let proxy = zbus::proxy::Builder::<Proxy<'_>>::new(connection)
        .destination(BUS_NAME)
        .and_then(|builder| builder.path(path))
        .and_then(|builder| builder.interface("org.freedesktop.DBus.Properties"))
        .map_err(trouble)?
        .cache_properties(CacheProperties::No);
    let proxy = proxy.build().await.map_err(trouble)?;
    let flags = if start {
        Default::default()
    } else {
        MethodFlags::NoAutoStart.into()
    };
    match within(
        ANSWER,
        proxy.call_with_flags("GetAll", flags, &(interface,)),
    )
    .await?
    {
        Some(all) => Ok(all),
        None => Err(Trouble::Lost("no answer".to_owned())),
    }
}

async fn within<T>(
    deadline: Duration,
    call: impl Future<Output = zbus::Result<T>>,
) -> Result<T, Trouble> {
    match timeout(deadline, call).await {
        Ok(answer) => answer.map_err(trouble),
        Err(_) => Err(Trouble::Lost(format!(
            "no answer within {} s",
            deadline.as_secs()
        ))),
    }
}

fn accepted(path: OwnedObjectPath) -> Result<OperationId, Trouble> {
    path.as_str().parse().map_err(|error| {
        let message = format!("cannot understand nixctld: {error}");
        Trouble::Refused(Failure::new(Code::BadFrame, message))
    })
}

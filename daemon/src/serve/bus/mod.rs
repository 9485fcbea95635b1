//! The system bus: `org.nixctl1` with its manager, one object for each operation, and
//! `org.freedesktop.LogControl1`.
//!
//! The manager is registered before the name is requested, so that the first call finds it.
//! Interfaces take `&self` and hold no lock while they wait, because zbus locks an interface for
//! the time of a `&mut self` method. A bus that goes away is connected to again; the socket serves
//! on meanwhile. The library's reader dies of a message whose sender is no unique name, and tells
//! nobody: so the bus is asked for a sign of life from time to time, too.

mod error;
mod log_control;
mod manager;
mod objects;
mod operation;
mod options;
mod rows;
// They need dbus-daemon.
#[cfg(test)]
#[cfg(target_os = "linux")]
mod tests;

use std::sync::Arc;
use std::time::Duration;

use nixctl_proto::{BUS_NAME, MANAGER_PATH};
use zbus::Connection;
use zbus::connection::Builder;
use zbus::fdo::{DBusProxy, ObjectManager};
use zbus::message::{Flags, Header};

use super::authority::{Caller, Refusal, Transport};
use super::service::Service;
use crate::logging::LogControl;
use crate::pulse;
use nixctl_proto::{Code, Failure};

pub use error::BusError;

/// Object of the log control.
const LOG_CONTROL_PATH: &str = "/org/freedesktop/LogControl1";
/// First pause before connecting again.
const FIRST_PAUSE: Duration = Duration::from_millis(500);
/// Longest pause before connecting again.
const LONGEST_PAUSE: Duration = pulse::PERIOD;

/// How long the bus may take to answer one, to let us on, and to let go of a connection.
const LIFE_PATIENCE: Duration = Duration::from_secs(if cfg!(test) { 5 } else { 20 });

/// Where the bus is.
#[derive(Debug, Clone, Default)]
pub enum Address {
    /// The system bus.
    #[default]
    System,
    /// A bus at this address, for tests.
    At(String),
}

/// Serves on the bus for ever; `tried` is told the outcome of the first attempt.
pub async fn serve(
    address: Address,
    service: Arc<Service>,
    log: LogControl,
    tried: tokio::sync::oneshot::Sender<bool>,
) {
    let mut tried = Some(tried);
    let mut pause = FIRST_PAUSE;
    let mut told = false;
    loop {
        let connecting = connect(&address, &service, &log);
        let connected = match tokio::time::timeout(LIFE_PATIENCE, connecting).await {
            Ok(connected) => connected,
            Err(_) => Err(zbus::Error::Failure("it does not answer".to_owned())),
        };
        if let Some(tried) = tried.take() {
            // Nobody may be waiting any more.
            let _ = tried.send(connected.is_ok());
        }
        match connected {
            Ok(connection) => {
                tracing::info!("serving {BUS_NAME} on the bus");
                pause = FIRST_PAUSE;
                told = false;
                let publishing = async {
                    objects::publish(&connection, &service).await;
                    std::future::pending::<()>().await;
                };
                tokio::select! {
                    () = connection.closed() => tracing::warn!("the bus went away"),
                    () = silence(&connection) => tracing::warn!("the bus does not answer"),
                    () = publishing => {}
                }
                // Others hold the connection, too, and with it the name.
                let _ = tokio::time::timeout(LIFE_PATIENCE, connection.close()).await;
            }
            // Once is enough: a machine without a bus has none a minute later either.
            Err(error) if !told => {
                told = true;
                tracing::warn!("cannot serve {BUS_NAME} on the bus: {error}");
            }
            Err(error) => tracing::debug!("cannot serve {BUS_NAME} on the bus: {error}"),
        }
        pulse::rest(pause).await;
        pause = (pause * 2).min(LONGEST_PAUSE);
    }
}

/// Ends when the bus does not answer on the connection any more.
async fn silence(connection: &Connection) {
    loop {
        pulse::next().await;
        let asked = async {
            let bus =
                DBusProxy::builder(connection).cache_properties(zbus::proxy::CacheProperties::No);
            bus.build().await?.get_id().await
        };
        match tokio::time::timeout(LIFE_PATIENCE, asked).await {
            Ok(Ok(_)) => {}
            Ok(Err(_)) | Err(_) => return,
        }
    }
}

/// A connection with everything registered and the name claimed.
async fn connect(
    address: &Address,
    service: &Arc<Service>,
    log: &LogControl,
) -> zbus::Result<Connection> {
    let builder = match address {
        Address::System => Builder::system()?,
        Address::At(address) => Builder::address(address.as_str())?,
    };
    builder
        .serve_at(MANAGER_PATH, ObjectManager)?
        .serve_at(MANAGER_PATH, manager::Manager::new(Arc::clone(service)))?
        .serve_at(LOG_CONTROL_PATH, log_control::LogControl1::new(log.clone()))?
        .allow_name_replacements(false)
        .replace_existing_names(false)
        .name(BUS_NAME)?
        .build()
        .await
}

/// Who sent a message, by what the bus says of the sender.
async fn caller(connection: &Connection, header: &Header<'_>) -> Result<Caller, Refusal> {
    let refused = |why: &str| {
        let text = format!("cannot tell who calls: {why}");
        Refusal::from(Failure::new(Code::NotAuthorized, text))
    };
    let sender = header
        .sender()
        .ok_or_else(|| refused("the message has no sender"))?;
    let bus = DBusProxy::builder(connection)
        .cache_properties(zbus::proxy::CacheProperties::No)
        .build()
        .await
        .map_err(|error| refused(&error.to_string()))?;
    let credentials = bus
        .get_connection_credentials(sender.clone().into())
        .await
        .map_err(|error| refused(&error.to_string()))?;
    let uid = credentials
        .unix_user_id()
        .ok_or_else(|| refused("the bus knows no user id"))?;
    let transport = Transport::Bus {
        connection: connection.clone(),
        sender: sender.to_owned().into(),
        interactive: header
            .primary()
            .flags()
            .contains(Flags::AllowInteractiveAuth),
    };
    Ok(Caller {
        uid,
        groups: credentials.into_unix_group_ids(),
        transport,
    })
}

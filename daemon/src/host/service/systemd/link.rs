//! The connection to systemd: calls under a deadline, and what their errors mean.

use std::time::Duration;

use serde::Serialize;
use zbus::connection::Builder;
use zbus::zvariant::DynamicType;
use zbus::{Connection, Message};

use crate::host::ServiceError;

pub(super) const NAME: &str = "org.freedesktop.systemd1";
pub(super) const PATH: &str = "/org/freedesktop/systemd1";
pub(super) const MANAGER: &str = "org.freedesktop.systemd1.Manager";
pub(super) const UNIT: &str = "org.freedesktop.systemd1.Unit";
pub(super) const SERVICE: &str = "org.freedesktop.systemd1.Service";
const ALREADY_SUBSCRIBED: &str = "org.freedesktop.systemd1.AlreadySubscribed";
pub(super) const PROPERTIES: &str = "org.freedesktop.DBus.Properties";

/// For connecting, and for calls that answer at once.
pub(super) const CALL_DEADLINE: Duration = Duration::from_secs(25);

/// A connection on which systemd sends us its signals.
#[derive(Debug, Clone)]
pub(super) struct Link(pub(super) Connection);

/// Why a call did not succeed.
#[derive(Debug)]
pub(super) enum CallError {
    /// The connection is of no use any more.
    Lost(String),
    /// The answer is an error: its D-Bus name and its words.
    Answer(String, String),
    /// No answer in time.
    Silent(Duration),
}

impl Link {
    pub(super) async fn call<B>(
        &self,
        path: &str,
        interface: &str,
        method: &str,
        body: &B,
        limit: Duration,
    ) -> Result<Message, CallError>
    where
        B: Serialize + DynamicType + Sync,
    {
        let call = self
            .0
            .call_method(Some(NAME), path, Some(interface), method, body);
        match tokio::time::timeout(limit, call).await {
            Ok(reply) => reply.map_err(CallError::from),
            Err(_) => Err(CallError::Silent(limit)),
        }
    }
}

pub(super) async fn connect() -> Result<Link, CallError> {
    let building = async { Builder::system()?.build().await };
    let connection = match tokio::time::timeout(CALL_DEADLINE, building).await {
        Ok(connection) => connection?,
        Err(_) => return Err(CallError::Silent(CALL_DEADLINE)),
    };
    let link = Link(connection);
    subscribe(&link).await?;
    Ok(link)
}

/// Without it systemd does not send its signals over the bus.
pub(super) async fn subscribe(link: &Link) -> Result<(), CallError> {
    let call = link.call(PATH, MANAGER, "Subscribe", &(), CALL_DEADLINE);
    match call.await {
        // It remembers names over a restart of the bus, which gives them out again.
        Err(CallError::Answer(name, _)) if name == ALREADY_SUBSCRIBED => Ok(()),
        answer => answer.map(drop),
    }
}

pub(super) fn read<T>(reply: &Message) -> Result<T, CallError>
where
    T: serde::de::DeserializeOwned + zbus::zvariant::Type,
{
    reply.body().deserialize::<T>().map_err(CallError::from)
}

impl From<zbus::Error> for CallError {
    fn from(error: zbus::Error) -> Self {
        match error {
            zbus::Error::MethodError(name, text, _) => {
                // The bus answers for a systemd that is just not there.
                let lost = matches!(
                    name.as_str(),
                    "org.freedesktop.DBus.Error.ServiceUnknown"
                        | "org.freedesktop.DBus.Error.NameHasNoOwner"
                        | "org.freedesktop.DBus.Error.NoReply"
                        | "org.freedesktop.DBus.Error.Disconnected"
                );
                let text = text.unwrap_or_else(|| name.to_string());
                if lost {
                    CallError::Lost(text)
                } else {
                    CallError::Answer(name.to_string(), text)
                }
            }
            error => CallError::Lost(error.to_string()),
        }
    }
}

impl CallError {
    pub(super) fn is_no_such_unit(&self) -> bool {
        match self {
            CallError::Answer(name, _) => matches!(
                name.as_str(),
                "org.freedesktop.systemd1.NoSuchUnit"
                    | "org.freedesktop.DBus.Error.FileNotFound"
                    | "System.Error.ENOENT"
            ),
            CallError::Lost(_) | CallError::Silent(_) => false,
        }
    }

    /// What to say of it.
    pub(super) fn why(&self) -> String {
        match self {
            CallError::Lost(why) | CallError::Answer(_, why) => why.clone(),
            CallError::Silent(limit) => format!("no answer within {} s", limit.as_secs()),
        }
    }

    /// The same error for another job.
    pub(super) fn again(&self) -> CallError {
        match self {
            CallError::Lost(why) => CallError::Lost(why.clone()),
            CallError::Answer(name, text) => CallError::Answer(name.clone(), text.clone()),
            CallError::Silent(limit) => CallError::Silent(*limit),
        }
    }

    pub(super) fn about(self, action: &'static str, unit: &str) -> ServiceError {
        let unit = unit.to_owned();
        match self {
            CallError::Lost(why) => ServiceError::Unreachable { why },
            CallError::Answer(_, why) => ServiceError::Refused { action, unit, why },
            CallError::Silent(limit) => ServiceError::Unreachable {
                why: format!("systemd did not answer within {} s", limit.as_secs()),
            },
        }
    }
}

//! systemd over D-Bus.
//!
//! The connection is made at the first call and again after it was lost. A job is waited for by
//! the signal `JobRemoved`, which is subscribed to before the call that queues the job, so that a
//! job which ends at once is not missed; should a signal be lost with the bus, a look at the job now and
//! then finds it gone. Every call has a deadline. systemd's own socket is no way around a missing
//! bus: it names itself in a way that zbus refuses.

use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use futures_util::StreamExt;
use serde::Serialize;
use tokio::runtime::Handle;
use zbus::connection::Builder;
use zbus::zvariant::{DynamicType, ObjectPath, OwnedObjectPath, OwnedValue};
use zbus::{Connection, MatchRule, Message, MessageStream};

use super::{ServiceError, ServiceManager, UnitState};

const NAME: &str = "org.freedesktop.systemd1";
const PATH: &str = "/org/freedesktop/systemd1";
const MANAGER: &str = "org.freedesktop.systemd1.Manager";
const UNIT: &str = "org.freedesktop.systemd1.Unit";
const JOB: &str = "org.freedesktop.systemd1.Job";
const ALREADY_SUBSCRIBED: &str = "org.freedesktop.systemd1.AlreadySubscribed";
const PROPERTIES: &str = "org.freedesktop.DBus.Properties";

/// For connecting, and for calls that answer at once.
const CALL_DEADLINE: Duration = Duration::from_secs(25);

/// Reading all unit files again takes a while on machines with many generators.
const RELOAD_DEADLINE: Duration = Duration::from_secs(90);

/// Without a signal for so long, the job is looked at.
const SIGNAL_PATIENCE: Duration = Duration::from_secs(2);

/// Once the job is gone, its signal is already on the way.
const LATE_SIGNAL_PATIENCE: Duration = Duration::from_millis(100);

/// Result of a job that is gone without a signal: the unit's state tells what became of it.
const GONE: &str = "gone";

/// Signals that may wait while one job is waited for; other jobs of the machine end meanwhile.
const QUEUED_SIGNALS: usize = 256;

/// systemd, spoken to from threads outside the runtime.
#[derive(Debug)]
pub struct Systemd {
    handle: Handle,
    connection: Mutex<Option<Link>>,
}

/// A connection on which systemd sends us its signals.
#[derive(Debug, Clone)]
struct Link(Connection);

/// Why a call did not succeed.
enum CallError {
    /// The connection is of no use any more.
    Lost(String),
    /// The answer is an error: its D-Bus name and its words.
    Answer(String, String),
    /// No answer in time.
    Silent(Duration),
}

impl Systemd {
    /// systemd of this machine. The runtime behind `handle` must be driven by another thread than
    /// the callers'.
    pub fn new(handle: Handle) -> Self {
        Systemd {
            handle,
            connection: Mutex::new(None),
        }
    }

    /// Calls the manager; once more over a new connection when the old one was lost. All calls
    /// made here may be repeated.
    fn manager<B>(&self, method: &str, body: &B, limit: Duration) -> Result<Message, CallError>
    where
        B: Serialize + DynamicType + Sync,
    {
        self.retrying(|link| {
            self.handle
                .block_on(link.call(PATH, MANAGER, method, body, limit))
        })
    }

    fn retrying<T>(&self, call: impl Fn(Link) -> Result<T, CallError>) -> Result<T, CallError> {
        match self.link().and_then(&call) {
            Err(CallError::Lost(_)) => {
                self.forget();
                self.link().and_then(call).inspect_err(|_| self.forget())
            }
            Err(silent @ CallError::Silent(_)) => {
                self.forget();
                Err(silent)
            }
            answer => answer,
        }
    }

    fn link(&self) -> Result<Link, CallError> {
        let known = self
            .connection
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .clone();
        match known {
            Some(link) => Ok(link),
            None => {
                let link = self.handle.block_on(connect())?;
                *self
                    .connection
                    .lock()
                    .unwrap_or_else(PoisonError::into_inner) = Some(link.clone());
                Ok(link)
            }
        }
    }

    fn forget(&self) {
        *self
            .connection
            .lock()
            .unwrap_or_else(PoisonError::into_inner) = None;
    }

    /// Queues a job and waits for its end.
    fn job(
        &self,
        action: &'static str,
        method: &'static str,
        unit: &str,
        deadline: Duration,
    ) -> Result<(), ServiceError> {
        let ended = self.retrying(|link| {
            self.handle.block_on(async {
                match tokio::time::timeout(deadline, link.job(method, unit)).await {
                    Ok(result) => result,
                    Err(_) => Err(CallError::Silent(deadline)),
                }
            })
        });
        match ended {
            Ok(result) if result == "done" || result == "skipped" => Ok(()),
            Ok(result) if result == GONE && self.state(unit)?.active != "failed" => Ok(()),
            Ok(result) => Err(ServiceError::Job {
                action,
                unit: unit.to_owned(),
                result,
            }),
            Err(CallError::Silent(deadline)) => Err(ServiceError::Deadline {
                action,
                unit: unit.to_owned(),
                deadline,
            }),
            Err(error) => Err(error.about(action, unit)),
        }
    }

    fn unit_properties(&self, unit: &OwnedObjectPath) -> Result<Properties, CallError> {
        let reply = self.retrying(|link| {
            let body = (UNIT,);
            self.handle.block_on(link.call(
                unit.as_str(),
                PROPERTIES,
                "GetAll",
                &body,
                CALL_DEADLINE,
            ))
        })?;
        Ok(Properties(read(&reply)?))
    }

    fn read_state(&self, unit: &str) -> Result<UnitState, CallError> {
        let path: OwnedObjectPath = read(&self.manager("LoadUnit", &(unit,), CALL_DEADLINE)?)?;
        // Asked for by method: the property of the same name is remembered from the last reload.
        let file = match self.manager("GetUnitFileState", &(unit,), CALL_DEADLINE) {
            Ok(reply) => read(&reply)?,
            Err(CallError::Answer(..)) => String::new(),
            Err(error) => return Err(error),
        };
        // All at once: one question is cheaper than three, and they belong to one moment.
        let mut properties = self.unit_properties(&path)?;
        Ok(UnitState {
            load: properties.take("LoadState")?,
            active: properties.take("ActiveState")?,
            file,
            fragment: properties.take("FragmentPath")?,
        })
    }
}

/// The properties of a unit.
struct Properties(HashMap<String, OwnedValue>);

impl Properties {
    fn take(&mut self, name: &str) -> Result<String, CallError> {
        let missing = || CallError::Lost(format!("the unit has no {name}"));
        let value = self.0.remove(name).ok_or_else(missing)?;
        String::try_from(value).map_err(|error| CallError::Lost(error.to_string()))
    }
}

impl ServiceManager for Systemd {
    fn is_running(&self) -> bool {
        true
    }

    fn reload(&self) -> Result<(), ServiceError> {
        self.manager("Reload", &(), RELOAD_DEADLINE)
            .map(drop)
            .map_err(|error| error.about("reload", "the unit files"))
    }

    fn state(&self, unit: &str) -> Result<UnitState, ServiceError> {
        self.read_state(unit)
            .map_err(|error| error.about("read", unit))
    }

    fn enable(&self, unit: &str) -> Result<(), ServiceError> {
        let (runtime, force) = (false, false);
        self.manager(
            "EnableUnitFiles",
            &([unit].as_slice(), runtime, force),
            CALL_DEADLINE,
        )
        .map(drop)
        .map_err(|error| error.about("enable", unit))
    }

    fn disable(&self, unit: &str) -> Result<(), ServiceError> {
        let runtime = false;
        match self.manager(
            "DisableUnitFiles",
            &([unit].as_slice(), runtime),
            CALL_DEADLINE,
        ) {
            Err(error) if !error.is_no_such_unit() => Err(error.about("disable", unit)),
            _ => Ok(()),
        }
    }

    fn start(&self, unit: &str, deadline: Duration) -> Result<(), ServiceError> {
        self.job("start", "StartUnit", unit, deadline)
    }

    fn stop(&self, unit: &str, deadline: Duration) -> Result<(), ServiceError> {
        // Stopping an unknown unit is refused. One that runs is stopped, also when its file is gone.
        let state = self.state(unit)?;
        if state.load == "not-found" && !state.is_active() {
            return Ok(());
        }
        self.job("stop", "StopUnit", unit, deadline)
    }

    fn restart(&self, unit: &str, deadline: Duration) -> Result<(), ServiceError> {
        self.job("restart", "RestartUnit", unit, deadline)
    }

    fn reset_failed(&self, unit: &str) -> Result<(), ServiceError> {
        match self.manager("ResetFailedUnit", &(unit,), CALL_DEADLINE) {
            Err(error) if !error.is_no_such_unit() => Err(error.about("reset", unit)),
            _ => Ok(()),
        }
    }
}

impl Link {
    async fn call<B>(
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

    /// Queues a job and waits for its end, for which the caller has a deadline; its result.
    async fn job(&self, method: &str, unit: &str) -> Result<String, CallError> {
        let rule = MatchRule::builder()
            .msg_type(zbus::message::Type::Signal)
            .interface(MANAGER)?
            .member("JobRemoved")?
            .path(PATH)?
            .build();
        let mut removed =
            MessageStream::for_match_rule(rule, &self.0, Some(QUEUED_SIGNALS)).await?;
        let reply = self
            .call(PATH, MANAGER, method, &(unit, "replace"), CALL_DEADLINE)
            .await?;
        let job: OwnedObjectPath = read(&reply)?;
        let mut gone = false;
        loop {
            let patience = if gone {
                LATE_SIGNAL_PATIENCE
            } else {
                SIGNAL_PATIENCE
            };
            let signal = match tokio::time::timeout(patience, removed.next()).await {
                Ok(Some(signal)) => signal?,
                Ok(None) => return Err(CallError::Lost("the connection ended".to_owned())),
                Err(_) if gone => return Ok(GONE.to_owned()),
                Err(_) => {
                    gone = !self.is_queued(&job).await?;
                    continue;
                }
            };
            let body = signal.body();
            let (_, ended, _, result): (u32, ObjectPath<'_>, &str, &str) = body.deserialize()?;
            if ended.as_str() == job.as_str() {
                return Ok(result.to_owned());
            }
        }
    }

    async fn is_queued(&self, job: &OwnedObjectPath) -> Result<bool, CallError> {
        let body = (JOB, "State");
        match self
            .call(job.as_str(), PROPERTIES, "Get", &body, CALL_DEADLINE)
            .await
        {
            Ok(_) => Ok(true),
            Err(CallError::Answer(..)) => Ok(false),
            Err(error) => Err(error),
        }
    }
}

async fn connect() -> Result<Link, CallError> {
    let building = async { Builder::system()?.build().await };
    let connection = match tokio::time::timeout(CALL_DEADLINE, building).await {
        Ok(connection) => connection?,
        Err(_) => return Err(CallError::Silent(CALL_DEADLINE)),
    };
    let link = Link(connection);
    // Without it systemd does not send its signals over the bus.
    match link
        .call(PATH, MANAGER, "Subscribe", &(), CALL_DEADLINE)
        .await
    {
        // It remembers names over a restart of the bus, which gives them out again.
        Err(CallError::Answer(name, _)) if name == ALREADY_SUBSCRIBED => Ok(link),
        answer => answer.map(|_| link),
    }
}

fn read<T>(reply: &Message) -> Result<T, CallError>
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
    fn is_no_such_unit(&self) -> bool {
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

    fn about(self, action: &'static str, unit: &str) -> ServiceError {
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

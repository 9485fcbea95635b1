//! systemd over D-Bus.
//!
//! The connection is made at the first call and again after it was lost. A job is waited for by
//! the signal `JobRemoved`, which is subscribed to before the call that queues the job, so that a
//! job which ends at once is not missed; should a signal be lost with the bus, a look at the job now and
//! then finds it gone. Every call has a deadline. systemd's own socket is no way around a missing
//! bus: it names itself in a way that zbus refuses.

mod control;
mod jobs;
mod link;
mod listen;
mod properties;

use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use serde::Serialize;
use tokio::runtime::Handle;
use zbus::Message;
use zbus::zvariant::{DynamicType, OwnedObjectPath, OwnedValue};

use super::{Control, Hear, Listening, ServiceError, ServiceManager, UnitState};
use jobs::{GONE, Waiting};
use link::{CALL_DEADLINE, CallError, Link, MANAGER, PATH, PROPERTIES, UNIT, connect, read};

/// Reading all unit files again takes a while on machines with many generators.
const RELOAD_DEADLINE: Duration = Duration::from_secs(180);

/// systemd, spoken to from threads outside the runtime.
#[derive(Debug)]
pub struct Systemd {
    handle: Handle,
    connection: Mutex<Option<Link>>,
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
        let mut job = [Waiting::new(action, method, unit, deadline)];
        self.wait(&mut job);
        let [job] = job;
        self.ended(job)
    }

    /// Queues the jobs and waits until each has ended; goes on with those that are left when the
    /// connection is lost.
    fn wait(&self, jobs: &mut [Waiting]) {
        for attempt in 0..2 {
            let link = match self.link() {
                Ok(link) => link,
                Err(error) => return jobs::lose(jobs, &error),
            };
            match self.handle.block_on(jobs::run(&link, jobs)) {
                Ok(()) => return,
                Err(error) => {
                    self.forget();
                    if attempt == 1 {
                        jobs::lose(jobs, &error);
                    }
                }
            }
        }
    }

    /// What the end of a job means.
    fn ended(&self, job: Waiting) -> Result<(), ServiceError> {
        let (action, unit, deadline) = (job.action, job.unit, job.deadline);
        match job.end {
            Some(Ok(result)) if result == "done" || result == "skipped" => Ok(()),
            Some(Ok(result)) if result == GONE && self.state(&unit)?.active != "failed" => Ok(()),
            Some(Ok(result)) => Err(ServiceError::Job {
                action,
                unit,
                result,
            }),
            Some(Err(CallError::Silent(_))) | None => Err(ServiceError::Deadline {
                action,
                unit,
                deadline,
            }),
            Some(Err(error)) => Err(error.about(action, &unit)),
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

    fn control(&self) -> Option<&dyn Control> {
        Some(self)
    }

    fn listen(&self, hear: Hear) -> Option<Box<dyn Listening>> {
        Some(Box::new(listen::Listener::start(&self.handle, hear)))
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

//! What a switch needs of systemd: lists, details, jobs in batches, its own restart, transient units.

use std::collections::BTreeMap;
use std::time::Duration;

use futures_util::StreamExt;
use nix::sys::signal::Signal;
use tokio::time::{Instant, timeout};
use zbus::zvariant::{OwnedObjectPath, OwnedValue, Value};
use zbus::{MatchRule, MessageStream};

use super::jobs::Waiting;
use super::link::{
    CALL_DEADLINE, CallError, Link, MANAGER, NAME, PATH, PROPERTIES, SERVICE, UNIT, read,
};
use super::properties::{self, Properties};
use super::{RELOAD_DEADLINE, Systemd};
use crate::host::service::{
    Control, JobVerb, LoadedUnit, Processes, ServiceError, Transient, UnitDetails, UnitJob,
};

/// What restarts the machine.
const REBOOT: &str = "reboot.target";

/// Between two looks whether systemd is back.
const RETURN_PAUSE: Duration = Duration::from_millis(500);

/// What `ListUnitsByPatterns` says of a unit: name, description, load, active and sub state, the unit
/// it follows, its path, and the id, type and path of its job.
pub(super) type Listed = (
    String,
    String,
    String,
    String,
    String,
    String,
    OwnedObjectPath,
    u32,
    String,
    OwnedObjectPath,
);

/// A property of a unit to be started: its name and value.
type Property<'a> = (&'a str, Value<'a>);

impl Control for Systemd {
    fn loaded(&self) -> Result<Vec<LoadedUnit>, ServiceError> {
        let none: &[&str] = &[];
        let listed: Vec<Listed> = self
            .manager("ListUnitsByPatterns", &(none, none), CALL_DEADLINE)
            .and_then(|reply| read(&reply))
            .map_err(|error| error.about("list", "the units"))?;
        Ok(listed
            .into_iter()
            .map(|(name, _, load, active, sub, following, ..)| LoadedUnit {
                name,
                load,
                active,
                sub,
                following,
            })
            .collect())
    }

    fn fragments(&self, units: &[&str]) -> BTreeMap<String, String> {
        let Ok(link) = self.link() else {
            return BTreeMap::new();
        };
        let asked = properties::each(&link, units, UNIT, "FragmentPath");
        let files = units.iter().zip(self.handle.block_on(asked));
        let files = files.filter_map(|(&unit, file)| {
            let file = String::try_from(file.ok()?).ok()?;
            (!file.is_empty()).then(|| (unit.to_owned(), file))
        });
        files.collect()
    }

    fn details_of(&self, units: &[&str]) -> Vec<Result<UnitDetails, ServiceError>> {
        let asked: Result<Vec<_>, CallError> = self.retrying(|link| {
            let all = self.handle.block_on(properties::all(&link, units));
            let all = all.into_iter().map(|one| match one {
                // A connection that is lost is lost for all of them.
                Err(lost @ CallError::Lost(_)) => Err(lost),
                one => Ok(one),
            });
            all.collect()
        });
        let fail = |error: CallError, unit: &str| Err(error.about("read", unit));
        match asked {
            Ok(all) => units
                .iter()
                .zip(all)
                .map(|(unit, one)| one.map(details_of).or_else(|error| fail(error, unit)))
                .collect(),
            Err(error) => units.iter().map(|unit| fail(error.again(), unit)).collect(),
        }
    }

    fn restarts(&self, services: &[&str]) -> Result<BTreeMap<String, u32>, ServiceError> {
        let asked = self.retrying(|link| {
            let asked = properties::each(&link, services, SERVICE, "NRestarts");
            let counts = services.iter().zip(self.handle.block_on(asked));
            let counts = counts.map(|(&unit, count)| {
                let count = u32::try_from(count?).map_err(zbus::Error::from)?;
                Ok((unit.to_owned(), count))
            });
            counts.collect()
        });
        asked.map_err(|error| error.about("read", "the restarts of the services"))
    }

    fn details(&self, unit: &str) -> Result<UnitDetails, ServiceError> {
        self.read_details(unit)
            .map_err(|error| error.about("read", unit))
    }

    fn run_jobs(&self, jobs: &[UnitJob]) -> Vec<Result<(), ServiceError>> {
        let mut waiting: Vec<Waiting> = jobs
            .iter()
            .map(|job| {
                let method = method(job.verb);
                Waiting::new(job.verb.as_str(), method, &job.unit, job.deadline)
            })
            .collect();
        self.wait(&mut waiting);
        let ended = waiting.into_iter();
        ended.map(|job| self.ended(job)).collect()
    }

    fn reexecute(&self) -> Result<(), ServiceError> {
        let done = self.link().and_then(|link| {
            // A timer can be made on the runtime only.
            let restart = async { timeout(RELOAD_DEADLINE, restart(&link)).await };
            self.handle
                .block_on(restart)
                .unwrap_or(Err(CallError::Silent(RELOAD_DEADLINE)))
        });
        // Whoever subscribed before is remembered, but the bus may know systemd by a new name.
        self.forget();
        done.map_err(|error| error.about("start anew", "systemd"))
    }

    fn system_state(&self) -> Result<String, ServiceError> {
        let asked = self.retrying(|link| {
            let call = async { system_state(&link, CALL_DEADLINE).await };
            self.handle.block_on(call)
        });
        asked.map_err(|error| error.about("read", "the state of the system"))
    }

    fn restart_machine(&self) -> Result<(), ServiceError> {
        // As `systemctl reboot` does it; nothing may take its place any more.
        let body = (REBOOT, "replace-irreversibly");
        let begun = self.manager("StartUnit", &body, CALL_DEADLINE);
        begun
            .map(drop)
            .map_err(|error| error.about("start", REBOOT))
    }

    fn reset_all_failed(&self) -> Result<(), ServiceError> {
        self.manager("ResetFailed", &(), CALL_DEADLINE)
            .map(drop)
            .map_err(|error| error.about("reset", "the failed units"))
    }

    fn processes(&self, service: &str) -> Result<Processes, ServiceError> {
        let fail = |error: CallError| error.about("read", service);
        let main = self.retrying(|link| {
            let units = [service];
            let asked = properties::each(&link, &units, SERVICE, "MainPID");
            let answer = self.handle.block_on(asked).into_iter().next();
            let lost = || CallError::Lost("there is no answer".to_owned());
            Ok(u32::try_from(answer.ok_or_else(lost)??).map_err(zbus::Error::from)?)
        });
        let main = main.map_err(fail)?;
        // A unit that is not loaded has no processes, and systemd says so with an error.
        let listed: Vec<(String, u32, String)> = match main {
            0 => Vec::new(),
            _ => self
                .manager("GetUnitProcesses", &(service,), CALL_DEADLINE)
                .and_then(|reply| read(&reply))
                .map_err(fail)?,
        };
        let all = listed.into_iter().map(|(_, process, _)| process);
        Ok(Processes {
            main: (main != 0).then_some(main),
            others: all.filter(|process| *process != main).collect(),
        })
    }

    fn halt_main(&self, service: &str, halts: bool) -> Result<(), ServiceError> {
        let signal = if halts {
            Signal::SIGSTOP
        } else {
            Signal::SIGCONT
        };
        let body = (service, "main", signal as i32);
        let action = if halts { "halt" } else { "continue" };
        self.manager("KillUnit", &body, CALL_DEADLINE)
            .map(drop)
            .map_err(|error| error.about(action, service))
    }

    fn start_transient(&self, transient: &Transient) -> Result<(), ServiceError> {
        let unit = &transient.unit;
        let fail = |error: CallError| error.about("start", unit);
        let properties = properties_of(transient).ok_or_else(|| ServiceError::Refused {
            action: "start",
            unit: unit.clone(),
            why: "no program was named".to_owned(),
        })?;
        // It is there already when an earlier attempt was cut off. Asked for by details, because
        // the call below fails for what is loaded.
        if self.read_details(unit).map_err(fail)?.load != "not-found" {
            return Ok(());
        }
        let auxiliary: Vec<(&str, Vec<Property<'_>>)> = Vec::new();
        let body = (unit.as_str(), "fail", properties, auxiliary);
        self.manager("StartTransientUnit", &body, CALL_DEADLINE)
            .map(drop)
            .map_err(fail)
    }
}

impl Systemd {
    fn read_details(&self, unit: &str) -> Result<UnitDetails, CallError> {
        let path: OwnedObjectPath = read(&self.manager("LoadUnit", &(unit,), CALL_DEADLINE)?)?;
        let reply = self.retrying(|link| {
            let all = "";
            self.handle.block_on(link.call(
                path.as_str(),
                PROPERTIES,
                "GetAll",
                &(all,),
                CALL_DEADLINE,
            ))
        })?;
        Ok(details_of(read(&reply)?))
    }
}

/// Starts systemd anew and waits until it has read everything: it says so by a signal, and should
/// that be lost, it has another name on the bus and answers.
async fn restart(link: &Link) -> Result<(), CallError> {
    let rule = MatchRule::builder()
        .msg_type(zbus::message::Type::Signal)
        .interface(MANAGER)?
        .member("Reloading")?
        .path(PATH)?
        .build();
    let mut reloading = MessageStream::for_match_rule(rule, &link.0, None).await?;
    let before = owner(link).await?;
    // There is no answer: the one who would give it is gone.
    let asked = link
        .0
        .call_method(Some(NAME), PATH, Some(MANAGER), "Reexecute", &());
    let _ = timeout(RETURN_PAUSE, asked).await;
    let mut silent_since = Instant::now();
    loop {
        match timeout(RETURN_PAUSE, reloading.next()).await {
            Ok(Some(signal)) => {
                let still: bool = signal?.body().deserialize()?;
                if !still {
                    return Ok(());
                }
                silent_since = Instant::now();
            }
            Ok(None) => return Err(CallError::Lost("the connection ended".to_owned())),
            Err(_) => {
                let back = owner(link).await.is_ok_and(|now| now != before);
                let patient = silent_since.elapsed() < CALL_DEADLINE;
                if back || (!patient && answers(link).await) {
                    return Ok(());
                }
            }
        }
    }
}

async fn owner(link: &Link) -> Result<String, CallError> {
    let bus = "org.freedesktop.DBus";
    let call = link.0.call_method(
        Some(bus),
        "/org/freedesktop/DBus",
        Some(bus),
        "GetNameOwner",
        &(NAME,),
    );
    match timeout(CALL_DEADLINE, call).await {
        Ok(reply) => read(&reply?),
        Err(_) => Err(CallError::Silent(CALL_DEADLINE)),
    }
}

async fn answers(link: &Link) -> bool {
    system_state(link, RETURN_PAUSE).await.is_ok()
}

async fn system_state(link: &Link, limit: Duration) -> Result<String, CallError> {
    let body = (MANAGER, "SystemState");
    let reply = link.call(PATH, PROPERTIES, "Get", &body, limit).await?;
    let value: OwnedValue = read(&reply)?;
    String::try_from(value).map_err(|error| CallError::from(zbus::Error::from(error)))
}

fn method(verb: JobVerb) -> &'static str {
    match verb {
        JobVerb::Stop => "StopUnit",
        JobVerb::Reload => "ReloadUnit",
        JobVerb::Restart => "RestartUnit",
        JobVerb::Start => "StartUnit",
    }
}

/// The properties of a unit that runs a program once and keeps its result; none without a program.
fn properties_of(transient: &Transient) -> Option<Vec<Property<'_>>> {
    let program = transient.command.first()?;
    let may_fail = false;
    let command = (program.as_str(), transient.command.clone(), may_fail);
    let variables: Vec<String> = transient
        .env
        .iter()
        .map(|(name, value)| format!("{name}={value}"))
        .collect();
    let limit = u64::try_from(transient.deadline.as_micros()).unwrap_or(u64::MAX);
    Some(vec![
        ("Description", Value::from(transient.description.as_str())),
        // Not a one-shot: its start would be a job for as long as it runs.
        ("Type", Value::from("exec")),
        ("RemainAfterExit", Value::from(true)),
        ("RuntimeMaxUSec", Value::from(limit)),
        ("Environment", Value::from(variables)),
        ("ExecStart", Value::from(vec![command])),
    ])
}

fn details_of(mut properties: Properties) -> UnitDetails {
    let mut text = |name: &str| {
        let value = properties.remove(name);
        value
            .and_then(|value| String::try_from(value).ok())
            .unwrap_or_default()
    };
    let mut details = UnitDetails {
        load: text("LoadState"),
        active: text("ActiveState"),
        sub: text("SubState"),
        fragment: text("FragmentPath"),
        result: text("Result"),
        ..UnitDetails::default()
    };
    let invocation = properties.remove("InvocationID");
    let invocation: Vec<u8> = invocation
        .and_then(|value| Vec::try_from(value).ok())
        .unwrap_or_default();
    details.invocation = invocation
        .iter()
        .map(|byte| format!("{byte:02x}"))
        .collect();
    let number = |name: &str| properties.get(name).and_then(|it| u32::try_from(it).ok());
    details.restarts = number("NRestarts").unwrap_or_default();
    let signed = properties.get("ExecMainStatus");
    details.exit_status = signed
        .and_then(|it| i32::try_from(it).ok())
        .unwrap_or_default();
    let micros = |name: &str| {
        let value = properties.get(name).and_then(|it| u64::try_from(it).ok());
        value
            .filter(|&it| it != u64::MAX)
            .map(Duration::from_micros)
    };
    // Services have both; sockets, mounts and swaps one for everything.
    details.start_timeout = micros("TimeoutStartUSec").or_else(|| micros("TimeoutUSec"));
    details.stop_timeout = micros("TimeoutStopUSec").or_else(|| micros("TimeoutUSec"));
    details
}

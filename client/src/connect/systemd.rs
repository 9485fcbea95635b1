//! systemd, asked about our own service: whether it runs, and to stop and start it while its
//! programs are replaced or taken off. Only root's own commands come here.

use std::time::Duration;

use nixctl_proto::dbus::Dictionary;
use nixctl_proto::{Code, Failure};
use serde::Serialize;
use tokio::time::{Instant, sleep, timeout};
use zbus::zvariant::OwnedObjectPath;

const SYSTEMD: &str = "org.freedesktop.systemd1";
const MANAGER_PATH: &str = "/org/freedesktop/systemd1";
const MANAGER: &str = "org.freedesktop.systemd1.Manager";
const UNIT: &str = "org.freedesktop.systemd1.Unit";
const PROPERTIES: &str = "org.freedesktop.DBus.Properties";
/// The service.
const SERVICE: &str = "nixctld.service";
/// Our units; the socket first, or it would start the service again.
const UNITS: [&str; 2] = ["nixctld.socket", SERVICE];
/// How long systemd may take to answer one call.
const CALL: Duration = Duration::from_secs(5);
/// How long the service may take to stop: it comes to a step boundary first.
const STOP: Duration = Duration::from_secs(100);

/// What systemd says of the service.
#[derive(Debug, Serialize)]
pub struct Unit {
    /// `loaded`, `not-found` and others.
    pub load: String,
    /// `active`, `inactive`, `failed` and others.
    pub active: String,
    /// The finer state.
    pub sub: String,
    /// `enabled`, `disabled` and others.
    pub enabled: String,
}

/// State of the service; `None` where systemd does not answer.
pub async fn service() -> Option<Unit> {
    timeout(CALL, state(SERVICE)).await.ok().flatten()
}

/// Stops our units and waits for it.
///
/// # Errors
/// systemd refused, or they did not stop in time.
pub async fn stop() -> Result<(), Failure> {
    for unit in UNITS {
        call("StopUnit", unit).await?;
    }
    let end = Instant::now() + STOP;
    while let Some(unit) = service().await {
        if matches!(unit.active.as_str(), "inactive" | "failed") {
            break;
        }
        if Instant::now() >= end {
            let seconds = STOP.as_secs();
            let why = format!("cannot stop {SERVICE}: it did not end within {seconds} s");
            return Err(Failure::new(Code::ServiceFailed, why));
        }
        sleep(Duration::from_millis(50)).await;
    }
    Ok(())
}

/// Starts our units again, as far as they are still there.
///
/// # Errors
/// systemd refused.
pub async fn start() -> Result<(), Failure> {
    for unit in UNITS {
        let there = timeout(CALL, state(unit)).await.ok().flatten();
        if there.is_some_and(|unit| unit.load == "loaded") {
            call("StartUnit", unit).await?;
        }
    }
    Ok(())
}

async fn call(method: &str, unit: &str) -> Result<(), Failure> {
    let cannot = |why: String| {
        let text = format!("cannot ask systemd to {method} {unit}: {why}");
        Failure::new(Code::ServiceFailed, text)
    };
    let asked = async {
        let connection = zbus::Connection::system().await?;
        let arguments = (unit, "replace");
        connection
            .call_method(
                Some(SYSTEMD),
                MANAGER_PATH,
                Some(MANAGER),
                method,
                &arguments,
            )
            .await
    };
    match timeout(CALL, asked).await {
        Ok(Ok(_)) => Ok(()),
        Ok(Err(error)) => Err(cannot(error.to_string())),
        Err(_) => Err(cannot("it does not answer".to_owned())),
    }
}

async fn state(unit: &str) -> Option<Unit> {
    let connection = zbus::Connection::system().await.ok()?;
    let loaded = connection
        .call_method(
            Some(SYSTEMD),
            MANAGER_PATH,
            Some(MANAGER),
            "LoadUnit",
            &(unit,),
        )
        .await
        .ok()?;
    let path: OwnedObjectPath = loaded.body().deserialize().ok()?;
    let answer = connection
        .call_method(Some(SYSTEMD), path, Some(PROPERTIES), "GetAll", &(UNIT,))
        .await
        .ok()?;
    let body = answer.body();
    let all: Dictionary = body.deserialize().ok()?;
    let text = |key: &str| {
        let value = all
            .get(key)
            .and_then(|value| value.downcast_ref::<String>().ok());
        value.unwrap_or_default()
    };
    Some(Unit {
        load: text("LoadState"),
        active: text("ActiveState"),
        sub: text("SubState"),
        enabled: text("UnitFileState"),
    })
}

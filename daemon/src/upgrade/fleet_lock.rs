//! The gate of a fleet: the client of the FleetLock protocol, as Zincati and airlock speak it.
//!
//! A server of the site hands out a few slots for each group of machines. A machine takes one before
//! an upgrade takes effect ([`FleetLock::lock`]) and gives it back when it has proven to be healthy
//! ([`FleetLock::unlock`]); both may be repeated. Only the status 200 is a yes. Whatever else comes,
//! and a server that cannot be reached at all, means wait: a machine that cannot ask does not know
//! how many others are away. Redirects are not followed.

use std::fmt;
use std::path::Path;
use std::time::Duration;

use nixctl_proto::Code;
use serde::{Deserialize, Serialize};

use super::machine::{AppId, MachineId};
use crate::host::{Fs, FsError};
use crate::payload::PayloadError;
use crate::payload::http::Client;
use crate::payload::url::Url;
use crate::resource::error::fs_code;

/// For one request as a whole.
pub const DEADLINE: Duration = Duration::from_secs(30);
/// The machine's id, which never leaves it.
const MACHINE_ID: &str = "/etc/machine-id";
/// Mixed into it, so that what is told here tells nothing elsewhere. Never changed, or a server does
/// not know any more who holds its slots.
const APP: AppId = AppId::new(0x3d3713bc79db4513874e0b3803d728f5);
const LOCK: &str = "/v1/pre-reboot";
const UNLOCK: &str = "/v1/steady-state";
const HEADERS: [(&str, &str); 2] = [
    ("fleet-lock-protocol", "true"),
    ("content-type", "application/json"),
];
/// More of an answer is not read.
const MAX_ANSWER_BYTES: u64 = 16 << 10;
/// Longest kind and longest text that are taken from an answer, in characters.
const MAX_KIND: usize = 80;
const MAX_VALUE: usize = 300;

/// What the server says.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum Answer {
    /// It is done.
    Yes,
    /// It is not.
    No {
        /// The server's word for why; empty when it has none.
        kind: String,
        /// Why, for people.
        value: String,
    },
}

impl Answer {
    /// Why not; `None` for yes.
    pub fn refusal(&self) -> Option<String> {
        match self {
            Answer::Yes => None,
            Answer::No { kind, value } if kind.is_empty() => Some(value.clone()),
            Answer::No { kind, value } => Some(format!("{value} ({kind})")),
        }
    }
}

/// Why nobody knows the server's answer. It means the same as a no: wait.
#[derive(Debug, thiserror::Error)]
pub enum FleetLockError {
    /// The server is away, silent, or not who it should be.
    #[error("cannot ask the FleetLock server: {0}")]
    Away(#[source] PayloadError),
    /// The address in the settings is none.
    #[error("cannot use `upgrade.fleet_lock_url`: {0}")]
    BadUrl(String),
    /// The group in the settings is none.
    #[error(
        "cannot use `upgrade.fleet_lock_group`: `{0}` has other characters than a-z, 0-9, . and -"
    )]
    BadGroup(String),
    /// The machine has no name of its own.
    #[error("cannot tell this machine from others: {MACHINE_ID} {0}")]
    NoMachineId(&'static str),
    /// A file.
    #[error(transparent)]
    Fs(#[from] FsError),
}

impl FleetLockError {
    /// Code for people and programs.
    pub fn code(&self) -> Code {
        match self {
            FleetLockError::Away(error) => error.code(),
            FleetLockError::BadUrl(_) | FleetLockError::BadGroup(_) => Code::BadSettings,
            FleetLockError::NoMachineId(_) => Code::Drifted,
            FleetLockError::Fs(error) => fs_code(&error.source),
        }
    }
}

/// The lock of this machine's group.
pub struct FleetLock {
    client: Client,
    base: Url,
    body: Vec<u8>,
}

#[derive(Serialize)]
struct Request<'a> {
    client_params: Params<'a>,
}

#[derive(Serialize)]
struct Params<'a> {
    id: &'a str,
    group: &'a str,
}

#[derive(Deserialize)]
struct Refusal {
    #[serde(default)]
    kind: String,
    value: String,
}

impl FleetLock {
    /// The one of the server at `base`, for a machine with that [`machine_id`] in that group.
    ///
    /// # Errors
    /// The address or the group is none.
    pub fn new(client: Client, base: &str, group: &str, id: &str) -> Result<Self, FleetLockError> {
        let bad = |why: String| FleetLockError::BadUrl(why);
        let url = Url::parse(base).map_err(|error| bad(error.to_string()))?;
        if !url.query.is_empty() {
            return Err(bad("it has a query".to_owned()));
        }
        let allowed = |c: char| c.is_ascii_alphanumeric() || c == '.' || c == '-';
        if group.is_empty() || !group.chars().all(allowed) {
            return Err(FleetLockError::BadGroup(group.to_owned()));
        }
        let client_params = Params { id, group };
        // Two texts: this cannot fail.
        let body = serde_json::to_vec(&Request { client_params }).unwrap_or_default();
        Ok(FleetLock {
            client,
            base: url,
            body,
        })
    }

    /// Takes a slot; yes as well when the machine has one already.
    ///
    /// # Errors
    /// The server does not answer: wait.
    pub fn lock(&self) -> Result<Answer, FleetLockError> {
        self.ask(LOCK)
    }

    /// Gives the slot back; yes as well when the machine has none.
    ///
    /// # Errors
    /// The server does not answer: ask again later, the others wait for it.
    pub fn unlock(&self) -> Result<Answer, FleetLockError> {
        self.ask(UNLOCK)
    }

    fn ask(&self, path: &str) -> Result<Answer, FleetLockError> {
        let base = self.base.path.trim_end_matches('/');
        let url = Url {
            path: format!("{base}{path}"),
            ..self.base.clone()
        };
        let posted = self
            .client
            .post(&url, &HEADERS, &self.body, MAX_ANSWER_BYTES, DEADLINE)
            .map_err(FleetLockError::Away)?;
        Ok(read(posted.status, &posted.body))
    }
}

impl fmt::Debug for FleetLock {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let base = self.base.shown();
        f.debug_struct("FleetLock")
            .field("base", &base)
            .finish_non_exhaustive()
    }
}

/// What tells this machine from others to a FleetLock server: 32 hexadecimal digits made from the
/// machine's id, from which that cannot be told. The same as those of
/// `systemd-id128 machine-id --app-specific=` with [`APP`].
///
/// # Errors
/// The machine has no id.
pub fn machine_id(fs: &Fs) -> Result<String, FleetLockError> {
    let bytes = fs
        .read(Path::new(MACHINE_ID), 4096)?
        .ok_or(FleetLockError::NoMachineId("is not there"))?;
    let id = std::str::from_utf8(&bytes).ok().and_then(MachineId::parse);
    let id = id.ok_or(FleetLockError::NoMachineId("does not hold an id"))?;
    Ok(id.for_use(APP))
}

fn read(status: u16, body: &[u8]) -> Answer {
    let why = match status {
        200 => return Answer::Yes,
        300..=399 => format!("the server redirects ({status}), which is not followed"),
        _ => format!("the server answers {status}"),
    };
    match serde_json::from_slice::<Refusal>(body) {
        Ok(refusal) if !refusal.value.trim().is_empty() => Answer::No {
            kind: clean(&refusal.kind, MAX_KIND),
            value: clean(&refusal.value, MAX_VALUE),
        },
        _ => Answer::No {
            kind: String::new(),
            value: why,
        },
    }
}

fn clean(text: &str, most: usize) -> String {
    let printable = |c: char| if c.is_control() { '\u{fffd}' } else { c };
    text.trim().chars().take(most).map(printable).collect()
}

#[cfg(test)]
#[path = "fleet_lock_tests.rs"]
mod tests;

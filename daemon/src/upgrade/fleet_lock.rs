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
use sha2::{Digest, Sha256};

use crate::host::{Fs, FsError};
use crate::payload::PayloadError;
use crate::payload::files::hex;
use crate::payload::http::Client;
use crate::payload::url::Url;
use crate::resource::error::fs_code;

/// For one request as a whole.
pub const DEADLINE: Duration = Duration::from_secs(30);
/// The machine's id, which never leaves it.
const MACHINE_ID: &str = "/etc/machine-id";
/// Mixed into it, so that what is told here tells nothing elsewhere. Never changed, or a server does
/// not know any more who holds its slots.
const APP_ID: u128 = 0x3d3713bc79db4513874e0b3803d728f5;
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
/// `systemd-id128 machine-id --app-specific=` with [`APP_ID`].
///
/// # Errors
/// The machine has no id.
pub fn machine_id(fs: &Fs) -> Result<String, FleetLockError> {
    let bytes = fs
        .read(Path::new(MACHINE_ID), 4096)?
        .ok_or(FleetLockError::NoMachineId("is not there"))?;
    // While an image boots for the first time it says `uninitialized`.
    let number = std::str::from_utf8(bytes.trim_ascii()).ok().filter(|text| {
        let is_digit = |byte: u8| byte.is_ascii_hexdigit();
        text.len() == 32 && text.bytes().all(is_digit)
    });
    let number = number.and_then(|text| u128::from_str_radix(text, 16).ok());
    match number {
        None | Some(0) => Err(FleetLockError::NoMachineId("does not hold an id")),
        Some(number) => Ok(for_application(number, APP_ID)),
    }
}

/// The first half of HMAC-SHA256 over the application's id with the machine's as key, marked as a
/// UUID of version 4.
fn for_application(machine: u128, application: u128) -> String {
    const BLOCK: usize = 64;
    let mut key = [0; BLOCK];
    key[..16].copy_from_slice(&machine.to_be_bytes());
    let hashed = |pad: u8, message: &[u8]| {
        let padded = key.map(|byte| byte ^ pad);
        Sha256::new().chain_update(padded).chain_update(message)
    };
    let inner = hashed(0x36, &application.to_be_bytes()).finalize();
    let mut id = hashed(0x5c, &inner).finalize();
    id[6] = id[6] & 0x0f | 0x40;
    id[8] = id[8] & 0x3f | 0x80;
    hex(&id[..16])
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
mod tests {
    use std::collections::BTreeSet;
    use std::io::Write;
    use std::net::TcpListener;
    use std::sync::Mutex;

    use super::*;
    use crate::host::Cancel;
    use crate::payload::test_server::{Asked, Server, reply};

    const ID: &str = "c988d2509fdf4cdcbed39037c56406fb";

    fn client() -> Client {
        Client::direct(Duration::from_millis(300), Cancel::default())
    }

    fn member(server: &Server, id: &str) -> FleetLock {
        FleetLock::new(client(), &server.url("/base/"), "workers", id).unwrap()
    }

    /// One slot, as the protocol has it.
    fn one_slot() -> Server {
        let holders = Mutex::new(BTreeSet::new());
        Server::start(move |asked, out| {
            let body: serde_json::Value = serde_json::from_str(&asked.body).unwrap();
            let id = body["client_params"]["id"].as_str().unwrap().to_owned();
            let mut holders = holders.lock().unwrap();
            match asked.path.as_str() {
                "/base/v1/pre-reboot" if holders.is_empty() || holders.contains(&id) => {
                    holders.insert(id);
                    reply(asked, out, "200 OK", "", b"");
                }
                "/base/v1/steady-state" => {
                    holders.remove(&id);
                    reply(asked, out, "200 OK", "", b"");
                }
                _ => {
                    let body =
                        br#"{"kind":"failed_lock_semaphore_full","value":"all slots are taken"}"#;
                    reply(asked, out, "409 Conflict", "", body);
                }
            }
        })
    }

    #[test]
    fn one_machine_at_a_time_has_the_slot() {
        let server = one_slot();
        let (one, other) = (member(&server, ID), member(&server, "other"));
        assert_eq!(one.lock().unwrap(), Answer::Yes);
        assert_eq!(one.lock().unwrap(), Answer::Yes);
        let refused = other.lock().unwrap();
        let why = refused.refusal().unwrap();
        assert_eq!(why, "all slots are taken (failed_lock_semaphore_full)");
        assert_eq!(other.unlock().unwrap(), Answer::Yes);
        assert!(matches!(other.lock().unwrap(), Answer::No { .. }));
        assert_eq!(one.unlock().unwrap(), Answer::Yes);
        assert_eq!(other.lock().unwrap(), Answer::Yes);
    }

    #[test]
    fn requests_are_those_of_the_protocol() {
        let server = one_slot();
        member(&server, ID).lock().unwrap();
        member(&server, ID).unlock().unwrap();
        let paths: Vec<String> = server.requests().into_iter().map(|it| it.path).collect();
        assert_eq!(paths, ["/base/v1/pre-reboot", "/base/v1/steady-state"]);
        for asked in server.requests() {
            assert_eq!(asked.method, "POST");
            assert_eq!(asked.header("fleet-lock-protocol").unwrap(), "true");
            assert_eq!(asked.header("content-type").unwrap(), "application/json");
            let body = format!(r#"{{"client_params":{{"id":"{ID}","group":"workers"}}}}"#);
            assert_eq!(asked.body, body);
        }
    }

    type Reply = fn(&Asked, &mut dyn Write);

    #[test]
    fn only_200_is_a_yes() {
        let cases: [(Reply, &str); 8] = [
            (
                |a, o| reply(a, o, "204 None", "", b""),
                "the server answers 204",
            ),
            (
                |a, o| reply(a, o, "202 Later", "", b""),
                "the server answers 202",
            ),
            (
                |a, o| reply(a, o, "404 No", "", b"<html>"),
                "the server answers 404",
            ),
            (
                |a, o| reply(a, o, "503 No", "", b""),
                "the server answers 503",
            ),
            (
                |a, o| reply(a, o, "500 No", "", b"{\"kind\":\"x\"}"),
                "the server answers 500",
            ),
            (
                |a, o| reply(a, o, "307 There", "Location: /elsewhere\r\n", b""),
                "redirects (307), which is not followed",
            ),
            (
                |a, o| reply(a, o, "500 No", "", b"{\"value\":\"etcd is away\"}"),
                "etcd is away",
            ),
            (
                |a, o| {
                    let body = "{\"kind\":\"a\\u001b\",\"value\":\"b\\nc\"}";
                    reply(a, o, "400 No", "", body.as_bytes());
                },
                "b\u{fffd}c (a\u{fffd})",
            ),
        ];
        for (answer, part) in cases {
            let server = Server::start(answer);
            let said = member(&server, ID).lock().unwrap().refusal().unwrap();
            assert!(said.contains(part), "{said}");
            assert_eq!(server.requests().len(), 1, "{said}");
        }
        let endless = Server::start(|asked, out| {
            let value = "x".repeat(1 << 20);
            let body = format!("{{\"kind\":\"k\",\"value\":\"{value}\"}}");
            reply(asked, out, "500 No", "", body.as_bytes());
        });
        let said = member(&endless, ID).lock().unwrap().refusal().unwrap();
        assert_eq!(said, "the server answers 500");
    }

    #[test]
    fn a_server_that_is_away_means_wait() {
        let closed = TcpListener::bind("127.0.0.1:0")
            .unwrap()
            .local_addr()
            .unwrap();
        let silent = Server::start(|_, _| std::thread::sleep(Duration::from_secs(2)));
        let ended = Server::start(|_, _| {});
        let nonsense = Server::start(|_, out| {
            let _ = out.write_all(b"what?\r\n\r\n");
        });
        for url in [
            format!("http://{closed}"),
            silent.url(""),
            ended.url(""),
            nonsense.url(""),
            // TLS is not spoken there.
            format!("https://{}", ended.address),
        ] {
            let lock = FleetLock::new(client(), &url, "default", ID).unwrap();
            for asked in [lock.lock(), lock.unlock()] {
                let error = asked.unwrap_err();
                assert!(matches!(error, FleetLockError::Away(_)), "{error}");
                assert_eq!(error.code(), Code::Network);
                let text = error.to_string();
                assert!(
                    text.starts_with("cannot ask the FleetLock server: "),
                    "{text}"
                );
            }
        }
    }

    #[test]
    fn wrong_settings_are_refused() {
        for (url, group, part) in [
            ("", "a", "fleet_lock_url"),
            ("ftp://h", "a", "fleet_lock_url"),
            ("http://h/?a=b", "a", "it has a query"),
            ("http://h", "", "fleet_lock_group"),
            ("http://h", "a b", "`a b` has other characters"),
            ("http://h", "a\"}", "has other characters"),
        ] {
            let error = FleetLock::new(client(), url, group, ID).unwrap_err();
            assert_eq!(error.code(), Code::BadSettings);
            assert!(error.to_string().contains(part), "{error}");
        }
    }

    #[test]
    fn the_machines_own_id_is_not_told() {
        let dir = tempfile::tempdir().unwrap();
        let fs = Fs::at(dir.path());
        assert!(machine_id(&fs).is_err());
        std::fs::create_dir(dir.path().join("etc")).unwrap();
        let write = |text: &str| std::fs::write(dir.path().join("etc/machine-id"), text).unwrap();
        for wrong in [
            "",
            "uninitialized\n",
            "c988d2509fdf4cdcbed39037c56406f\n",
            "00000000000000000000000000000000\n",
            "+988d2509fdf4cdcbed39037c56406fb\n",
        ] {
            write(wrong);
            assert!(machine_id(&fs).is_err(), "{wrong}");
        }
        write(&format!("{ID}\n"));
        let told = machine_id(&fs).unwrap();
        // For ever the same, and made by another implementation of HMAC.
        assert_eq!(told, "aea7adf76ff840cf87b574a29aaf9375");
        assert!(!told.contains(&ID[..8]));
        write("00000000000000000000000000000001\n");
        assert_ne!(machine_id(&fs).unwrap(), told);
    }
}

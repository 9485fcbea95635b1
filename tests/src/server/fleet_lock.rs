//! A reference server of the FleetLock protocol, as airlock is one: a counting semaphore for each
//! group, whose slots are owned by the machine that took them.
//!
//! Taking and giving back are recursive: a machine that has a slot gets a yes without another one,
//! and one that has none gives nothing back, with a yes. Everything that happens goes into a
//! journal, from which a test reads that never more machines than there are slots had one. One
//! server can listen in several machines: each has its own loopback. The state is in memory and
//! lives as long as the server.

use std::collections::{BTreeMap, BTreeSet};
use std::io::{self, BufRead, BufReader, Read, Write};
use std::net::TcpStream;
use std::path::Path;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use serde::Deserialize;
use serde_json::json;

use super::listener::Listener;
use crate::error::Result;

/// Largest request that is read.
const MAX_REQUEST: u64 = 64 * 1024;
/// A client that says nothing for this long is let go; a silent server is silent for as long.
const IDLE: Duration = Duration::from_secs(60);

/// How the server is away.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Away {
    /// It is there.
    #[default]
    No,
    /// It closes every connection without an answer.
    Gone,
    /// It takes requests and says nothing.
    Silent,
    /// It answers with this status whatever is asked.
    Status(u16),
}

/// What happened.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Happened {
    /// A machine got a slot.
    Locked,
    /// A machine asked for a slot that it had.
    LockedAlready,
    /// All slots were taken by others.
    Refused,
    /// A machine gave its slot back.
    Unlocked,
    /// A machine that had none gave a slot back.
    NotHeld,
    /// A request was none of the protocol.
    Malformed,
    /// A request came while the server was away.
    Missed,
}

/// One line of the journal.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Event {
    /// When.
    pub at: Instant,
    /// What.
    pub happened: Happened,
    /// Whose group; empty for a request that named none.
    pub group: String,
    /// Which machine, by the name that it gave itself.
    pub id: String,
}

/// A running server. Dropping it closes its ports.
#[derive(Debug)]
pub struct FleetLock {
    state: Arc<Mutex<State>>,
    doors: Vec<Listener>,
}

#[derive(Debug)]
struct State {
    slots: usize,
    groups: BTreeMap<String, BTreeSet<String>>,
    away: Away,
    journal: Vec<Event>,
}

impl FleetLock {
    /// A server with so many slots for each group, listening on 127.0.0.1 of a network namespace
    /// (the host's own when none); port 0 picks one.
    pub fn start(network: Option<&Path>, port: u16, slots: usize) -> Result<Self> {
        let state = State {
            slots,
            groups: BTreeMap::new(),
            away: Away::No,
            journal: Vec::new(),
        };
        let mut server = Self {
            state: Arc::new(Mutex::new(state)),
            doors: Vec::new(),
        };
        server.listen(network, port)?;
        Ok(server)
    }

    /// Listens in one more network namespace; returns the port.
    pub fn listen(&mut self, network: Option<&Path>, port: u16) -> Result<u16> {
        let state = Arc::clone(&self.state);
        let door = Listener::start(network, port, move |stream| {
            // A client that went away in the middle is none of our business.
            let _ = serve(stream, &state);
            let _ = stream.shutdown(std::net::Shutdown::Both);
        })?;
        let port = door.port();
        self.doors.push(door);
        Ok(port)
    }

    /// The address for the settings of the machine that was listened in first.
    #[must_use]
    pub fn url(&self) -> String {
        let port = self.doors.first().map_or(0, Listener::port);
        format!("http://127.0.0.1:{port}")
    }

    /// Lets it be away, or come back. What was taken stays taken.
    pub fn set_away(&self, away: Away) {
        lock(&self.state).away = away;
    }

    /// The machines of a group that have a slot.
    #[must_use]
    pub fn holders(&self, group: &str) -> BTreeSet<String> {
        let state = lock(&self.state);
        state.groups.get(group).cloned().unwrap_or_default()
    }

    /// Gives a slot to a machine that is none of the lab's; whether there was one.
    pub fn take(&self, group: &str, id: &str) -> bool {
        lock(&self.state).lock(group, id)
    }

    /// Takes a machine's slot back by hand, as an administrator does for one that is lost.
    pub fn release(&self, group: &str, id: &str) {
        lock(&self.state).unlock(group, id);
    }

    /// Everything that happened, oldest first.
    #[must_use]
    pub fn journal(&self) -> Vec<Event> {
        lock(&self.state).journal.clone()
    }

    /// How many machines of a group had a slot at the same time at most, by the journal.
    #[must_use]
    pub fn most_at_once(&self, group: &str) -> usize {
        most_at_once(&self.journal(), group)
    }
}

/// The same of any journal.
fn most_at_once(journal: &[Event], group: &str) -> usize {
    let (mut holders, mut most) = (BTreeSet::new(), 0);
    for event in journal.iter().filter(|event| event.group == group) {
        match event.happened {
            Happened::Locked => drop(holders.insert(event.id.as_str())),
            Happened::Unlocked => drop(holders.remove(event.id.as_str())),
            _ => {}
        }
        most = most.max(holders.len());
    }
    most
}

impl State {
    fn note(&mut self, happened: Happened, group: &str, id: &str) {
        self.journal.push(Event {
            at: Instant::now(),
            happened,
            group: group.to_owned(),
            id: id.to_owned(),
        });
    }

    /// RecursiveLock: whether the machine has a slot now.
    fn lock(&mut self, group: &str, id: &str) -> bool {
        let holders = self.groups.entry(group.to_owned()).or_default();
        let happened = if holders.contains(id) {
            Happened::LockedAlready
        } else if holders.len() < self.slots {
            holders.insert(id.to_owned());
            Happened::Locked
        } else {
            Happened::Refused
        };
        self.note(happened, group, id);
        happened != Happened::Refused
    }

    /// UnlockIfHeld.
    fn unlock(&mut self, group: &str, id: &str) {
        let holders = self.groups.get_mut(group);
        let held = holders.is_some_and(|holders| holders.remove(id));
        let happened = match held {
            true => Happened::Unlocked,
            false => Happened::NotHeld,
        };
        self.note(happened, group, id);
    }
}

/// What was asked.
struct Request {
    method: String,
    path: String,
    protocol: Option<String>,
    body: Vec<u8>,
}

#[derive(Deserialize)]
struct Body {
    client_params: Params,
}

#[derive(Deserialize)]
struct Params {
    id: String,
    group: String,
}

fn serve(stream: &TcpStream, state: &Mutex<State>) -> io::Result<()> {
    stream.set_read_timeout(Some(IDLE))?;
    let Some(request) = read_request(stream)? else {
        return Ok(());
    };
    let (status, body) = {
        let mut state = lock(state);
        match state.away {
            Away::No => answer(&mut state, &request),
            away => {
                state.note(Happened::Missed, "", "");
                drop(state);
                match away {
                    Away::Status(status) => (status, String::new()),
                    Away::Silent => return wait_for_end(stream),
                    _ => return Ok(()),
                }
            }
        }
    };
    let length = body.len();
    let mut stream = stream;
    write!(
        stream,
        "HTTP/1.1 {status} Answer\r\nConnection: close\r\nContent-Type: application/json\r\n\
         Content-Length: {length}\r\n\r\n{body}"
    )
}

/// Says nothing until the client has gone.
fn wait_for_end(stream: &TcpStream) -> io::Result<()> {
    let mut stream = stream;
    io::copy(&mut stream, &mut io::sink()).map(drop)
}

/// The status and the body of the answer.
fn answer(state: &mut State, request: &Request) -> (u16, String) {
    let refusal = |status: u16, kind: &str, value: &str| {
        (status, json!({ "kind": kind, "value": value }).to_string())
    };
    let params = match params(request) {
        Ok(params) => params,
        Err((status, kind, value)) => {
            state.note(Happened::Malformed, "", "");
            return refusal(status, kind, value);
        }
    };
    match request.path.as_str() {
        "/v1/steady-state" => {
            state.unlock(&params.group, &params.id);
            (200, String::new())
        }
        _ if state.lock(&params.group, &params.id) => (200, String::new()),
        _ => refusal(
            409,
            "failed_lock_semaphore_full",
            "semaphore currently full, all slots are locked already",
        ),
    }
}

/// Who asks, when it is a request of the protocol; else status, kind and text of the refusal.
fn params(request: &Request) -> std::result::Result<Params, (u16, &'static str, &'static str)> {
    let is_endpoint = ["/v1/pre-reboot", "/v1/steady-state"].contains(&request.path.as_str());
    if !is_endpoint {
        return Err((404, "unknown_endpoint", "there is no such endpoint"));
    }
    if request.method != "POST" {
        return Err((405, "wrong_method", "only POST is understood"));
    }
    if request.protocol.as_deref() != Some("true") {
        let value = "the header fleet-lock-protocol is not `true`";
        return Err((400, "wrong_header", value));
    }
    let body: Body = serde_json::from_slice(&request.body).map_err(|_| {
        (
            400,
            "malformed_body",
            "the body is not as the protocol has it",
        )
    })?;
    let Params { id, group } = body.client_params;
    let allowed = |c: char| c.is_ascii_alphanumeric() || c == '.' || c == '-';
    if id.is_empty() || group.is_empty() || !group.chars().all(allowed) {
        return Err((400, "wrong_identity", "id or group is not a name"));
    }
    Ok(Params { id, group })
}

fn read_request(stream: &TcpStream) -> io::Result<Option<Request>> {
    let mut reader = BufReader::new(stream.take(MAX_REQUEST));
    let mut line = String::new();
    reader.read_line(&mut line)?;
    let mut words = line.split_whitespace();
    let (Some(method), Some(path)) = (words.next(), words.next()) else {
        return Ok(None);
    };
    let (mut protocol, mut length) = (None, 0);
    loop {
        let mut header = String::new();
        if reader.read_line(&mut header)? == 0 || header.trim().is_empty() {
            break;
        }
        let Some((name, value)) = header.split_once(':') else {
            continue;
        };
        match name.to_ascii_lowercase().as_str() {
            "fleet-lock-protocol" => protocol = Some(value.trim().to_owned()),
            "content-length" => length = value.trim().parse().unwrap_or(0),
            _ => {}
        }
    }
    let mut body = Vec::new();
    reader.take(length).read_to_end(&mut body)?;
    Ok(Some(Request {
        method: method.to_owned(),
        path: path.to_owned(),
        protocol,
        body,
    }))
}

fn lock(state: &Mutex<State>) -> MutexGuard<'_, State> {
    state.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
#[path = "fleet_lock_tests.rs"]
mod tests;

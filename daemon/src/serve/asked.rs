//! Over which connections the switches were asked for that wait for a confirmation.
//!
//! A confirmation over the same connection proves nothing about a network that is new: it must
//! come over another one. Kept in memory: after a restart of the daemon every connection to the
//! socket is a new one, and those on the bus that are older than the daemon's own are not.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Mutex, PoisonError};

use nixctl_proto::OperationId;
use zbus::names::UniqueName;

use super::Caller;
use super::authority::Transport;

/// A connection, told from every other one of this daemon's life.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
enum Peer {
    /// On the bus of this identity: names begin anew when it is started again.
    Bus { guid: String, name: String },
    /// On the socket, by number.
    Socket(u64),
    /// The one connection of a private daemon.
    Private,
}

/// Who asked for what.
#[derive(Debug, Default)]
pub struct Asked(Mutex<BTreeMap<OperationId, BTreeSet<Peer>>>);

impl Asked {
    /// Notes that the caller asked for an operation, and forgets those that are open no more.
    pub fn note(&self, id: &OperationId, caller: &Caller, is_open: impl Fn(&OperationId) -> bool) {
        let mut asked = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        asked.retain(|other, _| is_open(other));
        asked.entry(id.clone()).or_default().insert(peer(caller));
    }

    /// Whether the caller's connection is another than those that asked for the operation.
    pub fn is_new(&self, id: &OperationId, caller: &Caller) -> bool {
        let asked = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        match asked.get(id) {
            Some(peers) => !peers.contains(&peer(caller)),
            None => !was_there_before(caller),
        }
    }
}

fn peer(caller: &Caller) -> Peer {
    match &caller.transport {
        Transport::Bus {
            connection, sender, ..
        } => Peer::Bus {
            guid: connection.server_guid().to_string(),
            name: sender.to_string(),
        },
        Transport::Socket(number) => Peer::Socket(*number),
        Transport::Private => Peer::Private,
    }
}

/// Whether the caller may have been connected before this daemon was.
fn was_there_before(caller: &Caller) -> bool {
    match &caller.transport {
        Transport::Bus {
            connection, sender, ..
        } => match connection.unique_name() {
            Some(own) => place(sender.inner()) < place(own.inner()),
            None => true,
        },
        Transport::Socket(_) => false,
        Transport::Private => true,
    }
}

/// The numbers in a name of the bus, `:1.42`: each new connection gets a higher one.
fn place(name: &UniqueName<'_>) -> Option<(u64, u64)> {
    let (major, minor) = name.as_str().strip_prefix(':')?.split_once('.')?;
    Some((major.parse().ok()?, minor.parse().ok()?))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn caller(connection: u64) -> Caller {
        Caller {
            uid: 0,
            groups: None,
            transport: Transport::Socket(connection),
        }
    }

    #[test]
    fn only_who_asked_is_not_new() {
        let asked = Asked::default();
        let (one, two) = (OperationId::from_parts(1, 0), OperationId::from_parts(2, 0));
        asked.note(&one, &caller(1), |_| true);
        asked.note(&one, &caller(2), |_| true);
        asked.note(&two, &caller(3), |_| true);
        for (id, connection, expected) in [
            (&one, 1, false),
            (&one, 2, false),
            (&one, 3, true),
            (&two, 1, true),
            (&two, 3, false),
        ] {
            assert_eq!(asked.is_new(id, &caller(connection)), expected);
        }
        asked.note(&two, &caller(4), |id| *id == two);
        assert_eq!(asked.0.lock().unwrap().len(), 1);
    }

    #[test]
    fn of_an_operation_from_before_a_restart_every_socket_is_new() {
        let asked = Asked::default();
        let id = OperationId::from_parts(1, 0);
        assert!(asked.is_new(&id, &caller(1)));
        assert!(!asked.is_new(&id, &Caller::private(0)));
    }

    #[test]
    fn names_of_the_bus_have_an_order() {
        let place = |text: &'static str| place(&UniqueName::from_static_str(text).unwrap());
        assert!(place(":1.9") < place(":1.10"));
        assert!(place(":1.4000000000") < place(":2.0"));
        assert_eq!(place(":a.b"), None);
    }
}

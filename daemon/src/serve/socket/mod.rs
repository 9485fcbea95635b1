//! The Unix socket, for callers and machines without a bus, and the private connection of a
//! client that started this daemon for itself.
//!
//! Anybody may connect; who they are is asked of the kernel. Peers that are slow, silent or greedy
//! are cut off, and one that goes away changes nothing.

mod connection;
mod listener;
mod peer;
#[cfg(test)]
mod tests;

use std::os::fd::AsFd;
use std::sync::Arc;
use std::time::Duration;

use tokio::net::{UnixListener, UnixStream};

use super::quota::Quota;
use super::{Caller, Service};

pub use listener::{Bound, ListenError, listen};

/// Connections of all users together.
const CONNECTIONS_IN_ALL: u32 = 256;
/// Connections of one user until the settings are known.
const CONNECTIONS_PER_USER: u32 = 32;
/// Pause after a connection could not be accepted (no descriptors left, say).
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// The limits of this socket.
pub fn quota() -> Quota {
    Quota::new(CONNECTIONS_PER_USER, CONNECTIONS_IN_ALL)
}

/// Serves everybody who connects, for ever.
pub async fn serve(listener: UnixListener, service: Arc<Service>, quota: Quota) {
    loop {
        let stream = match listener.accept().await {
            Ok((stream, _)) => stream,
            Err(error) => {
                tracing::warn!("cannot accept a connection: {error}");
                tokio::time::sleep(ACCEPT_PAUSE).await;
                continue;
            }
        };
        let caller = match peer::caller(&stream) {
            Ok(caller) => caller,
            Err(error) => {
                tracing::warn!("cannot tell who connects: {error}");
                continue;
            }
        };
        match quota.enter(caller.uid) {
            Some(ticket) => {
                let service = Arc::clone(&service);
                tokio::spawn(async move {
                    connection::serve(stream, service, caller).await;
                    drop(ticket);
                });
            }
            None => {
                tracing::warn!(uid = caller.uid, "too many connections");
                connection::refuse(&stream);
            }
        }
    }
}

/// Serves the one peer at the other end of standard input, until it goes.
///
/// # Errors
/// Standard input is no socket.
pub async fn serve_private(service: Arc<Service>) -> std::io::Result<()> {
    let descriptor = std::io::stdin().as_fd().try_clone_to_owned()?;
    let stream = std::os::unix::net::UnixStream::from(descriptor);
    // Fails for anything that is not a socket.
    stream.local_addr()?;
    stream.set_nonblocking(true)?;
    let stream = UnixStream::from_std(stream)?;
    let caller = Caller::private(nix::unistd::getuid().as_raw());
    connection::serve(stream, service, caller).await;
    Ok(())
}

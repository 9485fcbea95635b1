//! A listening socket in a network namespace, and the threads that answer.
//!
//! Dropping a [`Listener`] closes the port and every connection that is still open.

use std::collections::HashMap;
use std::fs::File;
use std::io;
use std::net::{Shutdown, TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::Duration;

use crate::error::{Context, Error, Result};

/// Longest wait for a connection to a server of our own.
const CONNECT_DEADLINE: Duration = Duration::from_secs(1);

/// A port of 127.0.0.1 that is listened on.
#[derive(Debug)]
pub(super) struct Listener {
    port: u16,
    network: Option<PathBuf>,
    stopped: Arc<AtomicBool>,
    /// Connections that are not closed yet, by their number.
    open: Arc<Mutex<HashMap<usize, TcpStream>>>,
    acceptor: Option<JoinHandle<()>>,
}

impl Listener {
    /// Listens in a network namespace (the host's own when none) and gives each connection to
    /// `answer`, on a thread of its own; port 0 picks one.
    pub fn start(
        network: Option<&Path>,
        port: u16,
        answer: impl Fn(&TcpStream) + Send + Sync + 'static,
    ) -> Result<Self> {
        let socket = in_network(network, move || TcpListener::bind(("127.0.0.1", port)))?;
        let address = socket.local_addr().context(|| "ask for the port")?;
        let stopped = Arc::new(AtomicBool::new(false));
        let open = Arc::new(Mutex::new(HashMap::new()));
        let (asked, streams) = (Arc::clone(&stopped), Arc::clone(&open));
        let answer = Arc::new(answer);
        let acceptor = std::thread::spawn(move || {
            for (number, stream) in socket.incoming().enumerate() {
                if asked.load(Ordering::Relaxed) {
                    return;
                }
                let Ok(stream) = stream else { continue };
                if let Ok(copy) = stream.try_clone() {
                    lock(&streams).insert(number, copy);
                }
                let (answer, streams) = (Arc::clone(&answer), Arc::clone(&streams));
                std::thread::spawn(move || {
                    answer(&stream);
                    lock(&streams).remove(&number);
                });
            }
        });
        Ok(Self {
            port: address.port(),
            network: network.map(Path::to_path_buf),
            stopped,
            open,
            acceptor: Some(acceptor),
        })
    }

    /// The port.
    pub fn port(&self) -> u16 {
        self.port
    }
}

impl Drop for Listener {
    fn drop(&mut self) {
        self.stopped.store(true, Ordering::Relaxed);
        for (_, stream) in lock(&self.open).drain() {
            let _ = stream.shutdown(Shutdown::Both);
        }
        // Wakes the acceptor, which then sees that it shall stop.
        let wake = connect(self.network.as_deref(), self.port);
        if let (Ok(_), Some(acceptor)) = (wake, self.acceptor.take()) {
            let _ = acceptor.join();
        }
    }
}

/// Connects to a port of 127.0.0.1 of a network namespace.
pub(super) fn connect(network: Option<&Path>, port: u16) -> Result<TcpStream> {
    // In a machine whose loopback is down, an attempt would last for minutes.
    in_network(network, move || {
        TcpStream::connect_timeout(&([127, 0, 0, 1], port).into(), CONNECT_DEADLINE)
    })
}

/// Runs a socket call in a network namespace: on a thread of its own, which alone moves there.
fn in_network<T: Send + 'static>(
    network: Option<&Path>,
    call: impl FnOnce() -> io::Result<T> + Send + 'static,
) -> Result<T> {
    let Some(file) = network else {
        return call().context(|| "open a socket");
    };
    let file = file.to_path_buf();
    let thread = std::thread::spawn(move || {
        let namespace = File::open(&file)?;
        nix::sched::setns(namespace, nix::sched::CloneFlags::CLONE_NEWNET)?;
        call()
    });
    let result = thread
        .join()
        .map_err(|_| Error::new("open a socket", "the thread panicked"))?;
    result.context(|| "open a socket in the machine")
}

fn lock<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

//! TLS before a release server, in one of two ways, told apart by what the client begins with: a
//! server that speaks TLS itself, or a proxy that says yes to CONNECT and then shows a certificate
//! of its own for whatever host was named, as those that inspect TLS in companies do.
//!
//! A request that got through is passed on to the server, which answers one on each connection.

use std::io::{self, Read, Write};
use std::net::TcpStream;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::{ServerConfig, ServerConnection, StreamOwned};

use super::authority::Identity;
use super::listener::{Listener, connect};
use crate::error::{Context, Result};

/// First byte of a TLS connection.
const HANDSHAKE: u8 = 22;
/// Longest head of a request.
const MAX_HEAD: usize = 64 * 1024;
/// A client that says nothing for this long is let go.
const IDLE: Duration = Duration::from_secs(30);

/// A running front. Dropping it closes the port.
#[derive(Debug)]
pub struct Front {
    listener: Listener,
    tunnels: Arc<Mutex<Vec<String>>>,
}

/// What the threads work with.
struct Door {
    config: Arc<ServerConfig>,
    network: Option<PathBuf>,
    behind: u16,
    tunnels: Arc<Mutex<Vec<String>>>,
}

impl Front {
    /// Listens on `port`, shows `identity`, and passes requests on to the port `behind`, both on
    /// 127.0.0.1 of a network namespace (the host's own when none).
    pub fn start(
        network: Option<&Path>,
        port: u16,
        behind: u16,
        identity: &Identity,
    ) -> Result<Self> {
        let tunnels = Arc::default();
        let door = Door {
            config: Arc::new(config(identity)?),
            network: network.map(Path::to_path_buf),
            behind,
            tunnels: Arc::clone(&tunnels),
        };
        let listener = Listener::start(network, port, move |stream| {
            // A client that does not like the certificate goes away; that is what it is for.
            let _ = door.answer(stream);
            let _ = stream.shutdown(std::net::Shutdown::Both);
        })?;
        Ok(Self { listener, tunnels })
    }

    /// The port.
    #[must_use]
    pub fn port(&self) -> u16 {
        self.listener.port()
    }

    /// The hosts and ports to which it was asked to open a tunnel, oldest first.
    #[must_use]
    pub fn tunnels(&self) -> Vec<String> {
        let tunnels = self.tunnels.lock();
        tunnels.unwrap_or_else(PoisonError::into_inner).clone()
    }
}

impl Door {
    fn answer(&self, mut stream: &TcpStream) -> io::Result<()> {
        stream.set_read_timeout(Some(IDLE))?;
        let mut first = [0];
        stream.peek(&mut first)?;
        if first[0] != HANDSHAKE {
            let head = read_head(&mut stream)?;
            let head = String::from_utf8_lossy(&head);
            let mut words = head.split_whitespace();
            let (Some("CONNECT"), Some(target)) = (words.next(), words.next()) else {
                return stream.write_all(b"HTTP/1.1 405 Method Not Allowed\r\n\r\n");
            };
            let tunnels = self.tunnels.lock();
            let mut tunnels = tunnels.unwrap_or_else(PoisonError::into_inner);
            tunnels.push(target.to_owned());
            drop(tunnels);
            stream.write_all(b"HTTP/1.1 200 Connection Established\r\n\r\n")?;
        }
        let connection = ServerConnection::new(Arc::clone(&self.config)).map_err(other)?;
        let mut inside = StreamOwned::new(connection, stream);
        let head = read_head(&mut inside)?;
        let mut behind = connect(self.network.as_deref(), self.behind).map_err(other)?;
        behind.write_all(&head)?;
        io::copy(&mut behind, &mut inside)?;
        inside.conn.send_close_notify();
        inside.flush()
    }
}

fn config(identity: &Identity) -> Result<ServerConfig> {
    let file = identity.certificate.display();
    let certificate = CertificateDer::from_pem_file(&identity.certificate);
    let key = PrivateKeyDer::from_pem_file(&identity.key);
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .context(|| "set up TLS")?
        .with_no_client_auth()
        .with_single_cert(
            vec![certificate.context(|| format!("read {file}"))?],
            key.context(|| format!("read the key of {file}"))?,
        )
        .context(|| format!("use {file}"))
}

/// Reads up to the empty line and not a byte further.
fn read_head(stream: &mut impl Read) -> io::Result<Vec<u8>> {
    let (mut head, mut byte) = (Vec::new(), [0]);
    while !head.ends_with(b"\r\n\r\n") {
        if head.len() == MAX_HEAD {
            return Err(other("the head is too long"));
        }
        stream.read_exact(&mut byte)?;
        head.push(byte[0]);
    }
    Ok(head)
}

fn other(why: impl ToString) -> io::Error {
    io::Error::other(why.to_string())
}

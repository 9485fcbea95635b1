//! A tiny HTTP server for tests: each request is answered by a function that writes what it likes.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpListener};
use std::sync::{Arc, Mutex};

use rustls::pki_types::{CertificateDer, PrivateKeyDer, PrivatePkcs8KeyDer};

/// What a client asked.
#[derive(Debug, Clone)]
pub struct Asked {
    pub method: String,
    pub path: String,
    pub headers: Vec<String>,
    pub body: String,
}

impl Asked {
    pub fn header(&self, name: &str) -> Option<String> {
        self.headers.iter().find_map(|line| {
            let (key, value) = line.split_once(": ")?;
            key.eq_ignore_ascii_case(name).then(|| value.to_owned())
        })
    }

    /// First byte asked for with `Range`.
    pub fn from(&self) -> Option<usize> {
        self.header("range")?
            .strip_prefix("bytes=")?
            .strip_suffix('-')?
            .parse()
            .ok()
    }
}

/// A running server; its thread ends with the process.
#[derive(Debug, Clone)]
pub struct Server {
    pub address: SocketAddr,
    pub asked: Arc<Mutex<Vec<Asked>>>,
}

impl Server {
    pub fn start(answer: impl Fn(&Asked, &mut dyn Write) + Send + Sync + 'static) -> Server {
        Server::listen(None, answer)
    }

    /// Speaks TLS with the certificate `der` of the test authority.
    pub fn start_tls(
        der: &'static [u8],
        answer: impl Fn(&Asked, &mut dyn Write) + Send + Sync + 'static,
    ) -> Server {
        let key = PrivateKeyDer::Pkcs8(PrivatePkcs8KeyDer::from(
            include_bytes!("testdata/server.key.der").to_vec(),
        ));
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let config = rustls::ServerConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_no_client_auth()
            .with_single_cert(vec![CertificateDer::from(der)], key)
            .unwrap();
        Server::listen(Some(Arc::new(config)), answer)
    }

    fn listen(
        tls: Option<Arc<rustls::ServerConfig>>,
        answer: impl Fn(&Asked, &mut dyn Write) + Send + Sync + 'static,
    ) -> Server {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let server = Server {
            address: listener.local_addr().unwrap(),
            asked: Arc::default(),
        };
        let (asked, answer) = (server.asked.clone(), Arc::new(answer));
        std::thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                let (asked, answer, tls) = (asked.clone(), answer.clone(), tls.clone());
                std::thread::spawn(move || match tls {
                    None => serve(stream, &asked, &*answer),
                    Some(config) => {
                        let connection = rustls::ServerConnection::new(config).unwrap();
                        serve(
                            rustls::StreamOwned::new(connection, stream),
                            &asked,
                            &*answer,
                        );
                    }
                });
            }
        });
        server
    }

    pub fn url(&self, path: &str) -> String {
        format!("http://{}{path}", self.address)
    }

    pub fn requests(&self) -> Vec<Asked> {
        self.asked.lock().unwrap().clone()
    }
}

fn serve(
    stream: impl Read + Write,
    asked: &Mutex<Vec<Asked>>,
    answer: &dyn Fn(&Asked, &mut dyn Write),
) {
    let mut reader = BufReader::new(stream);
    while let Some(request) = read_request(&mut reader) {
        asked.lock().unwrap().push(request.clone());
        answer(&request, reader.get_mut());
        let _ = reader.get_mut().flush();
        // What follows on the connection is meant for the server behind this proxy.
        if request.method != "CONNECT" {
            return;
        }
    }
}

fn read_request(reader: &mut impl BufRead) -> Option<Asked> {
    let mut lines = Vec::new();
    loop {
        let mut line = String::new();
        match reader.read_line(&mut line) {
            Ok(count) if count > 0 && line != "\r\n" => lines.push(line.trim_end().to_owned()),
            Ok(count) if count > 0 => break,
            _ => return None,
        }
    }
    let mut first = lines[0].split(' ').map(str::to_owned);
    let mut asked = Asked {
        method: first.next()?,
        path: first.next()?,
        headers: lines[1..].to_vec(),
        body: String::new(),
    };
    if let Some(length) = asked.header("content-length") {
        let body = reader.take(length.parse().ok()?);
        asked.body = std::io::read_to_string(body).ok()?;
    }
    Some(asked)
}

/// Writes a whole answer, for HEAD without its body.
pub fn reply(asked: &Asked, out: &mut dyn Write, status: &str, headers: &str, body: &[u8]) {
    let length = body.len();
    let _ = write!(
        out,
        "HTTP/1.1 {status}\r\nContent-Length: {length}\r\nConnection: close\r\n{headers}\r\n"
    );
    if asked.method != "HEAD" {
        let _ = out.write_all(body);
    }
}

/// Serves `body`, honouring ranges.
pub fn file(asked: &Asked, out: &mut dyn Write, body: &[u8]) {
    match asked.from() {
        Some(from) if from >= body.len() => reply(asked, out, "416 Range", "", b""),
        Some(from) => {
            let (last, size) = (body.len() - 1, body.len());
            let range = format!("Content-Range: bytes {from}-{last}/{size}\r\n");
            reply(asked, out, "206 Partial Content", &range, &body[from..]);
        }
        None => reply(asked, out, "200 OK", "", body),
    }
}

//! Looks at a server's certificate without trusting it, to say who issued it: the one fact that
//! tells a person that a proxy inspects TLS. Nothing is sent over such a connection.

use std::io::{Read, Write};
use std::net::{TcpStream, ToSocketAddrs};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::CryptoProvider;
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::{CertificateError, ClientConfig, ClientConnection, DigitallySignedStruct};
use rustls::{Error, SignatureScheme};

use super::date;

/// Time for each wait of the look.
const DEADLINE: Duration = Duration::from_secs(10);

/// What a certificate says of itself.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Certificate {
    /// Common name and organisation of its issuer: `CN, O`.
    pub issuer: String,
    /// Start of its validity, seconds since 1970.
    pub not_before: u64,
    /// End of its validity, seconds since 1970.
    pub not_after: u64,
}

/// The certificate that `host` shows, when a connection comes about; `proxy` is the host and port
/// of an HTTP proxy to go through, with the value of its authorisation header.
pub fn look(host: &str, port: u16, proxy: Option<&Proxy>) -> Option<Certificate> {
    let mut stream = match proxy {
        None => dial(host.trim_start_matches('[').trim_end_matches(']'), port)?,
        Some(proxy) => tunnel(proxy, host, port)?,
    };
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let recorder = Arc::new(Recorder {
        provider: provider.clone(),
        seen: Mutex::default(),
    });
    let config = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .ok()?
        .dangerous()
        .with_custom_certificate_verifier(recorder.clone())
        .with_no_client_auth();
    let name = ServerName::try_from(host.trim_matches(['[', ']']).to_owned()).ok()?;
    let mut connection = ClientConnection::new(Arc::new(config), name).ok()?;
    // The handshake always fails: the recorder refuses every certificate.
    let _ = connection.complete_io(&mut stream);
    let seen = recorder.seen.lock().ok()?.take()?;
    parse(&seen)
}

/// An HTTP proxy.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Proxy {
    /// Host.
    pub host: String,
    /// Port.
    pub port: u16,
}

fn dial(host: &str, port: u16) -> Option<TcpStream> {
    let address = (host, port).to_socket_addrs().ok()?.next()?;
    let stream = TcpStream::connect_timeout(&address, DEADLINE).ok()?;
    stream.set_read_timeout(Some(DEADLINE)).ok()?;
    stream.set_write_timeout(Some(DEADLINE)).ok()?;
    Some(stream)
}

fn tunnel(proxy: &Proxy, host: &str, port: u16) -> Option<TcpStream> {
    let mut stream = dial(&proxy.host, proxy.port)?;
    write!(
        stream,
        "CONNECT {host}:{port} HTTP/1.1\r\nHost: {host}:{port}\r\n\r\n"
    )
    .ok()?;
    let mut answer = Vec::new();
    let mut byte = [0];
    while !answer.ends_with(b"\r\n\r\n") && answer.len() < 8192 {
        stream.read_exact(&mut byte).ok()?;
        answer.push(byte[0]);
    }
    let text = String::from_utf8_lossy(&answer);
    (text.split(' ').nth(1)? == "200").then_some(stream)
}

#[derive(Debug)]
struct Recorder {
    provider: Arc<CryptoProvider>,
    seen: Mutex<Option<Vec<u8>>>,
}

impl ServerCertVerifier for Recorder {
    fn verify_server_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        _intermediates: &[CertificateDer<'_>],
        _server_name: &ServerName<'_>,
        _ocsp_response: &[u8],
        _now: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        if let Ok(mut seen) = self.seen.lock() {
            *seen = Some(end_entity.to_vec());
        }
        Err(Error::InvalidCertificate(
            CertificateError::ApplicationVerificationFailure,
        ))
    }

    fn verify_tls12_signature(
        &self,
        _message: &[u8],
        _cert: &CertificateDer<'_>,
        _dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        Err(Error::General(
            "the certificate is only looked at".to_owned(),
        ))
    }

    fn verify_tls13_signature(
        &self,
        _message: &[u8],
        _cert: &CertificateDer<'_>,
        _dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        Err(Error::General(
            "the certificate is only looked at".to_owned(),
        ))
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.provider
            .signature_verification_algorithms
            .supported_schemes()
    }
}

const SEQUENCE: u8 = 0x30;
const SET: u8 = 0x31;
const INTEGER: u8 = 0x02;
const OBJECT_ID: u8 = 0x06;
const VERSION: u8 = 0xa0;
const BMP_STRING: u8 = 0x1e;
const COMMON_NAME: &[u8] = &[0x55, 4, 3];
const ORGANISATION: &[u8] = &[0x55, 4, 10];

/// Reads issuer and validity out of a certificate's DER.
pub fn parse(der: &[u8]) -> Option<Certificate> {
    let mut outer = Der(der).inside(SEQUENCE)?;
    let mut fields = outer.inside(SEQUENCE)?;
    if fields.0.first() == Some(&VERSION) {
        fields.inside(VERSION)?;
    }
    fields.inside(INTEGER)?;
    fields.inside(SEQUENCE)?;
    let issuer = name(fields.inside(SEQUENCE)?)?;
    let mut validity = fields.inside(SEQUENCE)?;
    let mut time = || {
        let (_, bytes) = validity.next()?;
        date::parse_asn1(std::str::from_utf8(bytes).ok()?)
    };
    Some(Certificate {
        issuer,
        not_before: time()?,
        not_after: time()?,
    })
}

fn name(mut parts: Der<'_>) -> Option<String> {
    let (mut common, mut organisation) = (None, None);
    while !parts.0.is_empty() {
        let mut attribute = parts.inside(SET)?.inside(SEQUENCE)?;
        let kind = attribute.inside(OBJECT_ID)?.0;
        let (tag, bytes) = attribute.next()?;
        let text = Some(text(tag, bytes));
        match kind {
            COMMON_NAME => common = text,
            ORGANISATION => organisation = text,
            _ => {}
        }
    }
    let known: Vec<String> = [common, organisation].into_iter().flatten().collect();
    Some(if known.is_empty() {
        "an issuer without a name".to_owned()
    } else {
        known.join(", ")
    })
}

/// Text of a name, safe to print: whatever the far side wrote, it cannot drive a terminal.
fn text(tag: u8, bytes: &[u8]) -> String {
    let raw = if tag == BMP_STRING {
        let units: Vec<u16> = bytes
            .chunks_exact(2)
            .map(|pair| u16::from_be_bytes([pair[0], pair[1]]))
            .collect();
        String::from_utf16_lossy(&units)
    } else {
        String::from_utf8_lossy(bytes).into_owned()
    };
    raw.chars().filter(|c| !c.is_control()).take(120).collect()
}

/// What is left to read of some DER.
struct Der<'a>(&'a [u8]);

impl<'a> Der<'a> {
    fn next(&mut self) -> Option<(u8, &'a [u8])> {
        let (&tag, rest) = self.0.split_first()?;
        let (&first, rest) = rest.split_first()?;
        let (length, rest) = if first < 0x80 {
            (usize::from(first), rest)
        } else {
            let count = usize::from(first & 0x7f);
            if count == 0 || count > 4 || count > rest.len() {
                return None;
            }
            let (digits, rest) = rest.split_at(count);
            (
                digits
                    .iter()
                    .fold(0, |sum, digit| sum << 8 | usize::from(*digit)),
                rest,
            )
        };
        if length > rest.len() {
            return None;
        }
        let (content, rest) = rest.split_at(length);
        self.0 = rest;
        Some((tag, content))
    }

    fn inside(&mut self, expected: u8) -> Option<Der<'a>> {
        self.next()
            .filter(|(tag, _)| *tag == expected)
            .map(|(_, content)| Der(content))
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const SERVER: &[u8] = include_bytes!("testdata/server.der");

    #[test]
    fn issuer_and_validity_are_read() {
        let certificate = parse(SERVER).unwrap();
        assert_eq!(
            certificate.issuer,
            "Example Inspecting Proxy CA, Example Security"
        );
        assert!(certificate.not_before < certificate.not_after);
        assert_eq!(date::day(certificate.not_before), "2020-01-01");
    }

    proptest! {
        #[test]
        fn damaged_certificates_are_no_panic(at in 0usize..SERVER.len(), byte in any::<u8>()) {
            let mut damaged = SERVER.to_vec();
            damaged[at] = byte;
            let _ = parse(&damaged);
            let _ = parse(&damaged[..at]);
        }
    }
}

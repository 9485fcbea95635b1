//! Why a request failed, in words: which code it has, whether trying again may help, and for a
//! certificate that is not trusted, who issued it.

use nixctl_proto::Code;

use super::certificate::{self, Certificate};
use super::url::{Url, redact};
use super::{PayloadError, date};

/// A failed request, with whether trying again may help.
#[derive(Debug)]
pub struct Fault {
    /// For people.
    pub error: PayloadError,
    /// Whether trying again may help.
    pub passing: bool,
    /// What the server answered, if it did.
    pub status: Option<u16>,
}

impl Fault {
    /// One that trying again does not help.
    pub fn lasting(code: Code, url: &Url, why: &str) -> Fault {
        Fault {
            error: PayloadError::new(code, text(url, why)),
            passing: false,
            status: None,
        }
    }

    /// Whether the server has no such file.
    pub fn is_absent(&self) -> bool {
        matches!(self.status, Some(404 | 410))
    }
}

/// "cannot fetch URL: why", without credentials.
pub fn text(url: &Url, why: &str) -> String {
    format!("cannot fetch {}: {why}", url.shown())
}

/// What an error of the connection means; `proxy` is what the connection went through.
pub fn broken(url: &Url, error: &ureq::Error, proxy: Option<&ureq::Proxy>) -> Fault {
    let Some(tls) = tls_error(error) else {
        return Fault {
            error: PayloadError::new(Code::Network, text(url, &reason(error))),
            passing: !matches!(error, ureq::Error::BadUri(_) | ureq::Error::InvalidProxyUrl),
            status: None,
        };
    };
    let error = match tls {
        rustls::Error::InvalidCertificate(why) => bad_certificate(url, why, proxy),
        other => PayloadError::new(Code::Network, text(url, &other.to_string())),
    };
    Fault {
        error,
        passing: false,
        status: None,
    }
}

/// A proxy that inspects TLS, a clock that is wrong, or the login page of a hotel.
fn bad_certificate(
    url: &Url,
    why: &rustls::CertificateError,
    proxy: Option<&ureq::Proxy>,
) -> PayloadError {
    use rustls::CertificateError as Why;
    let proxy = proxy.map(|proxy| certificate::Proxy {
        host: proxy.host().to_owned(),
        port: proxy.port(),
    });
    let seen = certificate::look(&url.host, url.port, proxy.as_ref());
    let issuer = seen
        .as_ref()
        .map_or("an unknown issuer", |seen| seen.issuer.as_str());
    let what = match why {
        Why::Expired
        | Why::ExpiredContext { .. }
        | Why::NotValidYet
        | Why::NotValidYetContext { .. } => return out_of_its_time(url, issuer, seen.as_ref()),
        Why::NotValidForName | Why::NotValidForNameContext { .. } => {
            format!("its certificate is for another host and was issued by {issuer}")
        }
        _ => format!("its certificate was issued by {issuer}, which is not trusted here"),
    };
    PayloadError::new(Code::TlsIntercepted, text(url, &what)).with_cause(why)
}

fn out_of_its_time(url: &Url, issuer: &str, seen: Option<&Certificate>) -> PayloadError {
    let validity = seen.map_or_else(String::new, |seen| {
        let (from, to) = (date::day(seen.not_before), date::day(seen.not_after));
        format!(" from {from} to {to}")
    });
    let why = format!(
        "its certificate, issued by {issuer}, is valid{validity}, and this machine's clock says {}",
        date::day(now())
    );
    PayloadError::new(Code::ClockOff, text(url, &why)).with_help(
        "compare the clock with the real time (timedatectl); when the clock is right, the \
         server's certificate has run out: use another server",
    )
}

fn reason(error: &ureq::Error) -> String {
    match error {
        ureq::Error::HostNotFound => "its name cannot be resolved".to_owned(),
        ureq::Error::Timeout(phase) => format!("no answer came in time ({phase})"),
        ureq::Error::ConnectProxyFailed(why) => format!("the proxy refuses: {}", redact(why)),
        ureq::Error::Io(error) => error.to_string(),
        other => redact(&other.to_string()),
    }
}

fn tls_error(error: &ureq::Error) -> Option<&rustls::Error> {
    match error {
        ureq::Error::Rustls(error) => Some(error),
        ureq::Error::Io(error) => error.get_ref()?.downcast_ref(),
        _ => None,
    }
}

fn now() -> u64 {
    std::time::SystemTime::now()
        .duration_since(std::time::UNIX_EPOCH)
        .map_or(0, |since| since.as_secs())
}

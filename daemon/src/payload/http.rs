//! Downloads over http and https, and small questions: proxies, the machine's authorities, bounded redirects, a
//! deadline on every wait, retries with back-off, and errors that say what is wrong.
//!
//! Redirects are followed here rather than by the library, so that none leads from https to http.

use std::io::Read;
use std::time::{Duration, Instant};

use nixctl_proto::Code;
use ureq::http::{HeaderMap, Method, Request, StatusCode};
use ureq::tls::TlsConfig;
use ureq::{Agent, Body};

use super::http_fault::{self, Fault};
use super::url::{Url, redact};
use super::{PayloadError, date, trust};
use crate::host::Cancel;

/// Time to find and reach the server.
const CONNECT_DEADLINE: Duration = Duration::from_secs(20);
/// Longest silence while an answer or its body is awaited.
const IDLE_DEADLINE: Duration = Duration::from_secs(30);
/// Time for a small file as a whole.
const SMALL_DEADLINE: Duration = Duration::from_secs(60);
/// How often a request is repeated after a passing fault.
pub const RETRIES: u32 = 3;
const FIRST_PAUSE: Duration = Duration::from_millis(500);
const MAX_REDIRECTS: u32 = 8;

/// Fetches over http and https.
#[derive(Debug, Clone)]
pub struct Client {
    agent: Agent,
    proxy: Option<ureq::Proxy>,
    cancel: Cancel,
}

/// An answer whose body is still to be read.
#[derive(Debug)]
pub struct Answer {
    /// 200 or 206.
    pub status: u16,
    /// Bytes of the body, when the server says.
    pub length: Option<u64>,
    /// First byte of the body within the whole file.
    pub start: u64,
    /// Size of the whole file, when known.
    pub total: Option<u64>,
    body: Body,
}

/// What a server answers to [`Client::post`], whatever that is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Posted {
    /// Its status.
    pub status: u16,
    /// The body, or as much of it as came and was wanted.
    pub body: Vec<u8>,
}

impl Answer {
    /// The body. Its reads fail after a silence of [`IDLE_DEADLINE`].
    pub fn into_reader(self) -> impl Read {
        self.body.into_with_config().limit(u64::MAX).reader()
    }
}

impl Client {
    /// A client; empty texts mean the environment's proxy and the machine's CA bundle.
    ///
    /// # Errors
    /// When the proxy or the bundle is not usable.
    pub fn new(proxy: &str, ssl_cert_file: &str, cancel: Cancel) -> Result<Client, PayloadError> {
        let proxy = match proxy {
            "" => ureq::Proxy::try_from_env(),
            named => Some(named_proxy(named)?),
        };
        let tls = TlsConfig::builder()
            .root_certs(trust::authorities(ssl_cert_file)?)
            .build();
        let agent = Agent::config_builder()
            .tls_config(tls)
            .proxy(proxy.clone())
            .http_status_as_error(false)
            .max_redirects(0)
            .max_redirects_will_error(false)
            .timeout_resolve(Some(CONNECT_DEADLINE))
            .timeout_connect(Some(CONNECT_DEADLINE))
            .timeout_recv_response(Some(IDLE_DEADLINE))
            .timeout_per_read(Some(IDLE_DEADLINE))
            .user_agent(concat!("nixctld/", env!("CARGO_PKG_VERSION")))
            .build()
            .new_agent();
        Ok(Client {
            agent,
            proxy,
            cancel,
        })
    }

    /// One for servers on this machine, whatever proxy the environment names.
    #[cfg(test)]
    pub(crate) fn direct(idle: Duration, cancel: Cancel) -> Client {
        let agent = Agent::config_builder()
            .http_status_as_error(false)
            .max_redirects(0)
            .max_redirects_will_error(false)
            .proxy(None)
            .timeout_recv_response(Some(idle))
            .timeout_per_read(Some(idle))
            .build()
            .new_agent();
        Client {
            agent,
            proxy: None,
            cancel,
        }
    }

    /// A small file, whole; `None` when the server has none.
    ///
    /// # Errors
    /// When it cannot be fetched or is larger than `limit`.
    pub fn small(&self, url: &Url, limit: u64) -> Result<Option<Vec<u8>>, PayloadError> {
        self.retrying(|| {
            let answer = match self.ask(Method::GET, url, None) {
                Err(error) if error.is_absent() => return Ok(None),
                answer => answer?,
            };
            let until = Instant::now() + SMALL_DEADLINE;
            let mut reader = answer.into_reader();
            let (mut bytes, mut chunk) = (Vec::new(), [0; 4096]);
            loop {
                let count = reader
                    .read(&mut chunk)
                    .map_err(|e| self.broken(url, &e.into()))?;
                bytes.extend_from_slice(&chunk[..count]);
                if count == 0 {
                    return Ok(Some(bytes));
                }
                if bytes.len() as u64 > limit || Instant::now() > until {
                    let why = format!("it is larger than {limit} bytes, or too slow");
                    return Err(Fault::lasting(Code::BadSource, url, &why));
                }
            }
        })
    }

    /// Size of a file, when the server says; `None` also when it does not answer such requests.
    ///
    /// # Errors
    /// When the server cannot be reached or does not have the file.
    pub fn size(&self, url: &Url) -> Result<Option<u64>, PayloadError> {
        self.retrying(|| match self.ask(Method::HEAD, url, None) {
            Ok(answer) => Ok(answer.total),
            Err(fault)
                if fault
                    .status
                    .is_some_and(|status| status == 405 || status == 501) =>
            {
                Ok(None)
            }
            Err(fault) => Err(fault),
        })
    }

    /// A file from byte `from` on; a server that cannot continue answers from the beginning.
    ///
    /// # Errors
    /// When it cannot be fetched, after retries.
    pub fn download(&self, url: &Url, from: u64) -> Result<Answer, PayloadError> {
        self.retrying(
            || match self.ask(Method::GET, url, (from > 0).then_some(from)) {
                Err(fault) if fault.status == Some(416) => self.ask(Method::GET, url, None),
                answer => answer,
            },
        )
    }

    /// Sends a body, once. A redirect is an answer as any other: what is sent goes nowhere else.
    ///
    /// # Errors
    /// When no answer comes within `deadline`.
    pub fn post(
        &self,
        url: &Url,
        headers: &[(&str, &str)],
        body: &[u8],
        limit: u64,
        deadline: Duration,
    ) -> Result<Posted, PayloadError> {
        let mut request = Request::builder()
            .method(Method::POST)
            .uri(with_user(url))
            .header("connection", "close");
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        let request = request
            .body(body)
            .map_err(|error| Fault::lasting(Code::BadSource, url, &error.to_string()).error)?;
        let request = self
            .agent
            .configure_request(request)
            .timeout_global(Some(deadline))
            .build();
        let response = self
            .agent
            .run(request)
            .map_err(|error| self.broken(url, &error).error)?;
        let status = response.status().as_u16();
        let mut body = Vec::new();
        // The status is the answer; a body that breaks off only says less about it.
        let reader = response.into_body().into_reader();
        let _ = reader.take(limit).read_to_end(&mut body);
        Ok(Posted { status, body })
    }

    /// The server's clock, seconds since 1970, from any answer of it.
    pub fn server_time(&self, url: &Url) -> Option<u64> {
        let request = Request::builder()
            .method(Method::HEAD)
            .uri(url.shown())
            .body(())
            .ok()?;
        let response = self.agent.run(request).ok()?;
        date::parse_http(response.headers().get("date")?.to_str().ok()?)
    }

    /// What to tell about a body that ended too early.
    pub fn broken_body(&self, url: &Url, error: std::io::Error) -> PayloadError {
        self.broken(url, &error.into()).error
    }

    /// A file from its beginning, that no redirect leads to from another scheme, be it a better one:
    /// what a signed document comes by is what the settings say.
    ///
    /// # Errors
    /// When it cannot be fetched, after retries.
    pub fn download_within_scheme(&self, url: &Url) -> Result<Answer, PayloadError> {
        self.retrying(|| self.follow(Method::GET, url, None, Redirects::WithinScheme))
    }

    /// Sleeps before attempt number `attempt`, from 1, unless it is asked to stop.
    ///
    /// # Errors
    /// [`PayloadError::Stopped`].
    pub fn pause(&self, attempt: u32) -> Result<(), PayloadError> {
        let full = FIRST_PAUSE * 2u32.saturating_pow(attempt.saturating_sub(1)).min(64);
        let until = Instant::now() + full / 2 + full.mul_f64(jitter() / 2.0);
        loop {
            if self.cancel.requested().is_some() {
                return Err(PayloadError::Stopped);
            }
            match until.checked_duration_since(Instant::now()) {
                None => return Ok(()),
                Some(left) => std::thread::sleep(left.min(Duration::from_millis(50))),
            }
        }
    }

    fn retrying<T>(&self, ask: impl Fn() -> Result<T, Fault>) -> Result<T, PayloadError> {
        let mut attempt = 0;
        loop {
            if self.cancel.requested().is_some() {
                return Err(PayloadError::Stopped);
            }
            match ask() {
                Ok(done) => return Ok(done),
                Err(fault) if fault.passing && attempt < RETRIES => {
                    attempt += 1;
                    self.pause(attempt)?;
                }
                Err(fault) => return Err(fault.error),
            }
        }
    }

    fn broken(&self, url: &Url, error: &ureq::Error) -> Fault {
        let through = self.proxy.as_ref().filter(|proxy| {
            let uri = url.shown().parse();
            uri.is_ok_and(|uri| !proxy.is_no_proxy(&uri))
        });
        http_fault::broken(url, error, through)
    }

    fn ask(&self, method: Method, url: &Url, from: Option<u64>) -> Result<Answer, Fault> {
        self.follow(method, url, from, Redirects::NotWorse)
    }

    fn follow(
        &self,
        method: Method,
        url: &Url,
        from: Option<u64>,
        allowed: Redirects,
    ) -> Result<Answer, Fault> {
        let mut at = url.clone();
        for _ in 0..=MAX_REDIRECTS {
            let mut request = Request::builder()
                .method(method.clone())
                .uri(with_user(&at));
            if let Some(from) = from {
                request = request.header("range", format!("bytes={from}-"));
            }
            let request = request
                .body(())
                .map_err(|error| Fault::lasting(Code::BadSource, &at, &error.to_string()))?;
            let response = self
                .agent
                .run(request)
                .map_err(|error| self.broken(&at, &error))?;
            let status = response.status();
            if !status.is_redirection() {
                return judge(
                    &at,
                    status,
                    from,
                    response.headers().clone(),
                    response.into_body(),
                );
            }
            at = redirected(&at, response.headers(), allowed)?;
        }
        Err(Fault::lasting(
            Code::Network,
            url,
            "it redirects without end",
        ))
    }
}

fn judge(
    url: &Url,
    status: StatusCode,
    from: Option<u64>,
    headers: HeaderMap,
    body: Body,
) -> Result<Answer, Fault> {
    let length: Option<u64> = header(&headers, "content-length").and_then(|v| v.parse().ok());
    match (status.as_u16(), from) {
        (200, _) => Ok(Answer {
            status: 200,
            length,
            start: 0,
            total: length,
            body,
        }),
        (206, Some(from)) => {
            let range = header(&headers, "content-range").and_then(content_range);
            match range {
                Some((start, total)) if start == from => Ok(Answer {
                    status: 206,
                    length,
                    start,
                    total,
                    body,
                }),
                _ => Err(Fault::lasting(
                    Code::Network,
                    url,
                    "it answers with another part",
                )),
            }
        }
        (code, _) => {
            let (kind, why, passing) = match code {
                401 | 403 => (
                    Code::BadSource,
                    format!("the server refuses it ({code})"),
                    false,
                ),
                404 | 410 => (
                    Code::BadSource,
                    format!("the server has no such file ({code})"),
                    false,
                ),
                407 => (
                    Code::Network,
                    "the proxy wants a user and a password (407)".into(),
                    false,
                ),
                408 | 425 | 429 | 500..=599 => (
                    Code::Network,
                    format!("the server has a fault ({status})"),
                    true,
                ),
                _ => (
                    Code::BadSource,
                    format!("the server answers {status}"),
                    false,
                ),
            };
            let error = PayloadError::new(kind, http_fault::text(url, &why));
            Err(Fault {
                error,
                passing,
                status: Some(code),
            })
        }
    }
}

/// Which redirects are followed; none ever from https to http.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Redirects {
    /// From http to https too.
    NotWorse,
    /// To no other scheme.
    WithinScheme,
}

/// Where an answer leads, if it may lead there.
fn redirected(from: &Url, headers: &HeaderMap, allowed: Redirects) -> Result<Url, Fault> {
    let location = header(headers, "location")
        .ok_or_else(|| Fault::lasting(Code::Network, from, "it redirects to nowhere"))?;
    let to = Url::parse(&from.join(location)).map_err(|error| Fault {
        error,
        passing: false,
        status: None,
    })?;
    let name = |url: &Url| if url.secure { "https" } else { "http" };
    let is_allowed = from.secure == to.secure || (to.secure && allowed == Redirects::NotWorse);
    if !is_allowed {
        let (scheme, other) = (name(from), name(&to));
        let why = format!("it redirects from {scheme} to {other} ({})", to.origin());
        return Err(Fault::lasting(Code::Network, from, &why));
    }
    Ok(to)
}

/// First byte and size of the whole, of `bytes 10-99/100`.
fn content_range(text: &str) -> Option<(u64, Option<u64>)> {
    let (range, total) = text.strip_prefix("bytes ")?.split_once('/')?;
    let start = range.split_once('-')?.0.parse().ok()?;
    Some((start, total.parse().ok()))
}

fn header<'a>(headers: &'a HeaderMap, name: &str) -> Option<&'a str> {
    headers.get(name)?.to_str().ok()
}

fn with_user(url: &Url) -> String {
    if url.user_info.is_empty() {
        return url.shown();
    }
    url.shown()
        .replacen("://", &format!("://{}@", url.user_info), 1)
}

fn named_proxy(text: &str) -> Result<ureq::Proxy, PayloadError> {
    let usable = ureq::Proxy::new(text).ok().filter(|proxy| {
        matches!(
            proxy.protocol(),
            ureq::ProxyProtocol::Http | ureq::ProxyProtocol::Https
        )
    });
    usable.ok_or_else(|| {
        let message = format!("cannot use the proxy `{}`: it is no http URL", redact(text));
        PayloadError::new(Code::BadSettings, message)
            .with_help("correct [install] proxy in /etc/nixctl/config.toml")
    })
}

/// A number from 0 to 1 that differs from process to process and call to call.
fn jitter() -> f64 {
    use std::hash::{BuildHasher, RandomState};
    f64::from(RandomState::new().hash_one(0u8) as u32) / f64::from(u32::MAX)
}

#[cfg(test)]
#[path = "http_tests.rs"]
mod tests;

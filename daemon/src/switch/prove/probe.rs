//! Probes: tries whether something answers, each try under a deadline, all at the same time.
//!
//! A try runs on a thread of its own that owns all it needs: whatever hangs in it (a name server, a
//! full queue of connections) ends at its own time and holds up nobody.

use std::net::{TcpStream, ToSocketAddrs};
use std::os::unix::net::UnixStream;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, RecvTimeoutError, TryRecvError, channel};
use std::time::{Duration, Instant};

use nixctl_proto::settings::ProbeSettings;

use crate::host::{Cancel, Command, Exec, Host};
use crate::payload::trust;
use crate::switch::activate::error::UnitFailure;
use crate::switch::step::{Probe, ProbeKind};

/// Between two tries of the same probe.
const PAUSE: Duration = Duration::from_millis(500);

/// A try's own deadline is inside; the thread that is late by this is given up.
const GRACE: Duration = Duration::from_secs(1);

/// The probes from the settings that are about one of these units, and those about the machine.
pub fn probes_for(settings: &[ProbeSettings], units: &[String]) -> Vec<Probe> {
    let concerned = |it: &&ProbeSettings| it.unit.is_empty() || units.contains(&it.unit);
    let concerned = settings.iter().filter(concerned);
    concerned
        .map(|it| Probe {
            name: it.name.clone(),
            unit: it.unit.clone(),
            kind: kind_of(it),
            seconds: it.seconds,
        })
        .collect()
}

/// The one kind that the settings name; they have seen to it that it is one.
fn kind_of(settings: &ProbeSettings) -> ProbeKind {
    if !settings.tcp.is_empty() {
        ProbeKind::Tcp(settings.tcp.clone())
    } else if !settings.http.is_empty() {
        ProbeKind::Http(settings.http.clone())
    } else if !settings.unix.is_empty() {
        ProbeKind::Unix(settings.unix.clone().into())
    } else {
        ProbeKind::Command(settings.command.clone())
    }
}

/// The tries of all probes.
#[derive(Debug)]
pub struct Attempts<'a> {
    exec: Arc<dyn Exec>,
    cancel: Cancel,
    probes: Vec<Attempt<'a>>,
}

/// The tries of one probe.
#[derive(Debug)]
struct Attempt<'a> {
    probe: &'a Probe,
    running: Option<(Receiver<Result<(), String>>, Instant)>,
    passed: bool,
    /// Why the last try failed.
    why: String,
    next: Instant,
}

impl<'a> Attempts<'a> {
    /// No try yet.
    pub fn new(host: &Host, cancel: &Cancel, probes: &'a [Probe]) -> Self {
        let attempt = |probe| Attempt {
            probe,
            running: None,
            passed: false,
            why: "it was not tried".to_owned(),
            next: Instant::now(),
        };
        Attempts {
            exec: host.exec.clone(),
            cancel: cancel.clone(),
            probes: probes.iter().map(attempt).collect(),
        }
    }

    /// Begins the tries that are due and takes the results that are there. Does not wait.
    pub fn turn(&mut self) {
        for attempt in &mut self.probes {
            attempt.take();
            if attempt.running.is_none() && !attempt.passed && attempt.next <= Instant::now() {
                attempt.begin(&self.exec, &self.cancel);
            }
        }
    }

    /// Whether each has passed, or has had its time since the beginning.
    pub fn may_end(&self, began: Instant) -> bool {
        let mut probes = self.probes.iter();
        probes.all(|it| it.passed || began.elapsed() >= Duration::from_secs(it.probe.seconds))
    }

    /// Tries each a last time; those that fail. Waits for one deadline at most.
    pub fn last(&mut self) -> Vec<UnitFailure> {
        for attempt in &mut self.probes {
            attempt.begin(&self.exec, &self.cancel);
        }
        for attempt in &mut self.probes {
            attempt.wait();
        }
        let failed = self.probes.iter().filter(|it| !it.passed);
        failed
            .map(|it| UnitFailure {
                unit: it.probe.unit.clone(),
                why: format!("probe {} failed: {}", it.probe.name, it.why),
                lines: Vec::new(),
            })
            .collect()
    }
}

impl Attempt<'_> {
    fn begin(&mut self, exec: &Arc<dyn Exec>, cancel: &Cancel) {
        let (sender, receiver) = channel();
        let (probe, exec, cancel) = (self.probe.clone(), exec.clone(), cancel.clone());
        self.running = Some((receiver, Instant::now()));
        let work = move || {
            // Nobody listens any more to a try that is late.
            let _ = sender.send(attempt(&probe, &exec, &cancel));
        };
        let thread = std::thread::Builder::new().name("probe".to_owned());
        if let Err(error) = thread.spawn(work) {
            self.ended(Err(format!("cannot start a thread: {error}")));
        }
    }

    fn take(&mut self) {
        let Some((receiver, began)) = &self.running else {
            return;
        };
        match receiver.try_recv() {
            Ok(result) => self.ended(result),
            Err(TryRecvError::Disconnected) => self.ended(Err("the try was lost".to_owned())),
            Err(TryRecvError::Empty) if began.elapsed() > self.limit() => {
                self.ended(Err(self.late()))
            }
            Err(TryRecvError::Empty) => {}
        }
    }

    fn wait(&mut self) {
        let Some((receiver, began)) = &self.running else {
            return;
        };
        match receiver.recv_timeout(self.limit().saturating_sub(began.elapsed())) {
            Ok(result) => self.ended(result),
            Err(RecvTimeoutError::Disconnected) => self.ended(Err("the try was lost".to_owned())),
            Err(RecvTimeoutError::Timeout) => self.ended(Err(self.late())),
        }
    }

    fn ended(&mut self, result: Result<(), String>) {
        self.running = None;
        self.next = Instant::now() + PAUSE;
        self.passed = result.is_ok();
        if let Err(why) = result {
            self.why = why;
        }
    }

    fn limit(&self) -> Duration {
        Duration::from_secs(self.probe.seconds) + GRACE
    }

    fn late(&self) -> String {
        format!("no answer within {} s", self.probe.seconds)
    }
}

/// One try.
fn attempt(probe: &Probe, exec: &Arc<dyn Exec>, cancel: &Cancel) -> Result<(), String> {
    let limit = Duration::from_secs(probe.seconds);
    match &probe.kind {
        ProbeKind::Command(words) => command(words, limit, exec, cancel),
        ProbeKind::Tcp(address) => tcp(address, limit),
        ProbeKind::Http(url) => http(url, limit),
        ProbeKind::Unix(path) => UnixStream::connect(path)
            .map(drop)
            .map_err(|error| format!("{}: {error}", path.display())),
    }
}

fn command(
    words: &[String],
    limit: Duration,
    exec: &Arc<dyn Exec>,
    cancel: &Cancel,
) -> Result<(), String> {
    let (program, args) = words.split_first().ok_or("no program is named")?;
    let command = Command::new(program).args(args.to_vec()).deadline(limit);
    let output = exec.run(&command, cancel);
    output.map(drop).map_err(|error| error.to_string())
}

fn tcp(address: &str, limit: Duration) -> Result<(), String> {
    let fail = |error: std::io::Error| format!("{address}: {error}");
    let until = Instant::now() + limit;
    let mut why = format!("{address}: the name has no address");
    for place in address.to_socket_addrs().map_err(fail)? {
        let left = until.saturating_duration_since(Instant::now());
        if left.is_zero() {
            return Err(why);
        }
        match TcpStream::connect_timeout(&place, left) {
            Ok(_) => return Ok(()),
            Err(error) => why = fail(error),
        }
    }
    Err(why)
}

/// A status of 2xx or 3xx; redirects are answers, and nothing goes through a proxy.
fn http(url: &str, limit: Duration) -> Result<(), String> {
    let fail = |why: &dyn std::fmt::Display| format!("{url}: {why}");
    let mut config = ureq::Agent::config_builder()
        .proxy(None)
        .http_status_as_error(false)
        .max_redirects(0)
        .max_redirects_will_error(false)
        .timeout_global(Some(limit));
    if url.starts_with("https:") {
        let authorities = trust::authorities("").map_err(|error| fail(&error))?;
        let tls = ureq::tls::TlsConfig::builder();
        config = config.tls_config(tls.root_certs(authorities).build());
    }
    let agent = config.build().new_agent();
    let answer = agent.get(url).call().map_err(|error| fail(&error))?;
    let status = answer.status();
    if status.is_success() || status.is_redirection() {
        Ok(())
    } else {
        Err(fail(&format_args!("it answered {status}")))
    }
}

//! The life of the daemon: transports up, state loaded behind them, signals, the end.

use std::io;
use std::os::unix::net::UnixStream as StdStream;
use std::path::PathBuf;
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use nixctl_proto::settings::SettingView;
use nixctl_proto::{Code, Failure};
use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM};
use tokio::io::AsyncReadExt;
use tokio::net::UnixStream;
use tokio::sync::broadcast::error::RecvError;
use tokio::sync::{broadcast, oneshot};

use super::gate::Opener;
use super::quota::Quota;
use super::{Authority, Backend, Change, Gate, Service, bus, socket};
use crate::logging::{Level, LogControl};
use crate::notify::Notifier;
use crate::pulse;
use crate::takeover::fault;

/// How long the engine may take to come to a step boundary, a little less than systemd's 90 s.
const STOP_LIMIT: Duration = Duration::from_secs(80);
/// Longest wait for the first attempt on the bus before the daemon calls itself ready.
const BUS_PATIENCE: Duration = Duration::from_secs(5);
/// How often a private daemon without a client looks whether work is left.
const IDLE_CHECK: Duration = Duration::from_millis(50);

/// How often it is looked at whether the engine is alive while somebody waits for it. Also how long
/// a daemon lives whose journal cannot be written, so that restarts do not follow each other too
/// closely.
const LIFE_CHECK: Duration = Duration::from_secs(20);

/// How to serve.
#[derive(Debug, Clone)]
pub struct Options {
    /// Serve one client on standard input, and nobody else.
    pub private: bool,
    /// Serve on the bus.
    pub bus: Option<bus::Address>,
    /// Where the socket is.
    pub socket: PathBuf,
}

/// Serves until a signal, or until the private client has gone and its work is done.
///
/// The backend is opened by `open` on a thread of its own while the transports are already up.
///
/// # Errors
/// The socket could not be made or the backend not be opened.
pub async fn run(
    options: Options,
    log: LogControl,
    open: impl FnOnce() -> Result<Arc<dyn Backend>, Failure> + Send + 'static,
) -> Result<(), Failure> {
    let notifier = Notifier::from_environment();
    let quota = socket::quota();
    let (opener, gate) = Gate::new();
    let service = Service::new(gate, Authority::default());
    let signals = Signals::register().map_err(|error| broken("handle signals", &error))?;

    let mut transports = Transports::default();
    if !options.private {
        transports = start(&options, &service, &log, &quota).await?;
    }
    notifier.ready();
    fault::when_ready();

    let backend = load(opener, open).await?;
    apply(&backend.settings(), &log, &quota);
    notifier.status("serving");

    let private = async {
        match options.private {
            true => private_life(&service, &*backend).await,
            false => std::future::pending().await,
        }
    };
    let ended = {
        let watchdog = watchdog(&notifier, &*backend);
        let reloads = reloads(signals.reload, &notifier, &backend, &log, &quota);
        let stop = wait_for(signals.stop);
        let left = left(&*backend);
        let (private, watchdog) = (pin!(private), pin!(watchdog));
        let (reloads, stop, left) = (pin!(reloads), pin!(stop), pin!(left));
        tokio::select! {
            result = private => result.map_err(|error| no_peer(&error)),
            () = stop => Ok(()),
            () = left => Ok(()),
            () = watchdog => Err(stuck()),
            never = reloads => match never {},
        }
    };

    notifier.stopping(STOP_LIMIT);
    tracing::info!("stopping at the next step boundary");
    transports.close_entrance();
    let stopping = tokio::task::spawn_blocking(move || backend.shutdown());
    if tokio::time::timeout(STOP_LIMIT, stopping).await.is_err() {
        tracing::warn!("the engine did not stop within {} s", STOP_LIMIT.as_secs());
    }
    drop(transports);
    ended
}

/// What is served on, until it is dropped.
#[derive(Debug, Default)]
struct Transports {
    bound: Option<socket::Bound>,
    accepting: Option<tokio::task::JoinHandle<()>>,
    bus: Option<tokio::task::JoinHandle<()>>,
}

impl Transports {
    /// Lets nobody new in; who is connected sees the rest.
    fn close_entrance(&mut self) {
        self.bound = None;
        if let Some(accepting) = self.accepting.take() {
            accepting.abort();
        }
    }
}

impl Drop for Transports {
    fn drop(&mut self) {
        for task in [self.accepting.take(), self.bus.take()]
            .into_iter()
            .flatten()
        {
            task.abort();
        }
    }
}

async fn start(
    options: &Options,
    service: &Arc<Service>,
    log: &LogControl,
    quota: &Quota,
) -> Result<Transports, Failure> {
    let mut transports = Transports::default();
    let mut bound = socket::listen(&options.socket).map_err(|error| {
        let code = match error {
            socket::ListenError::Taken { .. } => Code::Busy,
            socket::ListenError::Refused { .. } | socket::ListenError::InTheWay { .. } => {
                Code::FileFailed
            }
        };
        Failure::from_error(code, &error)
    })?;
    if let Some(listener) = bound.listener.take() {
        let serving = socket::serve(listener, Arc::clone(service), quota.clone());
        transports.accepting = Some(tokio::spawn(serving));
    }
    transports.bound = Some(bound);
    if let Some(address) = options.bus.clone() {
        let (tried, outcome) = oneshot::channel();
        let serving = bus::serve(address, Arc::clone(service), log.clone(), tried);
        transports.bus = Some(tokio::spawn(serving));
        // Whether it worked does not matter for being ready, only that it is not about to.
        if tokio::time::timeout(BUS_PATIENCE, outcome).await.is_err() {
            tracing::warn!("the bus does not answer yet");
        }
    }
    Ok(transports)
}

async fn load(
    opener: Opener,
    open: impl FnOnce() -> Result<Arc<dyn Backend>, Failure> + Send + 'static,
) -> Result<Arc<dyn Backend>, Failure> {
    let backend = match tokio::task::spawn_blocking(open).await {
        Ok(backend) => backend?,
        Err(error) => return Err(broken("load the state", &io::Error::other(error))),
    };
    opener.open(Arc::clone(&backend));
    // Kept open for the rest of the process: a gate whose opener is gone stays as it is.
    Ok(backend)
}

/// Serves the private client; when it has gone, the work it asked for is still finished.
async fn private_life(service: &Arc<Service>, backend: &dyn Backend) -> io::Result<()> {
    socket::serve_private(Arc::clone(service)).await?;
    while backend.alive() && backend.status().active.is_some() {
        tokio::time::sleep(IDLE_CHECK).await;
    }
    Ok(())
}

/// Feeds the watchdog as long as the engine is alive, and returns when it is not: the next start
/// goes on from the journal, and whoever waits is told instead of waiting for ever.
async fn watchdog(notifier: &Notifier, backend: &dyn Backend) {
    let mut changes = backend.changes();
    while backend.alive() {
        notifier.alive();
        let longest = notifier.watchdog().unwrap_or(pulse::PERIOD);
        if backend.status().active.is_some() {
            tokio::time::sleep(longest.min(LIFE_CHECK)).await;
        } else {
            // Idle, until something changes.
            tokio::select! {
                () = pulse::rest(longest) => {}
                () = change(&mut changes) => {}
            }
        }
    }
    tracing::error!("the engine makes no progress; the next start goes on from the journal");
}

/// Waits until another version of the daemon is to take over.
async fn left(backend: &dyn Backend) {
    let mut changes = backend.changes();
    while !backend.leaves() {
        change(&mut changes).await;
    }
    tracing::info!("another version of nixctld takes over");
}

/// Waits for a change, of whatever.
async fn change(changes: &mut broadcast::Receiver<Change>) {
    if let Err(RecvError::Closed) = changes.recv().await {
        std::future::pending().await
    }
}

fn stuck() -> Failure {
    Failure::new(
        Code::Internal,
        "cannot go on: the engine makes no progress, see the log of nixctld",
    )
}

/// Reads the settings again at each SIGHUP.
async fn reloads(
    mut signal: UnixStream,
    notifier: &Notifier,
    backend: &Arc<dyn Backend>,
    log: &LogControl,
    quota: &Quota,
) -> std::convert::Infallible {
    loop {
        if !heard(&mut signal).await {
            return std::future::pending().await;
        }
        notifier.reloading();
        let reloading = Arc::clone(backend);
        match tokio::task::spawn_blocking(move || reloading.reload_settings()).await {
            Ok(Ok(())) => {
                apply(&backend.settings(), log, quota);
                notifier.status("serving");
                tracing::info!("settings read again");
            }
            Ok(Err(failure)) => {
                notifier.status(&format!("serving with the old settings: {failure}"));
                tracing::error!("{failure}; the old settings stay");
            }
            Err(error) => tracing::error!("internal error: reading settings broke: {error}"),
        }
        notifier.ready();
    }
}

/// The settings that serving itself uses.
fn apply(settings: &[SettingView], log: &LogControl, quota: &Quota) {
    for setting in settings {
        match setting.key.as_str() {
            "daemon.log_level" => {
                if let Some(level) = Level::from_setting(setting.value.trim_matches('"')) {
                    log.set_level(level);
                }
            }
            "daemon.connections_per_user" => {
                if let Ok(number) = setting.value.parse() {
                    quota.set_per_user(number);
                }
            }
            _ => {}
        }
    }
}

/// Ends of pipes that a byte comes out of for each signal.
#[derive(Debug)]
struct Signals {
    stop: UnixStream,
    reload: UnixStream,
}

impl Signals {
    fn register() -> io::Result<Self> {
        let signals = |numbers: &[i32]| {
            let (here, there) = StdStream::pair()?;
            for number in numbers {
                signal_hook::low_level::pipe::register(*number, there.try_clone()?)?;
            }
            here.set_nonblocking(true)?;
            UnixStream::from_std(here)
        };
        Ok(Signals {
            stop: signals(&[SIGTERM, SIGINT])?,
            reload: signals(&[SIGHUP])?,
        })
    }
}

async fn wait_for(mut signal: UnixStream) {
    heard(&mut signal).await;
}

/// Waits for a signal; several at once are one. False when there can be none any more.
async fn heard(signal: &mut UnixStream) -> bool {
    let mut bytes = [0; 16];
    matches!(signal.read(&mut bytes).await, Ok(length) if length > 0)
}

fn no_peer(error: &io::Error) -> Failure {
    let text = format!("cannot serve standard input: {error}");
    Failure::new(Code::InvalidArgument, text)
        .with_help("--private is for nixctl, which gives a connected socket as standard input")
}

fn broken(what: &str, error: &io::Error) -> Failure {
    Failure::new(Code::Internal, format!("cannot {what}: {error}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn settings_of_serving_are_used() {
        let view = |key: &str, value: &str| SettingView {
            key: key.to_owned(),
            value: value.to_owned(),
            file: String::new(),
        };
        let log = LogControl::detached();
        let quota = socket::quota();
        let settings = [
            view("daemon.log_level", "\"debug\""),
            view("daemon.connections_per_user", "1"),
        ];
        apply(&settings, &log, &quota);
        assert_eq!(log.level(), Level::Debug);
        let _one = quota.enter(5).unwrap();
        assert!(quota.enter(5).is_none());
    }

    #[tokio::test]
    async fn a_signal_is_heard() {
        let mut signals = Signals::register().unwrap();
        signal_hook::low_level::raise(SIGHUP).unwrap();
        let heard = tokio::time::timeout(Duration::from_secs(5), heard(&mut signals.reload));
        assert!(heard.await.unwrap());
    }

    #[tokio::test]
    async fn a_life_from_start_to_sigterm() {
        use std::sync::atomic::Ordering;

        use super::super::testing::FakeBackend;

        let folder = tempfile::tempdir().unwrap();
        let socket = folder.path().join("run/socket");
        let options = Options {
            private: false,
            bus: None,
            socket: socket.clone(),
        };
        let backend = FakeBackend::new();
        let opened = Arc::clone(&backend) as Arc<dyn Backend>;
        let life = tokio::spawn(run(options, LogControl::detached(), move || Ok(opened)));
        let soon = |what| tokio::time::timeout(Duration::from_secs(20), what);
        let connected = async {
            while UnixStream::connect(&socket).await.is_err() {
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
        };
        soon(Box::pin(connected)).await.unwrap();
        signal_hook::low_level::raise(SIGHUP).unwrap();
        while backend.reloads.load(Ordering::SeqCst) == 0 {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        signal_hook::low_level::raise(SIGTERM).unwrap();
        assert_eq!(life.await.unwrap(), Ok(()));
        assert!(backend.stopped.load(Ordering::SeqCst));
        assert!(!socket.exists());
    }

    #[tokio::test]
    async fn an_engine_that_is_dead_ends_the_daemon() {
        use std::sync::atomic::Ordering;

        use super::super::testing::FakeBackend;

        let folder = tempfile::tempdir().unwrap();
        let options = Options {
            private: false,
            bus: None,
            socket: folder.path().join("socket"),
        };
        let backend = FakeBackend::new();
        backend.dead.store(true, Ordering::SeqCst);
        let opened = Arc::clone(&backend) as Arc<dyn Backend>;
        let life = run(options, LogControl::detached(), move || Ok(opened));
        let ended = tokio::time::timeout(Duration::from_secs(20), life).await;
        assert_eq!(ended.unwrap(), Err(stuck()));
        assert!(backend.stopped.load(Ordering::SeqCst));
    }

    #[tokio::test]
    async fn a_state_that_cannot_be_loaded_ends_the_daemon() {
        let folder = tempfile::tempdir().unwrap();
        let socket = folder.path().join("socket");
        let options = Options {
            private: false,
            bus: None,
            socket,
        };
        let failure = Failure::new(Code::StateDamaged, "cannot read the state");
        let expected = failure.clone();
        let result = run(options, LogControl::detached(), move || Err(failure)).await;
        assert_eq!(result, Err(expected));
    }
}

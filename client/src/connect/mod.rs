//! Finding the daemon and talking to it, the same over the bus and over the socket.
//!
//! Order: an own daemon when `--private` or `--root` asks for it; the system bus; the socket; for
//! root in a container without a service manager, an own daemon after all. A [`Trouble`] tells a refusal (the daemon's answer) from a connection that broke, after which a
//! request may be sent again. Every wait has a deadline but one: a call that may have to ask
//! somebody for a password lasts as long as that takes.

pub mod agent;
pub mod bus;
mod neighbour;
pub mod private;
pub mod socket;
pub mod systemd;
pub mod watch;

#[cfg(test)]
pub mod fake;

use std::path::{Path, PathBuf};
use std::time::Duration;

use nix::unistd::geteuid;
use nixctl_proto::health::{Findings, HealthEvent};
use nixctl_proto::operation::JournalLine;
use nixctl_proto::plan::{DiffEntry, Plan};
use nixctl_proto::request::{OperationRequest, RequestOptions};
use nixctl_proto::settings::SettingView;
use nixctl_proto::status::Status;
use nixctl_proto::{Code, Failure, Generation, OperationId, OperationView, SOCKET_PATH};

use crate::cli::Global;
pub use watch::{Event, Watch};

/// How long the daemon may take to answer.
pub const ANSWER: Duration = Duration::from_secs(10);
/// How long it may take to read the machine and make a plan.
pub const PLANNING: Duration = Duration::from_secs(120);
/// How long it may take to look at the machine thoroughly.
pub const LOOKING: Duration = Duration::from_secs(300);
/// How long a daemon that went away may take to come back: it restarts and reads its journal.
pub const COME_BACK: Duration = Duration::from_secs(30);
/// The same for one that is replaced by another version, which may not start: the one of before comes
/// back then.
pub const COME_BACK_AS_BEFORE: Duration = Duration::from_secs(120);
/// Time between two attempts to reach it.
pub const TRY_EVERY: Duration = Duration::from_millis(250);

/// What can happen to a request.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Trouble {
    /// The daemon answered that it will not.
    #[error("{0}")]
    Refused(Failure),
    /// The connection broke, or no answer came; nobody knows whether the request was carried out.
    #[error("the connection to nixctld was lost: {0}")]
    Lost(String),
}

impl From<Trouble> for Failure {
    fn from(trouble: Trouble) -> Failure {
        match trouble {
            Trouble::Refused(failure) => failure,
            lost @ Trouble::Lost(_) => Failure::new(Code::Unreachable, lost.to_string()),
        }
    }
}

/// How to reach the daemon.
#[derive(Debug, Clone, Default)]
pub struct Options {
    /// Start an own one.
    pub private: bool,
    /// Folder of an image, for an own one.
    pub root: Option<PathBuf>,
    /// This socket and nothing else.
    pub socket: Option<PathBuf>,
    /// Whether somebody may be asked for a password.
    pub ask_password: bool,
    /// Whether the log of an own one is shown.
    pub verbose: bool,
}

impl Options {
    /// From the command line.
    pub fn new(global: &Global) -> Options {
        Options {
            private: global.private || global.root.is_some(),
            root: global.root.clone(),
            socket: global.socket.clone(),
            ask_password: !global.no_ask_password,
            verbose: global.verbose > 0,
        }
    }
}

/// A connection to a daemon.
#[derive(Debug)]
pub enum Connection {
    /// Over the system bus.
    Bus(Box<bus::Bus>),
    /// Over a Unix socket, the machine's or that of an own daemon.
    Socket(Box<socket::Socket>),
}

impl Connection {
    /// Connects in the order above.
    pub async fn open(options: &Options) -> Result<Connection, Failure> {
        if options.private {
            return Connection::own(options).await;
        }
        if let Some(path) = &options.socket {
            return socket(path.clone()).await.map_err(|trouble| match trouble {
                Trouble::Refused(failure) => failure,
                Trouble::Lost(why) => unreachable(vec![format!("{}: {why}", path.display())]),
            });
        }
        let bus = match bus::Bus::open(options.ask_password).await {
            Ok(bus) => return Ok(Connection::Bus(Box::new(bus))),
            Err(why) => why,
        };
        let why = match socket(PathBuf::from(SOCKET_PATH)).await {
            Ok(connection) => return Ok(connection),
            Err(Trouble::Refused(failure)) => return Err(failure),
            Err(Trouble::Lost(why)) => why,
        };
        if geteuid().is_root() && !has_service_manager() {
            return Connection::own(options).await;
        }
        Err(unreachable(vec![
            format!("system bus: {bus}"),
            format!("{SOCKET_PATH}: {why}"),
        ]))
    }

    /// Starts an own daemon and connects to it.
    pub async fn own(options: &Options) -> Result<Connection, Failure> {
        let socket = private::start(options.root.as_deref(), options.verbose).await?;
        Ok(Connection::Socket(Box::new(socket)))
    }

    /// Whether the daemon is this process's own.
    pub fn is_private(&self) -> bool {
        matches!(self, Connection::Socket(socket) if socket.is_private())
    }

    /// How the machine is.
    pub async fn status(&self) -> Result<Status, Trouble> {
        let answer = match self {
            Connection::Bus(bus) => bus.status().await,
            Connection::Socket(socket) => socket.status().await,
        };
        self.told(answer).await
    }

    /// What would be done.
    pub async fn plan(&self, request: &OperationRequest) -> Result<Plan, Trouble> {
        let answer = match self {
            Connection::Bus(bus) => bus.plan(request).await,
            Connection::Socket(socket) => socket.plan(request).await,
        };
        self.told(answer).await
    }

    /// Has it done. With a request id in the options the request may be sent again.
    pub async fn submit(
        &self,
        request: &OperationRequest,
        options: &RequestOptions,
    ) -> Result<OperationId, Trouble> {
        let answer = match self {
            Connection::Bus(bus) => bus.submit(request, options).await,
            Connection::Socket(socket) => socket.submit(request, options).await,
        };
        self.told(answer).await
    }

    /// The newest operations, newest first.
    pub async fn list(&self, limit: u32) -> Result<Vec<OperationView>, Trouble> {
        let answer = match self {
            Connection::Bus(bus) => bus.list(limit).await,
            Connection::Socket(socket) => socket.list(limit).await,
        };
        self.told(answer).await
    }

    /// One operation.
    pub async fn show(&self, id: &OperationId) -> Result<OperationView, Trouble> {
        let answer = match self {
            Connection::Bus(bus) => bus.show(id).await,
            Connection::Socket(socket) => socket.show(id).await,
        };
        self.told(answer).await
    }

    /// Its journal.
    pub async fn journal(&self, id: &OperationId) -> Result<Vec<JournalLine>, Trouble> {
        let answer = match self {
            Connection::Bus(bus) => bus.journal(id).await,
            Connection::Socket(socket) => socket.journal(id).await,
        };
        self.told(answer).await
    }

    /// Follows it to its end.
    pub fn watch(&self, id: &OperationId) -> Watch {
        match self {
            Connection::Bus(bus) => bus.watch(id),
            Connection::Socket(socket) => socket.watch(id),
        }
    }

    /// Stops it and has it undone.
    pub async fn cancel(&self, id: &OperationId) -> Result<(), Trouble> {
        let answer = match self {
            Connection::Bus(bus) => bus.cancel(id).await,
            Connection::Socket(socket) => socket.cancel(id).await,
        };
        self.told(answer).await
    }

    /// Has it tried again.
    pub async fn retry(&self, id: &OperationId) -> Result<OperationId, Trouble> {
        let answer = match self {
            Connection::Bus(bus) => bus.retry(id).await,
            Connection::Socket(socket) => socket.retry(id).await,
        };
        self.told(answer).await
    }

    /// The settings.
    pub async fn settings(&self) -> Result<Vec<SettingView>, Trouble> {
        let answer = match self {
            Connection::Bus(bus) => bus.settings().await,
            Connection::Socket(socket) => socket.settings().await,
        };
        self.told(answer).await
    }

    /// Writes one setting.
    pub async fn configure(&self, key: &str, value: &str) -> Result<(), Trouble> {
        let answer = match self {
            Connection::Bus(bus) => bus.configure(key, value).await,
            Connection::Socket(socket) => socket.configure(key, value).await,
        };
        self.told(answer).await
    }

    /// Says that the switch which waits for it is right.
    pub async fn confirm(&self, id: &OperationId) -> Result<(), Trouble> {
        let answer = match self {
            Connection::Bus(bus) => bus.confirm(id).await,
            Connection::Socket(socket) => socket.confirm(id).await,
        };
        self.told(answer).await
    }

    /// The generations of the system, newest first.
    pub async fn generations(&self) -> Result<Vec<Generation>, Trouble> {
        let answer = match self {
            Connection::Bus(bus) => bus.generations().await,
            Connection::Socket(socket) => socket.generations().await,
        };
        self.told(answer).await
    }

    /// How the packages of two store paths' closures differ.
    pub async fn diff(&self, from: &str, to: &str) -> Result<Vec<DiffEntry>, Trouble> {
        let answer = match self {
            Connection::Bus(bus) => bus.diff(from, to).await,
            Connection::Socket(socket) => socket.diff(from, to).await,
        };
        self.told(answer).await
    }

    /// Looks at the machine now, for these checks (none: all).
    pub async fn check(&self, checks: &[String]) -> Result<Findings, Trouble> {
        let answer = match self {
            Connection::Bus(bus) => bus.check(checks).await,
            Connection::Socket(socket) => socket.check(checks).await,
        };
        self.told(answer).await
    }

    /// What was found when the daemon looked last.
    pub async fn findings(&self) -> Result<Findings, Trouble> {
        let answer = match self {
            Connection::Bus(bus) => bus.findings().await,
            Connection::Socket(socket) => socket.findings().await,
        };
        self.told(answer).await
    }

    /// What became of findings, newest first.
    pub async fn history(&self, limit: u32) -> Result<Vec<HealthEvent>, Trouble> {
        let answer = match self {
            Connection::Bus(bus) => bus.history(limit).await,
            Connection::Socket(socket) => socket.history(limit).await,
        };
        self.told(answer).await
    }

    /// The numbers for a monitoring system.
    pub async fn metrics(&self) -> Result<String, Trouble> {
        let answer = match self {
            Connection::Bus(bus) => bus.metrics().await,
            Connection::Socket(socket) => socket.metrics().await,
        };
        self.told(answer).await
    }

    /// An answer; where it has to do with the daemon's being of another version, that is said.
    async fn told<T>(&self, answer: Result<T, Trouble>) -> Result<T, Trouble> {
        match answer {
            Err(Trouble::Refused(failure)) if neighbour::may_explain(&failure) => {
                let version = match self {
                    Connection::Bus(bus) => bus.version().await,
                    Connection::Socket(socket) => Some(socket.version().await),
                };
                let told = neighbour::explained(failure, version.as_deref().unwrap_or_default());
                Err(Trouble::Refused(told))
            }
            answer => answer,
        }
    }

    /// Ends the connection; an own daemon is given time to put its things in order.
    pub async fn close(self) {
        if let Connection::Socket(socket) = self {
            socket.close().await;
        }
    }
}

/// Whether something here could run the daemon as a service.
pub fn has_service_manager() -> bool {
    cfg!(target_os = "macos") || Path::new("/run/systemd/system").is_dir()
}

async fn socket(path: PathBuf) -> Result<Connection, Trouble> {
    let socket = socket::Socket::open(path).await?;
    Ok(Connection::Socket(Box::new(socket)))
}

/// Nobody answered; the causes say who was asked.
fn unreachable(causes: Vec<String>) -> Failure {
    let mut failure = Failure::new(Code::Unreachable, "cannot reach nixctld: nobody answered");
    failure.causes = causes;
    failure
}

//! The socket: calls and their answers, many at a time over one connection.
//!
//! A connection that broke is opened again by the next call, where there is a path to open; an own
//! daemon's cannot be. The protocol is [`nixctl_proto::frame`]'s; nothing larger than it allows is
//! read, and an answer of the wrong kind is an error.

mod link;

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use nixctl_proto::health::{Findings, HealthEvent};
use nixctl_proto::operation::JournalLine;
use nixctl_proto::plan::{DiffEntry, Plan};
use nixctl_proto::request::{OperationRequest, Reply, Request, RequestOptions};
use nixctl_proto::settings::SettingView;
use nixctl_proto::status::Status;
use nixctl_proto::{Code, Failure, Generation, OperationId, OperationView};
use tokio::net::UnixStream;
use tokio::time::timeout;

use link::Link;

use super::private::Private;
use super::watch::{Report, Source, Watch};
use super::{ANSWER, LOOKING, PLANNING, Trouble};

/// Silence in a watch after which the daemon is asked whether it still lives.
const SILENCE: Duration = Duration::from_secs(15);

/// A daemon behind a socket.
#[derive(Debug)]
pub struct Socket {
    shared: Arc<Shared>,
}

#[derive(Debug)]
struct Shared {
    endpoint: Endpoint,
    link: tokio::sync::Mutex<Arc<Link>>,
}

#[derive(Debug)]
enum Endpoint {
    Path(PathBuf),
    Own(Box<tokio::sync::Mutex<Private>>),
}

impl Socket {
    /// Connects to the socket at a path.
    pub async fn open(path: PathBuf) -> Result<Socket, Trouble> {
        let link = Link::connect(&path).await?;
        Ok(Socket::new(Endpoint::Path(path), link))
    }

    /// Takes the connection to an own daemon.
    pub async fn own(stream: UnixStream, mut private: Private) -> Result<Socket, Failure> {
        match Link::new(stream).await {
            Ok(link) => Ok(Socket::new(Endpoint::Own(Box::new(private.into())), link)),
            Err(trouble) => Err(private.did_not_start(trouble).await),
        }
    }

    fn new(endpoint: Endpoint, link: Link) -> Socket {
        let link = tokio::sync::Mutex::new(Arc::new(link));
        Socket {
            shared: Arc::new(Shared { endpoint, link }),
        }
    }

    /// Whether the daemon is this process's own.
    pub fn is_private(&self) -> bool {
        matches!(self.shared.endpoint, Endpoint::Own(_))
    }

    /// Version of the daemon, as it said last.
    pub async fn version(&self) -> String {
        self.shared.link.lock().await.version().to_owned()
    }

    /// See [`super::Connection::status`].
    pub async fn status(&self) -> Result<Status, Trouble> {
        match self.shared.call(Request::Status, Some(ANSWER)).await? {
            Reply::Status(status) => Ok(status),
            other => Err(unexpected(&other)),
        }
    }

    /// See [`super::Connection::plan`].
    pub async fn plan(&self, request: &OperationRequest) -> Result<Plan, Trouble> {
        match self
            .shared
            .call(Request::Plan(request.clone()), Some(PLANNING))
            .await?
        {
            Reply::Plan(plan) => Ok(plan),
            other => Err(unexpected(&other)),
        }
    }

    /// See [`super::Connection::submit`].
    pub async fn submit(
        &self,
        request: &OperationRequest,
        options: &RequestOptions,
    ) -> Result<OperationId, Trouble> {
        let request = Request::Submit(request.clone(), options.clone());
        accepted(self.shared.call(request, None).await?)
    }

    /// See [`super::Connection::list`].
    pub async fn list(&self, limit: u32) -> Result<Vec<OperationView>, Trouble> {
        match self.shared.call(Request::List(limit), Some(ANSWER)).await? {
            Reply::Operations(operations) => Ok(operations),
            other => Err(unexpected(&other)),
        }
    }

    /// See [`super::Connection::show`].
    pub async fn show(&self, id: &OperationId) -> Result<OperationView, Trouble> {
        self.shared.show(id).await
    }

    /// See [`super::Connection::journal`].
    pub async fn journal(&self, id: &OperationId) -> Result<Vec<JournalLine>, Trouble> {
        match self
            .shared
            .call(Request::Journal(id.clone()), Some(ANSWER))
            .await?
        {
            Reply::Journal(lines) => Ok(lines),
            other => Err(unexpected(&other)),
        }
    }

    /// See [`super::Connection::watch`].
    pub fn watch(&self, id: &OperationId) -> Watch {
        Watch::start(Follower {
            shared: Arc::clone(&self.shared),
            id: id.clone(),
        })
    }

    /// See [`super::Connection::cancel`].
    pub async fn cancel(&self, id: &OperationId) -> Result<(), Trouble> {
        done(self.shared.call(Request::Cancel(id.clone()), None).await?)
    }

    /// See [`super::Connection::retry`].
    pub async fn retry(&self, id: &OperationId) -> Result<OperationId, Trouble> {
        accepted(self.shared.call(Request::Retry(id.clone()), None).await?)
    }

    /// See [`super::Connection::settings`].
    pub async fn settings(&self) -> Result<Vec<SettingView>, Trouble> {
        match self.shared.call(Request::Settings, Some(ANSWER)).await? {
            Reply::Settings(settings) => Ok(settings),
            other => Err(unexpected(&other)),
        }
    }

    /// See [`super::Connection::configure`].
    pub async fn configure(&self, key: &str, value: &str) -> Result<(), Trouble> {
        let request = Request::Configure {
            key: key.to_owned(),
            value: value.to_owned(),
        };
        done(self.shared.call(request, None).await?)
    }

    /// See [`super::Connection::confirm`].
    pub async fn confirm(&self, id: &OperationId) -> Result<(), Trouble> {
        done(self.shared.call(Request::Confirm(id.clone()), None).await?)
    }

    /// See [`super::Connection::generations`].
    pub async fn generations(&self) -> Result<Vec<Generation>, Trouble> {
        match self.shared.call(Request::Generations, Some(ANSWER)).await? {
            Reply::Generations(generations) => Ok(generations),
            other => Err(unexpected(&other)),
        }
    }

    /// See [`super::Connection::diff`].
    pub async fn diff(&self, from: &str, to: &str) -> Result<Vec<DiffEntry>, Trouble> {
        let request = Request::Diff {
            from: from.to_owned(),
            to: to.to_owned(),
        };
        match self.shared.call(request, Some(PLANNING)).await? {
            Reply::Diff(entries) => Ok(entries),
            other => Err(unexpected(&other)),
        }
    }

    /// See [`super::Connection::check`].
    pub async fn check(&self, checks: &[String]) -> Result<Findings, Trouble> {
        let request = Request::Check(checks.to_vec());
        found(self.shared.call(request, Some(LOOKING)).await?)
    }

    /// See [`super::Connection::findings`].
    pub async fn findings(&self) -> Result<Findings, Trouble> {
        found(self.shared.call(Request::Findings, Some(ANSWER)).await?)
    }

    /// See [`super::Connection::history`].
    pub async fn history(&self, limit: u32) -> Result<Vec<HealthEvent>, Trouble> {
        match self
            .shared
            .call(Request::History(limit), Some(ANSWER))
            .await?
        {
            Reply::History(events) => Ok(events),
            other => Err(unexpected(&other)),
        }
    }

    /// See [`super::Connection::metrics`].
    pub async fn metrics(&self) -> Result<String, Trouble> {
        match self.shared.call(Request::Metrics, Some(ANSWER)).await? {
            Reply::Metrics(text) => Ok(text),
            other => Err(unexpected(&other)),
        }
    }

    /// See [`super::Connection::close`].
    pub async fn close(self) {
        self.shared.link.lock().await.shut().await;
        if let Endpoint::Own(private) = &self.shared.endpoint {
            private.lock().await.finish().await;
        }
    }
}

impl Shared {
    /// Sends a request and takes its answer; without a deadline it lasts as long as the connection.
    async fn call(&self, request: Request, deadline: Option<Duration>) -> Result<Reply, Trouble> {
        let link = self.live().await?;
        let mut answers = link.send(request).await?;
        let answer = match deadline {
            None => answers.recv().await,
            Some(deadline) => timeout(deadline, answers.recv())
                .await
                .map_err(|_| Trouble::Lost(format!("no answer within {} s", deadline.as_secs())))?,
        };
        match answer {
            Some(answer) => refused(answer.reply),
            None => Err(self.lost(&link).await),
        }
    }

    async fn show(&self, id: &OperationId) -> Result<OperationView, Trouble> {
        match self.call(Request::Show(id.clone()), Some(ANSWER)).await? {
            Reply::Operation(view) => Ok(view),
            other => Err(unexpected(&other)),
        }
    }

    /// The connection, opened again if it broke.
    async fn live(&self) -> Result<Arc<Link>, Trouble> {
        let mut link = self.link.lock().await;
        if link.is_dead() {
            match &self.endpoint {
                Endpoint::Path(path) => *link = Arc::new(Link::connect(path).await?),
                Endpoint::Own(private) => return Err(private.lock().await.lost().await),
            }
        }
        Ok(Arc::clone(&link))
    }

    /// Why the connection broke.
    async fn lost(&self, link: &Link) -> Trouble {
        match (&self.endpoint, link.end().await) {
            (Endpoint::Own(private), Trouble::Lost(_)) => private.lock().await.lost().await,
            (_, trouble) => trouble,
        }
    }
}

/// Follows an operation over the socket.
struct Follower {
    shared: Arc<Shared>,
    id: OperationId,
}

impl Source for Follower {
    async fn follow(&mut self, report: &Report) -> Result<(), Trouble> {
        let link = self.shared.live().await?;
        let mut answers = link.send(Request::Watch(self.id.clone())).await?;
        loop {
            let view = match timeout(SILENCE, answers.recv()).await {
                Ok(None) => return Err(self.shared.lost(&link).await),
                Err(_) => self.shared.show(&self.id).await?,
                Ok(Some(answer)) => match refused(answer.reply)? {
                    Reply::Operation(view) => view,
                    other => return Err(unexpected(&other)),
                },
            };
            if report.view(view) {
                return Ok(());
            }
        }
    }

    async fn reach(&mut self) -> Result<OperationView, Trouble> {
        self.shared.show(&self.id).await
    }

    fn comes_back(&self) -> bool {
        matches!(self.shared.endpoint, Endpoint::Path(_))
    }
}

/// A refusal as an error, anything else as it is.
fn refused(reply: Reply) -> Result<Reply, Trouble> {
    match reply {
        Reply::Refused(failure) => Err(Trouble::Refused(failure)),
        reply => Ok(reply),
    }
}

fn accepted(reply: Reply) -> Result<OperationId, Trouble> {
    match reply {
        Reply::Accepted(id) => Ok(id),
        other => Err(unexpected(&other)),
    }
}

fn found(reply: Reply) -> Result<Findings, Trouble> {
    match reply {
        Reply::Findings(findings) => Ok(findings),
        other => Err(unexpected(&other)),
    }
}

fn done(reply: Reply) -> Result<(), Trouble> {
    match reply {
        Reply::Done => Ok(()),
        other => Err(unexpected(&other)),
    }
}

fn unexpected(reply: &Reply) -> Trouble {
    let name = match reply {
        Reply::Status(_) => "a status",
        Reply::Plan(_) => "a plan",
        Reply::Accepted(_) => "an operation's id",
        Reply::Operations(_) => "a list of operations",
        Reply::Operation(_) => "an operation",
        Reply::Journal(_) => "a journal",
        Reply::Settings(_) => "settings",
        Reply::Done => "only \"done\"",
        Reply::Refused(_) => "a refusal",
        Reply::Generations(_) => "generations",
        Reply::Findings(_) => "findings",
        Reply::History(_) => "a history",
        Reply::Metrics(_) => "the numbers of metrics",
        Reply::Diff(_) => "a comparison",
    };
    let message = format!("cannot understand nixctld: it answered with {name}");
    Trouble::Refused(Failure::new(Code::BadFrame, message))
}

#[cfg(test)]
mod tests;

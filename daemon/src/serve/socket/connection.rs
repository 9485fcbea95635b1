//! One connection: greets, reads calls, and answers each as it gets ready.
//!
//! Answers go through one queue to one writer. A watch takes a snapshot only when there is room
//! in that queue, so that a peer that reads slowly gets fewer of them, and one that does not read
//! at all is cut off by the writer's deadline. Everything a connection started to wait for ends
//! with it; what was accepted goes on.

use std::io::{self, Write};
use std::os::fd::AsFd;
use std::sync::Arc;
use std::time::Duration;

use nixctl_proto::frame::{self, Answer, Call, FrameError, HEADER_LENGTH, Hello, Program, Unread};
use nixctl_proto::request::{Reply, Request};
use nixctl_proto::{Code, Failure, OperationId};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::UnixStream;
use tokio::net::unix::{OwnedReadHalf, OwnedWriteHalf};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, mpsc};
use tokio::task::JoinSet;
use tokio::time::timeout;

use crate::serve::{Caller, Refusal, Service};

/// How long a peer may take for its greeting.
const HELLO_DEADLINE: Duration = Duration::from_secs(5);
/// How long a peer may take for the rest of a frame it has begun.
const FRAME_DEADLINE: Duration = Duration::from_secs(10);
/// How long a peer may take to read an answer.
const WRITE_DEADLINE: Duration = Duration::from_secs(10);
/// How long a connection may be open without a call.
const IDLE_DEADLINE: Duration = Duration::from_secs(600);
/// Shortest time between two snapshots of one watch.
const WATCH_PAUSE: Duration = Duration::from_millis(100);
/// Calls of one connection that are worked on at a time; further ones wait unread.
const CALLS: usize = 8;
/// Watches of one connection.
const WATCHES: usize = 16;
/// Answers that wait to be written.
const QUEUE: usize = 16;

/// Number of an answer that is about the connection itself.
const CONNECTION: u32 = 0;

/// Why a connection ends.
#[derive(Debug, thiserror::Error)]
enum End {
    #[error("the peer closed it")]
    Closed,
    #[error("the peer was silent for too long")]
    Silent,
    #[error("the peer does not read its answers")]
    Unread,
    #[error(transparent)]
    Frame(#[from] FrameError),
    #[error(transparent)]
    Io(#[from] io::Error),
}

/// Serves a connection until it ends.
pub async fn serve(stream: UnixStream, service: Arc<Service>, caller: Caller) {
    let uid = caller.uid;
    let (reader, writer) = stream.into_split();
    let (answers, queue) = mpsc::channel(QUEUE);
    let mut writing = tokio::spawn(write(writer, queue));
    let end = {
        let session = Session {
            service,
            caller,
            answers,
            calls: Arc::new(Semaphore::new(CALLS)),
            watches: Arc::new(Semaphore::new(WATCHES)),
            tasks: JoinSet::new(),
        };
        tokio::select! {
            end = session.run(reader) => end,
            end = &mut writing => end.unwrap_or(End::Closed),
        }
    };
    // The session is gone and with it the queue's other end: what is in it is still written.
    if !writing.is_finished() && timeout(WRITE_DEADLINE, &mut writing).await.is_err() {
        writing.abort();
    }
    tracing::debug!(uid, "a connection ended: {end}");
}

/// Tells a peer that it has too many connections. What does not fit at once is not sent.
pub fn refuse(stream: &UnixStream) {
    let failure = Failure::new(
        Code::TooMany,
        "cannot serve this connection: there are too many",
    );
    let answer = Answer {
        id: CONNECTION,
        last: true,
        reply: Reply::Refused(failure),
    };
    let frames = frame::encode(&Hello::ours()).and_then(|mut bytes| {
        bytes.extend(frame::encode(&answer)?);
        Ok(bytes)
    });
    let sent = frames.map_err(io::Error::other).and_then(|bytes| {
        let own = stream.as_fd().try_clone_to_owned()?;
        std::os::unix::net::UnixStream::from(own).write_all(&bytes)
    });
    if let Err(error) = sent {
        tracing::debug!("cannot refuse a connection: {error}");
    }
}

/// Writes the queue out until it is closed.
async fn write(mut writer: OwnedWriteHalf, mut queue: mpsc::Receiver<Vec<u8>>) -> End {
    while let Some(bytes) = queue.recv().await {
        match timeout(WRITE_DEADLINE, writer.write_all(&bytes)).await {
            Ok(Ok(())) => {}
            Ok(Err(error)) => return End::Io(error),
            Err(_) => return End::Unread,
        }
    }
    End::Closed
}

/// Reads the payload of a frame whose first byte may take `patience` to come.
async fn read(reader: &mut OwnedReadHalf, patience: Duration) -> Result<Vec<u8>, End> {
    let mut header = [0; HEADER_LENGTH];
    match timeout(patience, reader.read(&mut header[..1])).await {
        Ok(Ok(0)) => return Err(End::Closed),
        Ok(Ok(_)) => {}
        Ok(Err(error)) => return Err(error.into()),
        Err(_) => return Err(End::Silent),
    }
    let rest = async {
        reader.read_exact(&mut header[1..]).await?;
        let mut payload = vec![0; frame::payload_length(header)?];
        reader.read_exact(&mut payload).await?;
        Ok::<_, End>(payload)
    };
    timeout(FRAME_DEADLINE, rest)
        .await
        .unwrap_or(Err(End::Silent))
}

struct Session {
    service: Arc<Service>,
    caller: Caller,
    answers: mpsc::Sender<Vec<u8>>,
    calls: Arc<Semaphore>,
    watches: Arc<Semaphore>,
    tasks: JoinSet<()>,
}

impl Session {
    async fn run(mut self, mut reader: OwnedReadHalf) -> End {
        let end = match self.converse(&mut reader).await {
            Ok(never) => match never {},
            Err(end) => end,
        };
        if let End::Frame(error) = &end {
            let failure = Failure::from(error.clone());
            send(&self.answers, CONNECTION, true, Reply::Refused(failure)).await;
        }
        end
    }

    async fn converse(
        &mut self,
        reader: &mut OwnedReadHalf,
    ) -> Result<std::convert::Infallible, End> {
        let hello = frame::encode(&Hello::ours())?;
        self.answers.send(hello).await.map_err(|_| End::Closed)?;
        let hello = timeout(HELLO_DEADLINE, read(reader, HELLO_DEADLINE)).await;
        let hello: Hello = frame::decode(&hello.map_err(|_| End::Silent)??)?;
        let spoken = hello.spoken(Program::Client).map_err(FrameError::from)?;
        tracing::trace!(
            spoken,
            "a client of version {} greeted",
            hello.shown_version()
        );
        loop {
            let permit = Arc::clone(&self.calls)
                .acquire_owned()
                .await
                .map_err(|_| End::Closed)?;
            // Who waits for the end of an operation may be silent as long as that takes.
            let watching = self.watches.available_permits() < WATCHES;
            let busy = self.calls.available_permits() < CALLS - 1;
            let payload = match read(reader, IDLE_DEADLINE).await {
                Err(End::Silent) if watching || busy => continue,
                other => other?,
            };
            match frame::decode_numbered::<Call>(&payload) {
                Ok(call) => self.start(call, permit),
                Err(unread) => self.refuse(unread, &hello).await?,
            }
            while self.tasks.try_join_next().is_some() {}
        }
    }

    /// Answers a call of a newer client that asks for what this version does not know; without a
    /// number it is rubbish, which ends the connection.
    async fn refuse(&self, unread: Unread, hello: &Hello) -> Result<(), End> {
        match unread.id {
            None | Some(CONNECTION) => Err(unread.error.into()),
            Some(id) => {
                let refused = Reply::Refused(unknown(&unread.error, hello));
                send(&self.answers, id, true, refused).await;
                Ok(())
            }
        }
    }

    /// Works on a call in a task of its own.
    fn start(&mut self, call: Call, permit: OwnedSemaphorePermit) {
        let service = Arc::clone(&self.service);
        let answers = self.answers.clone();
        match call.request {
            Request::Watch(operation) => {
                let place = Arc::clone(&self.watches).try_acquire_owned().ok();
                self.tasks.spawn(async move {
                    drop(permit);
                    watch(&service, &answers, call.id, &operation, place).await;
                });
            }
            request => {
                let caller = self.caller.clone();
                self.tasks.spawn(async move {
                    let reply = answer(&service, &caller, request).await;
                    send(&answers, call.id, true, reply).await;
                    drop(permit);
                });
            }
        }
    }
}

/// Why a call is refused that this version cannot read.
fn unknown(error: &FrameError, hello: &Hello) -> Failure {
    let ours = Hello::ours().version;
    let text = format!(
        "cannot do what was asked: nixctld {ours} does not know this request of nixctl {}",
        hello.shown_version()
    );
    Failure::new(Code::UnknownRequest, text).with_cause(error.to_string())
}

/// The answer to a call that has one.
async fn answer(service: &Service, caller: &Caller, request: Request) -> Reply {
    let reply = match request {
        Request::Status => service
            .status()
            .await
            .map(Reply::Status)
            .map_err(Refusal::from),
        Request::Plan(request) => service.plan(caller, request).await.map(Reply::Plan),
        Request::Submit(request, options) => service
            .submit(caller, request, options)
            .await
            .map(Reply::Accepted),
        Request::List(limit) => service
            .list(limit)
            .await
            .map(Reply::Operations)
            .map_err(Refusal::from),
        Request::Show(id) | Request::Watch(id) => service
            .show(&id)
            .await
            .map(Reply::Operation)
            .map_err(Refusal::from),
        Request::Journal(id) => service
            .journal(&id)
            .await
            .map(Reply::Journal)
            .map_err(Refusal::from),
        Request::Cancel(id) => service.cancel(caller, &id).await.map(|()| Reply::Done),
        Request::Retry(id) => service.retry(caller, &id).await.map(Reply::Accepted),
        Request::Settings => service
            .settings()
            .await
            .map(Reply::Settings)
            .map_err(Refusal::from),
        Request::Configure { key, value } => service
            .configure(caller, key, value)
            .await
            .map(|()| Reply::Done),
        Request::Confirm(id) => service.confirm(caller, &id).await.map(|()| Reply::Done),
        Request::Generations => service
            .generations()
            .await
            .map(Reply::Generations)
            .map_err(Refusal::from),
        Request::Diff { from, to } => service
            .diff(&from, &to)
            .await
            .map(Reply::Diff)
            .map_err(Refusal::from),
        Request::Check(checks) => service
            .check(checks)
            .await
            .map(Reply::Findings)
            .map_err(Refusal::from),
        Request::Findings => service
            .findings()
            .await
            .map(Reply::Findings)
            .map_err(Refusal::from),
        Request::History(limit) => service
            .history(limit)
            .await
            .map(Reply::History)
            .map_err(Refusal::from),
        Request::Metrics => service
            .metrics()
            .await
            .map(Reply::Metrics)
            .map_err(Refusal::from),
    };
    reply.unwrap_or_else(|refusal| Reply::Refused(refusal.failure))
}

/// Sends snapshots of an operation until it has ended.
async fn watch(
    service: &Service,
    answers: &mpsc::Sender<Vec<u8>>,
    call: u32,
    operation: &OperationId,
    place: Option<OwnedSemaphorePermit>,
) {
    let Some(_place) = place else {
        let text = format!("cannot watch {operation}: {WATCHES} watches are open already");
        let refused = Reply::Refused(Failure::new(Code::TooMany, text));
        return send(answers, call, true, refused).await;
    };
    let mut view = match service.watch(operation).await {
        Ok(view) => view,
        Err(failure) => return send(answers, call, true, Reply::Refused(failure)).await,
    };
    let mut more = true;
    loop {
        // The snapshot is taken when there is room for it, not before.
        let Ok(room) = answers.reserve().await else {
            return;
        };
        let now = view.borrow_and_update().clone();
        let last = !more || now.state.is_final();
        room.send(encoded(call, last, Reply::Operation(now)));
        if last {
            return;
        }
        more = view.changed().await.is_ok();
        tokio::time::sleep(WATCH_PAUSE).await;
    }
}

async fn send(answers: &mpsc::Sender<Vec<u8>>, id: u32, last: bool, reply: Reply) {
    if answers.send(encoded(id, last, reply)).await.is_err() {
        tracing::trace!("an answer came after the end of its connection");
    }
}

/// An answer as a frame; one that is too large becomes a refusal.
fn encoded(id: u32, last: bool, reply: Reply) -> Vec<u8> {
    frame::encode(&Answer { id, last, reply }).unwrap_or_else(|error| {
        let failure = Failure::from(error).with_help("ask for less at a time");
        let reply = Reply::Refused(failure);
        frame::encode(&Answer {
            id,
            last: true,
            reply,
        })
        .unwrap_or_default()
    })
}

//! One connection: a greeting, then calls and answers matched by their numbers.

use std::collections::HashMap;
use std::path::Path;
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use nixctl_proto::frame::{self, Answer, Call, HEADER_LENGTH, Hello, Program, Unread};
use nixctl_proto::request::{Reply, Request};
use nixctl_proto::{Code, Failure, VERSION};
use serde::Serialize;
use serde::de::DeserializeOwned;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::UnixStream;
use tokio::net::unix::{OwnedReadHalf, OwnedWriteHalf};
use tokio::sync::{mpsc, watch};
use tokio::time::timeout;

use crate::connect::{ANSWER, Trouble};

/// Calls that wait for answers, by their number; `None` once the connection is dead.
type Waiting = Mutex<Option<HashMap<u32, mpsc::UnboundedSender<Answer>>>>;

/// How long the last words of a daemon that closed the connection may take to be read.
const LAST_WORDS: Duration = Duration::from_secs(1);
/// Number of an answer that is about the connection, which then ends.
const CONNECTION: u32 = 0;

/// One connection.
#[derive(Debug)]
pub struct Link {
    writer: tokio::sync::Mutex<OwnedWriteHalf>,
    waiting: Arc<Waiting>,
    next: AtomicU32,
    /// Version of the daemon, as it said.
    version: String,
    /// Why nothing more can be read, once that is so.
    end: watch::Receiver<Option<Trouble>>,
}

impl Link {
    /// Connects to a path.
    pub async fn connect(path: &Path) -> Result<Link, Trouble> {
        match timeout(ANSWER, UnixStream::connect(path)).await {
            Ok(Ok(stream)) => Link::new(stream).await,
            Ok(Err(error)) => Err(Trouble::Lost(error.to_string())),
            Err(_) => Err(Trouble::Lost("it does not accept connections".to_owned())),
        }
    }

    /// Greets the other side, and begins to read what it says.
    pub async fn new(mut stream: UnixStream) -> Result<Link, Trouble> {
        let greeting = async {
            write(&mut stream, &Hello::ours()).await?;
            read::<Hello>(&mut stream).await
        };
        let hello = timeout(ANSWER, greeting)
            .await
            .map_err(|_| Trouble::Lost("it does not greet".to_owned()))??;
        hello
            .spoken(Program::Daemon)
            .map_err(|why| Trouble::Refused(frame::FrameError::from(why).into()))?;
        let version = hello.shown_version();
        let (reader, writer) = stream.into_split();
        let waiting = Arc::new(Mutex::new(Some(HashMap::new())));
        let (told, end) = watch::channel(None);
        let (calls, theirs) = (Arc::clone(&waiting), version.clone());
        tokio::spawn(async move {
            let why = route(reader, &calls, &theirs).await;
            told.send_replace(Some(why));
            kill(&calls);
        });
        Ok(Link {
            writer: writer.into(),
            waiting,
            next: AtomicU32::new(1),
            version,
            end,
        })
    }

    /// Version of the daemon.
    pub fn version(&self) -> &str {
        &self.version
    }

    /// Why the connection ended; waits for the last words of a daemon that closes it.
    pub async fn end(&self) -> Trouble {
        let mut end = self.end.clone();
        let told = timeout(LAST_WORDS, end.wait_for(Option::is_some)).await;
        let trouble = told.ok().and_then(Result::ok).and_then(|why| why.clone());
        trouble.unwrap_or_else(|| Trouble::Lost("the connection is closed".to_owned()))
    }

    /// Whether nothing can be sent any more.
    pub fn is_dead(&self) -> bool {
        self.waiting
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .is_none()
    }

    /// Sends a request; its answers arrive in the returned channel, which ends with the connection.
    pub async fn send(&self, request: Request) -> Result<mpsc::UnboundedReceiver<Answer>, Trouble> {
        let (sender, answers) = mpsc::unbounded_channel();
        let id = self.next.fetch_add(1, Ordering::Relaxed);
        if !self.expect(id, sender) {
            return Err(self.end().await);
        }
        let mut writer = self.writer.lock().await;
        let sent = timeout(ANSWER, write(&mut *writer, &Call { id, request })).await;
        let trouble = match sent {
            Ok(Ok(())) => return Ok(answers),
            // It may have said why it closed the connection.
            Ok(Err(Trouble::Lost(_))) => self.end().await,
            Ok(Err(trouble)) => trouble,
            Err(_) => Trouble::Lost("it does not read".to_owned()),
        };
        // Half a frame may be out: nothing can be sent after it.
        kill(&self.waiting);
        Err(trouble)
    }

    /// Notes who waits for the answers to a call, unless there will be none.
    fn expect(&self, id: u32, sender: mpsc::UnboundedSender<Answer>) -> bool {
        let mut waiting = self.waiting.lock().unwrap_or_else(PoisonError::into_inner);
        let calls = waiting.as_mut().map(|calls| calls.insert(id, sender));
        calls.is_some()
    }

    /// Says that nothing more will come.
    pub async fn shut(&self) {
        // The other side may have closed already.
        let _ = timeout(ANSWER, async { self.writer.lock().await.shutdown().await }).await;
    }
}

/// Takes answers to those who wait for them, until the connection ends; why it did.
async fn route(mut reader: OwnedReadHalf, waiting: &Waiting, version: &str) -> Trouble {
    loop {
        let payload = match read_payload(&mut reader).await {
            Ok(payload) => payload,
            Err(trouble) => return trouble,
        };
        let answer = match frame::decode_numbered::<Answer>(&payload) {
            Ok(answer) => answer,
            Err(unread) => match not_understood(unread, version) {
                Ok(answer) => answer,
                Err(trouble) => return trouble,
            },
        };
        if answer.id == CONNECTION {
            return farewell(answer.reply);
        }
        let mut guard = waiting.lock().unwrap_or_else(PoisonError::into_inner);
        let Some(calls) = guard.as_mut() else {
            return Trouble::Lost("the connection is closed".to_owned());
        };
        let (id, last) = (answer.id, answer.last);
        let gone = calls
            .get(&id)
            .is_none_or(|caller| caller.send(answer).is_err());
        if last || gone {
            calls.remove(&id);
        }
    }
}

/// An answer of a newer daemon that this version does not know, as a refusal for who asked; without
/// a number it is rubbish, which ends the connection.
fn not_understood(unread: Unread, version: &str) -> Result<Answer, Trouble> {
    let text = format!(
        "cannot understand nixctld {version}: it answered with something that nixctl {VERSION} \
         does not know"
    );
    let failure = Failure::new(Code::BadFrame, text).with_cause(unread.error.to_string());
    match unread.id {
        None | Some(CONNECTION) => Err(Trouble::Refused(unread.error.into())),
        Some(id) => Ok(Answer {
            id,
            last: true,
            reply: Reply::Refused(failure),
        }),
    }
}

/// What the daemon's last words mean. Where there were too many connections, another attempt may
/// find a place.
fn farewell(reply: Reply) -> Trouble {
    match reply {
        Reply::Refused(failure) if failure.code == Code::TooMany => Trouble::Lost(failure.message),
        Reply::Refused(failure) => Trouble::Refused(failure),
        _ => Trouble::Lost("it closed the connection".to_owned()),
    }
}

/// Marks a connection as dead; everybody who waits on it learns of it.
fn kill(waiting: &Waiting) {
    *waiting.lock().unwrap_or_else(PoisonError::into_inner) = None;
}

async fn write<T: Serialize>(
    writer: &mut (impl AsyncWriteExt + Unpin),
    message: &T,
) -> Result<(), Trouble> {
    let bytes = frame::encode(message).map_err(|error| Trouble::Refused(error.into()))?;
    writer
        .write_all(&bytes)
        .await
        .map_err(|error| Trouble::Lost(error.to_string()))
}

async fn read<T: DeserializeOwned>(reader: &mut (impl AsyncReadExt + Unpin)) -> Result<T, Trouble> {
    let payload = read_payload(reader).await?;
    frame::decode(&payload).map_err(|error| Trouble::Refused(error.into()))
}

async fn read_payload(reader: &mut (impl AsyncReadExt + Unpin)) -> Result<Vec<u8>, Trouble> {
    let lost = |error: std::io::Error| match error.kind() {
        std::io::ErrorKind::UnexpectedEof => Trouble::Lost("it closed the connection".to_owned()),
        _ => Trouble::Lost(error.to_string()),
    };
    let mut header = [0; HEADER_LENGTH];
    reader.read_exact(&mut header).await.map_err(lost)?;
    let length = frame::payload_length(header).map_err(|error| Trouble::Refused(error.into()))?;
    let mut payload = vec![0; length];
    reader.read_exact(&mut payload).await.map_err(lost)?;
    Ok(payload)
}

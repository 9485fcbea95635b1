//! One connection: a greeting, then calls and answers matched by their numbers.

use std::collections::HashMap;
use std::path::Path;
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use nixctl_proto::frame::{self, Answer, Call, HEADER_LENGTH, Hello};
use nixctl_proto::request::Request;
use serde::Serialize;
use serde::de::DeserializeOwned;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::UnixStream;
use tokio::net::unix::{OwnedReadHalf, OwnedWriteHalf};
use tokio::sync::mpsc;
use tokio::time::timeout;

use crate::connect::{ANSWER, Trouble};

/// Calls that wait for answers, by their number; `None` once the connection is dead.
type Waiting = Mutex<Option<HashMap<u32, mpsc::UnboundedSender<Answer>>>>;

/// One connection.
#[derive(Debug)]
pub struct Link {
    writer: tokio::sync::Mutex<OwnedWriteHalf>,
    waiting: Arc<Waiting>,
    next: AtomicU32,
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
            .check()
            .map_err(|error| Trouble::Refused(error.into()))?;
        let (reader, writer) = stream.into_split();
        let waiting = Arc::new(Mutex::new(Some(HashMap::new())));
        tokio::spawn(route(reader, Arc::clone(&waiting)));
        Ok(Link {
            writer: writer.into(),
            waiting,
            next: AtomicU32::new(1),
        })
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
        match self
            .waiting
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .as_mut()
        {
            Some(waiting) => waiting.insert(id, sender),
            None => return Err(Trouble::Lost("the connection is closed".to_owned())),
        };
        let mut writer = self.writer.lock().await;
        let sent = timeout(ANSWER, write(&mut *writer, &Call { id, request })).await;
        let trouble = match sent {
            Ok(Ok(())) => return Ok(answers),
            Ok(Err(trouble)) => trouble,
            Err(_) => Trouble::Lost("it does not read".to_owned()),
        };
        // Half a frame may be out: nothing can be sent after it.
        kill(&self.waiting);
        Err(trouble)
    }

    /// Says that nothing more will come.
    pub async fn shut(&self) {
        // The other side may have closed already.
        let _ = timeout(ANSWER, async { self.writer.lock().await.shutdown().await }).await;
    }
}

/// Takes answers to those who wait for them, until the connection ends.
async fn route(mut reader: OwnedReadHalf, waiting: Arc<Waiting>) {
    while let Ok(answer) = read::<Answer>(&mut reader).await {
        let mut guard = waiting.lock().unwrap_or_else(PoisonError::into_inner);
        let Some(calls) = guard.as_mut() else { break };
        let (id, last) = (answer.id, answer.last);
        let gone = calls
            .get(&id)
            .is_none_or(|caller| caller.send(answer).is_err());
        if last || gone {
            calls.remove(&id);
        }
    }
    kill(&waiting);
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
    let lost = |error: std::io::Error| match error.kind() {
        std::io::ErrorKind::UnexpectedEof => Trouble::Lost("it closed the connection".to_owned()),
        _ => Trouble::Lost(error.to_string()),
    };
    let bad = |error: frame::FrameError| Trouble::Refused(error.into());
    let mut header = [0; HEADER_LENGTH];
    reader.read_exact(&mut header).await.map_err(lost)?;
    let mut payload = vec![0; frame::payload_length(header).map_err(bad)?];
    reader.read_exact(&mut payload).await.map_err(lost)?;
    frame::decode(&payload).map_err(bad)
}

//! A daemon for tests: it speaks the protocol and reacts to each request by a script.

use std::path::PathBuf;
use std::sync::{Arc, Mutex};

use nixctl_proto::Failure;
use nixctl_proto::frame::{self, Answer, Call, HEADER_LENGTH, Hello};
use nixctl_proto::request::{Reply, Request};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{UnixListener, UnixStream};

/// What the fake does after a request.
#[derive(Debug, Clone)]
pub enum Reaction {
    /// Answers, and more will follow.
    More(Reply),
    /// Answers for the last time.
    Last(Reply),
    /// Keeps the request unanswered for a later [`Reaction::Release`].
    Hold,
    /// Answers the request that was kept, for the last time.
    Release(Reply),
    /// Answers with these bytes after the number of the request.
    Raw(Vec<u8>),
    /// Says this about the connection, and closes it.
    Farewell(Failure),
    /// Closes the connection.
    Vanish,
}

/// A listening fake; it ends with the test's runtime.
pub struct Fake {
    folder: tempfile::TempDir,
}

impl Fake {
    /// Listens in a temporary folder.
    pub fn start(script: impl FnMut(Request) -> Vec<Reaction> + Send + 'static) -> Fake {
        Fake::of_version(Hello::ours(), script)
    }

    /// The same as a daemon of another version.
    pub fn of_version(
        hello: Hello,
        script: impl FnMut(Request) -> Vec<Reaction> + Send + 'static,
    ) -> Fake {
        let folder = tempfile::tempdir().unwrap();
        let listener = UnixListener::bind(folder.path().join("socket")).unwrap();
        let script = Arc::new(Mutex::new(script));
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                tokio::spawn(serve(stream, hello.clone(), Arc::clone(&script)));
            }
        });
        Fake { folder }
    }

    /// Where it listens.
    pub fn path(&self) -> PathBuf {
        self.folder.path().join("socket")
    }
}

/// Serves one connection.
pub async fn serve<F>(mut stream: UnixStream, hello: Hello, script: Arc<Mutex<F>>)
where
    F: FnMut(Request) -> Vec<Reaction>,
{
    stream
        .write_all(&frame::encode(&hello).unwrap())
        .await
        .unwrap();
    read::<Hello>(&mut stream).await;
    let mut held = None;
    while let Some(call) = read::<Call>(&mut stream).await {
        let reactions = (script.lock().unwrap())(call.request);
        for reaction in reactions {
            let answer = match reaction {
                Reaction::More(reply) => Answer {
                    id: call.id,
                    last: false,
                    reply,
                },
                Reaction::Last(reply) => Answer {
                    id: call.id,
                    last: true,
                    reply,
                },
                Reaction::Release(reply) => Answer {
                    id: held.unwrap(),
                    last: true,
                    reply,
                },
                Reaction::Raw(bytes) => {
                    let mut payload = frame::encode(&call.id).unwrap();
                    payload.extend(bytes);
                    let length = payload.len() - HEADER_LENGTH;
                    let header = u32::try_from(length).unwrap().to_be_bytes();
                    payload[..HEADER_LENGTH].copy_from_slice(&header);
                    stream.write_all(&payload).await.unwrap();
                    continue;
                }
                Reaction::Farewell(failure) => {
                    let answer = Answer {
                        id: 0,
                        last: true,
                        reply: Reply::Refused(failure),
                    };
                    let bytes = frame::encode(&answer).unwrap();
                    stream.write_all(&bytes).await.unwrap();
                    return;
                }
                Reaction::Vanish => return,
                Reaction::Hold => {
                    held = Some(call.id);
                    continue;
                }
            };
            if stream
                .write_all(&frame::encode(&answer).unwrap())
                .await
                .is_err()
            {
                return;
            }
        }
    }
}

async fn read<T: serde::de::DeserializeOwned>(stream: &mut UnixStream) -> Option<T> {
    let mut header = [0; HEADER_LENGTH];
    stream.read_exact(&mut header).await.ok()?;
    let mut payload = vec![0; frame::payload_length(header).unwrap()];
    stream.read_exact(&mut payload).await.ok()?;
    Some(frame::decode(&payload).unwrap())
}

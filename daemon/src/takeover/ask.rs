//! Asks a daemon over its socket how it is, without a runtime: for the keeper.

use std::io::{ErrorKind, Read, Write};
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::time::Duration;

use nixctl_proto::frame::{self, Answer, Call, HEADER_LENGTH, Hello, Program};
use nixctl_proto::request::{Reply, Request};
use serde::de::DeserializeOwned;

/// Longest wait for one message.
const PATIENCE: Duration = Duration::from_secs(5);

/// The version of the daemon that answers.
///
/// # Errors
/// In words, when none does.
pub fn version(socket: &Path) -> Result<String, String> {
    let text = |error: &dyn std::fmt::Display| format!("it does not answer on its socket: {error}");
    let mut stream = UnixStream::connect(socket).map_err(|error| text(&error))?;
    for set in [UnixStream::set_read_timeout, UnixStream::set_write_timeout] {
        set(&stream, Some(PATIENCE)).map_err(|error| text(&error))?;
    }
    let call = Call {
        id: 1,
        request: Request::Status,
    };
    let greeting = frame::encode(&Hello::ours()).map_err(|error| text(&error))?;
    let question = frame::encode(&call).map_err(|error| text(&error))?;
    stream
        .write_all(&greeting)
        .and_then(|()| stream.write_all(&question))
        .map_err(|error| text(&error))?;
    let hello: Hello = message(&mut stream).map_err(|error| text(&error))?;
    hello
        .spoken(Program::Daemon)
        .map_err(|error| text(&error))?;
    let answer = payload(&mut stream).map_err(|error| text(&error))?;
    match frame::decode_numbered::<Answer>(&answer) {
        Ok(answer) => match answer.reply {
            Reply::Refused(failure) => Err(text(&failure.message)),
            _ => Ok(hello.version),
        },
        // A newer version may say more than this one understands.
        Err(unread) if unread.id == Some(call.id) => Ok(hello.version),
        Err(unread) => Err(text(&unread)),
    }
}

fn message<T: DeserializeOwned>(stream: &mut UnixStream) -> Result<T, String> {
    frame::decode(&payload(stream)?).map_err(|error| error.to_string())
}

fn payload(stream: &mut UnixStream) -> Result<Vec<u8>, String> {
    let unread = |error: std::io::Error| match error.kind() {
        ErrorKind::WouldBlock | ErrorKind::TimedOut => {
            format!("no answer within {} s", PATIENCE.as_secs())
        }
        _ => error.to_string(),
    };
    let mut header = [0; HEADER_LENGTH];
    stream.read_exact(&mut header).map_err(unread)?;
    let length = frame::payload_length(header).map_err(|error| error.to_string())?;
    let mut payload = vec![0; length];
    stream.read_exact(&mut payload).map_err(unread)?;
    Ok(payload)
}

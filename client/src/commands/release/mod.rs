//! `nixctl release`: for whoever publishes a release feed. No daemon is asked, and nothing is
//! published: a file is written that any web server can give out.

mod key;
mod new;
mod sign;
mod verify;

use std::fs::File;
use std::io::{ErrorKind, Read, stdin};
use std::path::Path;
use std::time::{SystemTime, UNIX_EPOCH};

use nixctl_proto::feed::{Envelope, Feed, MAX_BYTES};
use nixctl_proto::{Code, Failure};

use super::{Context, Outcome, save};
use crate::cli::ReleaseVerb;

/// Largest file with a key.
const MAX_KEY_BYTES: usize = 4096;

/// Makes keys and feeds, signs and looks at them.
pub fn run(context: &mut Context, verb: ReleaseVerb) -> Outcome {
    match verb {
        ReleaseVerb::Key(what) => key::run(context, &what),
        ReleaseVerb::New(what) => new::run(context, &what, now()),
        ReleaseVerb::Sign(what) => sign::run(context, &what),
        ReleaseVerb::Verify(what) => verify::run(context, &what, now()),
    }
}

/// Seconds since 1970.
fn now() -> u64 {
    SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .map_or(0, |since| since.as_secs())
}

/// The text of a feed that is published already, or is not signed yet.
fn text_of(file: &Path) -> Result<(String, Option<Envelope>), Failure> {
    let bytes = read(file, MAX_BYTES)?;
    if let Ok(envelope) = Envelope::parse(&bytes) {
        return Ok((envelope.payload().to_owned(), Some(envelope)));
    }
    let text = String::from_utf8(bytes).map_err(|_| cannot_read(file, "it is not UTF-8"))?;
    Ok((text, None))
}

/// A feed that is published already, or is not signed yet.
fn feed_of(file: &Path) -> Result<Feed, Failure> {
    let (text, _) = text_of(file)?;
    Feed::parse(&text).map_err(|error| error.failure().with_cause(file.display().to_string()))
}

/// The one line of a file that keeps a key.
fn key_text(file: &Path) -> Result<String, Failure> {
    let text = String::from_utf8(read(file, MAX_KEY_BYTES)?);
    let text = text.map_err(|_| cannot_read(file, "it is not UTF-8"))?;
    Ok(text.trim_end().to_owned())
}

/// A file, or standard input, of at most so many bytes.
fn read(file: &Path, limit: usize) -> Result<Vec<u8>, Failure> {
    let failed = |error: std::io::Error| cannot_read(file, &error.to_string());
    let source: Box<dyn Read> = match file == Path::new("-") {
        true => Box::new(stdin().lock()),
        false => Box::new(File::open(file).map_err(failed)?),
    };
    let mut bytes = Vec::new();
    source
        .take(limit as u64 + 1)
        .read_to_end(&mut bytes)
        .map_err(failed)?;
    match bytes.len() > limit {
        true => Err(cannot_read(
            file,
            &format!("it is larger than {limit} bytes"),
        )),
        false => Ok(bytes),
    }
}

/// Writes what was made where it is wanted; a file that is there only when that is said.
fn write(context: &mut Context, file: &Path, text: &str, may_replace: bool) -> Result<(), Failure> {
    if file == Path::new("-") {
        context.terminal.raw(text.as_bytes());
        return Ok(());
    }
    let written = match may_replace {
        true => save::replace(file, text.as_bytes(), save::OPEN),
        false => save::create(file, text.as_bytes(), save::OPEN),
    };
    written.map_err(|error| {
        let failure = cannot_write(file, &error);
        match error.kind() == ErrorKind::AlreadyExists && !may_replace {
            true => failure.with_help("pass --replace, or name a file that is not there yet"),
            false => failure,
        }
    })
}

fn cannot_read(file: &Path, why: &str) -> Failure {
    let message = format!("cannot read {}: {why}", file.display());
    Failure::new(Code::InvalidArgument, message).with_help("name a file that can be read")
}

fn cannot_write(file: &Path, error: &std::io::Error) -> Failure {
    let message = format!("cannot write {}: {error}", file.display());
    let help = match error.kind() {
        ErrorKind::AlreadyExists => "name a file that is not there yet",
        _ => "name a file that can be written",
    };
    Failure::new(Code::FileFailed, message).with_help(help)
}

#[cfg(test)]
mod tests;

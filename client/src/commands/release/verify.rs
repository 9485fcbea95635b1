//! `nixctl release verify`

use std::path::Path;

use nixctl_proto::feed::{Envelope, MAX_BYTES, PublicKey, Trust, verify};
use nixctl_proto::{Code, Exit, Failure};
use serde_json::json;

use super::{key_text, read};
use crate::cli::ReleaseVerify;
use crate::commands::{Context, Outcome};
use crate::render::feed;
use crate::render::text::clean;

/// Believes a published feed or says why not, as a machine does, and shows what it says.
pub fn run(context: &mut Context, what: &ReleaseVerify, now: u64) -> Outcome {
    let keys: Vec<PublicKey> = what
        .keys
        .iter()
        .map(|it| key(it))
        .collect::<Result<_, _>>()?;
    // One more than is looked at, so that a file that is too large is refused as a machine does.
    let bytes = read(&what.file, MAX_BYTES + 1)?;
    let trust = Trust {
        keys: &keys,
        channel: what.channel.as_deref(),
        last_serial: what.last_serial,
        now,
    };
    let believed = verify(&bytes, &trust).map_err(|error| error.failure())?;
    let signer = Envelope::parse(&bytes)
        .and_then(|envelope| envelope.signed_by(&keys).map(str::to_owned))
        .map_err(|error| error.failure())?;
    if context.json {
        context
            .terminal
            .json(&json!({"signed_by": signer, "feed": believed}));
    } else {
        let width = context.terminal.width();
        context
            .terminal
            .lines(feed::lines(&believed, &signer, width));
    }
    Ok(Exit::Done)
}

/// The key itself, or the file that has it.
fn key(text: &str) -> Result<PublicKey, Failure> {
    if let Ok(key) = text.parse() {
        return Ok(key);
    }
    key_text(Path::new(text))?.parse().map_err(|why| {
        let message = format!("cannot use the public key in {}: {why}", clean(text));
        Failure::new(Code::InvalidArgument, message)
            .with_help("name the public key NAME:BASE64, or the file that has it")
    })
}

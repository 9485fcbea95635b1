//! `nixctl release sign`

use std::os::unix::fs::PermissionsExt;
use std::path::Path;

use nixctl_proto::feed::{Envelope, Feed, SecretKey};
use nixctl_proto::{Code, Exit, Failure};

use super::{key_text, text_of, write};
use crate::cli::ReleaseSign;
use crate::commands::{Context, Outcome};

/// Signs exactly the text of the feed, after a look at whether a machine would take it.
pub fn run(context: &mut Context, what: &ReleaseSign) -> Outcome {
    let key: SecretKey = key_text(&what.key_file)?.parse().map_err(|why| {
        // The reason never has a piece of the key in it.
        let message = format!("cannot use the key in {}: {why}", what.key_file.display());
        Failure::new(Code::InvalidArgument, message)
            .with_help("name the secret key, as `nixctl release key` or Nix make it")
    })?;
    if others_read(&what.key_file) {
        let file = what.key_file.display();
        context.remark(&format!("others can read the secret key: chmod 600 {file}"));
    }
    let (text, signed) = text_of(&what.feed)?;
    Feed::parse(&text).map_err(|error| error.failure())?;
    let mut envelope = match signed {
        Some(envelope) => envelope,
        None => Envelope::unsigned(&text).map_err(|error| error.failure())?,
    };
    envelope.sign(&key);
    write(context, &what.output, &envelope.to_text(), what.replace)?;
    if what.output != Path::new("-") {
        let (file, by) = (what.output.display(), envelope.signers().join(", "));
        context.remark(&format!("written to {file}, signed by {by}"));
    }
    Ok(Exit::Done)
}

fn others_read(file: &Path) -> bool {
    std::fs::metadata(file).is_ok_and(|meta| meta.permissions().mode() & 0o044 != 0)
}

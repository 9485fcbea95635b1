//! `nixctl release key`

use std::path::Path;

use nixctl_proto::feed::SecretKey;
use nixctl_proto::{Code, Exit, Failure};
use serde_json::json;

use super::cannot_write;
use crate::cli::ReleaseKey;
use crate::commands::{Context, Outcome, save};
use crate::render::text::clean;

/// Nobody else reads a secret key.
const SECRET: u32 = 0o600;

/// Makes a pair of keys, each in a file of its own. The secret one is shown nowhere.
pub fn run(context: &mut Context, what: &ReleaseKey) -> Outcome {
    let key = SecretKey::generate(&what.name).map_err(|error| {
        let message = format!("cannot make a key `{}`: {error}", clean(&what.name));
        Failure::new(Code::InvalidArgument, message)
            .with_help("name it by whom it is of and a number, such as example.org-1")
    })?;
    let public = key.public().to_string();
    write_both(what, &format!("{}\n", key.expose()), &format!("{public}\n"))?;
    if context.json {
        context.terminal.json(&json!({
            "name": key.name(),
            "public_key": public,
            "secret_file": what.secret,
            "public_file": what.public,
        }));
    } else {
        context.terminal.line(&public);
    }
    let secret = what.secret.display();
    context.remark(&format!(
        "the secret key is in {secret}: keep it off the web server, and a copy of it elsewhere"
    ));
    Ok(Exit::Done)
}

/// Both files or none.
fn write_both(what: &ReleaseKey, secret: &str, public: &str) -> Result<(), Failure> {
    let create = |file: &Path, text: &str, mode: u32| {
        save::create(file, text.as_bytes(), mode).map_err(|error| cannot_write(file, &error))
    };
    create(&what.secret, secret, SECRET)?;
    create(&what.public, public, save::OPEN).inspect_err(|_| {
        // Made a moment ago, and used by nobody. What matters is why the other could not be.
        let _ = std::fs::remove_file(&what.secret);
    })
}

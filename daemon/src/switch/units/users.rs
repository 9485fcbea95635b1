//! The service managers of users who are logged in: they read their unit files again.
//!
//! Their units are not compared here; the generation's own program does that at the end of a
//! switch. What a user's manager does not do is told, and fails nothing.

use std::path::Path;
use std::time::Duration;

use crate::host::Command;
use crate::resource::Context;
use crate::switch::units::facts::has_file;

const RUNTIME_DIRECTORIES: &str = "/run/user";

/// A user whose manager hangs holds nobody else up for long.
const DEADLINE: Duration = Duration::from_secs(15);

/// Does what is needed where the user has it.
const ACTIVATION: &str = "nixos-activation.service";

/// Makes the manager of every user who is logged in read its unit files again.
pub fn reload(context: &Context<'_>, toplevel: &Path) {
    let fs = &context.host.fs;
    let users = Path::new(RUNTIME_DIRECTORIES);
    let activation = toplevel.join("etc/systemd/user").join(ACTIVATION);
    let activates = has_file(fs, &activation).unwrap_or(false);
    for name in fs.list(users).unwrap_or_default() {
        let home = users.join(&name);
        let Some(uid) = name.to_str().and_then(|name| name.parse::<u32>().ok()) else {
            continue;
        };
        let (Ok(Some(_)), Ok(Some(meta))) =
            (fs.meta(&home.join("systemd/private")), fs.meta(&home))
        else {
            continue;
        };
        systemctl(context, &home, (uid, meta.gid), &["daemon-reload"]);
        if activates {
            systemctl(context, &home, (uid, meta.gid), &["restart", ACTIVATION]);
        }
    }
}

fn systemctl(context: &Context<'_>, home: &Path, (uid, gid): (u32, u32), words: &[&str]) {
    let command = Command::new("systemctl")
        .arg("--user")
        .args(words.to_vec())
        .env("XDG_RUNTIME_DIR", home.to_string_lossy())
        .run_as(uid, gid)
        .deadline(DEADLINE);
    if let Err(error) = context.host.exec.run(&command, context.cancel) {
        context.progress.note(&format!("user {uid}: {error}"));
    }
}

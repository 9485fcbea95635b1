//! Back to a version that does not read the database: for who asks for it, and knows what is lost.
//!
//! The copy from before the form changed takes the place of the database, in the way in which a
//! failed upgrade is undone: what was registered since is registered again from what the newer
//! database says, and that one is kept. Nobody is served from then on until the profile leads to the
//! older version, since the newer one would take the database over again. Where the older version reads
//! what is there, nothing of this is done.

use std::fs::TryLockError;
use std::path::{Path, PathBuf};
use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::kept;
use super::restart::Restart;
use super::schema::{Readable, SCHEMA, number};
use super::step::line;
use super::{SERVICE, SOCKET};
use crate::health::database::COPIES_DIR;
use crate::health::mend::Mend;
use crate::health::mend::database::Restore;
use crate::host::Host;
use crate::resource::{Context, Description, ResourceError, Result, Undo, Undone, nix_command};

/// The lock that every Nix holds that has the store open.
const LOCK: &str = "/nix/var/nix/db/big-lock";
/// For a unit to start.
const DEADLINE: Duration = Duration::from_secs(60);

/// The older version reads the database, or there is a copy that it reads.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Returnable {
    /// SHA-256 of the older release.
    pub sha256: String,
    /// Its version.
    pub version: String,
}

impl Returnable {
    pub(super) fn describe(&self) -> Description {
        let version = &self.version;
        line(
            "schema",
            format!("see that Nix {version} reads the database that is there, or a copy of it"),
        )
    }

    pub(super) fn prepare(&self, _host: &Host) -> Result<Undo> {
        Ok(Undo::Created)
    }

    pub(super) fn apply(&self, context: &Context<'_>, _undo: &Undo) -> Result<()> {
        let Some(found) = number(context.host, Path::new(SCHEMA))? else {
            return Ok(());
        };
        let reads = self.readable().reads(context)?;
        if found <= reads || kept::readable(context.host, reads)?.is_some() {
            return Ok(());
        }
        Err(self.no_copy(reads, found))
    }

    pub(super) fn undo(&self, context: &Context<'_>, undo: &Undo) -> Result<Undone> {
        self.readable().undo(context, undo)
    }

    fn readable(&self) -> Readable {
        Readable {
            sha256: self.sha256.clone(),
            version: self.version.clone(),
        }
    }

    fn no_copy(&self, reads: u32, found: u32) -> ResourceError {
        ResourceError::NoOlderCopy {
            version: self.version.clone(),
            reads,
            found,
        }
    }
}

/// The copy takes the place of the database.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct GoBack {
    /// SHA-256 of the older release.
    pub sha256: String,
    /// Its version.
    pub version: String,
    /// When it was planned, milliseconds since 1970: part of the name of what is set aside.
    pub at: u64,
}

impl GoBack {
    pub(super) fn describe(&self) -> Description {
        let version = &self.version;
        let summary = format!(
            "put back the copy of the database from before its form changed, where Nix {version} \
             does not read the present one"
        );
        Description {
            details: vec![
                "stop nix-daemon meanwhile: connections are refused for that time".to_owned(),
                "register again what was registered since, as the present database says".to_owned(),
                "lost of that: signatures, times, and what only the newer form has".to_owned(),
                format!(
                    "keep the present database in /nix/var/nix/db/{}",
                    self.aside()
                ),
            ],
            ..line("restore:database", summary)
        }
    }

    pub(super) fn prepare(&self, _host: &Host) -> Result<Undo> {
        Ok(Undo::Created)
    }

    pub(super) fn apply(&self, context: &Context<'_>, _undo: &Undo) -> Result<()> {
        let host = context.host;
        let Some(found) = number(host, Path::new(SCHEMA))? else {
            return Ok(());
        };
        let target = self.target();
        let reads = target.readable().reads(context)?;
        let mark = self.mark();
        let is_begun = host.fs.meta(&mark)?.is_some();
        if !is_begun && found <= reads {
            return Ok(());
        }
        let kept = kept::readable(host, reads)?.ok_or_else(|| target.no_copy(reads, found))?;
        kept.bring_back(host)?;
        // The newer version must not be started again in the middle.
        nobody_serves(context)?;
        if !is_begun {
            nobody_has_it_open(host)?;
        }
        host.fs.write(&mark, b"", 0o600, None)?;
        let form = kept.form.to_string();
        host.fs
            .write(Path::new(SCHEMA), form.as_bytes(), 0o644, None)?;
        let id = self.describe().id;
        let restore = Mend::Database(Restore {
            nix: nix_command::manifest(host, &self.sha256, &id)?.nix,
            copies: vec![kept.copy],
            at: self.aside_at(),
        });
        restore.apply(context, &Undo::Entries(Vec::new()))?;
        host.fs.remove_file(&mark)?;
        Ok(())
    }

    /// The copy that was made before this puts the newer database back: that is undone after this.
    pub(super) fn undo(&self, context: &Context<'_>, _undo: &Undo) -> Result<Undone> {
        context.host.fs.remove_file(&self.mark())?;
        Ok(Undone::Clean)
    }

    fn target(&self) -> Returnable {
        Returnable {
            sha256: self.sha256.clone(),
            version: self.version.clone(),
        }
    }

    /// Not the time of the copy that is made for going forward again, whose folder is another one.
    fn aside_at(&self) -> u64 {
        self.at.saturating_add(1)
    }

    fn aside(&self) -> String {
        format!("damaged-{}", self.aside_at())
    }

    fn mark(&self) -> PathBuf {
        Path::new(COPIES_DIR).join(format!("restoring-{}", self.at))
    }
}

/// nix-daemon serves again, where it was stopped.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Reopen {}

impl Reopen {
    pub(super) fn describe(&self) -> Description {
        let summary = "let nix-daemon serve again, where it was stopped".to_owned();
        line("reopen:nix-daemon", summary)
    }

    pub(super) fn prepare(&self, _host: &Host) -> Result<Undo> {
        Ok(Undo::Created)
    }

    pub(super) fn apply(&self, context: &Context<'_>, _undo: &Undo) -> Result<()> {
        let services = &context.host.services;
        if !services.is_running() {
            return Ok(());
        }
        let (socket, service) = (services.state(SOCKET)?, services.state(SERVICE)?);
        if socket.is_active() || service.is_active() {
            return Ok(());
        }
        // Its socket starts it, where there is one.
        let unit = match socket.is_enabled() || !service.is_enabled() {
            true => SOCKET,
            false => SERVICE,
        };
        services.reset_failed(unit)?;
        Ok(services.start(unit, DEADLINE)?)
    }

    pub(super) fn undo(&self, context: &Context<'_>, _undo: &Undo) -> Result<Undone> {
        nobody_serves(context)?;
        Ok(Undone::Clean)
    }
}

fn nobody_serves(context: &Context<'_>) -> Result<()> {
    let restart = Restart { seconds: 0 };
    restart.undo(context, &Undo::Created)?;
    Ok(())
}

/// Found out before anything is written: a Nix that root runs directly is not ended by us.
fn nobody_has_it_open(host: &Host) -> Result<()> {
    let in_use = |why: String| ResourceError::Database { why };
    let Some(file) = host.fs.open(Path::new(LOCK))? else {
        return Ok(());
    };
    match file.try_lock() {
        Ok(()) => Ok(()),
        Err(TryLockError::WouldBlock) => Err(in_use(format!(
            "somebody uses it: {LOCK} is held by a Nix that does not go through nix-daemon"
        ))),
        Err(TryLockError::Error(error)) => Err(in_use(format!("cannot lock {LOCK}: {error}"))),
    }
}

#[cfg(test)]
#[path = "back_tests.rs"]
mod tests;

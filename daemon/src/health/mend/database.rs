//! Nix's database is put back together.
//!
//! Nix is stopped. The newest copy that is sound takes the place of what is there, which is set aside
//! whole; without a copy Nix makes a new database. What the damaged one still says of the store paths
//! that are missing then, and what whole store paths say of themselves, is registered again. Nothing
//! is deleted, no store path is touched, and what could not be registered is named.
//!
//! Going back is possible until all of it is done, and takes Nix back to the damaged database. After
//! that it stays as a unit that was started stays: going back would only make things worse.

use std::path::{Path, PathBuf};
use std::time::Duration;

use nixctl_proto::Code;
use serde::{Deserialize, Serialize};

use crate::catalogue::linux::{SERVICE_UNIT, SOCKET_UNIT};
use crate::health::database::{
    COPIES_DIR, DATABASE, LOST, REGISTRATION, Report, State, Work, carry_out,
};
use crate::health::look::database::{Head, head};
use crate::host::Host;
use crate::payload::PayloadError;
use crate::resource::saved::mismatch;
use crate::resource::{Context, Description, ResourceError, Result, Undo, Undone, nix_command};

/// For one unit to start or to stop.
const DEADLINE: Duration = Duration::from_secs(100);
/// Nix writes a million paths into a database on a slow disk.
const LOAD_DEADLINE: Duration = Duration::from_secs(1800);
/// Largest registration.
const MAX_REGISTRATION: u64 = 512 << 20;
/// Store paths that a note names.
const NAMED: usize = 3;
/// Folder of the database.
const FOLDER: &str = "/nix/var/nix/db";
/// Says in the folder of what was set aside that all is done.
const DONE: &str = "repaired";

/// How the database is put back together.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Restore {
    /// Store path of the Nix that registers.
    pub nix: String,
    /// Names of the copies, the newest first.
    pub copies: Vec<String>,
    /// When it was planned, milliseconds since 1970: part of the name of what is set aside.
    pub at: u64,
}

impl Restore {
    pub(super) fn describe(&self) -> Description {
        let summary = if self.copies.is_empty() {
            "build Nix's database anew from what the damaged one and the store say"
        } else {
            "put the last good copy of Nix's database in its place, and register what it lacks"
        };
        let mut details = vec![
            "stop nix-daemon meanwhile".to_owned(),
            format!("set what is there aside in {}", self.folder().display()),
        ];
        let copy = self.copies.first();
        details.extend(copy.map(|copy| format!("use {COPIES_DIR}/{copy}")));
        details.push("register again what is in the store and not in it".to_owned());
        Description {
            id: format!("database:{DATABASE}"),
            summary: summary.to_owned(),
            details,
        }
    }

    /// Which units are up, to be brought up again.
    pub(super) fn prepare(&self, host: &Host) -> Result<Undo> {
        let mut up = Vec::new();
        if host.services.is_running() {
            for unit in [SOCKET_UNIT, SERVICE_UNIT] {
                if host.services.state(unit)?.is_active() {
                    up.push(unit.to_owned());
                }
            }
        }
        Ok(Undo::Entries(up))
    }

    pub(super) fn apply(&self, context: &Context<'_>, undo: &Undo) -> Result<()> {
        let up = self.units(undo)?;
        let host = context.host;
        if !self.is_done(host)? {
            stop(host)?;
            self.bring_back(context)?;
            self.register(context)?;
            match self.work(context, Work::Examine)? {
                Report::Examined(State::Sound) => {}
                Report::Examined(state) => {
                    let why = state.complaint().unwrap_or_default();
                    return Err(ResourceError::Database { why });
                }
                other => return Err(unexpected(&other)),
            }
            let done = self.folder().join(DONE);
            host.fs.write(&done, b"", 0o600, None)?;
        }
        start(host, up)
    }

    pub(super) fn verify(&self, host: &Host) -> Result<()> {
        let is_there = head(&host.fs).map_err(|error| ResourceError::Database {
            why: error.to_string(),
        })?;
        if self.is_done(host)? && is_there == Head::Sound {
            return Ok(());
        }
        Err(ResourceError::Drifted {
            id: self.describe().id,
            seen: "there is no sound database in its place".to_owned(),
        })
    }

    pub(super) fn undo(&self, context: &Context<'_>, undo: &Undo) -> Result<Undone> {
        let up = self.units(undo)?;
        let host = context.host;
        let folder = self.folder();
        if self.is_done(host)? {
            start(host, up)?;
            return Ok(Undone::Kept(format!(
                "{DATABASE}: it is whole again and stays; what was there before is in {}",
                folder.display()
            )));
        }
        if host.fs.meta(&folder)?.is_some() {
            stop(host)?;
            let aside = self.aside();
            self.work(context, Work::PutBack { aside })?;
        }
        start(host, up)?;
        Ok(Undone::Clean)
    }

    /// A sound copy, or nothing, is in the place, and what was there is set aside.
    fn bring_back(&self, context: &Context<'_>) -> Result<()> {
        for copy in &self.copies {
            let work = Work::Restore {
                copy: Some(copy.clone()),
                aside: self.aside(),
            };
            match self.try_work(context, work) {
                Ok(_) => return Ok(()),
                // Copies grow old on a disk that fails.
                Err(error) if matches!(error.code(), Code::Drifted | Code::NotFound) => {
                    context.progress.note(&error.to_string());
                }
                Err(error) => return Err(error.into()),
            }
        }
        let (copy, aside) = (None, self.aside());
        self.work(context, Work::Restore { copy, aside })?;
        Ok(())
    }

    /// Registers what is in the store, and not in the database that is in the place now.
    fn register(&self, context: &Context<'_>) -> Result<()> {
        let host = context.host;
        let compared = match self.work(context, Work::Compare { copy: None })? {
            Report::Compared(compared) => compared,
            other => return Err(unexpected(&other)),
        };
        let aside = self.aside();
        let salvaged = self.work(context, Work::Salvage { aside })?;
        let Report::Salvaged {
            found,
            whole,
            lost,
            some_lost,
        } = salvaged
        else {
            return Err(unexpected(&salvaged));
        };
        let registration = host.fs.read(Path::new(REGISTRATION), MAX_REGISTRATION)?;
        let load = nix_command::command_of(host, &self.nix, "nix-store", &["--load-db"])
            .stdin(registration.unwrap_or_default())
            .deadline(LOAD_DEADLINE);
        // Also with nothing to say: it makes the database where there is none.
        nix_command::run(host, &load, context.cancel)?;
        context.progress.note(&format!(
            "Nix's database knows {} store paths again, {found} of them as the damaged one said, and \
             {whole} as their files say",
            compared.common.saturating_add(found).saturating_add(whole)
        ));
        if lost > 0 {
            let some: Vec<String> = some_lost.into_iter().take(NAMED).collect();
            context.progress.note(&format!(
                "{lost} paths in the store are not registered, because nothing is known of them and \
                 their files are not whole; the garbage collector takes them: {}{}; all are in {LOST}",
                some.join(", "),
                if lost > NAMED as u64 { ", ..." } else { "" }
            ));
        }
        if compared.gone > 0 {
            let some: Vec<String> = compared.some_gone.into_iter().take(NAMED).collect();
            context.progress.note(&format!(
                "{} registered paths are not in the store any more, such as {}",
                compared.gone,
                some.join(", ")
            ));
        }
        Ok(())
    }

    fn work(&self, context: &Context<'_>, work: Work) -> Result<Report> {
        Ok(self.try_work(context, work)?)
    }

    fn try_work(
        &self,
        context: &Context<'_>,
        work: Work,
    ) -> std::result::Result<Report, PayloadError> {
        let Context {
            host,
            progress,
            cancel,
            worker,
        } = *context;
        carry_out(worker, &host.fs, work, progress, cancel)
    }

    fn aside(&self) -> String {
        format!("damaged-{}", self.at)
    }

    /// Where what was there is kept.
    fn folder(&self) -> PathBuf {
        Path::new(FOLDER).join(self.aside())
    }

    fn is_done(&self, host: &Host) -> Result<bool> {
        Ok(host.fs.meta(&self.folder().join(DONE))?.is_some())
    }

    fn units<'u>(&self, undo: &'u Undo) -> Result<&'u [String]> {
        match undo {
            Undo::Entries(up) => Ok(up),
            _ => Err(mismatch(self.describe().id)),
        }
    }
}

/// Stops nix-daemon, the socket first, which would start it again.
fn stop(host: &Host) -> Result<()> {
    if host.services.is_running() {
        for unit in [SOCKET_UNIT, SERVICE_UNIT] {
            if host.services.state(unit)?.is_active() {
                host.services.stop(unit, DEADLINE)?;
            }
        }
    }
    Ok(())
}

/// Starts what was up.
fn start(host: &Host, units: &[String]) -> Result<()> {
    for unit in units {
        if !host.services.state(unit)?.is_active() {
            host.services.start(unit, DEADLINE)?;
        }
    }
    Ok(())
}

fn unexpected(report: &Report) -> ResourceError {
    let why = format!("internal error: the work ended as {report:?}");
    ResourceError::Database { why }
}

#[cfg(test)]
#[path = "database_tests.rs"]
mod tests;

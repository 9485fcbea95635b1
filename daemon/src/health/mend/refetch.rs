//! The release of Nix is fetched once more, and what is missing or damaged in the store is exchanged.
//!
//! Where Nix was installed from is asked first, then the release server; neither needs a Nix that
//! works, and of both only the bytes whose SHA-256 was pinned when Nix was installed are accepted,
//! before anything of them is unpacked. What no source has is fetched path by path by a Nix that
//! still runs, by its own rules of trust. Paths that are whole stay; the others are moved in as
//! wholes. So there is nothing to go back to: undoing removes what was downloaded.

use std::time::Duration;

use nixctl_proto::Code;
use serde::{Deserialize, Serialize};

use super::line;
use super::nix_repair::RepairPath;
use crate::health::look::tree::nar_size;
use crate::host::Host;
use crate::payload::worker::Task;
use crate::payload::{Archive, Fetch, Manifest, PayloadError, Release, Source};
use crate::resource::error::Attempt;
use crate::resource::nix_command;
use crate::resource::{Context, Description, ResourceError, Result, Undo, Undone};

/// For a source to give the archive, and once more for the archive to be unpacked: what comes more
/// slowly than 20 kB a second counts as not there.
const FETCH_DEADLINE: Duration = Duration::from_secs(1200);
/// A Nix that is whole answers at once.
const ANSWER_DEADLINE: Duration = Duration::from_secs(30);

/// A release that was installed, and who may have it or its paths.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Refetch {
    /// Where the archive is looked for, in this order.
    pub sources: Vec<Source>,
    /// Where there may be a Nix that fetches its paths one by one, when no source has the archive:
    /// store paths, in this order.
    pub nix: Vec<String>,
    /// SHA-256 that the archive had when it was installed.
    pub sha256: String,
    /// Version of Nix.
    pub version: String,
    /// System, such as `x86_64-linux`.
    pub system: String,
    /// Group of the store.
    pub store_gid: u32,
    /// Proxy URL; empty for the environment's.
    pub proxy: String,
    /// CA bundle; empty for the machine's own.
    pub ssl_cert_file: String,
}

impl Refetch {
    fn fetch(&self, source: &Source) -> Fetch {
        Fetch {
            release: Release {
                source: source.clone(),
                sha256: self.sha256.clone(),
                size: None,
                version: self.version.clone(),
                system: self.system.clone(),
            },
            proxy: self.proxy.clone(),
            ssl_cert_file: self.ssl_cert_file.clone(),
        }
    }

    fn archive(&self) -> Archive {
        Archive {
            sha256: self.sha256.clone(),
            version: self.version.clone(),
            system: self.system.clone(),
            store_gid: self.store_gid,
        }
    }

    pub(super) fn describe(&self) -> Description {
        let sources = self.sources.iter().map(|source| format!("from {source}"));
        let nix = self
            .nix
            .iter()
            .map(|nix| format!("path by path with {nix}"));
        let mut details: Vec<String> = sources.chain(nix).collect();
        for other in details.iter_mut().skip(1) {
            other.insert_str(0, "else ");
        }
        details.push(format!("SHA-256 {}", self.sha256));
        details.push("store paths that are whole stay".to_owned());
        Description {
            details,
            ..line(
                format!("refetch:{}", self.sha256),
                format!(
                    "fetch Nix {} again, and exchange what is missing or damaged",
                    self.version
                ),
            )
        }
    }

    pub(super) fn prepare(&self, _host: &Host) -> Result<Undo> {
        Ok(Undo::Nothing)
    }

    pub(super) fn apply(&self, context: &Context<'_>, _undo: &Undo) -> Result<()> {
        self.apply_within(context, FETCH_DEADLINE)
    }

    /// The same with this deadline for each source.
    fn apply_within(&self, context: &Context<'_>, limit: Duration) -> Result<()> {
        let mut vain = Vec::new();
        let is_done =
            self.by_release(context, limit, &mut vain)? || self.by_nix(context, &mut vain)?;
        context.host.fs.remove_file(&self.archive().path())?;
        if !is_done {
            return Err(ResourceError::NotFetched {
                version: self.version.clone(),
                attempts: vain,
            });
        }
        for attempt in vain {
            let version = &self.version;
            let note = format!("Nix {version} was not to be had {attempt}");
            context.progress.note(&note);
        }
        Ok(())
    }

    /// From the first source that has the archive. Whether that came off.
    fn by_release(
        &self,
        context: &Context<'_>,
        limit: Duration,
        vain: &mut Vec<Attempt>,
    ) -> Result<bool> {
        for source in &self.sources {
            let how = format!("from {source}");
            let task = Task::Fetch(self.fetch(source));
            if went(how.clone(), run(context, &task, limit), vain)? {
                // Another source has the same bytes.
                let task = Task::Unpack(self.archive());
                return went(how, run(context, &task, limit), vain);
            }
        }
        Ok(false)
    }

    /// By the first Nix that can. Whether that came off.
    fn by_nix(&self, context: &Context<'_>, vain: &mut Vec<Attempt>) -> Result<bool> {
        for nix in &self.nix {
            let repaired = self.by_this_nix(context, nix);
            if went(format!("with {nix}"), repaired, vain)? {
                return Ok(true);
            }
        }
        Ok(false)
    }

    fn by_this_nix(&self, context: &Context<'_>, nix: &str) -> Result<()> {
        let host = context.host;
        // It may be of what is broken.
        let answer = nix_command::command_of(host, nix, "nix-store", &["--version"]);
        nix_command::run(host, &answer.deadline(ANSWER_DEADLINE), context.cancel)?;
        for path in self.broken(host)? {
            let nix = nix.to_owned();
            RepairPath { nix, path }.apply(context, &Undo::Nothing)?;
        }
        self.verify(host)
    }

    /// Paths of the release that are missing or have another size than is registered.
    fn broken(&self, host: &Host) -> Result<Vec<String>> {
        let manifest = nix_command::manifest(host, &self.sha256, &self.describe().id)?;
        Ok(nar_size::broken(&host.fs, &manifest)?)
    }

    pub(super) fn verify(&self, host: &Host) -> Result<()> {
        // One that was never unpacked has no manifest, and nothing that could be read back.
        if Manifest::load(&host.fs, &self.sha256)?.is_none() {
            return Ok(());
        }
        match self.broken(host)?.first() {
            None => Ok(()),
            Some(path) => Err(ResourceError::Drifted {
                id: self.describe().id,
                seen: format!("{path} is still missing or damaged"),
            }),
        }
    }

    pub(super) fn undo(&self, context: &Context<'_>, _undo: &Undo) -> Result<Undone> {
        context.host.fs.remove_file(&self.archive().path())?;
        Ok(Undone::Clean)
    }
}

/// Has the worker do it. What takes too long is an error as any other.
fn run(context: &Context<'_>, task: &Task, limit: Duration) -> Result<()> {
    let cancel = context.cancel.within(limit);
    match context.worker.run(task, context.progress, &cancel) {
        Err(error) if error.is_stopped() && context.cancel.requested().is_none() => {
            let why = format!("it took longer than {} s", limit.as_secs());
            Err(PayloadError::new(Code::Timeout, why).into())
        }
        result => Ok(result?),
    }
}

/// Whether a way led to the end; what did not is put down. Nobody goes on when the work was asked to
/// stop.
fn went(how: String, result: Result<()>, attempts: &mut Vec<Attempt>) -> Result<bool> {
    let error = match result {
        Ok(()) => return Ok(true),
        Err(error) if error.is_stopped() => return Err(error),
        Err(error) => error,
    };
    attempts.push(Attempt {
        how,
        why: error.to_string(),
        code: error.failure().code,
    });
    Ok(false)
}

#[cfg(test)]
#[path = "refetch_tests.rs"]
mod tests;

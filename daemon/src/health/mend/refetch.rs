//! The release of Nix is fetched once more, and what is missing or damaged in the store is exchanged.
//!
//! It needs no Nix that works, only the release server and the SHA-256 that was pinned when Nix was
//! installed. Paths that are whole stay; the others are moved in as wholes. So there is nothing to
//! go back to: undoing removes what was downloaded.

use std::path::Path;

use serde::{Deserialize, Serialize};

use super::line;
use crate::host::Host;
use crate::payload::worker::Task;
use crate::payload::{Archive, Fetch, Manifest, Release, Source};
use crate::resource::{Context, Description, ResourceError, Result, Undo, Undone};

/// A release that was installed, and where it is fetched from.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Refetch {
    /// URL of the archive.
    pub url: String,
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
    fn fetch(&self) -> Fetch {
        Fetch {
            release: Release {
                source: Source::Url(self.url.clone()),
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
        Description {
            details: vec![
                format!("from {}", self.url),
                format!("SHA-256 {}", self.sha256),
                "store paths that are whole stay".to_owned(),
            ],
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
        for task in [Task::Fetch(self.fetch()), Task::Unpack(self.archive())] {
            context
                .worker
                .run(&task, context.progress, context.cancel)?;
        }
        Ok(context.host.fs.remove_file(&self.archive().path())?)
    }

    pub(super) fn verify(&self, host: &Host) -> Result<()> {
        let manifest = Manifest::load(&host.fs, &self.sha256)?;
        for path in manifest.iter().flat_map(|it| &it.paths) {
            if host.fs.meta(Path::new(path))?.is_none() {
                return Err(ResourceError::Drifted {
                    id: self.describe().id,
                    seen: format!("{path} is still not in the store"),
                });
            }
        }
        Ok(())
    }

    pub(super) fn undo(&self, context: &Context<'_>, _undo: &Undo) -> Result<Undone> {
        context.host.fs.remove_file(&self.archive().path())?;
        Ok(Undone::Clean)
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Mutex;

    use super::*;
    use crate::host::Cancel;
    use crate::payload::PayloadError;
    use crate::payload::worker::Worker;
    use crate::resource::Progress;
    use crate::resource::nix_testing as release;
    use crate::resource::testing::Machine;

    /// Notes what it is asked, and leaves an archive.
    struct Noting<'a>(&'a Machine, Mutex<Vec<Task>>);

    impl Worker for Noting<'_> {
        fn run(
            &self,
            task: &Task,
            _progress: &dyn Progress,
            _cancel: &Cancel,
        ) -> std::result::Result<(), PayloadError> {
            if let Task::Fetch(_) = task {
                self.0.put(mend().archive().path().to_str().unwrap(), "x");
            }
            self.1.lock().unwrap().push(task.clone());
            Ok(())
        }
    }

    fn mend() -> Refetch {
        Refetch {
            url: "http://localhost/nix-2.26.3-x86_64-linux.tar.xz".to_owned(),
            sha256: release::SHA256.to_owned(),
            version: "2.26.3".to_owned(),
            system: "x86_64-linux".to_owned(),
            store_gid: 30_000,
            proxy: String::new(),
            ssl_cert_file: String::new(),
        }
    }

    #[test]
    fn the_pinned_archive_is_fetched_unpacked_and_removed() {
        let machine = Machine::new();
        release::unpacked(&machine);
        let worker = Noting(&machine, Mutex::default());
        let context = Context {
            worker: &worker,
            ..machine.context()
        };
        mend().apply(&context, &Undo::Nothing).unwrap();
        let asked = worker.1.into_inner().unwrap();
        assert_eq!(
            asked,
            [Task::Fetch(mend().fetch()), Task::Unpack(mend().archive())]
        );
        let archive = mend().archive().path();
        assert_eq!(machine.text(archive.to_str().unwrap()), None);
    }

    #[test]
    fn undoing_takes_away_what_was_downloaded() {
        let machine = Machine::new();
        let archive = mend().archive().path();
        machine.put(archive.to_str().unwrap(), "half");
        for _ in 0..2 {
            let undone = mend().undo(&machine.context(), &Undo::Nothing).unwrap();
            assert_eq!(undone, Undone::Clean);
            assert_eq!(machine.text(archive.to_str().unwrap()), None);
        }
    }

    #[test]
    fn a_path_that_is_still_missing_is_an_error() {
        let machine = Machine::new();
        release::unpacked(&machine);
        mend().verify(&machine.host).unwrap();
        std::fs::remove_dir_all(machine.path(release::NIX)).unwrap();
        assert!(mend().verify(&machine.host).is_err());
    }
}

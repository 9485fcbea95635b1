//! The engine as the transports see it, and how it is put together for a machine.

use std::cmp::Ordering;
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use nixctl_planner::closure::StorePath;
use nixctl_proto::feed::compare;
use nixctl_proto::health::{Findings, HealthEvent};
use nixctl_proto::operation::JournalLine;
use nixctl_proto::plan::{DiffEntry, Plan};
use nixctl_proto::request::{
    InstallRequest, OperationRequest, RequestOptions, SelfUpgradeRequest, UpgradeRequest,
};
use nixctl_proto::settings::{self, SettingView};
use nixctl_proto::status::Status;
use nixctl_proto::{Code, Failure, Generation, OperationId, OperationView};
use tokio::runtime::Handle;
use tokio::sync::{broadcast, watch};

use crate::catalogue::planner::Catalogue;
use crate::cli::Serve;
use crate::engine::{Change, Engine, EngineParts};
use crate::host::clock::SystemClock;
use crate::host::exec::{LeashedExec, SystemExec};
use crate::host::power::NetworkManager;
use crate::host::{Exec, Fs, FsError, Host, service};
use crate::keeper::Keeper;
use crate::payload::release;
use crate::payload::worker::ChildWorker;
use crate::payload::{STATE_DIR, Source};
use crate::resource::error::fs_code;
use crate::serve::Backend;
use crate::switch::profile::generations;
use crate::switch::{boot, carry, difference};

/// Longest wait for a step boundary when the daemon goes down.
const STOP_DEADLINE: Duration = Duration::from_secs(75);

/// Longest wait for another daemon to let go of the state: the one that installed this one.
const PATIENCE: Duration = Duration::from_secs(60);
/// The same for a private daemon, whose client waits.
const PRIVATE_PATIENCE: Duration = Duration::from_secs(3);

/// The engine over this machine, or over an image.
#[derive(Debug)]
pub struct Local {
    engine: Engine,
    keeper: Mutex<Option<Keeper>>,
    host: Host,
    root: PathBuf,
    views: Mutex<Vec<SettingView>>,
}

impl Local {
    /// Puts host, settings and engine together, and resumes what was cut off.
    ///
    /// # Errors
    /// When settings are not valid or the state cannot be used.
    pub fn open(options: &Serve, handle: Handle) -> Result<Arc<dyn Backend>, Failure> {
        let root = options.root.canonicalize().map_err(|error| {
            let text = format!("cannot use the root {}: {error}", options.root.display());
            Failure::new(Code::InvalidArgument, text)
        })?;
        let fs = Fs::at(root.clone());
        let network = Arc::new(NetworkManager::new(handle.clone()));
        let services = service::detect(&fs, handle);
        let host = Host {
            exec: exec(options.private || !services.is_running()),
            services,
            clock: Arc::new(SystemClock),
            network,
            fs,
        };
        let (settings, views) = settings::load(&root).map_err(|error| bad_settings(&error))?;
        let keeps_daemon = !options.private && !host.is_image() && !host.services.is_running();
        let is_resident = !options.private && !host.is_image();
        let worker = ChildWorker::new(&host.fs);
        let machine = host.clone();
        let state_dir = options
            .state_dir
            .clone()
            .unwrap_or_else(|| host.fs.real(Path::new(STATE_DIR)));
        let engine = Engine::start(EngineParts {
            host,
            state_dir,
            settings,
            planner: Box::new(Catalogue),
            patience: if options.private {
                PRIVATE_PATIENCE
            } else {
                PATIENCE
            },
            is_resident,
            worker: Box::new(worker),
            switch: Box::new(carry::Machine),
        })?;
        if !options.private && machine.services.is_running() {
            engine.watch_boot();
        }
        let keeper = keeps_daemon.then(|| Keeper::start(&engine));
        Ok(Arc::new(Local {
            keeper: Mutex::new(keeper),
            engine,
            host: machine,
            root,
            views: Mutex::new(views),
        }))
    }
}

/// Runs commands; those of a daemon that nobody cleans up after end with it.
fn exec(alone: bool) -> Arc<dyn Exec> {
    if alone && cfg!(target_os = "linux") {
        // Right also when the file was replaced by an upgrade.
        let daemon = PathBuf::from("/proc/self/exe");
        Arc::new(LeashedExec { daemon })
    } else {
        Arc::new(SystemExec)
    }
}

impl Local {
    /// Changes one setting in the file that is ours.
    fn edit(&self, key: &str, value: &str) -> Result<(), Failure> {
        let cannot = |error: FsError| Failure::from_error(fs_code(&error.source), &error);
        let path = Path::new(settings::OWN_FILE);
        let old = self
            .host
            .fs
            .read(path, settings::MAX_FILE_BYTES)
            .map_err(cannot)?
            .unwrap_or_default();
        let old = String::from_utf8_lossy(&old);
        let new = settings::edit(&old, key, value).map_err(Failure::from)?;
        for folder in path
            .ancestors()
            .skip(1)
            .take(2)
            .collect::<Vec<_>>()
            .into_iter()
            .rev()
        {
            if !self.host.fs.is_dir(folder) {
                self.host.fs.create_dir(folder, 0o755).map_err(cannot)?;
            }
        }
        let there = self
            .host
            .fs
            .meta(path)
            .map_err(cannot)?
            .map(|meta| meta.mode);
        self.host
            .fs
            .write(
                path,
                new.as_bytes(),
                mode_for(key, value, there),
                Some((0, 0)),
            )
            .map_err(cannot)
    }
}

impl Backend for Local {
    fn submit(
        &self,
        request: OperationRequest,
        options: RequestOptions,
        uid: u32,
    ) -> Result<OperationId, Failure> {
        self.engine.submit(request, options, uid)
    }

    fn plan(&self, request: OperationRequest) -> Result<Plan, Failure> {
        self.engine.plan(&request)
    }

    fn status(&self) -> Status {
        let mut status = self.engine.status();
        // What cannot be read is not shown; that it cannot is no reason to have no status.
        if let Ok(mut all) = generations::list(&self.host.fs) {
            status.current_generation = generations::current(&all);
            self.engine.annotate(&mut all);
            status.boot_failure = boot::left(&all).unwrap_or_default();
        }
        if status.target_generation == 0 {
            status.target_generation = status.current_generation;
        }
        status.reboot_needed |= generations::needs_reboot(&self.host.fs).unwrap_or(false);
        status
    }

    fn list(&self, limit: u32) -> Vec<OperationView> {
        self.engine.list(limit)
    }

    fn show(&self, id: &OperationId) -> Result<OperationView, Failure> {
        self.engine.show(id)
    }

    fn request(&self, id: &OperationId) -> Result<OperationRequest, Failure> {
        self.engine.request(id)
    }

    fn journal(&self, id: &OperationId) -> Result<Vec<JournalLine>, Failure> {
        self.engine.journal(id)
    }

    fn watch(&self, id: &OperationId) -> Result<watch::Receiver<OperationView>, Failure> {
        self.engine.watch(id)
    }

    fn changes(&self) -> broadcast::Receiver<Change> {
        self.engine.changes()
    }

    fn cancel(&self, id: &OperationId) -> Result<(), Failure> {
        self.engine.cancel(id)
    }

    fn retry(&self, id: &OperationId, uid: u32) -> Result<OperationId, Failure> {
        self.engine.retry(id, uid)
    }

    fn confirm(&self, id: &OperationId) -> Result<(), Failure> {
        self.engine.confirm(id)
    }

    fn generations(&self) -> Result<Vec<Generation>, Failure> {
        let mut all = generations::list(&self.host.fs)
            .map_err(|error| Failure::from_error(fs_code(&error.source), &error))?;
        self.engine.annotate(&mut all);
        Ok(all)
    }

    fn diff(&self, from: &str, to: &str) -> Result<Vec<DiffEntry>, Failure> {
        let path = |text: &str| {
            StorePath::new(text).map_err(|error| Failure::from_error(Code::InvalidArgument, &error))
        };
        difference::between(&self.host, &path(from)?, &path(to)?).map_err(|error| error.failure())
    }

    fn check(&self, checks: &[String]) -> Result<Findings, Failure> {
        self.engine.check(checks)
    }

    fn findings(&self) -> Findings {
        self.engine.findings()
    }

    fn history(&self, limit: u32) -> Vec<HealthEvent> {
        self.engine.history(limit)
    }

    fn metrics(&self) -> String {
        self.engine.metrics()
    }

    fn inhibit(&self, what: &str, who: &str, why: &str, uid: u32) -> Result<OwnedFd, Failure> {
        self.engine.inhibit(what, who, why, uid)
    }

    fn settings(&self) -> Vec<SettingView> {
        self.views
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .clone()
    }

    fn configure(&self, key: &str, value: &str) -> Result<(), Failure> {
        self.edit(key, value)?;
        self.reload_settings()
    }

    fn reload_settings(&self) -> Result<(), Failure> {
        let (settings, views) = settings::load(&self.root).map_err(|error| bad_settings(&error))?;
        self.engine.set_settings(settings);
        *self.views.lock().unwrap_or_else(PoisonError::into_inner) = views;
        Ok(())
    }

    fn goes_back(&self, request: &UpgradeRequest) -> bool {
        let settings = self.engine.settings();
        let current = self.engine.status().nix_version;
        let names = request.version.is_some() || request.source.is_some();
        if !names && !request.rollback && settings.upgrade.follows() {
            // What a feed offers is newer.
            return false;
        }
        let wanted = release::asked_version(&request.wanted(), &settings.install);
        let is_older = |wanted: String| compare(&wanted, &current) == Ordering::Less;
        request.rollback || wanted.is_some_and(is_older)
    }

    fn self_goes_back(&self, request: &SelfUpgradeRequest) -> bool {
        let is_older = |wanted: String| compare(&wanted, nixctl_proto::version()) == Ordering::Less;
        if request.rollback {
            let previous = self.engine.previous_self();
            return previous.is_some_and(is_older);
        }
        release::asked_nixctl(&request.wanted()).is_some_and(is_older)
    }

    fn leaves(&self) -> bool {
        self.engine.leaves()
    }

    fn is_trusted(&self, request: &InstallRequest) -> bool {
        let settings = self.engine.settings();
        match &request.source {
            None => true,
            Some(source) => {
                let source = if source.starts_with('/') {
                    Source::Path(PathBuf::from(source))
                } else {
                    Source::Url(source.clone())
                };
                release::is_trusted(&source, &settings.install)
            }
        }
    }

    fn alive(&self) -> bool {
        self.engine.is_alive()
    }

    fn shutdown(&self) {
        drop(
            self.keeper
                .lock()
                .unwrap_or_else(PoisonError::into_inner)
                .take(),
        );
        if !self.engine.shutdown(STOP_DEADLINE) {
            tracing::warn!("the operation at work did not come to a step boundary in time");
        }
    }
}

/// Mode of the file with our settings: a proxy may have a password in it, and what an
/// administrator closed stays closed.
fn mode_for(key: &str, value: &str, there: Option<u32>) -> u32 {
    let mode = there.unwrap_or(0o644) & 0o644;
    if key == "install.proxy" && value.contains('@') {
        mode & 0o600
    } else {
        mode
    }
}

fn bad_settings(error: &settings::SettingsError) -> Failure {
    Failure::from_error(Code::BadSettings, error)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_password_is_not_written_for_everybody() {
        let open = "http://proxy.example:8080";
        let secret = "http://me:secret@proxy.example:8080";
        assert_eq!(mode_for("install.proxy", open, None), 0o644);
        assert_eq!(mode_for("install.proxy", secret, None), 0o600);
        assert_eq!(mode_for("install.proxy", secret, Some(0o644)), 0o600);
        assert_eq!(mode_for("daemon.log_level", "debug", Some(0o600)), 0o600);
    }
}

//! The service manager: units and their states.
//!
//! Three kinds: systemd of the running machine, the unit files of an image that is not running,
//! and none at all. [`detect`] tells which one a machine has.

mod control;
mod image;
mod listen;
#[cfg(test)]
mod live;
mod none;
mod systemd;

use std::fmt::Debug;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use super::Fs;
pub use control::{Control, JobVerb, LoadedUnit, Processes, Transient, UnitDetails, UnitJob};
pub use image::ImageUnits;
pub use listen::{Hear, Heard, Listening};
pub use none::NoServices;
pub use systemd::Systemd;

/// Folders of which one exists where systemd is installed.
const SYSTEMD_FOLDERS: [&str; 2] = ["/usr/lib/systemd/system", "/lib/systemd/system"];

/// The service manager of the machine below the root of `fs`.
pub fn detect(fs: &Fs, handle: tokio::runtime::Handle) -> Arc<dyn ServiceManager> {
    if fs.root() != Path::new("/") {
        if SYSTEMD_FOLDERS.iter().any(|dir| fs.is_dir(Path::new(dir))) {
            return Arc::new(ImageUnits::new(fs.clone()));
        }
        return Arc::new(NoServices);
    }
    // What sd_booted(3) looks at.
    if fs.is_dir(Path::new("/run/systemd/system")) {
        return Arc::new(Systemd::new(handle));
    }
    Arc::new(NoServices)
}

/// What the service manager says of a unit.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct UnitState {
    /// `loaded`, `not-found`, `masked`, `error`, `bad-setting`.
    pub load: String,
    /// `active`, `inactive`, `failed`, `activating`, `deactivating`.
    pub active: String,
    /// `enabled`, `disabled`, `static`, `masked`, empty when there is no file.
    pub file: String,
    /// File the unit was loaded from; empty for none.
    pub fragment: String,
}

impl UnitState {
    /// State of a unit that is not there.
    pub fn not_found() -> Self {
        UnitState {
            load: "not-found".to_owned(),
            active: "inactive".to_owned(),
            ..UnitState::default()
        }
    }

    /// Whether it runs or is about to.
    pub fn is_active(&self) -> bool {
        matches!(self.active.as_str(), "active" | "activating" | "reloading")
    }

    /// Whether it starts at boot.
    pub fn is_enabled(&self) -> bool {
        matches!(self.file.as_str(), "enabled" | "enabled-runtime" | "linked")
    }
}

/// Why the service manager did not do its work.
#[derive(Debug, thiserror::Error)]
pub enum ServiceError {
    /// There is none, or it does not answer.
    #[error("cannot reach the service manager: {why}")]
    Unreachable {
        /// What was tried and why it failed.
        why: String,
    },
    /// It refused the call.
    #[error("cannot {action} {unit}: {why}")]
    Refused {
        /// Verb: start, stop, enable, disable, reload.
        action: &'static str,
        /// Unit.
        unit: String,
        /// Its words.
        why: String,
    },
    /// The job ended with another result than `done`.
    #[error("cannot {action} {unit}: the job ended as {result}")]
    Job {
        /// Verb.
        action: &'static str,
        /// Unit.
        unit: String,
        /// Result of the job: failed, canceled, timeout, dependency.
        result: String,
    },
    /// The job did not end in time.
    #[error("cannot {action} {unit}: the job did not end within {} s", deadline.as_secs())]
    Deadline {
        /// Verb.
        action: &'static str,
        /// Unit.
        unit: String,
        /// The deadline.
        deadline: Duration,
    },
}

/// Starts, stops, enables and reads units. Every call has a deadline of its own inside.
pub trait ServiceManager: Send + Sync + Debug {
    /// Whether units can be started and stopped (false for images and machines without one).
    fn is_running(&self) -> bool;

    /// What a switch of generations needs; nothing where units cannot be started.
    fn control(&self) -> Option<&dyn Control> {
        None
    }

    /// Tells what happens to units from now on; nothing where no service manager could say.
    fn listen(&self, _hear: Hear) -> Option<Box<dyn Listening>> {
        None
    }

    /// Reads the unit files again.
    ///
    /// # Errors
    /// When it cannot be reached.
    fn reload(&self) -> Result<(), ServiceError>;

    /// State of a unit; `load` is `not-found` for an unknown one.
    ///
    /// # Errors
    /// When it cannot be reached.
    fn state(&self, unit: &str) -> Result<UnitState, ServiceError>;

    /// Makes the unit start at boot.
    ///
    /// # Errors
    /// When it is refused.
    fn enable(&self, unit: &str) -> Result<(), ServiceError>;

    /// Makes the unit not start at boot.
    ///
    /// # Errors
    /// When it is refused; not when it was not enabled.
    fn disable(&self, unit: &str) -> Result<(), ServiceError>;

    /// Starts it and waits for the job.
    ///
    /// # Errors
    /// When the job fails or does not end in time.
    fn start(&self, unit: &str, deadline: Duration) -> Result<(), ServiceError>;

    /// Stops it and waits for the job.
    ///
    /// # Errors
    /// When the job fails or does not end in time; not when the unit is not loaded.
    fn stop(&self, unit: &str, deadline: Duration) -> Result<(), ServiceError>;

    /// Restarts it, or starts it, and waits for the job.
    ///
    /// # Errors
    /// When the job fails or does not end in time.
    fn restart(&self, unit: &str, deadline: Duration) -> Result<(), ServiceError>;

    /// Clears the failed state, as nothing when there is none.
    ///
    /// # Errors
    /// When it cannot be reached.
    fn reset_failed(&self, unit: &str) -> Result<(), ServiceError>;
}

//! What serving needs of the engine.

use std::os::fd::OwnedFd;

use nixctl_proto::health::{Findings, HealthEvent};
use nixctl_proto::operation::JournalLine;
use nixctl_proto::plan::{DiffEntry, Plan};
use nixctl_proto::request::{
    InstallRequest, OperationRequest, RequestOptions, SelfUpgradeRequest, UpgradeRequest,
};
use nixctl_proto::settings::SettingView;
use nixctl_proto::status::Status;
use nixctl_proto::{Failure, Generation, OperationId, OperationView};
use tokio::sync::{broadcast, watch};

pub use crate::engine::Change;

/// The engine as its transports see it. Everything blocks for a few milliseconds at most, but for
/// [`Backend::plan`] and [`Backend::shutdown`].
pub trait Backend: Send + Sync + 'static {
    /// Stores an operation durably and returns at once.
    ///
    /// # Errors
    /// The queue is full, the request id was used for something else, or the disk refused.
    fn submit(
        &self,
        request: OperationRequest,
        options: RequestOptions,
        uid: u32,
    ) -> Result<OperationId, Failure>;

    /// Plans without doing anything; may take seconds.
    ///
    /// # Errors
    /// The machine or the source could not be read.
    fn plan(&self, request: OperationRequest) -> Result<Plan, Failure>;

    /// How the machine is.
    fn status(&self) -> Status;

    /// The newest operations, newest first, at most `limit` (0: all).
    fn list(&self, limit: u32) -> Vec<OperationView>;

    /// One operation.
    ///
    /// # Errors
    /// There is none of that id.
    fn show(&self, id: &OperationId) -> Result<OperationView, Failure>;

    /// What an operation was asked to do.
    ///
    /// # Errors
    /// There is none of that id.
    fn request(&self, id: &OperationId) -> Result<OperationRequest, Failure>;

    /// The journal of an operation.
    ///
    /// # Errors
    /// There is none of that id, or it could not be read.
    fn journal(&self, id: &OperationId) -> Result<Vec<JournalLine>, Failure>;

    /// Snapshots of an operation as it goes on. For an ended one the receiver holds the final view
    /// and its sender is gone.
    ///
    /// # Errors
    /// There is none of that id.
    fn watch(&self, id: &OperationId) -> Result<watch::Receiver<OperationView>, Failure>;

    /// Changes from now on.
    fn changes(&self) -> broadcast::Receiver<Change>;

    /// Asks an operation to stop and be undone.
    ///
    /// # Errors
    /// There is none of that id, or it cannot be cancelled any more.
    fn cancel(&self, id: &OperationId) -> Result<(), Failure>;

    /// Tries an operation again, as a new one of this user.
    ///
    /// # Errors
    /// There is none of that id, or it did not fail.
    fn retry(&self, id: &OperationId, uid: u32) -> Result<OperationId, Failure>;

    /// Notes durably that the switch which waits for it is right.
    ///
    /// # Errors
    /// There is none of that id, or it does not wait for a confirmation.
    fn confirm(&self, id: &OperationId) -> Result<(), Failure>;

    /// The generations of the system, newest first.
    ///
    /// # Errors
    /// The profile could not be read.
    fn generations(&self) -> Result<Vec<Generation>, Failure>;

    /// How the packages of two store paths' closures differ, by name; may take seconds.
    ///
    /// # Errors
    /// One of the closures is not known here.
    fn diff(&self, from: &str, to: &str) -> Result<Vec<DiffEntry>, Failure>;

    /// Looks at the machine now, for these checks (empty: all), and says what it found; waits for that,
    /// for a bounded time. While an operation is at work it says what was found before.
    ///
    /// # Errors
    /// Looking took too long.
    fn check(&self, checks: &[String]) -> Result<Findings, Failure>;

    /// What was found when the machine was looked at last.
    fn findings(&self) -> Findings;

    /// What became of findings, newest first, at most `limit` (0: all).
    fn history(&self, limit: u32) -> Vec<HealthEvent>;

    /// The numbers for a monitoring system, as text.
    fn metrics(&self) -> String;

    /// Takes an inhibitor for a user, which stands as long as the file descriptor is open.
    ///
    /// # Errors
    /// A word or a text is wrong, or there are too many.
    fn inhibit(&self, what: &str, who: &str, why: &str, uid: u32) -> Result<OwnedFd, Failure>;

    /// Effective settings and where each comes from.
    fn settings(&self) -> Vec<SettingView>;

    /// Writes one setting and uses it.
    ///
    /// # Errors
    /// There is no such key, the value is not one for it, or the file could not be written.
    fn configure(&self, key: &str, value: &str) -> Result<(), Failure>;

    /// Reads the settings again.
    ///
    /// # Errors
    /// They are not valid; the last good ones stay.
    fn reload_settings(&self) -> Result<(), Failure>;

    /// Whether a request needs no administrator, judged by its source.
    fn is_trusted(&self, request: &InstallRequest) -> bool;

    /// Whether an upgrade goes to a version that is older than the one that is there, as far as that is
    /// known before the source is looked at.
    fn goes_back(&self, request: &UpgradeRequest) -> bool;

    /// The same of a replacement of nixctl itself.
    fn self_goes_back(&self, request: &SelfUpgradeRequest) -> bool;

    /// Whether the daemon is to end, to be started again as another version of it.
    fn leaves(&self) -> bool {
        false
    }

    /// Whether the engine's thread is alive and makes progress.
    fn alive(&self) -> bool;

    /// Stops at a step boundary and waits for that, for a bounded time.
    fn shutdown(&self);
}

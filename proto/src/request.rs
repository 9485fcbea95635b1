//! What a client can ask for. The same types travel over the socket and, as options, over D-Bus.

use serde::{Deserialize, Serialize};

use crate::failure::Failure;
use crate::generation::Generation;
use crate::health::{Findings, HealthEvent, Target};
use crate::operation::{JournalLine, OperationId, OperationKind, OperationView};
use crate::plan::{DiffEntry, Plan};
use crate::settings::SettingView;
use crate::status::Status;

/// Asks for Nix to be installed, or adopted.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct InstallRequest {
    /// Version to fetch from the release server, such as `2.26.3`.
    pub version: Option<String>,
    /// A tarball: an http(s) URL or an absolute path as the daemon sees it.
    pub source: Option<String>,
    /// Expected SHA-256 of the tarball, 64 hexadecimal digits.
    pub sha256: Option<String>,
    /// Take over an installation that is already there.
    pub adopt: bool,
    /// Without a service manager: no daemon, the store belongs to root alone.
    pub single_user: bool,
}

/// Asks for Nix to be taken off.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct UninstallRequest {
    /// Leave /nix with the store and its database in place.
    pub keep_store: bool,
}

/// Asks for the daemon itself to be put on the machine.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct SelfInstallRequest {
    /// Absolute path of the `nixctl` program to install.
    pub client: String,
    /// Absolute path of the `nixctld` program to install.
    pub daemon: String,
}

/// How the disk space of a switch is gained.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Strategy {
    /// At once where both generations fit beside the reserve, else step by step.
    #[default]
    Auto,
    /// At once, or not at all.
    Atomic,
    /// Step by step, also where it would fit at once.
    Stepwise,
}

impl std::str::FromStr for Strategy {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let known = Strategy::ALL
            .into_iter()
            .find(|known| known.as_str() == text);
        known.ok_or("the strategies are auto, atomic and stepwise")
    }
}

impl Strategy {
    /// Every strategy.
    pub const ALL: [Self; 3] = [Strategy::Auto, Strategy::Atomic, Strategy::Stepwise];

    /// The word used on D-Bus and the command line.
    pub fn as_str(self) -> &'static str {
        match self {
            Strategy::Auto => "auto",
            Strategy::Atomic => "atomic",
            Strategy::Stepwise => "stepwise",
        }
    }
}

/// Asks for the system to be moved to another generation.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct SwitchRequest {
    /// Store path of the toplevel.
    pub toplevel: String,
    /// Store to copy from: an `http`, `https`, `file`, `ssh`, `ssh-ng` or `s3` URL, or the absolute
    /// path of a folder with a binary cache; `None`: Nix's own substituters. Nix checks the
    /// signatures of what comes from there as always.
    pub from: Option<String>,
    /// How the space is gained.
    pub strategy: Strategy,
    /// Most bytes the store may take while switching; `None`: what the disk has, but for the reserve.
    pub budget: Option<u64>,
    /// Old generations may be dropped to gain space.
    pub drop_old: bool,
    /// Services that the settings name as not vital may be down for a while to gain space.
    pub allow_downtime: bool,
    /// Seconds for which the result is watched before it counts; `None`: as the settings say.
    pub soak: Option<u64>,
    /// Seconds within which somebody must confirm over a new connection.
    pub confirm_within: Option<u64>,
}

/// Asks for an earlier generation.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct RollbackRequest {
    /// Number of the generation; `None`: the recorded one before the last switch.
    pub to: Option<u64>,
    /// Store to copy from what is not here any more, as in [`SwitchRequest::from`]; `None`: the one
    /// that a switch named last, else Nix's own substituters.
    pub from: Option<String>,
    /// Set by the daemon alone: the machine did not become healthy after a boot.
    pub after_boot: Option<AfterBoot>,
}

/// How the daemon itself goes back after a boot that was not healthy.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum AfterBoot {
    /// The generation takes over while the machine runs.
    AtOnce,
    /// It becomes the default, and the machine is restarted then.
    Restart,
}

/// Asks for the remedies of findings to be carried out.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct RepairRequest {
    /// Which findings; empty: all that have a remedy.
    pub targets: Vec<Target>,
    /// Set by the daemon alone: nobody asked for it.
    pub automatic: bool,
}

/// Asks for Nix to be replaced by another version of it.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct UpgradeRequest {
    /// Version to fetch from the release server; `None`: the one that the settings name.
    pub version: Option<String>,
    /// A tarball: an http(s) URL or an absolute path as the daemon sees it.
    pub source: Option<String>,
    /// Expected SHA-256 of the tarball, 64 hexadecimal digits.
    pub sha256: Option<String>,
    /// Back to the version before the last upgrade, which is still in the store.
    pub rollback: bool,
    /// Seconds that running builds get to end; `None`: as the settings say.
    pub drain: Option<u64>,
    /// Set by the daemon alone: who asked may go to an older version.
    pub may_be_older: bool,
    /// Where the older version does not read the database, a copy from before its form changed is
    /// put back.
    pub restore_database: bool,
}

impl UpgradeRequest {
    /// The release that it asks for, as an install would.
    pub fn wanted(&self) -> InstallRequest {
        InstallRequest {
            version: self.version.clone(),
            source: self.source.clone(),
            sha256: self.sha256.clone(),
            ..InstallRequest::default()
        }
    }
}

/// Asks for nixctl itself to be replaced by another version of it.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct SelfUpgradeRequest {
    /// Version to go to: one that the release feed has, or what the source must hold; `None`: what
    /// the feed offers.
    pub version: Option<String>,
    /// An archive with both programs: an http(s) URL or an absolute path as the daemon sees it.
    pub source: Option<String>,
    /// Expected SHA-256 of the archive, 64 hexadecimal digits.
    pub sha256: Option<String>,
    /// Back to the version before the last upgrade, whose programs are still there.
    pub rollback: bool,
    /// Set by the daemon alone: who asked may go to an older version.
    pub may_be_older: bool,
}

impl SelfUpgradeRequest {
    /// The release that it asks for, as an install would.
    pub fn wanted(&self) -> InstallRequest {
        InstallRequest {
            version: self.version.clone(),
            source: self.source.clone(),
            sha256: self.sha256.clone(),
            ..InstallRequest::default()
        }
    }
}

/// A change of the machine.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum OperationRequest {
    /// See [`InstallRequest`].
    Install(InstallRequest),
    /// See [`UninstallRequest`].
    Uninstall(UninstallRequest),
    /// See [`SelfInstallRequest`].
    SelfInstall(SelfInstallRequest),
    /// Takes the daemon itself off.
    SelfUninstall,
    /// See [`SwitchRequest`].
    Switch(SwitchRequest),
    /// See [`RollbackRequest`].
    Rollback(RollbackRequest),
    /// See [`RepairRequest`].
    Repair(RepairRequest),
    /// See [`UpgradeRequest`].
    Upgrade(UpgradeRequest),
    /// See [`SelfUpgradeRequest`].
    SelfUpgrade(SelfUpgradeRequest),
}

impl OperationRequest {
    /// Kind of the operation that the request would become.
    pub fn kind(&self) -> OperationKind {
        match self {
            OperationRequest::Install(_) => OperationKind::Install,
            OperationRequest::Uninstall(_) => OperationKind::Uninstall,
            OperationRequest::SelfInstall(_) => OperationKind::SelfInstall,
            OperationRequest::SelfUninstall => OperationKind::SelfUninstall,
            OperationRequest::Switch(_) => OperationKind::Switch,
            OperationRequest::Rollback(_) => OperationKind::Rollback,
            OperationRequest::Repair(_) => OperationKind::Repair,
            OperationRequest::Upgrade(_) => OperationKind::Upgrade,
            OperationRequest::SelfUpgrade(_) => OperationKind::SelfUpgrade,
        }
    }
}

/// Options that every mutating request takes.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct RequestOptions {
    /// Plan only: the operation ends as `succeeded` without having changed anything.
    pub dry_run: bool,
    /// Idempotency key: the same id and request is the same operation.
    pub request_id: Option<String>,
    /// What the caller believes to be there (empty for nothing): for a switch or a rollback the store
    /// path of the generation that runs, else the version of Nix.
    pub expected_current: Option<String>,
    /// Seconds after which the operation gives up and is undone.
    pub deadline: Option<u64>,
    /// Why, in the caller's words; shown in the history.
    pub reason: Option<String>,
}

/// A request on the socket.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum Request {
    /// How is the machine?
    Status,
    /// What would be done?
    Plan(OperationRequest),
    /// Do it.
    Submit(OperationRequest, RequestOptions),
    /// The newest operations, newest first, at most this many (0: all).
    List(u32),
    /// One operation.
    Show(OperationId),
    /// The journal of one operation.
    Journal(OperationId),
    /// A stream of snapshots of one operation until it is final.
    Watch(OperationId),
    /// Stop it at the next step boundary and undo it.
    Cancel(OperationId),
    /// Try a failed operation again.
    Retry(OperationId),
    /// Effective settings and where each comes from.
    Settings,
    /// Writes one setting.
    Configure {
        /// Dotted name, such as `install.release_server`.
        key: String,
        /// New value in TOML's spelling.
        value: String,
    },
    /// The switch that waits for it is right: over another connection than the one that asked for it.
    Confirm(OperationId),
    /// The generations of the system.
    Generations,
    /// How the packages of two store paths' closures differ.
    Diff {
        /// Store path of the one.
        from: String,
        /// Store path of the other.
        to: String,
    },
    /// Looks at the machine now, thoroughly, for these checks (empty: all).
    Check(Vec<String>),
    /// What was found when the daemon looked last.
    Findings,
    /// What became of findings, newest first, at most this many (0: all).
    History(u32),
    /// The numbers for a monitoring system.
    Metrics,
}

/// An answer on the socket.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub enum Reply {
    /// To [`Request::Status`].
    Status(Status),
    /// To [`Request::Plan`].
    Plan(Plan),
    /// To [`Request::Submit`] and [`Request::Retry`].
    Accepted(OperationId),
    /// To [`Request::List`].
    Operations(Vec<OperationView>),
    /// To [`Request::Show`], and each event of [`Request::Watch`].
    Operation(OperationView),
    /// To [`Request::Journal`].
    Journal(Vec<JournalLine>),
    /// To [`Request::Settings`].
    Settings(Vec<SettingView>),
    /// To requests that only need to be acknowledged.
    Done,
    /// The request was refused.
    Refused(Failure),
    /// To [`Request::Generations`], the newest first.
    Generations(Vec<Generation>),
    /// To [`Request::Diff`], by name.
    Diff(Vec<DiffEntry>),
    /// To [`Request::Check`] and [`Request::Findings`].
    Findings(Findings),
    /// To [`Request::History`].
    History(Vec<HealthEvent>),
    /// To [`Request::Metrics`]: Prometheus' text format.
    Metrics(String),
}

//! Why a unit is stopped, reloaded, restarted, started or left alone: what happened, and the rule for it.

use std::fmt;

use serde::{Deserialize, Serialize};

use super::compare::Change;
use super::name::UnitName;

/// What happened to a unit.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", tag = "cause")]
pub enum Cause {
    /// Its file or drop-ins differ.
    Changed {
        /// The differences that count.
        changes: Vec<Change>,
    },
    /// It has no file any more.
    Removed,
    /// Its file is masked.
    Masked,
    /// The instance of a template is not declared any more, although the template is still there.
    Undeclared,
    /// It is new.
    Added,
    /// It is an active target.
    ActiveTarget,
    /// Its entry in fstab differs.
    Mount {
        /// What differs.
        what: MountChange,
    },
    /// The activation script asked for it.
    Activation,
    /// An interrupted run had still to do it.
    Unfinished,
    /// It belongs to a service that is dealt with.
    WithService {
        /// The service.
        service: UnitName,
    },
    /// It belongs to a socket that is dealt with.
    WithSocket {
        /// The socket.
        socket: UnitName,
    },
    /// It was to be reloaded and does not run any more.
    Stopped,
    /// Another manager had it, and this one takes it over.
    Migrated,
}

/// What happened to an entry of fstab.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum MountChange {
    /// The device or the type of the file system.
    Device,
    /// The options.
    Options,
    /// The entry is gone.
    Gone,
}

/// The rule that decided.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", tag = "rule")]
pub enum Rule {
    /// What is gone is stopped.
    StopGone,
    /// `X-StopOnRemoval=false`.
    StayOnRemoval,
    /// Starting an active target again pulls in what it newly wants.
    StartTarget,
    /// `X-StopOnReconfiguration=true`: so that the order among what hangs on it is kept.
    StopTarget,
    /// Takes effect when systemd reads its configuration again.
    DaemonReload,
    /// switch-to-configuration leaves changed sockets alone.
    IgnoreSocket,
    /// The system stands on this file system: at most a remount.
    VitalMount,
    /// Unmounted and mounted again.
    Remount,
    /// Only what a reload brings into effect has changed.
    Reload,
    /// `X-ReloadIfChanged=true`.
    ReloadIfChanged,
    /// Only a reload was called for, but the unit has none.
    CannotReload,
    /// `X-RestartIfChanged=false`.
    NoRestartIfChanged,
    /// `RefuseManualStop=true`.
    RefusesStop,
    /// `RefuseManualStart=true`: it could not be started again.
    RefusesStart,
    /// `X-OnlyManualStart=true`.
    OnlyManualStart,
    /// `X-StopIfChanged=false`: restarted at once.
    NoStopIfChanged,
    /// The running unit refuses to be stopped, the new one does not.
    RestartWhenAllowed,
    /// Only services have anything to do when they stop.
    NotService,
    /// Asked for after the stops were done.
    RestartLate,
    /// Stopped before the activation, started after it.
    StopStart,
    /// Stopped, and started by its socket when it is needed.
    SocketStarts,
    /// No service may run while its socket starts.
    SocketFirst,
    /// It serves one connection; the next one gets the new version.
    Connection,
    /// Its service may not be stopped.
    ServiceStays {
        /// The service.
        service: UnitName,
    },
    /// Started because it did not run.
    Start,
    /// There is nothing to start any more.
    NothingToStart,
}

/// Why something is done to a unit, or is not.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Reason {
    /// What happened.
    #[serde(flatten)]
    pub cause: Cause,
    /// What follows from it.
    #[serde(flatten)]
    pub rule: Rule,
}

impl Reason {
    /// Whether this happens in every run and is no news for a person.
    #[must_use]
    pub fn is_routine(&self) -> bool {
        self.cause == Cause::ActiveTarget
    }
}

impl fmt::Display for Reason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.cause, self.rule)
    }
}

impl fmt::Display for Cause {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Cause::Changed { changes } => {
                for (at, change) in changes.iter().enumerate() {
                    write!(f, "{}{change}", if at == 0 { "" } else { ", " })?;
                }
                Ok(())
            }
            Cause::Removed => f.write_str("not in the new generation"),
            Cause::Masked => f.write_str("masked in the new generation"),
            Cause::Undeclared => f.write_str("instance not declared in the new generation"),
            Cause::Added => f.write_str("new in this generation"),
            Cause::ActiveTarget => f.write_str("active target"),
            Cause::Mount { what } => f.write_str(match what {
                MountChange::Device => "fstab names another device or type",
                MountChange::Options => "fstab names other options",
                MountChange::Gone => "not in fstab any more",
            }),
            Cause::Activation => f.write_str("asked for by the activation script"),
            Cause::Unfinished => f.write_str("left over from an interrupted run"),
            Cause::WithService { service } => write!(f, "socket of {service}"),
            Cause::WithSocket { socket } => write!(f, "service of {socket}"),
            Cause::Stopped => f.write_str("to be reloaded, but not running"),
            Cause::Migrated => f.write_str("taken over from another manager"),
        }
    }
}

impl fmt::Display for Rule {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Rule::StopGone => "stopped",
            Rule::StayOnRemoval => "stays, X-StopOnRemoval=false",
            Rule::StartTarget => "started again to pull in what it newly wants",
            Rule::StopTarget => "stopped first, X-StopOnReconfiguration=true",
            Rule::DaemonReload => "takes effect when systemd reads its configuration again",
            Rule::IgnoreSocket => "changed sockets are left alone",
            Rule::VitalMount => "the system stands on it",
            Rule::Remount => "unmounted and mounted again",
            Rule::Reload => "a reload is enough",
            Rule::ReloadIfChanged => "reloaded, X-ReloadIfChanged=true",
            Rule::CannotReload => "a reload would do, but the unit has none",
            Rule::NoRestartIfChanged => "not restarted, X-RestartIfChanged=false",
            Rule::RefusesStop => "not restarted, RefuseManualStop=true",
            Rule::RefusesStart => "not restarted, RefuseManualStart=true",
            Rule::OnlyManualStart => "not restarted, X-OnlyManualStart=true",
            Rule::NoStopIfChanged => "restarted at once, X-StopIfChanged=false",
            Rule::RestartWhenAllowed => "restarted at once, it may not be stopped before",
            Rule::NotService => "restarted at once, it is no service",
            Rule::RestartLate => "restarted",
            Rule::StopStart => "stopped before the activation and started after it",
            Rule::SocketStarts => "stopped, its socket starts it again",
            Rule::SocketFirst => "stopped so that the socket can start, then started",
            Rule::Connection => "serves one connection, the next one gets the new version",
            Rule::ServiceStays { service } => {
                return write!(f, "not restarted, {service} may not be stopped");
            }
            Rule::Start => "started",
            Rule::NothingToStart => "not started, the new generation does not have it",
        })
    }
}

//! The order in which the decisions are carried out. Each phase ends before the next one begins.

use serde::{Deserialize, Serialize};

use super::mode::{Mode, Scope};

/// One phase of a switch, seen from the units.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Phase {
    /// Turn off swap devices that are gone.
    Swapoff,
    /// Stop units, while their old definitions are still in force.
    Stop,
    /// Run the generation's activation: /etc, accounts and so on. Its lists are merged afterwards
    /// ([`add_activation`](super::late::add_activation)).
    Activate,
    /// Start the service manager anew, if that was decided.
    Reexec,
    /// Forget failures, so that what failed before is tried again and what fails now is seen.
    ResetFailed,
    /// Make the service manager read its configuration again.
    DaemonReload,
    /// Do the same for every user who is logged in.
    Users,
    /// Restart `sysinit-reactivation.target`: what belongs before `sysinit.target` runs again.
    Reactivate,
    /// Look at what is to be reloaded ([`check_reloads`](super::late::check_reloads)).
    CheckReloads,
    /// Reload units.
    Reload,
    /// Restart units.
    Restart,
    /// Start units, active targets among them.
    Start,
    /// Restart `nixos-activation.service`, where the user's own manager does its work.
    UserActivation,
    /// Take over units from the user's own manager ([`migrate`](super::user::migrate)).
    Migrate,
    /// Wait until systemd has been silent for a moment, then look at what failed.
    Settle,
}

impl Phase {
    /// All phases of a switch, in order.
    ///
    /// switch-to-configuration turns swap off while it is still planning. In mode Right this happens when
    /// the stopped services have given their memory back.
    #[must_use]
    pub fn order(scope: Scope, mode: Mode) -> &'static [Phase] {
        use Phase::{
            Activate, CheckReloads, DaemonReload, Migrate, Reactivate, Reexec, Reload, ResetFailed,
            Restart, Settle, Start, Stop, Swapoff, UserActivation, Users,
        };
        match (scope, mode) {
            (Scope::System, Mode::Exact) => &[
                Swapoff,
                Stop,
                Activate,
                Reexec,
                ResetFailed,
                DaemonReload,
                Users,
                Reactivate,
                CheckReloads,
                Reload,
                Restart,
                Start,
                Settle,
            ],
            (Scope::System, Mode::Right) => &[
                Stop,
                Swapoff,
                Activate,
                Reexec,
                ResetFailed,
                DaemonReload,
                Users,
                Reactivate,
                CheckReloads,
                Reload,
                Restart,
                Start,
                Settle,
            ],
            (Scope::User, Mode::Exact) => &[
                Stop,
                Reexec,
                ResetFailed,
                DaemonReload,
                Reload,
                Restart,
                Start,
                UserActivation,
                Migrate,
            ],
            (Scope::User, Mode::Right) => &[
                Stop,
                Reexec,
                ResetFailed,
                DaemonReload,
                CheckReloads,
                Reload,
                Restart,
                Start,
                UserActivation,
                Migrate,
                Settle,
            ],
        }
    }
}

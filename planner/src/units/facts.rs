//! What is known before units are decided about: both generations, what runs, and what was left over.

use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Serialize};

use super::fstab::Fstab;
use super::mode::{Mode, Scope};
use super::name::UnitName;
use super::set::UnitSet;

/// The state of a unit, as systemd's `ActiveState`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum ActiveState {
    /// It runs.
    Active,
    /// It runs and reads its configuration again.
    Reloading,
    /// It runs and is being refreshed (systemd 256 and later).
    Refreshing,
    /// It does not run.
    Inactive,
    /// It does not run, because it failed.
    Failed,
    /// It is being started.
    Activating,
    /// It is being stopped.
    Deactivating,
    /// A maintenance operation is in progress.
    Maintenance,
    /// A word that this program does not know.
    #[serde(other)]
    Unknown,
}

impl ActiveState {
    /// The state of that name.
    #[must_use]
    pub fn from_systemd(word: &str) -> ActiveState {
        match word {
            "active" => ActiveState::Active,
            "reloading" => ActiveState::Reloading,
            "refreshing" => ActiveState::Refreshing,
            "inactive" => ActiveState::Inactive,
            "failed" => ActiveState::Failed,
            "activating" => ActiveState::Activating,
            "deactivating" => ActiveState::Deactivating,
            "maintenance" => ActiveState::Maintenance,
            _ => ActiveState::Unknown,
        }
    }

    /// Whether the unit is compared with its successor.
    pub(super) fn runs(self, mode: Mode) -> bool {
        match self {
            ActiveState::Active | ActiveState::Activating => true,
            ActiveState::Reloading | ActiveState::Refreshing => mode == Mode::Right,
            _ => false,
        }
    }
}

/// A unit that systemd has loaded.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ActiveUnit {
    /// Name.
    pub name: UnitName,
    /// State.
    pub state: ActiveState,
    /// State within the type, such as `auto-restart`.
    pub substate: String,
    /// Path of the unit file; nothing when it has none or it cannot be read.
    pub fragment: Option<String>,
    /// The unit whose state this one follows, if any.
    pub following: Option<String>,
}

/// What an interrupted run had still to do: the names it had written down.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Unfinished {
    /// To be stopped; switch-to-configuration does not record these.
    pub stop: BTreeSet<UnitName>,
    /// To be reloaded.
    pub reload: BTreeSet<UnitName>,
    /// To be restarted.
    pub restart: BTreeSet<UnitName>,
    /// To be started.
    pub start: BTreeSet<UnitName>,
}

/// What the activation script asked for, in the order of its lines.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct ActivationLists {
    /// Units to be restarted, as far as they may be.
    pub restart: Vec<UnitName>,
    /// Units to be reloaded, unless they are restarted anyway.
    pub reload: Vec<UnitName>,
}

/// The program and the settings of the service manager, as canonical paths; nothing when unknown.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Manager {
    /// The program, `/proc/1/exe` of the running one.
    pub program: Option<String>,
    /// Its `system.conf`.
    pub settings: Option<String>,
}

/// The file systems and swaps of both generations.
#[derive(Debug, Clone, Copy)]
pub struct Mounts<'a> {
    /// Of the running generation.
    pub old: &'a Fstab,
    /// Of the one to come.
    pub new: &'a Fstab,
}

/// Everything the decisions are made from.
#[derive(Debug, Clone, Copy)]
pub struct Facts<'a> {
    /// How to decide.
    pub mode: Mode,
    /// For whom.
    pub scope: Scope,
    /// Units of the running generation.
    pub old: &'a UnitSet,
    /// Units of the one to come.
    pub new: &'a UnitSet,
    /// What systemd has loaded.
    pub loaded: &'a [ActiveUnit],
    /// The fstabs, when they are to be looked at.
    pub mounts: Option<Mounts<'a>>,
    /// The running service manager and the one to come, when they are to be looked at.
    pub managers: Option<(&'a Manager, &'a Manager)>,
    /// What an interrupted run had still to do.
    pub unfinished: &'a Unfinished,
}

impl<'a> Facts<'a> {
    /// The units that count as there: not inactive, and not following another one.
    #[must_use]
    pub fn active(&self) -> BTreeMap<&'a UnitName, &'a ActiveUnit> {
        self.loaded
            .iter()
            .filter(|unit| unit.following.is_none() && unit.state != ActiveState::Inactive)
            .map(|unit| (&unit.name, unit))
            .collect()
    }
}

//! What deciding about units needs, read from the running machine.

use std::collections::BTreeSet;
use std::path::Path;

use nixctl_planner::units::{
    ActiveState, ActiveUnit, Decisions, Facts, Mode, Mounts, Phase, Reason, Rule, Scope,
    Unfinished, UnitName, UnitSet, UnitSource, decide,
};

use crate::host::service::{Control, LoadedUnit};
use crate::host::{Fs, FsError};
use crate::switch::activate::error::ActivateError;
use crate::switch::files::{Files, Seen, content, existing, found};
use crate::switch::units::read::{fstab, managers, unit_set};

/// Where switch-to-configuration writes down what it has still to do, and the phase that does it.
pub const LEFT_OVER: [(Phase, &str); 3] = [
    (Phase::Start, "/run/nixos/start-list"),
    (Phase::Restart, "/run/nixos/restart-list"),
    (Phase::Reload, "/run/nixos/reload-list"),
];

/// The daemon's own units.
const OURSELVES: [&str; 2] = ["nixctld.service", "nixctld.socket"];

/// What was decided, and what ran before.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Decided {
    /// The decisions.
    pub decisions: Decisions,
    /// Units of the generations that are active.
    pub active: BTreeSet<UnitName>,
    /// Units that have failed.
    pub failed: BTreeSet<String>,
}

/// Decides what making a toplevel the running system means for the units. Changes nothing.
/// `wanted` ran before and shall run again, if the toplevel has them and they may be started.
///
/// # Errors
/// When the machine cannot be read, or the toplevel has a unit file that systemd would refuse.
pub fn decide_now(
    fs: &Fs,
    control: &dyn Control,
    toplevel: &Path,
    wanted: &BTreeSet<UnitName>,
) -> Result<Decided, ActivateError> {
    decide_about(fs, fs, control, toplevel, wanted)
}

/// The same about a toplevel that lies elsewhere: `theirs` is where it can be read.
///
/// # Errors
/// As [`decide_now`].
pub fn decide_about(
    fs: &Fs,
    theirs: &dyn Files,
    control: &dyn Control,
    toplevel: &Path,
    wanted: &BTreeSet<UnitName>,
) -> Result<Decided, ActivateError> {
    let old = unit_set(fs, Path::new(Scope::System.directory()))?;
    let new = units_of(theirs, toplevel)?;
    let listed = control.loaded()?;
    let loaded = active_units(control, &listed, &old, &new);
    let fstabs = (
        fstab(fs, Path::new("/etc/fstab"))?,
        fstab(theirs, &toplevel.join("etc/fstab"))?,
    );
    // A generation without one says nothing about file systems.
    let mounts = existing(theirs, &toplevel.join("etc/fstab"))?.map(|_| Mounts {
        old: &fstabs.0,
        new: &fstabs.1,
    });
    let managers = managers(fs, theirs, toplevel)?;
    let mut unfinished = left_over(fs);
    unfinished.start.extend(missing(&loaded, &new, wanted));
    let mut decisions = decide(&Facts {
        mode: Mode::Right,
        scope: Scope::System,
        old: &old,
        new: &new,
        loaded: &loaded,
        mounts,
        managers: managers.as_ref().map(|(running, new)| (running, new)),
        unfinished: &unfinished,
    })?;
    spare_ourselves(&mut decisions);
    let is_ours = |unit: &&ActiveUnit| unit.fragment.is_some();
    let active = loaded.iter().filter(is_ours);
    let failed = listed.iter().filter(|it| it.active == "failed");
    Ok(Decided {
        decisions,
        active: active
            .filter(|it| it.state == ActiveState::Active)
            .map(|it| it.name.clone())
            .collect(),
        failed: failed.map(|it| it.name.clone()).collect(),
    })
}

/// The units of a toplevel.
///
/// # Errors
/// When they cannot be read.
pub fn units_of(files: &dyn Files, toplevel: &Path) -> Result<UnitSet, FsError> {
    unit_set(files, &toplevel.join("etc/systemd/system"))
}

/// Units as the planner takes them, known to be active only.
pub fn as_active(units: &BTreeSet<UnitName>) -> Vec<ActiveUnit> {
    let directory = Scope::System.directory();
    let active = units.iter().map(|name| ActiveUnit {
        name: name.clone(),
        state: ActiveState::Active,
        substate: String::new(),
        fragment: Some(format!("{directory}/{name}")),
        following: None,
    });
    active.collect()
}

/// Whether a path leads to a file.
///
/// # Errors
/// When it cannot be looked at.
pub fn has_file(fs: &Fs, path: &Path) -> Result<bool, FsError> {
    Ok(found(fs, path)?.is_some_and(|(_, seen)| seen != Seen::Directory))
}

/// Bytes of a small file; none when it is not there or cannot be read.
pub fn small_file(fs: &Fs, path: &Path) -> Vec<u8> {
    content(fs, path).ok().flatten().unwrap_or_default()
}

/// The daemon that carries the decisions out is not stopped by them: nobody would start it again. It
/// runs on in its old version.
fn spare_ourselves(decisions: &mut Decisions) {
    for unit in OURSELVES.iter().filter_map(|name| UnitName::new(name).ok()) {
        let acts = [
            &mut decisions.stop,
            &mut decisions.restart,
            &mut decisions.start,
        ];
        let mut causes = acts.into_iter().filter_map(|reasons| reasons.remove(&unit));
        let cause = causes.next();
        // Every list is to be gone through.
        causes.for_each(drop);
        decisions.stop_for_socket.remove(&unit);
        if let Some(Reason { cause, .. }) = cause {
            let rule = Rule::NoRestartIfChanged;
            decisions.skip.insert(unit, Reason { cause, rule });
        }
    }
}

/// What a switch-to-configuration that was cut off had still to do.
fn left_over(fs: &Fs) -> Unfinished {
    let [start, restart, reload] = LEFT_OVER.map(|(_, path)| {
        let text = small_file(fs, Path::new(path));
        let text = String::from_utf8_lossy(&text);
        let units = text
            .lines()
            .filter_map(|line| UnitName::new(line.trim()).ok());
        units.collect()
    });
    Unfinished {
        stop: BTreeSet::new(),
        reload,
        restart,
        start,
    }
}

/// What systemd has loaded; the files only of units that a generation may have brought, because
/// each costs a call. A file that cannot be told makes a unit somebody else's.
fn active_units(
    control: &dyn Control,
    listed: &[LoadedUnit],
    old: &UnitSet,
    new: &UnitSet,
) -> Vec<ActiveUnit> {
    let named: Vec<(UnitName, &LoadedUnit)> = listed
        .iter()
        .filter(|it| it.active != "inactive")
        .filter_map(|it| Some((UnitName::new(&it.name).ok()?, it)))
        .collect();
    let may_be_ours = |name: &UnitName| {
        old.loaded(name) != UnitSource::Missing || new.loaded(name) != UnitSource::Missing
    };
    let asked: Vec<&str> = named
        .iter()
        .filter(|(name, _)| may_be_ours(name))
        .map(|(name, _)| name.as_str())
        .collect();
    let files = control.fragments(&asked);
    named
        .into_iter()
        .map(|(name, it)| ActiveUnit {
            state: ActiveState::from_systemd(&it.active),
            substate: it.sub.clone(),
            fragment: files.get(name.as_str()).cloned(),
            following: Some(it.following.clone()).filter(|it| !it.is_empty()),
            name,
        })
        .collect()
}

/// Those that are wanted, do not run, and may be started.
fn missing(
    loaded: &[ActiveUnit],
    new: &UnitSet,
    wanted: &BTreeSet<UnitName>,
) -> BTreeSet<UnitName> {
    let runs = |unit: &UnitName| {
        loaded.iter().any(|it| {
            it.name == *unit
                && matches!(
                    it.state,
                    ActiveState::Active | ActiveState::Activating | ActiveState::Reloading
                )
        })
    };
    let may_start = |unit: &UnitName| match new.read(unit) {
        Ok(Some(file)) => {
            !file.flag("Unit", "RefuseManualStart", false)
                && !file.flag("Unit", "X-OnlyManualStart", false)
        }
        _ => false,
    };
    let wanted = wanted.iter().filter(|unit| !runs(unit) && may_start(unit));
    wanted.cloned().collect()
}

//! Decisions that fall while the switch is under way: what was left over by an interrupted run, what the
//! activation script asked for, and what became of the units that are to be reloaded.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::decide::{DecideError, Planner, Subject, can_reload, template_exact};
use super::decisions::{Decisions, note};
use super::facts::{ActivationLists, Facts, Unfinished};
use super::mode::Mode;
use super::modified::Asked;
use super::name::{UnitName, UnitType};
use super::reason::{Cause, Rule};
use super::set::UnitSource;

/// What was seen of a unit that is to be reloaded.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Seen {
    /// It is active or activating.
    Running,
    /// It is not, or systemd does not know it.
    NotRunning,
    /// systemd gave no answer.
    Unknown,
}

/// Adds what the activation script asked for. `facts` are those from before the activation.
pub fn add_activation(
    facts: &Facts<'_>,
    decisions: Decisions,
    lists: &ActivationLists,
) -> Result<Decisions, DecideError> {
    let mut planner = Planner::new(facts, decisions);
    for unit in &lists.restart {
        planner.restart_for_activation(unit)?;
    }
    for unit in &lists.reload {
        planner.reload_for_activation(unit);
    }
    Ok(planner.finish())
}

/// Goes over the units that are to be reloaded: one that does not run any more, because something it
/// requires was stopped, is started instead if it may be.
///
/// In mode Exact a state that cannot be read is an error, at a point where services are down. In mode
/// Right it is no reason to stop: the reload is tried, and its failure told.
pub fn check_reloads(
    facts: &Facts<'_>,
    mut decisions: Decisions,
    seen: &BTreeMap<UnitName, Seen>,
) -> Result<Decisions, DecideError> {
    let units: Vec<UnitName> = decisions.reload.keys().cloned().collect();
    for unit in units {
        match seen.get(&unit).copied().unwrap_or(Seen::Unknown) {
            Seen::Running => {}
            Seen::Unknown if facts.mode == Mode::Right => {}
            Seen::Unknown => return Err(DecideError::StateUnknown { unit }),
            Seen::NotRunning => {
                decisions.reload.remove(&unit);
                if may_start(facts, &unit) {
                    note(&mut decisions.start, &unit, Cause::Stopped, Rule::Start);
                }
            }
        }
    }
    Ok(decisions)
}

/// Mode Exact starts what may not be started, if it is marked `X-OnlyManualStart`: probably an `and not`
/// was meant. What has no file in the unit directory, such as mounts made from fstab, is not started.
fn may_start(facts: &Facts<'_>, unit: &UnitName) -> bool {
    let file = match facts.mode {
        Mode::Exact => facts.new.read_ini(unit, unit),
        Mode::Right => facts.new.read(unit),
    };
    let Ok(Some(file)) = file else {
        return false;
    };
    let refuses = file.flag("Unit", "RefuseManualStart", false);
    let manual = file.flag("Unit", "X-OnlyManualStart", false);
    match facts.mode {
        Mode::Exact => !refuses || manual,
        Mode::Right => !refuses && !manual,
    }
}

impl Planner<'_> {
    /// Begins with what an interrupted run had still to do.
    pub(super) fn take_unfinished(&mut self) {
        let unfinished = self.facts.unfinished;
        if self.facts.mode == Mode::Exact {
            let without_stops = Unfinished {
                stop: Default::default(),
                ..unfinished.clone()
            };
            self.decisions.merge_unfinished(&without_stops);
            return;
        }
        let mut left = unfinished.clone();
        left.stop.retain(|unit| self.is_active(unit));
        let starts: Vec<UnitName> = left.start.union(&left.restart).cloned().collect();
        for unit in &starts {
            if self.can_start(unit) {
                continue;
            }
            left.start.remove(unit);
            left.restart.remove(unit);
            let skip = &mut self.decisions.skip;
            note(skip, unit, Cause::Unfinished, Rule::NothingToStart);
        }
        self.decisions.merge_unfinished(&left);
    }

    /// Whether there is something to start: a file of the new generation, or a unit that comes from
    /// elsewhere (fstab, a generator, the kernel).
    fn can_start(&self, unit: &UnitName) -> bool {
        let made = matches!(
            unit.kind(),
            UnitType::Mount | UnitType::Automount | UnitType::Swap | UnitType::Device
        );
        let directory = self.facts.scope.directory();
        let elsewhere = self.facts.loaded.iter().any(|loaded| {
            let fragment = loaded.fragment.as_deref().unwrap_or_default();
            loaded.name == *unit && !fragment.is_empty() && !fragment.starts_with(directory)
        });
        self.can_load(unit) || made || elsewhere
    }

    fn restart_for_activation(&mut self, unit: &UnitName) -> Result<(), DecideError> {
        let right = self.facts.mode == Mode::Right;
        if !self.is_active(unit) {
            let (reasons, rule) = if right && !self.can_start(unit) {
                (&mut self.decisions.skip, Rule::NothingToStart)
            } else {
                (&mut self.decisions.start, Rule::Start)
            };
            note(reasons, unit, Cause::Activation, rule);
            return Ok(());
        }
        // It was stopped before the activation, and what comes next has been decided.
        if right && self.decisions.stop.contains_key(unit) {
            return Ok(());
        }
        let base = match template_exact(unit) {
            Some(base) if self.facts.new.source(unit) == UnitSource::Missing => base,
            _ => unit.clone(),
        };
        let new = match self.facts.mode {
            Mode::Exact => self.facts.new.read_ini(unit, &base)?,
            Mode::Right => self.facts.new.read(unit).ok().flatten(),
        };
        if new.is_none() && right {
            let restart = &mut self.decisions.restart;
            note(restart, unit, Cause::Activation, Rule::RestartLate);
            return Ok(());
        }
        // Whose file does not matter is decided without one.
        let fileless = super::modified::never_restarted(unit)
            || matches!(unit.kind(), UnitType::Mount | UnitType::Socket);
        if new.is_none() && !fileless {
            return Err(DecideError::NoFile { unit: unit.clone() });
        }
        self.modified(Subject {
            name: unit,
            base: &base,
            new: &new.unwrap_or_default(),
            cause: Cause::Activation,
            asked: Asked::ByActivation,
        })
    }

    fn reload_for_activation(&mut self, unit: &UnitName) {
        let decided = |decisions: &Decisions| {
            decisions.restart.contains_key(unit) || decisions.stop.contains_key(unit)
        };
        if !self.is_active(unit) || decided(&self.decisions) {
            return;
        }
        let file = self.facts.new.read(unit).ok().flatten();
        let in_vain =
            self.facts.mode == Mode::Right && file.is_some_and(|file| !can_reload(unit, &file));
        let (reasons, rule) = if in_vain {
            (&mut self.decisions.skip, Rule::CannotReload)
        } else {
            (&mut self.decisions.reload, Rule::Reload)
        };
        note(reasons, unit, Cause::Activation, rule);
    }
}

#[cfg(test)]
#[path = "late_tests.rs"]
mod tests;

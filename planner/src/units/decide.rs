//! What is to be done to the units that run, given what they were and what they become.
//!
//! [`decide`] goes over the active units whose files a generation brings (`facts/activation.md` 1.6), hands
//! what changed to the table in `modified.rs` (1.8), adds what fstab says (1.9), and never acts. Both
//! modes walk the same way; where they part is named in [`Mode`].

use std::collections::BTreeMap;

use super::compare::{Verdict, compare};
use super::decisions::{Decisions, Reexec, note};
use super::facts::{ActiveUnit, Facts};
use super::file::{Dialect, FileError, UnitFile};
use super::fstab;
use super::mode::{Mode, Scope};
use super::modified::Asked;
use super::name::{UnitName, UnitType};
use super::reason::{Cause, Rule};
use super::set::UnitSource;
use super::sockets::Wiring;

/// Targets that may still be active although the machine has woken up again.
const SLEEP_TARGETS: [&str; 3] = ["suspend.target", "hibernate.target", "hybrid-sleep.target"];

/// Also one of them, which switch-to-configuration does not know.
const SLEEP_TARGET_RIGHT: &str = "suspend-then-hibernate.target";

/// The user's service that is restarted in a phase of its own.
const USER_ACTIVATION: &str = "nixos-activation.service";

/// Why no decision can be made.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum DecideError {
    /// A unit file of the new generation (in mode Exact: of either).
    #[error(transparent)]
    File(#[from] FileError),
    /// Mode Exact only: a unit that is to be restarted has no file.
    #[error("cannot decide about {unit}: the new generation has no file for it")]
    NoFile {
        /// The unit.
        unit: UnitName,
    },
    /// Mode Exact only: the state of a unit cannot be read.
    #[error("cannot decide about the reload of {unit}: its state cannot be read")]
    StateUnknown {
        /// The unit.
        unit: UnitName,
    },
}

/// Decides about all units.
pub fn decide(facts: &Facts<'_>) -> Result<Decisions, DecideError> {
    let mut planner = Planner::new(facts, Decisions::default());
    planner.take_unfinished();
    let running: Vec<&UnitName> = planner
        .active
        .values()
        .filter(|unit| unit.state.runs(facts.mode) && is_ours(facts, unit))
        .map(|unit| &unit.name)
        .collect();
    for unit in running {
        match facts.mode {
            Mode::Exact => planner.unit_exact(unit)?,
            Mode::Right => planner.unit_right(unit)?,
        }
    }
    if facts.mode == Mode::Right {
        planner.take_over_for_new_sockets()?;
    }
    planner.mounts();
    planner.manager();
    Ok(planner.finish())
}

/// The decisions in the making, and what they are made from.
#[derive(Debug)]
pub(super) struct Planner<'a> {
    pub(super) facts: &'a Facts<'a>,
    pub(super) active: BTreeMap<&'a UnitName, &'a ActiveUnit>,
    pub(super) wiring: Wiring,
    pub(super) decisions: Decisions,
}

/// A unit whose file differs.
#[derive(Debug)]
pub(super) struct Subject<'u> {
    pub(super) name: &'u UnitName,
    /// The name its file has, which is that of the template for an instance without one.
    pub(super) base: &'u UnitName,
    pub(super) new: &'u UnitFile,
    pub(super) cause: Cause,
    pub(super) asked: Asked,
}

impl<'a> Planner<'a> {
    pub(super) fn new(facts: &'a Facts<'a>, decisions: Decisions) -> Planner<'a> {
        let active = facts.active();
        let wiring = match facts.mode {
            Mode::Exact => Wiring::default(),
            Mode::Right => Wiring::new(facts, active.keys().copied()),
        };
        Planner {
            facts,
            active,
            wiring,
            decisions,
        }
    }

    pub(super) fn is_active(&self, unit: &UnitName) -> bool {
        self.active.contains_key(unit)
    }

    /// As switch-to-configuration: the instance name ends at the first dot, and the template counts
    /// only when neither generation has a file of the instance's own name.
    fn unit_exact(&mut self, name: &UnitName) -> Result<(), DecideError> {
        let (old, new) = (self.facts.old, self.facts.new);
        let mut base = name.clone();
        let mut undeclared = false;
        let has_file = |unit| {
            old.source(unit) != UnitSource::Missing || new.source(unit) != UnitSource::Missing
        };
        if let Some(template) = template_exact(name)
            && !has_file(name)
        {
            base = template;
            undeclared = old.has_own_dropins(name) && !new.has_own_dropins(name);
        }
        if old.source(&base) == UnitSource::Missing {
            return Ok(());
        }
        if undeclared || !new.source(&base).is_present() {
            let cause = gone(undeclared, new.source(&base));
            let before = old.read_ini(name, &base)?.unwrap_or_default();
            self.remove(name, cause, &before);
            return Ok(());
        }
        let after = new.read_ini(name, &base)?.unwrap_or_default();
        if name.kind() == UnitType::Target {
            self.target(name, &after);
            return Ok(());
        }
        let before = old.read_ini(name, &base)?.unwrap_or_default();
        self.compared(name, &base, &before, &after)
    }

    fn unit_right(&mut self, name: &UnitName) -> Result<(), DecideError> {
        let (old, new) = (self.facts.old, self.facts.new);
        if old.loaded(name) == UnitSource::Missing {
            return Ok(());
        }
        let declared_before = old.source(name).is_present() || old.has_own_dropins(name);
        let declared_now = new.source(name).is_present()
            || new.has_own_dropins(name)
            || !new.pulled_in_by(name).is_empty();
        let undeclared = name.instance().is_some() && declared_before && !declared_now;
        // Whatever was wrong with the running unit's file ends with the new one.
        let before = old.read(name).ok().flatten();
        let before = before.unwrap_or_else(|| UnitFile::empty(Dialect::Systemd));
        if undeclared || !self.can_load(name) {
            let cause = gone(undeclared && self.can_load(name), new.loaded(name));
            self.remove(name, cause, &before);
            return Ok(());
        }
        let after = new.read(name)?.unwrap_or_default();
        if name.kind() == UnitType::Target {
            self.target(name, &after);
            return Ok(());
        }
        self.compared(name, name, &before, &after)
    }

    /// Whether the new generation has a file that systemd would load for the unit (mode Right: an
    /// empty one masks).
    pub(super) fn can_load(&self, name: &UnitName) -> bool {
        match self.facts.new.loaded(name) {
            UnitSource::Present { text } => !text.is_empty(),
            UnitSource::Masked | UnitSource::Missing => false,
        }
    }

    fn remove(&mut self, name: &UnitName, cause: Cause, before: &UnitFile) {
        if before.flag("Unit", "X-StopOnRemoval", true) {
            note(&mut self.decisions.stop, name, cause, Rule::StopGone);
        } else {
            note(&mut self.decisions.left, name, cause, Rule::StayOnRemoval);
        }
    }

    fn target(&mut self, name: &UnitName, after: &UnitFile) {
        let right = self.facts.mode == Mode::Right;
        let asleep = SLEEP_TARGETS.contains(&name.as_str())
            || (right && name.as_str() == SLEEP_TARGET_RIGHT);
        let starts = !asleep
            && !after.flag("Unit", "RefuseManualStart", false)
            && !after.flag("Unit", "X-OnlyManualStart", false);
        if starts {
            let start = &mut self.decisions.start;
            note(start, name, Cause::ActiveTarget, Rule::StartTarget);
        }
        let stops = after.flag("Unit", "X-StopOnReconfiguration", false);
        // Who is stopped and not started again stays down, unless somebody happens to want it.
        if stops && (starts || !right) {
            let stop = &mut self.decisions.stop;
            note(stop, name, Cause::ActiveTarget, Rule::StopTarget);
        }
    }

    fn compared(
        &mut self,
        name: &UnitName,
        base: &UnitName,
        before: &UnitFile,
        after: &UnitFile,
    ) -> Result<(), DecideError> {
        let comparison = compare(before, after, self.facts.mode);
        let reload = match comparison.verdict {
            Verdict::Equal => return Ok(()),
            Verdict::Reload => self.facts.mode == Mode::Exact || can_reload(name, after),
            Verdict::Restart => false,
        };
        let cause = Cause::Changed {
            changes: comparison.changes,
        };
        if reload {
            if !self.decisions.restart.contains_key(name) {
                note(&mut self.decisions.reload, name, cause, Rule::Reload);
            }
            return Ok(());
        }
        self.modified(Subject {
            name,
            base,
            new: after,
            cause,
            asked: Asked::ByChange,
        })
    }

    fn mounts(&mut self) {
        if let Some(mounts) = self.facts.mounts {
            let active = &self.active;
            let is_active = |unit: &UnitName| active.contains_key(unit);
            let pair = (mounts.old, mounts.new);
            fstab::decide(&mut self.decisions, pair, self.facts.mode, &is_active);
        }
    }

    fn manager(&mut self) {
        self.decisions.reexec = self.facts.managers.and_then(|(running, new)| {
            if running.program != new.program {
                Some(Reexec::Program)
            } else {
                (running.settings != new.settings).then_some(Reexec::Settings)
            }
        });
    }

    /// Ends the making of the decisions.
    pub(super) fn finish(mut self) -> Decisions {
        let decisions = &mut self.decisions;
        if self.facts.scope == Scope::User {
            decisions.skip.remove(USER_ACTIVATION);
        }
        if self.facts.mode == Mode::Right {
            if self.facts.scope == Scope::User {
                for acts in acts(decisions) {
                    acts.remove(USER_ACTIVATION);
                }
            }
            decide_once(decisions);
            self.part_restarts();
        }
        self.decisions
    }
}

/// The four maps that lead to jobs.
fn acts(decisions: &mut Decisions) -> [&mut super::decisions::Reasons; 4] {
    [
        &mut decisions.stop,
        &mut decisions.reload,
        &mut decisions.restart,
        &mut decisions.start,
    ]
}

/// Keeps the gravest action where several rules came to one unit: stop before restart, restart before
/// reload, reload before nothing.
fn decide_once(decisions: &mut Decisions) {
    for unit in decisions.stop.keys() {
        if let Some(reason) = decisions.restart.remove(unit) {
            decisions.start.entry(unit.clone()).or_insert(reason);
        }
        decisions.reload.remove(unit);
        decisions.skip.remove(unit);
    }
    for unit in decisions.restart.keys() {
        decisions.start.remove(unit);
        decisions.reload.remove(unit);
        decisions.skip.remove(unit);
    }
    let Decisions { reload, skip, .. } = decisions;
    skip.retain(|unit, _| !reload.contains_key(unit));
    let acts = [
        &decisions.stop,
        &decisions.reload,
        &decisions.restart,
        &decisions.start,
        &decisions.skip,
    ];
    decisions
        .left
        .retain(|unit, _| !acts.iter().any(|acts| acts.contains_key(unit)));
}

/// Whether a generation brought the unit's file: it lies in the unit directory.
fn is_ours(facts: &Facts<'_>, unit: &ActiveUnit) -> bool {
    let directory = facts.scope.directory();
    let Some(fragment) = &unit.fragment else {
        return false;
    };
    match facts.mode {
        // Only a comparison of the text, so that system.control and system.attached count too.
        Mode::Exact => fragment.starts_with(directory),
        Mode::Right => fragment
            .rsplit_once('/')
            .is_some_and(|(parent, _)| parent == directory),
    }
}

fn gone(undeclared: bool, source: UnitSource<'_>) -> Cause {
    match source {
        _ if undeclared => Cause::Undeclared,
        UnitSource::Missing => Cause::Removed,
        UnitSource::Masked | UnitSource::Present { .. } => Cause::Masked,
    }
}

/// The template of an instance, by the pattern `(.*)@[^.]*\.(.*)`: `a@b.c.service` has the "template"
/// `a@.c.service`, which nobody has.
pub(super) fn template_exact(name: &UnitName) -> Option<UnitName> {
    let (prefix, rest) = name.as_str().rsplit_once('@')?;
    let (_, kind) = rest.split_once('.')?;
    UnitName::new(&format!("{prefix}@.{kind}")).ok()
}

/// Whether systemd could reload the unit once it has read its new file.
pub(super) fn can_reload(name: &UnitName, new: &UnitFile) -> bool {
    match name.kind() {
        UnitType::Mount => true,
        UnitType::Service => {
            !new.values("Service", "ExecReload").is_empty()
                || new.last("Service", "Type") == Some("notify-reload")
        }
        _ => false,
    }
}

#[cfg(test)]
#[path = "decide_tests.rs"]
mod tests;

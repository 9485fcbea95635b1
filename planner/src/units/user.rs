//! Units of a user that move from the user's own manager to the generation.
//!
//! A copy in `~/.config/systemd/user` hides the generation's unit until the user's own activation removes it.
//! Units that might move are noted before; afterwards those whose file is now the generation's are taken
//! over, by the same flags as everywhere (`facts/activation.md` 1.10).

use super::decisions::{Decisions, note};
use super::facts::{ActiveUnit, Facts};
use super::file::{FileError, UnitFile};
use super::mode::{Mode, Scope};
use super::modified::never_restarted;
use super::name::{UnitName, UnitType};
use super::reason::{Cause, Rule};
use super::set::UnitSource;

/// The units that may move: active from elsewhere, and defined by the new generation. `private` is the
/// directory of the user's own units, if it is known.
#[must_use]
pub fn candidates(facts: &Facts<'_>, private: Option<&str>) -> Vec<UnitName> {
    let directory = Scope::User.directory();
    let active = facts.active();
    let moving = active.values().filter(|unit| {
        let Some(fragment) = &unit.fragment else {
            return false;
        };
        // A unit without a file is made by a program. switch-to-configuration takes it for one that
        // comes from elsewhere.
        if facts.mode == Mode::Right && fragment.is_empty() {
            return false;
        }
        let parent = fragment.rsplit_once('/').map(|(parent, _)| parent);
        facts.new.source(&unit.name) != UnitSource::Missing
            && parent != Some(directory)
            && ((private.is_some() && parent == private)
                || facts.old.source(&unit.name) == UnitSource::Missing)
    });
    moving.map(|unit| unit.name.clone()).collect()
}

/// What is to be done with the candidates once the user's own activation is over. `after` is what
/// systemd has loaded then, `started` what was started before; its targets are started again.
pub fn migrate(
    facts: &Facts<'_>,
    candidates: &[UnitName],
    after: &[ActiveUnit],
    started: &Decisions,
) -> Result<Decisions, FileError> {
    let mut decisions = Decisions::default();
    if candidates.is_empty() {
        return Ok(decisions);
    }
    let now = Facts {
        loaded: after,
        ..*facts
    };
    let active = now.active();
    for unit in candidates {
        let file = match facts.mode {
            Mode::Exact => facts.new.read_ini(unit, unit)?,
            Mode::Right => facts.new.read(unit)?,
        };
        let Some(file) = file else {
            continue;
        };
        match active.get(unit) {
            Some(state) if is_ours_now(state) => take_over(&mut decisions, unit, &file),
            Some(_) => {}
            None => start(&mut decisions, unit, &file),
        }
    }
    let targets = started.start.keys();
    for target in targets.filter(|unit| unit.kind() == UnitType::Target) {
        let cause = Cause::ActiveTarget;
        note(&mut decisions.start, target, cause, Rule::StartTarget);
    }
    Ok(decisions)
}

fn is_ours_now(unit: &ActiveUnit) -> bool {
    let fragment = unit.fragment.as_deref().unwrap_or_default();
    let parent = fragment.rsplit_once('/').map(|(parent, _)| parent);
    parent == Some(Scope::User.directory())
}

fn take_over(decisions: &mut Decisions, unit: &UnitName, file: &UnitFile) {
    let (reasons, rule) = if never_restarted(unit) {
        (&mut decisions.skip, Rule::DaemonReload)
    } else if file.flag("Service", "X-ReloadIfChanged", false) {
        (&mut decisions.reload, Rule::ReloadIfChanged)
    } else if !file.flag("Service", "X-RestartIfChanged", true) {
        (&mut decisions.skip, Rule::NoRestartIfChanged)
    } else if file.flag("Unit", "RefuseManualStop", false) {
        (&mut decisions.skip, Rule::RefusesStop)
    } else if file.flag("Unit", "X-OnlyManualStart", false) {
        (&mut decisions.skip, Rule::OnlyManualStart)
    } else {
        (&mut decisions.restart, Rule::RestartLate)
    };
    note(reasons, unit, Cause::Migrated, rule);
}

fn start(decisions: &mut Decisions, unit: &UnitName, file: &UnitFile) {
    let (reasons, rule) = if file.flag("Unit", "RefuseManualStart", false) {
        (&mut decisions.skip, Rule::RefusesStart)
    } else if file.flag("Unit", "X-OnlyManualStart", false) {
        (&mut decisions.skip, Rule::OnlyManualStart)
    } else {
        (&mut decisions.start, Rule::Start)
    };
    note(reasons, unit, Cause::Migrated, rule);
}

#[cfg(test)]
#[path = "user_tests.rs"]
mod tests;

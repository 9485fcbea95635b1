//! What is done with a unit that has changed: the table of `facts/activation.md` 1.8, first match wins.

use super::decide::{DecideError, Planner, Subject, can_reload};
use super::decisions::{Reasons, note};
use super::file::UnitFile;
use super::mode::Mode;
use super::name::{UnitName, UnitType};
use super::reason::{Cause, Rule};
use super::set::UnitSource;

/// Targets that are pulled in by what needs them and never restarted by themselves.
const MILESTONES: [&str; 4] = [
    "sysinit.target",
    "basic.target",
    "multi-user.target",
    "graphical.target",
];

/// Mounts that are at most reloaded.
const VITAL_MOUNTS: [&str; 2] = ["-.mount", "nix.mount"];

/// More of them, which switch-to-configuration does not know.
const VITAL_MOUNTS_RIGHT: [&str; 2] = ["nix-store.mount", "usr.mount"];

/// Why a unit is looked at.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Asked {
    /// Its file differs; there is still time to stop it before the activation.
    ByChange,
    /// The activation script wants a restart; the stops are over.
    ByActivation,
}

/// Whether systemd applies changes by itself, or the unit is a milestone.
pub(super) fn never_restarted(unit: &UnitName) -> bool {
    MILESTONES.contains(&unit.as_str()) || matches!(unit.kind(), UnitType::Path | UnitType::Slice)
}

impl Planner<'_> {
    /// Decides about one changed unit.
    pub(super) fn modified(&mut self, subject: Subject<'_>) -> Result<(), DecideError> {
        let Subject { name, .. } = subject;
        let right = self.facts.mode == Mode::Right;
        if never_restarted(name) {
            note(
                &mut self.decisions.left,
                name,
                subject.cause,
                Rule::DaemonReload,
            );
            return Ok(());
        }
        match name.kind() {
            UnitType::Mount => {
                let vital = VITAL_MOUNTS.contains(&name.as_str())
                    || (right && VITAL_MOUNTS_RIGHT.contains(&name.as_str()));
                let (reasons, rule) = if vital {
                    (&mut self.decisions.reload, Rule::VitalMount)
                } else {
                    (&mut self.decisions.restart, Rule::Remount)
                };
                note(reasons, name, subject.cause, rule);
                Ok(())
            }
            UnitType::Socket if right => self.socket_changed(&subject),
            UnitType::Socket => {
                note(
                    &mut self.decisions.left,
                    name,
                    subject.cause,
                    Rule::IgnoreSocket,
                );
                Ok(())
            }
            _ => {
                self.by_flags(subject);
                Ok(())
            }
        }
    }

    /// Rows 5 to 9 of the table: what the flags of the new file say.
    fn by_flags(&mut self, subject: Subject<'_>) {
        let Subject {
            name, new, asked, ..
        } = subject;
        let right = self.facts.mode == Mode::Right;
        let stops = match asked {
            Asked::ByChange => self.decisions.stop.contains_key(name),
            Asked::ByActivation => false,
        };
        if new.flag("Service", "X-ReloadIfChanged", false)
            && !stops
            && !self.decisions.restart.contains_key(name)
            && (!right || can_reload(name, new))
        {
            let reload = &mut self.decisions.reload;
            note(reload, name, subject.cause, Rule::ReloadIfChanged);
            return;
        }
        if let Some(rule) = self.forbidden(name, new) {
            note(&mut self.decisions.skip, name, subject.cause, rule);
        } else if let Some(rule) = self.restarts_at_once(name, new) {
            note(&mut self.decisions.restart, name, subject.cause, rule);
        } else if !right {
            self.with_sockets_exact(&subject);
        } else if asked == Asked::ByActivation {
            // Its sockets have not changed and may go on listening.
            let restart = &mut self.decisions.restart;
            note(restart, name, subject.cause, Rule::RestartLate);
        } else {
            self.stop_and_start(name, subject.cause, Rule::StopStart);
        }
        self.decisions.reload.remove(name);
    }

    /// Row 6, and in mode Right two more reasons to leave the unit alone.
    pub(super) fn forbidden(&self, name: &UnitName, new: &UnitFile) -> Option<Rule> {
        let right = self.facts.mode == Mode::Right;
        if !new.flag("Service", "X-RestartIfChanged", true) {
            Some(Rule::NoRestartIfChanged)
        } else if new.flag("Unit", "RefuseManualStop", false) {
            Some(Rule::RefusesStop)
        } else if new.flag("Unit", "X-OnlyManualStart", false) {
            Some(Rule::OnlyManualStart)
        } else if right && new.flag("Unit", "RefuseManualStart", false) {
            Some(Rule::RefusesStart)
        } else {
            (right && self.wiring.connection_of(name).is_some()).then_some(Rule::Connection)
        }
    }

    /// Row 7, and in mode Right a running unit that may be stopped only by its new definition.
    fn restarts_at_once(&self, name: &UnitName, new: &UnitFile) -> Option<Rule> {
        if !new.flag("Service", "X-StopIfChanged", true) {
            Some(Rule::NoStopIfChanged)
        } else if name.kind() != UnitType::Service {
            Some(Rule::NotService)
        } else {
            let refuses = self.facts.mode == Mode::Right && self.refuses_stop_now(name);
            refuses.then_some(Rule::RestartWhenAllowed)
        }
    }

    /// Whether the definition that is in force now forbids the stop.
    pub(super) fn refuses_stop_now(&self, name: &UnitName) -> bool {
        let old = self.facts.old.read(name).ok().flatten();
        old.is_some_and(|old| old.flag("Unit", "RefuseManualStop", false))
    }

    /// Rows 8 and 9 as switch-to-configuration has them: a service with a socket in the new
    /// generation is left to that socket, even when nobody starts it.
    fn with_sockets_exact(&mut self, subject: &Subject<'_>) {
        let Subject { name, new, .. } = *subject;
        let mut by_socket = false;
        for socket in sockets_exact(subject.base, new) {
            let in_new = self.facts.new.source(&socket) != UnitSource::Missing;
            if self.is_active(&socket) {
                let cause = Cause::WithService {
                    service: name.clone(),
                };
                self.restart_or_stop(subject.asked, &socket, &cause, Rule::StopStart, in_new);
            }
            by_socket |= in_new;
        }
        if new.flag("Service", "X-NotSocketActivated", false) {
            by_socket = false;
        }
        let rule = if by_socket {
            Rule::SocketStarts
        } else {
            Rule::StopStart
        };
        self.restart_or_stop(subject.asked, name, &subject.cause, rule, !by_socket);
    }

    /// Stops a unit, and starts it again if it is to; late, when stops are over, restarts it.
    fn restart_or_stop(
        &mut self,
        asked: Asked,
        unit: &UnitName,
        cause: &Cause,
        rule: Rule,
        start: bool,
    ) {
        let mut add = |reasons: fn(&mut super::Decisions) -> &mut Reasons, rule: Rule| {
            note(reasons(&mut self.decisions), unit, cause.clone(), rule);
        };
        if asked == Asked::ByActivation {
            add(|decisions| &mut decisions.restart, Rule::RestartLate);
            return;
        }
        if start {
            add(|decisions| &mut decisions.start, rule.clone());
        }
        add(|decisions| &mut decisions.stop, rule);
    }
}

/// The sockets of a service: those it names, else the one of its name. An instance counts as one of
/// its template's socket.
fn sockets_exact(base: &UnitName, new: &UnitFile) -> Vec<UnitName> {
    let named = new.values("Service", "Sockets").iter();
    let mut sockets: Vec<String> = named
        .flat_map(|value| value.split_whitespace())
        .map(String::from)
        .collect();
    if sockets.is_empty() {
        let stem = base.stem();
        let stem = stem.strip_suffix('@').unwrap_or(stem);
        sockets.push(format!("{stem}.socket"));
    }
    let sockets = sockets.into_iter();
    sockets
        .filter_map(|socket| UnitName::new(&socket).ok())
        .collect()
}

//! The decisions: what happens to which unit, each with its reason.

use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Serialize};

use super::facts::Unfinished;
use super::name::{UnitName, UnitType};
use super::phase::Phase;
use super::reason::{Cause, Reason, Rule};

/// Units with the reason for what is done to them.
pub type Reasons = BTreeMap<UnitName, Reason>;

/// Why the service manager is to be started anew.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Reexec {
    /// Its program is another one.
    Program,
    /// Its settings are others.
    Settings,
}

/// What systemd is asked to do with a unit.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Verb {
    /// Stop it.
    Stop,
    /// Make it read its configuration again.
    Reload,
    /// Stop and start it.
    Restart,
    /// Start it.
    Start,
}

/// One job for systemd.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Job<'a> {
    /// What to do.
    pub verb: Verb,
    /// With which unit.
    pub unit: &'a UnitName,
}

/// What is to be done to units, by kind of action. A unit in `stop` and in `start` is stopped before
/// the activation and started after it.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Decisions {
    /// Stopped before the activation.
    pub stop: Reasons,
    /// Reloaded after it.
    pub reload: Reasons,
    /// Restarted after it.
    pub restart: Reasons,
    /// Started after it.
    pub start: Reasons,
    /// Those in `restart` that must not run while a socket in `restart` is started again.
    pub stop_for_socket: BTreeSet<UnitName>,
    /// Changed, but not restarted because something forbids it: they run on in their old version.
    pub skip: Reasons,
    /// Changed, and nothing needs to be done to them.
    pub left: Reasons,
    /// Swap devices to be turned off.
    pub swapoff: BTreeSet<String>,
    /// Whether the service manager is to be started anew, and why.
    pub reexec: Option<Reexec>,
}

impl Decisions {
    /// Adds what an interrupted run had still to do. Whatever was decided already keeps its reason.
    pub fn merge_unfinished(&mut self, unfinished: &Unfinished) {
        let lists = [
            (&mut self.stop, &unfinished.stop, Rule::StopGone),
            (&mut self.reload, &unfinished.reload, Rule::Reload),
            (&mut self.restart, &unfinished.restart, Rule::RestartLate),
            (&mut self.start, &unfinished.start, Rule::Start),
        ];
        for (reasons, units, rule) in lists {
            for unit in units {
                note(reasons, unit, Cause::Unfinished, rule.clone());
            }
        }
    }

    /// What is left of the decisions for the units of a group: nothing about others, swap or the
    /// service manager. A service and its sockets must be in the same group.
    #[must_use]
    pub fn only(&self, group: &BTreeSet<UnitName>) -> Decisions {
        let within = |reasons: &Reasons| -> Reasons {
            let chosen = reasons.iter().filter(|(unit, _)| group.contains(*unit));
            chosen
                .map(|(unit, why)| (unit.clone(), why.clone()))
                .collect()
        };
        Decisions {
            stop: within(&self.stop),
            reload: within(&self.reload),
            restart: within(&self.restart),
            start: within(&self.start),
            stop_for_socket: self.stop_for_socket.intersection(group).cloned().collect(),
            skip: within(&self.skip),
            left: within(&self.left),
            swapoff: BTreeSet::new(),
            reexec: None,
        }
    }

    /// The names to write down before anything is done, so that the next run can go on from here.
    #[must_use]
    pub fn to_unfinished(&self) -> Unfinished {
        let names = |reasons: &Reasons| reasons.keys().cloned().collect();
        Unfinished {
            stop: names(&self.stop),
            reload: names(&self.reload),
            restart: names(&self.restart),
            start: names(&self.start),
        }
    }

    /// The jobs of a phase, in waves: each wave ends before the next one begins, and within a wave
    /// the jobs are submitted in this order.
    ///
    /// Within a wave systemd orders the jobs it knows of. The order of submission is for those that come
    /// too late: a socket stops before its service (nothing must wake it) and starts before it (no socket
    /// starts beside its running service). For a restart of both that is not enough, seen on systemd
    /// 257: the service is back before the socket has begun. So there the service stops, the socket
    /// restarts, and the service starts, in three waves.
    #[must_use]
    pub fn jobs(&self, phase: Phase) -> Vec<Vec<Job<'_>>> {
        let (reasons, verb) = match phase {
            Phase::Stop => (&self.stop, Verb::Stop),
            Phase::Reload => (&self.reload, Verb::Reload),
            Phase::Restart => return self.restarts(),
            Phase::Start => (&self.start, Verb::Start),
            _ => return Vec::new(),
        };
        waves([jobs_of(reasons.keys(), verb)])
    }

    fn restarts(&self) -> Vec<Vec<Job<'_>>> {
        let apart: BTreeSet<&UnitName> = self.stop_for_socket.iter().collect();
        if apart.is_empty() {
            return waves([jobs_of(self.restart.keys(), Verb::Restart)]);
        }
        let is_socket = |unit: &&UnitName| unit.kind() == UnitType::Socket;
        let others = self.restart.keys().filter(|unit| !is_socket(unit));
        let (mut last, rest): (Vec<_>, Vec<_>) = others.partition(|unit| apart.contains(unit));
        let stops = jobs_of(last.iter().copied(), Verb::Stop);
        let sockets = jobs_of(self.restart.keys().filter(is_socket), Verb::Restart);
        let mut ends = jobs_of(last.drain(..), Verb::Start);
        ends.extend(jobs_of(rest.into_iter(), Verb::Restart));
        waves([stops, sockets, ends])
    }

    /// Whether nothing is to be done but what every run does.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        let mut acts = [&self.stop, &self.reload, &self.restart, &self.start].into_iter();
        acts.all(|reasons| reasons.values().all(Reason::is_routine))
            && self.swapoff.is_empty()
            && self.reexec.is_none()
    }
}

fn waves<'a>(waves: impl IntoIterator<Item = Vec<Job<'a>>>) -> Vec<Vec<Job<'a>>> {
    let waves = waves.into_iter();
    waves.filter(|jobs| !jobs.is_empty()).collect()
}

fn jobs_of<'a>(units: impl Iterator<Item = &'a UnitName>, verb: Verb) -> Vec<Job<'a>> {
    let rank = |unit: &UnitName| match unit.kind() {
        UnitType::Socket => 0,
        UnitType::Target => 2,
        _ => 1,
    };
    let mut jobs: Vec<Job<'_>> = units.map(|unit| Job { verb, unit }).collect();
    jobs.sort_by_key(|job| rank(job.unit));
    jobs
}

/// Writes a unit down, unless it is there already.
pub(super) fn note(reasons: &mut Reasons, unit: &UnitName, cause: Cause, rule: Rule) {
    let reason = Reason { cause, rule };
    reasons.entry(unit.clone()).or_insert(reason);
}

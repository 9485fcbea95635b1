//! What a switch asks of units in memory.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;

use super::{FakeServices, lock};
use crate::host::service::{
    Control, JobVerb, LoadedUnit, Processes, ServiceError, ServiceManager, Transient, UnitDetails,
    UnitJob, UnitState,
};

type Program = dyn Fn(&Transient) -> i32 + Send + Sync;

/// What only a switch looks at.
#[derive(Default)]
pub(super) struct Switching {
    /// Units whose start, restart or reload fails.
    broken: Vec<String>,
    /// What is known of units besides their state.
    details: Vec<(String, UnitDetails)>,
    /// What transient units do; without one they end well and change nothing.
    program: Option<Arc<Program>>,
    /// How the machine as a whole is; `running` when nothing is said.
    system: Option<String>,
    /// How many starts there were.
    starts: u32,
    /// Processes of every service that runs.
    processes: Processes,
    /// How many changes there are to be before the daemon is killed.
    until_death: Option<usize>,
}

impl fmt::Debug for Switching {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Switching")
            .field("broken", &self.broken)
            .finish_non_exhaustive()
    }
}

impl FakeServices {
    /// Lets every start, restart and reload of a unit fail, or work again.
    pub fn set_broken(&self, unit: &str, broken: bool) {
        let units = &mut lock(&self.switching).broken;
        units.retain(|it| it != unit);
        if broken {
            units.push(unit.to_owned());
        }
    }

    /// Says how the machine as a whole is.
    pub fn set_system(&self, state: &str) {
        lock(&self.switching).system = Some(state.to_owned());
    }

    /// Says which processes every service has that runs.
    pub fn set_processes(&self, processes: Processes) {
        lock(&self.switching).processes = processes;
    }

    /// Says what a transient unit does to the machine of the test, and with which code it ends.
    pub fn on_transient(&self, program: impl Fn(&Transient) -> i32 + Send + Sync + 'static) {
        lock(&self.switching).program = Some(Arc::new(program));
    }

    /// Changes what is known of a unit besides its state.
    pub fn change_details(&self, unit: &str, change: impl FnOnce(&mut UnitDetails)) {
        let known = &mut lock(&self.switching).details;
        if !known.iter().any(|(name, _)| name == unit) {
            known.push((unit.to_owned(), UnitDetails::default()));
        }
        let found = known.iter_mut().find(|(name, _)| name == unit);
        if let Some((_, details)) = found {
            change(details);
        }
    }

    /// Lets the daemon be killed, by a panic, instead of the change after the next `count` ones.
    pub fn die_after(&self, count: usize) {
        lock(&self.switching).until_death = Some(count);
    }

    pub(super) fn die_if_due(&self) {
        let due = {
            let until = &mut lock(&self.switching).until_death;
            let due = *until == Some(0);
            *until = until.and_then(|left| left.checked_sub(1));
            due
        };
        assert!(!due, "the daemon is killed, as this test wants it");
    }

    fn known_details(&self, unit: &str) -> UnitDetails {
        let switching = lock(&self.switching);
        let mut known = switching.details.iter();
        known
            .find(|(name, _)| name == unit)
            .map(|(_, details)| details.clone())
            .unwrap_or_default()
    }

    fn run_job(&self, job: &UnitJob) -> Result<(), ServiceError> {
        let broken = lock(&self.switching).broken.contains(&job.unit);
        if broken && job.verb != JobVerb::Stop {
            self.note(job.verb.as_str(), &job.unit)?;
            self.change(job.verb.as_str(), &job.unit, |state| {
                state.active = "failed".to_owned();
            })?;
            return Err(ServiceError::Job {
                action: job.verb.as_str(),
                unit: job.unit.clone(),
                result: "failed".to_owned(),
            });
        }
        match job.verb {
            JobVerb::Stop => self.stop(&job.unit, job.deadline),
            JobVerb::Start if self.is_active(&job.unit) => self.note("start", &job.unit),
            JobVerb::Start => self
                .start(&job.unit, job.deadline)
                .map(|()| self.began(&job.unit)),
            JobVerb::Restart => self
                .restart(&job.unit, job.deadline)
                .map(|()| self.began(&job.unit)),
            JobVerb::Reload => self.note("reload", &job.unit),
        }
    }

    /// Every start has another identity.
    fn began(&self, unit: &str) {
        let starts = {
            let mut switching = lock(&self.switching);
            switching.starts += 1;
            switching.starts
        };
        self.change_details(unit, |details| {
            details.invocation = format!("{starts:032x}")
        });
    }
}

impl Control for FakeServices {
    fn loaded(&self) -> Result<Vec<LoadedUnit>, ServiceError> {
        self.running_only("list", "the units")?;
        let units = self.units().into_iter();
        Ok(units
            .map(|(name, state)| LoadedUnit {
                sub: self.known_details(&name).sub,
                load: state.load,
                active: state.active,
                following: String::new(),
                name,
            })
            .collect())
    }

    fn fragments(&self, units: &[&str]) -> BTreeMap<String, String> {
        let known = self.units();
        let found = units.iter().filter_map(|&unit| {
            let state = known.get(unit)?;
            Some((unit.to_owned(), state.fragment.clone()))
        });
        found.collect()
    }

    fn details(&self, unit: &str) -> Result<UnitDetails, ServiceError> {
        let state = self.state(unit)?;
        Ok(UnitDetails {
            load: state.load,
            active: state.active,
            fragment: state.fragment,
            ..self.known_details(unit)
        })
    }

    fn details_of(&self, units: &[&str]) -> Vec<Result<UnitDetails, ServiceError>> {
        units.iter().map(|unit| self.details(unit)).collect()
    }

    fn restarts(&self, services: &[&str]) -> Result<BTreeMap<String, u32>, ServiceError> {
        let asked = services.iter();
        asked
            .map(|&unit| Ok((unit.to_owned(), self.details(unit)?.restarts)))
            .collect()
    }

    fn run_jobs(&self, jobs: &[UnitJob]) -> Vec<Result<(), ServiceError>> {
        jobs.iter().map(|job| self.run_job(job)).collect()
    }

    fn reexecute(&self) -> Result<(), ServiceError> {
        self.note("reexecute", "")
    }

    fn system_state(&self) -> Result<String, ServiceError> {
        self.running_only("read", "the state of the system")?;
        let state = lock(&self.switching).system.clone();
        Ok(state.unwrap_or_else(|| "running".to_owned()))
    }

    fn restart_machine(&self) -> Result<(), ServiceError> {
        self.note("restart", "the machine")
    }

    fn reset_all_failed(&self) -> Result<(), ServiceError> {
        self.note("reset-failed", "")?;
        let failed: Vec<String> = self
            .units()
            .into_iter()
            .filter(|(_, state)| state.active == "failed")
            .map(|(name, _)| name)
            .collect();
        for unit in failed {
            let quiet = |state: &mut UnitState| state.active = "inactive".to_owned();
            self.change("reset", &unit, quiet)?;
        }
        Ok(())
    }

    fn processes(&self, service: &str) -> Result<Processes, ServiceError> {
        self.running_only("read", service)?;
        let processes = lock(&self.switching).processes.clone();
        Ok(match self.is_active(service) {
            true => processes,
            false => Processes::default(),
        })
    }

    fn halt_main(&self, service: &str, halts: bool) -> Result<(), ServiceError> {
        self.note(if halts { "halt" } else { "continue" }, service)
    }

    fn start_transient(&self, transient: &Transient) -> Result<(), ServiceError> {
        if self.state(&transient.unit)?.load != "not-found" {
            return Ok(());
        }
        self.note("run", &transient.command.join(" "))?;
        let program = lock(&self.switching).program.clone();
        let code = program.map_or(0, |program| program(transient));
        let active = if code == 0 { "active" } else { "failed" };
        self.set(&transient.unit, "transient", active);
        self.change_details(&transient.unit, |details| {
            details.exit_status = code;
            details.sub = if code == 0 { "exited" } else { "failed" }.to_owned();
            details.result = if code == 0 { "success" } else { "exit-code" }.to_owned();
        });
        Ok(())
    }
}

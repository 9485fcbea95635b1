//! Carries out what was decided about units, phase by phase, as switch-to-configuration does.
//!
//! Nothing that fails ends the run: a failure is noted and the next phase begins, so that
//! whatever was stopped is always started again, if only to fail there too. Only a daemon that ends
//! leaves early, and the next one goes on after the last phase that was done. Jobs of a phase
//! are submitted together; each has a deadline.

pub mod facts;
pub(super) mod jobs;
pub(super) mod lock;
pub(super) mod log;
pub mod progress;
pub mod read;
pub mod settle;
pub(super) mod users;

use std::collections::BTreeMap;
use std::path::Path;
use std::time::{Duration, Instant};

use nixctl_planner::units::{
    ActivationLists, ActiveUnit, DecideError, Decisions, Facts, Mode, Phase, Scope, Seen, UnitName,
    UnitSet, Verb, add_activation, check_reloads,
};

use crate::host::cancel::Stop;
use crate::host::service::{Control, Transient};
use crate::host::{Command, ServiceError};
use crate::resource::Context;
use crate::switch::activate::error::{ActivateError, UnitFailure};
use crate::switch::activate::program as activate_program;
use crate::switch::units::log::last_lines;
use crate::switch::units::progress::{Progress, ProgressFile};

/// What runs again whatever belongs before `sysinit.target`.
const REACTIVATION: &str = "sysinit-reactivation.target";

/// Lists that the activation script writes.
const LISTS: [&str; 2] = [
    "/run/nixos/activation-restart-list",
    "/run/nixos/activation-reload-list",
];

/// For turning a swap device off: everything in it must find a place in memory.
const SWAPOFF_DEADLINE: Duration = Duration::from_secs(300);

/// Results of jobs that are no failure, as for switch-to-configuration: another job took over, or
/// the unit had nothing to do.
const HARMLESS: [&str; 5] = ["canceled", "skipped", "assert", "once", "collected"];

/// One activation: what is to be done, and with what.
#[derive(Debug)]
pub struct Executor<'a> {
    /// The machine.
    pub context: &'a Context<'a>,
    /// Its service manager.
    pub control: &'a dyn Control,
    /// The generation that is to run.
    pub toplevel: &'a Path,
    /// Name of the activation.
    pub run: &'a str,
    /// How far it is.
    pub progress: Progress,
    /// Seconds for a job of a unit that does not say what it may take.
    pub unit_seconds: u64,
    /// When the whole of it should be done.
    pub until: Instant,
}

impl Executor<'_> {
    /// Carries out all phases that are not done yet. What failed is in `progress` afterwards.
    ///
    /// # Errors
    /// When the daemon ends, or how far it is cannot be written down before anything was done.
    pub fn carry_out(&mut self) -> Result<(), ActivateError> {
        let fs = &self.context.host.fs;
        let file = ProgressFile::new(fs, self.run);
        if self.progress.done.is_empty() {
            file.remove_others()?;
            self.note_invocations();
            file.write(&self.progress)?;
        }
        let resumed = !self.progress.done.is_empty();
        for &phase in Phase::order(Scope::System, Mode::Right) {
            if self.progress.done.contains(&phase) {
                continue;
            }
            if self.context.cancel.requested() == Some(Stop::Shutdown) {
                return Err(self.stopped());
            }
            tracing::debug!(phase = ?phase, "activating {}", self.toplevel.display());
            self.phase(phase, resumed)?;
            self.progress.done.push(phase);
            // A phase that is done twice is better than one that is not done.
            if let Err(error) = file.write(&self.progress) {
                tracing::warn!("{error}");
            }
            self.forget_lists(phase);
        }
        // Not right after it ended: services that were stopped would wait for that.
        activate_program::forget(self.context, self.control, &self.unit_of_script());
        Ok(())
    }

    fn phase(&mut self, phase: Phase, resumed: bool) -> Result<(), ActivateError> {
        match phase {
            Phase::Swapoff => self.swapoff(),
            Phase::Activate => return self.activate(),
            Phase::Reexec if self.progress.decisions.reexec.is_some() => {
                let done = self.control.reexecute();
                self.noted("systemd", done);
            }
            Phase::ResetFailed => {
                let done = self.control.reset_all_failed();
                self.noted("systemd", done);
            }
            Phase::DaemonReload => {
                let done = self.context.host.services.reload();
                self.noted("systemd", done);
            }
            Phase::Users => users::reload(self.context, self.toplevel),
            Phase::Reactivate => self.reactivate(),
            Phase::CheckReloads => self.check_reloads(),
            Phase::Restart if resumed => {
                self.forget_restarted();
                self.jobs(phase);
            }
            Phase::Stop | Phase::Reload | Phase::Restart | Phase::Start => self.jobs(phase),
            Phase::Settle => self.settle(),
            Phase::Reexec | Phase::UserActivation | Phase::Migrate => {}
        }
        Ok(())
    }

    /// What the activation script asked for is among the decisions now, and what a
    /// switch-to-configuration that was cut off had left over has been done.
    fn forget_lists(&self, phase: Phase) {
        let asked = LISTS.map(|path| (Phase::Activate, path));
        let lists = facts::LEFT_OVER.into_iter().chain(asked);
        for (_, path) in lists.filter(|(done_by, _)| *done_by == phase) {
            if let Err(error) = self.context.host.fs.remove_file(Path::new(path)) {
                tracing::warn!("{error}");
            }
        }
    }

    fn swapoff(&mut self) {
        let devices: Vec<String> = self.progress.decisions.swapoff.iter().cloned().collect();
        for device in devices {
            let command = Command::new("swapoff")
                .arg(&device)
                .deadline(SWAPOFF_DEADLINE);
            // Not a failure of the generation: the device is used on until the next boot.
            if let Err(error) = self.context.host.exec.run(&command, self.context.cancel) {
                self.context.progress.note(&error.to_string());
            }
        }
    }

    /// Runs the generation's activation script and adds what it asks for to the decisions.
    fn activate(&mut self) -> Result<(), ActivateError> {
        let script = self.toplevel.join("activate");
        if facts::has_file(&self.context.host.fs, &script)? {
            match activate_program::run(self.context, self.control, &self.script(&script)) {
                Ok(ended) if ended.code == Some(0) => {}
                Ok(ended) => self.failed(UnitFailure {
                    unit: "activate".to_owned(),
                    why: ended.why(),
                    lines: ended.lines,
                }),
                Err(error) if error.is_stopped() => return Err(self.stopped()),
                Err(error) => self.failed(simple("activate", error.to_string())),
            }
        } else {
            let link = Path::new(crate::switch::running::CURRENT_SYSTEM);
            if let Err(error) = self.context.host.fs.symlink(self.toplevel, link) {
                self.failed(simple("activate", error.to_string()));
            }
        }
        self.take_lists();
        Ok(())
    }

    fn script(&self, script: &Path) -> Transient {
        let text = |path: &Path| path.to_string_lossy().into_owned();
        Transient {
            unit: self.unit_of_script(),
            description: format!("Activation of {}", self.toplevel.display()),
            command: vec![text(script), text(self.toplevel)],
            env: vec![("NIXOS_ACTION".to_owned(), "test".to_owned())],
            deadline: self.until.saturating_duration_since(Instant::now()).max(
                // Enough for any script that does not hang, should stopping have taken all.
                Duration::from_secs(self.unit_seconds),
            ),
        }
    }

    /// Name of the unit that runs the activation script.
    pub fn unit_of_script(&self) -> String {
        unit_of_script(self.run)
    }

    fn take_lists(&mut self) {
        let mut lists = ActivationLists::default();
        let fs = &self.context.host.fs;
        for (path, list) in LISTS.iter().zip([&mut lists.restart, &mut lists.reload]) {
            let bytes = facts::small_file(fs, Path::new(path));
            let text = String::from_utf8_lossy(&bytes).into_owned();
            list.extend(
                text.lines()
                    .filter_map(|line| UnitName::new(line.trim()).ok()),
            );
        }
        if lists == ActivationLists::default() {
            return;
        }
        let decisions = self.progress.decisions.clone();
        let active = facts::as_active(&self.progress.active);
        let added = self.with_facts(&active, |facts| add_activation(facts, decisions, &lists));
        self.take_decisions(added);
    }

    fn reactivate(&mut self) {
        let found = self.control.details(REACTIVATION);
        if found.is_ok_and(|details| details.load == "loaded")
            && let Ok(unit) = UnitName::new(REACTIVATION)
        {
            self.wave(&[(Verb::Restart, unit)]);
        }
    }

    /// What is to be reloaded and does not run any more is started. A state that cannot be read
    /// ends nothing.
    fn check_reloads(&mut self) {
        // Reading all units takes time in which services are down.
        if self.progress.decisions.reload.is_empty() {
            return;
        }
        let reload = self.progress.decisions.reload.keys();
        let seen: BTreeMap<UnitName, Seen> = reload
            .map(|unit| {
                let seen = match self.control.details(unit.as_str()) {
                    Ok(details) => match details.active.as_str() {
                        "active" | "activating" | "reloading" | "refreshing" => Seen::Running,
                        _ => Seen::NotRunning,
                    },
                    Err(_) => Seen::Unknown,
                };
                (unit.clone(), seen)
            })
            .collect();
        let decisions = self.progress.decisions.clone();
        let checked = self.with_facts(&[], |facts| check_reloads(facts, decisions, &seen));
        self.take_decisions(checked);
    }

    fn with_facts<T>(
        &self,
        loaded: &[ActiveUnit],
        decide: impl FnOnce(&Facts<'_>) -> Result<T, DecideError>,
    ) -> Result<T, ActivateError> {
        let new = facts::units_of(&self.context.host.fs, self.toplevel)?;
        let (old, unfinished) = (UnitSet::default(), Default::default());
        Ok(decide(&Facts {
            mode: Mode::Right,
            scope: Scope::System,
            old: &old,
            new: &new,
            loaded,
            mounts: None,
            managers: None,
            unfinished: &unfinished,
        })?)
    }

    fn take_decisions(&mut self, decisions: Result<Decisions, ActivateError>) {
        match decisions {
            Ok(decisions) => self.progress.decisions = decisions,
            Err(error) => self.failed(simple("units", error.to_string())),
        }
    }

    /// Waits until nothing moves any more and notes what has failed since.
    fn settle(&mut self) {
        let left = self.until.saturating_duration_since(Instant::now());
        let failed = match settle::settle(self.control, left, self.context.cancel) {
            Ok(failed) => failed,
            Err(error) => return self.failed(simple("systemd", error.to_string())),
        };
        for failed in failed {
            let before = self.progress.failed.contains(&failed.unit);
            if !before && failed.unit != self.unit_of_script() {
                self.failed(failed);
            }
        }
        for failure in &mut self.progress.failures {
            if failure.lines.is_empty() && failure.unit.contains('.') {
                failure.lines = last_lines(self.context, &failure.unit);
            }
        }
    }

    pub(super) fn noted(&mut self, unit: &str, end: Result<(), ServiceError>) {
        match end {
            Ok(()) => {}
            Err(ServiceError::Job { result, .. }) if HARMLESS.contains(&result.as_str()) => {}
            Err(error) => self.failed(simple(unit, error.to_string())),
        }
    }

    /// Notes a failure; the first one of a unit says most.
    fn failed(&mut self, failure: UnitFailure) {
        tracing::warn!("{failure}");
        let known = &mut self.progress.failures;
        if !known.iter().any(|it| it.unit == failure.unit) {
            known.push(failure);
        }
    }

    fn stopped(&self) -> ActivateError {
        ActivateError::Stopped {
            toplevel: self.toplevel.display().to_string(),
        }
    }
}

/// Name of the unit that runs the activation script of an activation.
pub fn unit_of_script(run: &str) -> String {
    format!("nixctl-activation-{run}.service")
}

fn simple(unit: &str, why: String) -> UnitFailure {
    UnitFailure {
        unit: unit.to_owned(),
        why,
        lines: Vec::new(),
    }
}

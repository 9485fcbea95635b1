//! Looks whether the machine is healthy after an activation, for a while.
//!
//! Two watches at the same time: the states of the units, sampled, where a failure or a start by
//! itself ends the proof at once; and the probes from the settings, each of which must pass once
//! within the window (a service may need a moment) and again at its end.

pub(super) mod probe;

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use nixctl_proto::{Code, Failure};

use crate::host::service::{Control, LoadedUnit};
use crate::host::{FsError, ServiceError};
use crate::resource::{Context, Description, Undone};
use crate::switch::activate::error::UnitFailure;
use crate::switch::carry::waiting;
use crate::switch::prove::probe::Attempts;
pub use crate::switch::prove::probe::probes_for;
use crate::switch::step::{Prove, SwitchUndo};
use crate::switch::units::log::last_lines;
use crate::switch::units::settle::{is_starting_again, loaded};

/// Between two looks at the units.
const SAMPLE: Duration = Duration::from_millis(250);

/// Every so many looks each service is asked how often it was started again, which costs a call each.
const LOOKS_PER_COUNT: u32 = 8;

/// Why the machine is not proven healthy.
#[derive(Debug, thiserror::Error)]
pub enum ProveError {
    /// A file.
    #[error(transparent)]
    Fs(#[from] FsError),
    /// The service manager.
    #[error(transparent)]
    Service(#[from] ServiceError),
    /// A unit or a probe speaks against it.
    #[error("cannot call the machine healthy: {failure}")]
    NotHealthy {
        /// Which one, and how.
        failure: UnitFailure,
    },
    /// It was asked to stop.
    #[error("cannot finish the proof: it was asked to stop")]
    Stopped,
}

impl ProveError {
    /// Whether the work ended because it was asked to.
    pub fn is_stopped(&self) -> bool {
        matches!(self, ProveError::Stopped)
    }

    /// Never: what is not healthy now is judged by policy.
    pub fn waits(&self) -> Option<String> {
        None
    }

    /// The error for people, with its code; the last lines of the unit's log are a cause.
    pub fn failure(&self) -> Failure {
        let code = match self {
            ProveError::Fs(error) => crate::resource::error::fs_code(&error.source),
            ProveError::Service(_) => Code::ServiceFailed,
            ProveError::NotHealthy { .. } => Code::NotHealthy,
            ProveError::Stopped => Code::Cancelled,
        };
        let failure = Failure::from_error(code, self);
        match self {
            ProveError::NotHealthy { failure: it } if !it.lines.is_empty() => {
                failure.with_cause(format!("log of {}: {}", it.unit, it.lines.join(" | ")))
            }
            _ => failure,
        }
    }
}

impl Prove {
    /// What it does, for people.
    pub fn describe(&self) -> Description {
        let units = self.units.iter().map(|unit| format!("watch {unit}"));
        let probes = self
            .probes
            .iter()
            .map(|probe| format!("probe {}", probe.name));
        Description {
            id: "prove".to_owned(),
            summary: format!("see that all is well for {} s", self.window_seconds),
            details: units.chain(probes).collect(),
        }
    }

    /// Notes when it began. Changes nothing.
    ///
    /// # Errors
    /// When the machine cannot be read.
    pub fn prepare(&self, context: &Context<'_>) -> Result<SwitchUndo, ProveError> {
        Ok(waiting(context.host))
    }

    /// Watches for the window, from its beginning after a crash.
    ///
    /// # Errors
    /// The first thing that is not well; or the daemon ends, or somebody cancels.
    pub fn apply(&self, context: &Context<'_>, _undo: &SwitchUndo) -> Result<Undone, ProveError> {
        let window = Duration::from_secs(self.window_seconds);
        let mut attempts = Attempts::new(context.host, context.cancel, &self.probes);
        let mut watch = match context.host.services.control() {
            Some(control) => Some(Watch::new(control, &self.units)?),
            None => None,
        };
        let began = Instant::now();
        loop {
            if context.cancel.requested().is_some() {
                return Err(ProveError::Stopped);
            }
            attempts.turn();
            let ends = began.elapsed() >= window && attempts.may_end(began);
            if let Some(watch) = &mut watch {
                watch.look(ends).map_err(|error| with_log(context, error))?;
            }
            if ends {
                break;
            }
            std::thread::sleep(SAMPLE);
        }
        let failure = attempts.last().into_iter().next();
        failure.map_or(Ok(Undone::Clean), |failure| {
            Err(with_log(context, ProveError::NotHealthy { failure }))
        })
    }

    /// There is nothing to take back.
    ///
    /// # Errors
    /// None.
    pub fn undo(&self, _context: &Context<'_>, _undo: &SwitchUndo) -> Result<Undone, ProveError> {
        Ok(Undone::Clean)
    }
}

fn with_log(context: &Context<'_>, error: ProveError) -> ProveError {
    match error {
        ProveError::NotHealthy { mut failure } if failure.lines.is_empty() => {
            if failure.unit.contains('.') {
                failure.lines = last_lines(context, &failure.unit);
            }
            ProveError::NotHealthy { failure }
        }
        error => error,
    }
}

/// What the units looked like at the beginning.
struct Watch<'a> {
    control: &'a dyn Control,
    units: &'a [String],
    /// How often each service had been started again by itself.
    restarts: BTreeMap<String, u32>,
    looks: u32,
}

impl<'a> Watch<'a> {
    fn new(control: &'a dyn Control, units: &'a [String]) -> Result<Self, ServiceError> {
        Ok(Watch {
            control,
            units,
            restarts: control.restarts(&services(units))?,
            looks: 0,
        })
    }

    /// One look: the states of all with one call, and sometimes the counts of services.
    fn look(&mut self, last: bool) -> Result<(), ProveError> {
        self.looks += 1;
        let loaded: BTreeMap<String, LoadedUnit> = loaded(self.control)?
            .into_iter()
            .map(|it| (it.name.clone(), it))
            .collect();
        let seen = self.units.iter().filter_map(|unit| loaded.get(unit));
        if let Some((unit, why)) = seen.filter_map(unwell).next() {
            return Err(not_healthy(unit, why));
        }
        let counts = last || self.looks.is_multiple_of(LOOKS_PER_COUNT);
        match counts {
            true => self.counts(&loaded),
            false => Ok(()),
        }
    }

    /// Whether one of the services that are loaded was started again since the beginning.
    fn counts(&self, loaded: &BTreeMap<String, LoadedUnit>) -> Result<(), ProveError> {
        let mut asked = services(self.units);
        asked.retain(|&unit| loaded.contains_key(unit));
        for (unit, now) in self.control.restarts(&asked)? {
            let before = self.restarts.get(&unit).copied().unwrap_or_default();
            if now > before {
                let why = format!("it was started again by itself, {} times", now - before);
                return Err(not_healthy(&unit, why));
            }
        }
        Ok(())
    }
}

/// Those that systemd counts the starts of.
fn services(units: &[String]) -> Vec<&str> {
    let names = units.iter().map(String::as_str);
    names.filter(|unit| unit.ends_with(".service")).collect()
}

/// The unit with what its state says against it, if that is anything.
fn unwell(seen: &LoadedUnit) -> Option<(&str, String)> {
    let why = if seen.active == "failed" {
        "it failed"
    } else if is_starting_again(seen) {
        "it ended and is started again by itself"
    } else {
        return None;
    };
    Some((&seen.name, why.to_owned()))
}

fn not_healthy(unit: &str, why: String) -> ProveError {
    let failure = UnitFailure {
        unit: unit.to_owned(),
        why,
        lines: Vec::new(),
    };
    ProveError::NotHealthy { failure }
}

#[cfg(test)]
mod tests;

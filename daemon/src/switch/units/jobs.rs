//! The jobs of an activation: submitted in waves, each under a deadline of its own.

use std::time::{Duration, Instant};

use nixctl_planner::units::{Phase, UnitName, UnitType, Verb};

use crate::host::ServiceError;
use crate::host::service::{JobVerb, UnitDetails, UnitJob};
use crate::switch::units::Executor;
use crate::switch::units::progress::Progress;

/// For what a job waits for besides its own unit: others of its wave, a busy machine.
const GRACE: Duration = Duration::from_secs(30);

/// What systemd lets a job of a unit with these limits take; `None` when there is none. A stop is
/// asked for and then forced, each within the limit, and a start that takes too long is stopped.
fn allowed(verb: Verb, start: Option<Duration>, stop: Option<Duration>) -> Option<Duration> {
    let stopping = stop?.saturating_mul(2);
    let starting = || Some(start?.saturating_add(stopping));
    match verb {
        Verb::Stop => Some(stopping),
        Verb::Start | Verb::Reload => starting(),
        Verb::Restart => Some(stopping.saturating_add(starting()?)),
    }
}

impl Executor<'_> {
    /// Submits the jobs of a phase, wave by wave, and notes what fails.
    pub(in crate::switch) fn jobs(&mut self, phase: Phase) {
        let jobs = self.progress.decisions.jobs(phase);
        let waves: Vec<Vec<(Verb, UnitName)>> = jobs
            .into_iter()
            .map(|wave| {
                wave.iter()
                    .map(|job| (job.verb, job.unit.clone()))
                    .collect()
            })
            .collect();
        for wave in waves {
            self.wave(&wave);
        }
    }

    pub(in crate::switch) fn wave(&mut self, wave: &[(Verb, UnitName)]) {
        let units: Vec<&str> = wave.iter().map(|(_, unit)| unit.as_str()).collect();
        // Asked for together: what was stopped waits for the answers.
        let details = self.control.details_of(&units);
        let jobs: Vec<UnitJob> = wave
            .iter()
            .zip(details)
            .map(|((verb, unit), details)| UnitJob {
                verb: verb_of(*verb),
                unit: unit.as_str().to_owned(),
                deadline: self.deadline(*verb, unit, details.ok().as_ref()),
            })
            .collect();
        let ends = self.control.run_jobs(&jobs);
        for (job, end) in jobs.iter().zip(ends) {
            tracing::info!("{} {}", job.verb.as_str(), job.unit);
            match end {
                Err(ServiceError::Refused { .. }) if job.verb == JobVerb::Stop => {
                    self.not_stopped(&job.unit);
                }
                end => self.noted(&job.unit, end),
            }
        }
    }

    /// A stop is refused for what is gone already, and for what is not to be stopped by hand: the
    /// latter runs on, which people should know.
    fn not_stopped(&self, unit: &str) {
        if self
            .control
            .details(unit)
            .is_ok_and(|it| it.active == "active")
        {
            let text = format!("{unit} refuses to be stopped and runs on in its old version");
            self.context.progress.note(&text);
        }
    }

    /// Time for a job, from the unit's own limits. Targets wait for all that hangs on them, and units
    /// without a limit may take what is left.
    fn deadline(&self, verb: Verb, unit: &UnitName, details: Option<&UnitDetails>) -> Duration {
        let usual = Duration::from_secs(self.unit_seconds);
        let left = self
            .until
            .saturating_duration_since(Instant::now())
            .max(usual);
        if unit.kind() == UnitType::Target {
            return left;
        }
        match details {
            Some(details) => allowed(verb, details.start_timeout, details.stop_timeout)
                .map_or(left, |own| own.saturating_add(GRACE))
                .min(left),
            None => usual,
        }
    }

    /// Notes which start of the units to be restarted is the last one, so that after a crash none
    /// is restarted twice.
    pub(in crate::switch) fn note_invocations(&mut self) {
        let units: Vec<UnitName> = self.progress.decisions.restart.keys().cloned().collect();
        let names: Vec<&str> = units.iter().map(UnitName::as_str).collect();
        let details = self.control.details_of(&names);
        for (unit, details) in units.into_iter().zip(details) {
            if let Ok(details) = details {
                self.progress.invocations.insert(unit, details.invocation);
            }
        }
    }

    pub(in crate::switch) fn forget_restarted(&mut self) {
        let Progress {
            decisions,
            invocations,
            ..
        } = &mut self.progress;
        let control = self.control;
        decisions.restart.retain(|unit, _| {
            let before = invocations.get(unit).filter(|id| !id.is_empty());
            let now = control.details(unit.as_str());
            let again = before.zip(now.ok()).is_some_and(|(before, now)| {
                now.active == "active" && !now.invocation.is_empty() && now.invocation != *before
            });
            !again
        });
    }
}

fn verb_of(verb: Verb) -> JobVerb {
    match verb {
        Verb::Stop => JobVerb::Stop,
        Verb::Reload => JobVerb::Reload,
        Verb::Restart => JobVerb::Restart,
        Verb::Start => JobVerb::Start,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_job_has_the_time_that_the_unit_itself_has() {
        let seconds = |it: u64| Some(Duration::from_secs(it));
        for (verb, start, stop, expected) in [
            (Verb::Stop, seconds(90), seconds(10), seconds(20)),
            (Verb::Stop, None, seconds(10), seconds(20)),
            (Verb::Start, seconds(90), seconds(10), seconds(110)),
            (Verb::Reload, seconds(5), seconds(10), seconds(25)),
            (Verb::Restart, seconds(90), seconds(10), seconds(130)),
            (Verb::Restart, None, seconds(10), None),
            (Verb::Start, seconds(90), None, None),
        ] {
            assert_eq!(allowed(verb, start, stop), expected, "{verb:?}");
        }
    }
}

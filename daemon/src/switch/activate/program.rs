//! Runs a generation's own program as a transient unit, so that it goes on when this daemon ends.
//!
//! The unit keeps its result until it is taken: a daemon that comes back finds the unit by its name,
//! waits for its end, or reads what came of it. Its output is in the journal.

use std::time::{Duration, Instant};

use crate::host::cancel::Stop;
use crate::host::service::{Control, JobVerb, Transient, UnitDetails, UnitJob};
use crate::resource::Context;
use crate::switch::activate::error::ActivateError;
use crate::switch::units::log::last_lines;

/// Pauses between two looks at the unit grow from the first to the second. Services that were
/// stopped wait for its end, so both are short.
const SHORTEST_PAUSE: Duration = Duration::from_millis(5);
const LONGEST_PAUSE: Duration = Duration::from_millis(30);

/// systemd ends the program at its deadline; so much later it is not waited for any more.
const GRACE: Duration = Duration::from_secs(30);

/// A unit that does not run so long after it was asked for will not.
const START_PATIENCE: Duration = Duration::from_secs(30);

/// systemd may not answer while it starts itself anew.
const SILENCE_PATIENCE: Duration = Duration::from_secs(60);

/// How a program ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Ended {
    /// Its exit code; nothing when it was killed, or somebody stopped the unit.
    pub code: Option<i32>,
    /// `success`, `exit-code`, `signal`, `timeout`..., or `gone`.
    pub result: String,
    /// The last lines it wrote; none when it succeeded.
    pub lines: Vec<String>,
}

impl Ended {
    /// How it ended, for people.
    pub fn why(&self) -> String {
        match (&self.code, self.result.as_str()) {
            (Some(code), _) => format!("it ended with {code}"),
            (None, "timeout") => "it did not end within its deadline".to_owned(),
            (None, "gone") => "somebody stopped it".to_owned(),
            (None, result) => format!("it was ended ({result})"),
        }
    }
}

/// Starts the program, or finds it where an earlier attempt started it, and waits for its end.
///
/// # Errors
/// When it cannot be started or followed, and when the daemon is asked to end: then it goes on alone.
pub fn run(
    context: &Context<'_>,
    control: &dyn Control,
    transient: &Transient,
) -> Result<Ended, ActivateError> {
    control.start_transient(transient)?;
    let Some(details) = follow(context, control, transient)? else {
        return Ok(Ended {
            code: None,
            result: "timeout".to_owned(),
            lines: last_lines(context, &transient.unit),
        });
    };
    let failed = details.active == "failed";
    let result = match details.active.as_str() {
        "active" | "failed" => details.result,
        _ => "gone".to_owned(),
    };
    let has_code = result == "success" || result == "exit-code";
    let code = has_code
        .then_some(details.exit_status)
        .filter(|&it| it != 0 || !failed);
    // Only a failure is explained: reading the journal takes longer than most programs.
    let lines = match code {
        Some(0) => Vec::new(),
        _ => last_lines(context, &transient.unit),
    };
    Ok(Ended {
        code,
        result,
        lines,
    })
}

/// Ends the program, should it run, and forgets its result.
pub fn forget(context: &Context<'_>, control: &dyn Control, unit: &str) {
    let known = control.details(unit).is_ok_and(|it| it.load != "not-found");
    if !known {
        return;
    }
    let stop = UnitJob {
        verb: JobVerb::Stop,
        unit: unit.to_owned(),
        deadline: GRACE,
    };
    for result in control.run_jobs(&[stop]) {
        if let Err(error) = result {
            tracing::warn!("{error}");
        }
    }
    if let Err(error) = context.host.services.reset_failed(unit) {
        tracing::debug!("{error}");
    }
}

/// The unit's state at its end; nothing when it does not end although its time is over.
fn follow(
    context: &Context<'_>,
    control: &dyn Control,
    transient: &Transient,
) -> Result<Option<UnitDetails>, ActivateError> {
    let began = Instant::now();
    let (mut pause, mut heard, mut ran) = (SHORTEST_PAUSE, began, false);
    loop {
        match control.details(&transient.unit) {
            Ok(details) => {
                heard = Instant::now();
                let running = matches!(details.active.as_str(), "activating" | "deactivating")
                    || (details.active == "active" && details.sub != "exited");
                let pending = details.active == "inactive" && !ran;
                ran |= running;
                let waits = running || (pending && began.elapsed() < START_PATIENCE);
                if !waits {
                    return Ok(Some(details));
                }
                if began.elapsed() > transient.deadline + GRACE {
                    return Ok(None);
                }
            }
            Err(error) if heard.elapsed() > SILENCE_PATIENCE => return Err(error.into()),
            Err(_) => {}
        }
        if context.cancel.requested() == Some(Stop::Shutdown) {
            return Err(ActivateError::Stopped {
                toplevel: transient.command.join(" "),
            });
        }
        std::thread::sleep(pause);
        pause = (pause * 2).min(LONGEST_PAUSE);
    }
}

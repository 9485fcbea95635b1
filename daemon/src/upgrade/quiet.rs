//! Builds end, and nobody new is served until Nix is replaced.
//!
//! nix-daemon goes on serving for half of the time, as long as somebody is at work. Then its main
//! process is halted: whoever connects from then on waits, and is served once it goes on or
//! another one has taken its place; no connection is ever refused. Builds that have begun go on.
//! Where no service manager runs, nix-daemon is a child of this one and stopped already.

use std::path::Path;
use std::time::{Duration, Instant};

use serde::{Deserialize, Serialize};

use super::busy::{Looked, at_work, read};
use super::step::line;
use super::{SERVICE, SOCKET};
use crate::catalogue::existing::OWN_PROFILE;
use crate::host::Host;
use crate::host::service::Control;
use crate::resource::saved::mismatch;
use crate::resource::{Context, Description, ResourceError, Result, Undo, Undone};
use crate::switch::files::canonical;

/// Between two looks.
const LOOK: Duration = Duration::from_millis(if cfg!(test) { 5 } else { 500 });
/// For a unit to start.
const DEADLINE: Duration = Duration::from_secs(100);

/// Nobody new is served.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Quiet {
    /// Seconds that builds get to end.
    pub seconds: u64,
}

impl Quiet {
    pub(super) fn describe(&self) -> Description {
        let seconds = self.seconds;
        Description {
            details: vec![
                "whoever connects meanwhile waits, and is served by the new version".to_owned(),
            ],
            ..line(
                "quiet",
                format!("let running builds end, for at most {seconds} s"),
            )
        }
    }

    /// Which units are up.
    pub(super) fn prepare(&self, host: &Host) -> Result<Undo> {
        let mut up = Vec::new();
        if host.services.is_running() {
            for unit in [SOCKET, SERVICE] {
                if host.services.state(unit)?.is_active() {
                    up.push(unit.to_owned());
                }
            }
        }
        Ok(Undo::Entries(up))
    }

    pub(super) fn apply(&self, context: &Context<'_>, _undo: &Undo) -> Result<()> {
        let Some(control) = context.host.services.control() else {
            return Ok(());
        };
        let patience = Duration::from_secs(self.seconds);
        let begun = Instant::now();
        // Busy or not, at half the time nobody new is let in any more.
        wait(context, control, begun + patience / 2)?;
        if control.processes(SERVICE)?.main.is_none() {
            return Ok(());
        }
        control.halt_main(SERVICE, true)?;
        // Somebody may have come in before that.
        match wait(context, control, begun + patience)? {
            0 => Ok(()),
            running => Err(ResourceError::BuildsRunning {
                running,
                seconds: self.seconds,
            }),
        }
    }

    pub(super) fn undo(&self, context: &Context<'_>, undo: &Undo) -> Result<Undone> {
        let Undo::Entries(up) = undo else {
            return Err(mismatch(self.describe().id));
        };
        let host = context.host;
        let Some(control) = host.services.control() else {
            return Ok(Undone::Clean);
        };
        if let Some(main) = control.processes(SERVICE)?.main {
            // Builds that go on do so: only another version than that of the profile has to go.
            match runs_from_profile(host, main)? {
                true => control.halt_main(SERVICE, false)?,
                false => host.services.restart(SERVICE, DEADLINE)?,
            }
        }
        for unit in up {
            let state = host.services.state(unit)?;
            if state.active == "failed" {
                host.services.reset_failed(unit)?;
            }
            if !state.is_active() {
                host.services.start(unit, DEADLINE)?;
            }
        }
        Ok(Undone::Clean)
    }
}

/// Lets nix-daemon serve while this daemon is down: nobody knows for how long that is, and what is left
/// of the upgrade lets builds end once more before it starts another one.
///
/// # Errors
/// When the service manager cannot be reached.
pub fn go_on(host: &Host) -> Result<()> {
    if let Some(control) = host.services.control()
        && control.processes(SERVICE)?.main.is_some()
    {
        control.halt_main(SERVICE, false)?;
    }
    Ok(())
}

/// Waits until nobody is at work, until then at most. Says how many still are.
fn wait(context: &Context<'_>, control: &dyn Control, until: Instant) -> Result<usize> {
    let mut before: Option<Looked> = None;
    loop {
        let processes = control.processes(SERVICE)?;
        let now = read(&context.host.fs, &processes)?;
        let running = at_work(processes.main, before.as_ref(), &now);
        if running == 0 || (Instant::now() >= until && before.is_some()) {
            return Ok(running);
        }
        if context.cancel.requested().is_some() {
            let id = "quiet".to_owned();
            return Err(ResourceError::Stopped { id });
        }
        before = Some(now);
        std::thread::sleep(LOOK);
    }
}

/// Whether the process runs the program that the profile leads to. What cannot be told is not.
pub(super) fn runs_from_profile(host: &Host, process: u32) -> Result<bool> {
    let runs = canonical(&host.fs, Path::new(&format!("/proc/{process}/exe")))?;
    let wanted = canonical(&host.fs, &Path::new(OWN_PROFILE).join("bin/nix-daemon"))?;
    Ok(runs.is_some() && runs == wanted)
}

#[cfg(test)]
#[path = "quiet_tests.rs"]
mod tests;

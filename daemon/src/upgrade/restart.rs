//! nix-daemon is started again, so that the version of the profile serves.
//!
//! Its socket stays open: whoever waits there is served by the new one. Nothing of the old one is at
//! work any more, so it ends at once; should the machine itself have been started again meanwhile,
//! builds that began since get their time, too.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::quiet::{Quiet, runs_from_profile};
use super::step::line;
use super::{SERVICE, SOCKET};
use crate::host::Host;
use crate::resource::{Context, Description, Result, Undo, Undone};

/// For the unit to stop and to start.
const DEADLINE: Duration = Duration::from_secs(60);

/// Another program serves.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Restart {
    /// Seconds that builds get to end which began since the machine itself was started again.
    pub seconds: u64,
}

impl Restart {
    pub(super) fn describe(&self) -> Description {
        line("restart:nix-daemon", "start nix-daemon again".to_owned())
    }

    pub(super) fn prepare(&self, _host: &Host) -> Result<Undo> {
        Ok(Undo::Created)
    }

    pub(super) fn apply(&self, context: &Context<'_>, _undo: &Undo) -> Result<()> {
        let services = &context.host.services;
        if !services.is_running() {
            return Ok(());
        }
        let state = services.state(SERVICE)?;
        if state.active == "failed" {
            services.reset_failed(SERVICE)?;
        }
        // One that does not run is started by its socket, from the profile as it is then.
        let Some(control) = services.control().filter(|_| state.is_active()) else {
            return Ok(());
        };
        if let Some(main) = control.processes(SERVICE)?.main
            && runs_from_profile(context.host, main)?
        {
            // An earlier attempt was cut off after it, or the machine was started again.
            return Ok(control.halt_main(SERVICE, false)?);
        }
        let quiet = Quiet {
            seconds: self.seconds,
        };
        quiet.apply(context, &Undo::Nothing)?;
        Ok(services.restart(SERVICE, DEADLINE)?)
    }

    /// Nobody is served until everything else is undone; what comes last starts it again.
    pub(super) fn undo(&self, context: &Context<'_>, _undo: &Undo) -> Result<Undone> {
        let services = &context.host.services;
        if services.is_running() {
            for unit in [SOCKET, SERVICE] {
                services.stop(unit, DEADLINE)?;
                // However often it was started in vain, the old one may be started again.
                services.reset_failed(unit)?;
            }
        }
        Ok(Undone::Clean)
    }
}

#[cfg(test)]
#[path = "restart_tests.rs"]
mod tests;

//! Units of the service manager: unmasked, cleared of a failure, started, restarted.
//!
//! What was brought up stays up when a later step fails: the machine's own configuration asks for
//! it, and taking the store's mount away again would make things worse.

use std::path::{Path, PathBuf};
use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::line;
use crate::host::Host;
use crate::resource::saved::mismatch;
use crate::resource::{Context, Description, ResourceError, Result, Undo, Undone};

/// For one unit to start or to stop; systemd's own default is 90 s, and its answer is the better
/// one when it comes.
const DEADLINE: Duration = Duration::from_secs(100);

/// Where a link to /dev/null masks a unit: for good, and until the next boot.
const MASKS: [&str; 2] = ["/etc/systemd/system", "/run/systemd/system"];
const MASK: &str = "/dev/null";

/// Starts a unit.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Start {
    /// Unit.
    pub unit: String,
    /// Whether it has to be up afterwards; a unit that runs once and ends does not.
    pub stays: bool,
}

/// Takes links to /dev/null out of a unit's place.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Unmask {
    /// Unit.
    pub unit: String,
}

/// Forgets that a unit has failed.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Clear {
    /// Unit.
    pub unit: String,
}

/// Restarts a unit that runs.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Restart {
    /// Unit.
    pub unit: String,
}

impl Start {
    pub(super) fn describe(&self) -> Description {
        let unit = &self.unit;
        line(format!("start:{unit}"), format!("start {unit}"))
    }

    pub(super) fn prepare(&self, host: &Host) -> Result<Undo> {
        host.services.state(&self.unit)?;
        Ok(Undo::Nothing)
    }

    pub(super) fn apply(&self, context: &Context<'_>, _undo: &Undo) -> Result<()> {
        let services = &context.host.services;
        let mut state = services.state(&self.unit)?;
        if state.is_active() {
            return Ok(());
        }
        // A line of fstab is a unit only once it was read.
        if state.load == "not-found" {
            services.reload()?;
            state = services.state(&self.unit)?;
        }
        if state.active == "failed" {
            services.reset_failed(&self.unit)?;
        }
        Ok(services.start(&self.unit, DEADLINE)?)
    }

    pub(super) fn verify(&self, host: &Host) -> Result<()> {
        let state = host.services.state(&self.unit)?;
        let is_well = state.is_active() || (!self.stays && state.active != "failed");
        confirm(is_well, self.describe().id, || {
            format!("{} is {}", self.unit, state.active)
        })
    }

    pub(super) fn undo(&self, _context: &Context<'_>, _undo: &Undo) -> Result<Undone> {
        Ok(Undone::Clean)
    }
}

impl Unmask {
    pub(super) fn describe(&self) -> Description {
        let unit = &self.unit;
        line(format!("unmask:{unit}"), format!("unmask {unit}"))
    }

    pub(super) fn prepare(&self, host: &Host) -> Result<Undo> {
        let mut masks = Vec::new();
        for path in self.places() {
            if is_mask(host, &path)? {
                masks.push(path.to_string_lossy().into_owned());
            }
        }
        Ok(Undo::Entries(masks))
    }

    pub(super) fn apply(&self, context: &Context<'_>, undo: &Undo) -> Result<()> {
        let host = context.host;
        let Undo::Entries(masks) = undo else {
            return Err(mismatch(self.describe().id));
        };
        for mask in masks.iter().map(Path::new) {
            if is_mask(host, mask)? {
                host.fs.remove_file(mask)?;
            }
        }
        if host.services.is_running() {
            host.services.reload()?;
        }
        Ok(())
    }

    pub(super) fn verify(&self, host: &Host) -> Result<()> {
        let mut masked = false;
        for path in self.places() {
            masked |= is_mask(host, &path)?;
        }
        confirm(!masked, self.describe().id, || {
            format!("{} is still masked", self.unit)
        })
    }

    pub(super) fn undo(&self, context: &Context<'_>, undo: &Undo) -> Result<Undone> {
        let Undo::Entries(masks) = undo else {
            return Ok(Undone::Clean);
        };
        let host = context.host;
        for mask in masks.iter().map(Path::new) {
            if host.fs.meta(mask)?.is_none() {
                host.fs.symlink(Path::new(MASK), mask)?;
            }
        }
        if host.services.is_running() {
            host.services.reload()?;
        }
        Ok(Undone::Clean)
    }

    fn places(&self) -> [PathBuf; 2] {
        MASKS.map(|folder| Path::new(folder).join(&self.unit))
    }
}

impl Clear {
    pub(super) fn describe(&self) -> Description {
        let unit = &self.unit;
        line(
            format!("clear:{unit}"),
            format!("forget that {unit} has failed"),
        )
    }

    pub(super) fn prepare(&self, _host: &Host) -> Result<Undo> {
        Ok(Undo::Nothing)
    }

    pub(super) fn apply(&self, context: &Context<'_>, _undo: &Undo) -> Result<()> {
        Ok(context.host.services.reset_failed(&self.unit)?)
    }

    pub(super) fn verify(&self, host: &Host) -> Result<()> {
        let state = host.services.state(&self.unit)?;
        confirm(state.active != "failed", self.describe().id, || {
            format!("{} has failed", self.unit)
        })
    }

    pub(super) fn undo(&self, _context: &Context<'_>, _undo: &Undo) -> Result<Undone> {
        Ok(Undone::Clean)
    }
}

impl Restart {
    pub(super) fn describe(&self) -> Description {
        let unit = &self.unit;
        line(format!("restart:{unit}"), format!("restart {unit}"))
    }

    pub(super) fn prepare(&self, _host: &Host) -> Result<Undo> {
        Ok(Undo::Nothing)
    }

    pub(super) fn apply(&self, context: &Context<'_>, _undo: &Undo) -> Result<()> {
        let services = &context.host.services;
        let state = services.state(&self.unit)?;
        // What made it fail is over now; its socket starts no service that has failed.
        if state.active == "failed" {
            services.reset_failed(&self.unit)?;
        }
        // One that stopped meanwhile runs the new program when it is started the next time.
        if !state.is_active() {
            return Ok(());
        }
        if let Some(name) = self.unit.strip_suffix(".socket") {
            // systemd binds no socket whose service runs. Work that has begun goes on.
            let service = format!("{name}.service");
            if services.state(&service)?.is_active() {
                services.stop(&service, DEADLINE)?;
            }
        }
        Ok(services.restart(&self.unit, DEADLINE)?)
    }

    pub(super) fn verify(&self, host: &Host) -> Result<()> {
        let state = host.services.state(&self.unit)?;
        confirm(state.active != "failed", self.describe().id, || {
            format!("{} has failed", self.unit)
        })
    }

    pub(super) fn undo(&self, _context: &Context<'_>, _undo: &Undo) -> Result<Undone> {
        Ok(Undone::Clean)
    }
}

fn is_mask(host: &Host, path: &Path) -> Result<bool> {
    Ok(host
        .fs
        .read_link(path)?
        .is_some_and(|to| to == Path::new(MASK)))
}

fn confirm(is_well: bool, id: String, seen: impl FnOnce() -> String) -> Result<()> {
    if is_well {
        return Ok(());
    }
    Err(ResourceError::Drifted { id, seen: seen() })
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::symlink;

    use super::super::Mend;
    use super::super::testing::check_laws;
    use super::*;
    use crate::resource::testing::Machine;

    const UNIT: &str = "nix-daemon.socket";

    #[test]
    fn a_mask_is_taken_away_and_comes_back() {
        let machine = Machine::new();
        for folder in ["etc", "run"] {
            let folder = format!("/{folder}/systemd/system");
            std::fs::create_dir_all(machine.path(&folder)).unwrap();
            symlink(MASK, machine.path(&format!("{folder}/{UNIT}"))).unwrap();
        }
        let unit = UNIT.to_owned();
        check_laws(&machine, &Mend::Unmask(Unmask { unit }));
    }

    #[test]
    fn what_is_no_mask_is_left() {
        let machine = Machine::new();
        let path = "/etc/systemd/system/nix-daemon.socket";
        machine.put(path, "[Socket]\n");
        let unit = UNIT.to_owned();
        let mend = Unmask { unit };
        let undo = mend.prepare(&machine.host).unwrap();
        assert_eq!(undo, Undo::Entries(Vec::new()));
        mend.apply(&machine.context(), &undo).unwrap();
        assert!(machine.text(path).is_some());
    }

    #[test]
    fn a_unit_is_started_once_its_failure_is_forgotten() {
        let machine = Machine::new();
        machine.services.set("nix.mount", "static", "failed");
        let start = Start {
            unit: "nix.mount".to_owned(),
            stays: true,
        };
        let undo = start.prepare(&machine.host).unwrap();
        assert!(start.verify(&machine.host).is_err());
        for _ in 0..2 {
            start.apply(&machine.context(), &undo).unwrap();
            start.verify(&machine.host).unwrap();
        }
        assert_eq!(
            machine.services.calls(),
            ["reset nix.mount", "start nix.mount"]
        );
        // It stays up when a later step fails.
        assert_eq!(
            start.undo(&machine.context(), &undo).unwrap(),
            Undone::Clean
        );
        start.verify(&machine.host).unwrap();
    }

    #[test]
    fn what_runs_once_need_not_stay_up() {
        let machine = Machine::new();
        machine.services.set("once.service", "enabled", "inactive");
        let start = |stays| Start {
            unit: "once.service".to_owned(),
            stays,
        };
        assert!(start(true).verify(&machine.host).is_err());
        start(false).verify(&machine.host).unwrap();
        machine.services.set("once.service", "enabled", "failed");
        assert!(start(false).verify(&machine.host).is_err());
    }

    #[test]
    fn only_what_runs_is_restarted() {
        let machine = Machine::new();
        let unit = || "nix-daemon.service".to_owned();
        let restart = Restart { unit: unit() };
        for (active, calls) in [("inactive", 0), ("active", 1)] {
            machine.services.set(&unit(), "enabled", active);
            restart.apply(&machine.context(), &Undo::Nothing).unwrap();
            restart.verify(&machine.host).unwrap();
            assert_eq!(machine.services.calls().len(), calls);
        }
        // What it failed of is over, and its socket starts it.
        machine.services.set(&unit(), "enabled", "failed");
        restart.apply(&machine.context(), &Undo::Nothing).unwrap();
        restart.verify(&machine.host).unwrap();
        let calls = machine.services.calls();
        assert_eq!(calls.last().unwrap(), "reset nix-daemon.service");
        machine.services.set(&unit(), "enabled", "failed");
        let clear = Clear { unit: unit() };
        assert!(clear.verify(&machine.host).is_err());
        clear.apply(&machine.context(), &Undo::Nothing).unwrap();
        clear.verify(&machine.host).unwrap();
    }
}

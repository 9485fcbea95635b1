//! Makes a generation the running system, and takes that back.
//!
//! What is decided about units is written down before anything changes ([`Recorded`]); how far it is
//! is kept in /run ([`ProgressFile`]); the generation's own programs run as transient units. So a
//! daemon that is killed finds everything again, and a machine that loses power has undone it all
//! by itself: it boots the default, which activation never touches.

pub mod error;
pub(super) mod program;

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use nixctl_planner::units::{Decisions, UnitName};
use serde::{Deserialize, Serialize};

use crate::host::Host;
use crate::host::service::{Control, Transient};
use crate::resource::{Context, Description, Undone};
use crate::switch::activate::error::{ActivateError, UnitFailure};
use crate::switch::activate::program::Ended;
use crate::switch::running::{CURRENT_SYSTEM, Running};
use crate::switch::step::{Activate, SwitchUndo};
use crate::switch::units::facts::{Decided, decide_now, has_file};
use crate::switch::units::lock::{self, Lock};
use crate::switch::units::progress::{Progress, ProgressFile};
use crate::switch::units::settle::settle;
use crate::switch::units::{Executor, unit_of_script};

/// The generation's own way of becoming the running system.
const OWN_PROGRAM: &str = "bin/switch-to-configuration";

/// Seconds for a job of a unit that does not say what it may take: systemd's own default.
pub const UNIT_SECONDS: u64 = 90;

/// What is written down before an activation: [`SwitchUndo::Activate::decisions`] as JSON.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Recorded {
    /// Names this activation.
    pub run: String,
    /// What is done with which unit.
    pub decisions: Decisions,
    /// Units that ran before: undoing starts them again.
    pub active: BTreeSet<UnitName>,
    /// Units that had failed before: they speak against nobody.
    pub failed: BTreeSet<String>,
}

impl Recorded {
    fn new(run: String, decided: Decided) -> Self {
        Recorded {
            run,
            decisions: decided.decisions,
            active: decided.active,
            failed: decided.failed,
        }
    }

    fn progress(self) -> Progress {
        Progress {
            decisions: self.decisions,
            active: self.active,
            failed: self.failed,
            ..Progress::default()
        }
    }
}

impl Activate {
    /// What it does, for people.
    pub fn describe(&self) -> Description {
        let name = self.to.name();
        Description {
            id: format!("activate:{name}"),
            summary: format!("make {name} the running system"),
            details: vec![
                format!("from {}", self.from.name()),
                format!("within {} s", self.seconds),
            ],
        }
    }

    /// Decides what is to be done, reads what runs. Changes nothing.
    ///
    /// # Errors
    /// When the machine or a generation cannot be read, and where nothing can be started.
    pub fn prepare(&self, context: &Context<'_>) -> Result<SwitchUndo, ActivateError> {
        let host = context.host;
        let to = PathBuf::from(self.to.resolve(&host.fs, &self.roots)?);
        let control = control(host, &to)?;
        let running = Running::read(&host.fs)?;
        let before = match running.current {
            Some(path) => path,
            None => self.from.resolve(&host.fs, &self.roots)?,
        };
        let decided = decide_now(&host.fs, control, &to, &BTreeSet::new())?;
        let recorded = Recorded::new(host.clock.now().to_string(), decided);
        Ok(SwitchUndo::Activate {
            running: before,
            boot: host.clock.moment().era,
            decisions: serde_json::to_string(&recorded)?,
        })
    }

    /// Carries it out, or goes on where an attempt was cut off. What was stopped has been started
    /// again when it fails.
    ///
    /// # Errors
    /// What failed, each unit by its name; or the daemon ends.
    pub fn apply(&self, context: &Context<'_>, undo: &SwitchUndo) -> Result<Undone, ActivateError> {
        let host = context.host;
        let to = PathBuf::from(self.to.resolve(&host.fs, &self.roots)?);
        let control = control(host, &to)?;
        let (_, boot, mut recorded) = parse(undo)?;
        // Decisions of another boot are about units that are long gone.
        if boot != host.clock.moment().era {
            let decided = decide_now(&host.fs, control, &to, &BTreeSet::new())?;
            recorded = Recorded::new(recorded.run, decided);
        }
        let work = Work {
            context,
            control,
            toplevel: &to,
            run: recorded.run.clone(),
            seconds: self.seconds,
        };
        let own = self.own_program && has_file(&host.fs, &to.join(OWN_PROGRAM))?;
        let failures = if own {
            work.own_program(recorded)?
        } else {
            work.units(recorded)?
        };
        work.judge(failures)?;
        Ok(Undone::Clean)
    }

    /// Makes the generation from before the running system again; what ran before and does not run
    /// now is started. Nothing is left to do in another boot.
    ///
    /// # Errors
    /// What failed, each unit by its name; or the daemon ends.
    pub fn undo(&self, context: &Context<'_>, undo: &SwitchUndo) -> Result<Undone, ActivateError> {
        let host = context.host;
        let (running, boot, recorded) = parse(undo)?;
        let now = Running::read(&host.fs)?;
        // The other boot may have been one of what is undone here, when it was the default by then.
        if boot != host.clock.moment().era && now.current.as_deref() == Some(running.as_str()) {
            return Ok(Undone::Clean);
        }
        let before = PathBuf::from(&running);
        let control = control(host, &before)?;
        for unit in [unit_of_script(&recorded.run), unit_of_own(&recorded.run)] {
            program::forget(context, control, &unit);
        }
        let run = format!("{}-back", recorded.run);
        let begun = ProgressFile::new(&host.fs, &recorded.run).read()?.is_some()
            || ProgressFile::new(&host.fs, &run).read()?.is_some();
        if !begun && now.current.as_deref() == Some(running.as_str()) {
            return Ok(Undone::Clean);
        }
        let decided = decide_now(&host.fs, control, &before, &recorded.active)?;
        let work = Work {
            context,
            control,
            toplevel: &before,
            run: run.clone(),
            seconds: self.seconds,
        };
        let back = Recorded {
            failed: recorded.failed,
            ..Recorded::new(run, decided)
        };
        let failures = work.units(back)?;
        work.judge(failures)?;
        Ok(Undone::Clean)
    }
}

impl Activate {
    /// Writes to the disk what the generation's programs, which do not sync, changed below /etc and
    /// /var: accounts are made there.
    ///
    /// # Errors
    /// When the operating system reports lost writes.
    pub fn sync(&self, host: &Host) -> Result<(), ActivateError> {
        for path in ["/etc", "/var/lib"].map(Path::new) {
            if host.fs.meta(path)?.is_some() {
                host.fs.sync_file_system(path)?;
            }
        }
        Ok(())
    }
}

/// One way of making a toplevel the running system.
struct Work<'a> {
    context: &'a Context<'a>,
    control: &'a dyn Control,
    toplevel: &'a Path,
    run: String,
    seconds: u64,
}

impl Work<'_> {
    /// Phase by phase, under the lock that switch-to-configuration takes.
    fn units(&self, recorded: Recorded) -> Result<Vec<UnitFailure>, ActivateError> {
        let fs = &self.context.host.fs;
        let _lock = self.lock()?;
        let known = ProgressFile::new(fs, &self.run).read()?;
        let mut executor = Executor {
            context: self.context,
            control: self.control,
            toplevel: self.toplevel,
            run: &self.run,
            progress: known.unwrap_or_else(|| recorded.progress()),
            unit_seconds: UNIT_SECONDS,
            until: Instant::now() + Duration::from_secs(self.seconds),
        };
        executor.carry_out()?;
        Ok(executor.progress.failures)
    }

    /// By the generation's own program, which takes the lock itself.
    fn own_program(&self, recorded: Recorded) -> Result<Vec<UnitFailure>, ActivateError> {
        let file = ProgressFile::new(&self.context.host.fs, &self.run);
        let mut progress = match file.read()? {
            // It ended, and its result was taken.
            Some(progress) if !progress.done.is_empty() => return Ok(progress.failures),
            Some(progress) => progress,
            None => {
                file.remove_others()?;
                recorded.progress()
            }
        };
        file.write(&progress)?;
        let unit = unit_of_own(&self.run);
        let transient = Transient {
            unit: unit.clone(),
            description: format!("Switch to {}", self.toplevel.display()),
            command: vec![text(&self.toplevel.join(OWN_PROGRAM)), "test".to_owned()],
            env: Vec::new(),
            deadline: Duration::from_secs(self.seconds),
        };
        let ended = program::run(self.context, self.control, &transient);
        let ended = match ended {
            Err(error) if error.is_stopped() => return Err(self.stopped()),
            ended => ended?,
        };
        if ended.code == Some(EXIT_LOCKED) {
            program::forget(self.context, self.control, &unit);
            return Err(self.busy());
        }
        progress.failures = self.meaning(&ended, &progress.failed)?;
        progress.done.push(nixctl_planner::units::Phase::Activate);
        file.write(&progress)?;
        program::forget(self.context, self.control, &unit);
        Ok(progress.failures)
    }

    /// What the exit code of switch-to-configuration says.
    fn meaning(
        &self,
        ended: &Ended,
        failed_before: &BTreeSet<String>,
    ) -> Result<Vec<UnitFailure>, ActivateError> {
        let why = match ended.code {
            Some(0) => return Ok(Vec::new()),
            Some(EXIT_ACTIVATION) => "the activation script failed".to_owned(),
            Some(EXIT_UNITS) => "units failed".to_owned(),
            Some(EXIT_INIT) => "the machine must be restarted for this generation".to_owned(),
            Some(EXIT_REFUSED) => "it refused (its checks, or its surroundings)".to_owned(),
            _ => ended.why(),
        };
        let mut failures = vec![UnitFailure {
            unit: "switch-to-configuration".to_owned(),
            why,
            lines: ended.lines.clone(),
        }];
        let patience = Duration::from_secs(self.seconds);
        let units = settle(self.control, patience, self.context.cancel)?;
        let own = unit_of_own(&self.run);
        let new = |it: &UnitFailure| it.unit != own && !failed_before.contains(&it.unit);
        failures.extend(units.into_iter().filter(new).map(|mut it| {
            it.lines = crate::switch::units::log::last_lines(self.context, &it.unit);
            it
        }));
        Ok(failures)
    }

    /// It succeeded when nothing failed and the toplevel is what runs.
    fn judge(&self, mut failures: Vec<UnitFailure>) -> Result<(), ActivateError> {
        let current = Running::read(&self.context.host.fs)?.current;
        if failures.is_empty() && current.as_deref() != self.toplevel.to_str() {
            let seen = current.as_deref().unwrap_or("nothing");
            failures.push(UnitFailure {
                unit: "activate".to_owned(),
                why: format!("{CURRENT_SYSTEM} leads to {seen} afterwards"),
                lines: Vec::new(),
            });
        }
        if failures.is_empty() {
            return Ok(());
        }
        Err(ActivateError::Failed {
            toplevel: text(self.toplevel),
            failures,
        })
    }

    fn lock(&self) -> Result<Lock, ActivateError> {
        lock::take(&self.context.host.fs)?.ok_or_else(|| self.busy())
    }

    fn busy(&self) -> ActivateError {
        let toplevel = text(self.toplevel);
        ActivateError::Busy { toplevel }
    }

    fn stopped(&self) -> ActivateError {
        let toplevel = text(self.toplevel);
        ActivateError::Stopped { toplevel }
    }
}

/// Its checks failed, it is not root, or its arguments are wrong.
const EXIT_REFUSED: i32 = 1;
/// The activation script failed; the run went on.
const EXIT_ACTIVATION: i32 = 2;
/// A job failed, or a unit is failed at the end.
const EXIT_UNITS: i32 = 4;
/// The lock is held: EWOULDBLOCK.
const EXIT_LOCKED: i32 = 11;
/// The generation's init cannot be talked to without a restart.
const EXIT_INIT: i32 = 100;

fn unit_of_own(run: &str) -> String {
    format!("nixctl-switch-{run}.service")
}

fn control<'a>(host: &'a Host, toplevel: &Path) -> Result<&'a dyn Control, ActivateError> {
    host.services
        .control()
        .ok_or_else(|| ActivateError::NoManager {
            toplevel: text(toplevel),
        })
}

fn parse(undo: &SwitchUndo) -> Result<(String, String, Recorded), ActivateError> {
    match undo {
        SwitchUndo::Activate {
            running,
            boot,
            decisions,
        } => Ok((
            running.clone(),
            boot.clone(),
            serde_json::from_str(decisions)?,
        )),
        _ => Err(ActivateError::Record {
            why: "it is about another kind of step".to_owned(),
        }),
    }
}

fn text(path: &Path) -> String {
    path.to_string_lossy().into_owned()
}

#[cfg(test)]
mod tests;

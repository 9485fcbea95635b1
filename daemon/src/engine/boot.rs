//! After a boot: looks whether the generation that was booted is healthy, and goes back from one that
//! is not.
//!
//! On a thread of its own beside the one that carries operations out, so that whoever wants to switch
//! away from an unhealthy boot need not wait. Going back is an operation like any other, asked for by
//! the daemon. What must always hold: it is asked for once for a boot, never for a generation that was
//! healthy after a boot before, and never while somebody else is at it.

use std::collections::BTreeSet;
use std::path::Path;
use std::time::{Duration, Instant};

use nixctl_proto::request::{AfterBoot, OperationRequest, RequestOptions, RollbackRequest};
use nixctl_proto::{Code, Failure, Generation, OperationId, OperationState as State};

use super::handle::{Engine, Shared, stored};
use super::store::Change;
use super::switching::is_switch;
use crate::health::sighting::Sighting;
use crate::host::Cancel;
use crate::resource::error::fs_code;
use crate::switch::boot::look::{Seen, look};
use crate::switch::boot::vital::{Vital, vital};
use crate::switch::boot::{BootRecord, BootState, fallback};
use crate::switch::identity;
use crate::switch::profile::generations;
use crate::switch::running::{self, BOOTED_SYSTEM};

/// Between two looks.
const TICK: Duration = Duration::from_secs(1);
/// How long everything must be well without a unit starting again.
const STEADY: Duration = Duration::from_secs(5);
/// Longest wait for the operation that goes back; it goes on without being waited for.
const PATIENCE: Duration = Duration::from_secs(3600);

/// How looking after a boot ended.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Ended {
    /// All is well.
    Healthy,
    /// It was not in time, and why.
    Failed(String),
    /// Something else runs by now, or the daemon goes down.
    Moot,
}

impl Engine {
    /// Begins to look after the boot; returns at once.
    pub fn watch_boot(&self) {
        let engine = self.clone();
        let thread = std::thread::Builder::new().name("boot".to_owned());
        let begun = thread.spawn(move || {
            if let Err(failure) = Watch::new(&engine).run() {
                tracing::error!("cannot look after the boot: {failure}");
            }
        });
        if let Err(error) = begun {
            tracing::error!("cannot look after the boot: {error}");
        }
    }

    /// Adds to generations what is known of their boots and proofs.
    pub fn annotate(&self, generations: &mut [Generation]) {
        let proven = self.shared().store.proven();
        let boots = self.shared().store.boots();
        for it in generations {
            let state = boots.get(&it.path).map(|record| record.state);
            it.proven_by_boot = state == Some(BootState::Proven);
            it.awaits_boot = state == Some(BootState::Awaits);
            it.proven = it.proven_by_boot || proven.contains(&it.path);
            if state == Some(BootState::Failed) {
                let why = boots.get(&it.path).map(|record| record.why.clone());
                it.boot_failure = why.unwrap_or_default();
            }
        }
    }
}

/// Looking after one boot.
struct Watch<'a> {
    engine: &'a Engine,
    shared: &'a Shared,
    /// Identity of the boot.
    boot: String,
    /// What was found before the boot: no generation is to blame for that.
    known: BTreeSet<Sighting>,
    /// The newest operation when it began: what comes after it, somebody asked for in this boot.
    newest: Option<OperationId>,
}

impl<'a> Watch<'a> {
    fn new(engine: &'a Engine) -> Self {
        let shared = engine.shared();
        Watch {
            engine,
            shared,
            boot: shared.host.clock.moment().era,
            known: shared.standing(),
            newest: shared.store.operations().pop().map(|record| record.id),
        }
    }

    fn run(&self) -> Result<(), Failure> {
        let fs = &self.shared.host.fs;
        let link = fs.read_link(Path::new(BOOTED_SYSTEM)).map_err(file)?;
        let Some(path) = link.and_then(|path| Some(path.to_str()?.to_owned())) else {
            return Ok(());
        };
        self.forget_gone(&path)?;
        self.shared.ask_to_let_go_of_kernels();
        if self.shared.settings().switch.boot_seconds == 0 {
            return Ok(());
        }
        match self.shared.store.boot(&path).map_err(stored)? {
            None => self.first_look(&path),
            Some(record) => match record.state {
                BootState::Proven => Ok(()),
                BootState::Awaits => self.assess(&path, record),
                BootState::Failed => self.follow(&path, record),
            },
        }
    }

    /// A generation that nothing is known of was made by others. When it is well, it is one to go
    /// back to; when not, it is theirs to mend.
    fn first_look(&self, path: &str) -> Result<(), Failure> {
        if self.look_until(path, &[]) == Ended::Healthy {
            let vital = self.vital(path);
            self.put(path, &BootRecord::proven(vital))?;
        }
        Ok(())
    }

    fn assess(&self, path: &str, mut record: BootRecord) -> Result<(), Failure> {
        if record.count(&self.boot) {
            self.put(path, &record)?;
        }
        let limit = self.shared.settings().switch.boot_attempts;
        let ended = match record.exhausted(limit) {
            Some(why) => Ended::Failed(why),
            None => self.look_until(path, &record.vital),
        };
        match ended {
            Ended::Moot => Ok(()),
            Ended::Healthy => {
                tracing::info!("the boot into {path} is healthy");
                record.state = BootState::Proven;
                self.put(path, &record)
            }
            Ended::Failed(why) => self.go_back(path, record, why),
        }
    }

    /// Looks until all is well and stays so, or the time is over.
    fn look_until(&self, path: &str, vital: &[Vital]) -> Ended {
        let began = Instant::now();
        let mut steady: Option<(Instant, Seen)> = None;
        let mut why = String::new();
        loop {
            if self.shared.is_going_down() || !self.runs(path) {
                return Ended::Moot;
            }
            let settings = self.shared.settings();
            let host = &self.shared.host;
            match look(host, &Cancel::default(), vital, &settings.switch.probes) {
                Ok(Seen { wrong: None, .. }) if let Some(wrong) = self.finding() => {
                    steady = None;
                    why = wrong;
                }
                Ok(Seen {
                    wrong: None,
                    starts,
                }) => {
                    let seen = Seen {
                        wrong: None,
                        starts,
                    };
                    match &steady {
                        Some((since, before)) if *before == seen => {
                            if since.elapsed() >= STEADY {
                                return Ended::Healthy;
                            }
                        }
                        _ => steady = Some((Instant::now(), seen)),
                    }
                    "a unit is started again and again".clone_into(&mut why);
                }
                Ok(Seen { wrong, .. }) => {
                    steady = None;
                    why = wrong.unwrap_or_default();
                }
                Err(error) => {
                    steady = None;
                    why = error.to_string();
                }
            }
            let limit = Duration::from_secs(settings.switch.boot_seconds);
            let over = began.elapsed() >= limit;
            if over && (steady.is_none() || began.elapsed() >= limit + 2 * STEADY) {
                let seconds = limit.as_secs();
                return Ended::Failed(format!("it was not healthy within {seconds} s: {why}"));
            }
            std::thread::sleep(TICK);
        }
    }

    /// What a round of checks found since the boot that Nix cannot work with, or that none was made
    /// yet.
    fn finding(&self) -> Option<String> {
        self.shared.broken_since(&self.known)
    }

    /// Whether a generation is still what runs.
    fn runs(&self, path: &str) -> bool {
        let running = self.shared.host.fs.read_link(Path::new(identity::RUNNING));
        running.is_ok_and(|running| running.as_deref() == Some(Path::new(path)))
    }

    /// Goes back from a generation, once.
    fn go_back(&self, path: &str, mut record: BootRecord, why: String) -> Result<(), Failure> {
        if let Some(id) = self.somebody() {
            tracing::warn!("{path}: {why}; operation {id} is at it, so nothing is done");
            return Ok(());
        }
        let all = self.generations()?;
        let own = all.iter().find(|it| it.path == path);
        let number = own.map_or_else(String::new, |it| format!(" {}", it.number));
        let Some((to, target)) = fallback(path, record.before.as_ref(), &all) else {
            tracing::error!("{path}: {why}; there is no proven generation to go back to");
            record.state = BootState::Failed;
            record.why = format!("{why}; there is no proven generation to go back to");
            return self.put(path, &record);
        };
        let settings = self.shared.settings();
        let restart = settings.switch.boot_restart && self.needs_restart(path, &target);
        tracing::error!("{path}: {why}; going back to generation {to}");
        let reason = format!("back from the boot into generation{number}: {why}");
        let id = self.ask(to, restart, reason)?;
        record.state = BootState::Failed;
        record.why = why;
        record.way_back = Some((id, restart));
        self.put(path, &record)?;
        self.follow(path, record)
    }

    /// Waits for the operation that goes back, and restarts the machine after it where that is due.
    fn follow(&self, path: &str, mut record: BootRecord) -> Result<(), Failure> {
        while let Some((id, restart)) = record.way_back.clone() {
            let open = self
                .engine
                .show(&id)
                .is_ok_and(|view| !view.state.is_final());
            if record.boot != self.boot && !open {
                return Ok(());
            }
            let Some(state) = self.end_of(&id)? else {
                return Ok(());
            };
            let may_restart = self.shared.settings().switch.boot_restart;
            record.way_back = match state {
                State::Succeeded if restart => return self.restart(),
                State::Succeeded | State::Cancelled => None,
                // What cannot be done while the machine runs may be done by a restart.
                _ if !restart && may_restart => {
                    let all = self.generations()?;
                    let to = fallback(path, record.before.as_ref(), &all);
                    let reason = format!("operation {id} could not go back while it runs");
                    let to = to.map(|(to, _)| self.ask(to, true, reason)).transpose()?;
                    to.map(|id| (id, true))
                }
                _ => None,
            };
            self.put(path, &record)?;
        }
        Ok(())
    }

    /// How an operation ended; nothing when it did not as long as it is waited for.
    fn end_of(&self, id: &OperationId) -> Result<Option<State>, Failure> {
        let began = Instant::now();
        while !self.shared.is_going_down() && began.elapsed() < PATIENCE {
            let state = self.engine.show(id)?.state;
            if state.is_final() {
                return Ok(Some(state));
            }
            std::thread::sleep(TICK);
        }
        Ok(None)
    }

    fn restart(&self) -> Result<(), Failure> {
        tracing::warn!("restarting the machine into the generation that it went back to");
        let Some(control) = self.shared.host.services.control() else {
            return Ok(());
        };
        control
            .restart_machine()
            .map_err(|error| Failure::from_error(Code::ServiceFailed, &error))
    }

    /// Asks for going back; the same boot gets the same operation however often it asks.
    fn ask(&self, to: u64, restart: bool, reason: String) -> Result<OperationId, Failure> {
        let how = match restart {
            true => AfterBoot::Restart,
            false => AfterBoot::AtOnce,
        };
        let request = RollbackRequest {
            to: Some(to),
            from: None,
            after_boot: Some(how),
        };
        let options = RequestOptions {
            request_id: Some(format!("after-boot-{}-{restart}", self.boot)),
            reason: Some(reason),
            ..RequestOptions::default()
        };
        self.engine
            .submit(OperationRequest::Rollback(request), options, 0)
    }

    /// The switch that somebody asked for in this boot and that has not ended.
    fn somebody(&self) -> Option<OperationId> {
        let operations = self.shared.store.operations().into_iter();
        let mut open = operations.filter(|it| !it.state.is_final() && is_switch(&it.request));
        open.find(|it| Some(&it.id) > self.newest.as_ref())
            .map(|it| it.id)
    }

    /// Whether a restart is needed for a generation to be in force; one that cannot be read yet may
    /// have any kernel.
    fn needs_restart(&self, booted: &str, target: &str) -> bool {
        let fs = &self.shared.host.fs;
        if !fs.is_dir(Path::new(target)) {
            return true;
        }
        let reasons = running::reasons_between(fs, Path::new(booted), Path::new(target));
        reasons.is_ok_and(|reasons| !reasons.is_empty())
    }

    fn vital(&self, path: &str) -> Vec<Vital> {
        self.shared.vital(path)
    }

    fn generations(&self) -> Result<Vec<Generation>, Failure> {
        let mut all = generations::list(&self.shared.host.fs).map_err(file)?;
        self.engine.annotate(&mut all);
        Ok(all)
    }

    /// Forgets what is known of generations that are no more; one that was booted well may be
    /// fetched again.
    fn forget_gone(&self, booted: &str) -> Result<(), Failure> {
        let all = self.generations()?;
        let mut change = Change::default();
        for (path, record) in self.shared.store.boots() {
            let listed = path == booted || all.iter().any(|it| it.path == path);
            if !listed && record.state != BootState::Proven {
                change.drop_boot(&path);
            }
        }
        self.shared.store.commit(change).map_err(stored)
    }

    fn put(&self, path: &str, record: &BootRecord) -> Result<(), Failure> {
        let mut change = Change::default();
        change.boot(path, record).map_err(stored)?;
        self.shared.store.commit(change).map_err(stored)?;
        self.engine.nudge();
        Ok(())
    }
}

impl Shared {
    /// The vital units of a generation that runs. What cannot be read is not asked for later.
    pub(super) fn vital(&self, path: &str) -> Vec<Vital> {
        let Some(control) = self.host.services.control() else {
            return Vec::new();
        };
        let loaded = match control.loaded() {
            Ok(loaded) => loaded,
            Err(error) => {
                tracing::warn!("cannot tell the vital units of {path}: {error}");
                return Vec::new();
            }
        };
        vital(&self.host.fs, Path::new(path), &loaded).unwrap_or_else(|error| {
            tracing::warn!("cannot tell the vital units of {path}: {error}");
            Vec::new()
        })
    }
}

fn file(error: crate::host::FsError) -> Failure {
    Failure::from_error(fs_code(&error.source), &error)
}

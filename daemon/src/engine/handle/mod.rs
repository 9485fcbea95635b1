//! The engine as the rest of the daemon holds it: ask, look, cancel, retry.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Condvar, Mutex, PoisonError};
use std::time::{Duration, Instant};

use nixctl_proto::operation::JournalLine;
use nixctl_proto::plan::Plan;
use nixctl_proto::request::OperationRequest;
use nixctl_proto::settings::Settings;
use nixctl_proto::status::{Health, Status};
use nixctl_proto::{Code, Failure, OperationId, OperationView};
use tokio::sync::{broadcast, watch};

use super::care::Care;
use super::following::Following;
use super::record::OperationRecord;
use super::releases::Releases;
use super::{Change, Planner, Question, lines, runner, view};
use crate::health::timeline::Now;
use crate::host::cancel::Stop;
use crate::host::{Cancel, Host};
use crate::payload::worker::Worker;
use crate::switch::carry::Carry;
use crate::switch::converge::Convergence;
use crate::switch::profile::generations;
use crate::takeover;
use crate::upgrade::inhibit::Inhibitors;
use crate::upgrade::turn::{self, Turn};

mod control;
mod deadline;
mod judgement;
mod shared;
mod submit;
mod switch;

#[cfg(test)]
pub(super) use judgement::known;
pub(super) use shared::Shared;
pub(super) use shared::lock;
use shared::open;
pub(super) use shared::stored;
pub(super) use submit::moved;
pub(super) use switch::superseded;

/// How long an idle engine may show no life: longer than any one probe takes whose commands, or
/// whose service manager, do not answer.
const SILENCE: Duration = Duration::from_secs(180);

/// What an engine is made of.
pub struct EngineParts {
    /// The machine.
    pub host: Host,
    /// Folder of the database, as this process sees it.
    pub state_dir: std::path::PathBuf,
    /// Settings to begin with.
    pub settings: Settings,
    /// Decides what operations do.
    pub planner: Box<dyn Planner>,
    /// Does heavy work.
    pub worker: Box<dyn Worker>,
    /// Carries the steps of switches out.
    pub switch: Box<dyn Carry>,
    /// How long to wait for another process that has the database open.
    pub patience: Duration,
    /// Whether it stays and looks after the machine: it checks again and again, and repairs.
    pub is_resident: bool,
}

/// The engine. Cheap to clone; the thread behind it ends with [`Engine::shutdown`].
#[derive(Clone)]
pub struct Engine {
    shared: Arc<Shared>,
}

impl std::fmt::Debug for EngineParts {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("EngineParts")
            .field("state_dir", &self.state_dir)
            .finish_non_exhaustive()
    }
}

impl std::fmt::Debug for Engine {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Engine")
            .field("store", &self.shared.store)
            .finish_non_exhaustive()
    }
}

impl Engine {
    /// Opens the database and starts the thread, which resumes what was cut off. A damaged
    /// database is set aside and a new one begun.
    ///
    /// # Errors
    /// When the database is in use, newer, or the disk refuses.
    pub fn start(parts: EngineParts) -> Result<Engine, Failure> {
        let (store, set_aside) = open(&parts.state_dir, parts.host.clock.now(), parts.patience)?;
        let judgement = match set_aside {
            Some(why) => (Health::Degraded, why),
            None => judgement::known(&store),
        };
        let now = Now::of(parts.host.clock.as_ref());
        let remembered = store.health(&now);
        let mut health = parts.settings.health.clone();
        if !parts.is_resident {
            health.interval_seconds = 0;
        }
        let care = Care::new(remembered, &health, 0);
        let releases = Releases::new(store.releases());
        let following = Following::new(store.following());
        let shared = Arc::new(Shared {
            releases: Mutex::new(releases),
            following: Mutex::new(following),
            inhibitors: Inhibitors::default(),
            written_metrics: Mutex::default(),
            reading: Mutex::default(),
            store,
            host: parts.host,
            planner: parts.planner,
            worker: parts.worker,
            switch: parts.switch,
            convergence: Mutex::default(),
            confirming: Mutex::default(),
            settings: Mutex::new(Arc::new(parts.settings)),
            live: Mutex::default(),
            current: Mutex::default(),
            ended: Condvar::new(),
            judgement: Mutex::new(judgement),
            care: Mutex::new(care),
            looked: Condvar::new(),
            sentinel: Mutex::default(),
            is_resident: parts.is_resident,
            is_judged: AtomicBool::new(false),
            submitting: Mutex::default(),
            changes: broadcast::channel(64).0,
            wake: (Mutex::new(false), Condvar::new()),
            going_down: AtomicBool::new(false),
            is_stopped: (Mutex::new(false), Condvar::new()),
            lets_go_of_kernels: AtomicBool::new(false),
            leaves: AtomicBool::new(false),
            heartbeat: AtomicU64::new(0),
            began: Instant::now(),
        });
        let thread = Arc::clone(&shared);
        std::thread::Builder::new()
            .name("engine".to_owned())
            .spawn(move || runner::work(&thread))
            .map_err(|error| Failure::from_error(Code::Internal, &error))?;
        Ok(Engine { shared })
    }

    /// What the thread and the callers share.
    pub(super) fn shared(&self) -> &Shared {
        &self.shared
    }

    /// What an operation would do. Reads the machine on the caller's thread; may take seconds.
    ///
    /// # Errors
    /// When no plan can be made.
    pub fn plan(&self, request: &OperationRequest) -> Result<Plan, Failure> {
        let settings = self.shared.settings();
        let cancel = Cancel::default();
        let recorded = self.shared.recorded_for(request, &settings, &cancel)?;
        let mut planned = self.shared.planner.plan(&Question {
            request,
            host: &self.shared.host,
            settings: &settings,
            owned: &self.shared.store.owned(),
            recorded: &recorded,
            unwatched: self.shared.unwatched().as_deref(),
            cancel: &cancel,
        })?;
        turn::insert(&mut planned, Turn::of(&settings));
        Ok(planned.view)
    }

    /// How the machine is.
    pub fn status(&self) -> Status {
        let shared = &self.shared;
        let (health, health_reason) = lock(&shared.judgement).clone();
        let open: Vec<OperationRecord> = shared
            .store
            .operations()
            .into_iter()
            .filter(|record| !record.state.is_final())
            .collect();
        let active = lock(&shared.current)
            .as_ref()
            .and_then(|(id, _)| lock(&shared.live).get(id).map(|live| live.borrow().clone()))
            .or_else(|| open.first().map(view::of));
        let convergence = lock(&shared.convergence).clone();
        let (health_seen, findings) = shared.looked_at();
        Status {
            version: nixctl_proto::version().to_owned(),
            nix_version: shared.nix_version(),
            health,
            health_reason,
            converged: convergence.as_ref().map_or(1.0, Convergence::share),
            queued: u32::try_from(open.len().saturating_sub(1)).unwrap_or(u32::MAX),
            active,
            // Which one runs is read by those who show it.
            current_generation: 0,
            target_generation: self.target_generation(convergence.as_ref()),
            reboot_needed: false,
            boot_failure: String::new(),
            convergence: convergence.map_or_else(String::new, |it| it.to_string()),
            health_seen,
            health_note: shared.note_on_findings(),
            findings,
            upgrade: Box::new(shared.upgrade_status()),
        }
    }

    /// Number that the target will have as a generation; 0 when nothing is on its way.
    fn target_generation(&self, convergence: Option<&Convergence>) -> u64 {
        let left = convergence.map_or(0, |it| it.defaults_left as u64);
        if left == 0 {
            return 0;
        }
        // What cannot be read is not shown; that it cannot is no reason to have no status.
        let all = generations::list(&self.shared.host.fs).unwrap_or_default();
        all.first().map_or(0, |newest| newest.number) + left
    }

    /// The newest operations, newest first; `limit` 0 for all.
    pub fn list(&self, limit: u32) -> Vec<OperationView> {
        let mut records = self.shared.store.operations();
        records.reverse();
        if limit > 0 {
            records.truncate(limit as usize);
        }
        records
            .iter()
            .map(|record| self.shared.view(record))
            .collect()
    }

    /// One operation.
    ///
    /// # Errors
    /// When there is none with this id.
    pub fn show(&self, id: &OperationId) -> Result<OperationView, Failure> {
        Ok(self.shared.view(&self.record(id)?))
    }

    /// What an operation was asked to do.
    ///
    /// # Errors
    /// When there is no operation with this id.
    pub fn request(&self, id: &OperationId) -> Result<OperationRequest, Failure> {
        Ok(self.record(id)?.request)
    }

    /// The journal of one operation.
    ///
    /// # Errors
    /// When there is no operation with this id.
    pub fn journal(&self, id: &OperationId) -> Result<Vec<JournalLine>, Failure> {
        let record = self.record(id)?;
        let steps = self.shared.store.steps(id, record.steps).map_err(stored)?;
        Ok(lines::of(&self.shared.store.journal(id), &steps))
    }

    /// Follows one operation. Of one that has ended there is just the last snapshot.
    ///
    /// # Errors
    /// When there is no operation with this id.
    pub fn watch(&self, id: &OperationId) -> Result<watch::Receiver<OperationView>, Failure> {
        let record = self.record(id)?;
        if let Some(live) = lock(&self.shared.live).get(id) {
            return Ok(live.subscribe());
        }
        if record.state.is_final() {
            return Ok(watch::channel(view::of(&record)).1);
        }
        let watched = self.shared.live(&record).subscribe();
        // It may have ended in between, and then nobody sends any more.
        let now = self.record(id)?;
        if now.state.is_final() {
            lock(&self.shared.live).remove(id);
            return Ok(watch::channel(view::of(&now)).1);
        }
        Ok(watched)
    }

    /// Tells of new and forgotten operations and of other news.
    pub fn changes(&self) -> broadcast::Receiver<Change> {
        self.shared.changes.subscribe()
    }

    /// Wakes everybody who listens to [`Engine::changes`].
    pub fn nudge(&self) {
        self.shared.tell(Change::Status);
    }

    /// What is owned, in the order of making.
    pub fn owned(&self) -> Vec<super::Owned> {
        self.shared.store.owned()
    }

    /// Settings in force.
    pub fn settings(&self) -> Arc<Settings> {
        self.shared.settings()
    }

    /// Puts other settings in force, for operations that are planned from now on.
    pub fn set_settings(&self, settings: Settings) {
        *lock(&self.shared.settings) = Arc::new(settings);
        self.shared.notice_settings();
        // What waits may find that it need not any more.
        self.shared.wake();
    }

    /// Whether the thread has shown life within the last minutes (a step may be long; its own
    /// deadlines end it).
    pub fn is_alive(&self) -> bool {
        let last = Duration::from_millis(self.shared.heartbeat.load(Ordering::SeqCst));
        if *lock(&self.shared.is_stopped.0) {
            return false;
        }
        let busy = lock(&self.shared.current).is_some();
        busy || self.shared.began.elapsed().saturating_sub(last) < SILENCE
    }

    /// The version of nixctl before the one in use, which is kept.
    pub fn previous_self(&self) -> Option<String> {
        takeover::plan::previous_version(&self.shared.store.owned())
    }

    /// Whether the daemon is to end, to be started again as another version.
    pub fn leaves(&self) -> bool {
        self.shared.leaves.load(Ordering::SeqCst)
    }

    /// Whether nothing is at work and nothing waits.
    pub fn is_idle(&self) -> bool {
        lock(&self.shared.current).is_none()
            && self
                .shared
                .store
                .operations()
                .iter()
                .all(|record| record.state.is_final())
    }

    /// Stops at the next step boundary, within `deadline`; what was at work is resumed at the next
    /// start. Says whether the thread has ended.
    pub fn shutdown(&self, deadline: Duration) -> bool {
        self.shared.going_down.store(true, Ordering::SeqCst);
        self.shared.end_round();
        let current = lock(&self.shared.current).clone();
        if let Some((id, cancel)) = current {
            cancel.request(Stop::Shutdown);
            self.shared.note_pause(&id);
        }
        self.shared.wake();
        drop(lock(&self.shared.sentinel).take());
        let (stopped, condition) = &self.shared.is_stopped;
        let guard = lock(stopped);
        let (guard, _) = condition
            .wait_timeout_while(guard, deadline, |stopped| !*stopped)
            .unwrap_or_else(PoisonError::into_inner);
        *guard
    }

    fn record(&self, id: &OperationId) -> Result<OperationRecord, Failure> {
        self.shared
            .store
            .operation(id)
            .map_err(stored)?
            .ok_or_else(|| {
                Failure::new(
                    Code::NotFound,
                    format!("cannot find operation {id}: there is none"),
                )
            })
    }
}

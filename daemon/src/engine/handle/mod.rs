//! The engine as the rest of the daemon holds it: ask, look, cancel, retry.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Condvar, Mutex, PoisonError};
use std::time::{Duration, Instant};

use nixctl_proto::operation::JournalLine;
use nixctl_proto::plan::Plan;
use nixctl_proto::request::{OperationRequest, RequestOptions};
use nixctl_proto::settings::Settings;
use nixctl_proto::status::{Health, Status};
use nixctl_proto::{Code, Failure, OperationId, OperationState as State, OperationView};
use tokio::sync::{broadcast, watch};

use super::record::{Entry, OperationRecord, Record};
use super::store::Change as Batch;
use super::{Change, Planner, Question, lines, runner, view};
use crate::host::cancel::Stop;
use crate::host::{Cancel, Host};
use crate::payload::worker::Worker;

mod control;
mod shared;

pub(super) use shared::Shared;
use shared::{lock, open, stored};

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
    /// How long to wait for another process that has the database open.
    pub patience: Duration,
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
            None => (Health::Unknown, "nothing was looked at yet".to_owned()),
        };
        let shared = Arc::new(Shared {
            store,
            host: parts.host,
            planner: parts.planner,
            worker: parts.worker,
            settings: Mutex::new(Arc::new(parts.settings)),
            live: Mutex::default(),
            current: Mutex::default(),
            judgement: Mutex::new(judgement),
            submitting: Mutex::default(),
            changes: broadcast::channel(64).0,
            wake: (Mutex::new(false), Condvar::new()),
            going_down: AtomicBool::new(false),
            is_stopped: (Mutex::new(false), Condvar::new()),
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

    /// Stores an operation and returns at once; it begins when those before it have ended.
    ///
    /// # Errors
    /// Conflict of request ids, full queue, a machine that moved on, or an unwritable database.
    pub fn submit(
        &self,
        request: OperationRequest,
        options: RequestOptions,
        uid: u32,
    ) -> Result<OperationId, Failure> {
        let shared = &self.shared;
        let _one_at_a_time = lock(&shared.submitting);
        if shared.is_going_down() {
            return Err(Failure::new(
                Code::Unreachable,
                "cannot take the request: the daemon is going down",
            ));
        }
        if let Some(text) = &options.request_id
            && let Some(id) = shared.store.by_request_id(text).map_err(stored)?
            && let Some(earlier) = shared.store.operation(&id).map_err(stored)?
        {
            return if earlier.request == request && earlier.requested_by == uid {
                Ok(id)
            } else {
                Err(Failure::new(
                    Code::Conflict,
                    format!("cannot use the request id `{text}` again: it names operation {id}"),
                ))
            };
        }
        self.check_expected(&options)?;
        let open = shared
            .store
            .operations()
            .iter()
            .filter(|record| !record.state.is_final())
            .count();
        if open > shared.settings().daemon.queue_length as usize {
            return Err(Failure::new(
                Code::Busy,
                format!("cannot queue the operation: {open} are waiting"),
            ));
        }
        let record = self.fresh(request, options, uid);
        let mut change = Batch::default();
        change.operation(&record).map_err(stored)?;
        let entry = Entry {
            time: record.created,
            record: Record::State {
                state: State::Queued,
            },
        };
        change.entry(&record.id, 0, &entry).map_err(stored)?;
        if let Some(text) = &record.options.request_id {
            change.request_id(text, &record.id).map_err(stored)?;
        }
        shared.store.commit(change).map_err(stored)?;
        let live = shared.live(&record);
        if open > 0 {
            live.send_modify(|view| {
                let before = "the operation before it".to_owned();
                view.waiting_for = (view.state == State::Queued).then_some(before);
            });
        }
        shared.tell(Change::OperationAdded(record.id.clone()));
        shared.tell(Change::Status);
        shared.wake();
        Ok(record.id)
    }

    /// What an operation would do. Reads the machine on the caller's thread; may take seconds.
    ///
    /// # Errors
    /// When no plan can be made.
    pub fn plan(&self, request: &OperationRequest) -> Result<Plan, Failure> {
        let settings = self.shared.settings();
        let planned = self.shared.planner.plan(&Question {
            request,
            host: &self.shared.host,
            settings: &settings,
            owned: &self.shared.store.owned(),
            cancel: &Cancel::default(),
        })?;
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
        Status {
            version: nixctl_proto::VERSION.to_owned(),
            nix_version: shared.nix_version(),
            health,
            health_reason,
            converged: 1.0,
            queued: u32::try_from(open.len().saturating_sub(1)).unwrap_or(u32::MAX),
            active,
        }
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
        if let Some((_, cancel)) = lock(&self.shared.current).as_ref() {
            cancel.request(Stop::Shutdown);
        }
        self.shared.wake();
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

    fn check_expected(&self, options: &RequestOptions) -> Result<(), Failure> {
        let current = self.shared.nix_version();
        match &options.expected_current {
            Some(expected) if *expected != current => Err(Failure::new(
                Code::Moved,
                format!(
                    "cannot begin: the request expects Nix `{expected}`, and the machine has `{current}`"
                ),
            )),
            _ => Ok(()),
        }
    }

    fn fresh(
        &self,
        request: OperationRequest,
        options: RequestOptions,
        uid: u32,
    ) -> OperationRecord {
        let newest = self
            .shared
            .store
            .operations()
            .last()
            .map(|record| record.created);
        // Ids sort by time; a clock that was set back must not put a new one before an old one.
        let created = self
            .shared
            .host
            .clock
            .now()
            .max(newest.map_or(0, |newest| newest + 1));
        OperationRecord {
            id: OperationId::from_parts(created, random()),
            request,
            options,
            requested_by: uid,
            created,
            finished: None,
            state: State::Queued,
            failure: None,
            kept: Vec::new(),
            notes: Vec::new(),
            next_sequence: 1,
            steps: 0,
        }
    }
}

/// 30 random bits; two operations within one millisecond are all they must tell apart.
fn random() -> u32 {
    use std::hash::{BuildHasher, Hasher};
    let hasher = std::collections::hash_map::RandomState::new().build_hasher();
    (hasher.finish() & 0x3fff_ffff) as u32
}

//! What the engine's thread and its callers share: the database, the machine, who watches, what
//! is at work, and how the machine was judged.

use std::collections::HashMap;
use std::path::Path;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use nixctl_proto::settings::Settings;
use nixctl_proto::status::Health;
use nixctl_proto::{Code, Failure, OperationId, OperationState as State, OperationView};
use tokio::sync::{broadcast, watch};

use super::super::care::Care;
use super::super::following::Following;
use super::super::record::OperationRecord;
use super::super::releases::Releases;
use super::super::store::{Change as Batch, Store, StoreError};
use super::super::{Change, Planner, view};
use crate::health::sentinel::Sentinel;
use crate::host::cancel::Stop;
use crate::host::{Cancel, Host};
use crate::payload::worker::Worker;
use crate::resource::error::fs_code;
use crate::switch::booted_root;
use crate::switch::carry::Carry;
use crate::switch::converge::Convergence;
use crate::takeover;
use crate::upgrade::inhibit::Inhibitors;
use crate::upgrade::metrics;

/// What the thread and the callers share.
pub(in super::super) struct Shared {
    pub(in super::super) store: Store,
    pub(in super::super) host: Host,
    pub(in super::super) planner: Box<dyn Planner>,
    pub(in super::super) worker: Box<dyn Worker>,
    pub(in super::super) switch: Box<dyn Carry>,
    /// How far the switch at work is.
    pub(in super::super) convergence: Mutex<Option<Convergence>>,
    /// The operation that waits for somebody to confirm it.
    pub(in super::super) confirming: Mutex<Option<OperationId>>,
    pub(super) settings: Mutex<Arc<Settings>>,
    pub(super) live: Mutex<HashMap<OperationId, watch::Sender<OperationView>>>,
    pub(in super::super) current: Mutex<Option<(OperationId, Cancel)>>,
    pub(super) ended: Condvar,
    pub(in super::super) judgement: Mutex<(Health, String)>,
    /// What was found, and when is looked next.
    pub(in super::super) care: Mutex<Care>,
    /// What is known of releases, and what is due.
    pub(in super::super) releases: Mutex<Releases>,
    /// What the system follows, and what is due.
    pub(in super::super) following: Mutex<Following>,
    /// Those who ask that nothing begins now.
    pub(in super::super) inhibitors: Inhibitors,
    /// The file of metrics, and what is in it.
    pub(in super::super) written_metrics: Mutex<Option<(String, metrics::Facts)>>,
    /// One reads the feed at a time.
    pub(in super::super) reading: Mutex<()>,
    /// Told when a round has ended.
    pub(in super::super) looked: Condvar,
    /// Wakes the rounds when something changes; none in a daemon that does not stay.
    pub(in super::super) sentinel: Mutex<Option<Sentinel>>,
    /// Whether the daemon stays, and looks after the machine.
    pub(in super::super) is_resident: bool,
    /// Whether the judgement is newer than what the last operation changed.
    pub(in super::super) is_judged: AtomicBool,
    pub(super) submitting: Mutex<()>,
    pub(super) changes: broadcast::Sender<Change>,
    pub(super) wake: (Mutex<bool>, Condvar),
    pub(in super::super) going_down: AtomicBool,
    pub(super) is_stopped: (Mutex<bool>, Condvar),
    /// Whether this boot makes roots of an earlier one's kernel superfluous.
    pub(super) lets_go_of_kernels: AtomicBool,
    /// Whether the daemon is to end, to be started again as another version.
    pub(super) leaves: AtomicBool,
    pub(super) heartbeat: AtomicU64,
    pub(in super::super) began: Instant,
}

pub(in super::super) fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Shared {
    pub(in super::super) fn settings(&self) -> Arc<Settings> {
        Arc::clone(&lock(&self.settings))
    }

    pub(in super::super) fn is_going_down(&self) -> bool {
        self.going_down.load(Ordering::SeqCst)
    }

    /// Asks the daemon to end, and to be started again.
    pub(in super::super) fn leave(&self) {
        self.leaves.store(true, Ordering::SeqCst);
        self.tell(Change::Status);
    }

    pub(in super::super) fn beat(&self) {
        let elapsed = u64::try_from(self.began.elapsed().as_millis()).unwrap_or(u64::MAX);
        self.heartbeat.store(elapsed, Ordering::SeqCst);
    }

    pub(in super::super) fn sleep(&self, time: Duration) {
        let (woken, condition) = &self.wake;
        let guard = lock(woken);
        let (mut guard, _) = condition
            .wait_timeout_while(guard, time, |woken| !*woken)
            .unwrap_or_else(PoisonError::into_inner);
        *guard = false;
    }

    /// Forgets what woke the thread while it was at work.
    pub(in super::super) fn forget_wakes(&self) {
        *lock(&self.wake.0) = false;
    }

    pub(in super::super) fn wake(&self) {
        *lock(&self.wake.0) = true;
        self.wake.1.notify_all();
    }

    pub(in super::super) fn tell(&self, change: Change) {
        // Nobody listening is no fault.
        let _ = self.changes.send(change);
    }

    /// Makes an operation the one at work, unless it has ended since it was chosen. From here on
    /// whoever cancels it asks `cancel`, and nobody else writes its record.
    pub(in super::super) fn begin(
        &self,
        id: &OperationId,
        cancel: &Cancel,
    ) -> Option<OperationRecord> {
        let _one_at_a_time = lock(&self.submitting);
        let record = match self.store.operation(id) {
            Ok(record) => record.filter(|record| !record.state.is_final())?,
            Err(error) => {
                tracing::error!("{error}");
                return None;
            }
        };
        *lock(&self.current) = Some((id.clone(), cancel.clone()));
        self.is_judged.store(false, Ordering::SeqCst);
        if self.is_going_down() {
            cancel.request(Stop::Shutdown);
        }
        self.tell(Change::Status);
        Some(record)
    }

    pub(in super::super) fn end(&self, id: &OperationId) {
        *lock(&self.current) = None;
        *lock(&self.convergence) = None;
        *lock(&self.confirming) = None;
        self.ended.notify_all();
        lock(&self.live).remove(id);
        self.tell(Change::Status);
    }

    /// Writes down that the daemon was asked to go down while an operation was at work: the attempt
    /// does not count, however the daemon ends now.
    pub(super) fn note_pause(&self, id: &OperationId) {
        let mut change = Batch::default();
        let noted = change.paused(id).and_then(|()| self.store.commit(change));
        if let Err(error) = noted {
            tracing::warn!(OPERATION_ID = %id, "cannot note the pause of the operation: {error}");
        }
    }

    pub(in super::super) fn stopped(&self) {
        *lock(&self.is_stopped.0) = true;
        self.is_stopped.1.notify_all();
    }

    /// Exchanges the flag of the operation at work for one that neither somebody who cancels nor
    /// its deadline reaches, only the end of the daemon: for undoing, and past the point of no
    /// return. Says what the old flag was asked for until then.
    pub(in super::super) fn only_shutdown(
        &self,
        cancel: &mut Cancel,
        live: &watch::Sender<OperationView>,
    ) -> Option<Stop> {
        let _one_at_a_time = lock(&self.submitting);
        live.send_modify(|view| view.cancellable = false);
        let asked = cancel.requested();
        let fresh = Cancel::default();
        if let Some((_, current)) = lock(&self.current).as_mut() {
            *current = fresh.clone();
        }
        if self.is_going_down() || asked == Some(Stop::Shutdown) {
            fresh.request(Stop::Shutdown);
        }
        *cancel = fresh;
        asked
    }

    /// Whether nothing was changed since the machine was looked at.
    pub(in super::super) fn is_judged(&self) -> bool {
        self.is_judged.load(Ordering::SeqCst)
    }

    /// Whether an operation is not over.
    pub(in super::super) fn has_work(&self) -> bool {
        let all = self.store.operations();
        all.iter().any(|record| !record.state.is_final())
    }

    pub(in super::super) fn stall(&self, why: &str) {
        *lock(&self.judgement) = (Health::Broken, format!("an operation cannot go on: {why}"));
        self.tell(Change::Status);
    }

    /// Asks the thread to remove the roots of an earlier boot's kernel once no operation is open.
    pub(in super::super) fn ask_to_let_go_of_kernels(&self) {
        self.lets_go_of_kernels.store(true, Ordering::SeqCst);
        self.wake();
    }

    /// Removes them, when that was asked for. By the thread itself, between two operations: a switch
    /// that finds such a root, or makes one, counts on it.
    pub(in super::super) fn let_go_of_kernels(&self) {
        if !self.lets_go_of_kernels.swap(false, Ordering::SeqCst) {
            return;
        }
        if let Err(error) = booted_root::let_go_of_kernels(&self.host.fs) {
            tracing::warn!("cannot remove the roots of an earlier boot's kernel: {error}");
        }
    }

    /// The sender of an operation's snapshots, made when there is none.
    pub(in super::super) fn live(&self, record: &OperationRecord) -> watch::Sender<OperationView> {
        lock(&self.live)
            .entry(record.id.clone())
            .or_insert_with(|| watch::channel(view::of(record)).0)
            .clone()
    }

    pub(super) fn view(&self, record: &OperationRecord) -> OperationView {
        let live = lock(&self.live)
            .get(&record.id)
            .map(|live| live.borrow().clone());
        live.unwrap_or_else(|| view::of(record))
    }

    /// Forgets the oldest ended operations beyond the number that settings allow.
    pub(in super::super) fn forget_old(&self) {
        let keep = self.settings().daemon.history as usize;
        let ended: Vec<OperationRecord> = self
            .store
            .operations()
            .into_iter()
            .filter(|record| record.state.is_final() && record.state != State::Attention)
            .collect();
        for record in ended.iter().take(ended.len().saturating_sub(keep)) {
            match self.store.forget(record) {
                Ok(()) => self.tell(Change::OperationRemoved(record.id.clone())),
                Err(error) => tracing::warn!("cannot forget operation {}: {error}", record.id),
            }
        }
    }
}

pub(super) fn open(
    folder: &Path,
    now: u64,
    patience: Duration,
) -> Result<(Store, Option<String>), Failure> {
    let end = Instant::now() + patience;
    if takeover::fault::cannot_read() {
        let why = "it was built not to read it".to_owned();
        let key = "m/schema".to_owned();
        return Err(stored(StoreError::Damaged { key, why }));
    }
    let mut opened = Store::open(folder);
    while matches!(opened, Err(StoreError::InUse { .. })) && Instant::now() < end {
        std::thread::sleep(Duration::from_millis(100));
        opened = Store::open(folder);
    }
    match opened {
        Ok(store) => Ok((store, None)),
        Err(error @ StoreError::InUse { .. }) => Err(Failure::from_error(Code::Busy, &error)),
        Err(error @ StoreError::Newer { .. }) => Err(stored(error)),
        // The version before reads it, and comes back.
        Err(error) if takeover::note::is_tried_beside(folder) => Err(stored(error)),
        // The next start may find it in order; one set aside would never be looked at again.
        Err(error) if error.refusal().is_some() => Err(stored(error)),
        Err(error) => {
            tracing::error!("{error}");
            let place = Store::set_aside(folder, now).map_err(stored)?;
            let store = Store::open(folder).map_err(stored)?;
            let why = format!(
                "the state could not be read ({error}); it was set aside as {}",
                place.display()
            );
            Ok((store, Some(why)))
        }
    }
}

pub(in super::super) fn stored(error: StoreError) -> Failure {
    let code = match error.refusal().map(fs_code) {
        Some(code @ (Code::DiskFull | Code::ReadOnly)) => code,
        _ => Code::StateDamaged,
    };
    Failure::from_error(code, &error)
}

//! A backend in memory for the tests of this room.

use std::collections::BTreeMap;
use std::os::fd::OwnedFd;
use std::sync::atomic::{AtomicBool, AtomicU32, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};

use nixctl_proto::health::{Finding, Findings, HealthEvent, HealthEventKind, RemedyView, Severity};
use nixctl_proto::operation::{JournalLine, OperationState};
use nixctl_proto::plan::{DiffEntry, Plan};
use nixctl_proto::request::{
    InstallRequest, OperationRequest, RequestOptions, SelfUpgradeRequest, UpgradeRequest,
};
use nixctl_proto::settings::SettingView;
use nixctl_proto::status::{Health, Status};
use nixctl_proto::{Code, Failure, Generation, OperationId, OperationView};
use tokio::sync::{broadcast, watch};

use super::{Backend, Change};
use crate::upgrade::inhibit::Inhibitors;

/// A toplevel.
pub const TOPLEVEL: &str = "/nix/store/0123456789abcdfghijklmnpqrsvwxyz-nixos-system-web-25.05";

#[derive(Debug)]
struct Entry {
    request: OperationRequest,
    last: OperationView,
    sender: Option<watch::Sender<OperationView>>,
}

/// Operations that go on only when a test says so.
#[derive(Debug)]
pub struct FakeBackend {
    operations: Mutex<BTreeMap<OperationId, Entry>>,
    changes: broadcast::Sender<Change>,
    next: AtomicU32,
    trusts_left: AtomicUsize,
    /// Keys and values that were configured.
    pub configured: Mutex<Vec<(String, String)>>,
    /// Operations that were confirmed.
    pub confirmed: Mutex<Vec<OperationId>>,
    /// Who holds something up.
    pub inhibitors: Inhibitors,
    /// How often settings were read again.
    pub reloads: AtomicU32,
    /// Whether it was asked to stop.
    pub stopped: AtomicBool,
    /// Whether it shows no life.
    pub dead: AtomicBool,
}

impl FakeBackend {
    /// An empty one.
    pub fn new() -> Arc<Self> {
        Arc::new(FakeBackend {
            operations: Mutex::default(),
            changes: broadcast::channel(64).0,
            next: AtomicU32::new(1),
            trusts_left: AtomicUsize::new(usize::MAX),
            configured: Mutex::default(),
            confirmed: Mutex::default(),
            inhibitors: Inhibitors::default(),
            reloads: AtomicU32::new(0),
            stopped: AtomicBool::new(false),
            dead: AtomicBool::new(false),
        })
    }

    /// Sources are trusted this many more times.
    pub fn distrust_after(&self, times: usize) {
        self.trusts_left.store(times, Ordering::SeqCst);
    }

    /// Changes an operation as the engine would; a final state ends its watch.
    pub fn advance(&self, id: &OperationId, change: impl FnOnce(&mut OperationView)) {
        let mut operations = self.operations.lock().unwrap();
        let entry = operations.get_mut(id).unwrap();
        change(&mut entry.last);
        if let Some(sender) = &entry.sender {
            sender.send_replace(entry.last.clone());
        }
        if entry.last.state.is_final() {
            entry.sender = None;
        }
        let _ = self.changes.send(Change::Status);
    }

    /// Tells of findings, as the engine would.
    pub fn find(&self) {
        let _ = self.changes.send(Change::Findings);
    }

    /// Forgets an operation.
    pub fn forget(&self, id: &OperationId) {
        self.operations.lock().unwrap().remove(id);
        let _ = self.changes.send(Change::OperationRemoved(id.clone()));
    }

    /// How many receivers watch an operation.
    pub fn watchers(&self, id: &OperationId) -> usize {
        let operations = self.operations.lock().unwrap();
        operations[id]
            .sender
            .as_ref()
            .map_or(0, watch::Sender::receiver_count)
    }
}

fn not_found(id: &OperationId) -> Failure {
    Failure::new(
        Code::NotFound,
        format!("cannot find operation {id}: there is none"),
    )
}

impl Backend for FakeBackend {
    fn submit(
        &self,
        request: OperationRequest,
        options: RequestOptions,
        uid: u32,
    ) -> Result<OperationId, Failure> {
        let number = self.next.fetch_add(1, Ordering::SeqCst);
        let id = OperationId::from_parts(u64::from(number), 0);
        let view = OperationView {
            id: id.clone(),
            kind: request.kind(),
            state: OperationState::Running,
            waiting_for: None,
            requested_by: uid,
            reason: options.reason.unwrap_or_default(),
            created: 1_700_000_000_000,
            finished: None,
            step: 0,
            steps: 4,
            description: String::new(),
            bytes_done: 0,
            bytes_total: 0,
            progress: 0.0,
            cancellable: true,
            failure: None,
            kept: Vec::new(),
            notes: Vec::new(),
        };
        let sender = Some(watch::channel(view.clone()).0);
        let entry = Entry {
            request,
            last: view,
            sender,
        };
        self.operations.lock().unwrap().insert(id.clone(), entry);
        let _ = self.changes.send(Change::OperationAdded(id.clone()));
        let _ = self.changes.send(Change::Status);
        Ok(id)
    }

    fn plan(&self, request: OperationRequest) -> Result<Plan, Failure> {
        Ok(Plan {
            kind: request.kind(),
            title: format!("{request:?}"),
            steps: Vec::new(),
            checks: Vec::new(),
            bytes_needed: 0,
            inodes_needed: 0,
            notes: Vec::new(),
            switch: None,
        })
    }

    fn status(&self) -> Status {
        let operations = self.operations.lock().unwrap();
        let active = operations
            .values()
            .map(|e| &e.last)
            .find(|view| !view.state.is_final());
        Status {
            version: "0.1.0".to_owned(),
            nix_version: "2.34.8".to_owned(),
            health: Health::Healthy,
            health_reason: String::new(),
            converged: if active.is_some() { 0.5 } else { 1.0 },
            active: active.cloned(),
            queued: 0,
            current_generation: 7,
            target_generation: 8,
            reboot_needed: true,
            boot_failure: "generation 6 was left: a.service has failed".to_owned(),
            convergence: "12 of 40 components".to_owned(),
            health_seen: 7,
            health_note: "an operation is at work".to_owned(),
            findings: 2,
            upgrade: Default::default(),
        }
    }

    fn metrics(&self) -> String {
        "nixctl_build_info 1\n".to_owned()
    }

    fn inhibit(&self, what: &str, who: &str, why: &str, uid: u32) -> Result<OwnedFd, Failure> {
        let taken = self.inhibitors.take(what, who, why, uid);
        taken.map_err(|error| Failure::from_error(error.code(), &error))
    }

    fn list(&self, limit: u32) -> Vec<OperationView> {
        let operations = self.operations.lock().unwrap();
        let limit = if limit == 0 {
            usize::MAX
        } else {
            limit as usize
        };
        operations
            .values()
            .rev()
            .take(limit)
            .map(|entry| entry.last.clone())
            .collect()
    }

    fn show(&self, id: &OperationId) -> Result<OperationView, Failure> {
        let operations = self.operations.lock().unwrap();
        operations
            .get(id)
            .map(|entry| entry.last.clone())
            .ok_or_else(|| not_found(id))
    }

    fn request(&self, id: &OperationId) -> Result<OperationRequest, Failure> {
        let operations = self.operations.lock().unwrap();
        operations
            .get(id)
            .map(|entry| entry.request.clone())
            .ok_or_else(|| not_found(id))
    }

    fn journal(&self, id: &OperationId) -> Result<Vec<JournalLine>, Failure> {
        self.show(id)?;
        let line = |sequence, record: &str, step| JournalLine {
            sequence,
            time: 1_700_000_000_000,
            record: record.to_owned(),
            step,
            text: "create the directory /nix".to_owned(),
        };
        Ok(vec![line(0, "planned", None), line(1, "started", Some(1))])
    }

    fn watch(&self, id: &OperationId) -> Result<watch::Receiver<OperationView>, Failure> {
        let operations = self.operations.lock().unwrap();
        let entry = operations.get(id).ok_or_else(|| not_found(id))?;
        Ok(match &entry.sender {
            Some(sender) => sender.subscribe(),
            None => watch::channel(entry.last.clone()).1,
        })
    }

    fn changes(&self) -> broadcast::Receiver<Change> {
        self.changes.subscribe()
    }

    fn cancel(&self, id: &OperationId) -> Result<(), Failure> {
        self.show(id)?;
        self.advance(id, |view| {
            view.state = OperationState::Cancelled;
            view.failure = Some(Failure::new(Code::Cancelled, "cannot finish: cancelled"));
        });
        Ok(())
    }

    fn retry(&self, id: &OperationId, uid: u32) -> Result<OperationId, Failure> {
        let request = self.request(id)?;
        if !self.show(id)?.state.is_final() {
            return Err(Failure::new(
                Code::NotRetryable,
                "cannot retry: it is running",
            ));
        }
        self.submit(request, RequestOptions::default(), uid)
    }

    fn confirm(&self, id: &OperationId) -> Result<(), Failure> {
        self.show(id)?;
        self.confirmed.lock().unwrap().push(id.clone());
        Ok(())
    }

    fn generations(&self) -> Result<Vec<Generation>, Failure> {
        Ok(vec![Generation {
            number: 7,
            path: TOPLEVEL.to_owned(),
            created: 1_700_000_000_000,
            current: true,
            proven: true,
            label: "12 of 40 components".to_owned(),
            ..Generation::default()
        }])
    }

    fn diff(&self, from: &str, to: &str) -> Result<Vec<DiffEntry>, Failure> {
        Ok(vec![DiffEntry {
            name: format!("{from} {to}"),
            old: vec!["1".to_owned(), "2".to_owned()],
            new: Vec::new(),
            bytes: -5,
        }])
    }

    fn check(&self, checks: &[String]) -> Result<Findings, Failure> {
        let mut all = self.findings();
        all.findings
            .retain(|it| checks.is_empty() || checks.contains(&it.check));
        Ok(all)
    }

    fn findings(&self) -> Findings {
        let finding = |check: &str, subject: &str, severity| Finding {
            check: check.to_owned(),
            subject: subject.to_owned(),
            severity,
            seen: "it is gone".to_owned(),
            expected: "it to be there".to_owned(),
            why: "nothing works without it".to_owned(),
            help: String::new(),
            since: 5,
            remedy: Some(RemedyView {
                summary: "put it back".to_owned(),
                steps: vec!["put it back".to_owned()],
                automatic: true,
                held: String::new(),
            }),
        };
        Findings {
            health: Health::Broken,
            reason: "it is gone".to_owned(),
            seen: 7,
            note: String::new(),
            findings: vec![
                finding("mounts.not-mounted", "/nix", Severity::Critical),
                finding("conf.missing", "/etc/nix/nix.conf", Severity::Warning),
            ],
        }
    }

    fn history(&self, limit: u32) -> Vec<HealthEvent> {
        let event = |number, what, operation| HealthEvent {
            number,
            time: 5 + number,
            check: "mounts.not-mounted".to_owned(),
            subject: "/nix".to_owned(),
            what,
            operation,
            detail: String::new(),
        };
        let id = OperationId::from_parts(1, 1);
        let mut all = vec![
            event(1, HealthEventKind::Tried, Some(id)),
            event(0, HealthEventKind::Appeared, None),
        ];
        if limit > 0 {
            all.truncate(limit as usize);
        }
        all
    }

    fn settings(&self) -> Vec<SettingView> {
        vec![SettingView {
            key: "daemon.history".to_owned(),
            value: "200".to_owned(),
            file: String::new(),
        }]
    }

    fn configure(&self, key: &str, value: &str) -> Result<(), Failure> {
        self.configured
            .lock()
            .unwrap()
            .push((key.to_owned(), value.to_owned()));
        Ok(())
    }

    fn reload_settings(&self) -> Result<(), Failure> {
        self.reloads.fetch_add(1, Ordering::SeqCst);
        Ok(())
    }

    fn self_goes_back(&self, _request: &SelfUpgradeRequest) -> bool {
        false
    }

    fn goes_back(&self, request: &UpgradeRequest) -> bool {
        request.rollback
    }

    fn is_trusted(&self, request: &InstallRequest) -> bool {
        let left = self.trusts_left.load(Ordering::SeqCst);
        self.trusts_left
            .store(left.saturating_sub(1), Ordering::SeqCst);
        let source = request.source.as_deref();
        left > 0 && source.is_none_or(|source| source.starts_with("/srv/nix/"))
    }

    fn alive(&self) -> bool {
        !self.dead.load(Ordering::SeqCst)
    }

    fn shutdown(&self) {
        self.stopped.store(true, Ordering::SeqCst);
    }
}

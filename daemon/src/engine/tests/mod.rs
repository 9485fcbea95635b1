//! The engine over a real database and a real folder, with planners made for the case.

mod attempts;
mod boot;
mod care;
mod crash;
mod deadline;
mod life;
mod owned;
mod queue;
mod race;
mod releases;
mod repair;
mod state;
mod switch;
mod told;
mod upgrade;

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use nixctl_proto::plan::{Plan, PlanAction};
use nixctl_proto::request::{InstallRequest, OperationRequest, RequestOptions, UninstallRequest};
use nixctl_proto::settings::Settings;
use nixctl_proto::{Code, Failure, OperationId, OperationState as State, OperationView};

use super::record::{Entry, Record};
use super::step::{PlannedStep, Step};
use super::store::{Change as Batch, Store};
use super::{Engine, EngineParts, Planner, Question};
use crate::catalogue::Planned;
use crate::host::cancel::Stop;
use crate::host::fake;
use crate::host::{Cancel, Host};
use crate::payload::worker::{Task, Worker};
use crate::payload::{Fetch, PayloadError, Release, Source};
use crate::resource::{Progress, Resource, file::File};

/// Makes the files named, or takes off what is owned.
pub(super) struct Files(pub Vec<&'static str>);

pub(super) fn file(name: &str) -> Step {
    Step::Ensure(Resource::File(File {
        path: PathBuf::from(name),
        content: format!("content of {name}\n"),
        mode: 0o644,
        uid: nix::unistd::getuid().as_raw(),
        gid: nix::unistd::getgid().as_raw(),
        replace: true,
    }))
}

/// The download of a release of so many bytes.
pub(super) fn fetch_of(size: u64) -> Step {
    Step::Fetch(Fetch {
        release: Release {
            source: Source::Path("/srv/nix.tar.xz".into()),
            sha256: "ab".repeat(32),
            size: Some(size),
            version: "2.34.8".to_owned(),
            system: "x86_64-linux".to_owned(),
        },
        proxy: String::new(),
        ssl_cert_file: String::new(),
    })
}

pub(super) fn planned(kind: nixctl_proto::OperationKind, steps: Vec<Step>) -> Planned {
    let view = Plan {
        kind,
        title: "test".to_owned(),
        steps: steps
            .iter()
            .map(|step| nixctl_proto::plan::PlanStep {
                id: step.describe().id,
                action: PlanAction::Create,
                summary: step.describe().summary,
                details: Vec::new(),
            })
            .collect(),
        checks: Vec::new(),
        bytes_needed: 0,
        inodes_needed: 0,
        notes: Vec::new(),
        switch: None,
    };
    let steps = steps
        .into_iter()
        .map(|step| PlannedStep {
            step,
            action: PlanAction::Create,
        })
        .collect();
    Planned {
        steps,
        view,
        repair: None,
    }
}

impl Planner for Files {
    fn plan(&self, question: &Question<'_>) -> Result<Planned, Failure> {
        let steps = match question.request {
            OperationRequest::Uninstall(_) => question
                .owned
                .iter()
                .rev()
                .map(|owned| Step::Remove(owned.resource.clone(), owned.undo.clone()))
                .collect(),
            _ => self.0.iter().map(|name| file(name)).collect(),
        };
        Ok(planned(question.request.kind(), steps))
    }
}

/// A planner that is a function.
pub(super) struct Plans<F>(pub F);

impl<F: Fn(&Question<'_>) -> Result<Planned, Failure> + Send + Sync> Planner for Plans<F> {
    fn plan(&self, question: &Question<'_>) -> Result<Planned, Failure> {
        (self.0)(question)
    }
}

/// Does nothing, at once.
struct Idle;

impl Worker for Idle {
    fn run(&self, _: &Task, _: &dyn Progress, _: &Cancel) -> Result<(), PayloadError> {
        Ok(())
    }
}

pub(super) struct Fixture {
    pub root: tempfile::TempDir,
    pub state: tempfile::TempDir,
}

impl Fixture {
    pub fn new() -> Self {
        let fixture = Fixture {
            root: tempfile::tempdir().unwrap(),
            state: tempfile::tempdir().unwrap(),
        };
        std::fs::create_dir(fixture.root.path().join("etc")).unwrap();
        fixture
    }

    pub fn host(&self) -> Host {
        fake::host(self.root.path()).0
    }

    pub fn engine(&self, planner: impl Planner + 'static) -> Engine {
        self.engine_on(self.host(), planner)
    }

    pub fn engine_on(&self, host: Host, planner: impl Planner + 'static) -> Engine {
        Engine::start(EngineParts {
            host,
            state_dir: self.state.path().join("state"),
            settings: Settings::default(),
            planner: Box::new(planner),
            worker: Box::new(Idle),
            switch: Box::new(crate::switch::carry::Machine),
            patience: Duration::from_millis(200),
            is_resident: false,
        })
        .unwrap()
    }

    pub fn tree(&self) -> Vec<(String, Vec<u8>)> {
        let mut tree: Vec<_> = std::fs::read_dir(self.root.path().join("etc"))
            .unwrap()
            .map(|entry| entry.unwrap())
            .map(|entry| {
                let name = entry.file_name().into_string().unwrap();
                (name, std::fs::read(entry.path()).unwrap())
            })
            .collect();
        tree.sort();
        tree
    }
}

pub(super) fn install() -> OperationRequest {
    OperationRequest::Install(InstallRequest::default())
}

pub(super) fn end_of(engine: &Engine, id: &OperationId) -> OperationView {
    let begin = Instant::now();
    loop {
        let view = engine.show(id).unwrap();
        if view.state.is_final() && engine.is_idle() {
            return view;
        }
        assert!(
            begin.elapsed() < Duration::from_secs(20),
            "still {}",
            view.state
        );
        std::thread::sleep(Duration::from_millis(5));
    }
}

pub(super) fn stop(engine: Engine) {
    assert!(engine.shutdown(Duration::from_secs(10)));
}

/// Opens the database once the thread of a stopped engine has let go of it.
pub(super) fn reopen(fixture: &Fixture) -> Store {
    let begin = Instant::now();
    loop {
        match Store::open(&fixture.state.path().join("state")) {
            Ok(store) => return store,
            Err(error) => assert!(begin.elapsed() < Duration::from_secs(5), "{error}"),
        }
        std::thread::sleep(Duration::from_millis(2));
    }
}

const NAMES: [&str; 3] = ["/etc/a", "/etc/b", "/etc/c"];

//! The bus against a fake daemon on a bus of the test's own.

use std::collections::HashMap;
use std::io::{BufRead, BufReader};
use std::process::{Child, Command, Stdio};
use std::sync::{Arc, Mutex};

use nixctl_proto::bus::error_text;
use nixctl_proto::request::{InstallRequest, RepairRequest, RollbackRequest, SwitchRequest};
use nixctl_proto::{MANAGER_PATH, OperationState};
use zbus::message::{Flags, Header};
use zbus::object_server::SignalEmitter;
use zbus::zvariant::{ObjectPath, OwnedValue, Value};
use zbus::{DBusError, interface};

use super::*;
use crate::connect::Event;
use crate::render::operation::tests::view;

/// A bus that ends with the test.
struct TestBus {
    child: Child,
    address: String,
    _folder: tempfile::TempDir,
}

impl TestBus {
    /// `None` on a machine without dbus-daemon.
    fn start() -> Option<TestBus> {
        let folder = tempfile::tempdir().unwrap();
        let child = Command::new("dbus-daemon")
            .args(["--session", "--nofork", "--nopidfile", "--print-address"])
            .arg(format!(
                "--address=unix:path={}",
                folder.path().join("bus").display()
            ))
            .stdout(Stdio::piped())
            .spawn();
        let Ok(mut child) = child else {
            eprintln!("skipped: there is no dbus-daemon");
            return None;
        };
        let mut address = String::new();
        let stdout = child.stdout.as_mut().unwrap();
        BufReader::new(stdout).read_line(&mut address).unwrap();
        Some(TestBus {
            child,
            address: address.trim().to_owned(),
            _folder: folder,
        })
    }

    fn builder(&self) -> Builder<'_> {
        Builder::address(self.address.as_str()).unwrap()
    }

    /// A daemon on it; it leaves the bus when dropped.
    async fn daemon(&self, state: OperationState) -> zbus::Connection {
        let operation = FakeOperation { state };
        self.builder()
            .serve_at(MANAGER_PATH, FakeManager::default())
            .unwrap()
            .serve_at(view().id.object_path(), operation)
            .unwrap()
            .name(BUS_NAME)
            .unwrap()
            .build()
            .await
            .unwrap()
    }

    async fn client(&self, interactive: bool) -> Bus {
        Bus::at(self.builder(), interactive).await.unwrap()
    }
}

impl Drop for TestBus {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

#[derive(Default)]
struct FakeManager {
    /// Whether the calls allowed asking for a password.
    flags: Arc<Mutex<Vec<bool>>>,
    /// What was asked of the generations.
    asked: Arc<Mutex<Vec<String>>>,
}

impl FakeManager {
    fn ask(&self, what: String) -> ObjectPath<'static> {
        self.asked.lock().unwrap().push(what);
        ObjectPath::try_from(view().id.object_path()).unwrap()
    }
}

#[derive(Debug)]
struct Refusal(Failure);

impl DBusError for Refusal {
    fn create_reply(&self, call: &Header<'_>) -> zbus::Result<zbus::Message> {
        zbus::Message::error(call, self.name())?.build(&(error_text(&self.0),))
    }

    fn name(&self) -> zbus::names::ErrorName<'_> {
        zbus::names::ErrorName::try_from(self.0.code.dbus_name()).unwrap()
    }

    fn description(&self) -> Option<&str> {
        None
    }
}

#[interface(name = "org.nixctl1.Manager")]
impl FakeManager {
    async fn install(
        &self,
        options: HashMap<String, OwnedValue>,
        #[zbus(header)] header: Header<'_>,
    ) -> Result<ObjectPath<'static>, Refusal> {
        let flags = header.primary().flags();
        self.flags
            .lock()
            .unwrap()
            .push(flags.contains(Flags::AllowInteractiveAuth));
        match options
            .get("version")
            .map(|value| value.downcast_ref::<String>().unwrap())
        {
            Some(version) if version == "0" => Err(Refusal(
                Failure::new(Code::NoSpace, "cannot install: no room").with_help("make room"),
            )),
            _ => Ok(ObjectPath::try_from(view().id.object_path()).unwrap()),
        }
    }

    fn switch(&self, toplevel: &str, options: HashMap<String, OwnedValue>) -> ObjectPath<'static> {
        let mut keys: Vec<_> = options.into_keys().collect();
        keys.sort_unstable();
        self.ask(format!("switch {toplevel} {}", keys.join(" ")))
    }

    fn rollback(
        &self,
        generation: u64,
        _options: HashMap<String, OwnedValue>,
    ) -> ObjectPath<'static> {
        self.ask(format!("rollback {generation}"))
    }

    fn confirm(&self, operation: ObjectPath<'_>) {
        self.ask(format!("confirm {operation}"));
    }

    fn plan(&self, kind: &str, argument: &str, _options: HashMap<String, OwnedValue>) -> String {
        self.ask(format!("plan {kind} {argument}"));
        "{}".to_owned()
    }

    fn repair(
        &self,
        findings: Vec<String>,
        _options: HashMap<String, OwnedValue>,
    ) -> ObjectPath<'static> {
        self.ask(format!("repair {}", findings.join(" ")))
    }

    fn check(&self, checks: Vec<String>) -> Vec<HashMap<&'static str, Value<'static>>> {
        self.ask(format!("check {}", checks.join(" ")));
        self.findings()
    }

    fn findings(&self) -> Vec<HashMap<&'static str, Value<'static>>> {
        vec![HashMap::from([
            ("check", Value::from("tree.rights")),
            ("severity", Value::from("error")),
        ])]
    }

    fn list_health_events(&self, limit: u32) -> Vec<HashMap<&'static str, Value<'static>>> {
        vec![HashMap::from([
            ("number", Value::from(u64::from(limit))),
            ("check", Value::from("tree.rights")),
            ("what", Value::from("appeared")),
        ])]
    }

    #[zbus(property)]
    fn health_reason(&self) -> &str {
        "it is right"
    }

    #[zbus(property)]
    fn health_seen(&self) -> u64 {
        5
    }

    #[zbus(property)]
    fn health_note(&self) -> &str {
        "at work"
    }

    fn list_generations(&self) -> Vec<HashMap<&'static str, Value<'static>>> {
        let path = Value::from("/nix/store/x");
        vec![HashMap::from([
            ("number", Value::from(7u64)),
            ("path", path),
        ])]
    }

    fn diff(&self, from: &str, to: &str) -> Vec<HashMap<&'static str, Value<'static>>> {
        let name = Value::from(format!("{from} {to}"));
        vec![HashMap::from([
            ("name", name),
            ("bytes", Value::from(-5i64)),
        ])]
    }

    /// Not part of the interface: tells the test what was asked.
    fn asked(&self) -> Vec<String> {
        self.asked.lock().unwrap().clone()
    }

    fn list_operations(&self, _limit: u32) -> Vec<ObjectPath<'static>> {
        let gone = OperationId::from_parts(9, 9).object_path();
        [view().id.object_path(), gone]
            .into_iter()
            .map(|path| ObjectPath::try_from(path).unwrap())
            .collect()
    }

    /// Not part of the interface: tells the test what was seen.
    fn seen(&self) -> Vec<bool> {
        self.flags.lock().unwrap().clone()
    }

    #[zbus(property)]
    fn version(&self) -> &str {
        "9.9.9"
    }

    #[zbus(property)]
    fn health(&self) -> &str {
        "healthy"
    }

    #[zbus(property)]
    fn active_operation(&self) -> ObjectPath<'static> {
        ObjectPath::try_from(view().id.object_path()).unwrap()
    }
}

struct FakeOperation {
    state: OperationState,
}

#[interface(name = "org.nixctl1.Operation")]
impl FakeOperation {
    #[zbus(property)]
    fn kind(&self) -> &str {
        "install"
    }

    #[zbus(property)]
    fn state(&self) -> &str {
        self.state.as_str()
    }

    #[zbus(property)]
    fn notes(&self) -> Vec<String> {
        // What nobody signals is only seen by whoever reads it in the end.
        if self.state.is_final() {
            vec!["well done".to_owned()]
        } else {
            Vec::new()
        }
    }

    #[zbus(signal)]
    async fn finished(
        emitter: &SignalEmitter<'_>,
        success: bool,
        code: &str,
        message: &str,
    ) -> zbus::Result<()>;
}

/// Moves the fake operation on, with a signal.
async fn advance(daemon: &zbus::Connection, state: OperationState) {
    let path = view().id.object_path();
    let server = daemon.object_server();
    let reference = server.interface::<_, FakeOperation>(path).await.unwrap();
    reference.get_mut().await.state = state;
    reference
        .get()
        .await
        .state_changed(reference.signal_emitter())
        .await
        .unwrap();
}

#[tokio::test]
async fn the_status_names_what_is_at_work() {
    let Some(bus) = TestBus::start() else { return };
    assert!(
        Bus::at(bus.builder(), false)
            .await
            .unwrap_err()
            .contains("org.nixctl1")
    );
    let _daemon = bus.daemon(OperationState::Running).await;
    let client = bus.client(false).await;
    let status = client.status().await.unwrap();
    assert_eq!((status.version.as_str(), status.converged), ("9.9.9", 1.0));
    assert_eq!(status.active.unwrap().state, OperationState::Running);
    // A second time it is read anew.
    assert_eq!(client.status().await.unwrap().version, "9.9.9");
    // One of the two in the list is gone.
    assert_eq!(client.list(0).await.unwrap().len(), 1);
}

#[tokio::test]
async fn refusals_come_back_and_asking_is_only_allowed_when_it_is() {
    let Some(bus) = TestBus::start() else { return };
    let daemon = bus.daemon(OperationState::Running).await;
    let none = RequestOptions::default();
    for (interactive, version) in [(false, "0"), (true, "2.26.3")] {
        let client = bus.client(interactive).await;
        let request = OperationRequest::Install(InstallRequest {
            version: Some(version.to_owned()),
            ..InstallRequest::default()
        });
        match client.submit(&request, &none).await {
            Ok(id) => assert_eq!((version, id), ("2.26.3", view().id)),
            Err(trouble) => {
                let failure = Failure::from(trouble);
                assert_eq!(
                    (failure.code, failure.help.as_str()),
                    (Code::NoSpace, "make room")
                );
            }
        }
    }
    let server = daemon.object_server();
    let manager = server
        .interface::<_, FakeManager>(MANAGER_PATH)
        .await
        .unwrap();
    assert_eq!(manager.get().await.seen(), [false, true]);
    let client = bus.client(false).await;
    let unknown = client
        .show(&OperationId::from_parts(7, 7))
        .await
        .unwrap_err();
    assert_eq!(Failure::from(unknown).code, Code::NotFound);
}

#[tokio::test]
async fn generations_are_moved_listed_and_compared() {
    let Some(bus) = TestBus::start() else { return };
    let daemon = bus.daemon(OperationState::Running).await;
    let client = bus.client(false).await;
    let none = RequestOptions::default();
    let switch = OperationRequest::Switch(SwitchRequest {
        toplevel: "/nix/store/x".to_owned(),
        soak: Some(1),
        drop_old: true,
        ..SwitchRequest::default()
    });
    assert_eq!(client.submit(&switch, &none).await, Ok(view().id));
    for to in [None, Some(7)] {
        let rollback = OperationRequest::Rollback(RollbackRequest {
            to,
            ..RollbackRequest::default()
        });
        assert_eq!(client.submit(&rollback, &none).await, Ok(view().id));
    }
    client.confirm(&view().id).await.unwrap();
    // What the fake answers is no plan; that it was asked is what counts.
    let unreadable = client.plan(&switch).await.unwrap_err();
    assert_eq!(Failure::from(unreadable).code, Code::BadFrame);
    let server = daemon.object_server();
    let manager = server
        .interface::<_, FakeManager>(MANAGER_PATH)
        .await
        .unwrap();
    assert_eq!(
        manager.get().await.asked(),
        [
            "switch /nix/store/x drop-old soak".to_owned(),
            "rollback 0".to_owned(),
            "rollback 7".to_owned(),
            format!("confirm {}", view().id.object_path()),
            "plan switch /nix/store/x".to_owned(),
        ]
    );
    let generations = client.generations().await.unwrap();
    assert_eq!((generations[0].number, generations[0].current), (7, false));
    let packages = client.diff("a", "b").await.unwrap();
    assert_eq!((packages[0].name.as_str(), packages[0].bytes), ("a b", -5));
}

#[tokio::test]
async fn findings_are_asked_for_repaired_and_told_of() {
    let Some(bus) = TestBus::start() else { return };
    let daemon = bus.daemon(OperationState::Running).await;
    let client = bus.client(false).await;
    let found = client.check(&["tree.rights".to_owned()]).await.unwrap();
    assert_eq!(found, client.findings().await.unwrap());
    assert_eq!(found.findings[0].check, "tree.rights");
    assert_eq!(
        (found.reason.as_str(), found.seen, found.note.as_str()),
        ("it is right", 5, "at work")
    );
    let events = client.history(7).await.unwrap();
    assert_eq!((events.len(), events[0].number), (1, 7));
    let repair = OperationRequest::Repair(RepairRequest {
        targets: vec![Target::from("tree.rights:/nix")],
        automatic: false,
    });
    let none = RequestOptions::default();
    assert_eq!(client.submit(&repair, &none).await, Ok(view().id));
    let server = daemon.object_server();
    let manager = server.interface::<_, FakeManager>(MANAGER_PATH).await;
    assert_eq!(
        manager.unwrap().get().await.asked(),
        ["check tree.rights", "repair tree.rights:/nix"]
    );
}

#[tokio::test]
async fn a_watch_follows_signals_and_survives_a_restart() {
    let Some(bus) = TestBus::start() else { return };
    let daemon = bus.daemon(OperationState::Planning).await;
    let client = bus.client(false).await;
    let mut watch = client.watch(&view().id);
    let mut daemon = Some(daemon);
    let mut seen = Vec::new();
    while let Some(event) = timeout(ANSWER, watch.next()).await.unwrap().unwrap() {
        match event {
            Event::View(view) => {
                seen.push(view.state.as_str());
                match view.state {
                    OperationState::Planning => {
                        advance(daemon.as_ref().unwrap(), OperationState::Running).await;
                    }
                    OperationState::Running if daemon.is_some() => {
                        daemon.take().unwrap().close().await.unwrap();
                    }
                    OperationState::Committing => {
                        advance(daemon.as_ref().unwrap(), OperationState::Succeeded).await;
                    }
                    OperationState::Succeeded => assert_eq!(view.notes, ["well done"]),
                    _ => {}
                }
            }
            Event::Away => {
                seen.push("away");
                daemon = Some(bus.daemon(OperationState::Committing).await);
            }
            Event::Back => seen.push("back"),
        }
    }
    seen.dedup();
    assert_eq!(
        seen,
        [
            "planning",
            "running",
            "away",
            "back",
            "committing",
            "succeeded"
        ]
    );
}

#[tokio::test]
async fn an_operation_that_appears_a_moment_after_the_daemon_is_followed() {
    let Some(bus) = TestBus::start() else { return };
    let daemon = bus
        .builder()
        .serve_at(MANAGER_PATH, FakeManager::default())
        .unwrap()
        .name(BUS_NAME)
        .unwrap()
        .build()
        .await
        .unwrap();
    let client = bus.client(false).await;
    let mut watch = client.watch(&view().id);
    let later = async {
        tokio::time::sleep(Duration::from_millis(120)).await;
        let operation = FakeOperation {
            state: OperationState::Succeeded,
        };
        let path = view().id.object_path();
        daemon.object_server().at(path, operation).await.unwrap();
    };
    let (event, ()) = tokio::join!(timeout(ANSWER, watch.next()), later);
    match event.unwrap().unwrap() {
        Some(Event::View(view)) => assert_eq!(view.state, OperationState::Succeeded),
        other => panic!("{other:?}"),
    }
}

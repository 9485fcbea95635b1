//! A fake daemon on a bus of the test's own.

use std::collections::HashMap;
use std::io::{BufRead, BufReader};
use std::process::{Child, Command, Stdio};
use std::sync::{Arc, Mutex};

use nixctl_proto::bus::error_text;
use nixctl_proto::{MANAGER_PATH, OperationState};
use zbus::message::{Flags, Header};
use zbus::object_server::SignalEmitter;
use zbus::zvariant::{ObjectPath, OwnedValue, Value};
use zbus::{DBusError, interface};

use super::*;
use crate::render::operation::tests::view;

/// A bus that ends with the test.
pub(super) struct TestBus {
    child: Child,
    address: String,
    _folder: tempfile::TempDir,
}

impl TestBus {
    /// `None` on a machine without dbus-daemon.
    pub(super) fn start() -> Option<TestBus> {
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

    pub(super) fn builder(&self) -> Builder<'_> {
        Builder::address(self.address.as_str()).unwrap()
    }

    /// A daemon on it; it leaves the bus when dropped.
    pub(super) async fn daemon(&self, state: OperationState) -> zbus::Connection {
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

    pub(super) async fn client(&self, interactive: bool) -> Bus {
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
pub(super) struct FakeManager {
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
        if options.contains_key("adopt") {
            let text = "cannot use the option `adopt`: it is not known";
            return Err(Refusal(Failure::new(Code::UnknownOption, text)));
        }
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
    pub(super) fn asked(&self) -> Vec<String> {
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
    pub(super) fn seen(&self) -> Vec<bool> {
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

pub(super) struct FakeOperation {
    pub(super) state: OperationState,
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
pub(super) async fn advance(daemon: &zbus::Connection, state: OperationState) {
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

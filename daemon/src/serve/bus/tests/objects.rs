//! The objects on the bus, their signals and refusals.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::Arc;
use std::time::{Duration, Instant};

use futures_util::{Stream, StreamExt};
use nixctl_proto::bus::OPERATION_INTERFACE;
use nixctl_proto::operation::OperationState;
use nixctl_proto::request::{InstallRequest, OperationRequest, RequestOptions};
use nixctl_proto::{BUS_NAME, Code, Failure, MANAGER_PATH, OperationId};
use zbus::Proxy;
use zbus::fdo::ObjectManagerProxy;
use zbus::zvariant::{OwnedObjectPath, OwnedValue, Value};

use super::super::{LOG_CONTROL_PATH, operation};
use super::{World, request, soon};
use crate::serve::Backend;

fn name_and_text(error: zbus::Error) -> (String, String) {
    match error {
        zbus::Error::MethodError(name, text, _) => (name.to_string(), text.unwrap_or_default()),
        other => panic!("{other}"),
    }
}

#[tokio::test]
async fn an_install_is_an_object_at_once() {
    let world = World::new().await;
    let source = ("source", Value::from("/srv/nix/x.tar.xz"));
    let id = world
        .install(&[source, ("reason", "test".into())])
        .await
        .unwrap();
    let asked = world.backend.request(&id).unwrap();
    let source = Some("/srv/nix/x.tar.xz".to_owned());
    let expected = InstallRequest {
        source,
        ..InstallRequest::default()
    };
    assert_eq!(asked, OperationRequest::Install(expected));

    let all = world.properties(&id.object_path()).await;
    let all = all
        .get_all(OPERATION_INTERFACE.try_into().unwrap())
        .await
        .unwrap();
    assert_eq!(
        all["Kind"],
        OwnedValue::try_from(Value::from("install")).unwrap()
    );
    assert_eq!(
        all["Reason"],
        OwnedValue::try_from(Value::from("test")).unwrap()
    );
    let uid = nix::unistd::getuid().as_raw();
    assert_eq!(all["RequestedBy"], OwnedValue::from(uid));

    let listed: Vec<OwnedObjectPath> = world
        .manager()
        .await
        .call("ListOperations", &(0u32,))
        .await
        .unwrap();
    assert_eq!(listed.len(), 1);
    let active: OwnedObjectPath = world
        .manager()
        .await
        .get_property("ActiveOperation")
        .await
        .unwrap();
    assert_eq!(active, listed[0]);
    let tree = ObjectManagerProxy::new(&world.client, BUS_NAME, MANAGER_PATH)
        .await
        .unwrap();
    assert!(
        tree.get_managed_objects()
            .await
            .unwrap()
            .contains_key(&listed[0])
    );
}

#[tokio::test]
async fn signals_and_getters_tell_the_same() {
    let world = World::new().await;
    let id = world.install(&[]).await.unwrap();
    world.backend.advance(&id, |view| {
        view.state = OperationState::Reverted;
        view.finished = Some(1_700_000_001_000);
        view.waiting_for = Some("time".to_owned());
        view.step = 3;
        view.steps = 7;
        view.description = "tested".to_owned();
        view.bytes_done = 5;
        view.bytes_total = 10;
        view.progress = 0.5;
        view.cancellable = false;
        view.kept = vec!["/nix/x".to_owned()];
        view.notes = vec!["a note".to_owned()];
        view.failure = Some(Failure::new(Code::DiskFull, "cannot write").with_cause("full"));
    });
    let all = world.properties(&id.object_path()).await;
    let all = all
        .get_all(OPERATION_INTERFACE.try_into().unwrap())
        .await
        .unwrap();
    let told = operation::properties(&world.backend.show(&id).unwrap());
    for (name, value) in &told {
        assert_eq!(all[*name], OwnedValue::try_from(value).unwrap(), "{name}");
    }
    let constant = ["Kind", "RequestedBy", "Reason", "Created"];
    assert_eq!(all.len(), told.len() + constant.len());
}

/// Signals of one operation in the order of their coming: the changed properties, or its end.
async fn events(world: &World, id: &OperationId) -> impl Stream<Item = Event> + Unpin + use<> {
    let rule = zbus::MatchRule::builder()
        .msg_type(zbus::message::Type::Signal)
        .path(id.object_path())
        .unwrap()
        .build();
    let stream = zbus::MessageStream::for_match_rule(rule, &world.client, None)
        .await
        .unwrap();
    stream.map(|message| {
        let body = message.as_ref().unwrap().body();
        match message
            .as_ref()
            .unwrap()
            .header()
            .member()
            .unwrap()
            .as_str()
        {
            "Finished" => Event::Finished(body.deserialize().unwrap()),
            _ => {
                let (_, changed, _): (String, BTreeMap<String, OwnedValue>, Vec<String>) =
                    body.deserialize().unwrap();
                Event::Changed(changed)
            }
        }
    })
}

#[derive(Debug)]
enum Event {
    Changed(BTreeMap<String, OwnedValue>),
    Finished((bool, String, String)),
}

#[tokio::test]
async fn progress_is_told_seldom_and_the_end_always() {
    let world = World::new().await;
    let id = world.install(&[]).await.unwrap();
    let mut events = events(&world, &id).await;
    let begun = Instant::now();
    for step in 1..=400u32 {
        world.backend.advance(&id, |view| view.step = step);
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
    world
        .backend
        .advance(&id, |view| view.state = OperationState::Succeeded);
    let mut told = Vec::new();
    let finished = loop {
        match soon(events.next()).await.unwrap() {
            Event::Changed(changed) => told.push(changed),
            Event::Finished(finished) => break finished,
        }
    };
    assert_eq!(finished, (true, String::new(), String::new()));
    let last = told.last().unwrap();
    assert_eq!(
        last["State"],
        OwnedValue::try_from(Value::from("succeeded")).unwrap()
    );
    let most = begun.elapsed().as_millis() / 100 + 2;
    assert!(
        (told.len() as u128) <= most,
        "{} signals, {most} allowed",
        told.len()
    );
    let steps: BTreeSet<u32> = told
        .iter()
        .filter_map(|t| u32::try_from(t.get("Step")?.clone()).ok())
        .collect();
    assert_eq!(
        steps.last(),
        Some(&400),
        "the last step is known to everybody"
    );
    assert!(
        told.iter().all(|t| !t.contains_key("Steps")),
        "only what changed is told"
    );
}

#[tokio::test]
async fn twenty_clients_see_the_end() {
    let world = World::new().await;
    let id = world.install(&[]).await.unwrap();
    let mut streams = Vec::new();
    for _ in 0..20 {
        streams.push(events(&world, &id).await);
    }
    world.backend.advance(&id, |view| {
        view.state = OperationState::Reverted;
        view.failure = Some(Failure::new(Code::DiskFull, "cannot write"));
    });
    for mut stream in streams {
        let finished = loop {
            if let Event::Finished(finished) = soon(stream.next()).await.unwrap() {
                break finished;
            }
        };
        assert_eq!(
            finished,
            (false, "NIX2004".to_owned(), "cannot write".to_owned())
        );
    }
}

#[tokio::test]
async fn refusals_have_names_codes_and_help() {
    let world = World::new().await;
    for (options, name, code) in [
        (
            ("colour", Value::from("red")),
            "org.nixctl1.Error.UnknownOption",
            "NIX3004: ",
        ),
        (
            ("adopt", Value::from("yes")),
            "org.nixctl1.Error.InvalidArgument",
            "NIX3003: ",
        ),
        (
            ("source", Value::from("x")),
            "org.nixctl1.Error.InvalidArgument",
            "NIX3003: ",
        ),
    ] {
        let option = options.0;
        let (got, text) = name_and_text(world.install(&[options]).await.unwrap_err());
        assert_eq!(got, name);
        assert!(text.starts_with(code) && text.contains(option), "{text}");
        assert!(text.contains("\nhelp: "), "{text}");
    }
    assert!(world.backend.list(0).is_empty());
    let gone = world.operation(&OperationId::from_parts(99, 9)).await;
    let (name, _) = name_and_text(gone.call::<_, _, ()>("Cancel", &()).await.unwrap_err());
    assert_eq!(name, "org.freedesktop.DBus.Error.UnknownObject");
}

#[tokio::test]
async fn operations_are_controlled_on_their_object() {
    let world = World::new().await;
    let id = world.install(&[]).await.unwrap();
    let operation = world.operation(&id).await;
    let (name, _) = name_and_text(operation.call::<_, _, ()>("Retry", &()).await.unwrap_err());
    assert_eq!(name, "org.nixctl1.Error.NotRetryable");
    let rows: Vec<HashMap<String, OwnedValue>> = operation.call("Journal", &()).await.unwrap();
    assert_eq!(rows.len(), 2);
    assert!(!rows[0].contains_key("step") && rows[1].contains_key("step"));
    operation.call::<_, _, ()>("Cancel", &()).await.unwrap();
    let state: String = operation.get_property("State").await.unwrap();
    assert_eq!(state, "cancelled");
    let new: OwnedObjectPath = operation.call("Retry", &()).await.unwrap();
    assert_ne!(new.as_str(), id.object_path());
    let new = world.operation(&new.as_str().parse().unwrap()).await;
    let state: String = new.get_property("State").await.unwrap();
    assert_eq!(state, "running");

    world.backend.forget(&id);
    let gone = async {
        while operation.get_property::<String>("State").await.is_ok() {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    };
    soon(gone).await;
}

#[tokio::test]
async fn plans_and_settings_are_served() {
    let world = World::new().await;
    let manager = world.manager().await;
    let none: HashMap<&str, Value<'_>> = HashMap::new();
    let plan: String = manager
        .call("Plan", &("install", "2.34.8", &none))
        .await
        .unwrap();
    let plan: serde_json::Value = serde_json::from_str(&plan).unwrap();
    assert_eq!(plan["kind"], "install");
    let settings: Vec<HashMap<String, OwnedValue>> = manager.call("Settings", &()).await.unwrap();
    let expected = OwnedValue::try_from(Value::from("daemon.history")).unwrap();
    assert_eq!(settings[0]["key"], expected);
    if nix::unistd::getuid().is_root() {
        manager
            .call::<_, _, ()>("Configure", &("daemon.history", "9"))
            .await
            .unwrap();
        assert_eq!(world.backend.configured.lock().unwrap().len(), 1);
    }
}

#[tokio::test]
async fn the_managers_properties_are_told() {
    let world = World::new().await;
    let properties = world.properties(MANAGER_PATH).await;
    let mut changes = properties.receive_properties_changed().await.unwrap();
    let id = world.install(&[]).await.unwrap();
    let change = soon(changes.next()).await.unwrap();
    let arguments = change.args().unwrap();
    let active = &arguments.changed_properties()["ActiveOperation"];
    let expected = OwnedObjectPath::try_from(id.object_path())
        .unwrap()
        .into_inner();
    assert_eq!(active, &Value::from(expected));
    assert!(!arguments.changed_properties().contains_key("NixVersion"));
}

#[tokio::test]
async fn calls_wait_until_the_state_is_loaded() {
    let (opener, world) = World::loading().await;
    world
        .backend
        .submit(request(), RequestOptions::default(), 0)
        .unwrap();
    let early = tokio::spawn({
        let manager = world.manager().await;
        async move {
            manager
                .call::<_, _, Vec<OwnedObjectPath>>("ListOperations", &(0u32,))
                .await
        }
    });
    tokio::time::sleep(Duration::from_millis(50)).await;
    assert!(!early.is_finished());
    opener.open(Arc::clone(&world.backend) as Arc<dyn Backend>);
    let listed = soon(early).await.unwrap().unwrap();
    let id = listed[0].as_str().parse().unwrap();
    let published = async {
        let operation = world.operation(&id).await;
        while operation.get_property::<String>("State").await.is_err() {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    };
    soon(published).await;
}

#[tokio::test]
async fn a_bus_that_comes_back_is_served_again() {
    let mut world = World::new().await;
    let id = world.install(&[]).await.unwrap();
    world.bus.stop();
    world.bus.restart();
    world.client = world.bus.client().await;
    let back = async {
        let operation = world.operation(&id).await;
        while operation.get_property::<String>("State").await.is_err() {
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    };
    soon(back).await;
}

#[tokio::test]
async fn the_log_level_can_be_read_and_set() {
    let world = World::new().await;
    let interface = "org.freedesktop.LogControl1";
    let log = Proxy::new(&world.client, BUS_NAME, LOG_CONTROL_PATH, interface)
        .await
        .unwrap();
    let level: String = log.get_property("LogLevel").await.unwrap();
    assert_eq!(level, "info");
    let identifier: String = log.get_property("SyslogIdentifier").await.unwrap();
    assert_eq!(identifier, "nixctld");
    assert!(log.set_property("LogLevel", "loud").await.is_err());
    let set = log.set_property("LogLevel", "debug").await;
    assert_eq!(set.is_ok(), nix::unistd::getuid().is_root());
}

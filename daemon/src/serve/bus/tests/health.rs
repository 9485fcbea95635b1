//! Findings over the bus: looking, listing, repairing, being told.

use std::collections::HashMap;

use futures_util::StreamExt;
use nixctl_proto::dbus::values;
use nixctl_proto::health::Target;
use nixctl_proto::request::{OperationRequest, RepairRequest};
use zbus::zvariant::{OwnedObjectPath, OwnedValue, Value};

use super::{World, soon};
use crate::serve::Backend;

type Rows = Vec<HashMap<String, OwnedValue>>;

fn name(error: zbus::Error) -> String {
    match error {
        zbus::Error::MethodError(name, ..) => name.to_string(),
        other => panic!("{other}"),
    }
}

#[tokio::test]
async fn findings_come_back_as_they_were() {
    let world = World::new().await;
    let manager = world.manager().await;
    let read = |rows: Rows| -> Vec<_> {
        let finding = |row| values::finding(row).unwrap();
        rows.iter().map(finding).collect()
    };
    let all = world.backend.findings().findings;
    assert_eq!(read(manager.call("Findings", &()).await.unwrap()), all);
    let none: &[&str] = &[];
    assert_eq!(read(manager.call("Check", &(none,)).await.unwrap()), all);
    let one = &["mounts.not-mounted"][..];
    assert_eq!(
        read(manager.call("Check", &(one,)).await.unwrap()),
        all[..1]
    );
    let refused: zbus::Result<Rows> = manager.call("Check", &(&["mounts.not-there"][..],)).await;
    let refused = name(refused.unwrap_err());
    assert_eq!(refused, "org.nixctl1.Error.InvalidArgument");
}

#[tokio::test]
async fn their_history_comes_back_as_it_was() {
    let world = World::new().await;
    let manager = world.manager().await;
    for limit in [0u32, 1] {
        let rows: Rows = manager.call("ListHealthEvents", &(limit,)).await.unwrap();
        let read: Vec<_> = rows.iter().map(|row| values::event(row).unwrap()).collect();
        assert_eq!(read, world.backend.history(limit));
    }
}

#[tokio::test]
async fn a_repair_is_an_operation() {
    let world = World::new().await;
    let manager = world.manager().await;
    let none: HashMap<&str, Value<'_>> = HashMap::new();
    let about = &["mounts.not-mounted:/nix", "conf.syntax"][..];
    let path: OwnedObjectPath = manager.call("Repair", &(about, &none)).await.unwrap();
    let id = path.as_str().parse().unwrap();
    let expected = OperationRequest::Repair(RepairRequest {
        targets: vec![Target::from(about[1]), Target::from(about[0])],
        automatic: false,
    });
    assert_eq!(world.backend.request(&id).unwrap(), expected);
    let plan: String = manager
        .call("Plan", &("repair", about.join("\n"), &none))
        .await
        .unwrap();
    assert!(plan.contains("\"kind\":\"repair\""), "{plan}");
    let wrong = HashMap::from([("automatic", Value::from(true))]);
    let refused: zbus::Result<OwnedObjectPath> = manager.call("Repair", &(about, wrong)).await;
    assert_eq!(
        name(refused.unwrap_err()),
        "org.nixctl1.Error.UnknownOption"
    );
}

#[tokio::test]
async fn who_listens_is_told_of_other_findings() {
    let world = World::new().await;
    let manager = world.manager().await;
    let mut told = manager.receive_signal("FindingsChanged").await.unwrap();
    // Until the daemon publishes nobody hears anything.
    let publishing = async { while told.next().await.is_none() {} };
    let telling = async {
        loop {
            world.backend.find();
            tokio::time::sleep(std::time::Duration::from_millis(50)).await;
        }
    };
    tokio::select! {
        () = soon(publishing) => {}
        () = telling => {}
    }
}

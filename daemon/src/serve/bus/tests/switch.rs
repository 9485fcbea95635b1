//! Generations over the bus: switching, confirming, listing, comparing.

use std::collections::HashMap;

use nixctl_proto::dbus::values;
use nixctl_proto::request::{OperationRequest, RollbackRequest, Strategy, SwitchRequest};
use nixctl_proto::{BUS_NAME, MANAGER_PATH, OperationId};
use zbus::zvariant::{OwnedObjectPath, OwnedValue, Value};
use zbus::{Connection, Proxy};

use super::World;
use crate::serve::Backend;
use crate::serve::testing::TOPLEVEL;

async fn manager(connection: &Connection) -> Proxy<'static> {
    Proxy::new(connection, BUS_NAME, MANAGER_PATH, "org.nixctl1.Manager")
        .await
        .unwrap()
}

async fn switch(
    connection: &Connection,
    options: &[(&str, Value<'_>)],
) -> zbus::Result<OperationId> {
    let options: HashMap<&str, &Value<'_>> = options.iter().map(|(k, v)| (*k, v)).collect();
    let manager = manager(connection).await;
    let path: OwnedObjectPath = manager.call("Switch", &(TOPLEVEL, options)).await?;
    Ok(path.as_str().parse().unwrap())
}

async fn confirm(connection: &Connection, id: &OperationId) -> zbus::Result<()> {
    let path = OwnedObjectPath::try_from(id.object_path()).unwrap();
    manager(connection).await.call("Confirm", &(path,)).await
}

fn name(error: zbus::Error) -> String {
    match error {
        zbus::Error::MethodError(name, ..) => name.to_string(),
        other => panic!("{other}"),
    }
}

#[tokio::test]
async fn a_switch_and_a_rollback_are_operations() {
    let world = World::new().await;
    let id = switch(
        &world.client,
        &[
            ("strategy", "stepwise".into()),
            ("budget", (1u64 << 30).into()),
            ("from", "/mnt//cache".into()),
        ],
    )
    .await
    .unwrap();
    let expected = SwitchRequest {
        toplevel: TOPLEVEL.to_owned(),
        from: Some("file:///mnt/cache".to_owned()),
        strategy: Strategy::Stepwise,
        budget: Some(1 << 30),
        ..SwitchRequest::default()
    };
    assert_eq!(
        world.backend.request(&id).unwrap(),
        OperationRequest::Switch(expected)
    );
    let none: HashMap<&str, Value<'_>> = HashMap::new();
    for (number, to) in [(0u64, None), (7, Some(7))] {
        let manager = manager(&world.client).await;
        let path: OwnedObjectPath = manager.call("Rollback", &(number, &none)).await.unwrap();
        let id = path.as_str().parse().unwrap();
        let expected = OperationRequest::Rollback(RollbackRequest {
            to,
            ..RollbackRequest::default()
        });
        assert_eq!(world.backend.request(&id).unwrap(), expected);
    }
    let plan: String = manager(&world.client)
        .await
        .call("Plan", &("switch", TOPLEVEL, &none))
        .await
        .unwrap();
    assert!(plan.contains("\"kind\":\"switch\""), "{plan}");
}

#[tokio::test]
async fn unknown_options_and_other_paths_are_refused() {
    let world = World::new().await;
    let refused = switch(&world.client, &[("confirm", 5u64.into())]).await;
    assert_eq!(
        name(refused.unwrap_err()),
        "org.nixctl1.Error.UnknownOption"
    );
    let refused = switch(&world.client, &[("from", "ssh://-x".into())]).await;
    assert_eq!(
        name(refused.unwrap_err()),
        "org.nixctl1.Error.InvalidArgument"
    );
    let none: HashMap<&str, Value<'_>> = HashMap::new();
    let refused: zbus::Result<OwnedObjectPath> = manager(&world.client)
        .await
        .call("Switch", &("/run/current-system", none))
        .await;
    assert_eq!(
        name(refused.unwrap_err()),
        "org.nixctl1.Error.InvalidArgument"
    );
    assert!(world.backend.list(0).is_empty());
}

#[tokio::test]
async fn a_confirmation_comes_over_another_connection() {
    let world = World::new().await;
    let id = switch(&world.client, &[("confirm-within", 20u64.into())])
        .await
        .unwrap();
    let refused = confirm(&world.client, &id).await.unwrap_err();
    assert_eq!(name(refused), "org.nixctl1.Error.NotConfirmable");
    assert!(world.backend.confirmed.lock().unwrap().is_empty());
    let other = world.bus.client().await;
    confirm(&other, &id).await.unwrap();
    assert_eq!(*world.backend.confirmed.lock().unwrap(), [id]);
    let path = OwnedObjectPath::try_from("/org/nixctl1/operation/none").unwrap();
    let refused: zbus::Result<()> = manager(&other).await.call("Confirm", &(path,)).await;
    assert_eq!(name(refused.unwrap_err()), "org.nixctl1.Error.NotFound");
}

#[tokio::test]
async fn tables_come_back_as_they_were() {
    let world = World::new().await;
    let manager = manager(&world.client).await;
    let rows: Vec<HashMap<String, OwnedValue>> =
        manager.call("ListGenerations", &()).await.unwrap();
    let read: Vec<_> = rows
        .iter()
        .map(|row| values::generation(row).unwrap())
        .collect();
    assert_eq!(read, world.backend.generations().unwrap());
    let rows: Vec<HashMap<String, OwnedValue>> =
        manager.call("Diff", &(TOPLEVEL, TOPLEVEL)).await.unwrap();
    let read: Vec<_> = rows
        .iter()
        .map(|row| values::difference(row).unwrap())
        .collect();
    assert_eq!(read, world.backend.diff(TOPLEVEL, TOPLEVEL).unwrap());
}

#[tokio::test]
async fn where_the_machine_stands_are_properties() {
    let world = World::new().await;
    let properties = world.properties(MANAGER_PATH).await;
    let all = properties
        .get_all("org.nixctl1.Manager".try_into().unwrap())
        .await
        .unwrap();
    let (status, _) = values::status(&all).unwrap();
    assert_eq!(status, world.backend.status());
}

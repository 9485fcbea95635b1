//! The bus against a fake daemon.

use nixctl_proto::OperationState;
use nixctl_proto::request::{InstallRequest, RepairRequest, RollbackRequest, SwitchRequest};

use super::fake::{FakeManager, FakeOperation, TestBus, advance};
use super::*;
use crate::connect::{Connection, Event};
use crate::render::operation::tests::view;

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

#[tokio::test]
async fn what_a_daemon_of_another_version_does_not_know_is_named() {
    let Some(bus) = TestBus::start() else { return };
    let _daemon = bus.daemon(OperationState::Running).await;
    let client = Connection::Bus(Box::new(bus.client(false).await));
    // The fake has neither the method nor most of the properties.
    let status = client.status().await.unwrap();
    assert_eq!(status.upgrade.inhibitors, Vec::<String>::new());
    let failure = Failure::from(client.metrics().await.unwrap_err());
    assert_eq!(failure.code, Code::UnknownRequest);
    assert!(failure.message.contains("Metrics"), "{failure:?}");
    assert!(failure.help.contains("version 9.9.9"), "{failure:?}");
    let request = OperationRequest::Install(InstallRequest {
        adopt: true,
        ..InstallRequest::default()
    });
    let refused = client.submit(&request, &RequestOptions::default()).await;
    let failure = Failure::from(refused.unwrap_err());
    assert_eq!(failure.code, Code::UnknownOption);
    assert!(failure.message.contains("`adopt`"), "{failure:?}");
    assert!(failure.help.contains("version 9.9.9"), "{failure:?}");
}

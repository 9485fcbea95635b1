//! Authorisation on the bus, with a polkit that does as it is told.

use std::collections::{BTreeMap, HashMap};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use nixctl_proto::Code;
use nixctl_proto::bus::INTERACTION_REQUIRED;
use nixctl_proto::request::RequestOptions;
use tokio::sync::Notify;
use zbus::connection::Builder;
use zbus::zvariant::OwnedValue;
use zbus::{Connection, interface};

use super::super::BusError;
use super::{Bus, request, soon};
use crate::serve::authority::Transport;
use crate::serve::{Action, Authority, Caller};

/// What the polkit of a test was asked.
#[derive(Debug, Clone, PartialEq)]
struct Asked {
    subject: String,
    name: String,
    action: String,
    details: BTreeMap<String, String>,
    interactive: bool,
    cancellation: String,
}

#[derive(Default)]
struct PolkitState {
    asked: Mutex<Vec<Asked>>,
    withdrawn: Mutex<Vec<String>>,
    arrived: Notify,
}

/// A polkit with one answer; without an answer it waits for somebody to type.
struct FakePolkit {
    state: Arc<PolkitState>,
    answer: Option<(bool, bool)>,
}

#[interface(name = "org.freedesktop.PolicyKit1.Authority")]
impl FakePolkit {
    async fn check_authorization(
        &self,
        subject: (String, HashMap<String, OwnedValue>),
        action: String,
        details: BTreeMap<String, String>,
        flags: u32,
        cancellation: String,
    ) -> (bool, bool, HashMap<String, String>) {
        let name = String::try_from(subject.1["name"].clone()).unwrap();
        let asked = Asked {
            subject: subject.0,
            name,
            action,
            details,
            interactive: flags == 1,
            cancellation,
        };
        self.state.asked.lock().unwrap().push(asked);
        self.state.arrived.notify_one();
        match self.answer {
            Some((authorized, challenge)) => (authorized, challenge, HashMap::new()),
            None => std::future::pending().await,
        }
    }

    async fn cancel_check_authorization(&self, cancellation: String) {
        self.state.withdrawn.lock().unwrap().push(cancellation);
    }
}

/// A bus with a polkit, a daemon's connection and a caller of some uid.
struct Court {
    bus: Bus,
    state: Arc<PolkitState>,
    _polkit: Option<Connection>,
    daemon: Connection,
}

impl Court {
    async fn with(answer: Option<Option<(bool, bool)>>) -> Self {
        let bus = Bus::start();
        let state = Arc::<PolkitState>::default();
        let mut polkit = None;
        if let Some(answer) = answer {
            let served = FakePolkit {
                state: Arc::clone(&state),
                answer,
            };
            let connection = Builder::address(bus.address().as_str())
                .unwrap()
                .serve_at("/org/freedesktop/PolicyKit1/Authority", served)
                .unwrap()
                .name("org.freedesktop.PolicyKit1")
                .unwrap();
            polkit = Some(connection.build().await.unwrap());
        }
        let daemon = bus.client().await;
        Court {
            bus,
            state,
            _polkit: polkit,
            daemon,
        }
    }

    fn caller(&self, client: &Connection, groups: &[u32], interactive: bool) -> Caller {
        let transport = Transport::Bus {
            connection: self.daemon.clone(),
            sender: client.unique_name().unwrap().clone(),
            interactive,
        };
        Caller {
            uid: 1000,
            groups: Some(groups.to_vec()),
            transport,
        }
    }
}

fn authority() -> Authority {
    Authority::with_group(|| Some(4711))
}

#[tokio::test]
async fn polkit_is_asked_about_the_bus_name_with_details() {
    let court = Court::with(Some(Some((true, false)))).await;
    let client = court.bus.client().await;
    let caller = court.caller(&client, &[], true);
    let authorized = authority()
        .authorize(
            &caller,
            Action::Install,
            request(),
            RequestOptions::default(),
        )
        .await
        .unwrap();
    let asked = court.state.asked.lock().unwrap()[0].clone();
    assert_eq!(asked.subject, "system-bus-name");
    assert_eq!(asked.name, client.unique_name().unwrap().as_str());
    assert_eq!(asked.action, "org.nixctl1.install");
    assert!(asked.interactive);
    assert_eq!(asked.details["operation"], "install");
    assert_eq!(asked.details["request"], authorized.digest().to_string());
}

#[tokio::test]
async fn without_the_flag_a_challenge_says_that_interaction_would_help() {
    let court = Court::with(Some(Some((false, true)))).await;
    let client = court.bus.client().await;
    let silent = court.caller(&client, &[], false);
    let refusal = authority()
        .check(&silent, Action::Uninstall, &[])
        .await
        .unwrap_err();
    assert!(refusal.interaction_would_help);
    let error = BusError::from(refusal);
    assert_eq!(zbus::DBusError::name(&error).as_str(), INTERACTION_REQUIRED);
    assert!(!court.state.asked.lock().unwrap()[0].interactive);
    let asking = court.caller(&client, &[], true);
    let refusal = authority()
        .check(&asking, Action::Uninstall, &[])
        .await
        .unwrap_err();
    assert!(
        !refusal.interaction_would_help,
        "somebody was asked and did not authenticate"
    );
}

#[tokio::test]
async fn polkits_no_outranks_the_group() {
    let court = Court::with(Some(Some((false, false)))).await;
    let client = court.bus.client().await;
    let member = court.caller(&client, &[4711], false);
    assert!(
        authority()
            .check(&member, Action::Install, &[])
            .await
            .is_err()
    );
}

#[tokio::test]
async fn without_polkit_the_group_decides() {
    let court = Court::with(None).await;
    let client = court.bus.client().await;
    let member = court.caller(&client, &[4711], true);
    assert_eq!(
        authority().check(&member, Action::Install, &[]).await,
        Ok(())
    );
    assert!(
        authority()
            .check(&member, Action::Configure, &[])
            .await
            .is_err()
    );
    let other = court.caller(&client, &[100], true);
    assert!(
        authority()
            .check(&other, Action::Install, &[])
            .await
            .is_err()
    );
}

#[tokio::test]
async fn a_caller_that_leaves_takes_the_question_back() {
    let court = Court::with(Some(None)).await;
    let client = court.bus.client().await;
    let caller = court.caller(&client, &[4711], true);
    let checking = tokio::spawn(async move {
        authority()
            .check(&caller, Action::Install, &[])
            .await
            .unwrap_err()
    });
    soon(court.state.arrived.notified()).await;
    assert!(!checking.is_finished());
    client.close().await.unwrap();
    let refusal = soon(checking).await.unwrap();
    assert!(
        refusal.failure.message.contains("went away"),
        "{}",
        refusal.failure
    );
    let asked = court.state.asked.lock().unwrap()[0].cancellation.clone();
    assert_eq!(*court.state.withdrawn.lock().unwrap(), [asked]);
}

#[tokio::test]
async fn a_caller_that_has_left_is_refused() {
    let court = Court::with(Some(Some((true, false)))).await;
    let client = court.bus.client().await;
    let caller = court.caller(&client, &[4711], true);
    client.close().await.unwrap();
    let gone = async {
        while court
            .daemon
            .call_method(
                Some("org.freedesktop.DBus"),
                "/org/freedesktop/DBus",
                Some("org.freedesktop.DBus"),
                "GetNameOwner",
                &match &caller.transport {
                    Transport::Bus { sender, .. } => sender.to_string(),
                    other => panic!("{other:?}"),
                },
            )
            .await
            .is_ok()
        {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    soon(gone).await;
    assert!(
        authority()
            .check(&caller, Action::Install, &[])
            .await
            .is_err()
    );
    assert!(court.state.asked.lock().unwrap().is_empty());
}

#[tokio::test]
async fn one_user_cannot_bury_the_screen_in_questions() {
    let court = Court::with(Some(None)).await;
    let client = court.bus.client().await;
    let authority = authority();
    let mut open = Vec::new();
    for _ in 0..4 {
        let (authority, caller) = (authority.clone(), court.caller(&client, &[], true));
        open.push(tokio::spawn(async move {
            authority.check(&caller, Action::Install, &[]).await.is_ok()
        }));
        soon(court.state.arrived.notified()).await;
    }
    let caller = court.caller(&client, &[], true);
    let refusal = soon(authority.check(&caller, Action::Install, &[]))
        .await
        .unwrap_err();
    assert_eq!(refusal.failure.code, Code::TooMany);
    open.iter().for_each(tokio::task::JoinHandle::abort);
}

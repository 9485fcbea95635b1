//! The socket against a fake daemon.

use nixctl_proto::OperationState;
use nixctl_proto::frame::{self, Hello};

use super::*;
use crate::connect::fake::{Fake, Reaction};
use crate::connect::{Connection, Event, Options};
use crate::render::findings::tests::{finding, found};
use crate::render::operation::tests::{ended_view, view};
use nixctl_proto::health::Severity;
use tokio::io::AsyncWriteExt;

async fn connect(fake: &Fake) -> Connection {
    let options = Options {
        socket: Some(fake.path()),
        ..Options::default()
    };
    Connection::open(&options).await.unwrap()
}

#[tokio::test]
async fn calls_are_answered() {
    let fake = Fake::start(|request| match request {
        Request::List(2) => vec![Reaction::Last(Reply::Operations(vec![view()]))],
        Request::Configure { .. } => {
            vec![Reaction::Last(Reply::Refused(Failure::new(
                Code::BadSettings,
                "no",
            )))]
        }
        Request::Cancel(_) => vec![Reaction::Last(Reply::Done)],
        _ => vec![Reaction::Last(Reply::Settings(Vec::new()))],
    });
    let connection = connect(&fake).await;
    assert_eq!(connection.list(2).await.unwrap(), [view()]);
    assert_eq!(connection.cancel(&view().id).await, Ok(()));
    let refused = connection.configure("a", "b").await.unwrap_err();
    assert_eq!(Failure::from(refused).code, Code::BadSettings);
    let wrong = connection.show(&view().id).await.unwrap_err();
    assert_eq!(Failure::from(wrong).code, Code::BadFrame);
    connection.close().await;
}

#[tokio::test]
async fn findings_and_their_history_are_answered() {
    let fake = Fake::start(|request| match request {
        Request::Check(checks) => {
            let findings = checks.iter().map(|it| finding(it, Severity::Error));
            vec![Reaction::Last(Reply::Findings(found(findings.collect())))]
        }
        Request::Findings => vec![Reaction::Last(Reply::Findings(found(Vec::new())))],
        Request::History(3) => vec![Reaction::Last(Reply::History(Vec::new()))],
        _ => vec![Reaction::Last(Reply::Done)],
    });
    let connection = connect(&fake).await;
    let all = connection.check(&["tree.rights".to_owned()]).await.unwrap();
    assert_eq!(all.findings[0].check, "tree.rights");
    assert_eq!(connection.findings().await, Ok(found(Vec::new())));
    assert_eq!(connection.history(3).await, Ok(Vec::new()));
    let wrong = connection.history(4).await.unwrap_err();
    assert_eq!(Failure::from(wrong).code, Code::BadFrame);
}

#[tokio::test]
async fn others_can_call_while_one_watches() {
    let fake = Fake::start(|request| match request {
        // The watch stays silent until the operation is cancelled.
        Request::Watch(_) => vec![Reaction::More(Reply::Operation(view())), Reaction::Hold],
        Request::Cancel(_) => vec![
            Reaction::Last(Reply::Done),
            Reaction::Release(Reply::Operation(ended_view(OperationState::Cancelled))),
        ],
        _ => vec![],
    });
    let connection = connect(&fake).await;
    let mut watch = connection.watch(&view().id);
    assert_eq!(
        watch.next().await.unwrap(),
        Some(Event::View(Box::new(view())))
    );
    connection.cancel(&view().id).await.unwrap();
    match watch.next().await.unwrap() {
        Some(Event::View(view)) => assert_eq!(view.state, OperationState::Cancelled),
        other => panic!("{other:?}"),
    }
    assert_eq!(watch.next().await.unwrap(), None);
}

#[tokio::test]
async fn a_watch_survives_a_daemon_that_restarts() {
    let mut watches = 0;
    let fake = Fake::start(move |request| match request {
        Request::Watch(_) => {
            watches += 1;
            match watches {
                1 => vec![Reaction::More(Reply::Operation(view())), Reaction::Vanish],
                _ => vec![Reaction::Last(Reply::Operation(ended_view(
                    OperationState::Succeeded,
                )))],
            }
        }
        _ => vec![Reaction::Last(Reply::Operation(view()))],
    });
    let connection = connect(&fake).await;
    let mut watch = connection.watch(&view().id);
    let mut seen = Vec::new();
    while let Some(event) = watch.next().await.unwrap() {
        seen.push(match event {
            Event::View(view) => view.state.as_str(),
            Event::Away => "away",
            Event::Back => "back",
        });
    }
    assert_eq!(seen, ["running", "away", "back", "running", "succeeded"]);
    // The connection itself can be used again as well.
    assert!(connection.show(&view().id).await.is_ok());
}

#[tokio::test]
async fn nobody_at_the_path_is_unreachable() {
    let options = Options {
        socket: Some("/nonexistent/nixctl/socket".into()),
        ..Options::default()
    };
    let failure = Connection::open(&options).await.unwrap_err();
    assert_eq!(failure.code, Code::Unreachable);
    assert!(
        failure.causes[0].starts_with("/nonexistent/nixctl/socket: "),
        "{failure:?}"
    );
}

#[tokio::test]
async fn garbage_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("socket");
    let listener = tokio::net::UnixListener::bind(&path).unwrap();
    tokio::spawn(async move {
        let (mut stream, _) = listener.accept().await.unwrap();
        stream.write_all(&[0xff; 64]).await.unwrap();
        tokio::time::sleep(Duration::from_secs(60)).await;
    });
    let options = Options {
        socket: Some(path),
        ..Options::default()
    };
    let failure = Connection::open(&options).await.unwrap_err();
    assert_eq!(failure.code, Code::BadFrame);
}

fn hello(protocol: u32, version: &str) -> Hello {
    Hello {
        protocol,
        version: version.to_owned(),
    }
}

#[tokio::test]
async fn neighbours_are_talked_to_and_what_they_add_is_named() {
    let newer = hello(frame::PROTOCOL + 1, "9.9.9");
    let fake = Fake::of_version(newer, |request| match request {
        Request::List(_) => vec![Reaction::Last(Reply::Operations(vec![view()]))],
        // A reply, and a word in a known one, that came with that version.
        Request::Metrics => vec![Reaction::Raw(vec![1, 200])],
        Request::Findings => vec![Reaction::Raw(vec![1, 11, 200])],
        Request::Watch(_) => vec![Reaction::Raw(vec![0, 200])],
        _ => vec![Reaction::Last(Reply::Refused(Failure::new(
            Code::UnknownRequest,
            "cannot do what was asked",
        )))],
    });
    let connection = connect(&fake).await;
    assert_eq!(connection.list(2).await.unwrap(), [view()]);
    let troubles = [
        connection.metrics().await.unwrap_err(),
        connection.findings().await.unwrap_err(),
    ];
    for trouble in troubles {
        let failure = Failure::from(trouble);
        assert_eq!(failure.code, Code::BadFrame);
        assert!(failure.message.contains("nixctld 9.9.9"), "{failure:?}");
        assert!(failure.help.ends_with("upgrade nixctl"), "{failure:?}");
    }
    let mut watch = connection.watch(&view().id);
    let failure = Failure::from(watch.next().await.unwrap_err());
    assert_eq!(failure.code, Code::BadFrame);
    let refused = Failure::from(connection.generations().await.unwrap_err());
    assert_eq!(refused.code, Code::UnknownRequest);
    assert!(refused.help.contains("9.9.9"), "{refused:?}");
    // All of that over the one connection, which goes on.
    assert_eq!(connection.list(2).await.unwrap(), [view()]);
}

#[tokio::test]
async fn a_daemon_that_is_too_old_is_named() {
    let fake = Fake::of_version(hello(frame::OLDEST_PROTOCOL - 1, "0.0.1"), |_| vec![]);
    let options = Options {
        socket: Some(fake.path()),
        ..Options::default()
    };
    let failure = Connection::open(&options).await.unwrap_err();
    assert_eq!(failure.code, Code::BadFrame);
    assert!(
        failure.message.contains("cannot talk to nixctld 0.0.1"),
        "{failure:?}"
    );
    assert!(failure.help.starts_with("upgrade nixctld"), "{failure:?}");
}

#[tokio::test]
async fn what_a_daemon_says_before_it_hangs_up_is_told() {
    for (code, is_refusal) in [(Code::BadFrame, true), (Code::TooMany, false)] {
        let fake = Fake::start(move |_| {
            let failure = Failure::new(code, "cannot talk to nixctl 0.1.0").with_help("upgrade it");
            vec![Reaction::Farewell(failure)]
        });
        let connection = connect(&fake).await;
        let trouble = connection.list(1).await.unwrap_err();
        assert_eq!(matches!(trouble, Trouble::Refused(_)), is_refusal);
        assert!(trouble.to_string().contains("cannot talk to"), "{trouble}");
    }
}

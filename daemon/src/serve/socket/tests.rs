//! Tests of the socket from the other end, with good and bad peers.

use std::sync::Arc;
use std::time::Duration;

use nixctl_proto::frame::{self, Answer, Call, HEADER_LENGTH, Hello};
use nixctl_proto::operation::OperationState;
use nixctl_proto::request::{
    InstallRequest, OperationRequest, Reply, Request, RequestOptions, SwitchRequest,
    UninstallRequest,
};
use nixctl_proto::{Code, OperationId};
use tempfile::TempDir;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::UnixStream;
use tokio::task::JoinHandle;

use super::*;
use crate::serve::authority::Transport;
use crate::serve::testing::{FakeBackend, TOPLEVEL};
use crate::serve::{Authority, Backend, Gate};

/// A daemon's side of a connection, and a client's.
struct World {
    backend: Arc<FakeBackend>,
    service: Arc<Service>,
}

impl World {
    fn new() -> Self {
        let backend = FakeBackend::new();
        let (opener, gate) = Gate::new();
        opener.open(Arc::clone(&backend) as Arc<dyn Backend>);
        let service = Service::new(gate, Authority::with_group(|| Some(4711)));
        World { backend, service }
    }

    /// A connection of a user, not greeted yet.
    fn raw(&self, uid: u32, groups: &[u32]) -> (UnixStream, JoinHandle<()>) {
        let (here, there) = UnixStream::pair().unwrap();
        let groups = Some(groups.to_vec());
        let caller = Caller {
            uid,
            groups,
            transport: Transport::Socket(peer::next_number()),
        };
        let serving = tokio::spawn(connection::serve(there, Arc::clone(&self.service), caller));
        (here, serving)
    }

    async fn client(&self, uid: u32) -> Client {
        let (stream, serving) = self.raw(uid, &[]);
        let mut client = Client { stream, serving };
        client.send(&Hello::ours()).await;
        let hello: Hello = client.receive().await.unwrap();
        assert_eq!(hello, Hello::ours());
        client
    }

    fn operation(&self, uid: u32) -> OperationId {
        let request = OperationRequest::Install(InstallRequest::default());
        self.backend
            .submit(request, RequestOptions::default(), uid)
            .unwrap()
    }
}

struct Client {
    stream: UnixStream,
    serving: JoinHandle<()>,
}

impl Client {
    async fn send<T: serde::Serialize>(&mut self, message: &T) {
        self.stream
            .write_all(&frame::encode(message).unwrap())
            .await
            .unwrap();
    }

    async fn receive<T: serde::de::DeserializeOwned>(&mut self) -> Option<T> {
        let mut header = [0; HEADER_LENGTH];
        self.stream.read_exact(&mut header).await.ok()?;
        let mut payload = vec![0; frame::payload_length(header).unwrap()];
        self.stream.read_exact(&mut payload).await.ok()?;
        Some(frame::decode(&payload).unwrap())
    }

    async fn call(&mut self, request: Request) -> Reply {
        self.send(&Call { id: 7, request }).await;
        let answer: Answer = self.receive().await.unwrap();
        assert_eq!((answer.id, answer.last), (7, true));
        answer.reply
    }
}

fn code(reply: Reply) -> Code {
    match reply {
        Reply::Refused(failure) => failure.code,
        other => panic!("{other:?}"),
    }
}

fn install() -> OperationRequest {
    OperationRequest::Install(InstallRequest::default())
}

#[tokio::test]
async fn every_request_has_its_answer() {
    let world = World::new();
    let mut root = world.client(0).await;
    let submit = Request::Submit(install(), RequestOptions::default());
    let Reply::Accepted(id) = root.call(submit).await else {
        panic!("not accepted")
    };
    let other = OperationId::from_parts(99, 9);
    assert!(matches!(root.call(Request::Status).await, Reply::Status(s) if s.active.is_some()));
    assert!(matches!(
        root.call(Request::Plan(install())).await,
        Reply::Plan(_)
    ));
    assert!(
        matches!(root.call(Request::List(0)).await, Reply::Operations(list) if list.len() == 1)
    );
    assert!(
        matches!(root.call(Request::Show(id.clone())).await, Reply::Operation(v) if v.id == id)
    );
    assert!(matches!(
        root.call(Request::Journal(id.clone())).await,
        Reply::Journal(_)
    ));
    assert_eq!(
        code(root.call(Request::Show(other.clone())).await),
        Code::NotFound
    );
    assert_eq!(code(root.call(Request::Watch(other)).await), Code::NotFound);
    assert_eq!(
        code(root.call(Request::Retry(id.clone())).await),
        Code::NotRetryable
    );
    assert_eq!(root.call(Request::Cancel(id.clone())).await, Reply::Done);
    assert!(matches!(
        root.call(Request::Retry(id)).await,
        Reply::Accepted(_)
    ));
    assert!(matches!(
        root.call(Request::Settings).await,
        Reply::Settings(_)
    ));
    let set = Request::Configure {
        key: "daemon.history".to_owned(),
        value: "9".to_owned(),
    };
    assert_eq!(root.call(set).await, Reply::Done);
    assert_eq!(world.backend.configured.lock().unwrap().len(), 1);
}

#[tokio::test]
async fn a_confirmation_comes_over_another_connection() {
    let world = World::new();
    let mut one = world.client(0).await;
    let request = OperationRequest::Switch(SwitchRequest {
        toplevel: TOPLEVEL.to_owned(),
        confirm_within: Some(20),
        ..SwitchRequest::default()
    });
    let submit = Request::Submit(request, RequestOptions::default());
    let Reply::Accepted(id) = one.call(submit).await else {
        panic!("not accepted")
    };
    let confirm = Request::Confirm(id.clone());
    assert_eq!(code(one.call(confirm.clone()).await), Code::NotConfirmable);
    let mut other = world.client(0).await;
    assert_eq!(other.call(confirm).await, Reply::Done);
    assert_eq!(*world.backend.confirmed.lock().unwrap(), [id]);
}

#[tokio::test]
async fn everybody_may_see_the_generations() {
    let world = World::new();
    let mut stranger = world.client(1001).await;
    let all = world.backend.generations().unwrap();
    let reply = stranger.call(Request::Generations).await;
    assert_eq!(reply, Reply::Generations(all));
    let (from, to) = (TOPLEVEL.to_owned(), TOPLEVEL.to_owned());
    let reply = stranger.call(Request::Diff { from, to }).await;
    assert!(matches!(reply, Reply::Diff(entries) if entries.len() == 1));
}

#[tokio::test]
async fn strangers_may_read_only() {
    let world = World::new();
    let id = world.operation(0);
    let mut stranger = world.client(1000).await;
    assert!(matches!(
        stranger.call(Request::Status).await,
        Reply::Status(_)
    ));
    assert!(matches!(
        stranger.call(Request::Show(id.clone())).await,
        Reply::Operation(_)
    ));
    let uninstall = OperationRequest::Uninstall(UninstallRequest::default());
    for request in [
        Request::Submit(uninstall, RequestOptions::default()),
        Request::Cancel(id.clone()),
        Request::Retry(id),
        Request::Configure {
            key: "daemon.history".to_owned(),
            value: "9".to_owned(),
        },
    ] {
        assert_eq!(code(stranger.call(request).await), Code::NotAuthorized);
    }
    assert_eq!(world.backend.list(0).len(), 1);
}

#[tokio::test]
async fn twenty_watches_see_the_end() {
    let world = World::new();
    let id = world.operation(0);
    let mut clients = Vec::new();
    for uid in 0..20 {
        let mut client = world.client(uid).await;
        client
            .send(&Call {
                id: 1,
                request: Request::Watch(id.clone()),
            })
            .await;
        let first: Answer = client.receive().await.unwrap();
        assert!(!first.last);
        clients.push(client);
    }
    for step in 1..=50 {
        world.backend.advance(&id, |view| view.step = step);
    }
    world
        .backend
        .advance(&id, |view| view.state = OperationState::Succeeded);
    for client in &mut clients {
        let mut answers = 0;
        let last = loop {
            let answer: Answer = client.receive().await.unwrap();
            answers += 1;
            if answer.last {
                break answer.reply;
            }
        };
        assert!(answers < 10, "{answers} answers to 51 changes");
        let Reply::Operation(view) = last else {
            panic!("{last:?}")
        };
        assert_eq!((view.state, view.step), (OperationState::Succeeded, 50));
        assert!(
            matches!(client.call(Request::Status).await, Reply::Status(_)),
            "still usable"
        );
    }
}

#[tokio::test]
async fn a_peer_that_goes_changes_nothing() {
    let world = World::new();
    let mut client = world.client(0).await;
    let submit = Request::Submit(install(), RequestOptions::default());
    let Reply::Accepted(id) = client.call(submit).await else {
        panic!("not accepted")
    };
    client
        .send(&Call {
            id: 1,
            request: Request::Watch(id.clone()),
        })
        .await;
    let _: Answer = client.receive().await.unwrap();
    assert_eq!(world.backend.watchers(&id), 1);
    drop(client.stream);
    client.serving.await.unwrap();
    while world.backend.watchers(&id) > 0 {
        tokio::task::yield_now().await;
    }
    assert_eq!(
        world.backend.show(&id).unwrap().state,
        OperationState::Running
    );
}

#[tokio::test(start_paused = true)]
async fn bad_frames_are_refused_and_end_the_connection() {
    let world = World::new();
    let garbage = {
        let mut bytes = 5u32.to_be_bytes().to_vec();
        bytes.extend([0xff; 5]);
        bytes
    };
    let truncated = frame::encode(&Call {
        id: 1,
        request: Request::List(7),
    })
    .unwrap();
    let truncated = truncated[..truncated.len() - 1].to_vec();
    for (bytes, refused) in [
        (garbage, true),
        (b"GET / HTTP/1.1\r\n\r\n".to_vec(), true),
        (u32::MAX.to_be_bytes().to_vec(), true),
        (0u32.to_be_bytes().to_vec(), true),
        (truncated, false),
        (vec![0, 0], false),
    ] {
        let mut client = world.client(0).await;
        client.stream.write_all(&bytes).await.unwrap();
        if refused {
            let answer: Answer = client.receive().await.unwrap();
            assert_eq!((answer.id, answer.last), (0, true));
            assert_eq!(code(answer.reply), Code::BadFrame);
        }
        assert!(client.receive::<Answer>().await.is_none(), "{bytes:?}");
        client.serving.await.unwrap();
    }
    assert!(matches!(
        world.client(0).await.call(Request::Status).await,
        Reply::Status(_)
    ));
}

#[tokio::test(start_paused = true)]
async fn silent_peers_are_cut_off() {
    let world = World::new();
    let begun = tokio::time::Instant::now();
    let (mut mute, serving) = world.raw(0, &[]);
    serving.await.unwrap();
    assert_eq!(begun.elapsed().as_secs(), 5);
    let mut rest = Vec::new();
    mute.read_to_end(&mut rest).await.unwrap();
    assert_eq!(
        frame::decode::<Hello>(&rest[HEADER_LENGTH..]).unwrap(),
        Hello::ours()
    );

    let idle = world.client(0).await;
    let begun = tokio::time::Instant::now();
    idle.serving.await.unwrap();
    assert_eq!(begun.elapsed().as_secs(), 600);
}

#[tokio::test(start_paused = true)]
async fn who_watches_may_be_silent() {
    let world = World::new();
    let id = world.operation(0);
    let mut client = world.client(0).await;
    client
        .send(&Call {
            id: 1,
            request: Request::Watch(id.clone()),
        })
        .await;
    let _: Answer = client.receive().await.unwrap();
    tokio::time::sleep(Duration::from_secs(4000)).await;
    world
        .backend
        .advance(&id, |view| view.state = OperationState::Succeeded);
    assert!(client.receive::<Answer>().await.unwrap().last);
}

#[tokio::test(start_paused = true)]
async fn peers_that_do_not_read_are_cut_off() {
    let world = World::new();
    for _ in 0..400 {
        world.operation(0);
    }
    let mut client = world.client(0).await;
    let call = frame::encode(&Call {
        id: 1,
        request: Request::List(0),
    })
    .unwrap();
    // More calls than the queues between the two can hold answers for.
    for _ in 0..200 {
        if client.stream.write_all(&call).await.is_err() {
            break;
        }
    }
    client.serving.await.unwrap();
}

#[tokio::test]
async fn a_client_that_is_too_old_is_told_so() {
    let world = World::new();
    let (stream, serving) = world.raw(0, &[]);
    let mut client = Client { stream, serving };
    client
        .send(&Hello {
            protocol: frame::OLDEST_PROTOCOL - 1,
            version: "0.0.1".to_owned(),
        })
        .await;
    let _: Hello = client.receive().await.unwrap();
    let answer: Answer = client.receive().await.unwrap();
    assert_eq!((answer.id, answer.last), (0, true));
    let Reply::Refused(failure) = answer.reply else {
        panic!("{answer:?}")
    };
    assert!(
        failure.message.contains("cannot talk to nixctl 0.0.1"),
        "{}",
        failure.message
    );
    assert_eq!(failure.help, "upgrade nixctl, the client");
    assert!(client.receive::<Answer>().await.is_none());
}

#[tokio::test]
async fn a_newer_client_is_served_and_what_is_not_known_is_said() {
    let world = World::new();
    let (stream, serving) = world.raw(0, &[]);
    let mut client = Client { stream, serving };
    client
        .send(&Hello {
            protocol: frame::PROTOCOL + 1,
            version: "9.9.9".to_owned(),
        })
        .await;
    let _: Hello = client.receive().await.unwrap();
    // A request, an operation, and a field at the end that came with that version.
    let list = frame::encode(&Call {
        id: 5,
        request: Request::List(7),
    });
    let longer = [&list.unwrap()[HEADER_LENGTH..], &[1]].concat();
    for payload in [vec![5, 200], vec![5, 1, 200, 1], longer] {
        let mut bytes = u32::try_from(payload.len()).unwrap().to_be_bytes().to_vec();
        bytes.extend(payload);
        client.stream.write_all(&bytes).await.unwrap();
        let answer: Answer = client.receive().await.unwrap();
        assert_eq!((answer.id, answer.last), (5, true));
        let Reply::Refused(failure) = answer.reply else {
            panic!("{answer:?}")
        };
        assert_eq!(failure.code, Code::UnknownRequest);
        let ours = format!("nixctld {} does not know", nixctl_proto::VERSION);
        assert!(failure.message.contains(&ours), "{}", failure.message);
        assert!(failure.message.contains("nixctl 9.9.9"));
    }
    assert!(matches!(
        client.call(Request::Status).await,
        Reply::Status(_)
    ));
}

#[tokio::test]
async fn the_seventeenth_watch_is_refused() {
    let world = World::new();
    let id = world.operation(0);
    let mut client = world.client(0).await;
    for number in 1..=17 {
        client
            .send(&Call {
                id: number,
                request: Request::Watch(id.clone()),
            })
            .await;
        let answer: Answer = client.receive().await.unwrap();
        assert_eq!(answer.last, number == 17);
    }
    assert!(matches!(
        client.call(Request::Status).await,
        Reply::Status(_)
    ));
}

#[tokio::test]
async fn the_listener_serves_and_limits_real_connections() {
    let world = World::new();
    let folder = TempDir::new().unwrap();
    let path = folder.path().join("socket");
    let mut bound = listen(&path).unwrap();
    let quota = Quota::new(1, 10);
    let listener = bound.listener.take().unwrap();
    let serving = tokio::spawn(super::serve(
        listener,
        Arc::clone(&world.service),
        quota.clone(),
    ));
    let mut first = Client {
        stream: UnixStream::connect(&path).await.unwrap(),
        serving: tokio::spawn(std::future::ready(())),
    };
    first.send(&Hello::ours()).await;
    let _: Hello = first.receive().await.unwrap();
    assert!(matches!(
        first.call(Request::Status).await,
        Reply::Status(_)
    ));
    // Root may use all places, and takes them; another user had one only.
    let _tickets: Vec<_> = std::iter::from_fn(|| quota.enter(0)).collect();
    let stream = UnixStream::connect(&path).await.unwrap();
    let mut second = Client {
        stream,
        serving: tokio::spawn(std::future::ready(())),
    };
    let _: Hello = second.receive().await.unwrap();
    let answer: Answer = second.receive().await.unwrap();
    assert_eq!(code(answer.reply), Code::TooMany);
    assert!(second.receive::<Answer>().await.is_none());
    serving.abort();
}

use super::*;

fn say(server: &FleetLock, door: usize, text: &str) -> String {
    let port = server.doors[door].port();
    let mut stream = TcpStream::connect(("127.0.0.1", port)).unwrap();
    stream
        .set_read_timeout(Some(Duration::from_millis(500)))
        .unwrap();
    stream.write_all(text.as_bytes()).unwrap();
    let mut answer = Vec::new();
    let _ = stream.read_to_end(&mut answer);
    String::from_utf8(answer).unwrap()
}

fn ask(server: &FleetLock, path: &str, id: &str, group: &str) -> u16 {
    let body = json!({ "client_params": { "id": id, "group": group } }).to_string();
    let text = format!(
        "POST {path} HTTP/1.1\r\nFleet-Lock-Protocol: true\r\nContent-Length: {}\r\n\r\n{body}",
        body.len()
    );
    status(&say(server, server.doors.len() - 1, &text))
}

fn status(answer: &str) -> u16 {
    let word = answer.split(' ').nth(1);
    word.and_then(|word| word.parse().ok()).unwrap_or(0)
}

const LOCK: &str = "/v1/pre-reboot";
const UNLOCK: &str = "/v1/steady-state";

#[test]
fn slots_are_counted_owned_and_recursive() {
    let mut server = FleetLock::start(None, 0, 2).unwrap();
    for (path, id, group, expected) in [
        (LOCK, "a", "default", 200),
        (LOCK, "a", "default", 200),
        (LOCK, "b", "default", 200),
        (LOCK, "c", "default", 409),
        // Another group has its own.
        (LOCK, "c", "workers", 200),
        // Only the owner gives it back.
        (UNLOCK, "c", "default", 200),
        (LOCK, "c", "default", 409),
        // Once is enough, however often it was taken.
        (UNLOCK, "a", "default", 200),
        (UNLOCK, "a", "default", 200),
        (LOCK, "c", "default", 200),
    ] {
        assert_eq!(
            ask(&server, path, id, group),
            expected,
            "{path} {id} {group}"
        );
    }
    let holders: Vec<String> = server.holders("default").into_iter().collect();
    assert_eq!(holders, ["b", "c"]);
    let happened: Vec<Happened> = server.journal().iter().map(|it| it.happened).collect();
    use Happened::*;
    let expected = [
        Locked,
        LockedAlready,
        Locked,
        Refused,
        Locked,
        NotHeld,
        Refused,
        Unlocked,
        NotHeld,
        Locked,
    ];
    assert_eq!(happened, expected);
    assert_eq!(server.most_at_once("default"), 2);
    assert_eq!(server.most_at_once("workers"), 1);
    server.release("default", "b");
    // Another door leads to the same slots.
    server.listen(None, 0).unwrap();
    assert_eq!(ask(&server, LOCK, "d", "default"), 200);
    assert_eq!(server.holders("default").len(), 2);
}

#[test]
fn two_at_once_would_be_seen() {
    let event = |happened, id: &str| Event {
        at: Instant::now(),
        happened,
        group: "default".to_owned(),
        id: id.to_owned(),
    };
    let one_by_one = [
        event(Happened::Locked, "a"),
        event(Happened::Refused, "b"),
        event(Happened::Unlocked, "a"),
        event(Happened::Locked, "b"),
    ];
    assert_eq!(most_at_once(&one_by_one, "default"), 1);
    let both = [event(Happened::Locked, "a"), event(Happened::Locked, "b")];
    assert_eq!(most_at_once(&both, "default"), 2);
    assert_eq!(most_at_once(&both, "workers"), 0);
}

#[test]
fn what_is_not_of_the_protocol_is_refused() {
    let server = FleetLock::start(None, 0, 1).unwrap();
    let body = r#"{"client_params":{"id":"a","group":"default"}}"#;
    let with = |first: &str, header: &str, body: &str| {
        let length = body.len();
        format!("{first} HTTP/1.1\r\n{header}Content-Length: {length}\r\n\r\n{body}")
    };
    let (post, yes) = ("POST /v1/pre-reboot", "fleet-lock-protocol: true\r\n");
    for (text, expected) in [
        (with(post, "", body), 400),
        (with(post, "fleet-lock-protocol: yes\r\n", body), 400),
        (with(post, yes, "{}"), 400),
        (with(post, yes, "no json"), 400),
        (with(post, yes, &body.replace("\"a\"", "\"\"")), 400),
        (with(post, yes, &body.replace("default", "a b")), 400),
        (with("GET /v1/pre-reboot", yes, body), 405),
        (with("POST /v2/pre-reboot", yes, body), 404),
    ] {
        let answer = say(&server, 0, &text);
        assert_eq!(status(&answer), expected, "{text}");
        let (_, body) = answer.split_once("\r\n\r\n").unwrap();
        let refusal: serde_json::Value = serde_json::from_str(body).unwrap();
        assert!(refusal["kind"].is_string() && refusal["value"].is_string());
    }
    assert!(server.holders("default").is_empty());
    assert_eq!(status(&say(&server, 0, &with(post, yes, body))), 200);
}

#[test]
fn it_can_be_away_and_forgets_nothing() {
    let server = FleetLock::start(None, 0, 1).unwrap();
    assert_eq!(ask(&server, LOCK, "a", "default"), 200);
    for (away, expected) in [(Away::Gone, 0), (Away::Silent, 0), (Away::Status(503), 503)] {
        server.set_away(away);
        assert_eq!(ask(&server, UNLOCK, "a", "default"), expected, "{away:?}");
    }
    server.set_away(Away::No);
    assert_eq!(ask(&server, LOCK, "b", "default"), 409);
    let missed = server.journal();
    let missed = missed.iter().filter(|it| it.happened == Happened::Missed);
    assert_eq!(missed.count(), 3);
}

use nixctl_proto::date::Timestamp;
use nixctl_proto::feed::{Envelope, FORMAT, PublicKey, SecretKey};

use super::*;
use crate::host::Cancel;
use crate::payload::test_server::{Server, reply};

const CA: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/src/payload/testdata/ca.pem");
const SERVER: &[u8] = include_bytes!("../payload/testdata/server.der");
const NOW: u64 = 1_795_300_000;

fn client() -> Client {
    Client::new("", CA, Cancel::default()).unwrap()
}

fn feed() -> Feed {
    Feed {
        format: FORMAT,
        channel: "stable".to_owned(),
        serial: 7,
        created: Timestamp::new(NOW - 60),
        expires: Timestamp::new(NOW + 60),
        releases: Vec::new(),
        targets: Default::default(),
    }
}

/// What is published, and the key that it is believed by.
fn published() -> (Vec<u8>, Vec<PublicKey>) {
    let key = SecretKey::generate("test-1").unwrap();
    let mut envelope = Envelope::unsigned(&feed().to_text()).unwrap();
    envelope.sign(&key);
    (envelope.to_text().into_bytes(), vec![key.public()])
}

fn trust(keys: &[PublicKey]) -> Trust<'_> {
    Trust {
        keys,
        channel: Some("stable"),
        last_serial: 7,
        now: NOW,
    }
}

#[test]
fn a_feed_is_fetched_and_believed() {
    let (file, keys) = published();
    let server = Server::start(move |asked, out| match asked.path.as_str() {
        "/feed.json" => reply(asked, out, "200 OK", "", &file),
        "/moved" => reply(asked, out, "302 Found", "Location: /feed.json\r\n", b""),
        _ => reply(asked, out, "404 Not Found", "", b"<html>"),
    });
    for path in ["/feed.json", "/moved"] {
        let fetched = fetch(&client(), &server.url(path), &trust(&keys)).unwrap();
        assert_eq!(fetched, feed());
    }
    let absent = fetch(&client(), &server.url("/no"), &trust(&keys)).unwrap_err();
    assert_eq!(absent.code(), Code::BadSource);
    assert!(absent.failure().help.contains("[upgrade] feed"));
    let stale = Trust {
        last_serial: 8,
        ..trust(&keys)
    };
    let replayed = fetch(&client(), &server.url("/feed.json"), &stale).unwrap_err();
    assert_eq!(replayed.code(), Code::FeedStale);
    let stranger = [SecretKey::generate("test-1").unwrap().public()];
    let forged = fetch(&client(), &server.url("/feed.json"), &trust(&stranger)).unwrap_err();
    assert_eq!(forged.failure().code, Code::FeedUntrusted);
}

#[test]
fn only_the_web_is_asked() {
    let (_, keys) = published();
    for url in [
        "",
        "/etc/feed.json",
        "file:///etc/feed.json",
        "ftp://a.example/feed.json",
    ] {
        let error = fetch(&client(), url, &trust(&keys)).unwrap_err();
        assert_eq!(error.code(), Code::BadSource, "{url}");
    }
}

/// From https to http everybody on the way could read and stop it; from http to https is no danger,
/// but then the settings say something else than what is done.
#[test]
fn a_redirect_to_another_scheme_is_refused() {
    let (file, keys) = published();
    let (one, two) = (file.clone(), file);
    let plain = Server::start(move |asked, out| reply(asked, out, "200 OK", "", &one));
    let secure = Server::start_tls(SERVER, move |asked, out| {
        reply(asked, out, "200 OK", "", &two);
    });
    let to = |target: String| format!("Location: {target}\r\n");
    let secure_url = format!("https://localhost:{}/", secure.address.port());
    assert!(fetch(&client(), &secure_url, &trust(&keys)).is_ok());
    assert!(fetch(&client(), &plain.url("/"), &trust(&keys)).is_ok());
    let (asked_plain, asked_secure) = (plain.requests().len(), secure.requests().len());

    let location = to(plain.url("/"));
    let down = Server::start_tls(SERVER, move |asked, out| {
        reply(asked, out, "302 Found", &location, b"");
    });
    let location = to(secure_url);
    let up = Server::start(move |asked, out| {
        let location = match asked.path.as_str() {
            "/file" => "Location: file:///etc/passwd\r\n",
            "/ftp" => "Location: ftp://a.example/feed.json\r\n",
            _ => &location,
        };
        reply(asked, out, "302 Found", location, b"");
    });
    for (url, why) in [
        (
            format!("https://localhost:{}/", down.address.port()),
            "from https to http",
        ),
        (up.url("/"), "from http to https"),
        (up.url("/file"), "scheme file"),
        (up.url("/ftp"), "scheme ftp"),
    ] {
        let error = fetch(&client(), &url, &trust(&keys)).unwrap_err();
        assert!(error.to_string().contains(why), "{error}");
    }
    assert_eq!(plain.requests().len(), asked_plain);
    assert_eq!(secure.requests().len(), asked_secure);
}

#[test]
fn a_body_without_end_is_not_read_to_it() {
    let (_, keys) = published();
    let server = Server::start(|asked, out| {
        let head = match asked.path.as_str() {
            "/said" => "HTTP/1.1 200 OK\r\nContent-Length: 99999999\r\n\r\n",
            _ => "HTTP/1.1 200 OK\r\nConnection: close\r\n\r\n",
        };
        let _ = out.write_all(head.as_bytes());
        let space = [b' '; 1 << 16];
        // Far more than is read; ends when nobody listens any more.
        (0..10_000).all(|_| out.write_all(&space).is_ok());
    });
    for path in ["/said", "/unsaid"] {
        let error = fetch(&client(), &server.url(path), &trust(&keys)).unwrap_err();
        let limit = MAX_BYTES;
        assert!(
            matches!(error, FetchError::Feed(FeedError::TooLarge { limit: it }) if it == limit),
            "{error}"
        );
    }
}

#[test]
fn a_body_that_drips_is_given_up() {
    let server = Server::start(|_, out| {
        let _ = out.write_all(b"HTTP/1.1 200 OK\r\nConnection: close\r\n\r\n");
        let drop = |_| {
            std::thread::sleep(Duration::from_millis(20));
            out.write_all(b" ").and_then(|()| out.flush()).is_ok()
        };
        (0..500).all(drop);
    });
    let url = Url::parse(&server.url("/")).unwrap();
    let started = Instant::now();
    let error = fetch_within(&client(), &url, Duration::from_millis(200)).unwrap_err();
    assert_eq!(error.code(), Code::Network);
    assert!(started.elapsed() < Duration::from_secs(5));
}

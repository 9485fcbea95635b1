//! Feeds that somebody could publish to do harm, over HTTP: each is refused with its code by the
//! same reading that the daemon does, and none of them costs more than it should.

use std::io::{BufRead, BufReader, Write};
use std::net::TcpListener;
use std::time::{Duration, Instant};

use nixctl_lab::server::Fault;
use nixctl_proto::Code;
use nixctl_proto::date::Timestamp;
use nixctl_proto::feed::{Curve, Feed, SecretKey};
use nixctl_proto::settings::Settings;
use nixctld::host::{Cancel, Fs};
use nixctld::payload::PayloadError;
use nixctld::payload::worker::InProcess;
use nixctld::upgrade::reading::{Reading, Source, read};

use super::publisher::{Publisher, START, release};

/// The serial that the machine saw last.
const SEEN: u64 = 7;

fn reads(publisher: &Publisher, url: &str) -> Result<Feed, PayloadError> {
    let mut settings = Settings::default();
    settings.upgrade.feed = url.to_owned();
    settings.upgrade.feed_keys = vec![publisher.key.public().to_string()];
    settings.install.ssl_cert_file =
        concat!(env!("CARGO_MANIFEST_DIR"), "/src/payload/testdata/ca.pem").to_owned();
    let worker = InProcess::new(Fs::at("/nonexistent"));
    read(
        &worker,
        Reading::new(&settings, &Source::of_releases(&settings), SEEN, START),
        &Cancel::default(),
    )
}

fn publisher() -> (Publisher, Feed) {
    let mut publisher = Publisher::start();
    let releases = [release("2.34.8", 1.0, 0, Curve::Linear)];
    for _ in 0..=SEEN {
        publisher.publish(&releases);
    }
    let feed = publisher.feed(&releases);
    (publisher, feed)
}

/// Name, file, and the code with which it is refused.
fn documents(publisher: &Publisher, feed: &Feed) -> Vec<(&'static str, Vec<u8>, Code)> {
    use Code::{FeedMalformed, FeedStale, FeedUntrusted};
    let changed = |change: &dyn Fn(&mut Feed)| {
        let mut feed = feed.clone();
        change(&mut feed);
        publisher.signed(&feed.to_text())
    };
    let text = feed.to_text();
    let genuine = String::from_utf8(publisher.signed(&text)).unwrap();
    let by_stranger = |name: &str| {
        let mut envelope = nixctl_proto::feed::Envelope::unsigned(&text).unwrap();
        envelope.sign(&SecretKey::generate(name).unwrap());
        envelope.to_text().into_bytes()
    };
    let replaced = |from: &str, to: &str| {
        assert!(genuine.contains(from), "{from}");
        genuine.replacen(from, to, 1).into_bytes()
    };
    let payload = |from: &str, to: &str| {
        assert!(text.contains(from), "{from}");
        let mut envelope = nixctl_proto::feed::Envelope::unsigned(&text).unwrap();
        envelope.sign(&publisher.key);
        let payload = serde_json::to_string(&text.replacen(from, to, 1)).unwrap();
        let whole = serde_json::to_string(&text).unwrap();
        genuine.replacen(&whole, &payload, 1).into_bytes()
    };
    let unsigned = serde_json::json!({"payload": &text, "signatures": []}).to_string();
    let space = 2 << 20;
    let deep = |open: &str, close: &str| {
        let depth = 100_000;
        format!("{}{}", open.repeat(depth), close.repeat(depth)).into_bytes()
    };
    let other_channel = changed(&|feed| feed.channel = "beta".to_owned());
    vec![
        ("unsigned", unsigned.into_bytes(), FeedUntrusted),
        ("signed by a stranger", by_stranger("evil-1"), FeedUntrusted),
        (
            "signed by a stranger under the name",
            by_stranger("fleet-1"),
            FeedUntrusted,
        ),
        (
            "altered: another address",
            replaced("releases.example", "releases.exbmple"),
            FeedUntrusted,
        ),
        (
            "altered: another serial",
            payload("\"serial\": 8", "\"serial\": 9"),
            FeedUntrusted,
        ),
        (
            "altered: another version",
            payload("2.34.8", "2.34.9"),
            FeedUntrusted,
        ),
        (
            "expired",
            changed(&|feed| feed.expires = Timestamp::new(START - 1)),
            FeedStale,
        ),
        (
            "of the future",
            changed(&|feed| feed.created = Timestamp::new(START + 3600)),
            FeedStale,
        ),
        (
            "replayed",
            changed(&|feed| feed.serial = SEEN - 1),
            FeedStale,
        ),
        ("empty", Vec::new(), FeedMalformed),
        (
            "truncated",
            genuine.as_bytes()[..genuine.len() / 2].to_vec(),
            FeedMalformed,
        ),
        (
            "with an end that is cut",
            genuine.as_bytes()[..genuine.trim_end().len() - 1].to_vec(),
            FeedMalformed,
        ),
        (
            "with more after it",
            format!("{genuine}{{}}").into_bytes(),
            FeedMalformed,
        ),
        ("a page", b"<html>it works</html>".to_vec(), FeedMalformed),
        (
            "no text",
            (0..=255).cycle().take(5000).collect(),
            FeedMalformed,
        ),
        (
            "huge",
            [genuine.as_bytes(), &vec![b' '; space]].concat(),
            FeedMalformed,
        ),
        (
            "a huge string",
            format!("{{\"payload\":\"{}\"}}", "a".repeat(space)).into_bytes(),
            FeedMalformed,
        ),
        ("deep in lists", deep("[", "]"), FeedMalformed),
        ("deep in objects", deep("{\"payload\":", "}"), FeedMalformed),
        (
            "deep in lists that are not closed",
            b"[".repeat(900_000),
            FeedMalformed,
        ),
        ("of another channel", other_channel, FeedMalformed),
        (
            "with a field twice",
            genuine.replacen('{', "{\"payload\":\"\",", 1).into_bytes(),
            FeedMalformed,
        ),
        (
            "with a field that is not known",
            genuine.replacen('{', "{\"more\":1,", 1).into_bytes(),
            FeedMalformed,
        ),
    ]
}

#[test]
fn hostile_feeds_are_refused_with_their_code() {
    let (publisher, feed) = publisher();
    assert_eq!(reads(&publisher, &publisher.url()).unwrap(), feed);
    let documents = documents(&publisher, &feed);
    assert!(documents.len() >= 20);
    for (name, file, code) in documents {
        publisher.server.put("/hostile.json", file);
        let url = format!("{}/hostile.json", publisher.server.url());
        let began = Instant::now();
        let error = reads(&publisher, &url).expect_err(name);
        assert_eq!(error.code(), code, "{name}: {error}");
        assert!(began.elapsed() < Duration::from_secs(5), "{name}");
    }
    // And the right one is still believed afterwards.
    assert_eq!(reads(&publisher, &publisher.url()).unwrap(), feed);
}

#[test]
fn a_server_that_fails_is_no_feed() {
    let (publisher, feed) = publisher();
    let size = publisher.signed(&feed.to_text()).len() as u64 / 2;
    for (fault, code) in [
        (Fault::Truncate(size), Code::Network),
        (Fault::Status(404), Code::BadSource),
        (Fault::Status(403), Code::BadSource),
        (Fault::Refuse, Code::Network),
    ] {
        publisher.server.break_prefix("/stable.json", fault);
        let error = reads(&publisher, &publisher.url()).unwrap_err();
        assert_eq!(error.code(), code, "{fault:?}: {error}");
        publisher.server.heal();
    }
    // A byte on the way that is another one: neither the signature nor the JSON is right then.
    for offset in [40, 400] {
        publisher
            .server
            .break_prefix("/stable.json", Fault::Corrupt(offset));
        let error = reads(&publisher, &publisher.url()).unwrap_err();
        let code = error.code();
        assert!(
            matches!(code, Code::FeedUntrusted | Code::FeedMalformed),
            "{error}"
        );
        publisher.server.heal();
    }
}

/// Answers every connection with these, after the request was read.
fn answering(answer: impl Fn(&mut dyn Write) + Send + 'static) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("http://{}/feed.json", listener.local_addr().unwrap());
    std::thread::spawn(move || {
        for mut stream in listener.incoming().flatten() {
            let mut lines = BufReader::new(stream.try_clone().unwrap()).lines();
            while lines
                .next()
                .is_some_and(|line| line.is_ok_and(|it| !it.is_empty()))
            {}
            answer(&mut stream);
        }
    });
    url
}

#[test]
fn nobody_is_led_to_another_scheme() {
    let (publisher, _) = publisher();
    let port = publisher.url();
    let port = port.trim_start_matches("http://127.0.0.1:");
    for (target, why) in [
        (format!("https://localhost:{port}"), "from http to https"),
        ("file:///etc/passwd".to_owned(), "scheme file"),
        (
            "ftp://releases.example/stable.json".to_owned(),
            "scheme ftp",
        ),
    ] {
        let head = format!(
            "HTTP/1.1 302 Found\r\nLocation: {target}\r\nContent-Length: 0\r\nConnection: close\r\n\r\n"
        );
        let url = answering(move |out| {
            let _ = out.write_all(head.as_bytes());
        });
        let error = reads(&publisher, &url).unwrap_err();
        let is_refused = matches!(error.code(), Code::Network | Code::BadSource);
        let text = error.to_string();
        assert!(is_refused && text.contains(why), "{target}: {error}");
    }
    let asked = publisher.server.requests().len();
    assert_eq!(asked, 0);
}

/// Whether a length is said or not: what is read ends at the limit.
#[test]
fn a_body_without_end_is_cut_at_the_limit() {
    let (publisher, _) = publisher();
    for head in [
        "HTTP/1.1 200 OK\r\nContent-Length: 99999999999\r\n\r\n",
        "HTTP/1.1 200 OK\r\nConnection: close\r\n\r\n",
        "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n",
    ] {
        let chunked = head.contains("chunked");
        let url = answering(move |out| {
            let _ = out.write_all(head.as_bytes());
            let space = [b' '; 1 << 16];
            let piece = match chunked {
                true => [b"10000\r\n".as_slice(), &space, b"\r\n"].concat(),
                false => space.to_vec(),
            };
            while out.write_all(&piece).is_ok() {}
        });
        let began = Instant::now();
        let error = reads(&publisher, &url).unwrap_err();
        assert_eq!(error.code(), Code::FeedMalformed, "{head}: {error}");
        assert!(began.elapsed() < Duration::from_secs(10), "{head}");
    }
}

//! Documents that somebody could publish to do harm, each refused with its code.

use serde_json::json;

use super::testing::{NOW, feed, key, published, trust};
use super::*;
use crate::Code;

/// Whatever text it is, signed by the trusted key.
fn signed(payload: &str) -> Vec<u8> {
    let message = format!("nixctl-feed-v1\n{payload}");
    file(payload, &[key("test-1", 1).sign(message.as_bytes())])
}

fn file(payload: &str, signatures: &[String]) -> Vec<u8> {
    json!({"payload": payload, "signatures": signatures})
        .to_string()
        .into_bytes()
}

/// The example with one place changed, signed all the same: what a careless publisher does.
fn careless(from: &str, to: &str) -> Vec<u8> {
    let text = feed().to_text();
    let changed = text.replacen(from, to, 1);
    assert_ne!(changed, text, "{from}");
    signed(&changed)
}

fn changed(change: impl FnOnce(&mut Feed)) -> Vec<u8> {
    let mut feed = feed();
    change(&mut feed);
    signed(&feed.to_text())
}

/// Name, document, and the code with which it is refused.
fn documents() -> Vec<(&'static str, Vec<u8>, Code)> {
    use Code::{FeedMalformed, FeedStale, FeedUntrusted};
    let text = feed().to_text();
    let genuine = String::from_utf8(published(&feed())).unwrap();
    let deep = |depth: usize| "[".repeat(depth);
    let of_store_path = key("test-1", 1).sign(text.as_bytes());
    let cut_signature = {
        let whole = key("test-1", 1).sign(format!("nixctl-feed-v1\n{text}").as_bytes());
        whole[..whole.len() - 4].to_owned()
    };
    vec![
        // Forged.
        ("without signatures", file(&text, &[]), FeedUntrusted),
        (
            "signed by a stranger",
            file(&text, &[key("evil-1", 6).sign(b"x")]),
            FeedUntrusted,
        ),
        (
            "signed by a stranger under a trusted name",
            file(
                &text,
                &[key("test-1", 6).sign(format!("nixctl-feed-v1\n{text}").as_bytes())],
            ),
            FeedUntrusted,
        ),
        (
            "signed without the prefix",
            file(&text, &[of_store_path]),
            FeedUntrusted,
        ),
        (
            "with a signature cut short",
            file(&text, &[cut_signature]),
            FeedUntrusted,
        ),
        (
            "with an empty signature",
            file(&text, &["test-1:".to_owned()]),
            FeedUntrusted,
        ),
        (
            "altered after it was signed",
            genuine
                .replacen("releases.example", "releases.exbmple", 1)
                .into_bytes(),
            FeedUntrusted,
        ),
        (
            "with a release that is no longer withdrawn",
            String::from_utf8(changed(|feed| feed.releases[0].halted = true))
                .unwrap()
                .replacen("\\\"halted\\\": true", "\\\"halted\\\": false", 1)
                .into_bytes(),
            FeedUntrusted,
        ),
        // Out of its time.
        (
            "expired",
            changed(|feed| feed.expires = Timestamp::new(NOW - 1)),
            FeedStale,
        ),
        (
            "from the future",
            changed(|feed| feed.created = Timestamp::new(NOW + 3600)),
            FeedStale,
        ),
        ("replayed", changed(|feed| feed.serial = 40), FeedStale),
        // Malformed.
        ("empty", Vec::new(), FeedMalformed),
        (
            "truncated",
            genuine.as_bytes()[..genuine.len() / 2].to_vec(),
            FeedMalformed,
        ),
        (
            "with something after it",
            format!("{genuine}{{}}").into_bytes(),
            FeedMalformed,
        ),
        (
            "a page that says no",
            b"<html>404</html>".to_vec(),
            FeedMalformed,
        ),
        (
            "not UTF-8",
            b"{\"payload\":\"\xff\",\"signatures\":[]}".to_vec(),
            FeedMalformed,
        ),
        (
            "a feed without its envelope",
            text.clone().into_bytes(),
            FeedMalformed,
        ),
        (
            "an envelope with more in it",
            json!({"payload": text, "signatures": [], "keys": ["test-1"]})
                .to_string()
                .into_bytes(),
            FeedMalformed,
        ),
        ("huge", vec![b' '; MAX_BYTES + 1], FeedMalformed),
        (
            "a huge list",
            format!("[{}]", "0,".repeat(400_000)).into_bytes(),
            FeedMalformed,
        ),
        (
            "with more signatures than anybody makes",
            file(&text, &vec!["x:".to_owned(); MAX_SIGNATURES + 1]),
            FeedMalformed,
        ),
        (
            "a deeply nested envelope",
            deep(500_000).into_bytes(),
            FeedMalformed,
        ),
        (
            "a deeply nested field of the envelope",
            format!("{{\"x\":{}", deep(500_000)).into_bytes(),
            FeedMalformed,
        ),
        (
            "a deeply nested text",
            signed(&deep(400_000)),
            FeedMalformed,
        ),
        (
            "a deeply nested field of the text",
            signed(&format!(
                "{{\"format\":1,\"x\":{}{}}}",
                deep(200_000),
                "]".repeat(200_000)
            )),
            FeedMalformed,
        ),
        (
            "deeply nested releases",
            careless("\"releases\": [", &format!("\"releases\": [{}", deep(200))),
            FeedMalformed,
        ),
        // What a publisher must not be able to say, whoever it is.
        (
            "of another form",
            careless("\"format\": 1", "\"format\": 9"),
            FeedMalformed,
        ),
        (
            "of another channel",
            careless("\"stable\"", "\"edge\""),
            FeedMalformed,
        ),
        (
            "with a field nobody knows",
            careless("\"halted\"", "\"haltet\""),
            FeedMalformed,
        ),
        (
            "with a share that is no number",
            careless("0.05", "NaN"),
            FeedMalformed,
        ),
        (
            "with a share beyond all numbers",
            careless("0.05", "1e999"),
            FeedMalformed,
        ),
        (
            "with a negative share",
            careless("0.05", "-0.05"),
            FeedMalformed,
        ),
        (
            "with a size that is negative",
            careless("24000000", "-1"),
            FeedMalformed,
        ),
        (
            "with a size that overflows",
            careless("24000000", "18446744073709551616"),
            FeedMalformed,
        ),
        (
            "with a file URL",
            careless("https://releases", "file:///etc"),
            FeedMalformed,
        ),
        (
            "with a hash cut short",
            careless("aaaa", "aaa"),
            FeedMalformed,
        ),
        (
            "with a path as version",
            careless("\"2.34.8\"", "\"2/../../etc\""),
            FeedMalformed,
        ),
        (
            "with a store path that is none",
            careless("/nix/store/", "/etc/"),
            FeedMalformed,
        ),
        (
            "with a release twice",
            changed(|feed| feed.releases.push(feed.releases[0].clone())),
            FeedMalformed,
        ),
        (
            "that expires before it was made",
            changed(|feed| (feed.created, feed.expires) = (feed.expires, feed.created)),
            FeedMalformed,
        ),
    ]
}

#[test]
fn hostile_documents_are_refused_with_their_code() {
    let keys = [key("test-1", 1).public()];
    let trust = Trust {
        last_serial: 41,
        ..trust(&keys)
    };
    assert_eq!(verify(&published(&feed()), &trust), Ok(feed()));
    let documents = documents();
    assert!(documents.len() >= 20);
    for (name, document, code) in documents {
        match verify(&document, &trust) {
            Ok(_) => panic!("a document {name} was believed"),
            Err(error) => assert_eq!(error.code(), code, "{name}: {error}"),
        }
    }
}

#[test]
fn without_keys_nothing_is_believed() {
    let error = verify(&published(&feed()), &trust(&[])).unwrap_err();
    let signers = vec!["test-1".to_owned()];
    assert_eq!(error, FeedError::NoKnownKey { signers });
}

/// A cut anywhere is noticed.
#[test]
fn no_beginning_of_a_feed_is_believed() {
    let keys = [key("test-1", 1).public()];
    let whole = published(&feed());
    // The last byte is the end of the line.
    for end in 0..whole.len() - 1 {
        assert!(verify(&whole[..end], &trust(&keys)).is_err(), "{end}");
    }
}

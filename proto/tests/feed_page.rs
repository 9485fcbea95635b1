//! `docs/feed.md` and its example are what machines really believe.

use nixctl_proto::feed::{Envelope, PublicKey, Trust, verify};

const PAGE: &str = include_str!("../../docs/feed.md");
/// Signed once, by a key whose secret half is gone: that it is believed shows that the form of
/// signatures has not changed.
const EXAMPLE: &str = include_str!("../../docs/examples/feed.json");

#[test]
fn the_example_is_believed() {
    let line = PAGE.lines().find(|it| it.starts_with("feed_keys = "));
    let key: PublicKey = line.unwrap().split('"').nth(1).unwrap().parse().unwrap();
    let payload = Envelope::parse(EXAMPLE.as_bytes()).unwrap();
    let keys = [key];
    let trust = Trust {
        keys: &keys,
        channel: Some("stable"),
        last_serial: 41,
        now: 1_795_400_000,
    };
    let feed = verify(EXAMPLE.as_bytes(), &trust).unwrap();
    assert_eq!(feed.releases.len(), 1);

    let shown = PAGE.split("```json\n").nth(1).unwrap();
    let shown = shown.split("```").next().unwrap();
    assert_eq!(payload.payload(), shown, "the page shows something else");
}

#[test]
fn every_field_is_on_the_page() {
    let payload = Envelope::parse(EXAMPLE.as_bytes()).unwrap();
    let parts: Vec<&str> = payload.payload().split('"').collect();
    // A key is what a colon follows; of systems and groups every page has its own.
    let keys = parts.windows(2).filter(|pair| pair[1].starts_with(':'));
    let fields = keys.map(|pair| pair[0]);
    for name in fields.filter(|it| !it.contains("linux") && *it != "web") {
        let spelled = [format!("`{name}`"), format!("`rollout.{name}`")];
        assert!(
            spelled.iter().any(|it| PAGE.contains(it)) || name == "rollout",
            "docs/feed.md says nothing of {name}"
        );
    }
}

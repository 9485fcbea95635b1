//! The way of a publisher, from the key to a feed that machines believe.

use std::os::unix::fs::PermissionsExt;
use std::path::PathBuf;

use clap::Parser;
use nixctl_proto::Exit;
use nixctl_proto::feed::{PublicKey, Trust, verify};
use tempfile::TempDir;

use super::*;
use crate::cli::{Cli, Verb};

const NOW: u64 = 1_795_300_000;

/// A folder in which a publisher works.
struct Desk(TempDir);

impl Desk {
    fn new() -> Desk {
        Desk(tempfile::tempdir().unwrap())
    }

    fn path(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    fn text(&self, name: &str) -> String {
        std::fs::read_to_string(self.path(name)).unwrap()
    }

    /// Runs `nixctl release ...`; `@` begins the name of a file on the desk.
    fn run(&self, line: &str) -> Outcome {
        let here = format!("{}/", self.0.path().display());
        let words = format!("nixctl -q release {line}").replace('@', &here);
        let cli = Cli::try_parse_from(words.split_whitespace()).unwrap();
        let Verb::Release(release) = cli.verb else {
            panic!("{line}")
        };
        let mut context = Context::new(&cli.global);
        match release.verb {
            ReleaseVerb::New(what) => new::run(&mut context, &what, NOW),
            ReleaseVerb::Verify(what) => super::verify::run(&mut context, &what, NOW),
            verb => run(&mut context, verb),
        }
    }

    fn done(&self, line: &str) {
        assert_eq!(self.run(line), Ok(Exit::Done), "{line}");
    }

    fn refused(&self, line: &str) -> Failure {
        self.run(line).unwrap_err()
    }

    /// With a key, and a release of which the archive is here.
    fn with_release() -> Desk {
        let desk = Desk::new();
        desk.done("key example-1 --secret @secret --public @public");
        std::fs::write(desk.path("x.tar.xz"), b"abc").unwrap();
        desk.done(
            "new --channel stable --version 2.34.8 --start-share 0.05 --minutes 2880 \
             --system x86_64-linux=https://a.example/x.tar.xz,@x.tar.xz -o @feed",
        );
        desk
    }
}

#[test]
fn from_the_key_to_a_feed_that_is_believed() {
    let desk = Desk::with_release();
    desk.done("sign @feed --key-file @secret -o @feed.json");
    desk.done("verify @feed.json --key @public --channel stable --json");
    desk.done("verify @feed.json --key @public --last-serial 1");

    let keys: [PublicKey; 1] = [desk.text("public").trim_end().parse().unwrap()];
    let trust = Trust {
        keys: &keys,
        channel: Some("stable"),
        last_serial: 0,
        now: NOW,
    };
    let feed = verify(desk.text("feed.json").as_bytes(), &trust).unwrap();
    let release = &feed.releases[0];
    assert_eq!((feed.serial, release.rollout.start_share), (1, 0.05));
    assert_eq!(feed.expires.seconds() - feed.created.seconds(), 30 * 86_400);
    let archive = &release.systems["x86_64-linux"];
    assert_eq!(archive.size, 3);
    assert_eq!(
        archive.sha256,
        "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"
    );
    // What is signed is what was written, byte for byte.
    assert_eq!(
        Envelope::parse(desk.text("feed.json").as_bytes())
            .unwrap()
            .payload(),
        desk.text("feed")
    );
}

#[test]
fn the_next_feed_goes_on_from_the_last() {
    let desk = Desk::with_release();
    desk.done("sign @feed --key-file @secret -o @feed.json");
    desk.done("new --from @feed.json --halt 2.34.8 --days 2 -o @two");
    desk.done("new --from @two --resume 2.34.8 --pause 2.34.8 -o @three");
    let sum = "b".repeat(64);
    desk.done(&format!(
        "new --from @three --resume 2.34.8 --version 2.35.0 -o @four \
         --system x86_64-linux=https://a.example/y,5,{sum}"
    ));
    let feeds = ["feed", "two", "three", "four"].map(|name| Feed::parse(&desk.text(name)).unwrap());
    let serials: Vec<u64> = feeds.iter().map(|it| it.serial).collect();
    assert_eq!(serials, [1, 2, 3, 4]);
    let states: Vec<(bool, bool)> = feeds
        .iter()
        .map(|it| (it.releases[0].halted, it.releases[0].paused))
        .collect();
    assert_eq!(
        states,
        [(false, false), (true, false), (false, true), (false, false)]
    );
    assert_eq!(feeds[3].releases.len(), 2);
    assert_eq!(feeds[1].expires.seconds(), NOW + 2 * 86_400);

    for (line, exit) in [
        ("new --from @four --channel edge -o @x", Exit::Usage),
        ("new --from @four --halt 9.9 -o @x", Exit::Usage),
        ("new --from @nowhere -o @x", Exit::Usage),
        (
            "new --from @four --version 2.35.0 -o @x \
             --system x86_64-linux=https://a.example/y,@x.tar.xz",
            Exit::Refused,
        ),
        (
            "new --from @four --version 3.0 -o @x --system x86_64-linux=file:///y,@x.tar.xz",
            Exit::Refused,
        ),
        (
            "new --from @four --version 3.0 -o @x --system x86_64-linux=https://a.example/y,@no",
            Exit::Usage,
        ),
    ] {
        assert_eq!(desk.refused(line).code.exit(), exit, "{line}");
        assert!(!desk.path("x").exists());
    }
}

#[test]
fn a_feed_names_what_groups_of_machines_should_run() {
    let desk = Desk::new();
    let path = |name| format!("/nix/store/7rjj86a15146cq1d3qy068lml7n7ykzm-{name}");
    let (web, db) = (path("web"), path("db"));
    let line = format!("new --channel fleet -o @one --target web={web},https://c.example --target");
    desk.done(&format!("{line} db={db}"));
    desk.done(&format!(
        "new --from @one -o @two --no-target web --target db={web}"
    ));
    let [one, two] = ["one", "two"].map(|name| Feed::parse(&desk.text(name)).unwrap());
    assert_eq!(one.targets["web"].toplevel, web);
    assert_eq!(
        one.targets["web"].from.as_deref(),
        Some("https://c.example")
    );
    assert_eq!((&*one.targets["db"].toplevel, one.targets.len()), (&*db, 2));
    assert_eq!(
        (&*two.targets["db"].toplevel, two.targets.len()),
        (&*web, 1)
    );
    for (line, exit) in [
        ("new --from @one --no-target mail -o @x", Exit::Usage),
        ("new --from @one --target web=/etc -o @x", Exit::Refused),
    ] {
        assert_eq!(desk.refused(line).code.exit(), exit, "{line}");
        assert!(!desk.path("x").exists());
    }
}

#[test]
fn a_secret_is_the_publishers_alone_and_never_replaced() {
    let desk = Desk::new();
    desk.done("key example-1 --secret @secret --public @public");
    let mode = std::fs::metadata(desk.path("secret"))
        .unwrap()
        .permissions()
        .mode();
    assert_eq!(mode & 0o777, 0o600);
    let (secret, public) = (desk.text("secret"), desk.text("public"));
    for line in [
        "key example-1 --secret @secret --public @other",
        "key example-1 --secret @other --public @public",
        "key example-1 --secret @other --public @nowhere/public",
        "key a:b --secret @other --public @another",
    ] {
        let failure = desk.refused(line);
        assert!(
            !format!("{failure:?}").contains(secret[10..].trim_end()),
            "{line}"
        );
        assert!(!desk.path("other").exists(), "{line}");
    }
    assert_eq!((desk.text("secret"), desk.text("public")), (secret, public));
}

#[test]
fn files_are_replaced_only_when_that_is_said() {
    let desk = Desk::with_release();
    desk.done("sign @feed --key-file @secret -o @feed.json");
    for line in [
        "sign @feed --key-file @secret -o @feed.json",
        "new --from @feed -o @feed",
    ] {
        let failure = desk.refused(line);
        assert_eq!(failure.code, Code::FileFailed, "{line}");
        assert!(failure.help.contains("--replace"));
        desk.done(&format!("{line} --replace"));
    }
    assert_eq!(Feed::parse(&desk.text("feed")).unwrap().serial, 2);
}

#[test]
fn keys_are_exchanged_with_two_signatures() {
    let desk = Desk::with_release();
    desk.done("key example-2 --secret @secret2 --public @public2");
    desk.done("sign @feed --key-file @secret -o @feed.json");
    let only = desk.refused("verify @feed.json --key @public2");
    assert_eq!(only.code, Code::FeedUntrusted);
    desk.done("sign @feed.json --key-file @secret2 -o @feed.json --replace");
    for key in ["public", "public2"] {
        desk.done(&format!(
            "verify @feed.json --key {}",
            desk.text(key).trim_end()
        ));
    }
}

#[test]
fn what_is_not_to_be_believed_is_said_with_its_code() {
    let desk = Desk::with_release();
    let odd = desk.refused("sign @public --key-file @secret -o @x");
    assert_eq!(odd.code, Code::FeedMalformed);
    let public = desk.refused("sign @feed --key-file @public -o @x");
    assert_eq!(public.code, Code::InvalidArgument);
    assert!(!desk.path("x").exists());
    desk.done("sign @feed --key-file @secret -o @feed.json");
    std::fs::write(desk.path("huge"), vec![b' '; MAX_BYTES + 1]).unwrap();
    let altered = desk.text("feed.json").replace("2.34.8", "2.34.9");
    std::fs::write(desk.path("altered"), altered).unwrap();
    for (line, code) in [
        ("verify @altered --key @public", Code::FeedUntrusted),
        ("verify @feed --key @public", Code::FeedMalformed),
        ("verify @huge --key @public", Code::FeedMalformed),
        (
            "verify @feed.json --key @public --channel edge",
            Code::FeedMalformed,
        ),
        (
            "verify @feed.json --key @public --last-serial 2",
            Code::FeedStale,
        ),
        ("verify @feed.json --key @nowhere", Code::InvalidArgument),
        ("verify @feed.json --key @secret", Code::InvalidArgument),
        ("verify @nowhere --key @public", Code::InvalidArgument),
    ] {
        assert_eq!(desk.refused(line).code, code, "{line}");
    }
}

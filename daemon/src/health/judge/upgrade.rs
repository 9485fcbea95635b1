//! The release feed: whether it can be gone by, and whether there is something new.

use nixctl_proto::Code;
use nixctl_proto::health::Severity;
use nixctl_proto::health::check::Check;

use super::Found;
use crate::health::look::upgrade::{FeedFacts, Trouble};

/// How long a feed may be away before that is worth a warning, in milliseconds.
const AWAY_FOR_LONG: u64 = 3 * 24 * 3_600_000;

pub(super) fn judge(facts: &FeedFacts) -> Vec<Found> {
    let of = |feed: &String, it: Option<&Trouble>| {
        let it = it.filter(|_| !feed.is_empty());
        it.map(|it| trouble(feed, it, facts.now))
    };
    let follow = &facts.follow;
    let releases = of(&facts.feed, facts.trouble.as_ref());
    let system = of(&follow.feed, follow.trouble.as_ref());
    let news = facts.offered.as_ref().filter(|_| !facts.feed.is_empty());
    let news = news.map(|it| news_of(facts, it));
    let blocked = follow.blocked.as_ref();
    let blocked = blocked.map(|why| {
        Found::new(Check::FollowBlocked, &follow.group)
            .seen(why)
            .expected("the generation that the feed names for this machine's group")
            .help("nixctl status")
    });
    let all = [releases, system, news, blocked];
    all.into_iter().flatten().collect()
}

fn trouble(feed: &str, trouble: &Trouble, now: u64) -> Found {
    let check = check_of(trouble.code);
    let found = Found::new(check, feed)
        .seen(&trouble.message)
        .expected("a feed that is signed, in its time and in its form");
    match check {
        Check::FeedUntrusted => found.help("compare the keys in the settings with the publisher's"),
        Check::FeedStale => found.help("set the clock if it is wrong, else ask the publisher"),
        Check::FeedMalformed => {
            found.help("ask the publisher to look with `nixctl release verify`")
        }
        _ => {
            let is_long = now.saturating_sub(trouble.since) >= AWAY_FOR_LONG;
            let severity = if is_long {
                Severity::Warning
            } else {
                check.severity()
            };
            found
                .severity(severity)
                .help("see whether its server can be reached")
        }
    }
}

/// The check that is about such trouble.
fn check_of(code: Code) -> Check {
    match code {
        Code::FeedUntrusted => Check::FeedUntrusted,
        Code::FeedStale => Check::FeedStale,
        Code::FeedMalformed => Check::FeedMalformed,
        _ => Check::FeedMissing,
    }
}

fn news_of(facts: &FeedFacts, (version, notes): &(String, String)) -> Found {
    let mut seen = format!("Nix {version} is there");
    if let Some(line) = notes.lines().next().filter(|it| !it.trim().is_empty()) {
        seen = format!("{seen}: {line}");
    }
    Found::new(Check::ReleaseAvailable, "nix")
        .seen(seen)
        .expected(format!("nothing newer than Nix {}", facts.current))
        .help("nixctl upgrade")
}

#[cfg(test)]
mod tests {
    use super::super::testing::ids;
    use super::*;
    use crate::health::look::upgrade::FollowFacts;

    fn facts(code: Option<Code>) -> FeedFacts {
        FeedFacts {
            feed: "https://a.example/feed.json".to_owned(),
            current: "2.26.3".to_owned(),
            trouble: code.map(|code| Trouble {
                code,
                message: "cannot x".to_owned(),
                since: 1000,
            }),
            now: 2000,
            ..FeedFacts::default()
        }
    }

    #[test]
    fn trouble_is_named_by_its_code() {
        assert_eq!(judge(&facts(None)), []);
        for (code, id) in [
            (Code::FeedUntrusted, "upgrade.feed-untrusted"),
            (Code::FeedStale, "upgrade.feed-stale"),
            (Code::FeedMalformed, "upgrade.feed-malformed"),
            (Code::Network, "upgrade.feed-missing"),
            (Code::WorkerLost, "upgrade.feed-missing"),
        ] {
            let found = judge(&facts(Some(code)));
            assert_eq!(ids(&found), [format!("{id} https://a.example/feed.json")]);
            assert!(!found[0].help.is_empty());
        }
        let none = FeedFacts {
            feed: String::new(),
            ..facts(Some(Code::Network))
        };
        assert_eq!(judge(&none), []);
    }

    #[test]
    fn a_feed_that_is_away_for_long_is_a_warning() {
        for (passed, severity) in [
            (0, Severity::Info),
            (AWAY_FOR_LONG - 1, Severity::Info),
            (AWAY_FOR_LONG, Severity::Warning),
        ] {
            let now = 1000 + passed;
            let facts = FeedFacts {
                now,
                ..facts(Some(Code::Network))
            };
            assert_eq!(judge(&facts)[0].severity, severity, "{passed}");
        }
    }

    #[test]
    fn what_the_system_follows_is_found_beside_releases() {
        let follow = FollowFacts {
            feed: "https://a.example/fleet.json".to_owned(),
            trouble: facts(Some(Code::FeedStale)).trouble,
            group: "web".to_owned(),
            blocked: Some("system /x failed once".to_owned()),
        };
        let none = FeedFacts {
            feed: String::new(),
            offered: Some(("2.34.8".to_owned(), String::new())),
            follow: follow.clone(),
            ..facts(Some(Code::Network))
        };
        let [stale, blocked] = [
            "upgrade.feed-stale https://a.example/fleet.json",
            "upgrade.follow-blocked web",
        ];
        assert_eq!(ids(&judge(&none)), [stale, blocked]);
        let both = FeedFacts {
            follow,
            ..facts(Some(Code::Network))
        };
        let releases = "upgrade.feed-missing https://a.example/feed.json";
        assert_eq!(ids(&judge(&both)), [releases, stale, blocked]);
    }

    #[test]
    fn what_is_new_is_told_beside_trouble() {
        let facts = FeedFacts {
            offered: Some(("2.34.8".to_owned(), "Faster.\nMore.".to_owned())),
            ..facts(Some(Code::Network))
        };
        let found = judge(&facts);
        assert_eq!(found.len(), 2);
        assert_eq!(found[1].seen, "Nix 2.34.8 is there: Faster.");
        assert_eq!(found[1].severity, Severity::Info);
    }
}

//! A release feed for people.

use nixctl_proto::feed::{Curve, Feed, Release, Rollout};

use super::table;
use super::text::clean;

/// What it is, then a line for each release, the newest first, and for each target.
pub fn lines(feed: &Feed, signer: &str, width: Option<usize>) -> Vec<String> {
    let mut lines = vec![
        format!(
            "channel {}, serial {}, signed by {}",
            clean(&feed.channel),
            feed.serial,
            clean(signer)
        ),
        format!("made {}, expires {}", feed.created, feed.expires),
    ];
    let mut releases: Vec<&Release> = feed.releases.iter().collect();
    releases.sort_by(|a, b| {
        let newest_first = || b.version.compare(&a.version);
        a.product.cmp(&b.product).then_with(newest_first)
    });
    let rows: Vec<Vec<String>> = releases.into_iter().map(row).collect();
    if !rows.is_empty() {
        lines.push(String::new());
        let head = ["PRODUCT", "VERSION", "ROLLOUT", "SYSTEMS"];
        lines.extend(table::lines(&head, &rows, width));
    }
    let rows: Vec<Vec<String>> = feed
        .targets
        .iter()
        .map(|(group, target)| vec![clean(group), clean(&target.toplevel)])
        .collect();
    if !rows.is_empty() {
        lines.push(String::new());
        lines.extend(table::lines(&["GROUP", "TARGET"], &rows, width));
    }
    lines
}

fn row(release: &Release) -> Vec<String> {
    let rollout = match (release.halted, release.paused) {
        (true, _) => "withdrawn".to_owned(),
        (false, true) => "held".to_owned(),
        (false, false) => in_words(&release.rollout),
    };
    let systems: Vec<String> = release.systems.keys().map(|it| clean(it)).collect();
    vec![
        release.product.to_string(),
        release.version.to_string(),
        rollout,
        systems.join(", "),
    ]
}

fn in_words(rollout: &Rollout) -> String {
    let start = rollout.start;
    let share = format!("{} %", (rollout.start_share * 1e4).round() / 1e2);
    match (rollout.minutes, rollout.curve) {
        _ if rollout.start_share >= 1.0 => format!("all from {start} on"),
        (0, _) => format!("{share} from {start} on"),
        (minutes, Curve::Linear) => format!("{share} at {start}, all in {minutes} min"),
        (minutes, Curve::Quadratic) => {
            format!("{share} at {start}, all in {minutes} min, slowly first")
        }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use nixctl_proto::feed::{Artifact, FORMAT, Product, Target, Timestamp};

    use super::*;

    #[test]
    fn a_feed_is_a_table() {
        let release = |version: &str, start_share: f64, minutes: u64, curve: Curve| Release {
            product: Product::Nix,
            version: version.parse().unwrap(),
            notes: String::new(),
            minimum_nixctld: None,
            halted: false,
            paused: false,
            rollout: Rollout {
                start: Timestamp::new(0),
                start_share,
                minutes,
                curve,
            },
            systems: BTreeMap::from([(
                "x86_64-linux".to_owned(),
                Artifact {
                    url: "https://a.example/x".to_owned(),
                    size: 1,
                    sha256: "a".repeat(64),
                },
            )]),
        };
        let mut halted = release("2.9.0", 1.0, 0, Curve::Linear);
        halted.halted = true;
        let target = Target {
            toplevel: "/nix/store/00000000000000000000000000000000-x".to_owned(),
            from: None,
        };
        let feed = Feed {
            format: FORMAT,
            channel: "stable".to_owned(),
            serial: 7,
            created: Timestamp::new(0),
            expires: Timestamp::new(86_400),
            releases: vec![
                halted,
                release("2.10.0", 1.0, 0, Curve::Linear),
                release("2.11.0", 0.125, 60, Curve::Quadratic),
            ],
            targets: BTreeMap::from([("web".to_owned(), target)]),
        };
        let lines = lines(&feed, "a-1", None);
        assert_eq!(lines[0], "channel stable, serial 7, signed by a-1");
        assert_eq!(
            lines[3..],
            [
                "PRODUCT  VERSION  ROLLOUT                                                      SYSTEMS",
                "nix      2.11.0   12.5 % at 1970-01-01T00:00:00Z, all in 60 min, slowly first  x86_64-linux",
                "nix      2.10.0   all from 1970-01-01T00:00:00Z on                             x86_64-linux",
                "nix      2.9.0    withdrawn                                                    x86_64-linux",
                "",
                "GROUP  TARGET",
                "web    /nix/store/00000000000000000000000000000000-x",
            ]
        );
    }
}

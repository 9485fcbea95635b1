use std::collections::BTreeMap;

use nixctl_proto::feed::{Artifact, Feed, newest_for};
use proptest::prelude::*;
use serde::Deserialize;

use super::*;

/// What every implementation must come to; made by one that is not this one.
const VECTORS: &str = include_str!("testdata/rollout.json");
const START: u64 = 1_795_300_000;
const MACHINES: usize = 10_000;

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Vectors {
    positions: Vec<Drawn>,
    shares: Vec<Shares>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Drawn {
    machine_id: Option<String>,
    id: String,
    channel: String,
    product: Product,
    version: Version,
    hash: String,
    // As text: reading JSON's numbers may lose their last bit.
    position: String,
    ephemeral: String,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Shares {
    rollout: Rollout,
    seconds_and_share: Vec<(i64, f64)>,
}

fn rollout(start_share: f64, minutes: u64, curve: Curve) -> Rollout {
    Rollout {
        start: Timestamp::new(START),
        start_share,
        minutes,
        curve,
    }
}

fn release(text: &str, rollout: Rollout) -> Release {
    let artifact = Artifact {
        url: "https://a.example/x".to_owned(),
        size: 1,
        sha256: "a".repeat(64),
    };
    Release {
        product: Product::Nix,
        version: version(text),
        notes: String::new(),
        minimum_nixctld: None,
        halted: false,
        paused: false,
        rollout,
        systems: BTreeMap::from([("x86_64-linux".to_owned(), artifact)]),
    }
}

fn version(text: &str) -> Version {
    text.parse().unwrap()
}

/// Machines whose ids were given out one after the other: the hash has to tell them apart.
fn machines() -> Vec<Machine> {
    let machine = |number: usize| Machine {
        id: MachineId::parse(&format!("{:032x}", number + 1)),
        ..Machine::default()
    };
    (0..MACHINES).map(machine).collect()
}

fn positions(text: &str) -> Vec<f64> {
    let version = version(text);
    let at = |machine: Machine| machine.position("stable", Product::Nix, &version).number();
    machines().into_iter().map(at).collect()
}

#[test]
fn positions_are_those_of_the_vectors() {
    let vectors: Vectors = serde_json::from_str(VECTORS).unwrap();
    assert!(vectors.positions.len() >= 20);
    for row in vectors.positions {
        let id = row
            .machine_id
            .as_deref()
            .map(|it| MachineId::parse(it).unwrap());
        let derived = id.as_ref().map(|id| id.for_use(ROLLOUT_ID));
        assert_eq!(derived.unwrap_or_default(), row.id);
        let first = u64::from_str_radix(&row.hash, 16).unwrap();
        let read = |text: &str| text.parse::<f64>().unwrap();
        for (is_ephemeral, expected) in [(false, read(&row.position)), (true, read(&row.ephemeral))]
        {
            let machine = Machine {
                id: id.clone(),
                is_ephemeral,
                wariness: None,
            };
            let position = machine.position(&row.channel, row.product, &row.version);
            assert_eq!(position.number(), expected, "{} {}", row.id, row.version);
        }
        assert!((read(&row.position) - first as f64 / 2f64.powi(64)).abs() < 1e-15);
    }
}

#[test]
fn shares_are_those_of_the_vectors() {
    let vectors: Vectors = serde_json::from_str(VECTORS).unwrap();
    assert!(vectors.shares.len() >= 7);
    for row in vectors.shares {
        for (seconds, expected) in row.seconds_and_share {
            let now = START.checked_add_signed(seconds).unwrap();
            let found = share(&row.rollout, now);
            let near = (found - expected).abs() < 1e-12;
            assert!(
                near,
                "{:?} at {seconds}: {found}, not {expected}",
                row.rollout
            );
        }
    }
}

#[test]
fn positions_are_uniform_for_each_release() {
    for release in ["2.34.8", "2.34.9", "2.35.0"] {
        let mut all = positions(release);
        all.sort_by(f64::total_cmp);
        // The largest distance from the share that is wanted, at any share (Kolmogorov-Smirnov).
        let farthest = all.iter().enumerate().fold(0f64, |farthest, (place, at)| {
            farthest.max((place as f64 / MACHINES as f64 - at).abs())
        });
        assert!(farthest <= 0.02, "{release}: {farthest}");
        // And evenly in tenths: 27.9 is exceeded by chance once in a thousand times.
        let mut tenths = [0u32; 10];
        for at in &all {
            tenths[(at * 10.0) as usize] += 1;
        }
        let expected = MACHINES as f64 / 10.0;
        let chi_square: f64 = tenths
            .iter()
            .map(|count| (f64::from(*count) - expected).powi(2) / expected)
            .sum();
        assert!(chi_square <= 27.9, "{release}: {chi_square}");
    }
}

#[test]
fn positions_are_independent_between_releases_and_channels() {
    let correlation = |a: &[f64], b: &[f64]| {
        let product: f64 = a.iter().zip(b).map(|(a, b)| (a - 0.5) * (b - 0.5)).sum();
        // The variance of what is uniform in [0, 1) is a twelfth.
        product / a.len() as f64 * 12.0
    };
    let first =
        |all: &[f64]| -> Vec<usize> { (0..all.len()).filter(|at| all[*at] < 0.05).collect() };
    let (a, b, c) = (
        positions("2.34.8"),
        positions("2.34.9"),
        positions("2.35.0"),
    );
    assert!(correlation(&a, &a) > 0.95);
    for (one, other) in [(&a, &b), (&b, &c), (&a, &c)] {
        let found = correlation(one, other);
        assert!(found.abs() <= 0.04, "{found}");
        // Of 500 that are among the first of the one, about 25 are of the other.
        let others = first(other);
        let both = first(one).iter().filter(|it| others.contains(it)).count();
        assert!((5..=50).contains(&both), "{both}");
    }
    let edge: Vec<f64> = machines()
        .iter()
        .map(|it| {
            it.position("edge", Product::Nix, &version("2.34.8"))
                .number()
        })
        .collect();
    assert!(correlation(&a, &edge).abs() <= 0.04);
}

#[test]
fn a_fleet_follows_the_curve_and_stops_when_told() {
    for curve in [Curve::Linear, Curve::Quadratic] {
        let mut release = release("2.34.8", rollout(0.05, 1000, curve));
        let at = positions("2.34.8");
        let admitted = |release: &Release, now: u64| {
            let is = |at: &&f64| admission(release, Position(**at), now).is_admitted();
            at.iter().filter(is).count() as f64 / MACHINES as f64
        };
        for minute in (0..=1000).step_by(50) {
            let now = START + minute * 60;
            let (is, wanted) = (admitted(&release, now), share(&release.rollout, now));
            assert!((is - wanted).abs() <= 0.02, "{minute}: {is}, not {wanted}");
        }
        assert_eq!(admitted(&release, START - 1), 0.0);
        assert_eq!(admitted(&release, START + 1000 * 60), 1.0);
        release.paused = true;
        assert_eq!(admitted(&release, START + 2000 * 60), 0.0);
        (release.paused, release.halted) = (false, true);
        assert_eq!(admitted(&release, START + 2000 * 60), 0.0);
    }
}

#[test]
fn all_and_none_are_meant_so() {
    let last = Position::chosen(1.0);
    assert!(last.number() < 1.0);
    for (start_share, position, is_admitted) in [
        (1.0, last, true),
        (1.0, Position::chosen(0.0), true),
        (0.0, Position::chosen(0.0), false),
        (0.5, Position::chosen(0.5), false),
        (0.5, Position::chosen(0.499), true),
    ] {
        let release = release("2.34.8", rollout(start_share, 0, Curve::Linear));
        let found = admission(&release, position, START);
        assert_eq!(
            found.is_admitted(),
            is_admitted,
            "{start_share} {position:?}"
        );
        if !is_admitted {
            assert!(matches!(
                found,
                Admission::Later {
                    about_when: None,
                    ..
                }
            ));
        }
    }
}

#[test]
fn reasons_are_said() {
    let mut release = release("2.34.8", rollout(0.0, 100, Curve::Linear));
    let at = |release: &Release, minute: u64| {
        admission(release, Position::chosen(0.5), START + minute * 60).to_string()
    };
    assert_eq!(
        at(&release, 25),
        "its turn has not come: 25.0 % of the machines may take it, and 50.0 % come before this \
         one, which may from 2026-11-21T23:16:41Z on"
    );
    assert!(at(&release, 75).starts_with("its turn has come: 75.0 %"));
    release.rollout.minutes = 0;
    assert!(at(&release, 25).ends_with("come before this one"));
    release.paused = true;
    assert_eq!(at(&release, 75), "it is held for the time being");
    release.halted = true;
    assert_eq!(at(&release, 75), "it was withdrawn");
}

#[test]
fn ephemeral_machines_come_first_unless_they_are_told_otherwise() {
    let version = version("2.34.8");
    let release = release("2.34.8", rollout(EPHEMERAL_PART, 0, Curve::Linear));
    for machine in machines().into_iter().take(200) {
        let at = |is_ephemeral, wariness| {
            let machine = Machine {
                is_ephemeral,
                wariness,
                ..machine.clone()
            };
            machine.position("stable", Product::Nix, &version)
        };
        assert!(admission(&release, at(true, None), START).is_admitted());
        assert!(at(true, None) < at(false, None));
        assert_eq!(at(true, Some(0.75)).number(), 0.75);
        assert_eq!(at(false, Some(0.0)).number(), 0.0);
    }
}

#[test]
fn while_one_is_rolled_out_the_one_before_is_offered() {
    let everybody = rollout(1.0, 0, Curve::Linear);
    let mut feed = Feed {
        format: nixctl_proto::feed::FORMAT,
        channel: "stable".to_owned(),
        serial: 1,
        created: Timestamp::new(START),
        expires: Timestamp::new(START + 1),
        releases: vec![
            release("2.34.8", everybody.clone()),
            release("2.35.0", rollout(0.0, 100, Curve::Linear)),
            release("2.34.7", everybody),
        ],
        targets: BTreeMap::new(),
    };
    let machine = Machine {
        wariness: Some(0.5),
        ..Machine::default()
    };
    let offered = |feed: &Feed, minute: u64| {
        let choice = newest_for(feed, Product::Nix, "x86_64-linux", &version("1.0"));
        let offer = offer(&choice, "stable", &machine, START + minute * 60);
        let version = offer.release.map(|it| it.version.to_string());
        (version, offer.decisions.len())
    };
    assert_eq!(offered(&feed, 10), (Some("2.34.8".to_owned()), 2));
    assert_eq!(offered(&feed, 60), (Some("2.35.0".to_owned()), 1));
    feed.releases[1].paused = true;
    assert_eq!(offered(&feed, 60), (Some("2.34.8".to_owned()), 2));
    feed.releases[0].paused = true;
    feed.releases[2].halted = true;
    assert_eq!(offered(&feed, 60), (None, 2));
}

fn any_rollout() -> impl Strategy<Value = Rollout> {
    let curve = prop_oneof![Just(Curve::Linear), Just(Curve::Quadratic)];
    (0.0f64..=1.0, 0u64..=600_000, curve)
        .prop_map(|(start_share, minutes, curve)| rollout(start_share, minutes, curve))
}

proptest! {
    #[test]
    fn shares_only_grow(rollout in any_rollout(), a in 0u64..40_000_000, b in 0u64..40_000_000) {
        let (a, b) = (a.min(b), a.max(b));
        let before = START - 1000;
        let (one, other) = (share(&rollout, before + a), share(&rollout, before + b));
        prop_assert!(one <= other, "{one} {other}");
        prop_assert!((0.0..=1.0).contains(&one) && (0.0..=1.0).contains(&other));
    }

    #[test]
    fn the_turn_is_when_it_is_said(rollout in any_rollout(), number in 0.0f64..=1.0) {
        let position = Position::chosen(number);
        let is_admitted = |now: u64| position.number() < share(&rollout, now);
        match turn(&rollout, position) {
            Some(when) => {
                prop_assert!(is_admitted(when));
                prop_assert!(!is_admitted(when - 3), "already before");
            }
            None => prop_assert!(!is_admitted(u64::MAX)),
        }
    }
}

//! Ten thousand machines and one publisher: each machine fetches the feed over HTTP, verifies it,
//! and decides by itself, as in the daemon; only the clock is told.
#![cfg(target_os = "linux")]
#![allow(clippy::unwrap_used)]

mod fleet;
mod hostile;
mod publisher;

use nixctl_proto::feed::{Curve, Release};

use fleet::{Fleet, Kind, Outcome};
use publisher::{Publisher, START};

/// Ordinary machines.
const MACHINES: usize = 10_000;
/// How far the share of those that were admitted may be from the curve.
const TOLERANCE: f64 = 0.02;
/// Of the rollouts here.
const MINUTES: u64 = 2880;
const START_SHARE: f64 = 0.05;

/// The moment at which this part of the rollout has passed.
fn moment(part: f64) -> u64 {
    START + (part * (MINUTES * 60) as f64) as u64
}

/// What `docs/feed.md` says of the share, written down once more.
fn curve(curve: Curve, part: f64) -> f64 {
    let grown = match curve {
        Curve::Linear => part,
        Curve::Quadratic => part.powi(2),
    };
    START_SHARE + (1.0 - START_SHARE) * grown.min(1.0)
}

#[track_caller]
fn follows(fleet: &Fleet, version: &str, kind: Curve, part: f64) {
    let share = fleet.have(version, Kind::Ordinary) as f64 / MACHINES as f64;
    let expected = curve(kind, part);
    println!("{version} at {part}: {share:.4}, the curve says {expected:.4}");
    assert!(
        (share - expected).abs() <= TOLERANCE,
        "{share} have {version} at {part}, and the curve says {expected}"
    );
}

fn release(version: &str, curve: Curve) -> Release {
    publisher::release(version, START_SHARE, MINUTES, curve)
}

#[test]
fn a_rollout_follows_its_curve_and_stops_when_it_is_told_to() {
    let mut publisher = Publisher::start();
    let mut fleet = Fleet::new(&publisher, MACHINES);
    let new = "2.34.8";
    let mut linear = release(new, Curve::Linear);

    publisher.publish(&[linear.clone()]);
    assert_eq!(
        fleet.at(START - 1, new),
        Outcome {
            upgraded: 0,
            refused: 0
        }
    );
    for part in [0.0, 0.5] {
        fleet.at(moment(part), new);
        follows(&fleet, new, Curve::Linear, part);
    }

    linear.paused = true;
    publisher.publish(&[linear.clone()]);
    assert_eq!(fleet.at(moment(0.7), new).upgraded, 0, "while it is paused");
    linear.paused = false;
    publisher.publish(&[linear.clone()]);
    fleet.at(moment(0.8), new);
    follows(&fleet, new, Curve::Linear, 0.8);

    linear.halted = true;
    publisher.publish(&[linear]);
    for part in [0.8, 1.5] {
        assert_eq!(
            fleet.at(moment(part), new).upgraded,
            0,
            "after it was halted"
        );
    }
    follows(&fleet, new, Curve::Linear, 0.8);
    let fetched = publisher.fetched();
    println!("{fetched} feeds were fetched and verified");
    assert!(fetched > 4 * MACHINES, "{fetched}");
}

#[test]
fn other_machines_are_the_first_ones_each_time() {
    let mut publisher = Publisher::start();
    let mut fleet = Fleet::new(&publisher, MACHINES);
    let mut first = Vec::new();
    for version in ["2.35.0", "2.35.1"] {
        publisher.publish(&[release(version, Curve::Quadratic)]);
        fleet.at(START, version);
        follows(&fleet, version, Curve::Quadratic, 0.0);
        first.push(fleet.who_has(version));
    }
    let both = first[0].intersection(&first[1]).count() as f64;
    // As for two independent draws; five standard deviations.
    let expected = (first[0].len() * first[1].len()) as f64 / MACHINES as f64;
    println!("{both} machines were first both times, {expected} are expected");
    assert!((both - expected).abs() < 5.0 * expected.sqrt(), "{both}");

    fleet.at(moment(0.7), "2.35.1");
    follows(&fleet, "2.35.1", Curve::Quadratic, 0.7);
}

#[test]
fn ephemeral_machines_go_first_and_the_wary_when_they_want() {
    let mut publisher = Publisher::start();
    let mut fleet = Fleet::new(&publisher, 0);
    fleet.add(Kind::Ephemeral, 400);
    for wariness in [0, 50, 100] {
        fleet.add(Kind::Wary(wariness), 10);
    }
    let new = "2.34.8";
    publisher.publish(&[release(new, Curve::Linear)]);
    // What part of each kind has it at each share.
    for (share, expected) in [
        (0.05, [0.5, 1.0, 0.0, 0.0]),
        (0.1, [1.0, 1.0, 0.0, 0.0]),
        (0.499, [1.0, 1.0, 0.0, 0.0]),
        (0.5, [1.0, 1.0, 1.0, 0.0]),
        (0.999, [1.0, 1.0, 1.0, 0.0]),
        (1.0, [1.0; 4]),
    ] {
        // A second later, as positions are below the share, not at it.
        fleet.at(moment((share - START_SHARE) / (1.0 - START_SHARE)) + 1, new);
        let kinds = [
            Kind::Ephemeral,
            Kind::Wary(0),
            Kind::Wary(50),
            Kind::Wary(100),
        ];
        for (kind, expected) in kinds.into_iter().zip(expected) {
            let part = fleet.have(new, kind) as f64 / fleet.count(kind) as f64;
            assert!(
                (part - expected).abs() < 0.06,
                "{kind:?} at {share}: {part}"
            );
        }
    }
}

//! What a believed feed means for this machine: pure.
//!
//! Only what is newer than the Nix that is there counts. The newest of that whose turn has come is
//! offered; when there is none, the newest of it is what is waited for, with the reason.

use std::cmp::Ordering;

use nixctl_proto::feed::{Choice, Feed, LeftOut, Product, Release, Version, compare, newest_for};
use nixctl_proto::request::InstallRequest;
use serde::{Deserialize, Serialize};

use super::rollout::{self, Admission, Machine};

/// A release that this machine may take now.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Offered {
    /// Its version.
    pub version: String,
    /// Where its archive for this machine is.
    pub url: String,
    /// SHA-256 of that.
    pub sha256: String,
    /// What is new, for people; may be empty.
    pub notes: String,
}

impl Offered {
    /// The release that it is, as an install would ask for it.
    pub fn wanted(&self) -> InstallRequest {
        InstallRequest {
            version: Some(self.version.clone()),
            source: Some(self.url.clone()),
            sha256: Some(self.sha256.clone()),
            ..InstallRequest::default()
        }
    }
}

/// A newer release that this machine may not take now.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Waiting {
    /// Its version.
    pub version: String,
    /// Why not.
    pub why: String,
    /// Whether it was withdrawn.
    pub is_halted: bool,
}

/// What a feed means for this machine.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Standing {
    /// What may be taken.
    pub offered: Option<Offered>,
    /// The newest that may not, where nothing may.
    pub waiting: Option<Waiting>,
    /// This machine's place in the rollout of the newest, and the share that has been reached.
    pub place: Option<(f64, f64)>,
    /// What may be taken of nixctl itself, where a newer Nix than the one offered needs it first.
    pub first: Option<Offered>,
}

/// Which machine it is.
#[derive(Debug, Clone, Default)]
pub struct Here {
    /// Its place among the others.
    pub machine: Machine,
    /// Its system, such as `x86_64-linux`.
    pub system: String,
    /// Version of its Nix; empty: it has none, and nothing is newer.
    pub nix: String,
    /// Version of its daemon.
    pub nixctld: String,
}

/// What the feed means here at that time, in seconds since 1970. One that has expired meanwhile
/// means nothing.
pub fn standing(feed: &Feed, here: &Here, now: u64) -> Standing {
    let Ok(nixctld) = here.nixctld.parse::<Version>() else {
        return Standing::default();
    };
    if here.nix.is_empty() || now >= feed.expires.seconds() {
        return Standing::default();
    }
    let is_newer =
        |release: &Release| compare(release.version.as_str(), &here.nix) == Ordering::Greater;
    let choice = newest_for(feed, Product::Nix, &here.system, &nixctld);
    let offer = rollout::offer(&choice, &feed.channel, &here.machine, now);
    let newer = offer.decisions.iter().filter(|(it, _)| is_newer(it));
    let newer: Vec<&(&Release, Admission)> = newer.collect();
    let offered = offer.release.filter(|it| is_newer(it));
    let offered = offered.and_then(|it| offered_to(it, &here.system));
    let left_out = choice.left_out.iter().filter(|(it, _)| is_newer(it));
    let waiting = match (&offered, newer.first()) {
        (Some(_), _) => None,
        (None, Some((release, admission))) => Some(Waiting {
            version: release.version.to_string(),
            why: admission.to_string(),
            is_halted: *admission == Admission::Halted,
        }),
        (None, None) => left_out
            .filter(|(_, why)| !matches!(why, LeftOut::NotForSystem { .. }))
            .max_by(|(a, _), (b, _)| a.version.compare(&b.version))
            .map(|(release, why)| Waiting {
                version: release.version.to_string(),
                why: why.to_string(),
                is_halted: *why == LeftOut::Halted,
            }),
    };
    let place = newer.first().and_then(|(_, admission)| match admission {
        Admission::Admitted { position, share }
        | Admission::Later {
            position, share, ..
        } => Some((position.number(), *share)),
        Admission::Halted | Admission::Paused => None,
    });
    let first = first(feed, here, &choice, offered.as_ref(), now);
    Standing {
        offered,
        waiting,
        place,
        first,
    }
}

/// The nixctl that has to come first: the newest Nix that could be taken with it, and is not there,
/// needs it.
fn first(
    feed: &Feed,
    here: &Here,
    choice: &Choice<'_>,
    offered: Option<&Offered>,
    now: u64,
) -> Option<Offered> {
    let there = offered.map_or(&here.nix, |it| &it.version);
    let needs = choice
        .left_out
        .iter()
        .filter_map(|(release, why)| match why {
            LeftOut::NeedsNixctld { minimum } => Some((&release.version, minimum)),
            _ => None,
        });
    let newer = needs.filter(|(version, _)| compare(version.as_str(), there) == Ordering::Greater);
    let (_, minimum) = newer.max_by(|(a, _), (b, _)| a.compare(b))?;
    let own = of_nixctl(feed, here, None, now).ok()?;
    let is_enough = compare(&own.version, minimum.as_str()) != Ordering::Less;
    is_enough.then_some(own)
}

/// What the feed has of nixctl itself for this machine: the version that is named, else the newest
/// whose turn has come; else why there is none. `now` as for [`standing`].
pub fn of_nixctl(
    feed: &Feed,
    here: &Here,
    named: Option<&str>,
    now: u64,
) -> Result<Offered, String> {
    let nothing = || "the release feed has nothing newer".to_owned();
    if now >= feed.expires.seconds() {
        return Err("the release feed has expired".to_owned());
    }
    let own: Version = here.nixctld.parse().map_err(|_| nothing())?;
    let choice = newest_for(feed, Product::Nixctl, &here.system, &own);
    if let Some(named) = named {
        let is_it = |release: &&&Release| release.version.as_str() == named;
        let why = || {
            let version = named.parse::<Version>().ok();
            let why = version.and_then(|version| choice.why_not(&version));
            why.unwrap_or_else(|| "the feed does not have it".to_owned())
        };
        let release = choice.usable.iter().find(is_it).ok_or_else(why)?;
        return offered_to(release, &here.system).ok_or_else(nothing);
    }
    let is_newer = |release: &&Release| own.is_older_than(&release.version);
    let offer = rollout::offer(&choice, &feed.channel, &here.machine, now);
    let offered = offer.release.filter(is_newer);
    if let Some(offered) = offered.and_then(|it| offered_to(it, &here.system)) {
        return Ok(offered);
    }
    let mut waiting = offer.decisions.iter().filter(|(it, _)| is_newer(it));
    match waiting.next() {
        Some((release, why)) => Err(format!("nixctl {}: {why}", release.version)),
        None => Err(nothing()),
    }
}

fn offered_to(release: &Release, system: &str) -> Option<Offered> {
    let artifact = release.artifact(system)?;
    Some(Offered {
        version: release.version.to_string(),
        url: artifact.url.clone(),
        sha256: artifact.sha256.clone(),
        notes: release.notes.clone(),
    })
}

#[cfg(test)]
pub(crate) mod testing {
    use std::collections::BTreeMap;

    use nixctl_proto::date::Timestamp;
    use nixctl_proto::feed::{Artifact, FORMAT, Rollout};

    use super::*;

    /// A moment within the time of [`feed`], in seconds since 1970.
    pub const NOW: u64 = 1_700_000_000;

    /// A release of Nix that such a share of the machines may take, for [`here`].
    pub fn release(version: &str, share: f64) -> Release {
        let artifact = Artifact {
            url: format!("https://a.example/nix-{version}-x86_64-linux.tar.xz"),
            size: 1,
            sha256: "ab".repeat(32),
        };
        Release {
            product: Product::Nix,
            version: version.parse().unwrap(),
            notes: "Faster.".to_owned(),
            minimum_nixctld: None,
            halted: false,
            paused: false,
            rollout: Rollout {
                start: Timestamp::new(NOW - 60),
                start_share: share,
                minutes: 0,
                curve: Default::default(),
            },
            systems: BTreeMap::from([("x86_64-linux".to_owned(), artifact)]),
        }
    }

    /// A feed of these.
    pub fn feed(serial: u64, releases: Vec<Release>) -> Feed {
        Feed {
            format: FORMAT,
            channel: "stable".to_owned(),
            serial,
            created: Timestamp::new(NOW - 60),
            expires: Timestamp::new(NOW + 86_400),
            releases,
            targets: BTreeMap::new(),
        }
    }

    /// A machine in the middle of all.
    pub fn here() -> Here {
        Here {
            machine: Machine {
                wariness: Some(0.5),
                ..Machine::default()
            },
            system: "x86_64-linux".to_owned(),
            nix: "2.26.3".to_owned(),
            nixctld: "0.1.0".to_owned(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::testing::{NOW, feed, here, release};
    use super::*;

    fn at(releases: Vec<Release>) -> Standing {
        standing(&feed(1, releases), &here(), NOW)
    }

    fn halted(version: &str) -> Release {
        Release {
            halted: true,
            ..release(version, 1.0)
        }
    }

    #[test]
    fn what_is_newer_and_admitted_is_offered() {
        let both = at(vec![release("2.30.0", 1.0), release("2.34.8", 1.0)]);
        assert_eq!(both.offered.unwrap().version, "2.34.8");
        assert_eq!((both.waiting, both.place), (None, Some((0.5, 1.0))));
        // The one before it, for those that wait.
        let one = at(vec![release("2.30.0", 1.0), release("2.34.8", 0.4)]);
        assert_eq!(one.offered.unwrap().version, "2.30.0");
        assert_eq!(one.place, Some((0.5, 0.4)));
    }

    #[test]
    fn what_is_there_or_older_is_never_offered() {
        for version in ["2.26.3", "2.20.1"] {
            assert_eq!(at(vec![release(version, 1.0)]), Standing::default());
        }
        let none = Here {
            nix: String::new(),
            ..here()
        };
        let feed = feed(1, vec![release("2.34.8", 1.0)]);
        assert_eq!(standing(&feed, &none, NOW), Standing::default());
    }

    #[test]
    fn what_is_waited_for_has_a_reason() {
        let later = at(vec![release("2.34.8", 0.4), release("2.20.1", 1.0)]);
        let waiting = later.waiting.unwrap();
        assert!(waiting.why.contains("its turn has not come"), "{waiting:?}");
        assert!(!waiting.is_halted && later.offered.is_none());
        let halted_one = at(vec![halted("2.34.8"), halted("2.20.1")]);
        let waiting = halted_one.waiting.unwrap();
        assert_eq!(
            (waiting.version.as_str(), waiting.is_halted),
            ("2.34.8", true)
        );
        let needs = Release {
            minimum_nixctld: Some("9.0".parse().unwrap()),
            ..release("2.34.8", 1.0)
        };
        assert_eq!(at(vec![needs]).waiting.unwrap().why, "it needs nixctld 9.0");
    }

    #[test]
    fn a_halted_release_is_not_offered_and_the_one_before_it_is() {
        let standing = at(vec![halted("2.34.8"), release("2.30.0", 1.0)]);
        assert_eq!(standing.offered.unwrap().version, "2.30.0");
    }

    #[test]
    fn nixctl_is_offered_by_its_own_versions() {
        let own = |version: &str, share: f64| Release {
            product: Product::Nixctl,
            ..release(version, share)
        };
        let all = feed(
            1,
            vec![
                release("2.34.8", 1.0),
                own("0.1.0", 1.0),
                own("0.2.0", 1.0),
                own("0.3.0", 0.4),
            ],
        );
        let of = |named, now| of_nixctl(&all, &here(), named, now);
        assert_eq!(of(None, NOW).unwrap().version, "0.2.0");
        // Who names one has it before its turn.
        assert_eq!(of(Some("0.3.0"), NOW).unwrap().version, "0.3.0");
        assert!(
            of(Some("2.34.8"), NOW)
                .unwrap_err()
                .contains("does not have it")
        );
        assert!(of(None, all.expires.seconds()).is_err());
        let later = feed(1, vec![own("0.3.0", 0.4)]);
        let why = of_nixctl(&later, &here(), None, NOW).unwrap_err();
        assert!(why.contains("0.3.0") && why.contains("turn"), "{why}");
        let old = feed(1, vec![own("0.0.9", 1.0)]);
        assert!(of_nixctl(&old, &here(), None, NOW).is_err());
    }

    #[test]
    fn the_nixctl_that_a_newer_nix_needs_comes_first() {
        let own = |version: &str, share: f64| Release {
            product: Product::Nixctl,
            ..release(version, share)
        };
        let needs = |version: &str, minimum: &str| Release {
            minimum_nixctld: Some(minimum.parse().unwrap()),
            ..release(version, 1.0)
        };
        let first = |releases: Vec<Release>| at(releases).first.map(|it| it.version);
        let nixctl = Some("0.2.0".to_owned());
        assert_eq!(
            first(vec![needs("2.34.8", "0.2.0"), own("0.2.0", 1.0)]),
            nixctl
        );
        let both = vec![
            release("2.30.0", 1.0),
            needs("2.34.8", "0.2.0"),
            own("0.2.0", 1.0),
        ];
        assert_eq!(at(both.clone()).offered.unwrap().version, "2.30.0");
        assert_eq!(first(both), nixctl);
        for none in [
            // Nothing asks for it, it is not enough, and its turn has not come.
            vec![release("2.34.8", 1.0), own("0.2.0", 1.0)],
            vec![needs("2.20.1", "0.2.0"), own("0.2.0", 1.0)],
            vec![
                release("2.34.8", 1.0),
                needs("2.30.0", "0.2.0"),
                own("0.2.0", 1.0),
            ],
            vec![needs("2.34.8", "0.3.0"), own("0.2.0", 1.0)],
            vec![needs("2.34.8", "0.2.0"), own("0.2.0", 0.4)],
        ] {
            assert_eq!(first(none), None);
        }
    }

    #[test]
    fn a_feed_that_has_expired_meanwhile_offers_nothing() {
        let feed = feed(1, vec![release("2.34.8", 1.0)]);
        let end = feed.expires.seconds();
        assert!(standing(&feed, &here(), end - 1).offered.is_some());
        assert_eq!(standing(&feed, &here(), end), Standing::default());
    }
}

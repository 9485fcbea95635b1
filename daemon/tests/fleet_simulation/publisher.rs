//! Who publishes the feed: on plain static hosting, which is the lab's server.

use std::collections::BTreeMap;

use nixctl_lab::server::Server;
use nixctl_proto::date::Timestamp;
use nixctl_proto::feed::{
    Artifact, Curve, Envelope, FORMAT, Feed, Product, Release, Rollout, SecretKey,
};

/// When rollouts begin, in seconds since 1970.
pub const START: u64 = 1_795_300_000;
/// What every machine can run.
pub const SYSTEM: &str = "x86_64-linux";
/// Where the feed is.
const PATH: &str = "/stable.json";

/// A publisher.
pub struct Publisher {
    pub server: Server,
    pub key: SecretKey,
    serial: u64,
}

/// A release of Nix with such a rollout.
pub fn release(version: &str, start_share: f64, minutes: u64, curve: Curve) -> Release {
    let artifact = Artifact {
        url: format!("https://releases.example/nix-{version}-{SYSTEM}.tar.xz"),
        size: 1,
        sha256: "ab".repeat(32),
    };
    Release {
        product: Product::Nix,
        version: version.parse().unwrap(),
        notes: String::new(),
        minimum_nixctld: None,
        halted: false,
        paused: false,
        rollout: Rollout {
            start: Timestamp::new(START),
            start_share,
            minutes,
            curve,
        },
        systems: BTreeMap::from([(SYSTEM.to_owned(), artifact)]),
    }
}

impl Publisher {
    pub fn start() -> Publisher {
        Publisher {
            server: Server::start(None, 0).unwrap(),
            key: SecretKey::generate("fleet-1").unwrap(),
            serial: 0,
        }
    }

    /// Where the feed is.
    pub fn url(&self) -> String {
        format!("{}{PATH}", self.server.url())
    }

    /// A feed with these releases.
    pub fn feed(&self, releases: &[Release]) -> Feed {
        Feed {
            format: FORMAT,
            channel: "stable".to_owned(),
            serial: self.serial,
            created: Timestamp::new(START - 3600),
            expires: Timestamp::new(START + 30 * 86_400),
            releases: releases.to_vec(),
            targets: BTreeMap::new(),
        }
    }

    /// The file that is published of it.
    pub fn signed(&self, payload: &str) -> Vec<u8> {
        let mut envelope = Envelope::unsigned(payload).unwrap();
        envelope.sign(&self.key);
        envelope.to_text().into_bytes()
    }

    /// Publishes these releases, and nothing else, from now on.
    pub fn publish(&mut self, releases: &[Release]) {
        self.serial += 1;
        let file = self.signed(&self.feed(releases).to_text());
        self.server.put(PATH, file);
    }

    /// How often the feed was fetched.
    pub fn fetched(&self) -> usize {
        let requests = self.server.requests();
        let served = requests
            .iter()
            .filter(|it| it.path == PATH && it.status == 200);
        served.count()
    }
}

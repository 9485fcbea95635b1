//! A feed to change in tests, and keys to sign it with.

use std::collections::BTreeMap;

use super::*;

/// A moment within the time of [`feed`].
pub const NOW: u64 = 1_795_300_000;

/// The same key for the same number.
pub fn key(name: &str, number: u8) -> SecretKey {
    SecretKey::from_seed(name.to_owned(), [number; 32]).unwrap()
}

/// A release of Nix for two systems.
pub fn release(version: &str) -> Release {
    let artifact = |system: &str, digit: &str| {
        let artifact = Artifact {
            url: format!("https://releases.example/nix-{version}-{system}.tar.xz"),
            size: 24_000_000,
            sha256: digit.repeat(64),
        };
        (system.to_owned(), artifact)
    };
    Release {
        product: Product::Nix,
        version: version.parse().unwrap(),
        notes: "Faster evaluation.".to_owned(),
        minimum_nixctld: None,
        halted: false,
        paused: false,
        rollout: Rollout {
            start: Timestamp::new(NOW),
            start_share: 0.05,
            minutes: 2880,
            curve: Curve::Quadratic,
        },
        systems: BTreeMap::from([
            artifact("x86_64-linux", "a"),
            artifact("aarch64-linux", "b"),
        ]),
    }
}

/// A feed that keeps every rule.
pub fn feed() -> Feed {
    let target = Target {
        toplevel: "/nix/store/00000000000000000000000000000000-nixos-system-web-26.11".to_owned(),
        from: Some("https://cache.example".to_owned()),
    };
    Feed {
        format: FORMAT,
        channel: "stable".to_owned(),
        serial: 41,
        created: Timestamp::new(NOW - 3600),
        expires: Timestamp::new(NOW + 30 * 86_400),
        releases: vec![release("2.34.8")],
        targets: BTreeMap::from([("web".to_owned(), target)]),
    }
}

/// A feed as it is published, signed by `test-1`.
pub fn published(feed: &Feed) -> Vec<u8> {
    let mut envelope = Envelope::unsigned(&feed.to_text()).unwrap();
    envelope.sign(&key("test-1", 1));
    envelope.to_text().into_bytes()
}

/// What a machine believes that follows `stable` and has seen nothing yet.
pub fn trust(keys: &[PublicKey]) -> Trust<'_> {
    Trust {
        keys,
        channel: Some("stable"),
        last_serial: 0,
        now: NOW,
    }
}

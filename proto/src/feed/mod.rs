//! The release feed: a signed document that says which releases there are, where they lie, and
//! which share of the machines may take them by when. Any web server that gives out files can
//! publish it. `docs/feed.md` describes it for whoever does.
//!
//! What is published is an [`Envelope`]: the text of the [`Feed`] and the signatures of exactly
//! these bytes, in one file, so that the two are never of two moments. [`verify`] looks at the
//! signature before it reads anything of the feed; a [`Feed`] that it gives has also passed every
//! rule of [`Feed::check`].

mod choice;
mod envelope;
mod error;
mod key;
mod read;
mod rules;
mod unique;
mod version;

#[cfg(test)]
mod hostile_tests;
#[cfg(test)]
mod testing;

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

pub use crate::date::Timestamp;
pub use choice::{Choice, LeftOut, newest_for};
pub use envelope::{CLOCK_TOLERANCE_SECONDS, Envelope, MAX_SIGNATURES, Trust, verify};
pub use error::FeedError;
pub use key::{KeyError, PublicKey, SecretKey};
pub use rules::{MAX_NUMBER, MAX_ROLLOUT_MINUTES, is_name, is_system, is_web_url};
pub use version::{Version, VersionError, compare};

/// The form of feed that is read and written here.
pub const FORMAT: u32 = 1;
/// Largest file that is looked at, far beyond any real feed.
pub const MAX_BYTES: usize = 1 << 20;

/// What a publisher says about releases, at one moment.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Feed {
    /// The form of this document: [`FORMAT`].
    pub format: u32,
    /// Which line of releases this is, such as `stable`.
    pub channel: String,
    /// Rises with every change: a machine never goes back to a lower one.
    pub serial: u64,
    /// When this was made.
    pub created: Timestamp,
    /// Until when it may be believed.
    pub expires: Timestamp,
    /// The releases, in any order.
    #[serde(default)]
    pub releases: Vec<Release>,
    /// For `[system] follow`: the generation that each group of hosts should run.
    #[serde(default, deserialize_with = "unique::map")]
    pub targets: BTreeMap<String, Target>,
}

/// One version of one product.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Release {
    /// What it is a release of.
    pub product: Product,
    /// Its version.
    pub version: Version,
    /// What is new, for people; may be empty.
    #[serde(default)]
    pub notes: String,
    /// The oldest nixctld that can take it; `None`: any.
    #[serde(default)]
    pub minimum_nixctld: Option<Version>,
    /// Withdrawn: no machine takes it any more.
    #[serde(default)]
    pub halted: bool,
    /// Held for the time being: no machine takes it until this is false again.
    #[serde(default)]
    pub paused: bool,
    /// Which share of the machines may take it by when.
    pub rollout: Rollout,
    /// Its archive for each system, such as `x86_64-linux`.
    #[serde(deserialize_with = "unique::map")]
    pub systems: BTreeMap<String, Artifact>,
}

/// What there are releases of.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Product {
    /// Nix itself.
    Nix,
    /// nixctl and nixctld.
    Nixctl,
}

impl Product {
    /// Its name, as in the feed.
    pub fn as_str(self) -> &'static str {
        match self {
            Product::Nix => "nix",
            Product::Nixctl => "nixctl",
        }
    }
}

impl std::fmt::Display for Product {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.as_str())
    }
}

/// Which share of the machines may take a release by when: none before `start`, then
/// `start_share`, which grows to all of them within `minutes`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Rollout {
    /// Before this nobody takes it.
    pub start: Timestamp,
    /// The share that may take it at once, from 0 to 1.
    pub start_share: f64,
    /// Minutes from the start until everybody may; 0: the share stays as it is.
    pub minutes: u64,
    /// How the share grows.
    #[serde(default)]
    pub curve: Curve,
}

/// How a share grows with time.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Curve {
    /// By the same amount each minute.
    #[default]
    Linear,
    /// With the square of the time: slowly first, so that a quarter has gone when half of the time
    /// has.
    Quadratic,
}

/// A file on a web server, and how it is recognised.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Artifact {
    /// Its http or https URL; the hash makes plain http no danger.
    pub url: String,
    /// Its size in bytes.
    pub size: u64,
    /// Its SHA-256, 64 lower case hexadecimal digits.
    pub sha256: String,
}

/// A generation for a group of hosts.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Target {
    /// Its store path.
    pub toplevel: String,
    /// http or https URL of the binary cache that has it; `None`: one of those of the machine.
    #[serde(default)]
    pub from: Option<String>,
}

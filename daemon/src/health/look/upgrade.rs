//! What is known of the release feed; the engine knows it.

use nixctl_proto::Code;
use serde::{Deserialize, Serialize};

/// What is known of the feed, and of what it offers.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct FeedFacts {
    /// Where it is, without a password; empty: there is none.
    pub feed: String,
    /// The newer version of Nix whose turn has come, with what is new in it.
    pub offered: Option<(String, String)>,
    /// Version that is there.
    pub current: String,
    /// Why it is not gone by.
    pub trouble: Option<Trouble>,
    /// Now, in milliseconds since 1970.
    pub now: u64,
    /// What is known of the feed that the system follows.
    pub follow: FollowFacts,
}

/// What is known of the feed that names a generation for this machine.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct FollowFacts {
    /// Where it is, without a password; empty: there is none, or it is the one of releases.
    pub feed: String,
    /// Why it is not gone by.
    pub trouble: Option<Trouble>,
    /// The group of this machine.
    pub group: String,
    /// Why the machine does not get by itself to what is named.
    pub blocked: Option<String>,
}

/// Why the feed is not gone by.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Trouble {
    /// What kind of trouble.
    pub code: Code,
    /// In words.
    pub message: String,
    /// Since when, in milliseconds since 1970.
    pub since: u64,
}

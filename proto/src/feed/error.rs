//! Why a feed is not believed.

use crate::date::Timestamp;
use crate::{Code, Failure};

/// Why a feed is not believed.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum FeedError {
    /// More bytes than any real feed has.
    #[error("cannot read the feed: it is larger than {limit} bytes")]
    TooLarge {
        /// Bytes that are looked at.
        limit: usize,
    },
    /// No JSON, not of the documented form, or with values that make no sense.
    #[error("cannot read the feed: {why}")]
    Malformed {
        /// Where and what.
        why: String,
    },
    /// A form that is not known here.
    #[error("cannot read the feed: it has form {found}, and this nixctl knows {known}")]
    WrongFormat {
        /// Its form.
        found: u32,
        /// Ours.
        known: u32,
    },
    /// Another channel's.
    #[error("cannot use the feed: it is that of the channel `{found}`, not of `{expected}`")]
    WrongChannel {
        /// Its channel.
        found: String,
        /// The channel of the settings.
        expected: String,
    },
    /// Nobody signed it whom the settings name.
    #[error("cannot trust the feed: {}", by_whom(.signers))]
    NoKnownKey {
        /// Names of the keys that signed it.
        signers: Vec<String>,
    },
    /// Signed under the name of a known key, but not by it, or not these bytes.
    #[error("cannot trust the feed: the signature by `{key}` is not one of these bytes")]
    BadSignature {
        /// Name of the key.
        key: String,
    },
    /// Too old to be believed.
    #[error("cannot use the feed: it expired at {expires}, and it is {now}")]
    Expired {
        /// Its end.
        expires: Timestamp,
        /// The machine's time.
        now: Timestamp,
    },
    /// From the future, by the machine's clock.
    #[error("cannot use the feed: it was made at {created}, and the machine's clock says {now}")]
    NotYetValid {
        /// When it was made.
        created: Timestamp,
        /// The machine's time.
        now: Timestamp,
    },
    /// An older one than was seen before.
    #[error("cannot use the feed: it has serial {serial}, and serial {seen} was seen before")]
    Replayed {
        /// Its serial.
        serial: u64,
        /// The highest that was seen.
        seen: u64,
    },
}

impl FeedError {
    /// A malformed feed.
    pub(super) fn malformed(why: impl Into<String>) -> FeedError {
        FeedError::Malformed { why: why.into() }
    }

    /// Code for people and programs.
    pub fn code(&self) -> Code {
        match self {
            FeedError::TooLarge { .. }
            | FeedError::Malformed { .. }
            | FeedError::WrongFormat { .. }
            | FeedError::WrongChannel { .. } => Code::FeedMalformed,
            FeedError::NoKnownKey { .. } | FeedError::BadSignature { .. } => Code::FeedUntrusted,
            FeedError::Expired { .. }
            | FeedError::NotYetValid { .. }
            | FeedError::Replayed { .. } => Code::FeedStale,
        }
    }

    /// The same for people, with what helps.
    pub fn failure(&self) -> Failure {
        let failure = Failure::from_error(self.code(), self);
        match self {
            FeedError::WrongFormat { .. } => failure.with_help("update nixctl"),
            FeedError::NotYetValid { .. } => {
                failure.with_help("set the clock (timedatectl set-ntp true)")
            }
            _ => failure,
        }
    }
}

fn by_whom(signers: &[String]) -> String {
    match signers {
        [] => "nobody signed it".to_owned(),
        names => format!("it is signed by {}, which is not trusted", names.join(", ")),
    }
}

//! The file that is published: the text of a feed and its signatures in one, so that a server that
//! replaces files one by one never shows the one with the other's. A signature is one of
//! [`PREFIX`] and exactly the bytes of the text, so that it can never be taken for one of something
//! else, a store path say, by the same key.

use serde::{Deserialize, Serialize};

use super::key::{self, PublicKey, SecretKey};
use super::{Feed, FeedError, MAX_BYTES};
use crate::date::Timestamp;

/// What is signed before the text of the feed.
const PREFIX: &str = "nixctl-feed-v1\n";
/// More signatures than any real feed has.
pub const MAX_SIGNATURES: usize = 16;
/// How far a machine's clock may be behind that of the publisher.
pub const CLOCK_TOLERANCE_SECONDS: u64 = 600;

/// A feed with its signatures, as it is published.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Envelope {
    payload: String,
    signatures: Vec<String>,
}

/// Whom and what to believe.
#[derive(Debug, Clone, Copy)]
pub struct Trust<'a> {
    /// One of these must have signed it.
    pub keys: &'a [PublicKey],
    /// The channel that it must be of; `None`: any.
    pub channel: Option<&'a str>,
    /// The highest serial that was seen; 0: none was.
    pub last_serial: u64,
    /// The time, in seconds since 1970.
    pub now: u64,
}

/// Reads the file that is published, and believes what it says, or says why not. The signature is
/// looked at before anything of the text is read.
///
/// # Errors
/// See [`FeedError`]; each of its variants can come of it.
pub fn verify(file: &[u8], trust: &Trust<'_>) -> Result<Feed, FeedError> {
    let envelope = Envelope::parse(file)?;
    envelope.signed_by(trust.keys)?;
    let feed = Feed::parse(&envelope.payload)?;
    if let Some(expected) = trust.channel.filter(|it| *it != feed.channel) {
        return Err(FeedError::WrongChannel {
            found: feed.channel,
            expected: expected.to_owned(),
        });
    }
    in_its_time(&feed, trust)?;
    Ok(feed)
}

fn in_its_time(feed: &Feed, trust: &Trust<'_>) -> Result<(), FeedError> {
    let now = Timestamp::new(trust.now);
    let latest = trust.now.saturating_add(CLOCK_TOLERANCE_SECONDS);
    if feed.created.seconds() > latest {
        let created = feed.created;
        return Err(FeedError::NotYetValid { created, now });
    }
    if feed.expires <= now {
        let expires = feed.expires;
        return Err(FeedError::Expired { expires, now });
    }
    if feed.serial < trust.last_serial {
        return Err(FeedError::Replayed {
            serial: feed.serial,
            seen: trust.last_serial,
        });
    }
    Ok(())
}

impl Envelope {
    /// A feed that nobody signed yet. Its text is kept byte for byte.
    ///
    /// # Errors
    /// When it is no feed that keeps the rules, or too large to be published.
    pub fn unsigned(text: &str) -> Result<Envelope, FeedError> {
        Feed::parse(text)?;
        let envelope = Envelope {
            payload: text.to_owned(),
            signatures: Vec::new(),
        };
        // Signatures and quotes have room as well.
        if envelope.to_text().len() > MAX_BYTES * 9 / 10 {
            return Err(FeedError::TooLarge { limit: MAX_BYTES });
        }
        Ok(envelope)
    }

    /// Reads a published file, without believing anything of it.
    ///
    /// # Errors
    /// [`FeedError::TooLarge`] or [`FeedError::Malformed`].
    pub fn parse(file: &[u8]) -> Result<Envelope, FeedError> {
        if file.len() > MAX_BYTES {
            return Err(FeedError::TooLarge { limit: MAX_BYTES });
        }
        let envelope: Envelope = serde_json::from_slice(file)
            .map_err(|error| FeedError::malformed(format!("its envelope: {error}")))?;
        if envelope.signatures.len() > MAX_SIGNATURES {
            let why = format!("it has more than {MAX_SIGNATURES} signatures");
            return Err(FeedError::malformed(why));
        }
        Ok(envelope)
    }

    /// The text of the feed.
    pub fn payload(&self) -> &str {
        &self.payload
    }

    /// Names of the keys that signed it, as far as they can be read.
    pub fn signers(&self) -> Vec<String> {
        let readable = self.signatures.iter().filter_map(|it| key::signature(it));
        readable.map(|(name, _)| name).collect()
    }

    /// Adds a signature, in the place of one by a key of that name.
    pub fn sign(&mut self, key: &SecretKey) {
        let start = format!("{}:", key.name());
        self.signatures.retain(|it| !it.starts_with(&start));
        self.signatures.push(key.sign(&signed_bytes(&self.payload)));
    }

    /// The file that is published.
    pub fn to_text(&self) -> String {
        // Two plain fields: this cannot fail; a test reads it back.
        let text = serde_json::to_string_pretty(self).unwrap_or_default();
        text + "\n"
    }

    /// Whether one of these keys signed exactly this text; its name.
    ///
    /// # Errors
    /// [`FeedError::NoKnownKey`] or [`FeedError::BadSignature`].
    pub fn signed_by<'k>(&self, keys: &'k [PublicKey]) -> Result<&'k str, FeedError> {
        let message = signed_bytes(&self.payload);
        let mut claimed = None;
        for text in &self.signatures {
            let Some((name, _)) = text.split_once(':') else {
                continue;
            };
            for key in keys.iter().filter(|key| key.name() == name) {
                let bytes = key::signature(text).map(|(_, bytes)| bytes);
                if bytes.is_some_and(|bytes| key.signed(&message, &bytes)) {
                    return Ok(key.name());
                }
                claimed = Some(key.name());
            }
        }
        Err(match claimed {
            Some(key) => FeedError::BadSignature {
                key: key.to_owned(),
            },
            None => FeedError::NoKnownKey {
                signers: self.signers(),
            },
        })
    }
}

fn signed_bytes(payload: &str) -> Vec<u8> {
    [PREFIX.as_bytes(), payload.as_bytes()].concat()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::super::testing::{NOW, feed, key, published, trust};
    use super::*;

    #[test]
    fn what_is_signed_is_believed() {
        let keys = [key("other-1", 2).public(), key("test-1", 1).public()];
        assert_eq!(verify(&published(&feed()), &trust(&keys)), Ok(feed()));
    }

    /// Keys are exchanged by publishing with both for a while.
    #[test]
    fn one_of_several_signatures_is_enough() {
        let mut envelope = Envelope::unsigned(&feed().to_text()).unwrap();
        for signer in [key("old-1", 1), key("new-1", 2), key("old-1", 1)] {
            envelope.sign(&signer);
        }
        assert_eq!(envelope.signers(), ["new-1", "old-1"]);
        let file = envelope.to_text();
        for known in [key("old-1", 1), key("new-1", 2)] {
            let keys = [known.public()];
            assert_eq!(verify(file.as_bytes(), &trust(&keys)), Ok(feed()));
        }
        // Two keys of one name, of which the second is the right one.
        let keys = [key("old-1", 9).public(), key("old-1", 1).public()];
        assert_eq!(verify(file.as_bytes(), &trust(&keys)), Ok(feed()));
    }

    #[test]
    fn the_edges_of_its_time() {
        let keys = [key("test-1", 1).public()];
        let file = published(&feed());
        let at = |now: u64, last_serial: u64| {
            let trust = Trust {
                now,
                last_serial,
                ..trust(&keys)
            };
            verify(&file, &trust).map(|_| ())
        };
        let (created, expires) = (feed().created.seconds(), feed().expires.seconds());
        assert_eq!(at(created - CLOCK_TOLERANCE_SECONDS, 0), Ok(()));
        assert!(matches!(
            at(created - CLOCK_TOLERANCE_SECONDS - 1, 0),
            Err(FeedError::NotYetValid { .. })
        ));
        assert_eq!(at(expires - 1, 0), Ok(()));
        assert!(matches!(at(expires, 0), Err(FeedError::Expired { .. })));
        assert!(matches!(at(u64::MAX, 0), Err(FeedError::Expired { .. })));
        assert_eq!(at(NOW, feed().serial), Ok(()));
        assert_eq!(
            at(NOW, feed().serial + 1),
            Err(FeedError::Replayed {
                serial: feed().serial,
                seen: feed().serial + 1
            })
        );
    }

    #[test]
    fn what_is_no_feed_is_not_signed() {
        let unruly = feed().to_text().replace("https://", "file://");
        assert!(Envelope::unsigned(&unruly).is_err());
        let mut large = feed();
        large.releases[0].notes = "\n".repeat(60_000);
        let version = |minor: usize| format!("3.{minor}").parse().unwrap();
        for minor in 0..20 {
            let mut another = large.releases[0].clone();
            another.version = version(minor);
            large.releases.push(another);
        }
        let limit = MAX_BYTES;
        assert_eq!(
            Envelope::unsigned(&large.to_text()),
            Err(FeedError::TooLarge { limit })
        );
    }

    proptest! {
        #[test]
        fn whatever_is_signed_is_believed(
            serial in 1..=super::super::MAX_NUMBER,
            millionths in 0u32..=1_000_000,
            notes in "[ -~\n\u{e4}\u{1f600}]{0,80}",
            seed in any::<u8>(),
        ) {
            let mut feed = feed();
            feed.serial = serial;
            feed.releases[0].rollout.start_share = f64::from(millionths) / 1e6;
            feed.releases[0].notes = notes;
            let mut envelope = Envelope::unsigned(&feed.to_text()).unwrap();
            envelope.sign(&key("test-1", seed));
            let keys = [key("test-1", seed).public()];
            let believed = verify(envelope.to_text().as_bytes(), &trust(&keys));
            prop_assert_eq!(believed, Ok(feed));
        }

        #[test]
        fn one_changed_byte_of_the_text_is_refused(at in any::<prop::sample::Index>(), by in 1u8..128) {
            let mut envelope = Envelope::unsigned(&feed().to_text()).unwrap();
            envelope.sign(&key("test-1", 1));
            let mut bytes = envelope.payload.clone().into_bytes();
            let at = at.index(bytes.len());
            bytes[at] ^= by;
            envelope.payload = String::from_utf8(bytes).unwrap();
            let keys = [key("test-1", 1).public()];
            let refused = FeedError::BadSignature { key: "test-1".to_owned() };
            prop_assert_eq!(verify(envelope.to_text().as_bytes(), &trust(&keys)), Err(refused));
        }

        #[test]
        fn one_changed_byte_of_the_signature_is_refused(at in any::<prop::sample::Index>(), by in 1u8..128) {
            let mut envelope = Envelope::unsigned(&feed().to_text()).unwrap();
            envelope.sign(&key("test-1", 1));
            let mut bytes = envelope.signatures[0].clone().into_bytes();
            let at = at.index(bytes.len());
            bytes[at] ^= by;
            envelope.signatures[0] = String::from_utf8(bytes).unwrap();
            let keys = [key("test-1", 1).public()];
            let error = verify(envelope.to_text().as_bytes(), &trust(&keys)).unwrap_err();
            prop_assert_eq!(error.code(), crate::Code::FeedUntrusted);
        }

        #[test]
        fn no_bytes_end_it(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
            let keys = [key("test-1", 1).public()];
            prop_assert!(verify(&bytes, &trust(&keys)).is_err());
        }
    }
}

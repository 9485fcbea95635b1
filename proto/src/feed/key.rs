//! Keys in the format of Nix: `NAME:BASE64`, the public one of 32 bytes, the secret one of the 32
//! bytes of the seed and the 32 of the public key after them. Pairs made by
//! `nix key generate-secret` or `nix-store --generate-binary-cache-key` serve as well.

use std::str::FromStr;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use ring::rand::{SecureRandom, SystemRandom};
use ring::signature::{ED25519, Ed25519KeyPair, KeyPair, UnparsedPublicKey};

/// Bytes of a public key, and of the seed of a secret one.
const KEY_BYTES: usize = 32;
/// Bytes of a signature.
const SIGNATURE_BYTES: usize = 64;
/// Longest name of a key.
const MAX_NAME: usize = 128;

/// What is wrong with a key. Never says any of the text, which may be a secret.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum KeyError {
    /// There is no colon, or what stands before it is no name.
    #[error("it is not written NAME:BASE64")]
    NoName,
    /// What stands after the colon is no base64.
    #[error("what stands after the colon is not base64")]
    NotBase64,
    /// It has the wrong number of bytes.
    #[error("it has {found} bytes instead of {expected}")]
    Length {
        /// How many it has.
        found: usize,
        /// How many it should have.
        expected: &'static str,
    },
    /// The two halves of a secret key are not a pair.
    #[error("its public half does not belong to its secret half")]
    NoPair,
    /// The system gives no random numbers.
    #[error("the system gives no random numbers")]
    NoRandom,
}

/// A key that signatures are checked with.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PublicKey {
    name: String,
    bytes: [u8; KEY_BYTES],
}

impl PublicKey {
    /// Its name.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Whether `signature` is one of exactly `message` by this key.
    pub(super) fn signed(&self, message: &[u8], signature: &[u8; SIGNATURE_BYTES]) -> bool {
        UnparsedPublicKey::new(&ED25519, &self.bytes)
            .verify(message, signature)
            .is_ok()
    }
}

impl FromStr for PublicKey {
    type Err = KeyError;

    fn from_str(text: &str) -> Result<Self, KeyError> {
        let (name, bytes) = split(text)?;
        let found = bytes.len();
        let bytes = bytes.try_into().map_err(|_| KeyError::Length {
            found,
            expected: "32",
        })?;
        Ok(PublicKey { name, bytes })
    }
}

impl std::fmt::Display for PublicKey {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}:{}", self.name, STANDARD.encode(self.bytes))
    }
}

/// A key that signs.
pub struct SecretKey {
    name: String,
    seed: [u8; KEY_BYTES],
    pair: Ed25519KeyPair,
}

impl SecretKey {
    /// A new one.
    ///
    /// # Errors
    /// When `name` is no name, or there are no random numbers.
    pub fn generate(name: &str) -> Result<SecretKey, KeyError> {
        let mut seed = [0; KEY_BYTES];
        let random = SystemRandom::new();
        random.fill(&mut seed).map_err(|_| KeyError::NoRandom)?;
        SecretKey::from_seed(named(name)?, seed)
    }

    /// Its name.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The key that its signatures are checked with.
    pub fn public(&self) -> PublicKey {
        let mut bytes = [0; KEY_BYTES];
        bytes.copy_from_slice(self.pair.public_key().as_ref());
        PublicKey {
            name: self.name.clone(),
            bytes,
        }
    }

    /// The key itself, for the file that keeps it and for nothing else.
    pub fn expose(&self) -> String {
        let whole = [&self.seed[..], self.pair.public_key().as_ref()].concat();
        format!("{}:{}", self.name, STANDARD.encode(whole))
    }

    /// The signature of exactly `message`, `NAME:BASE64`.
    pub(super) fn sign(&self, message: &[u8]) -> String {
        let signature = self.pair.sign(message);
        format!("{}:{}", self.name, STANDARD.encode(signature.as_ref()))
    }

    pub(super) fn from_seed(name: String, seed: [u8; KEY_BYTES]) -> Result<SecretKey, KeyError> {
        let pair = Ed25519KeyPair::from_seed_unchecked(&seed).map_err(|_| KeyError::NoPair)?;
        Ok(SecretKey { name, seed, pair })
    }
}

impl FromStr for SecretKey {
    type Err = KeyError;

    fn from_str(text: &str) -> Result<Self, KeyError> {
        let (name, bytes) = split(text)?;
        // A seed alone is not taken: a public key, which has as many bytes, would pass for one.
        let Some((seed, public)) = bytes
            .split_at_checked(KEY_BYTES)
            .filter(|_| bytes.len() == 64)
        else {
            return Err(KeyError::Length {
                found: bytes.len(),
                expected: "64",
            });
        };
        let mut whole = [0; KEY_BYTES];
        whole.copy_from_slice(seed);
        let key = SecretKey::from_seed(name, whole)?;
        match public == key.pair.public_key().as_ref() {
            true => Ok(key),
            false => Err(KeyError::NoPair),
        }
    }
}

impl std::fmt::Debug for SecretKey {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("SecretKey")
            .field("name", &self.name)
            .finish_non_exhaustive()
    }
}

/// Name of the key and bytes of a signature as a feed has it.
pub(super) fn signature(text: &str) -> Option<(String, [u8; SIGNATURE_BYTES])> {
    let (name, bytes) = split(text).ok()?;
    Some((name, bytes.try_into().ok()?))
}

fn split(text: &str) -> Result<(String, Vec<u8>), KeyError> {
    let (name, encoded) = text.split_once(':').ok_or(KeyError::NoName)?;
    let name = named(name)?;
    let bytes = STANDARD.decode(encoded).map_err(|_| KeyError::NotBase64)?;
    Ok((name, bytes))
}

fn named(name: &str) -> Result<String, KeyError> {
    let allowed = |byte: u8| byte.is_ascii_graphic() && byte != b':';
    match (1..=MAX_NAME).contains(&name.len()) && name.bytes().all(allowed) {
        true => Ok(name.to_owned()),
        false => Err(KeyError::NoName),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The first test vector of RFC 8032, section 7.1.
    const SEED: [u8; 32] = [
        0x9d, 0x61, 0xb1, 0x9d, 0xef, 0xfd, 0x5a, 0x60, 0xba, 0x84, 0x4a, 0xf4, 0x92, 0xec, 0x2c,
        0xc4, 0x44, 0x49, 0xc5, 0x69, 0x7b, 0x32, 0x69, 0x19, 0x70, 0x3b, 0xac, 0x03, 0x1c, 0xae,
        0x7f, 0x60,
    ];
    const PUBLIC: &str = "test-1:11qYAYKxCrfVS/7TyWQHOg7hcvPapiMlrwIaaPcHURo=";
    /// Of the empty message.
    const SIGNED: &str = "test-1:5VZDAMNgrHKQhuLMgG6CioSHfx645dl02HPgZSJJAVVf\
                          uIIVkKM7rMYeOXAc+bRr0lv18FlbviRlUUFDjnoQCw==";

    #[test]
    fn keys_and_signatures_are_those_of_the_standard() {
        let key = SecretKey::from_seed("test-1".to_owned(), SEED).unwrap();
        assert_eq!(key.public().to_string(), PUBLIC);
        assert_eq!(key.sign(b""), SIGNED);
        let whole: SecretKey = key.expose().parse().unwrap();
        assert_eq!(whole.sign(b""), SIGNED);
        let public: PublicKey = PUBLIC.parse().unwrap();
        let (name, bytes) = signature(SIGNED).unwrap();
        assert_eq!(name, public.name());
        assert!(public.signed(b"", &bytes));
        assert!(!public.signed(b"x", &bytes));
    }

    #[test]
    fn new_keys_differ_and_are_never_shown() {
        let (one, two) = (
            SecretKey::generate("a").unwrap(),
            SecretKey::generate("a").unwrap(),
        );
        assert_ne!(one.public(), two.public());
        let secret = STANDARD.encode(one.seed);
        assert!(!format!("{one:?}").contains(&secret[..8]));
        assert!(one.expose().starts_with("a:"));
    }

    #[test]
    fn what_is_no_key() {
        for (text, expected) in [
            ("", KeyError::NoName),
            ("AAAA", KeyError::NoName),
            (":AAAA", KeyError::NoName),
            ("a b:AAAA", KeyError::NoName),
            ("a:%", KeyError::NotBase64),
            // The last character has bits that belong to no byte.
            (
                "a:11qYAYKxCrfVS/7TyWQHOg7hcvPapiMlrwIaaPcHURp=",
                KeyError::NotBase64,
            ),
            (
                "a:AAAA",
                KeyError::Length {
                    found: 3,
                    expected: "32",
                },
            ),
        ] {
            assert_eq!(text.parse::<PublicKey>(), Err(expected), "{text}");
        }
        assert_eq!(
            PUBLIC.parse::<SecretKey>().unwrap_err(),
            KeyError::Length {
                found: 32,
                expected: "64",
            }
        );
        let mut whole = SEED.to_vec();
        whole.extend([0; 32]);
        let unpaired = format!("a:{}", STANDARD.encode(whole));
        assert_eq!(unpaired.parse::<SecretKey>().unwrap_err(), KeyError::NoPair);
    }
}

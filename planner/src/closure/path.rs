//! A store path that exists as a value is a valid one: `/nix/store/`, 32 characters of Nix's base
//! 32, a dash, and a name of at most 211 allowed characters. Sub-paths are no store paths.

use std::fmt;
use std::sync::Arc;

use serde::{Deserialize, Deserializer, Serialize, Serializer, de};

use super::name::PackageName;

/// Where the store is. Nix could be built for another folder; nothing here supports that.
pub const STORE_DIR: &str = "/nix/store";

/// Characters of Nix's base 32: no e, o, t and u.
const BASE32: &[u8] = b"0123456789abcdfghijklmnpqrsvwxyz";
const HASH_LENGTH: usize = 32;
/// As in Nix: so that `.drv`, `.lock` and the like still fit a file name of 255 bytes.
const MAX_NAME: usize = 211;

/// A valid store path. Cheap to clone; ordered by its text.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct StorePath(Arc<str>);

/// A text that is no store path.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("cannot take `{text}` for a store path: {why}")]
pub struct BadStorePath {
    /// The text, shortened when it is long.
    pub text: String,
    /// What is wrong with it.
    pub why: &'static str,
}

impl StorePath {
    /// The path `/nix/store/HASH-NAME`.
    ///
    /// # Errors
    /// When it is anything else, a path below a store path too.
    pub fn new(text: &str) -> Result<Self, BadStorePath> {
        let base = below_store(text).ok_or_else(|| bad(text, "it does not lie in /nix/store"))?;
        check_name(base).map_err(|why| bad(text, why))?;
        Ok(StorePath(text.into()))
    }

    /// The path with this base name `HASH-NAME`.
    ///
    /// # Errors
    /// When the name is not valid.
    pub fn from_base_name(base: &str) -> Result<Self, BadStorePath> {
        check_name(base).map_err(|why| bad(base, why))?;
        Ok(StorePath(format!("{STORE_DIR}/{base}").into()))
    }

    /// The store path that `text` is or lies in, and the rest below it without a slash in front.
    ///
    /// # Errors
    /// When it lies in no store path.
    pub fn containing(text: &str) -> Result<(Self, &str), BadStorePath> {
        let base = below_store(text).ok_or_else(|| bad(text, "it does not lie in /nix/store"))?;
        let (base, rest) = base.split_once('/').unwrap_or((base, ""));
        Ok((Self::from_base_name(base)?, rest.trim_start_matches('/')))
    }

    /// The whole path.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// `HASH-NAME`.
    pub fn base_name(&self) -> &str {
        &self.0[STORE_DIR.len() + 1..]
    }

    /// The 32 characters of the hash.
    pub fn hash_part(&self) -> &str {
        &self.base_name()[..HASH_LENGTH]
    }

    /// What follows the hash and the dash.
    pub fn name(&self) -> &str {
        &self.base_name()[HASH_LENGTH + 1..]
    }

    /// Name, version and output of the package, guessed from the name as Nix does.
    pub fn package(&self) -> PackageName {
        PackageName::parse(self.name())
    }
}

impl fmt::Display for StorePath {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl fmt::Debug for StorePath {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::str::FromStr for StorePath {
    type Err = BadStorePath;

    fn from_str(text: &str) -> Result<Self, BadStorePath> {
        Self::new(text)
    }
}

impl Serialize for StorePath {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&self.0)
    }
}

impl<'de> Deserialize<'de> for StorePath {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Visitor;
        impl de::Visitor<'_> for Visitor {
            type Value = StorePath;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a store path")
            }

            fn visit_str<E: de::Error>(self, text: &str) -> Result<StorePath, E> {
                StorePath::new(text).map_err(E::custom)
            }
        }
        deserializer.deserialize_str(Visitor)
    }
}

/// Whether it is `HASH-NAME` as Nix names store paths.
pub fn is_store_name(name: &[u8]) -> bool {
    check(name).is_ok()
}

/// The store paths that a text names, each once, sorted: what Nix itself would find when it
/// scans for references, but by the whole name rather than the hash alone.
pub fn store_paths_in(text: &str) -> Vec<StorePath> {
    let mut found: Vec<StorePath> = text
        .match_indices("/nix/store/")
        .filter_map(|(at, prefix)| {
            let rest = &text[at + prefix.len()..];
            let end = rest.find(|c: char| !is_name_char(c)).unwrap_or(rest.len());
            // A sentence may end behind the path; no package's name ends with a full stop.
            StorePath::from_base_name(rest[..end].trim_end_matches(['.', '?'])).ok()
        })
        .collect();
    found.sort_unstable();
    found.dedup();
    found
}

fn below_store(text: &str) -> Option<&str> {
    text.strip_prefix(STORE_DIR)?.strip_prefix('/')
}

fn is_name_char(c: char) -> bool {
    c.is_ascii_alphanumeric() || "+-._?=".contains(c)
}

fn check_name(base: &str) -> Result<(), &'static str> {
    check(base.as_bytes())
}

fn check(base: &[u8]) -> Result<(), &'static str> {
    let (hash, rest) = base
        .split_at_checked(HASH_LENGTH)
        .ok_or("it is too short for a hash and a name")?;
    if !hash.iter().all(|byte| BASE32.contains(byte)) {
        return Err("its hash is not in Nix's base 32");
    }
    let Some((b'-', name)) = rest.split_first() else {
        return Err("no dash follows its hash");
    };
    if !(1..=MAX_NAME).contains(&name.len()) {
        return Err("its name is empty or longer than 211 characters");
    }
    if name == b"." || name == b".." || name.starts_with(b".-") || name.starts_with(b"..-") {
        return Err("its name is a dot or two");
    }
    if !name.iter().all(|byte| is_name_char(char::from(*byte))) {
        return Err("its name has a character that Nix does not allow");
    }
    Ok(())
}

fn bad(text: &str, why: &'static str) -> BadStorePath {
    BadStorePath {
        text: text.chars().take(300).collect(),
        why,
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const HASH: &str = "0123456789abcdfghijklmnpqrsvwxyz";

    #[test]
    fn the_parts_of_a_path() {
        let path = StorePath::new(&format!("/nix/store/{HASH}-redis-7.0.15")).unwrap();
        assert_eq!(path.hash_part(), HASH);
        assert_eq!(path.name(), "redis-7.0.15");
        assert_eq!(path.base_name(), format!("{HASH}-redis-7.0.15"));
        assert_eq!(path.package().name, "redis");
    }

    #[test]
    fn what_is_no_store_path_is_refused() {
        let long = "x".repeat(212);
        for text in [
            "",
            "/nix/store",
            "/nix/store/",
            "/nix/store/HASH",
            "/nix/store/HASHx",
            "/nix/store/HASH-",
            "/nix/store/HASH-.",
            "/nix/store/HASH-..",
            "/nix/store/HASH-..-x",
            "/nix/store/HASH-a/b",
            "/nix/store/HASH-a b",
            "/nix/store/HASH-ä",
            "/nix/store/HASH-LONG",
            "/nix/store//HASH-a",
            "/nix/store/../store/HASH-a",
            "/gnu/store/HASH-a",
            "/nix/storeHASH-a",
            "nix/store/HASH-a",
            "HASH-a",
            "/nix/store/e123456789abcdfghijklmnpqrsvwxyz-a",
            "/nix/store/0123456789ABCDFGHIJKLMNPQRSVWXYZ-a",
        ] {
            let text = text.replace("HASH", HASH).replace("LONG", &long);
            assert!(StorePath::new(&text).is_err(), "{text}");
        }
        let longest = format!("/nix/store/{HASH}-{}", "x".repeat(211));
        assert!(StorePath::new(&longest).is_ok());
    }

    #[test]
    fn a_path_in_a_store_path() {
        let cases = [
            ("/nix/store/HASH-a", Some("")),
            ("/nix/store/HASH-a/", Some("")),
            ("/nix/store/HASH-a/bin/x", Some("bin/x")),
            ("/nix/store/.links/x", None),
            ("/etc/passwd", None),
        ];
        for (text, rest) in cases {
            let text = text.replace("HASH", HASH);
            let seen = StorePath::containing(&text).ok();
            assert_eq!(seen.as_ref().map(|(_, rest)| *rest), rest, "{text}");
        }
    }

    #[test]
    fn the_paths_that_a_text_names() {
        let text = "ExecStart=/nix/store/HASH-b-1.0/bin/x -c /nix/store/HASH-a.conf \
            \"/nix/store/HASH-b-1.0\" /nix/store/bad-x /nix/store/HASH-c."
            .replace("HASH", HASH);
        let names: Vec<String> = store_paths_in(&text)
            .iter()
            .map(|path| path.name().to_owned())
            .collect();
        assert_eq!(names, ["a.conf", "b-1.0", "c"]);
    }

    #[test]
    fn it_is_validated_when_read() {
        let good = format!("\"/nix/store/{HASH}-a\"");
        let path: StorePath = serde_json::from_str(&good).unwrap();
        assert_eq!(serde_json::to_string(&path).unwrap(), good);
        let error = serde_json::from_str::<StorePath>("\"/etc/passwd\"").unwrap_err();
        assert!(error.to_string().contains("/etc/passwd"), "{error}");
    }

    proptest! {
        #[test]
        fn what_is_accepted_is_what_it_says(text in "(/nix/store/)?[0-9a-z/.-]{0,60}") {
            if let Ok(path) = StorePath::new(&text) {
                prop_assert_eq!(
                    format!("/nix/store/{}-{}", path.hash_part(), path.name()),
                    text
                );
                prop_assert!(is_store_name(path.base_name().as_bytes()));
            }
        }

        #[test]
        fn any_text_can_be_searched(text in "(\\PC|/nix/store/|[0-9a-z]{32}-){0,20}") {
            for path in store_paths_in(&text) {
                prop_assert!(text.contains(path.as_str()));
            }
        }
    }
}

//! The names of units: `prefix.type`, `prefix@.type` (a template) and `prefix@instance.type`.
//!
//! A [`UnitName`] that exists is one that systemd would load. An instance runs from the first `@` to
//! the *last* dot, so it may hold dots itself. Paths become names by systemd's escaping: the mount
//! unit of `/var/lib/my-data` is `var-lib-my\x2ddata.mount`.

use std::borrow::Borrow;
use std::fmt;

use serde::{Deserialize, Serialize};

/// Longest name of a unit in bytes, as in systemd (`UNIT_NAME_MAX` less the terminator).
pub const NAME_MAX_BYTES: usize = 255;

/// Why a text is no name of a unit.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum NameError {
    /// Empty or longer than systemd allows.
    #[error("cannot use {name:?} as a unit name: it must have 1 to {NAME_MAX_BYTES} bytes")]
    Length {
        /// What was given, shortened.
        name: String,
    },
    /// No dot, or what follows the last one is no type of unit.
    #[error("cannot use {name:?} as a unit name: it does not end in a type such as .service")]
    Type {
        /// What was given.
        name: String,
    },
    /// A character that systemd does not allow, or nothing before the `@` or the type.
    #[error("cannot use {name:?} as a unit name: {why}")]
    Prefix {
        /// What was given.
        name: String,
        /// What is wrong with it.
        why: String,
    },
}

/// The types of unit, by the last part of the name.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum UnitType {
    /// A process that systemd supervises.
    Service,
    /// A socket that systemd listens on for a service.
    Socket,
    /// A kernel device.
    Device,
    /// A mounted file system.
    Mount,
    /// A file system that is mounted when somebody looks into it.
    Automount,
    /// Swap space.
    Swap,
    /// A name for a set of units.
    Target,
    /// A file that systemd watches for a service.
    Path,
    /// A clock that starts a service.
    Timer,
    /// A group of processes with shared limits.
    Slice,
    /// Processes that somebody else started.
    Scope,
}

impl UnitType {
    /// Every type.
    pub const ALL: [UnitType; 11] = [
        UnitType::Service,
        UnitType::Socket,
        UnitType::Device,
        UnitType::Mount,
        UnitType::Automount,
        UnitType::Swap,
        UnitType::Target,
        UnitType::Path,
        UnitType::Timer,
        UnitType::Slice,
        UnitType::Scope,
    ];

    /// The suffix without its dot.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            UnitType::Service => "service",
            UnitType::Socket => "socket",
            UnitType::Device => "device",
            UnitType::Mount => "mount",
            UnitType::Automount => "automount",
            UnitType::Swap => "swap",
            UnitType::Target => "target",
            UnitType::Path => "path",
            UnitType::Timer => "timer",
            UnitType::Slice => "slice",
            UnitType::Scope => "scope",
        }
    }

    fn from_suffix(suffix: &str) -> Option<UnitType> {
        Self::ALL.into_iter().find(|kind| kind.as_str() == suffix)
    }
}

/// The valid name of a unit.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct UnitName(String);

impl UnitName {
    /// Takes a name as it stands, after checking it.
    pub fn new(name: &str) -> Result<UnitName, NameError> {
        if name.is_empty() || name.len() > NAME_MAX_BYTES {
            let name = name.chars().take(40).collect();
            return Err(NameError::Length { name });
        }
        let Some((stem, _)) = name
            .rsplit_once('.')
            .filter(|(_, suffix)| UnitType::from_suffix(suffix).is_some())
        else {
            return Err(NameError::Type { name: name.into() });
        };
        match wrong_with_stem(stem) {
            Some(why) => Err(NameError::Prefix {
                name: name.into(),
                why,
            }),
            None => Ok(UnitName(name.into())),
        }
    }

    /// The unit of this type that stands for a path: `/var/log` gives `var-log.mount`.
    pub fn for_path(path: &str, kind: UnitType) -> Result<UnitName, NameError> {
        Self::new(&format!("{}.{}", escape_path(path), kind.as_str()))
    }

    /// The whole name.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The type of the unit.
    #[must_use]
    pub fn kind(&self) -> UnitType {
        let suffix = self.0.rsplit_once('.').map_or("", |(_, suffix)| suffix);
        // Every name was checked when it was made: there is no other case to fall back to.
        UnitType::from_suffix(suffix).unwrap_or(UnitType::Service)
    }

    /// The name without its type: `foo@bar` of `foo@bar.service`.
    #[must_use]
    pub fn stem(&self) -> &str {
        self.0.rsplit_once('.').map_or(&*self.0, |(stem, _)| stem)
    }

    /// The name up to the `@`, or the stem when there is none.
    #[must_use]
    pub fn prefix(&self) -> &str {
        let stem = self.stem();
        stem.split_once('@').map_or(stem, |(prefix, _)| prefix)
    }

    /// What stands between the `@` and the type, unless nothing does.
    #[must_use]
    pub fn instance(&self) -> Option<&str> {
        self.stem()
            .split_once('@')
            .map(|(_, instance)| instance)
            .filter(|instance| !instance.is_empty())
    }

    /// Whether this is a template, which cannot run itself.
    #[must_use]
    pub fn is_template(&self) -> bool {
        self.stem().find('@') == Some(self.stem().len() - 1)
    }

    /// The template that an instance is made from.
    #[must_use]
    pub fn template(&self) -> Option<UnitName> {
        self.instance()?;
        let name = format!("{}@.{}", self.prefix(), self.kind().as_str());
        Some(UnitName(name))
    }

    /// This template's unit for an instance.
    #[must_use]
    pub fn instantiate(&self, instance: &str) -> Option<UnitName> {
        if !self.is_template() {
            return None;
        }
        let name = format!("{}@{instance}.{}", self.prefix(), self.kind().as_str());
        UnitName::new(&name).ok()
    }

    /// The unit of the same stem and another type: `foo.socket` of `foo.service`.
    #[must_use]
    pub fn with_type(&self, kind: UnitType) -> Option<UnitName> {
        UnitName::new(&format!("{}.{}", self.stem(), kind.as_str())).ok()
    }

    /// The prefixes that end in a dash, longest first: `foo-bar-` and `foo-` of `foo-bar-baz.service`.
    #[must_use]
    pub fn dashed_prefixes(&self) -> Vec<&str> {
        let prefix = self.prefix();
        let mut found: Vec<&str> = prefix
            .match_indices('-')
            .map(|(at, _)| &prefix[..=at])
            .filter(|dashed| dashed.len() < prefix.len() && !dashed.trim_matches('-').is_empty())
            .collect();
        found.reverse();
        found
    }
}

fn wrong_with_stem(stem: &str) -> Option<String> {
    if stem.is_empty() || stem.starts_with('@') {
        return Some("there is nothing before the @ or the type".into());
    }
    let allowed = |c: char| c.is_ascii_alphanumeric() || ":-_.\\@".contains(c);
    let odd = stem.chars().find(|c| !allowed(*c))?;
    Some(format!("{odd:?} is not allowed in it"))
}

/// A path as systemd writes it in a unit name; `/` alone is `-`.
#[must_use]
pub fn escape_path(path: &str) -> String {
    let parts: Vec<&str> = path.split('/').filter(|part| !part.is_empty()).collect();
    if parts.is_empty() {
        return "-".into();
    }
    let mut out = String::new();
    for (at, byte) in parts.join("/").bytes().enumerate() {
        match byte {
            b'/' => out.push('-'),
            b'.' if at == 0 => out.push_str("\\x2e"),
            b':' | b'_' | b'.' => out.push(char::from(byte)),
            _ if byte.is_ascii_alphanumeric() => out.push(char::from(byte)),
            _ => out.push_str(&format!("\\x{byte:02x}")),
        }
    }
    out
}

/// The path that an escaped name stands for, or nothing when the text is not one that
/// [`escape_path`] gives.
#[must_use]
pub fn unescape_path(escaped: &str) -> Option<String> {
    if escaped == "-" {
        return Some("/".into());
    }
    let mut bytes = vec![b'/'];
    let mut rest = escaped.as_bytes();
    while let Some((first, tail)) = rest.split_first() {
        rest = tail;
        match first {
            b'-' => bytes.push(b'/'),
            b'\\' => {
                let digits = tail.strip_prefix(b"x")?.get(..2)?;
                let digits = std::str::from_utf8(digits).ok()?;
                bytes.push(u8::from_str_radix(digits, 16).ok()?);
                rest = &tail[3..];
            }
            other => bytes.push(*other),
        }
    }
    let path = String::from_utf8(bytes).ok()?;
    (escape_path(&path) == escaped).then_some(path)
}

impl fmt::Display for UnitName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl Borrow<str> for UnitName {
    fn borrow(&self) -> &str {
        &self.0
    }
}

impl TryFrom<String> for UnitName {
    type Error = NameError;

    fn try_from(name: String) -> Result<Self, NameError> {
        UnitName::new(&name)
    }
}

impl From<UnitName> for String {
    fn from(name: UnitName) -> String {
        name.0
    }
}

#[cfg(test)]
#[path = "name_tests.rs"]
mod tests;

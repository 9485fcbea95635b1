//! `[upgrade]`: where releases are announced, whom to believe, what is done about them and when.

use std::fmt;

use serde::de::{self, Visitor};
use serde::{Deserialize, Deserializer, Serialize, Serializer};

use super::value::is_place;
use super::window::{MAX_WINDOWS, WEEK_MINUTES, Window, zone_of};
use crate::feed::{PublicKey, is_name};

/// Most that builds get to end: a week.
const MAX_DRAIN_SECONDS: u64 = 7 * 24 * 3600;

/// Shortest time between two looks at the feed, and longest: ten seconds, and 30 days.
const FEED_SECONDS: std::ops::RangeInclusive<u64> = 10..=30 * 24 * 3600;

/// `[upgrade]`
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct UpgradeSettings {
    /// URL of the release feed; empty: there is none, and nothing is looked for.
    pub feed: String,
    /// Seconds between two looks at it.
    pub feed_seconds: u64,
    /// Keys of which one must have signed the feed, `NAME:BASE64` as Nix writes public keys.
    pub feed_keys: Vec<String>,
    /// The channel that the feed must be of.
    pub channel: String,
    /// How early this machine takes a release.
    pub wariness: Wariness,
    /// Whether this machine is one of many that live for a short time, and takes releases first.
    pub ephemeral: Ephemeral,
    /// What is done about a release that this machine may take.
    pub policy: UpgradePolicy,
    /// Maintenance windows, outside of which no upgrade begins by itself; none: always.
    pub windows: Vec<String>,
    /// Time zone of windows that name none; empty: the machine's.
    pub time_zone: String,
    /// Whether an upgrade begins by itself while the machine runs from a battery.
    pub on_battery: bool,
    /// Whether an upgrade begins by itself while the network is metered.
    pub on_metered: bool,
    /// Minutes by which chance puts an upgrade off at most.
    pub jitter_minutes: u32,
    /// URL of the FleetLock server that is asked first; empty: none is.
    pub fleet_lock_url: String,
    /// Group of this machine there.
    pub fleet_lock_group: String,
    /// Seconds that builds which run get to end before Nix is replaced.
    pub drain_seconds: u64,
}

impl Default for UpgradeSettings {
    fn default() -> Self {
        UpgradeSettings {
            feed: String::new(),
            feed_seconds: 6 * 3600,
            feed_keys: Vec::new(),
            channel: "stable".to_owned(),
            wariness: Wariness::default(),
            ephemeral: Ephemeral::default(),
            policy: UpgradePolicy::default(),
            windows: Vec::new(),
            time_zone: String::new(),
            on_battery: false,
            on_metered: false,
            jitter_minutes: 60,
            fleet_lock_url: String::new(),
            fleet_lock_group: "default".to_owned(),
            drain_seconds: 600,
        }
    }
}

impl UpgradeSettings {
    /// Whether a release feed is followed.
    pub fn follows(&self) -> bool {
        !self.feed.is_empty() && self.policy != UpgradePolicy::Off
    }

    /// The keys that a feed is believed by.
    ///
    /// # Errors
    /// Which one is none; never with settings that were loaded.
    pub fn keys(&self) -> Result<Vec<PublicKey>, String> {
        keys(&self.feed_keys)
    }

    /// Whether its values make sense.
    ///
    /// # Errors
    /// What is wrong with the value of that name.
    pub(super) fn check(&self, name: &str) -> Result<(), String> {
        match name {
            "feed" if !self.feed.is_empty() && !is_feed(&self.feed) => {
                Err("must be the http or https URL of a file, or empty".to_owned())
            }
            "feed_seconds" if !FEED_SECONDS.contains(&self.feed_seconds) => {
                Err("must be at least 10 and at most 2592000, which is 30 days".to_owned())
            }
            "feed_keys" => self.keys().map(drop),
            "channel" if !is_name(&self.channel) => Err(
                "must have letters, digits, dots, - and _ only, at least one and at most 64"
                    .to_owned(),
            ),
            "windows" if self.windows.len() > MAX_WINDOWS => {
                Err(format!("must be at most {MAX_WINDOWS} windows"))
            }
            "windows" => self.windows.iter().try_for_each(|text| {
                let read: Result<Window, _> = text.parse();
                read.map(drop).map_err(|error| error.to_string())
            }),
            "time_zone" => zone_of(&self.time_zone).map(drop),
            "jitter_minutes" if self.jitter_minutes > WEEK_MINUTES => {
                Err(format!("must be at most {WEEK_MINUTES}, which is a week"))
            }
            "fleet_lock_url"
                if !self.fleet_lock_url.is_empty() && !is_base(&self.fleet_lock_url) =>
            {
                Err("must be an http or https URL without a query, or empty".to_owned())
            }
            "fleet_lock_group" if !is_group(&self.fleet_lock_group) => {
                Err("must have letters, digits, dots and - only, at least one".to_owned())
            }
            "drain_seconds" if self.drain_seconds > MAX_DRAIN_SECONDS => {
                Err("must be at most a week".to_owned())
            }
            _ => Ok(()),
        }
    }
}

/// Public keys in their spelling.
pub(super) fn keys(texts: &[String]) -> Result<Vec<PublicKey>, String> {
    let key = |text: &String| {
        let read = text.parse::<PublicKey>();
        read.map_err(|why| format!("`{text}` is no public key: {why}"))
    };
    texts.iter().map(key).collect()
}

/// What the paths of a protocol are put behind.
fn is_base(text: &str) -> bool {
    let with_slash = format!("{}/", text.trim_end_matches('/'));
    is_place(&with_slash) && !text.starts_with('/') && !text.contains(['?', '#'])
}

/// As the FleetLock protocol has it.
fn is_group(name: &str) -> bool {
    let allowed = |byte: u8| byte.is_ascii_alphanumeric() || b".-".contains(&byte);
    (1..=64).contains(&name.len()) && name.bytes().all(allowed)
}

/// A file on a web server; no path on this machine.
pub(super) fn is_feed(text: &str) -> bool {
    is_place(text) && !text.starts_with('/') && !text.ends_with('/')
}

/// What is done about a release that this machine may take.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum UpgradePolicy {
    /// Nobody looks for releases.
    Off,
    /// It is said, and somebody has to ask for the upgrade.
    #[default]
    Notify,
    /// The machine upgrades by itself.
    Auto,
}

/// Whether a machine is one of many that live for a short time.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Ephemeral {
    /// Where it looks like a CI job or an application's container.
    #[default]
    Auto,
    /// It is.
    Yes,
    /// It is not.
    No,
}

/// How early a machine takes a release: from 0, among the first, to 1, among the last; else chance
/// decides anew for each release. Kept in millionths, so that it is never anything but a number.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Wariness(Option<u32>);

/// Millionths of the whole.
const WHOLE: u32 = 1_000_000;
/// The word for no number.
const BY_CHANCE: &str = "auto";

impl Wariness {
    /// A number from 0 to 1; `None` for any other.
    pub fn new(number: f64) -> Option<Wariness> {
        let scaled = (number * f64::from(WHOLE)).round();
        (0.0..=1.0)
            .contains(&number)
            .then_some(Wariness(Some(scaled as u32)))
    }

    /// The number, where one is set.
    pub fn number(self) -> Option<f64> {
        self.0.map(|part| f64::from(part) / f64::from(WHOLE))
    }
}

impl Serialize for Wariness {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self.number() {
            Some(number) => serializer.serialize_f64(number),
            None => serializer.serialize_str(BY_CHANCE),
        }
    }
}

impl<'de> Deserialize<'de> for Wariness {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(FromNumberOrText)
    }
}

/// Takes what a file has (a number) and what a command line makes of one with a point (a text).
struct FromNumberOrText;

impl Visitor<'_> for FromNumberOrText {
    type Value = Wariness;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "a number from 0 to 1, or \"{BY_CHANCE}\"")
    }

    fn visit_f64<E: de::Error>(self, number: f64) -> Result<Wariness, E> {
        Wariness::new(number).ok_or_else(|| E::invalid_value(de::Unexpected::Float(number), &self))
    }

    fn visit_i64<E: de::Error>(self, number: i64) -> Result<Wariness, E> {
        self.visit_f64(number as f64)
    }

    fn visit_u64<E: de::Error>(self, number: u64) -> Result<Wariness, E> {
        self.visit_f64(number as f64)
    }

    fn visit_str<E: de::Error>(self, text: &str) -> Result<Wariness, E> {
        match text.parse() {
            _ if text == BY_CHANCE => Ok(Wariness(None)),
            Ok(number) => self.visit_f64(number),
            Err(_) => Err(E::invalid_value(de::Unexpected::Str(text), &self)),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::path::PathBuf;

    use super::super::{Settings, SettingsError, edit, merge};
    use super::*;

    fn read(text: &str) -> Result<UpgradeSettings, SettingsError> {
        let file = PathBuf::from("/etc/nixctl/config.toml");
        merge(&[(file, text.to_owned())]).map(|(settings, _): (Settings, _)| settings.upgrade)
    }

    #[test]
    fn a_section_is_read() {
        let settings = read(
            "[upgrade]\nfeed = \"https://a.example/stable.json\"\nfeed_keys = [\"a-1:11qYAYKxCrfVS/7TyWQHOg7hcvPapiMlrwIaaPcHURo=\"]\n\
             channel = \"edge\"\nwariness = 0.25\nephemeral = \"no\"\npolicy = \"auto\"\n",
        )
        .unwrap();
        assert_eq!(settings.keys().unwrap()[0].name(), "a-1");
        assert_eq!(settings.channel, "edge");
        assert_eq!(settings.wariness.number(), Some(0.25));
        assert_eq!(settings.ephemeral, Ephemeral::No);
        assert_eq!(settings.policy, UpgradePolicy::Auto);
        let none = read("").unwrap();
        assert_eq!(none, UpgradeSettings::default());
        assert_eq!(none.policy, UpgradePolicy::Notify);
        assert_eq!(none.wariness.number(), None);
    }

    #[test]
    fn when_and_who_else_are_read() {
        let settings = read(
            "[upgrade]\nwindows = [\"sat 22:00-04:00\", \"daily 03:00+90m Europe/Berlin\"]\n\
             time_zone = \"America/New_York\"\non_battery = true\njitter_minutes = 0\n\
             fleet_lock_url = \"http://lock.example:3333/base\"\nfleet_lock_group = \"db.a-1\"\n",
        )
        .unwrap();
        assert_eq!(settings.windows.len(), 2);
        assert_eq!((settings.on_battery, settings.on_metered), (true, false));
        assert_eq!(settings.jitter_minutes, 0);
        assert_eq!(settings.fleet_lock_group, "db.a-1");
        for url in ["http://lock.example", "https://lock.example/", ""] {
            let text = edit("", "upgrade.fleet_lock_url", url).unwrap();
            assert_eq!(read(&text).unwrap().fleet_lock_url, url);
        }
    }

    #[test]
    fn wariness_is_a_number_however_it_is_spelled() {
        for (spelled, number) in [
            ("0", Some(0.0)),
            ("1", Some(1.0)),
            ("0.5", Some(0.5)),
            ("\"0.5\"", Some(0.5)),
            ("\"auto\"", None),
        ] {
            let text = edit("", "upgrade.wariness", spelled).unwrap();
            assert_eq!(read(&text).unwrap().wariness.number(), number, "{spelled}");
        }
    }

    #[test]
    fn wrong_values_are_refused() {
        for (text, part) in [
            ("feed = \"file:///etc/feed.json\"", "URL"),
            ("feed = \"/etc/feed.json\"", "URL"),
            ("feed = \"https://a.example\"", "URL"),
            ("feed_keys = [\"AAAA\"]", "no public key"),
            ("feed_keys = [\"a:AAAA\"]", "3 bytes instead of 32"),
            ("feed_keys = \"a:AAAA\"", "sequence"),
            ("channel = \"\"", "letters"),
            ("channel = \"a b\"", "letters"),
            ("wariness = 1.1", "from 0 to 1"),
            ("wariness = -1", "from 0 to 1"),
            ("wariness = nan", "from 0 to 1"),
            ("wariness = \"inf\"", "from 0 to 1"),
            ("wariness = true", "from 0 to 1"),
            ("ephemeral = \"maybe\"", "auto"),
            ("policy = \"never\"", "notify"),
            ("windows = \"sat 22:00-04:00\"", "sequence"),
            (
                "windows = [\"sat 22:00-04:00\", \"sat 22:00\"]",
                "cannot use the window `sat 22:00`: ",
            ),
            ("time_zone = \"Europe Berlin\"", "no name of a time zone"),
            ("time_zone = \"../zone\"", "no name of a time zone"),
            ("on_battery = 1", "bool"),
            ("jitter_minutes = 10081", "at most 10080"),
            ("jitter_minutes = -1", "u32"),
            ("fleet_lock_url = \"/run/lock\"", "URL"),
            ("fleet_lock_url = \"https://\"", "URL"),
            ("fleet_lock_url = \"https://a.example/?b\"", "URL"),
            ("fleet_lock_group = \"\"", "letters"),
            ("fleet_lock_group = \"a_b\"", "letters"),
            ("drain_seconds = 604801", "week"),
            ("feed_seconds = 9", "at least 10"),
            ("feed_seconds = 2592001", "at most 2592000"),
        ] {
            let error = read(&format!("[upgrade]\n{text}\n"))
                .unwrap_err()
                .to_string();
            assert!(error.contains(part), "{error}");
            assert!(error.contains("config.toml line 2: "), "{error}");
        }
    }

    #[test]
    fn a_password_in_the_url_is_not_shown() {
        let file = PathBuf::from("/x.toml");
        let text = "[upgrade]\nfeed = \"https://me:secret@a.example/f.json\"\n".to_owned();
        let (_, views) = merge(&[(file, text)]).unwrap();
        let view = views.iter().find(|it| it.key == "upgrade.feed").unwrap();
        assert_eq!(view.value, "\"https://me:***@a.example/f.json\"");
    }

    #[test]
    fn nor_is_that_of_the_lock_server() {
        let file = PathBuf::from("/x.toml");
        let text = "[upgrade]\nfleet_lock_url = \"http://me:secret@a.example\"\n".to_owned();
        let (_, views) = merge(&[(file, text)]).unwrap();
        let view = views.iter().find(|it| it.key == "upgrade.fleet_lock_url");
        assert_eq!(view.unwrap().value, "\"http://me:***@a.example\"");
    }
}

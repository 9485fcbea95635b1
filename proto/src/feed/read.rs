//! Reads the text of a feed. Of the form that is known here nothing may be in it that is not
//! understood: a misspelled `halted` must not pass. A later form may say with `compatible` which
//! older readers it is made for; those then leave out what they do not know.

use serde::Deserialize;
use serde_json::Value;

use super::{FORMAT, Feed, FeedError};

/// What every form has.
#[derive(Deserialize)]
struct Head {
    format: u32,
    /// The oldest form whose readers may leave out what they do not know.
    #[serde(default)]
    compatible: Option<u32>,
}

impl Feed {
    /// Reads the text of a feed and checks every rule, but no signature.
    ///
    /// # Errors
    /// [`FeedError::Malformed`] or [`FeedError::WrongFormat`].
    pub fn parse(text: &str) -> Result<Feed, FeedError> {
        let head: Head = serde_json::from_str(text).map_err(not_json)?;
        let is_known = head.format == FORMAT;
        let is_meant_for_us =
            head.format > FORMAT && head.compatible.is_some_and(|oldest| oldest <= FORMAT);
        if !is_known && !is_meant_for_us {
            return Err(FeedError::WrongFormat {
                found: head.format,
                known: FORMAT,
            });
        }
        let feed: Feed = serde_json::from_str(text).map_err(not_json)?;
        if is_known {
            let given: Value = serde_json::from_str(text).map_err(not_json)?;
            let understood = serde_json::to_value(&feed).map_err(not_json)?;
            if let Some(path) = not_understood(&given, &understood) {
                return Err(FeedError::malformed(format!("`{path:.200}` is not known")));
            }
        }
        feed.check()?;
        Ok(feed)
    }

    /// The text of this feed, for people too.
    pub fn to_text(&self) -> String {
        // Plain structures with keys that are texts: this cannot fail; a test reads it back.
        serde_json::to_string_pretty(self).unwrap_or_default()
    }
}

fn not_json(error: serde_json::Error) -> FeedError {
    FeedError::malformed(error.to_string())
}

/// The first key of `given` that `understood` does not have. What is understood has the same
/// lists and maps as what was given, and each field that there is.
fn not_understood(given: &Value, understood: &Value) -> Option<String> {
    let below = |name: String, path: Option<String>| {
        path.map(|path| match path.starts_with('[') || path.is_empty() {
            true => format!("{name}{path}"),
            false => format!("{name}.{path}"),
        })
    };
    match (given, understood) {
        (Value::Object(given), Value::Object(known)) => {
            given.iter().find_map(|(key, value)| match known.get(key) {
                None => Some(key.escape_debug().to_string()),
                Some(known) => below(key.clone(), not_understood(value, known)),
            })
        }
        (Value::Array(given), Value::Array(known)) => {
            let mut pairs = given.iter().zip(known).enumerate();
            pairs.find_map(|(at, (value, known))| {
                below(format!("[{at}]"), not_understood(value, known))
            })
        }
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::super::testing::feed;
    use super::*;

    fn why(text: &str) -> String {
        Feed::parse(text).unwrap_err().to_string()
    }

    #[test]
    fn what_is_written_is_read_back() {
        assert_eq!(Feed::parse(&feed().to_text()), Ok(feed()));
    }

    #[test]
    fn the_least_that_a_feed_has() {
        let text = r#"{"format":1,"channel":"stable","serial":1,
            "created":"2026-11-22T00:00:00Z","expires":"2026-12-22T00:00:00Z"}"#;
        let feed = Feed::parse(text).unwrap();
        assert!(feed.releases.is_empty() && feed.targets.is_empty());
        for name in ["format", "channel", "serial", "created", "expires"] {
            let without = text.replacen(&format!("\"{name}\""), "\"x\"", 1);
            assert!(why(&without).contains(name), "{}", why(&without));
        }
    }

    #[test]
    fn nothing_unknown_passes() {
        let text = feed().to_text();
        for (from, to, path) in [
            (
                "\"serial\"",
                "\"nonce\": 1,\n\"serial\"",
                "`nonce` is not known",
            ),
            (
                "\"halted\": false",
                "\"halted\": false, \"haltet\": true",
                "`releases[0].haltet` is not known",
            ),
            (
                "\"minutes\"",
                "\"hours\": 1, \"minutes\"",
                "`releases[0].rollout.hours` is not known",
            ),
            (
                "\"size\"",
                "\"md5\": \"\", \"size\"",
                "`releases[0].systems.aarch64-linux.md5` is not known",
            ),
        ] {
            let changed = text.replacen(from, to, 1);
            assert_ne!(changed, text);
            assert!(why(&changed).contains(path), "{}", why(&changed));
        }
    }

    #[test]
    fn later_forms_are_read_only_when_they_say_so() {
        let later = feed()
            .to_text()
            .replacen("\"format\": 1", "\"format\": 2", 1);
        let wrong = FeedError::WrongFormat { found: 2, known: 1 };
        assert_eq!(Feed::parse(&later), Err(wrong));
        let says = |oldest: &str| {
            let with = format!("\"compatible\": {oldest}, \"new\": [{{}}], \"serial\"");
            Feed::parse(&later.replacen("\"serial\"", &with, 1))
        };
        assert!(says("2").is_err());
        let read = says("1").unwrap();
        assert_eq!(read.releases, feed().releases);
        let nothing = feed()
            .to_text()
            .replacen("\"format\": 1", "\"format\": 0", 1);
        assert!(why(&nothing).contains("form 0"));
    }

    #[test]
    fn nothing_stands_twice() {
        let text = feed().to_text();
        for (from, to) in [
            ("\"serial\"", "\"serial\": 9,\n\"serial\""),
            ("\"halted\"", "\"halted\": true, \"halted\""),
            ("\"x86_64-linux\"", "\"aarch64-linux\""),
        ] {
            let changed = text.replacen(from, to, 1);
            assert_ne!(changed, text);
            let why = why(&changed);
            assert!(why.contains("duplicate") || why.contains("twice"), "{why}");
        }
    }
}

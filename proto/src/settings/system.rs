//! `[system]`: the feed that says which generation this machine should run.

use serde::{Deserialize, Serialize};

use super::UpgradeSettings;
use super::upgrade::{is_feed, keys};
use crate::feed::is_name;

/// `[system]`
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct SystemSettings {
    /// URL of the feed whose target for the group of this machine it goes to by itself; empty: it
    /// goes nowhere by itself. It may be the one of `upgrade.feed`.
    pub follow: String,
    /// Keys of which one must have signed that feed; none: those of `upgrade.feed_keys`.
    pub follow_keys: Vec<String>,
    /// The group of this machine there.
    pub group: String,
}

impl SystemSettings {
    /// The keys that its feed is believed by.
    pub fn trusted<'a>(&'a self, upgrade: &'a UpgradeSettings) -> &'a [String] {
        match self.follow_keys.is_empty() {
            true => &upgrade.feed_keys,
            false => &self.follow_keys,
        }
    }

    /// Whether its values make sense.
    ///
    /// # Errors
    /// What is wrong with the value of that name.
    pub(super) fn check(&self, name: &str) -> Result<(), String> {
        match name {
            "follow" if !self.follow.is_empty() && !is_feed(&self.follow) => {
                Err("must be the http or https URL of a file, or empty".to_owned())
            }
            "follow_keys" => keys(&self.follow_keys).map(drop),
            "group" if !self.group.is_empty() && !is_name(&self.group) => Err(
                "must have letters, digits, dots, - and _ only, at most 64, or be empty".to_owned(),
            ),
            _ => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::path::PathBuf;

    use super::super::{Settings, SettingsError, merge};

    fn read(text: &str) -> Result<Settings, SettingsError> {
        let file = PathBuf::from("/etc/nixctl/config.toml");
        merge(&[(file, text.to_owned())]).map(|(settings, _)| settings)
    }

    const KEYS: [&str; 2] = [
        "a-1:11qYAYKxCrfVS/7TyWQHOg7hcvPapiMlrwIaaPcHURo=",
        "b-1:11qYAYKxCrfVS/7TyWQHOg7hcvPapiMlrwIaaPcHURo=",
    ];

    #[test]
    fn a_section_is_read_and_has_keys_of_its_own_or_those_of_the_release_feed() {
        let [upgrade, own] = KEYS;
        let text = format!(
            "[upgrade]\nfeed_keys = [\"{upgrade}\"]\n[system]\n\
             follow = \"https://a.example/fleet.json\"\ngroup = \"web\"\n"
        );
        let settings = read(&text).unwrap();
        assert_eq!(settings.system.group, "web");
        assert_eq!(settings.system.trusted(&settings.upgrade), [upgrade]);
        let settings = read(&format!("{text}follow_keys = [\"{own}\"]\n")).unwrap();
        assert_eq!(settings.system.trusted(&settings.upgrade), [own]);
        assert_eq!(read("").unwrap().system.follow, "");
    }

    #[test]
    fn wrong_values_are_refused() {
        for (text, part) in [
            ("follow = \"/etc/feed.json\"", "URL"),
            ("follow = \"https://a.example\"", "URL"),
            ("follow = true", "string"),
            ("follow_keys = [\"AAAA\"]", "no public key"),
            ("group = \"a b\"", "letters"),
            ("groups = \"a\"", "group"),
        ] {
            let error = read(&format!("[system]\n{text}\n"))
                .unwrap_err()
                .to_string();
            assert!(error.contains(part), "{error}");
            assert!(error.contains("config.toml line 2: "), "{error}");
        }
    }

    #[test]
    fn a_password_in_the_url_is_not_shown() {
        let file = PathBuf::from("/x.toml");
        let text = "[system]\nfollow = \"https://me:secret@a.example/f.json\"\n".to_owned();
        let (_, views) = merge(&[(file, text)]).unwrap();
        let view = views.iter().find(|it| it.key == "system.follow").unwrap();
        assert_eq!(view.value, "\"https://me:***@a.example/f.json\"");
    }
}

//! Which keys there are and which values they take.
//!
//! The keys are those of the default settings as TOML; whether a value is right is decided by
//! putting it in its place there and reading the whole back.

use std::collections::BTreeMap;

use toml::{Table, Value};

use super::Settings;

/// Words that `daemon.log_level` takes.
pub const LOG_LEVELS: [&str; 5] = ["error", "warn", "info", "debug", "trace"];

/// Every key with its default, by dotted name.
pub fn defaults() -> BTreeMap<String, Value> {
    let mut keys = BTreeMap::new();
    for (section, table) in sections() {
        let Value::Table(table) = table else { continue };
        for (name, value) in table {
            keys.insert(format!("{section}.{name}"), value);
        }
    }
    keys
}

/// The default settings as TOML. They are plain tables, so that this cannot fail; a test sees to it.
pub fn sections() -> Table {
    Table::try_from(Settings::default()).unwrap_or_default()
}

/// Whether a value is one for its key: of the right type, and sensible.
///
/// # Errors
/// What was expected.
pub fn check(key: &str, value: &Value) -> Result<(), String> {
    let (section, name) = key.split_once('.').unwrap_or((key, ""));
    let mut whole = sections();
    if let Some(Value::Table(table)) = whole.get_mut(section) {
        table.insert(name.to_owned(), value.clone());
    }
    let settings: Settings = whole
        .try_into()
        .map_err(|error: toml::de::Error| error.message().replace('\n', " ").trim().to_owned())?;
    sensible(key, &settings)
}

/// Whether the values that have more rules than their type follow them.
fn sensible(key: &str, settings: &Settings) -> Result<(), String> {
    let install = &settings.install;
    let daemon = &settings.daemon;
    let at_least_one = |number: u64| match number {
        0 => Err("must be at least 1".to_owned()),
        _ => Ok(()),
    };
    if let Some(name) = key.strip_prefix("health.") {
        return settings.health.check(name);
    }
    if let Some(name) = key.strip_prefix("upgrade.") {
        return settings.upgrade.check(name);
    }
    if let Some(name) = key.strip_prefix("metrics.") {
        return settings.metrics.check(name);
    }
    if let Some(name) = key.strip_prefix("system.") {
        return settings.system.check(name);
    }
    match key {
        "install.release_server" if !is_server(&install.release_server) => {
            Err("must be an http or https URL without a slash at the end".to_owned())
        }
        "install.build_user_count" => match install.build_user_count {
            1..=1024 => Ok(()),
            _ => Err("must be between 1 and 1024".to_owned()),
        },
        "install.self_test_seconds" => at_least_one(install.self_test_seconds),
        "install.build_group" => name_of_account(&install.build_group),
        "install.build_user_prefix" => name_of_account(&install.build_user_prefix),
        "install.trusted_sources" => match install.trusted_sources.iter().find(|s| !is_place(s)) {
            Some(source) => Err(format!(
                "`{source}` is neither a URL nor an absolute path, ending in a slash"
            )),
            None => Ok(()),
        },
        "daemon.log_level" if !LOG_LEVELS.contains(&daemon.log_level.as_str()) => {
            Err(format!("must be one of {}", LOG_LEVELS.join(", ")))
        }
        "switch.activate_seconds" => at_least_one(settings.switch.activate_seconds),
        "switch.keep_generations" => at_least_one(settings.switch.keep_generations.into()),
        "switch.boot_attempts" => at_least_one(settings.switch.boot_attempts.into()),
        "switch.non_vital" => match settings
            .switch
            .non_vital
            .iter()
            .find(|it| !is_component(it))
        {
            Some(name) => Err(format!(
                "`{name}` is neither a unit, such as redis.service, nor a package, such as sw/redis"
            )),
            None => Ok(()),
        },
        "switch.probes" => settings.switch.probes.iter().try_for_each(|it| it.check()),
        "daemon.connections_per_user" => at_least_one(daemon.connections_per_user.into()),
        "daemon.queue_length" => at_least_one(daemon.queue_length.into()),
        "daemon.history" => at_least_one(daemon.history.into()),
        _ => Ok(()),
    }
}

fn is_server(text: &str) -> bool {
    let rest = text
        .strip_prefix("https://")
        .or_else(|| text.strip_prefix("http://"));
    rest.is_some_and(|rest| !rest.is_empty() && !rest.ends_with('/') && is_plain(rest))
}

/// A URL with a host and its slash, or an absolute path.
pub(super) fn is_place(text: &str) -> bool {
    let rest = text
        .strip_prefix("https://")
        .or_else(|| text.strip_prefix("http://"));
    match rest {
        Some(rest) => rest.find('/').is_some_and(|slash| slash > 0) && is_plain(rest),
        None => text.starts_with('/') && !text.split('/').any(|part| part == ".."),
    }
}

/// A unit with its kind, or a package of `sw`.
fn is_component(text: &str) -> bool {
    let package = text.strip_prefix("sw/");
    let unit = || {
        text.split_once('.')
            .is_some_and(|(name, kind)| !name.is_empty() && !kind.is_empty())
    };
    let named = package.map_or_else(unit, |name| !name.is_empty());
    named && is_plain(text) && !package.unwrap_or(text).contains('/')
}

fn is_plain(text: &str) -> bool {
    text.chars().all(|c| !c.is_whitespace() && !c.is_control())
}

fn name_of_account(text: &str) -> Result<(), String> {
    let starts = text.starts_with(|c: char| c.is_ascii_lowercase() || c == '_');
    let rest = text
        .bytes()
        .all(|b| b.is_ascii_alphanumeric() || b == b'_' || b == b'-');
    if starts && rest && text.len() <= 28 {
        Ok(())
    } else {
        Err("must be the name of an account: letters, digits, - and _, at most 28".to_owned())
    }
}

/// The known name that is nearest to a wrong one, if any is near enough to be meant.
pub fn nearest<'a>(wrong: &str, known: impl Iterator<Item = &'a str>) -> Option<&'a str> {
    let (distance, name) = known.map(|name| (distance(wrong, name), name)).min()?;
    (distance <= 2 + wrong.len() / 4).then_some(name)
}

/// How many characters must be inserted, removed or replaced to get from one text to the other.
fn distance(from: &str, to: &str) -> usize {
    let to: Vec<char> = to.chars().collect();
    let mut row: Vec<usize> = (0..=to.len()).collect();
    for (i, a) in from.chars().enumerate() {
        let mut diagonal = i;
        row[0] = i + 1;
        for (j, b) in to.iter().enumerate() {
            let replaced = diagonal + usize::from(a != *b);
            diagonal = row[j + 1];
            row[j + 1] = replaced.min(diagonal + 1).min(row[j] + 1);
        }
    }
    row[to.len()]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_setting_is_a_key_and_its_default_is_accepted() {
        let keys = defaults();
        assert_eq!(keys["install.build_user_count"], Value::Integer(32));
        assert!(keys.len() >= 16);
        for (key, value) in &keys {
            assert_eq!(check(key, value), Ok(()), "{key}");
        }
    }

    #[test]
    fn wrong_values_are_refused() {
        for (key, value, part) in [
            ("install.build_user_count", Value::from("many"), "u32"),
            ("install.build_user_count", Value::Integer(-1), "u32"),
            ("install.build_user_count", Value::Integer(0), "between"),
            ("install.trusted_sources", Value::from("x"), "sequence"),
            ("install.trusted_sources", Value::from(vec![1]), "string"),
            (
                "install.trusted_sources",
                Value::from(vec!["https://a.example"]),
                "slash",
            ),
            (
                "install.trusted_sources",
                Value::from(vec!["/srv/../etc/"]),
                "path",
            ),
            ("install.release_server", Value::from("ftp://a"), "URL"),
            ("install.build_group", Value::from("a b"), "account"),
            ("daemon.log_level", Value::from("loud"), "one of"),
            ("daemon.queue_length", Value::Integer(0), "at least"),
            ("switch.on_failure", Value::from("panic"), "rollback"),
            ("switch.activate_seconds", Value::Integer(0), "at least"),
            ("switch.keep_generations", Value::Integer(0), "at least"),
            ("switch.boot_attempts", Value::Integer(0), "at least"),
            (
                "switch.non_vital",
                Value::from(vec!["redis.service", "redis"]),
                "`redis` is neither",
            ),
            (
                "switch.non_vital",
                Value::from(vec!["sw/a/b"]),
                "`sw/a/b` is neither",
            ),
        ] {
            let why = check(key, &value).unwrap_err();
            assert!(why.contains(part), "{key}: {why}");
        }
    }

    #[test]
    fn distances_are_those_of_levenshtein() {
        for (a, b, d) in [
            ("", "", 0),
            ("", "abc", 3),
            ("kitten", "sitting", 3),
            ("ab", "ba", 2),
        ] {
            assert_eq!((distance(a, b), distance(b, a)), (d, d));
        }
    }

    #[test]
    fn only_near_names_are_suggested() {
        let known = ["install.version", "daemon.history"];
        assert_eq!(
            nearest("install.versoin", known.into_iter()),
            Some("install.version")
        );
        assert_eq!(nearest("colour", known.into_iter()), None);
    }
}

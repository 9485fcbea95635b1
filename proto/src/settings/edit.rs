//! Changes one setting in the text of a settings file and leaves the rest as it is.

use std::path::Path;
use std::str::FromStr;

use toml::Value;
use toml_edit::{DocumentMut, InlineTable, Item, Table, TableLike};

use super::health::{POLICY_KEY, unknown_check};
use super::load::unknown;
use super::value::{check, defaults};
use super::{OWN_FILE, SettingsError};
use crate::health::check::Check;

/// The text of [`OWN_FILE`] with one setting changed: comments, order and other keys stay.
///
/// The value is in TOML's spelling; where a string is wanted its quotes may be left out. One check's
/// policy has the key `health.policy.ID`.
///
/// # Errors
/// The key does not exist, the value is not one for it, or the old text is not valid.
pub fn edit(old: &str, key: &str, value: &str) -> Result<String, SettingsError> {
    let policy = key.strip_prefix(POLICY_KEY);
    if let Some(id) = policy.and_then(|rest| rest.strip_prefix('.')) {
        return edit_policy(old, id, value);
    }
    let known = defaults();
    let Some(default) = known.get(key) else {
        let why = unknown(key, &known);
        return Err(SettingsError::NoSuchKey {
            key: key.to_owned(),
            why,
        });
    };
    let bad = |why: String| SettingsError::BadValue {
        key: key.to_owned(),
        why,
    };
    let value = spelled(value, default).map_err(bad)?;
    check(key, &value).map_err(bad)?;

    let mut document = parsed(old)?;
    let (section, name) = key.split_once('.').unwrap_or((key, ""));
    let new = toml_edit::Value::from_str(&value.to_string())
        .map_err(|error| bad(error.message().to_owned()))?;
    put(table_of(document.as_table_mut(), section)?, name, new);
    Ok(document.to_string())
}

/// The same with the policy of one check; those of the others stay.
fn edit_policy(old: &str, id: &str, value: &str) -> Result<String, SettingsError> {
    let key = format!("{POLICY_KEY}.{id}");
    let Some((area, name)) = id.split_once('.').filter(|_| Check::by_id(id).is_some()) else {
        let why = unknown_check(id);
        return Err(SettingsError::NoSuchKey { key, why });
    };
    let bad = |why: String| SettingsError::BadValue {
        key: key.clone(),
        why,
    };
    let value = spelled(value, &Value::String(String::new())).map_err(bad)?;
    let whole = toml::Table::from_iter([(id.to_owned(), value.clone())]);
    check(POLICY_KEY, &Value::Table(whole)).map_err(bad)?;

    let mut document = parsed(old)?;
    let (section, table) = POLICY_KEY.split_once('.').unwrap_or((POLICY_KEY, ""));
    let policies = table_of(document.as_table_mut(), section)?
        .entry(table)
        .or_insert_with(|| Item::Value(InlineTable::new().into()));
    let Some(policies) = policies.as_table_like_mut() else {
        return Err(refused(format!("`{POLICY_KEY}` must be a table")));
    };
    let new = toml_edit::Value::from(value.as_str().unwrap_or_default());
    // Without quotes an id is a table and a key in it.
    let is_apart = |policies: &dyn TableLike| {
        let area = policies.get(area).and_then(Item::as_table_like);
        area.is_some_and(|area| area.contains_key(name))
    };
    if is_apart(policies) {
        put(table_of(policies, area)?, name, new);
    } else {
        put(policies, id, new);
    }
    Ok(document.to_string())
}

fn parsed(old: &str) -> Result<DocumentMut, SettingsError> {
    old.parse()
        .map_err(|error: toml_edit::TomlError| refused(error.message().to_owned()))
}

fn refused(why: String) -> SettingsError {
    SettingsError::Refused {
        path: Path::new(OWN_FILE).into(),
        why,
    }
}

/// The table of that name in another, made if need be.
fn table_of<'a>(
    parent: &'a mut dyn TableLike,
    name: &str,
) -> Result<&'a mut dyn TableLike, SettingsError> {
    let table = parent
        .entry(name)
        .or_insert_with(|| Item::Table(Table::new()));
    table
        .as_table_like_mut()
        .ok_or_else(|| refused(format!("`{name}` must be a table")))
}

/// Puts a value in its place, with the comment that is there.
fn put(table: &mut dyn TableLike, name: &str, new: toml_edit::Value) {
    match table.get_mut(name).and_then(Item::as_value_mut) {
        Some(place) => {
            let decor = place.decor().clone();
            *place = new;
            *place.decor_mut() = decor;
        }
        None => {
            table.insert(name, Item::Value(new));
        }
    }
}

/// A value from the command line.
fn spelled(text: &str, default: &Value) -> Result<Value, String> {
    let parsed = Value::from_str(text.trim());
    match (parsed, default) {
        (Ok(value @ Value::String(_)), Value::String(_)) => Ok(value),
        (_, Value::String(_)) => Ok(Value::String(text.to_owned())),
        (Ok(value), _) => Ok(value),
        (Err(error), _) => Err(format!("`{text}` is not a TOML value: {}", error.message())),
    }
}

#[cfg(test)]
mod tests {
    use std::path::PathBuf;

    use proptest::prelude::*;

    use super::super::{Settings, merge};
    use super::*;
    use crate::{Exit, Failure};

    fn read(text: &str) -> Settings {
        merge(&[(PathBuf::from(OWN_FILE), text.to_owned())])
            .unwrap()
            .0
    }

    #[test]
    fn a_new_file_gets_its_table() {
        let text = edit("", "install.version", "2.26.3").unwrap();
        assert_eq!(text, "[install]\nversion = \"2.26.3\"\n");
    }

    #[test]
    fn comments_and_other_keys_stay() {
        let old = "# ours\n[daemon]\nhistory = 5 # few\nlog_level = \"warn\"\n";
        let new = edit(old, "daemon.history", "9").unwrap();
        assert_eq!(
            new,
            "# ours\n[daemon]\nhistory = 9 # few\nlog_level = \"warn\"\n"
        );
        let more = edit(&new, "install.trusted_sources", "['/srv/nix/']").unwrap();
        assert!(more.starts_with(&new), "{more}");
        assert_eq!(read(&more).install.trusted_sources, ["/srv/nix/"]);
    }

    #[test]
    fn the_policy_of_one_check_is_set_and_the_others_stay() {
        let key = "health.policy.mounts.not-mounted";
        for (old, expected) in [
            (
                "",
                "[health]\npolicy = { \"mounts.not-mounted\" = \"ask\" }\n",
            ),
            (
                "[health.policy] # ours\n\"conf.syntax\" = \"auto\" # so\n",
                "[health.policy] # ours\n\"conf.syntax\" = \"auto\" # so\n\"mounts.not-mounted\" = \"ask\"\n",
            ),
            (
                "[health.policy]\n\"mounts.not-mounted\" = \"off\" # why\n",
                "[health.policy]\n\"mounts.not-mounted\" = \"ask\" # why\n",
            ),
            (
                "[health]\npolicy = { mounts.not-mounted = \"off\" }\n",
                "[health]\npolicy = { mounts.not-mounted = \"ask\" }\n",
            ),
            (
                "[health.policy.mounts]\nnot-mounted = \"off\"\n",
                "[health.policy.mounts]\nnot-mounted = \"ask\"\n",
            ),
        ] {
            let new = edit(old, key, "ask").unwrap();
            assert_eq!(new, expected);
            assert_eq!(read(&new).health.policy["mounts.not-mounted"], "ask");
            assert_eq!(edit(&new, key, "\"ask\"").unwrap(), new);
        }
        for (key, value, part) in [
            (
                "health.policy.mounts.notmounted",
                "ask",
                "did you mean `mounts.not-mounted`?",
            ),
            ("health.policy.mounts", "ask", "unknown check `mounts`"),
            (key, "maybe", "one of auto, ask, off"),
            (key, "{ a = 1 }", "one of auto, ask, off"),
        ] {
            let error = edit("", key, value).unwrap_err();
            assert!(error.to_string().contains(part), "{error}");
            assert_eq!(Failure::from(error).code.exit(), Exit::Usage);
        }
        assert!(edit("health.policy = 1", key, "ask").is_err());
    }

    #[test]
    fn wrong_keys_and_values_are_refused() {
        for (old, key, value, part) in [
            ("", "install.versio", "1", "did you mean `install.version`?"),
            ("", "install", "1", "unknown key"),
            ("", "daemon.history", "many", "not a TOML value"),
            ("", "daemon.history", "\"7\"", "u32"),
            ("", "daemon.log_level", "loud", "one of"),
            ("[[[", "daemon.history", "7", "cannot use"),
            ("install = 1", "install.version", "7", "must be a table"),
        ] {
            let error = edit(old, key, value).unwrap_err().to_string();
            assert!(error.contains(part), "{error}");
        }
    }

    proptest! {
        #[test]
        fn what_is_set_is_read_back_and_setting_twice_is_once(text in "\\PC*") {
            let once = edit("", "install.proxy", &toml::Value::from(text.as_str()).to_string());
            let once = once.unwrap();
            prop_assert_eq!(&read(&once).install.proxy, &text);
            let spelled = toml::Value::from(text.as_str()).to_string();
            prop_assert_eq!(edit(&once, "install.proxy", &spelled).unwrap(), once);
        }
    }
}

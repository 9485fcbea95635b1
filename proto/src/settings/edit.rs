//! Changes one setting in the text of a settings file and leaves the rest as it is.

use std::path::Path;
use std::str::FromStr;

use toml::Value;
use toml_edit::{DocumentMut, Item, Table};

use super::load::unknown;
use super::value::{check, defaults};
use super::{OWN_FILE, SettingsError};

/// The text of [`OWN_FILE`] with one setting changed: comments, order and other keys stay.
///
/// The value is in TOML's spelling; where a string is wanted its quotes may be left out.
///
/// # Errors
/// The key does not exist, the value is not one for it, or the old text is not valid.
pub fn edit(old: &str, key: &str, value: &str) -> Result<String, SettingsError> {
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

    let refused = |why: String| SettingsError::Refused {
        path: Path::new(OWN_FILE).into(),
        why,
    };
    let mut document: DocumentMut = old
        .parse()
        .map_err(|error: toml_edit::TomlError| refused(error.message().to_owned()))?;
    let (section, name) = key.split_once('.').unwrap_or((key, ""));
    let new = toml_edit::Value::from_str(&value.to_string())
        .map_err(|error| bad(error.message().to_owned()))?;
    let table = document
        .entry(section)
        .or_insert_with(|| Item::Table(Table::new()));
    let Some(table) = table.as_table_like_mut() else {
        return Err(refused(format!("`{section}` must be a table")));
    };
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
    Ok(document.to_string())
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

//! `[[managed]]`: further files that are kept as the user wants them.
//!
//! Each file has its own entry; of entries for one path the one of the later settings file counts.
//! What can be said without looking at the machine is checked here; the rest when the entry
//! becomes a resource.

use std::collections::BTreeSet;
use std::path::{Component, Path};

use serde::{Deserialize, Serialize};
use toml::Value;
use toml::de::{DeTable, DeValue, ValueDeserializer};

use super::value::nearest;

/// Name of the list.
pub(super) const MANAGED: &str = "managed";
/// Largest content of a managed file, in bytes.
pub const MAX_MANAGED_BYTES: u64 = 1 << 20;
/// Files and folders that are the daemon's own, or Nix's.
const NOT_TO_BE_MANAGED: [&str; 5] = [
    "/nix/store",
    "/nix/var/nix/db",
    "/etc/nixctl",
    "/var/lib/nixctl",
    "/run/nixctl",
];
/// Keys of an entry.
const KEYS: [&str; 6] = ["path", "source", "content", "mode", "owner", "restart"];

/// One of `[[managed]]`. Exactly one of `source` and `content` is set.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct ManagedSettings {
    /// The file.
    pub path: String,
    /// A file whose content it gets.
    pub source: Option<String>,
    /// Its content.
    pub content: Option<String>,
    /// Permission bits, octal.
    pub mode: String,
    /// `USER` or `USER:GROUP`.
    pub owner: String,
    /// Unit that is restarted when it was changed; empty: none.
    pub restart: String,
}

impl Default for ManagedSettings {
    fn default() -> Self {
        ManagedSettings {
            path: String::new(),
            source: None,
            content: None,
            mode: "0600".to_owned(),
            owner: "root".to_owned(),
            restart: String::new(),
        }
    }
}

impl ManagedSettings {
    /// Its permission bits.
    ///
    /// # Errors
    /// What is wrong with them.
    pub fn mode_bits(&self) -> Result<u32, String> {
        match u32::from_str_radix(&self.mode, 8) {
            Ok(mode @ 0..=0o777) if !self.mode.starts_with('+') => Ok(mode),
            _ => Err(format!(
                "mode must be three or four octal digits, at most 0777, and is `{}`",
                self.mode
            )),
        }
    }

    /// Its user, and its group if it is named.
    pub fn owner_names(&self) -> (&str, Option<&str>) {
        match self.owner.split_once(':') {
            Some((user, group)) => (user, Some(group)),
            None => (&self.owner, None),
        }
    }

    /// Whether it makes sense.
    ///
    /// # Errors
    /// What is wrong with it.
    fn check(&self) -> Result<(), String> {
        if self.path.is_empty() {
            return Err("a managed file has no path".to_owned());
        }
        self.check_values()
            .map_err(|why| format!("managed file `{}`: {why}", self.path))
    }

    fn check_values(&self) -> Result<(), String> {
        plain_path("path", &self.path)?;
        if let Some(own) = not_to_be_managed(Path::new(&self.path)) {
            return Err(format!("what is in {own} cannot be managed"));
        }
        match (&self.source, &self.content) {
            (Some(source), None) => plain_path("source", source)?,
            (None, Some(content)) if content.len() as u64 > MAX_MANAGED_BYTES => {
                return Err(format!("content is larger than {MAX_MANAGED_BYTES} bytes"));
            }
            (None, Some(_)) => {}
            _ => return Err("exactly one of source and content must be set".to_owned()),
        }
        if self.source.as_deref() == Some(self.path.as_str()) {
            return Err("its source is the file itself".to_owned());
        }
        self.mode_bits()?;
        let (user, group) = self.owner_names();
        if user.is_empty() || group.is_some_and(str::is_empty) {
            return Err("owner must be USER or USER:GROUP".to_owned());
        }
        if !self.restart.is_empty() && !is_unit(&self.restart) {
            return Err("restart must be a unit, such as nix-daemon.service".to_owned());
        }
        Ok(())
    }
}

/// Where a settings file is wrong, if it is not the list as a whole, and why.
pub(super) type Wrong = (Option<usize>, String);

/// The folder that a path lies in, or is, whose files cannot be managed.
pub fn not_to_be_managed(path: &Path) -> Option<&'static str> {
    let mut all = NOT_TO_BE_MANAGED.into_iter();
    all.find(|own| path.starts_with(own))
}

/// The entries of one settings file: key and value.
pub(super) fn entries(content: &DeValue<'_>) -> Result<Vec<(String, Value)>, Wrong> {
    let no_list = || {
        (
            None,
            format!("`{MANAGED}` must be a list of tables, written [[{MANAGED}]]"),
        )
    };
    let DeValue::Array(list) = content else {
        return Err(no_list());
    };
    let mut found = Vec::new();
    let mut paths = BTreeSet::new();
    for entry in list {
        let start = Some(entry.span().start);
        let DeValue::Table(table) = entry.get_ref() else {
            return Err(no_list());
        };
        known_keys(table)?;
        let value = Value::deserialize(ValueDeserializer::from(entry.clone()))
            .map_err(|error| (start, error.message().to_owned()))?;
        let wrong = |why: String| (start, format!("wrong value for `{MANAGED}`: {why}"));
        let path = check(&value).map_err(wrong)?;
        if !paths.insert(path.clone()) {
            return Err((start, format!("the managed file `{path}` is named twice")));
        }
        found.push((format!("{MANAGED}.{path}"), value));
    }
    Ok(found)
}

fn known_keys(table: &DeTable<'_>) -> Result<(), Wrong> {
    for key in table.keys() {
        let name = key.get_ref().as_ref();
        if KEYS.contains(&name) {
            continue;
        }
        let why = match nearest(name, KEYS.into_iter()) {
            Some(meant) => {
                format!("unknown key `{MANAGED}.{name}`, did you mean `{MANAGED}.{meant}`?")
            }
            None => format!("unknown key `{MANAGED}.{name}`"),
        };
        return Err((Some(key.span().start), why));
    }
    Ok(())
}

/// An entry as everybody may see it: its content may be a secret.
pub(super) fn shown(value: &Value) -> Value {
    let mut value = value.clone();
    if let Value::Table(table) = &mut value
        && let Some(content) = table.get_mut("content")
    {
        *content = Value::from("***");
    }
    value
}

/// The path of an entry that makes sense, as it is compared.
fn check(value: &Value) -> Result<String, String> {
    let settings: ManagedSettings = value
        .clone()
        .try_into()
        .map_err(|error: toml::de::Error| error.message().replace('\n', " ").trim().to_owned())?;
    settings.check()?;
    Ok(settings.path)
}

/// An absolute path in its shortest spelling, so that one file has one name.
fn plain_path(key: &str, text: &str) -> Result<(), String> {
    let path = Path::new(text);
    let mut components = path.components();
    let is_absolute = components.next() == Some(Component::RootDir);
    let is_plain = components.all(|it| matches!(it, Component::Normal(_)));
    let shortest: std::path::PathBuf = path.components().collect();
    if !is_absolute || !is_plain || path == Path::new("/") {
        return Err(format!("{key} must be an absolute path without `..`"));
    }
    if shortest.as_os_str() != path.as_os_str() || text.chars().any(char::is_control) {
        return Err(format!("{key} must be written as `{}`", shortest.display()));
    }
    Ok(())
}

/// A unit with its kind.
fn is_unit(text: &str) -> bool {
    let kinds = ["service", "socket", "target", "timer", "mount", "path"];
    let is_plain = |c: char| c.is_ascii_alphanumeric() || "-_.@:\\".contains(c);
    text.rsplit_once('.')
        .is_some_and(|(name, kind)| !name.is_empty() && kinds.contains(&kind))
        && !text.starts_with(['-', '.'])
        && text.len() <= 255
        && text.chars().all(is_plain)
}

#[cfg(test)]
mod tests {
    use std::path::PathBuf;

    use super::super::{SettingView, Settings, SettingsError, merge};
    use super::*;

    fn read(files: &[&str]) -> Result<(Settings, Vec<SettingView>), SettingsError> {
        let named = |(place, text): (usize, &&str)| {
            let path = PathBuf::from(format!("/etc/nixctl/config.d/{place}.toml"));
            (path, (*text).to_owned())
        };
        let files: Vec<_> = files.iter().enumerate().map(named).collect();
        merge(&files)
    }

    const NETRC: &str = "[[managed]]\npath = \"/root/.netrc\"\nsource = \"/root/keep/netrc\"\n";

    #[test]
    fn every_key_is_known() {
        let full = ManagedSettings {
            source: Some(String::new()),
            content: Some(String::new()),
            ..ManagedSettings::default()
        };
        let table = toml::Table::try_from(full).unwrap();
        let keys: BTreeSet<&str> = table.keys().map(String::as_str).collect();
        assert_eq!(keys, BTreeSet::from(KEYS));
    }

    #[test]
    fn files_of_several_settings_files_add_up() {
        let proxy = "[[managed]]\npath = \"/etc/proxy\"\ncontent = \"secret\\n\"\nmode = \"0644\"\n\
                     owner = \"root:adm\"\nrestart = \"nix-daemon.service\"\n";
        let (settings, views) = read(&[
            &format!("{NETRC}\n{proxy}"),
            "[[managed]]\npath = \"/root/.netrc\"\ncontent = \"\"\n",
            "[daemon]\nhistory = 7\n",
        ])
        .unwrap();
        let found: Vec<&str> = settings.managed.iter().map(|it| &*it.path).collect();
        assert_eq!(found, ["/etc/proxy", "/root/.netrc"]);
        let (proxy, netrc) = (&settings.managed[0], &settings.managed[1]);
        assert_eq!(
            (proxy.mode_bits(), netrc.mode_bits()),
            (Ok(0o644), Ok(0o600))
        );
        assert_eq!(proxy.owner_names(), ("root", Some("adm")));
        assert_eq!(netrc.owner_names(), ("root", None));
        assert_eq!(netrc.content.as_deref(), Some(""), "the later file counts");
        let view = views
            .iter()
            .find(|it| it.key == "managed./etc/proxy")
            .unwrap();
        assert!(
            view.file.ends_with("0.toml") && !view.value.contains("secret"),
            "{view:?}"
        );
        assert_eq!(settings.daemon.history, 7);
        assert!(read(&[]).unwrap().0.managed.is_empty());
    }

    #[test]
    fn mistakes_name_file_line_and_key() {
        let with = |line: &str| format!("{NETRC}{line}\n");
        let path = |path: &str| format!("\n[[managed]]\npath = \"{path}\"\ncontent = \"\"\n");
        for (text, line, part) in [
            (with("mod = \"0600\""), 4, "did you mean `managed.mode`?"),
            (with("colour = \"0600\""), 4, "unknown key `managed.colour`"),
            (with("content = \"\""), 1, "exactly one"),
            ("[[managed]]\npath = \"/a\"\n".to_owned(), 1, "exactly one"),
            ("[[managed]]\ncontent = \"\"\n".to_owned(), 1, "no path"),
            (with("mode = 600"), 1, "string"),
            (with("mode = \"888\""), 1, "octal"),
            (with("mode = \"4755\""), 1, "octal"),
            (with("mode = \"+644\""), 1, "octal"),
            (with("owner = \":adm\""), 1, "USER:GROUP"),
            (with("restart = \"nix-daemon\""), 1, "unit"),
            (with("restart = \"../x.service\""), 1, "unit"),
            (format!("{NETRC}{NETRC}"), 4, "twice"),
            (path("etc/x"), 2, "absolute"),
            (path("/"), 2, "absolute"),
            (path("/etc/../x"), 2, "without `..`"),
            (path("/etc//x/"), 2, "written as `/etc/x`"),
            (path("/nix/store/x"), 2, "/nix/store cannot be managed"),
            (path("/nix/store"), 2, "/nix/store cannot be managed"),
            (path("/etc/nixctl/config.toml"), 2, "cannot be managed"),
            (
                path("/root/.netrc").replace("content = \"\"", "source = \"/root/.netrc\""),
                2,
                "itself",
            ),
            (
                path("/a").replace("content = \"\"", "source = \"b\""),
                2,
                "source must be",
            ),
            ("managed = 3\n".to_owned(), 1, "[[managed]]"),
            ("managed = [3]\n".to_owned(), 1, "[[managed]]"),
            ("[managed]\npath = 3\n".to_owned(), 1, "[[managed]]"),
            ("[[manged]]\n".to_owned(), 1, "did you mean `managed`?"),
        ] {
            let error = read(&["", &text]).unwrap_err().to_string();
            assert!(
                error.contains(&format!("1.toml line {line}: ")),
                "{text}: {error}"
            );
            assert!(error.contains(part), "{error}");
        }
        let large = format!(
            "[[managed]]\npath = \"/a\"\ncontent = \"{}\"\n",
            "x".repeat(1 << 20)
        );
        assert!(read(&[&large]).is_ok());
        let larger = large.replace("\"x", "\"xx");
        assert!(read(&[&larger]).unwrap_err().to_string().contains("larger"));
    }
}

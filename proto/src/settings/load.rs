//! Reads the settings files and merges them key by key.

use std::collections::BTreeMap;
use std::fs::{File, Metadata};
use std::io::Read;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use serde::Deserialize;
use toml::Value;
use toml::de::{DeTable, DeValue, ValueDeserializer};

use super::health::{POLICY_KEY, flattened, merged};
use super::managed::{self, MANAGED};
use super::value::{check, defaults, nearest, sections};
use super::{FRAGMENT_DIRECTORY, MAIN_FILE, SettingView, Settings, SettingsError};

/// Largest settings file, far beyond any real one.
pub const MAX_FILE_BYTES: u64 = 1 << 20;
/// Settings whose URL may have a password.
const WITH_PASSWORDS: [&str; 4] = [
    "install.proxy",
    "upgrade.feed",
    "upgrade.fleet_lock_url",
    "system.follow",
];
/// Permission bits that let somebody else change a file.
const WRITABLE_BY_OTHERS: u32 = 0o002;
/// Permission bit of the group, which is harmless for root's own group only.
const WRITABLE_BY_GROUP: u32 = 0o020;

/// Reads the settings of the machine under `root`.
///
/// # Errors
/// A file cannot be read, is not root's own, or holds what is no setting.
pub fn load(root: &Path) -> Result<(Settings, Vec<SettingView>), SettingsError> {
    let mut files = Vec::new();
    let main = under(root, MAIN_FILE);
    if let Some(text) = read(&main)? {
        files.push((main, text));
    }
    for path in fragments(&under(root, FRAGMENT_DIRECTORY))? {
        if let Some(text) = read(&path)? {
            files.push((path, text));
        }
    }
    merge(&files)
}

/// Merges the contents of settings files, later ones winning key by key.
///
/// # Errors
/// One of them holds what is no setting.
pub fn merge(files: &[(PathBuf, String)]) -> Result<(Settings, Vec<SettingView>), SettingsError> {
    let mut effective: BTreeMap<String, (Value, String)> = defaults()
        .into_iter()
        .map(|(key, value)| (key, (value, String::new())))
        .collect();
    for (path, text) in files {
        for (key, mut value) in entries(path, text)? {
            if let (POLICY_KEY, Some((earlier, _))) = (key.as_str(), effective.get(&key)) {
                value = merged(earlier, value);
            }
            effective.insert(key, (value, path.display().to_string()));
        }
    }
    let mut whole = sections();
    let mut views = Vec::new();
    for (key, (value, file)) in effective {
        views.push(SettingView {
            value: shown(&key, &value),
            key: key.clone(),
            file,
        });
        let (section, name) = key.split_once('.').unwrap_or((&key, ""));
        match whole.get_mut(section) {
            Some(Value::Table(table)) => drop(table.insert(name.to_owned(), value)),
            Some(Value::Array(list)) => list.push(value),
            _ => {}
        }
    }
    // Every value was accepted alone, so that this can only fail by a mistake of ours.
    let settings = whole
        .try_into()
        .map_err(|error: toml::de::Error| SettingsError::Refused {
            path: PathBuf::from(MAIN_FILE),
            why: format!("internal error: {}", error.message()),
        })?;
    Ok((settings, views))
}

/// The settings in one file, in its order.
fn entries(path: &Path, text: &str) -> Result<Vec<(String, Value)>, SettingsError> {
    let at = |offset: usize, why: String| SettingsError::Line {
        path: path.to_owned(),
        line: line_of(text, offset),
        why,
    };
    let document = DeTable::parse(text).map_err(|error| {
        let offset = error.span().map_or(0, |span| span.start);
        at(
            offset,
            format!("not valid TOML: {}", error.message().replace('\n', " ")),
        )
    })?;
    let known = defaults();
    let mut found = Vec::new();
    for (section, content) in document.get_ref() {
        let start = section.span().start;
        let section = section.get_ref().as_ref();
        if !sections().contains_key(section) {
            return Err(at(start, unknown(section, &known)));
        }
        if section == MANAGED {
            let all = managed::entries(content.get_ref());
            found.extend(all.map_err(|(place, why)| at(place.unwrap_or(start), why))?);
            continue;
        }
        let DeValue::Table(table) = content.get_ref() else {
            return Err(at(
                start,
                format!("`{section}` must be a table, written [{section}]"),
            ));
        };
        for (name, value) in table {
            let start = name.span().start;
            let key = format!("{section}.{}", name.get_ref());
            if !known.contains_key(&key) {
                return Err(at(start, unknown(&key, &known)));
            }
            let value = Value::deserialize(ValueDeserializer::from(value.clone()))
                .map_err(|error| error.message().to_owned())
                .map(|value| match key.as_str() {
                    POLICY_KEY => flattened(value),
                    _ => value,
                })
                .and_then(|value| check(&key, &value).map(|()| value))
                .map_err(|why| at(start, format!("wrong value for `{key}`: {why}")))?;
            found.push((key, value));
        }
    }
    Ok(found)
}

/// That a key does not exist, and which one may have been meant.
pub(super) fn unknown(key: &str, known: &BTreeMap<String, Value>) -> String {
    let sections = sections();
    let names: Box<dyn Iterator<Item = &str>> = match key.contains('.') {
        true => Box::new(known.keys().map(String::as_str)),
        false => Box::new(sections.keys().map(String::as_str)),
    };
    match nearest(key, names) {
        Some(name) => format!("unknown key `{key}`, did you mean `{name}`?"),
        None => format!("unknown key `{key}`"),
    }
}

/// A value as everybody may see it: the password in a URL is left out.
fn shown(key: &str, value: &Value) -> String {
    match value {
        Value::String(text) if WITH_PASSWORDS.contains(&key) => {
            Value::String(without_password(text)).to_string()
        }
        Value::Table(_) if key.starts_with(MANAGED) => managed::shown(value).to_string(),
        _ => value.to_string(),
    }
}

fn without_password(url: &str) -> String {
    let (scheme, rest) = match url.split_once("://") {
        Some((scheme, rest)) => (format!("{scheme}://"), rest),
        None => (String::new(), url),
    };
    match rest.rsplit_once('@') {
        Some((login, host)) => match login.split_once(':') {
            Some((user, _)) => format!("{scheme}{user}:***@{host}"),
            None => url.to_owned(),
        },
        None => url.to_owned(),
    }
}

fn line_of(text: &str, offset: usize) -> usize {
    text.bytes()
        .take(offset)
        .filter(|byte| *byte == b'\n')
        .count()
        + 1
}

fn under(root: &Path, machine_path: &str) -> PathBuf {
    root.join(machine_path.trim_start_matches('/'))
}

/// The fragments by name; hidden files (an editor's, say) are none.
fn fragments(folder: &Path) -> Result<Vec<PathBuf>, SettingsError> {
    let failed = |source| SettingsError::Read {
        path: folder.to_owned(),
        source,
    };
    let entries = match std::fs::read_dir(folder) {
        Ok(entries) => entries,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(Vec::new()),
        Err(error) => return Err(failed(error)),
    };
    let mut paths = Vec::new();
    for entry in entries {
        let path = entry.map_err(failed)?.path();
        let name = path
            .file_name()
            .map(|name| name.to_string_lossy().into_owned());
        if name.is_some_and(|name| name.ends_with(".toml") && !name.starts_with('.')) {
            paths.push(path);
        }
    }
    paths.sort();
    Ok(paths)
}

/// Contents of a file, `None` when there is none.
fn read(path: &Path) -> Result<Option<String>, SettingsError> {
    let refused = |why: &str| SettingsError::Refused {
        path: path.to_owned(),
        why: why.to_owned(),
    };
    let failed = |source| SettingsError::Read {
        path: path.to_owned(),
        source,
    };
    // The kind is looked at before opening, because opening a pipe would wait for ever; that the
    // opened file is the one looked at is seen from its number.
    let seen = match std::fs::symlink_metadata(path) {
        Ok(seen) => seen,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(failed(error)),
    };
    if seen.is_symlink() {
        return Err(refused("it is a symbolic link; put the file itself there"));
    }
    if !seen.is_file() {
        return Err(refused("it is not a regular file"));
    }
    let file = File::open(path).map_err(failed)?;
    let opened = file.metadata().map_err(failed)?;
    if (seen.dev(), seen.ino()) != (opened.dev(), opened.ino()) {
        return Err(refused("it was exchanged while it was opened"));
    }
    if let Some(why) = distrust(&opened) {
        return Err(refused(&why));
    }
    let mut bytes = Vec::new();
    file.take(MAX_FILE_BYTES + 1)
        .read_to_end(&mut bytes)
        .map_err(failed)?;
    if bytes.len() as u64 > MAX_FILE_BYTES {
        return Err(refused("it is larger than 1 MiB"));
    }
    match String::from_utf8(bytes) {
        Ok(text) => Ok(Some(text)),
        Err(error) => {
            let good = error.utf8_error().valid_up_to();
            let line = error
                .as_bytes()
                .iter()
                .take(good)
                .filter(|byte| **byte == b'\n')
                .count();
            let why = "not valid UTF-8".to_owned();
            Err(SettingsError::Line {
                path: path.to_owned(),
                line: line + 1,
                why,
            })
        }
    }
}

/// Why a file may be somebody else's work, if it may.
fn distrust(file: &Metadata) -> Option<String> {
    // Whoever runs this program may also write its settings: that is root, but for tests.
    let own = std::fs::metadata("/proc/self").map_or(0, |own| own.uid());
    let mode = file.mode();
    if file.uid() != 0 && file.uid() != own {
        return Some(format!("it belongs to user {}, not to root", file.uid()));
    }
    if mode & WRITABLE_BY_OTHERS != 0 || (mode & WRITABLE_BY_GROUP != 0 && file.gid() != 0) {
        return Some(format!(
            "others than root can write it (mode {:04o})",
            mode & 0o7777
        ));
    }
    None
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::{PermissionsExt, symlink};

    use tempfile::TempDir;

    use super::*;

    fn machine(files: &[(&str, &[u8])]) -> TempDir {
        let root = TempDir::new().unwrap();
        for (name, content) in files {
            let path = root.path().join("etc/nixctl").join(name);
            std::fs::create_dir_all(path.parent().unwrap()).unwrap();
            std::fs::write(&path, content).unwrap();
            std::fs::set_permissions(&path, PermissionsExt::from_mode(0o644)).unwrap();
        }
        root
    }

    fn refusal(files: &[(&str, &[u8])]) -> String {
        load(machine(files).path()).unwrap_err().to_string()
    }

    #[test]
    fn without_files_everything_is_default() {
        let root = TempDir::new().unwrap();
        let (settings, views) = load(root.path()).unwrap();
        assert_eq!(settings, Settings::default());
        assert!(views.iter().all(|view| view.file.is_empty()));
        assert!(
            views
                .iter()
                .any(|view| view.key == "daemon.history" && view.value == "200")
        );
    }

    #[test]
    fn later_files_win_key_by_key() {
        let root = machine(&[
            (
                "config.toml",
                b"[install]\nversion = \"1.0\"\nbuild_user_count = 4\n",
            ),
            ("config.d/20-b.toml", b"install.version = \"3.0\"\n"),
            (
                "config.d/10-a.toml",
                b"[install]\nversion = \"2.0\"\n[daemon]\nhistory = 7\n",
            ),
            ("config.d/30-empty.toml", b""),
            ("config.d/.40-hidden.toml", b"nonsense"),
            ("config.d/50-readme.txt", b"nonsense"),
        ]);
        let (settings, views) = load(root.path()).unwrap();
        assert_eq!(settings.install.version, "3.0");
        assert_eq!(settings.install.build_user_count, 4);
        assert_eq!(settings.daemon.history, 7);
        let from = |key: &str| views.iter().find(|v| v.key == key).unwrap().file.clone();
        assert!(from("install.version").ends_with("config.d/20-b.toml"));
        assert!(from("install.build_user_count").ends_with("config.toml"));
        assert_eq!(from("daemon.log_level"), "");
    }

    #[test]
    fn mistakes_name_file_line_and_key() {
        for (text, line, part) in [
            (
                "\n\n[install]\nversoin = \"1\"\n",
                4,
                "did you mean `install.version`?",
            ),
            ("[instal]\nversion = \"1\"\n", 1, "did you mean `install`?"),
            (
                "[daemon]\nhistory = \"7\"\n",
                2,
                "wrong value for `daemon.history`",
            ),
            (
                "[daemon]\n\nlog_level = \"loud\"\n",
                3,
                "one of error, warn",
            ),
            ("install = 3\n", 1, "must be a table"),
            ("[install]\nversion = \n", 2, "not valid TOML"),
            (
                "[install]\nversion = \"1\"\nversion = \"2\"\n",
                3,
                "not valid TOML",
            ),
        ] {
            let error = refusal(&[("config.d/x.toml", text.as_bytes())]);
            assert!(error.contains(&format!("x.toml line {line}: ")), "{error}");
            assert!(error.contains(part), "{error}");
        }
    }

    #[test]
    fn probes_are_tables_of_their_own_and_come_whole_from_the_last_file() {
        let root = machine(&[
            (
                "config.toml",
                b"[switch]\nsoak_seconds = 5\n[[switch.probes]]\nname = \"a\"\ntcp = \"[::1]:80\"\n",
            ),
            (
                "config.d/1.toml",
                b"[[switch.probes]]\nname = \"b\"\ncommand = [\"true\"]\n\n[[switch.probes]]\nname = \"c\"\nunix = \"/run/c\"\nseconds = 3\n",
            ),
        ]);
        let (settings, views) = load(root.path()).unwrap();
        assert_eq!(settings.switch.soak_seconds, 5);
        let names: Vec<&str> = settings.switch.probes.iter().map(|it| &*it.name).collect();
        assert_eq!(names, ["b", "c"]);
        assert_eq!(settings.switch.probes[1].seconds, 3);
        let view = views.iter().find(|it| it.key == "switch.probes").unwrap();
        assert!(
            view.value.contains("/run/c") && view.file.ends_with("1.toml"),
            "{view:?}"
        );
        for (text, part) in [
            ("name = \"a\"", "exactly one"),
            ("name = \"a\"\ntcp = \"a:1\"\nunix = \"/a\"", "exactly one"),
            ("name = \"a\"\ntcp = \"a\"", "HOST:PORT"),
            ("name = \"a\"\nhttp = \"ftp://a/\"", "http"),
            ("name = \"a\"\nunix = \"a\"", "absolute"),
            ("tcp = \"a:1\"", "name"),
            ("name = \"a\"\ntcp = \"a:1\"\nseconds = 0", "at least 1"),
            ("name = \"a\"\ntpc = \"a:1\"", "unknown field"),
        ] {
            let text = format!("\n[[switch.probes]]\n{text}\n");
            let error = refusal(&[("config.d/x.toml", text.as_bytes())]);
            assert!(
                error.contains("x.toml line 2: wrong value for `switch.probes`"),
                "{error}"
            );
            assert!(error.contains(part), "{error}");
        }
    }

    #[test]
    fn odd_files_are_refused() {
        assert!(refusal(&[("config.toml", b"a = 1\n\xff")]).contains("line 2: not valid UTF-8"));
        let huge = vec![b'\n'; MAX_FILE_BYTES as usize + 1];
        assert!(refusal(&[("config.toml", &huge)]).contains("larger than 1 MiB"));
        assert!(refusal(&[("config.toml/x", b"")]).contains("not a regular file"));

        let root = machine(&[("real.toml", b"")]);
        let path = root.path().join("etc/nixctl/config.toml");
        symlink("real.toml", &path).unwrap();
        assert!(
            load(root.path())
                .unwrap_err()
                .to_string()
                .contains("symbolic link")
        );

        std::fs::remove_file(&path).unwrap();
        std::fs::write(&path, "").unwrap();
        std::fs::set_permissions(&path, PermissionsExt::from_mode(0o666)).unwrap();
        assert!(
            load(root.path())
                .unwrap_err()
                .to_string()
                .contains("(mode 0666)")
        );
    }

    #[test]
    fn a_proxy_is_shown_without_its_password() {
        let file = PathBuf::from("/x.toml");
        let text = "[install]\nproxy = \"http://me:secret@proxy.example:8080\"\n".to_owned();
        let (settings, views) = merge(&[(file, text)]).unwrap();
        assert!(settings.install.proxy.contains("secret"));
        let view = views
            .iter()
            .find(|view| view.key == "install.proxy")
            .unwrap();
        assert_eq!(view.value, "\"http://me:***@proxy.example:8080\"");
    }
}

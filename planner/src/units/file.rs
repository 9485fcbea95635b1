//! One unit file: sections of keys, each key with all the values it was given.
//!
//! A later file (a drop-in) is applied on top of an earlier one: its values are appended, and `Key=`
//! forgets what came before. Two readings exist. [`Dialect::Systemd`] is what the service manager
//! itself reads: lines that end in a backslash continue, lines it cannot use are ignored, quotes are
//! part of the value. [`Dialect::Ini`] is what switch-to-configuration reads with its INI library (see
//! `ini.rs`). Neither ever panics: what is too big, binary or not UTF-8 is an error.

use std::collections::BTreeMap;
use std::fmt;

use super::ini;

/// Longest unit file that is read. The longest seen in the wild has 60 KiB.
pub const FILE_MAX_BYTES: usize = 8 << 20;

/// Longest line, continuations included, as in systemd (`LONG_LINE_MAX`).
pub const LINE_MAX_BYTES: usize = 1 << 20;

/// Why a unit file cannot be read.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum FileError {
    /// Longer than [`FILE_MAX_BYTES`].
    #[error("cannot read the unit file {file}: it has more than {FILE_MAX_BYTES} bytes")]
    TooLong {
        /// Path of the file.
        file: String,
    },
    /// Binary, or in another encoding.
    #[error("cannot read the unit file {file}: it is not UTF-8 text")]
    NotText {
        /// Path of the file.
        file: String,
    },
    /// A line that cannot be understood.
    #[error("cannot read the unit file {file}: line {line}: {why}")]
    Syntax {
        /// Path of the file.
        file: String,
        /// Line, counted from 1.
        line: usize,
        /// What is wrong with it.
        why: String,
    },
}

/// How the text of a unit file is understood.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Dialect {
    /// As systemd does.
    #[default]
    Systemd,
    /// As the INI library of switch-to-configuration does: the quotes of a value that begins with one
    /// go, a backslash continues nothing, and a key ends at `=` or `:`.
    Ini,
}

/// The keys of a section with all their values, in the order they were given.
pub type Section = BTreeMap<String, Vec<String>>;

/// A unit file, or a unit file with its drop-ins.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct UnitFile {
    dialect: Dialect,
    sections: BTreeMap<String, Section>,
}

impl UnitFile {
    /// A file without any section, for drop-ins to be applied to.
    #[must_use]
    pub fn empty(dialect: Dialect) -> UnitFile {
        UnitFile {
            dialect,
            sections: BTreeMap::new(),
        }
    }

    /// Reads a unit file as systemd does; `file` is named in errors.
    pub fn parse(file: &str, bytes: &[u8]) -> Result<UnitFile, FileError> {
        let mut unit = UnitFile::empty(Dialect::Systemd);
        unit.apply(file, bytes)?;
        Ok(unit)
    }

    /// Applies a further file, usually a drop-in, on top of what is there. After an error the file is
    /// in an undefined, but valid, state.
    pub fn apply(&mut self, file: &str, bytes: &[u8]) -> Result<(), FileError> {
        let text = text_of(file, bytes)?;
        match self.dialect {
            Dialect::Systemd => self.apply_systemd(file, text),
            Dialect::Ini => ini::apply(self, file, text),
        }
    }

    /// All sections.
    #[must_use]
    pub fn sections(&self) -> &BTreeMap<String, Section> {
        &self.sections
    }

    /// The values of a key; empty when it is missing or was cleared.
    #[must_use]
    pub fn values(&self, section: &str, key: &str) -> &[String] {
        self.sections
            .get(section)
            .and_then(|section| section.get(key))
            .map_or(&[], Vec::as_slice)
    }

    /// The value of a key that has only one: the last one given.
    #[must_use]
    pub fn last(&self, section: &str, key: &str) -> Option<&str> {
        self.values(section, key).last().map(String::as_str)
    }

    /// The words of all values of a key that is a list, such as `After` or `Sockets`.
    #[must_use]
    pub fn words(&self, section: &str, key: &str) -> Vec<String> {
        let values = self.values(section, key).iter();
        values.flat_map(|value| split_words(value)).collect()
    }

    /// The value of a key that is true or false. What is neither counts as the default in the
    /// dialect of systemd and as false in the other.
    #[must_use]
    pub fn flag(&self, section: &str, key: &str, default: bool) -> bool {
        let Some(value) = self.last(section, key) else {
            return default;
        };
        match self.dialect {
            Dialect::Ini => matches!(value, "1" | "yes" | "true" | "on"),
            Dialect::Systemd => match value.to_ascii_lowercase().as_str() {
                "1" | "yes" | "y" | "true" | "t" | "on" => true,
                "0" | "no" | "n" | "false" | "f" | "off" => false,
                _ => default,
            },
        }
    }

    /// Opens a section, which exists from now on even without keys.
    pub(super) fn open(&mut self, section: &str) {
        self.sections.entry(section.into()).or_default();
    }

    /// Adds one assignment; an empty value forgets the earlier ones.
    pub(super) fn assign(&mut self, section: &str, key: &str, value: &str) {
        let section = self.sections.entry(section.into()).or_default();
        let values = section.entry(key.into()).or_default();
        if value.is_empty() {
            values.clear();
        } else {
            values.push(value.into());
        }
    }

    fn apply_systemd(&mut self, file: &str, text: &str) -> Result<(), FileError> {
        let mut section: Option<String> = None;
        for (line, logical) in logical_lines(file, text)? {
            let logical = logical.trim();
            if let Some(opened) = logical.strip_prefix('[') {
                let Some(name) = opened.strip_suffix(']') else {
                    let why = format!("{logical:?} is no section header");
                    return Err(syntax(file, line, why));
                };
                self.open(name);
                section = Some(name.into());
            } else if let (Some(section), Some((key, value))) = (&section, logical.split_once('='))
                && !key.trim().is_empty()
            {
                self.assign(section, key.trim(), value.trim());
            }
            // Anything else systemd warns about and ignores.
        }
        Ok(())
    }
}

/// Writes the file so that [`UnitFile::parse`] reads the same again.
impl fmt::Display for UnitFile {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (at, (name, section)) in self.sections.iter().enumerate() {
            writeln!(f, "{}[{name}]", if at == 0 { "" } else { "\n" })?;
            for (key, values) in section {
                if values.is_empty() {
                    writeln!(f, "{key}=")?;
                }
                for value in values {
                    writeln!(f, "{key}={value}")?;
                }
            }
        }
        Ok(())
    }
}

pub(super) fn syntax(file: &str, line: usize, why: String) -> FileError {
    FileError::Syntax {
        file: file.into(),
        line,
        why,
    }
}

fn text_of<'a>(file: &str, bytes: &'a [u8]) -> Result<&'a str, FileError> {
    if bytes.len() > FILE_MAX_BYTES {
        return Err(FileError::TooLong { file: file.into() });
    }
    let text = std::str::from_utf8(bytes)
        .ok()
        .filter(|text| !text.contains('\0'))
        .ok_or_else(|| FileError::NotText { file: file.into() })?;
    Ok(text.strip_prefix('\u{feff}').unwrap_or(text))
}

/// The lines without comments, those that end in a backslash joined with their successors.
fn logical_lines(file: &str, text: &str) -> Result<Vec<(usize, String)>, FileError> {
    let mut lines = Vec::new();
    let mut open: Option<(usize, String)> = None;
    for (at, line) in text.lines().enumerate() {
        let line = line.trim_start();
        // A comment between two halves of a line does not end it.
        if line.starts_with(['#', ';']) {
            continue;
        }
        let (number, mut joined) = open.take().unwrap_or((at + 1, String::new()));
        joined.push_str(line);
        if joined.len() > LINE_MAX_BYTES {
            let why = format!("it has more than {LINE_MAX_BYTES} bytes");
            return Err(syntax(file, number, why));
        }
        let backslashes = joined.len() - joined.trim_end_matches('\\').len();
        if backslashes % 2 == 1 {
            joined.pop();
            joined.push(' ');
            open = Some((number, joined));
        } else {
            lines.push((number, joined));
        }
    }
    lines.extend(open);
    Ok(lines)
}

/// Splits at white space; quotes hold a word together and go.
fn split_words(value: &str) -> Vec<String> {
    let mut words = Vec::new();
    let mut word: Option<String> = None;
    let mut quote: Option<char> = None;
    for c in value.chars() {
        match quote {
            Some(open) if c == open => quote = None,
            Some(_) => word.get_or_insert_default().push(c),
            None if c == '"' || c == '\'' => {
                quote = Some(c);
                word.get_or_insert_default();
            }
            None if c.is_whitespace() => words.extend(word.take()),
            None => word.get_or_insert_default().push(c),
        }
    }
    words.extend(word);
    words
}

#[cfg(test)]
#[path = "file_tests.rs"]
mod tests;

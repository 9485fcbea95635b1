//! The lines of a settings file as Nix understands them.
//!
//! Nix cuts a line at `#` and splits it at blanks. What is left is nothing, `include FILE`,
//! `!include FILE`, or `KEY = VALUE...` with blanks around the sign; anything else ends every
//! program of Nix with an error.

use std::path::{Path, PathBuf};

/// What a line says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ConfText {
    /// Sets a key.
    Set(Setting),
    /// Includes a file.
    Include {
        /// The file.
        target: PathBuf,
        /// Whether Nix ends with an error when it is not there.
        is_needed: bool,
        /// The line.
        line: WrongLine,
    },
    /// Something that Nix refuses.
    Wrong(WrongLine),
}

/// A setting, where it stands.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Setting {
    /// File.
    pub file: PathBuf,
    /// The line, without its end.
    pub line: String,
    /// Key.
    pub key: String,
    /// Value, with single blanks between its words.
    pub value: String,
}

impl Setting {
    /// Absolute paths in its value.
    pub fn paths(&self) -> Vec<PathBuf> {
        let words = self.value.split(' ').filter(|word| word.starts_with('/'));
        words.map(PathBuf::from).collect()
    }
}

/// A line that does not work.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct WrongLine {
    /// File.
    pub file: PathBuf,
    /// Number of the line, from 1.
    pub number: usize,
    /// The line, without its end.
    pub line: String,
}

/// Every line that says something.
pub fn parse(file: &Path, text: &str) -> Vec<ConfText> {
    let lines = text.split('\n').enumerate();
    lines
        .filter_map(|(index, line)| meaning(file, index + 1, line))
        .collect()
}

fn meaning(file: &Path, number: usize, whole: &str) -> Option<ConfText> {
    let line = whole.strip_suffix('\r').unwrap_or(whole);
    let code = line.split('#').next().unwrap_or_default();
    let words: Vec<&str> = code.split_ascii_whitespace().collect();
    let here = || WrongLine {
        file: file.to_owned(),
        number,
        line: line.to_owned(),
    };
    Some(match words[..] {
        [] => return None,
        [word @ ("include" | "!include"), target] => ConfText::Include {
            target: file.parent().unwrap_or(Path::new("/")).join(target),
            is_needed: word == "include",
            line: here(),
        },
        ["include" | "!include", ..] => ConfText::Wrong(here()),
        [key, "=", ref value @ ..] => ConfText::Set(Setting {
            file: file.to_owned(),
            line: line.to_owned(),
            key: key.to_owned(),
            value: value.join(" "),
        }),
        _ => ConfText::Wrong(here()),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_are_understood_as_nix_does() {
        let file = Path::new("/etc/nix/nix.conf");
        for line in ["", "# a = b", "   ", "\t# x"] {
            assert_eq!(parse(file, line), [], "{line}");
        }
        for line in [
            "a",
            "a=b",
            "a =b",
            "a b = c",
            "include",
            "include a b",
            "= b c",
        ] {
            let found = parse(file, line);
            assert!(
                matches!(&found[..], [ConfText::Wrong(it)] if it.line == line),
                "{line}"
            );
        }
        for (line, key, value) in [
            ("a = b", "a", "b"),
            ("  a   =  b  c # d", "a", "b c"),
            ("a =", "a", ""),
            ("a = b\r", "a", "b"),
        ] {
            let found = parse(file, line);
            let [ConfText::Set(it)] = &found[..] else {
                panic!("{line}")
            };
            assert_eq!((it.key.as_str(), it.value.as_str()), (key, value));
        }
        let found = parse(file, "x = 1\n!include other.conf\ninclude /abs.conf\n");
        let targets: Vec<(String, bool)> = found
            .iter()
            .filter_map(|it| match it {
                ConfText::Include {
                    target, is_needed, ..
                } => Some((target.display().to_string(), *is_needed)),
                _ => None,
            })
            .collect();
        let expected = [("/etc/nix/other.conf", false), ("/abs.conf", true)];
        assert_eq!(
            targets,
            expected.map(|(path, needed)| (path.to_owned(), needed))
        );
    }

    #[test]
    fn lines_are_counted_from_one() {
        let found = parse(Path::new("/f"), "a = b\n\nwrong\n");
        assert!(matches!(&found[1], ConfText::Wrong(it) if it.number == 3));
    }
}

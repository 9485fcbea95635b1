//! Unit files as switch-to-configuration reads them: with an INI library, not as systemd does.
//!
//! The differences that can be seen: a value that begins with a quote runs to the next such quote, over
//! line ends too, and both quotes go; a backslash at the end of a line continues nothing, so what follows
//! becomes the beginning of the next key; a key ends at `=` or `:`, whichever comes first; an
//! unfinished key or quote is an error. Only [`Dialect::Ini`](super::file::Dialect) gets here.

use super::file::{FileError, UnitFile, syntax};

/// Applies the text to the file.
pub(super) fn apply(unit: &mut UnitFile, file: &str, text: &str) -> Result<(), FileError> {
    let mut section: Option<String> = None;
    let mut rest = text.trim_start();
    while let Some(first) = rest.chars().next() {
        let failed = |what: &str| {
            let line = text[..text.len() - rest.len()].matches('\n').count() + 1;
            syntax(file, line, format!("{what} does not end"))
        };
        let tail = &rest[first.len_utf8()..];
        rest = match first {
            '#' | ';' => split_line(rest).1,
            '[' => {
                let (name, after) = tail.split_once(']').ok_or_else(|| failed("the header"))?;
                unit.open(name.trim());
                section = Some(name.trim().into());
                after
            }
            _ => {
                let (key, after) = split_key(rest).ok_or_else(|| failed("the key"))?;
                let (value, after) = split_value(after).ok_or_else(|| failed("the quote"))?;
                if let Some(section) = &section {
                    unit.assign(section, key, value.trim());
                }
                after
            }
        }
        .trim_start();
    }
    Ok(())
}

fn split_line(text: &str) -> (&str, &str) {
    let end = text.find(['\n', '\r']).unwrap_or(text.len());
    text.split_at(end)
}

fn split_key(text: &str) -> Option<(&str, &str)> {
    let end = text.find(['=', ':'])?;
    Some((text[..end].trim(), &text[end + 1..]))
}

fn split_value(text: &str) -> Option<(String, &str)> {
    let text = text.trim_start_matches(|c: char| c.is_whitespace() && c != '\n' && c != '\r');
    let Some(quote) = text.chars().next().filter(|c| *c == '"' || *c == '\'') else {
        let (value, after) = split_line(text);
        return Some((value.into(), after));
    };
    let (quoted, after) = text[1..].split_once(quote)?;
    let (end, after) = split_line(after);
    Some((format!("{quoted}{end}"), after))
}

//! The two outputs of the program and what they are able to show.
//!
//! A reader that goes away (`nixctl operations | head -1`) is no error: what comes after is
//! dropped quietly. Any other failure to write is remembered and becomes the exit code. A live
//! line is erased before anything else is written, so that the two never mix.

use std::io::{ErrorKind, IsTerminal, Write};

use serde::Serialize;

use super::style::Style;
use super::text;
use crate::cli::Global;

/// Width that is assumed where the terminal does not say.
const DEFAULT_WIDTH: usize = 80;
/// Returns to the first column and erases the line.
const ERASE: &str = "\r\x1b[2K";

/// Standard output and standard error.
#[derive(Debug)]
pub struct Terminal {
    /// Colours of standard output.
    pub out: Style,
    /// Colours of standard error.
    pub err: Style,
    /// Whether a live line can be drawn on standard output.
    pub live: bool,
    /// Whether only ASCII can be shown.
    pub ascii: bool,
    /// Whether the locale says that UTF-8 is read, on a terminal or not.
    pub utf8: bool,
    /// Whether output is cut to a width.
    out_is_terminal: bool,
    /// Whether a live line stands on the terminal now.
    drawn: bool,
    /// Nobody reads standard output any more.
    closed: bool,
    /// Why standard output could not be written.
    failure: Option<std::io::Error>,
}

impl Terminal {
    /// What this process has.
    pub fn new(global: &Global) -> Terminal {
        let variable = |name: &str| std::env::var(name).unwrap_or_default();
        let no_color = !variable("NO_COLOR").is_empty();
        let dumb = matches!(variable("TERM").as_str(), "" | "dumb");
        let out_is_terminal = std::io::stdout().is_terminal();
        let err_is_terminal = std::io::stderr().is_terminal();
        let utf8 = is_utf8(&["LC_ALL", "LC_CTYPE", "LANG"].map(variable));
        Terminal {
            out: Style::choose(global.color, no_color, dumb, out_is_terminal),
            err: Style::choose(global.color, no_color, dumb, err_is_terminal),
            live: out_is_terminal && !dumb && !global.json,
            ascii: !utf8 && (out_is_terminal || err_is_terminal),
            utf8,
            out_is_terminal,
            drawn: false,
            closed: false,
            failure: None,
        }
    }

    /// Whether somebody can be asked: a terminal to read from and one to ask on.
    pub fn can_ask(&self) -> bool {
        std::io::stdin().is_terminal() && std::io::stderr().is_terminal()
    }

    /// Columns of the terminal; `None` where lines need not be cut.
    pub fn width(&self) -> Option<usize> {
        self.out_is_terminal.then(|| {
            terminal_size::terminal_size_of(std::io::stdout())
                .map_or(DEFAULT_WIDTH, |(width, _)| usize::from(width.0))
        })
    }

    /// Writes a line to standard output.
    pub fn line(&mut self, line: &str) {
        self.erase();
        let shown = if self.ascii {
            text::ascii(line)
        } else {
            line.to_owned()
        };
        self.write(format!("{shown}\n").as_bytes());
    }

    /// Writes lines to standard output.
    pub fn lines<S: AsRef<str>>(&mut self, lines: impl IntoIterator<Item = S>) {
        for line in lines {
            self.line(line.as_ref());
        }
    }

    /// Writes bytes to standard output as they are.
    pub fn raw(&mut self, bytes: &[u8]) {
        self.erase();
        self.write(bytes);
    }

    /// Writes one JSON document on a line of its own.
    pub fn json<T: Serialize>(&mut self, document: &T) {
        match serde_json::to_vec(document) {
            Ok(mut bytes) => {
                bytes.push(b'\n');
                self.raw(&bytes);
            }
            Err(error) => self.failure = Some(error.into()),
        }
    }

    /// Writes a line to standard error; a failure there has nowhere to go.
    pub fn complain(&mut self, line: &str) {
        self.erase();
        let shown = if self.ascii {
            text::ascii(line)
        } else {
            line.to_owned()
        };
        let _ = writeln!(std::io::stderr().lock(), "{shown}");
    }

    /// Asks a question that is answered with yes or no; anything but yes is no.
    pub fn ask(&mut self, question: &str) -> bool {
        self.erase();
        let mut err = std::io::stderr().lock();
        if write!(err, "{question} [y/N] ")
            .and_then(|()| err.flush())
            .is_err()
        {
            return false;
        }
        let mut answer = String::new();
        let read = std::io::stdin().read_line(&mut answer);
        if !answer.ends_with('\n') {
            let _ = writeln!(err);
        }
        read.is_ok() && matches!(answer.trim().to_ascii_lowercase().as_str(), "y" | "yes")
    }

    /// Draws the live line over the one before.
    pub fn draw(&mut self, line: &str) {
        let shown = if self.ascii {
            text::ascii(line)
        } else {
            line.to_owned()
        };
        self.drawn = true;
        self.write(format!("{ERASE}{shown}").as_bytes());
    }

    /// Takes the live line away.
    pub fn erase(&mut self) {
        if self.drawn {
            self.drawn = false;
            self.write(ERASE.as_bytes());
        }
    }

    /// Flushes; why standard output could not be written, if it could not.
    pub fn finish(&mut self) -> Option<std::io::Error> {
        self.erase();
        self.write(b"");
        self.failure.take()
    }

    fn write(&mut self, bytes: &[u8]) {
        if self.closed || self.failure.is_some() {
            return;
        }
        let mut out = std::io::stdout().lock();
        match out.write_all(bytes).and_then(|()| out.flush()) {
            Ok(()) => {}
            Err(error) if error.kind() == ErrorKind::BrokenPipe => self.closed = true,
            Err(error) => self.failure = Some(error),
        }
    }
}

/// Whether the first of LC_ALL, LC_CTYPE and LANG that is set names UTF-8.
fn is_utf8(locale: &[String; 3]) -> bool {
    let name = locale
        .iter()
        .find(|name| !name.is_empty())
        .map(|name| name.to_ascii_lowercase());
    name.is_some_and(|name| name.contains("utf-8") || name.contains("utf8"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_locale_decides_on_utf8() {
        for (locale, expected) in [
            (["", "", ""], false),
            (["C", "en_GB.UTF-8", "en_GB.UTF-8"], false),
            (["", "en_GB.utf8", "C"], true),
            (["C.UTF-8", "", ""], true),
            (["", "", "POSIX"], false),
        ] {
            assert_eq!(is_utf8(&locale.map(str::to_owned)), expected, "{locale:?}");
        }
    }
}

//! Colours, and whether there are any.

use crate::cli::Color;

/// How text is marked up: with ANSI colours, or not at all.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Style {
    colour: bool,
}

impl Style {
    /// Text as it is.
    #[cfg(test)]
    pub const PLAIN: Style = Style { colour: false };
    /// Text with colours.
    #[cfg(test)]
    pub const COLOUR: Style = Style { colour: true };

    /// The style for an output, from the option, the environment and what the output is.
    pub fn choose(when: Color, no_color: bool, dumb: bool, is_terminal: bool) -> Style {
        let colour = match when {
            Color::Always => true,
            Color::Never => false,
            Color::Auto => is_terminal && !no_color && !dumb,
        };
        Style { colour }
    }

    /// What stands out: headings and names.
    pub fn bold(self, text: &str) -> String {
        self.paint("1", text)
    }

    /// What matters less.
    pub fn dim(self, text: &str) -> String {
        self.paint("2", text)
    }

    /// What is right.
    pub fn good(self, text: &str) -> String {
        self.paint("32", text)
    }

    /// What somebody should look at.
    pub fn warning(self, text: &str) -> String {
        self.paint("33", text)
    }

    /// What is wrong.
    pub fn bad(self, text: &str) -> String {
        self.paint("1;31", text)
    }

    fn paint(self, code: &str, text: &str) -> String {
        if self.colour {
            format!("\x1b[{code}m{text}\x1b[0m")
        } else {
            text.to_owned()
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn colours_are_for_terminals() {
        for (when, no_color, dumb, is_terminal, expected) in [
            (Color::Auto, false, false, true, true),
            (Color::Auto, false, false, false, false),
            (Color::Auto, true, false, true, false),
            (Color::Auto, false, true, true, false),
            (Color::Always, true, true, false, true),
            (Color::Never, false, false, true, false),
        ] {
            let style = Style::choose(when, no_color, dumb, is_terminal);
            assert_eq!(
                style == Style::COLOUR,
                expected,
                "{when:?} {no_color} {dumb} {is_terminal}"
            );
        }
        assert_eq!(Style::PLAIN.bad("x"), "x");
        assert_eq!(Style::COLOUR.good("x"), "\x1b[32mx\x1b[0m");
    }
}

//! `nixctl explain`

use nixctl_proto::{Code, Exit, Failure};
use serde::Serialize;

use super::nearest::nearest;
use super::{Context, Outcome};
use crate::render::Style;
use crate::render::table;

/// A code as a JSON document.
#[derive(Serialize)]
struct Document {
    number: String,
    name: &'static str,
    exit: u8,
    summary: &'static str,
    explanation: &'static str,
    help: &'static str,
}

/// Explains a code, or lists them all.
pub fn run(context: &mut Context, code: Option<&str>) -> Outcome {
    match code {
        Some(text) => {
            let code = parse(text)?;
            if context.json {
                context.terminal.json(&Document::new(code));
            } else {
                context.terminal.lines(lines(code, context.terminal.out));
            }
        }
        None if context.json => {
            let all: Vec<Document> = Code::ALL.iter().copied().map(Document::new).collect();
            context.terminal.json(&all);
        }
        None => {
            let rows: Vec<Vec<String>> = Code::ALL
                .iter()
                .map(|code| [&code.to_string(), code.name(), code.summary()].map(str::to_owned))
                .map(Vec::from)
                .collect();
            let width = context.terminal.width();
            context
                .terminal
                .lines(table::lines(&["CODE", "NAME", "MEANING"], &rows, width));
        }
    }
    Ok(Exit::Done)
}

impl Document {
    fn new(code: Code) -> Document {
        Document {
            number: code.to_string(),
            name: code.name(),
            exit: code.exit() as u8,
            summary: code.summary(),
            explanation: code.explanation(),
            help: code.help(),
        }
    }
}

fn lines(code: Code, style: Style) -> Vec<String> {
    vec![
        format!(
            "{} {}: {}",
            style.bold(&code.to_string()),
            code.name(),
            code.summary()
        ),
        String::new(),
        code.explanation().to_owned(),
        String::new(),
        format!("{} {}", style.good("help:"), code.help()),
        format!("nixctl ends with exit code {}", code.exit() as u8),
    ]
}

fn parse(text: &str) -> Result<Code, Failure> {
    if let Some(code) = Code::parse(text) {
        return Ok(code);
    }
    let numbers: Vec<String> = Code::ALL.iter().map(Code::to_string).collect();
    let names = Code::ALL
        .iter()
        .map(|code| code.name())
        .chain(numbers.iter().map(String::as_str));
    let help = match nearest(text, names) {
        Some(near) => format!("did you mean {near}? `nixctl explain` lists all"),
        None => "`nixctl explain` lists all codes".to_owned(),
    };
    let message = format!("cannot explain `{text}`: there is no such code");
    Err(Failure::new(Code::NotFound, message).with_help(help))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_code_is_explained() {
        let lines = lines(Code::NoSpace, Style::PLAIN);
        assert!(lines[0].starts_with("NIX1001 NoSpace: there is not enough free space"));
        assert_eq!(lines.last().unwrap(), "nixctl ends with exit code 5");
        let json = serde_json::to_value(Document::new(Code::NoSpace)).unwrap();
        assert_eq!(
            (&json["number"], &json["exit"]),
            (&"NIX1001".into(), &5.into())
        );
    }

    #[test]
    fn an_unknown_code_is_a_usage_error_that_names_the_nearest() {
        let failure = parse("NoSpce").unwrap_err();
        assert_eq!(failure.code.exit(), Exit::Usage);
        assert!(failure.help.contains("NoSpace"), "{}", failure.help);
        assert!(parse("NIX9").unwrap_err().help.contains("lists all"));
        assert_eq!(parse("nix1001").unwrap(), Code::NoSpace);
    }
}

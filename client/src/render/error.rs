//! Failures: `error[NIXnnnn]: one sentence`, the causes, what state the machine is in, the help.

use nixctl_proto::{Code, Failure, OperationId};
use serde::Serialize;

use super::style::Style;
use super::text::{clean, clean_lines};

/// A failure as the JSON document that a refused command ends with.
#[derive(Debug, Serialize)]
pub struct ErrorDocument<'a> {
    error: ErrorBody<'a>,
}

#[derive(Debug, Serialize)]
struct ErrorBody<'a> {
    /// `NIX1001`
    number: String,
    #[serde(flatten)]
    failure: &'a Failure,
}

impl<'a> ErrorDocument<'a> {
    /// The document of a failure.
    pub fn new(failure: &'a Failure) -> Self {
        ErrorDocument {
            error: ErrorBody {
                number: failure.code.to_string(),
                failure,
            },
        }
    }
}

/// Lines for standard error.
pub fn lines(failure: &Failure, notes: &[&str], style: Style) -> Vec<String> {
    let label = style.bad(&format!("error[{}]:", failure.code));
    let mut message = clean_lines(&failure.message);
    let mut lines = vec![format!("{label} {}", message.next().unwrap_or_default())];
    lines.extend(message.map(|line| format!("  {line}")));
    for cause in &failure.causes {
        let mut cause = clean_lines(cause);
        lines.push(format!(
            "  {} {}",
            style.dim("cause:"),
            cause.next().unwrap_or_default()
        ));
        lines.extend(cause.map(|line| format!("    {line}")));
    }
    lines.extend(
        notes
            .iter()
            .map(|note| format!("  {} {note}", style.dim("note:"))),
    );
    if !failure.help.is_empty() {
        lines.push(format!(
            "  {} {}",
            style.good("help:"),
            clean(&failure.help)
        ));
    }
    if failure.code == Code::Internal {
        let more = "this is a bug; please report it with the output above";
        lines.push(format!("  {} {more}", style.dim("note:")));
    }
    lines
}

/// The failure with the id in the commands that its help names (`nixctl show OP`).
pub fn about(failure: &Failure, id: &OperationId) -> Failure {
    let mut failure = failure.clone();
    failure.help = failure.help.replace(" OP`", &format!(" {id}`"));
    failure
}

#[cfg(test)]
mod tests {
    use super::*;

    fn failure() -> Failure {
        Failure::new(
            Code::CommandFailed,
            "cannot make users: useradd failed\nuseradd: no space",
        )
        .with_cause("exit status 1\nsecond line")
        .with_cause("\x1b[31mred")
        .with_help("look at it with `nixctl show OP`")
    }

    #[test]
    fn an_error_reads_well() {
        assert_eq!(
            lines(&failure(), &["the machine is as before"], Style::PLAIN),
            [
                "error[NIX2005]: cannot make users: useradd failed",
                "  useradd: no space",
                "  cause: exit status 1",
                "    second line",
                "  cause: \u{fffd}[31mred",
                "  note: the machine is as before",
                "  help: look at it with `nixctl show OP`",
            ]
        );
    }

    #[test]
    fn colours_are_only_for_the_labels() {
        let failure = Failure::new(Code::Busy, "cannot").with_help("wait");
        assert_eq!(
            lines(&failure, &[], Style::COLOUR),
            [
                "\x1b[1;31merror[NIX1015]:\x1b[0m cannot",
                "  \x1b[32mhelp:\x1b[0m wait"
            ]
        );
    }

    #[test]
    fn the_help_names_the_operation() {
        let id = OperationId::from_parts(0, 0);
        assert_eq!(
            about(&failure(), &id).help,
            "look at it with `nixctl show 0000000000000000`"
        );
    }

    #[test]
    fn json_has_the_number_and_the_name() {
        let failure = Failure::new(Code::Busy, "cannot").with_help("wait");
        assert_eq!(
            serde_json::to_string(&ErrorDocument::new(&failure)).unwrap(),
            r#"{"error":{"number":"NIX1015","code":"Busy","message":"cannot","causes":[],"help":"wait"}}"#
        );
    }
}

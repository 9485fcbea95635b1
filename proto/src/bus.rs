//! What both sides of the bus must agree on beyond the interfaces: how a failure becomes the text
//! of a D-Bus error and back.
//!
//! The first line is `NIX1001: message`, the second `help: what to do`, each further one
//! `cause: why`. Programs that know nothing of nixctl show it as it is.

use crate::code::Code;
use crate::failure::Failure;

/// Interface of the manager object.
pub const MANAGER_INTERFACE: &str = "org.nixctl1.Manager";
/// Interface of each operation's object.
pub const OPERATION_INTERFACE: &str = "org.nixctl1.Operation";
/// Name of the error when an administrator could authenticate, and the call did not allow asking.
pub const INTERACTION_REQUIRED: &str =
    "org.freedesktop.DBus.Error.InteractiveAuthorizationRequired";

/// The text of the D-Bus error for a failure.
pub fn error_text(failure: &Failure) -> String {
    let line = |text: &str| text.replace('\n', " ");
    let mut text = format!("{}: {}", failure.code, line(&failure.message));
    if !failure.help.is_empty() {
        text.push_str(&format!("\nhelp: {}", line(&failure.help)));
    }
    for cause in &failure.causes {
        text.push_str(&format!("\ncause: {}", line(cause)));
    }
    text
}

/// The failure in the text of a D-Bus error, if it is one of nixctld's.
pub fn parse_error(text: &str) -> Option<Failure> {
    let mut lines = text.lines();
    let (code, message) = lines.next()?.split_once(": ")?;
    let code = code
        .starts_with("NIX")
        .then(|| Code::parse(code))
        .flatten()?;
    let mut failure = Failure::new(code, message);
    for line in lines {
        if let Some(help) = line.strip_prefix("help: ") {
            failure.help = help.to_owned();
        } else if let Some(cause) = line.strip_prefix("cause: ") {
            failure.causes.push(cause.to_owned());
        }
    }
    Some(failure)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn failures_come_back() {
        for code in Code::ALL {
            let plain = Failure::new(*code, "cannot do this: for a reason");
            let full = plain
                .clone()
                .with_help("do that")
                .with_cause("a")
                .with_cause("b");
            assert_eq!(parse_error(&error_text(&plain)), Some(plain));
            assert_eq!(parse_error(&error_text(&full)), Some(full));
        }
    }

    #[test]
    fn errors_of_others_are_none() {
        for text in [
            "",
            "NIX",
            "Access denied",
            "1001: x",
            "NIX0001: x",
            "NIX1001",
        ] {
            assert_eq!(parse_error(text), None, "{text}");
        }
    }
}

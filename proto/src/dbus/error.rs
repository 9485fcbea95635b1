//! D-Bus errors of the daemon as failures again.
//!
//! [`crate::bus`] fixes the text. Here the name counts too: an error of ours whose text this client
//! cannot take apart is still known by its name.

use crate::bus::parse_error;
use crate::code::Code;
use crate::failure::Failure;

/// What every error name of ours begins with.
const NAME_PREFIX: &str = "org.nixctl1.Error.";

/// The failure in a D-Bus error; `None` when neither name nor text are the daemon's.
pub fn failure(name: &str, text: &str) -> Option<Failure> {
    if let Some(failure) = parse_error(text) {
        return Some(failure);
    }
    let name = name.strip_prefix(NAME_PREFIX)?;
    // A newer daemon may know codes that this client does not: its words are shown all the same.
    Some(Failure::new(
        Code::parse(name).unwrap_or(Code::Internal),
        text,
    ))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::bus::{INTERACTION_REQUIRED, error_text};

    #[test]
    fn every_code_comes_back() {
        for code in Code::ALL {
            let sent = Failure::new(*code, "cannot do it: why").with_cause("because of this");
            assert_eq!(failure(&code.dbus_name(), &error_text(&sent)), Some(sent));
        }
    }

    #[test]
    fn the_text_counts_under_the_names_of_the_bus() {
        let sent = Failure::new(Code::NotAuthorized, "cannot install: you may not");
        assert_eq!(
            failure(INTERACTION_REQUIRED, &error_text(&sent)),
            Some(sent)
        );
        assert_eq!(
            failure("org.freedesktop.DBus.Error.NoReply", "no reply"),
            None
        );
    }

    #[test]
    fn newer_errors_keep_their_words() {
        let newer = failure("org.nixctl1.Error.FromTheFuture", "NIX4711: cannot see").unwrap();
        assert_eq!(
            (newer.code, newer.message.as_str()),
            (Code::Internal, "NIX4711: cannot see")
        );
        let bare = failure("org.nixctl1.Error.Busy", "it works: already").unwrap();
        assert_eq!(
            (bare.code, bare.message.as_str()),
            (Code::Busy, "it works: already")
        );
    }
}

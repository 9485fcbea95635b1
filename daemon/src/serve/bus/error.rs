//! A refusal as a D-Bus error.

use nixctl_proto::Failure;
use nixctl_proto::bus::{INTERACTION_REQUIRED, error_text};
use zbus::message::{Header, Message};
use zbus::names::ErrorName;
use zbus::{DBusError, fdo};

use crate::serve::Refusal;

/// `org.nixctl1.Error.NAME` with the code, the help and the causes in its text.
///
/// Where an administrator could authenticate but the call did not allow asking, the name is the
/// bus's own `InteractiveAuthorizationRequired`, as systemd and polkit's tools expect it; the text
/// is the same.
#[derive(Debug)]
pub struct BusError {
    name: String,
    text: String,
}

impl From<Refusal> for BusError {
    fn from(refusal: Refusal) -> Self {
        let name = match refusal.interaction_would_help {
            true => INTERACTION_REQUIRED.to_owned(),
            false => refusal.failure.code.dbus_name(),
        };
        BusError {
            name,
            text: error_text(&refusal.failure),
        }
    }
}

impl From<Failure> for BusError {
    fn from(failure: Failure) -> Self {
        Refusal::from(failure).into()
    }
}

/// For properties, which can only fail with the errors of the bus itself.
impl From<BusError> for fdo::Error {
    fn from(error: BusError) -> Self {
        fdo::Error::Failed(error.text)
    }
}

impl DBusError for BusError {
    fn create_reply(&self, call: &Header<'_>) -> zbus::Result<Message> {
        Message::error(call, self.name())?.build(&(&self.text,))
    }

    fn name(&self) -> ErrorName<'_> {
        ErrorName::try_from(self.name.as_str()).unwrap_or(ErrorName::from_static_str_unchecked(
            "org.nixctl1.Error.Internal",
        ))
    }

    fn description(&self) -> Option<&str> {
        Some(&self.text)
    }
}

#[cfg(test)]
mod tests {
    use nixctl_proto::Code;

    use super::*;

    #[test]
    fn every_code_is_a_valid_error_name() {
        for code in Code::ALL {
            let error = BusError::from(Failure::new(*code, "x"));
            assert_eq!(
                error.name().as_str(),
                format!("org.nixctl1.Error.{}", code.name())
            );
            assert!(
                error
                    .description()
                    .unwrap()
                    .starts_with(&format!("{code}: x\nhelp: "))
            );
        }
    }

    #[test]
    fn only_a_challenge_has_the_name_of_the_bus() {
        let failure = Failure::new(Code::NotAuthorized, "x");
        let error = BusError::from(Refusal {
            failure,
            interaction_would_help: true,
        });
        assert_eq!(error.name().as_str(), INTERACTION_REQUIRED);
        assert!(error.text.starts_with("NIX3001: "));
    }
}

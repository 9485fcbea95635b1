//! What the bus's errors mean to a caller.

use nixctl_proto::dbus::{error, values};
use nixctl_proto::{Code, Failure, OperationId};
use zbus::fdo;

use crate::connect::Trouble;

/// Refusals of the bus itself.
const DBUS_ERROR: &str = "org.freedesktop.DBus.Error.";

/// An answer that cannot be understood.
pub fn refused(error: values::BadValue) -> Trouble {
    Trouble::Refused(error.into())
}

/// The bus does not know the object of an operation: there is no such operation.
pub fn about(trouble: Trouble, id: &OperationId) -> Trouble {
    match trouble {
        Trouble::Refused(failure) if failure.code == Code::NotFound => {
            let message = format!("cannot find operation {id}: nixctld does not know it");
            Trouble::Refused(Failure::new(Code::NotFound, message))
        }
        trouble => trouble,
    }
}

/// What an error of the bus means.
pub fn trouble(error: zbus::Error) -> Trouble {
    match error {
        zbus::Error::MethodError(name, text, _) => {
            let text = text.unwrap_or_default();
            named(name.as_str(), &text)
        }
        zbus::Error::FDO(error) => match *error {
            fdo::Error::ZBus(error) => trouble(error),
            error => {
                use zbus::DBusError;
                named(
                    error.name().as_str(),
                    error.description().unwrap_or_default(),
                )
            }
        },
        error @ (zbus::Error::Variant(_) | zbus::Error::InvalidReply) => {
            let message = format!("cannot understand nixctld: {error}");
            Trouble::Refused(Failure::new(Code::BadFrame, message))
        }
        error => Trouble::Lost(error.to_string()),
    }
}

/// What a named error means: the daemon's own carry their code, the bus's are translated.
fn named(name: &str, text: &str) -> Trouble {
    if let Some(failure) = error::failure(name, text) {
        return Trouble::Refused(failure);
    }
    let code = match name.strip_prefix(DBUS_ERROR).unwrap_or_default() {
        "AccessDenied" | "AuthFailed" | "InteractiveAuthorizationRequired" => Code::NotAuthorized,
        "UnknownObject" => Code::NotFound,
        "UnknownMethod" | "UnknownInterface" | "UnknownProperty" | "InvalidSignature" => {
            let message = format!("cannot ask nixctld for this: {text}");
            return Trouble::Refused(Failure::new(Code::UnknownRequest, message));
        }
        "InvalidArgs" => Code::InvalidArgument,
        "LimitsExceeded" => Code::TooMany,
        // ServiceUnknown, NameHasNoOwner, NoReply, Disconnected, Spawn.*, systemd's own.
        _ => return Trouble::Lost(if text.is_empty() { name } else { text }.to_owned()),
    };
    Trouble::Refused(Failure::new(code, text))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn errors_of_the_daemon_and_of_the_bus() {
        let text = "NIX1001: cannot install: no space\nhelp: free some";
        let Trouble::Refused(failure) = named("org.nixctl1.Error.NoSpace", text) else {
            panic!()
        };
        assert_eq!(
            (failure.code, failure.help.as_str()),
            (Code::NoSpace, "free some")
        );
        for (name, code) in [
            ("AccessDenied", Code::NotAuthorized),
            ("InteractiveAuthorizationRequired", Code::NotAuthorized),
            ("UnknownObject", Code::NotFound),
            ("UnknownMethod", Code::UnknownRequest),
            ("UnknownProperty", Code::UnknownRequest),
            ("InvalidArgs", Code::InvalidArgument),
        ] {
            let Trouble::Refused(failure) = named(&format!("{DBUS_ERROR}{name}"), "x") else {
                panic!("{name}")
            };
            assert_eq!(failure.code, code, "{name}");
        }
        for name in [
            "ServiceUnknown",
            "NoReply",
            "Spawn.ChildExited",
            "NameHasNoOwner",
        ] {
            assert_eq!(
                named(&format!("{DBUS_ERROR}{name}"), "x"),
                Trouble::Lost("x".to_owned())
            );
        }
    }
}

//! What shape an install has here: with systemd, in a container without init, in an image, or
//! for root alone.

use nixctl_proto::request::InstallRequest;

use super::facts::{Facts, Manager};

/// Shape of an install.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Shape {
    /// systemd runs: units, enabled and started.
    Managed,
    /// An image with systemd: units, enabled; nothing is started or tested.
    Image,
    /// Nobody starts services: no units; nixctld in the foreground supervises nix-daemon.
    Foreground,
    /// An image without systemd: files only.
    BareImage,
    /// No daemon and no build users: the store belongs to root alone.
    SingleUser,
}

impl Shape {
    /// The shape that the facts and the request ask for.
    pub fn of(facts: &Facts, request: &InstallRequest) -> Shape {
        match facts.system.manager {
            _ if request.single_user => Shape::SingleUser,
            Manager::Systemd => Shape::Managed,
            Manager::None => Shape::Foreground,
            Manager::Image { systemd: true } => Shape::Image,
            Manager::Image { systemd: false } => Shape::BareImage,
        }
    }

    /// Whether units and tmpfiles are written.
    pub fn has_units(self) -> bool {
        matches!(self, Shape::Managed | Shape::Image)
    }

    /// Whether builds run as users of their own.
    pub fn has_build_users(self) -> bool {
        self != Shape::SingleUser
    }

    /// The words for the plan's title.
    pub fn words(self) -> &'static str {
        match self {
            Shape::Managed => "for systemd",
            Shape::Image => "into an image with systemd",
            Shape::Foreground => "without a service manager",
            Shape::BareImage => "into an image without a service manager",
            Shape::SingleUser => "for root alone",
        }
    }

    /// What the user should know about it.
    pub fn note(self) -> Option<&'static str> {
        match self {
            Shape::Managed => None,
            Shape::Image | Shape::BareImage => {
                Some("this is an image: nothing is started or tested, the first boot does it")
            }
            Shape::Foreground => Some(
                "no service manager runs here: root can use Nix at once; for other users keep \
                 `nixctld` running in the foreground, which supervises nix-daemon",
            ),
            Shape::SingleUser => Some("the store belongs to root alone: other users cannot build"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::catalogue::facts::System;

    #[test]
    fn the_manager_decides_unless_single_user_was_asked_for() {
        let of = |manager, single_user| {
            let plain = Facts::plain_debian();
            let system = System {
                manager,
                ..plain.system.clone()
            };
            let request = InstallRequest {
                single_user,
                ..InstallRequest::default()
            };
            Shape::of(&Facts { system, ..plain }, &request)
        };
        assert_eq!(of(Manager::Systemd, false), Shape::Managed);
        assert_eq!(of(Manager::None, false), Shape::Foreground);
        assert_eq!(of(Manager::Image { systemd: true }, false), Shape::Image);
        assert_eq!(
            of(Manager::Image { systemd: false }, false),
            Shape::BareImage
        );
        assert_eq!(of(Manager::None, true), Shape::SingleUser);
        assert_eq!(of(Manager::Systemd, true), Shape::SingleUser);
    }
}

//! What a caller must be allowed to do: the actions, and who may do them without an administrator.
//!
//! Pure. The ids are those of the policy file that is installed for polkit.

use nixctl_proto::request::OperationRequest;

/// What a caller must be allowed to do.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Action {
    /// Install or adopt Nix from a trusted source.
    Install,
    /// Install Nix from any source, which could hold anything.
    InstallUntrusted,
    /// Take Nix off.
    Uninstall,
    /// Replace Nix by a newer one.
    Upgrade,
    /// Replace Nix by an older one.
    Downgrade,
    /// Carry out remedies.
    Repair,
    /// Move the system to another generation.
    Switch,
    /// Move the system back.
    Rollback,
    /// Change settings.
    Configure,
    /// Stop or retry what somebody else asked for.
    CancelOthers,
    /// Have nothing begin for a while: root and the group, whatever polkit says.
    Inhibit,
    /// Change the daemon itself: root alone, whatever polkit says.
    Daemon,
}

impl Action {
    /// Every action.
    pub const ALL: [Action; 12] = [
        Action::Install,
        Action::InstallUntrusted,
        Action::Uninstall,
        Action::Upgrade,
        Action::Downgrade,
        Action::Repair,
        Action::Switch,
        Action::Rollback,
        Action::Configure,
        Action::CancelOthers,
        Action::Inhibit,
        Action::Daemon,
    ];

    /// The action as polkit knows it; `None` when polkit is not asked.
    pub fn polkit_id(self) -> Option<&'static str> {
        Some(match self {
            Action::Install => "org.nixctl1.install",
            Action::InstallUntrusted => "org.nixctl1.install-untrusted",
            Action::Uninstall => "org.nixctl1.uninstall",
            Action::Upgrade => "org.nixctl1.upgrade",
            Action::Downgrade => "org.nixctl1.downgrade",
            Action::Repair => "org.nixctl1.repair",
            Action::Switch => "org.nixctl1.switch",
            Action::Rollback => "org.nixctl1.rollback",
            Action::Configure => "org.nixctl1.configure",
            Action::CancelOthers => "org.nixctl1.cancel-others",
            Action::Inhibit | Action::Daemon => return None,
        })
    }

    /// Whether members of the group may do it without an administrator.
    pub fn group_may(self) -> bool {
        !matches!(
            self,
            Action::InstallUntrusted | Action::Configure | Action::Daemon
        )
    }

    /// What the caller wanted, to follow "cannot".
    pub fn verb(self) -> &'static str {
        match self {
            Action::Install => "install Nix",
            Action::InstallUntrusted => "install Nix from a source that is not trusted",
            Action::Uninstall => "uninstall Nix",
            Action::Upgrade => "upgrade Nix",
            Action::Downgrade => "downgrade Nix",
            Action::Repair => "repair the machine",
            Action::Switch => "switch to another generation",
            Action::Rollback => "go back to another generation",
            Action::Configure => "change settings",
            Action::CancelOthers => "control the operation of another user",
            Action::Inhibit => "hold up upgrades and switches",
            Action::Daemon => "install or remove the daemon",
        }
    }
}

/// The action that a request is: with a source that is trusted or not, and where it goes to an older
/// Nix.
pub fn action_for(request: &OperationRequest, trusted: bool, goes_back: bool) -> Action {
    match request {
        OperationRequest::Install(_) if trusted => Action::Install,
        OperationRequest::Install(_) => Action::InstallUntrusted,
        OperationRequest::Uninstall(_) => Action::Uninstall,
        OperationRequest::SelfInstall(_) | OperationRequest::SelfUninstall => Action::Daemon,
        OperationRequest::Switch(_) => Action::Switch,
        OperationRequest::Rollback(_) => Action::Rollback,
        OperationRequest::Repair(_) => Action::Repair,
        OperationRequest::Upgrade(_) if !trusted => Action::InstallUntrusted,
        OperationRequest::Upgrade(_) if goes_back => Action::Downgrade,
        OperationRequest::Upgrade(_) => Action::Upgrade,
        OperationRequest::SelfUpgrade(_) if !trusted => Action::InstallUntrusted,
        OperationRequest::SelfUpgrade(_) if goes_back => Action::Downgrade,
        OperationRequest::SelfUpgrade(_) => Action::Upgrade,
    }
}

#[cfg(test)]
mod tests {
    use nixctl_proto::request::{
        InstallRequest, SelfInstallRequest, UninstallRequest, UpgradeRequest,
    };

    use super::*;

    #[test]
    fn requests_are_the_actions_they_say() {
        let install = OperationRequest::Install(InstallRequest::default());
        let adopt = OperationRequest::Install(InstallRequest {
            adopt: true,
            ..Default::default()
        });
        let upgrade = OperationRequest::Upgrade(UpgradeRequest::default());
        for (trusted, goes_back, action) in [
            (true, false, Action::Upgrade),
            (true, true, Action::Downgrade),
            (false, true, Action::InstallUntrusted),
        ] {
            assert_eq!(action_for(&upgrade, trusted, goes_back), action);
        }
        for (request, trusted, action) in [
            (&install, true, Action::Install),
            (&install, false, Action::InstallUntrusted),
            (&adopt, true, Action::Install),
            (
                &OperationRequest::Uninstall(UninstallRequest::default()),
                true,
                Action::Uninstall,
            ),
            (
                &OperationRequest::SelfInstall(SelfInstallRequest::default()),
                true,
                Action::Daemon,
            ),
            (&OperationRequest::SelfUninstall, true, Action::Daemon),
        ] {
            assert_eq!(action_for(request, trusted, false), action);
        }
    }

    #[test]
    fn ids_are_those_of_the_policy_file() {
        let ids: Vec<_> = Action::ALL
            .iter()
            .filter_map(|action| action.polkit_id())
            .collect();
        assert_eq!(ids.len(), 10);
        assert!(ids.iter().all(|id| id.starts_with("org.nixctl1.")));
        let free: Vec<_> = Action::ALL
            .iter()
            .filter(|action| !action.group_may())
            .filter_map(|action| action.polkit_id())
            .collect();
        assert_eq!(
            free,
            ["org.nixctl1.install-untrusted", "org.nixctl1.configure"]
        );
    }
}

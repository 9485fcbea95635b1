//! What speaks against an install, found before anything is changed.
//!
//! Each check is one small pure function of the facts with a stable id; it says what it saw, and
//! when it fails, why and the one command that helps. All are made, so that a person sees every
//! obstacle at once.

mod obstacles;
mod resources;

use nixctl_proto::Failure;
use nixctl_proto::plan::PlanCheck;
use nixctl_proto::request::InstallRequest;
use nixctl_proto::settings::InstallSettings;

use super::facts::Facts;
use crate::payload::Release;
use crate::payload::release::asked_version;

pub use resources::Needs;

/// What the checks look at.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Case<'a> {
    facts: &'a Facts,
    request: &'a InstallRequest,
    settings: &'a InstallSettings,
    release: Option<&'a Release>,
    needs: &'a Needs,
}

impl Case<'_> {
    /// Whether a foreign installation is taken over, so that nothing is fetched.
    fn adopts(&self) -> bool {
        self.request.adopt && super::adopt::parts(self.facts).is_some()
    }

    /// The version that we own and the other one that is asked for.
    fn other_version(&self) -> Option<(&str, String)> {
        let wanted = match self.release {
            Some(release) => Some(release.version.clone()),
            None => asked_version(self.request, self.settings).filter(|_| !self.adopts()),
        }?;
        let owned = self.facts.owned_version()?;
        (owned != wanted).then_some((owned, wanted))
    }
}

/// What one check saw, or why the install cannot be.
type Verdict = Result<String, Failure>;

/// A check: its stable id, and what makes it.
type Check = (&'static str, fn(&Case<'_>) -> Verdict);

/// Every check, in the order in which people read them.
const CHECKS: [Check; 16] = [
    ("nixos", obstacles::nixos),
    ("owned", obstacles::owned),
    ("existing-nix", obstacles::existing_nix),
    ("nix-folder", obstacles::nix_folder),
    ("leftovers", obstacles::leftovers),
    ("wsl", obstacles::wsl),
    ("image-based", obstacles::image_based),
    ("read-only", resources::read_only),
    ("noexec", resources::noexec),
    ("space", resources::space),
    ("ids", resources::ids),
    ("tools", resources::tools),
    ("settings", resources::settings),
    ("clock", resources::clock),
    ("network", resources::network),
    ("release", resources::release),
];

/// Whether it is plain without looking for the release that another version is owned: upgrading
/// is what changes that.
pub fn owns_other_version(
    facts: &Facts,
    request: &InstallRequest,
    settings: &InstallSettings,
) -> bool {
    let case = Case {
        facts,
        request,
        settings,
        release: None,
        needs: &Needs::default(),
    };
    case.other_version().is_some()
}

/// Makes all checks. `release` is `None` when none was found or none is needed.
pub fn checks(
    facts: &Facts,
    request: &InstallRequest,
    settings: &InstallSettings,
    release: Option<&Release>,
    needs: &Needs,
) -> Vec<PlanCheck> {
    let case = Case {
        facts,
        request,
        settings,
        release,
        needs,
    };
    CHECKS
        .into_iter()
        .map(|(id, check)| match check(&case) {
            Ok(seen) => PlanCheck {
                id: id.to_owned(),
                seen,
                failure: None,
            },
            Err(failure) => PlanCheck {
                id: id.to_owned(),
                seen: failure.message.clone(),
                failure: Some(failure),
            },
        })
        .collect()
}

#[cfg(test)]
#[path = "preflight_tests.rs"]
mod tests;

//! How the machine's Nix is, in a word and a line: from what is owned and what was found, and
//! remembered over restarts.

use nixctl_proto::health::Severity;
use nixctl_proto::status::Health;

use super::super::record::{Judgement, Owned};
use super::super::store::{Change as Batch, Store, StoreError};
use super::Shared;
use super::shared::lock;
use crate::health::judge::Found;
use crate::health::round::has_generation;
use crate::payload::date;
use crate::resource::Resource;
use crate::upgrade;

/// What is said of a system that is switched, and of which nothing was found.
const OF_A_GENERATION: &str = "nothing is wrong besides what the generation itself owns";

impl Shared {
    /// Version of the Nix that is owned; empty for none.
    pub(in super::super) fn nix_version(&self) -> String {
        let owned = self.store.owned();
        let current = upgrade::owned::current(owned.iter().map(|it| &it.resource));
        current.map(|it| it.version.clone()).unwrap_or_default()
    }

    /// Judges anew from what was found. Says whether the judgement is another one.
    pub(in super::super) fn judge(&self, owned: &[Owned], found: &[Found]) -> bool {
        let (health, mut reason) = judged(owned, found);
        if found.is_empty() && has_generation(&self.host.fs) {
            OF_A_GENERATION.clone_into(&mut reason);
        }
        let mut judgement = lock(&self.judgement);
        let same = *judgement == (health, reason.clone());
        *judgement = (health, reason.clone());
        drop(judgement);
        let time = self.host.clock.now();
        let known = self.store.judgement().ok().flatten();
        let is_kept = known.is_some_and(|it| (it.health, &it.reason) == (health, &reason));
        if !is_kept {
            let remembered = self.remember(Judgement {
                time,
                health,
                reason,
            });
            if let Err(error) = remembered {
                tracing::warn!("cannot remember the health: {error}");
            }
        }
        !same
    }

    fn remember(&self, judgement: Judgement) -> Result<(), StoreError> {
        let mut change = Batch::default();
        change.judgement(&judgement)?;
        self.store.commit(change)
    }
}

/// What is known of the health before anything was looked at.
pub(in super::super) fn known(store: &Store) -> (Health, String) {
    if store.owned().is_empty() {
        return judged(&[], &[]);
    }
    match store.judgement() {
        Ok(Some(last)) => {
            let when = date::minute(last.time / 1000);
            (last.health, format!("{} (seen {when})", last.reason))
        }
        Ok(None) => (Health::Unknown, "nothing was looked at yet".to_owned()),
        Err(error) => (Health::Unknown, error.to_string()),
    }
}

/// The judgement, and why. It is about Nix: what the daemon itself needs does not make a machine
/// healthy that has none.
fn judged(owned: &[Owned], found: &[Found]) -> (Health, String) {
    let is_nix = |owned: &Owned| {
        matches!(
            owned.resource,
            Resource::Payload(_) | Resource::Profile(_) | Resource::Registration(_)
        )
    };
    let findings = told(found);
    if !owned.iter().any(is_nix) {
        let why = match owned {
            [] => "nixctl has installed nothing here",
            _ => "nixctl has installed no Nix here",
        };
        let but = findings.map_or_else(String::new, |it| format!("; {it}"));
        return (Health::Unknown, format!("{why}{but}"));
    }
    let worst = found.iter().map(|it| it.severity).max();
    let health = worst.map_or(Health::Healthy, Severity::health);
    let why = findings.unwrap_or_else(|| {
        let number = owned.len();
        format!("all {number} owned things are as they should be")
    });
    (health, why)
}

/// The worst finding in words, and how many more there are.
fn told(found: &[Found]) -> Option<String> {
    let worst = found.iter().rev().max_by_key(|it| it.severity)?;
    let what = match worst.subject.as_str() {
        "" => worst.seen.clone(),
        subject if worst.seen.contains(subject) => worst.seen.clone(),
        subject => format!("{subject}: {}", worst.seen),
    };
    Some(match found.len() - 1 {
        0 => what,
        1 => format!("{what}; and 1 more finding"),
        more => format!("{what}; and {more} more findings"),
    })
}

#[cfg(test)]
mod tests {
    use nixctl_proto::OperationId;

    use super::*;
    use crate::resource::Undo;
    use crate::resource::group::Group;
    use crate::resource::profile::Profile;
    use nixctl_proto::health::check::Check;

    #[test]
    fn health_is_about_nix() {
        let owned = |resource| Owned {
            order: 0,
            by: OperationId::from_parts(1, 1),
            resource,
            undo: Undo::Created,
        };
        let daemon = || {
            let name = "nixctl".to_owned();
            owned(Resource::Group(Group { name }))
        };
        let nix = || {
            owned(Resource::Profile(Profile {
                link: "/p".into(),
                sha256: String::new(),
            }))
        };
        let gone = Found::new(Check::Lost, "x").seen("x is gone");
        let lost = Found::new(Check::NotMounted, "/nix").seen("nothing is mounted");
        for (all, found, health, reason) in [
            (vec![], vec![], Health::Unknown, "nothing"),
            (vec![daemon()], vec![], Health::Unknown, "no Nix"),
            (vec![daemon()], vec![&gone], Health::Unknown, "x is gone"),
            (vec![daemon(), nix()], vec![], Health::Healthy, "all 2"),
            (
                vec![daemon(), nix()],
                vec![&gone],
                Health::Degraded,
                "x is gone",
            ),
            (
                vec![daemon(), nix()],
                vec![&gone, &lost],
                Health::Broken,
                "/nix: nothing is mounted; and 1 more finding",
            ),
        ] {
            let found: Vec<Found> = found.into_iter().cloned().collect();
            let (got, why) = judged(&all, &found);
            assert_eq!(got, health, "{why}");
            assert!(why.contains(reason), "{why}");
        }
    }
}

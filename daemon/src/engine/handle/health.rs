//! How the machine's Nix is: looked at when nothing is at work, remembered across restarts.

use std::sync::atomic::Ordering;

use nixctl_proto::status::Health;

use super::super::Change;
use super::super::record::{Judgement, Owned};
use super::super::store::{Change as Batch, Store, StoreError};
use super::Shared;
use super::shared::lock;
use crate::payload::date;
use crate::resource::{Presence, Resource};

impl Shared {
    /// Version of the Nix that is owned; empty for none.
    pub(super) fn nix_version(&self) -> String {
        let owned = self.store.owned();
        let version = owned.iter().find_map(|owned| match &owned.resource {
            Resource::Payload(payload) => Some(payload.archive.version.clone()),
            _ => None,
        });
        version.unwrap_or_default()
    }

    /// Whether nothing was changed since what is owned was looked at.
    pub(in super::super) fn is_judged(&self) -> bool {
        self.is_judged.load(Ordering::SeqCst)
    }

    /// Probes everything owned and judges from it. Ends without a judgement when `is_over`.
    pub(in super::super) fn look_at_owned(&self, is_over: &dyn Fn() -> bool) {
        let owned = self.store.owned();
        let mut wrong = Vec::new();
        for owned in &owned {
            if self.is_going_down() || is_over() {
                return;
            }
            // A probe may wait for a command until its deadline.
            self.beat();
            let id = owned.resource.describe().id;
            match owned.resource.probe(&self.host) {
                Ok(Presence::Present) => {}
                Ok(Presence::Absent) => wrong.push(format!("{id} is gone")),
                Ok(Presence::Drifted(seen) | Presence::Foreign(seen)) => {
                    wrong.push(format!("{id}: {seen}"));
                }
                Err(error) => wrong.push(format!("{id}: {error}")),
            }
        }
        let (health, reason) = judged(&owned, &wrong);
        *lock(&self.judgement) = (health, reason.clone());
        self.is_judged.store(true, Ordering::SeqCst);
        self.tell(Change::Status);
        let time = self.host.clock.now();
        if let Err(error) = self.remember(Judgement {
            time,
            health,
            reason,
        }) {
            tracing::warn!("cannot remember the health: {error}");
        }
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

/// The judgement on what is owned, and why. It is about Nix: what the daemon itself needs does not
/// make a machine healthy that has none.
fn judged(owned: &[Owned], wrong: &[String]) -> (Health, String) {
    let is_nix = |owned: &Owned| {
        matches!(
            owned.resource,
            Resource::Payload(_) | Resource::Profile(_) | Resource::Registration(_)
        )
    };
    let findings = wrong.join("; ");
    if owned.is_empty() {
        let why = "nixctl has installed nothing here";
        (Health::Unknown, why.to_owned())
    } else if !owned.iter().any(is_nix) {
        let why = "nixctl has installed no Nix here";
        let but = if findings.is_empty() { "" } else { "; " };
        (Health::Unknown, format!("{why}{but}{findings}"))
    } else if wrong.is_empty() {
        let number = owned.len();
        let why = format!("all {number} owned things are as they should be");
        (Health::Healthy, why)
    } else {
        (Health::Degraded, findings)
    }
}

#[cfg(test)]
mod tests {
    use nixctl_proto::OperationId;

    use super::*;
    use crate::resource::Undo;
    use crate::resource::group::Group;
    use crate::resource::profile::Profile;

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
        for (all, wrong, health, reason) in [
            (vec![], "", Health::Unknown, "nothing"),
            (vec![daemon()], "", Health::Unknown, "no Nix"),
            (vec![daemon()], "x is gone", Health::Unknown, "x is gone"),
            (vec![daemon(), nix()], "", Health::Healthy, "all 2"),
            (vec![daemon(), nix()], "x", Health::Degraded, "x"),
        ] {
            let wrong: Vec<String> = [wrong.to_owned()]
                .into_iter()
                .filter(|text| !text.is_empty())
                .collect();
            let (got, why) = judged(&all, &wrong);
            assert_eq!(got, health, "{why}");
            assert!(why.contains(reason), "{why}");
        }
    }
}

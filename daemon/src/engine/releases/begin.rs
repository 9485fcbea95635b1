//! Beginning an upgrade without a hand, and what is remembered of its end.

use nixctl_proto::request::{OperationRequest, RequestOptions, SelfUpgradeRequest, UpgradeRequest};
use nixctl_proto::settings::Settings;
use nixctl_proto::{OperationId, OperationState as State};

use super::super::handle::{Shared, lock};
use super::super::record::OperationRecord;
use super::super::store::{Change as Batch, StoreError};
use super::Releases;
use crate::upgrade::autopilot::Tried;
use crate::upgrade::ladder::Failed;
use crate::upgrade::offer::Offered;
use crate::upgrade::turn::Turn;

/// Why the daemon upgrades without being asked, as the history of operations shows it.
pub(in super::super) const REASON: &str = "release feed";

impl Shared {
    /// Begins the upgrade that is due. Says whether it did.
    pub(super) fn begin_upgrade(&self, settings: &Settings) -> bool {
        if self.has_work() {
            return false;
        }
        let first = lock(&self.releases).standing.first.clone();
        if let Some(first) = first {
            return self.begin_self_upgrade(&first);
        }
        if !self.takes_turn(settings) {
            return false;
        }
        let Some(offered) = lock(&self.releases).offered().cloned() else {
            return false;
        };
        let options = RequestOptions {
            reason: Some(REASON.to_owned()),
            // What is there now is what the offer is newer than.
            expected_current: Some(self.nix_version()),
            ..RequestOptions::default()
        };
        let request = OperationRequest::Upgrade(request(&offered));
        let begun = self.submit_with(request, options, 0, &|change, id| {
            if let Some(turn) = Turn::of(settings) {
                self.note_slot(change, id, &turn)?;
            }
            self.note_begin(change, id, &offered)
        });
        match begun {
            Ok(id) => {
                tracing::info!(OPERATION_ID = %id, "upgrading to Nix {}", offered.version);
                true
            }
            Err(failure) => {
                tracing::warn!(
                    "cannot begin the upgrade to Nix {}: {failure}",
                    offered.version
                );
                lock(&self.releases).memory.tried = None;
                false
            }
        }
    }

    /// Begins to replace nixctl itself, which a newer Nix needs first. No turn in the fleet is asked for:
    /// no service of the machine ends for it.
    fn begin_self_upgrade(&self, first: &Offered) -> bool {
        let options = RequestOptions {
            reason: Some(REASON.to_owned()),
            ..RequestOptions::default()
        };
        let request = OperationRequest::SelfUpgrade(SelfUpgradeRequest {
            version: Some(first.version.clone()),
            source: Some(first.url.clone()),
            sha256: Some(first.sha256.clone()),
            ..SelfUpgradeRequest::default()
        });
        let noted = |change: &mut Batch, id: &OperationId| self.note_begin(change, id, first);
        match self.submit_with(request, options, 0, &noted) {
            Ok(id) => {
                tracing::info!(OPERATION_ID = %id, "replacing nixctl by {}", first.version);
                true
            }
            Err(failure) => {
                tracing::warn!("cannot begin to replace nixctl: {failure}");
                lock(&self.releases).memory.tried = None;
                false
            }
        }
    }

    /// With the operation it is stored that it was begun without a hand: however the daemon ends,
    /// its failure counts.
    fn note_begin(
        &self,
        change: &mut Batch,
        id: &OperationId,
        offered: &Offered,
    ) -> Result<(), StoreError> {
        let mut releases = lock(&self.releases);
        releases.memory.tried = Some(Tried {
            operation: id.clone(),
            version: offered.version.clone(),
        });
        let memory = self.memory_in(Batch::default(), &releases.memory)?;
        change.append(memory);
        Ok(())
    }

    /// Remembers how an upgrade ended.
    pub(in super::super) fn note_upgrade_end(&self, record: &OperationRecord) {
        let is_own = matches!(record.request, OperationRequest::SelfUpgrade(_));
        let is_upgrade = matches!(record.request, OperationRequest::Upgrade(_)) || is_own;
        if !is_upgrade || !record.state.is_final() || record.options.dry_run {
            return;
        }
        let failed = match record.state {
            State::Succeeded => None,
            _ => Some(Failed::from(record.failure.as_ref())),
        };
        let at = self.at();
        let mut releases = lock(&self.releases);
        let memory = &mut releases.memory;
        let is_news = match is_own {
            true => memory.ended_nixctl(&record.id, failed, at),
            false => memory.ended(&record.id, failed, at),
        };
        if is_news {
            self.keep_memory(&releases);
        }
        releases.forget_standing();
    }

    /// The same of an upgrade whose end the daemon did not live to remember.
    pub(in super::super) fn note_ended_upgrade(&self) {
        let tried = lock(&self.releases).memory.tried.clone();
        let record = tried.and_then(|it| self.store.operation(&it.operation).ok().flatten());
        if let Some(record) = record {
            self.note_upgrade_end(&record);
        }
    }
}

impl Releases {
    /// It was reckoned for another Nix than is there now.
    fn forget_standing(&mut self) {
        self.standing = Default::default();
        self.hold = None;
        self.spread = None;
    }
}

fn request(offered: &Offered) -> UpgradeRequest {
    UpgradeRequest {
        version: Some(offered.version.clone()),
        source: Some(offered.url.clone()),
        sha256: Some(offered.sha256.clone()),
        ..UpgradeRequest::default()
    }
}

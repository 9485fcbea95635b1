//! The numbers for a monitoring system: gathered from what is known, and written to the file of the
//! settings when they are others than before.

use std::collections::BTreeMap;
use std::path::Path;

use super::handle::{Engine, Shared, lock};
use crate::switch::converge::Convergence;
use crate::upgrade::metrics::{Facts, text, write};

impl Engine {
    /// The numbers as text.
    pub fn metrics(&self) -> String {
        text(&self.shared().metrics())
    }
}

impl Shared {
    fn metrics(&self) -> Facts {
        let nix = self.nix_version();
        let upgrade = self.upgrade_status();
        let available = Some(upgrade.available).filter(|it| !it.is_empty());
        let mut findings = BTreeMap::new();
        for found in lock(&self.care).found() {
            *findings
                .entry((found.check.id(), found.severity))
                .or_default() += 1;
        }
        let numbers = self.release_numbers();
        let convergence = lock(&self.convergence).as_ref().map(Convergence::share);
        Facts {
            nixctld_version: nixctl_proto::version().to_owned(),
            nix_version: Some(nix).filter(|it| !it.is_empty()),
            available: available
                .map(|it| ("nix".to_owned(), it))
                .into_iter()
                .collect(),
            health: lock(&self.judgement).0,
            findings,
            operations: self.store.ended().0,
            rollout_position: numbers.place.map(|(position, _)| position),
            rollout_share: numbers.place.map(|(_, share)| share),
            convergence: convergence.unwrap_or(1.0),
            hold: numbers.hold,
            feed_serial: numbers.serial,
            feed_fetched: numbers.fetched,
            follow: self.follow_labels(&self.settings()),
        }
    }

    /// Writes the file of the settings when something in it would be another, or it is gone.
    pub(super) fn keep_metrics(&self) {
        let settings = self.settings();
        let file = &settings.metrics.textfile;
        if file.is_empty() || !self.is_resident {
            return;
        }
        let facts = self.metrics();
        let mut written = lock(&self.written_metrics);
        let is_same = written.as_ref() == Some(&(file.clone(), facts.clone()));
        let is_there = matches!(self.host.fs.meta(Path::new(file)), Ok(Some(_)));
        if is_same && is_there {
            return;
        }
        match write(&self.host.fs, Path::new(file), &facts) {
            // One warning for each trouble, however often it is tried.
            Err(error) if !is_same => tracing::warn!("cannot write the metrics: {error}"),
            Ok(()) | Err(_) => {}
        }
        *written = Some((file.clone(), facts));
    }
}

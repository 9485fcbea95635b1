//! Beginning a switch to what is named, and what is remembered of the end of each switch.

use nixctl_proto::request::{OperationRequest, RequestOptions};
use nixctl_proto::settings::Settings;
use nixctl_proto::{OperationId, OperationState as State};

use super::super::handle::{Shared, lock};
use super::super::record::OperationRecord;
use super::super::store::{Change as Batch, StoreError};
use super::super::switching::is_switch;
use crate::upgrade::autopilot::Tried;
use crate::upgrade::follow::{End, Goal};
use crate::upgrade::turn::Turn;

/// Why the daemon switches without being asked, as the history of operations shows it.
const REASON: &str = "system follow";

impl Shared {
    /// Begins the switch that is due, once the fleet has given this machine its turn. Says whether it
    /// did.
    pub(super) fn go_where_is_named(&self, settings: &Settings) -> bool {
        if self.has_work() || !self.takes_turn(settings) {
            return false;
        }
        let goal = lock(&self.following).standing.goal().cloned();
        goal.is_some_and(|goal| self.begin_switch(settings, &goal))
    }

    /// Begins a switch. Says whether it did.
    pub(super) fn begin_switch(&self, settings: &Settings, goal: &Goal) -> bool {
        let options = RequestOptions {
            reason: Some(REASON.to_owned()),
            expected_current: Some(self.runs()),
            ..RequestOptions::default()
        };
        let request = OperationRequest::Switch(goal.request());
        let begun = self.submit_with(request, options, 0, &|change, id| {
            if let Some(turn) = Turn::of(settings) {
                self.note_slot(change, id, &turn)?;
            }
            self.note_switch_begin(change, id, goal)
        });
        match begun {
            Ok(id) => {
                tracing::info!(OPERATION_ID = %id, "going to {}, which is followed", goal.toplevel);
                self.weigh_following(settings);
                true
            }
            Err(failure) => {
                tracing::warn!("cannot begin to go to {}: {failure}", goal.toplevel);
                lock(&self.following).memory.tried = None;
                false
            }
        }
    }

    /// With the operation it is stored that it was begun without a hand: however the daemon ends,
    /// its failure counts.
    fn note_switch_begin(
        &self,
        change: &mut Batch,
        id: &OperationId,
        goal: &Goal,
    ) -> Result<(), StoreError> {
        let mut following = lock(&self.following);
        following.memory.tried = Some(Tried {
            operation: id.clone(),
            version: goal.toplevel.clone(),
        });
        let memory = self.following_in(Batch::default(), &following.memory)?;
        change.append(memory);
        Ok(())
    }

    /// Remembers how a switch ended, whoever asked for it.
    pub(in super::super) fn note_switch_end(&self, record: &OperationRecord) {
        if !is_switch(&record.request) || !record.state.is_final() || record.options.dry_run {
            return;
        }
        let runs = self.runs();
        let end = match (&record.request, record.state) {
            (OperationRequest::Rollback(it), State::Succeeded) if it.after_boot.is_some() => {
                End::BackAfterBoot
            }
            (_, State::Succeeded) => End::At(&runs),
            _ if self.was_superseded(&record.id) => End::Superseded,
            _ => End::Failed(record.failure.as_ref().into()),
        };
        let at = self.at();
        let mut following = lock(&self.following);
        if following.memory.ended(&record.id, end, at) {
            self.keep_following_memory(&following);
        }
    }

    /// The same of a switch whose end the daemon did not live to remember.
    pub(in super::super) fn note_ended_follow(&self) {
        let tried = lock(&self.following).memory.tried.clone();
        let record = tried.and_then(|it| self.store.operation(&it.operation).ok().flatten());
        if let Some(record) = record {
            self.note_switch_end(&record);
        }
    }
}

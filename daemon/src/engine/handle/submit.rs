//! Taking a request: is it a new one, may it be taken now, and where it is stored.

use nixctl_proto::request::{OperationRequest, RequestOptions, SelfUpgradeRequest, UpgradeRequest};
use nixctl_proto::{Code, Failure, OperationId, OperationState as State};

use super::super::Change;
use super::super::record::{Entry, OperationRecord, Record};
use super::super::store::{Change as Batch, StoreError};
use super::super::switching::is_switch;
use super::shared::{lock, stored};
use super::{Engine, Shared};
use crate::resource::error::fs_code;
use crate::switch::identity;
use crate::takeover::note;

impl Engine {
    /// Stores an operation and returns at once; it begins when those before it have ended.
    ///
    /// # Errors
    /// Conflict of request ids, full queue, a machine that moved on, or an unwritable database.
    pub fn submit(
        &self,
        request: OperationRequest,
        options: RequestOptions,
        uid: u32,
    ) -> Result<OperationId, Failure> {
        self.shared
            .submit_with(request, options, uid, &|_, _| Ok(()))
    }
}

impl Shared {
    /// The same, with what has to be stored together with the operation.
    ///
    /// # Errors
    /// As [`Engine::submit`].
    pub(in super::super) fn submit_with(
        &self,
        request: OperationRequest,
        options: RequestOptions,
        uid: u32,
        more: &dyn Fn(&mut Batch, &OperationId) -> Result<(), StoreError>,
    ) -> Result<OperationId, Failure> {
        let shared = self;
        let _one_at_a_time = lock(&shared.submitting);
        if shared.is_going_down() {
            return Err(Failure::new(
                Code::Unreachable,
                "cannot take the request: the daemon is going down",
            ));
        }
        if let Some(text) = &options.request_id
            && let Some(id) = shared.store.by_request_id(uid, text).map_err(stored)?
            && let Some(earlier) = shared.store.operation(&id).map_err(stored)?
        {
            return if as_asked(&earlier.request) == as_asked(&request) {
                Ok(id)
            } else {
                Err(Failure::new(
                    Code::Conflict,
                    format!("cannot use the request id `{text}` again: it names operation {id}"),
                ))
            };
        }
        if note::is_tried(&self.host.fs) {
            let text =
                "cannot take the request: nixctl is being replaced, and may go back to before it";
            return Err(Failure::new(Code::Busy, text)
                .with_help("ask again in a minute; see how it goes with `nixctl watch`"));
        }
        self.check_expected(&request, &options)?;
        let open = shared
            .store
            .operations()
            .iter()
            .filter(|record| !record.state.is_final())
            .count();
        if open > shared.settings().daemon.queue_length as usize {
            return Err(Failure::new(
                Code::Busy,
                format!("cannot queue the operation: {open} are waiting"),
            ));
        }
        let record = self.fresh(request, options, uid);
        let mut change = Batch::default();
        change.operation(&record).map_err(stored)?;
        let entry = Entry {
            time: record.created,
            record: Record::State {
                state: State::Queued,
            },
        };
        change.entry(&record.id, 0, &entry).map_err(stored)?;
        if let Some(text) = &record.options.request_id {
            change.request_id(uid, text, &record.id).map_err(stored)?;
        }
        more(&mut change, &record.id).map_err(stored)?;
        shared.store.commit(change).map_err(stored)?;
        shared.end_round();
        if is_switch(&record.request)
            && !record.options.dry_run
            && let Err(error) = shared.supersede_queued(&record.id)
        {
            // They see it themselves when their turn comes.
            tracing::warn!("cannot end the switches that wait: {error}");
        }
        let live = shared.live(&record);
        if open > 0 {
            live.send_modify(|view| {
                let before = "the operation before it".to_owned();
                view.waiting_for = (view.state == State::Queued).then_some(before);
            });
        }
        shared.tell(Change::OperationAdded(record.id.clone()));
        shared.tell(Change::Status);
        shared.wake();
        Ok(record.id)
    }

    fn check_expected(
        &self,
        request: &OperationRequest,
        options: &RequestOptions,
    ) -> Result<(), Failure> {
        let Some(expected) = &options.expected_current else {
            return Ok(());
        };
        let (what, current) = if is_switch(request) {
            let current = identity::current(&self.host.fs)
                .map_err(|error| Failure::from_error(fs_code(&error.source), &error))?;
            ("generation", current)
        } else {
            ("Nix", self.nix_version())
        };
        if *expected == current {
            return Ok(());
        }
        Err(moved(what, expected, &current))
    }

    fn fresh(
        &self,
        request: OperationRequest,
        options: RequestOptions,
        uid: u32,
    ) -> OperationRecord {
        let newest = self.store.operations().last().map(|record| record.created);
        // Ids sort by time; a clock that was set back must not put a new one before an old one.
        let created = self
            .host
            .clock
            .now()
            .max(newest.map_or(0, |newest| newest + 1));
        OperationRecord {
            id: OperationId::from_parts(created, random()),
            request,
            options,
            requested_by: uid,
            created,
            finished: None,
            state: State::Queued,
            failure: None,
            kept: Vec::new(),
            notes: Vec::new(),
            next_sequence: 1,
            steps: 0,
            spent: 0,
            counted: Some(self.host.clock.moment()),
        }
    }
}

/// The request without what the daemon adds to it by how the machine is.
fn as_asked(request: &OperationRequest) -> OperationRequest {
    match request.clone() {
        OperationRequest::Upgrade(upgrade) => OperationRequest::Upgrade(UpgradeRequest {
            may_be_older: false,
            ..upgrade
        }),
        OperationRequest::SelfUpgrade(upgrade) => {
            OperationRequest::SelfUpgrade(SelfUpgradeRequest {
                may_be_older: false,
                ..upgrade
            })
        }
        other => other,
    }
}

/// That the machine is not what a request was made for.
pub(in super::super) fn moved(what: &str, expected: &str, current: &str) -> Failure {
    let text = format!(
        "cannot begin: the request expects {what} `{expected}`, and the machine has `{current}`"
    );
    Failure::new(Code::Moved, text)
}

/// 30 random bits; two operations within one millisecond are all they must tell apart.
fn random() -> u32 {
    use std::hash::{BuildHasher, Hasher};
    let hasher = std::collections::hash_map::RandomState::new().build_hasher();
    (hasher.finish() & 0x3fff_ffff) as u32
}

//! Values of earlier schemas, how each becomes the next, and how the present one goes down to the one
//! before it, for an older version of nixctl that comes back.
//!
//! - Schema 1 was the first: its operations knew neither what was kept nor notes for the user.
//! - Schema 2 measured deadlines by the wall clock, and its request ids (`r/REQUEST`) were one
//!   space for all users.
//! - Schema 3 had rollbacks that named a generation and nothing else.

use std::collections::BTreeMap;

use nixctl_proto::request::{
    InstallRequest, OperationRequest, RequestOptions, RollbackRequest, SelfInstallRequest,
    Strategy, SwitchRequest, UninstallRequest,
};
use nixctl_proto::{Failure, OperationId, OperationState};
use serde::{Deserialize, Serialize};

use super::record::OperationRecord;
use super::store::{StoreError, can_say, from_bincode, request_key, to_bincode};
use crate::host::clock::Moment;

/// A key and the payload of its value.
pub type Pair = (Vec<u8>, Vec<u8>);

/// An operation in schema 1.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct OperationV1 {
    id: OperationId,
    request: RequestV3,
    options: RequestOptions,
    requested_by: u32,
    created: u64,
    finished: Option<u64>,
    state: OperationState,
    failure: Option<Failure>,
    next_sequence: u32,
    steps: u32,
}

impl OperationV1 {
    /// The same operation in schema 2.
    pub fn upconvert(self) -> OperationV2 {
        OperationV2 {
            id: self.id,
            request: self.request,
            options: self.options,
            requested_by: self.requested_by,
            created: self.created,
            finished: self.finished,
            state: self.state,
            failure: self.failure,
            kept: Vec::new(),
            notes: Vec::new(),
            next_sequence: self.next_sequence,
            steps: self.steps,
        }
    }
}

/// An operation in schema 2.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct OperationV2 {
    id: OperationId,
    request: RequestV3,
    options: RequestOptions,
    requested_by: u32,
    created: u64,
    finished: Option<u64>,
    state: OperationState,
    failure: Option<Failure>,
    kept: Vec<String>,
    notes: Vec<String>,
    next_sequence: u32,
    steps: u32,
}

impl OperationV2 {
    /// The same operation in schema 3. Its deadline begins anew: how long it has taken was not
    /// written down in a way that can be trusted.
    pub fn upconvert(self) -> OperationV3 {
        OperationV3 {
            id: self.id,
            request: self.request,
            options: self.options,
            requested_by: self.requested_by,
            created: self.created,
            finished: self.finished,
            state: self.state,
            failure: self.failure,
            kept: self.kept,
            notes: self.notes,
            next_sequence: self.next_sequence,
            steps: self.steps,
            spent: 0,
            counted: None,
        }
    }
}

/// An operation in schema 3.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct OperationV3 {
    id: OperationId,
    request: RequestV3,
    options: RequestOptions,
    requested_by: u32,
    created: u64,
    finished: Option<u64>,
    state: OperationState,
    failure: Option<Failure>,
    kept: Vec<String>,
    notes: Vec<String>,
    next_sequence: u32,
    steps: u32,
    spent: u64,
    counted: Option<Moment>,
}

impl OperationV3 {
    /// The same operation in schema 4.
    pub fn upconvert(self) -> OperationRecord {
        OperationRecord {
            id: self.id,
            request: self.request.upconvert(),
            options: self.options,
            requested_by: self.requested_by,
            created: self.created,
            finished: self.finished,
            state: self.state,
            failure: self.failure,
            kept: self.kept,
            notes: self.notes,
            next_sequence: self.next_sequence,
            steps: self.steps,
            spent: self.spent,
            counted: self.counted,
        }
    }
}

/// What could be asked for in the schemas 1 to 3.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum RequestV3 {
    /// As it is now.
    Install(InstallRequest),
    /// As it is now.
    Uninstall(UninstallRequest),
    /// As it is now.
    SelfInstall(SelfInstallRequest),
    /// As it is now.
    SelfUninstall,
    /// The fields of its time.
    Switch(SwitchV3),
    /// The number of the generation.
    Rollback(Option<u64>),
}

/// A switch in schema 3.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct SwitchV3 {
    toplevel: String,
    from: Option<String>,
    strategy: Strategy,
    budget: Option<u64>,
    drop_old: bool,
    soak: Option<u64>,
    confirm_within: Option<u64>,
}

impl RequestV3 {
    fn upconvert(self) -> OperationRequest {
        match self {
            RequestV3::Install(it) => OperationRequest::Install(it),
            RequestV3::Uninstall(it) => OperationRequest::Uninstall(it),
            RequestV3::SelfInstall(it) => OperationRequest::SelfInstall(it),
            RequestV3::SelfUninstall => OperationRequest::SelfUninstall,
            RequestV3::Switch(it) => OperationRequest::Switch(it.upconvert()),
            RequestV3::Rollback(to) => OperationRequest::Rollback(RollbackRequest {
                to,
                ..RollbackRequest::default()
            }),
        }
    }
}

impl SwitchV3 {
    fn upconvert(self) -> SwitchRequest {
        let how = SwitchRequest {
            strategy: self.strategy,
            budget: self.budget,
            drop_old: self.drop_old,
            soak: self.soak,
            confirm_within: self.confirm_within,
            ..SwitchRequest::default()
        };
        SwitchRequest {
            toplevel: self.toplevel,
            from: self.from,
            ..how
        }
    }
}

/// All of a database of an earlier schema in the present one.
///
/// # Errors
/// In words with the key, when a value cannot be decoded.
pub fn migrated(schema: u32, all: Vec<Pair>) -> Result<Vec<Pair>, (Vec<u8>, String)> {
    let mut asked_by = BTreeMap::new();
    let mut now = Vec::new();
    let (requests, others): (Vec<Pair>, Vec<Pair>) = all
        .into_iter()
        .partition(|(key, _)| schema < 3 && key.starts_with(b"r/"));
    for (key, payload) in others {
        if key.starts_with(b"o/") {
            let record = operation(schema, &payload).map_err(|why| (key.clone(), why))?;
            let payload = to_bincode(&record).map_err(|why| (key.clone(), why))?;
            asked_by.insert(record.id, record.requested_by);
            now.push((key, payload));
        } else {
            now.push((key, payload));
        }
    }
    for (key, payload) in requests {
        let id: OperationId = from_bincode(&payload).map_err(|why| (key.clone(), why))?;
        let text = String::from_utf8_lossy(key.strip_prefix(b"r/").unwrap_or_default());
        // One whose operation was forgotten names nothing any more.
        if let Some(uid) = asked_by.get(&id) {
            now.push((request_key(*uid, &text), payload));
        }
    }
    Ok(now)
}

fn operation(schema: u32, payload: &[u8]) -> Result<OperationRecord, String> {
    let record = match schema {
        1 => from_bincode::<OperationV1>(payload)?
            .upconvert()
            .upconvert(),
        2 => from_bincode::<OperationV2>(payload)?.upconvert(),
        3 => from_bincode::<OperationV3>(payload)?,
        _ => return from_bincode(payload),
    };
    Ok(record.upconvert())
}

/// All of a database in an older schema, and the ended operations that it has no words for, which are
/// left out with all that belongs to them.
///
/// # Errors
/// When an operation that has not ended cannot be said, or a value cannot be decoded.
pub fn lowered(to: u32, all: Vec<Pair>) -> Result<(Vec<Pair>, Vec<OperationId>), StoreError> {
    let mut left_out = Vec::new();
    for (key, payload) in all.iter().filter(|(key, _)| key.starts_with(b"o/")) {
        let record: OperationRecord = from_bincode(payload).map_err(|why| StoreError::Damaged {
            key: String::from_utf8_lossy(key).into_owned(),
            why,
        })?;
        if can_say(to, &record) {
            continue;
        }
        if !record.state.is_final() {
            return Err(StoreError::Unsayable {
                id: record.id,
                schema: to,
            });
        }
        left_out.push(record.id);
    }
    let is_kept = |(key, payload): &Pair| {
        let named = match key.starts_with(b"r/") {
            true => from_bincode::<OperationId>(payload).ok(),
            false => of_operation(key),
        };
        named.is_none_or(|id| !left_out.contains(&id))
    };
    let kept = all.into_iter().filter(is_kept).collect();
    Ok((kept, left_out))
}

/// The operation that a key belongs to: its second part, of those that have an id there.
fn of_operation(key: &[u8]) -> Option<OperationId> {
    let mut parts = key.split(|byte| *byte == b'/').skip(1);
    std::str::from_utf8(parts.next()?).ok()?.parse().ok()
}

#[cfg(test)]
mod fixture {
    //! Shows how the bytes of the fixtures were made.
    use super::*;

    /// Version, payload and CRC, as the codec of that schema wrote them.
    fn sealed<T: Serialize>(schema: u8, value: &T) -> Vec<u8> {
        let mut bytes = vec![schema];
        bytes.extend(to_bincode(value).unwrap());
        bytes.extend(crc32fast::hash(&bytes).to_be_bytes());
        bytes
    }

    fn install(version: &str) -> RequestV3 {
        RequestV3::Install(InstallRequest {
            version: Some(version.to_owned()),
            ..Default::default()
        })
    }

    #[test]
    fn operation_v1() {
        let record = OperationV1 {
            id: OperationId::from_parts(1_700_000_000_000, 7),
            request: install("2.26.3"),
            options: RequestOptions::default(),
            requested_by: 1000,
            created: 1_700_000_000_000,
            finished: Some(1_700_000_009_000),
            state: OperationState::Succeeded,
            failure: None,
            next_sequence: 9,
            steps: 4,
        };
        let bytes: &[u8] = include_bytes!("fixtures/operation-v1.bin");
        assert_eq!(sealed(1, &record), bytes);
    }

    #[test]
    fn operation_v2() {
        let record = OperationV2 {
            id: OperationId::from_parts(1_700_000_000_000, 8),
            request: install("2.34.8"),
            options: RequestOptions {
                request_id: Some("again".to_owned()),
                deadline: Some(600),
                ..Default::default()
            },
            requested_by: 1000,
            created: 1_700_000_000_000,
            finished: None,
            state: OperationState::Running,
            failure: None,
            kept: vec!["kept".to_owned()],
            notes: vec!["note".to_owned()],
            next_sequence: 3,
            steps: 1,
        };
        let bytes: &[u8] = include_bytes!("fixtures/operation-v2.bin");
        assert_eq!(sealed(2, &record), bytes);
    }

    #[test]
    fn operation_v3() {
        let record = OperationV3 {
            id: OperationId::from_parts(1_700_000_000_000, 9),
            request: RequestV3::Rollback(Some(42)),
            options: RequestOptions::default(),
            requested_by: 0,
            created: 1_700_000_000_000,
            finished: None,
            state: OperationState::Running,
            failure: None,
            kept: Vec::new(),
            notes: Vec::new(),
            next_sequence: 3,
            steps: 1,
            spent: 7,
            counted: Some(Moment {
                era: "boot".to_owned(),
                millis: 5,
            }),
        };
        let bytes: &[u8] = include_bytes!("fixtures/operation-v3.bin");
        assert_eq!(sealed(3, &record), bytes);
    }
}

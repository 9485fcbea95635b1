//! Values of earlier schemas, and how each becomes the next.
//!
//! Schema 1 was the first: its operations knew neither what was kept nor notes for the user.

use nixctl_proto::request::{OperationRequest, RequestOptions};
use nixctl_proto::{Failure, OperationId, OperationState};
use serde::{Deserialize, Serialize};

use super::record::OperationRecord;
use super::store::{from_bincode, to_bincode};

/// An operation in schema 1.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct OperationV1 {
    id: OperationId,
    request: OperationRequest,
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
    pub fn upconvert(self) -> OperationRecord {
        OperationRecord {
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

/// The payload of a value of schema 1 in schema 2.
///
/// # Errors
/// In words, when it cannot be decoded.
pub fn value_from_v1(key: &[u8], payload: &[u8]) -> Result<Vec<u8>, String> {
    if key.starts_with(b"o/") {
        to_bincode(&from_bincode::<OperationV1>(payload)?.upconvert())
    } else {
        Ok(payload.to_vec())
    }
}

#[cfg(test)]
mod fixture {
    //! Writes the fixture of schema 1 anew; kept to show how its bytes were made.
    use super::*;
    use nixctl_proto::request::InstallRequest;

    #[test]
    #[ignore = "run by hand to make fixtures/operation-v1.bin"]
    fn write_operation_v1() {
        let record = OperationV1 {
            id: OperationId::from_parts(1_700_000_000_000, 7),
            request: OperationRequest::Install(InstallRequest {
                version: Some("2.26.3".to_owned()),
                ..Default::default()
            }),
            options: RequestOptions::default(),
            requested_by: 1000,
            created: 1_700_000_000_000,
            finished: Some(1_700_000_009_000),
            state: OperationState::Succeeded,
            failure: None,
            next_sequence: 9,
            steps: 4,
        };
        let mut bytes = vec![1];
        bytes.extend(to_bincode(&record).unwrap());
        bytes.extend(crc32fast::hash(&bytes).to_be_bytes());
        std::fs::write(
            concat!(
                env!("CARGO_MANIFEST_DIR"),
                "/src/engine/fixtures/operation-v1.bin"
            ),
            bytes,
        )
        .unwrap();
    }
}

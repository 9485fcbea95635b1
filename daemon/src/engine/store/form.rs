//! The schema that this build writes, and those that it reads and can write for a neighbour.
//!
//! For tests and the lab there is a schema after the present one, so that going up to it and back is
//! tried before it is needed: its values are written backwards, behind their length, and it knows
//! operations that the present one has no words for.

use std::borrow::Cow;

use super::SCHEMA;
use crate::engine::record::OperationRecord;

/// The schema that this build writes.
#[cfg(not(any(test, feature = "fault-injection")))]
pub fn schema() -> u32 {
    SCHEMA
}

/// The oldest schema that this build reads.
pub fn oldest_read() -> u32 {
    1
}

/// The oldest schema that this build writes, for a build that comes after it.
pub fn oldest_written() -> u32 {
    SCHEMA
}

/// A payload in the form of a schema.
#[cfg(not(any(test, feature = "fault-injection")))]
pub(super) fn raised(_schema: u32, payload: Vec<u8>) -> Vec<u8> {
    payload
}

/// A payload out of the form of a schema.
#[cfg(not(any(test, feature = "fault-injection")))]
pub(super) fn lowered(_schema: u32, payload: &[u8]) -> Option<Cow<'_, [u8]>> {
    Some(Cow::Borrowed(payload))
}

/// Whether a schema has words for an operation.
#[cfg(not(any(test, feature = "fault-injection")))]
pub(in super::super) fn can_say(_schema: u32, _record: &OperationRecord) -> bool {
    true
}

#[cfg(any(test, feature = "fault-injection"))]
pub(in super::super) use next::can_say;
#[cfg(any(test, feature = "fault-injection"))]
pub use next::schema;
#[cfg(any(test, feature = "fault-injection"))]
pub(super) use next::{lowered, raised};

/// The schema after the present one.
#[cfg(any(test, feature = "fault-injection"))]
pub(super) mod next {
    use super::*;

    /// Its number.
    pub const NEXT: u32 = SCHEMA + 1;
    /// What an operation is for that only it has words for.
    pub const NEW: &str = "only the next schema knows";

    #[cfg(test)]
    thread_local! {
        /// What is written on this thread.
        pub static WRITES: std::cell::Cell<u32> = const { std::cell::Cell::new(SCHEMA) };
    }

    /// The schema that this build writes.
    #[cfg(test)]
    pub fn schema() -> u32 {
        WRITES.get()
    }

    /// The schema that this build writes: what the lab has marked it with.
    #[cfg(not(test))]
    pub fn schema() -> u32 {
        let marked = nixctl_proto::marked("schema");
        let marked = marked.and_then(|text| text.parse().ok());
        marked.filter(|schema| *schema == NEXT).unwrap_or(SCHEMA)
    }

    pub(in super::super) fn raised(schema: u32, mut payload: Vec<u8>) -> Vec<u8> {
        if schema < NEXT {
            return payload;
        }
        let length = u32::try_from(payload.len()).unwrap_or(u32::MAX);
        payload.reverse();
        let mut bytes = length.to_be_bytes().to_vec();
        bytes.extend(payload);
        bytes
    }

    pub(in super::super) fn lowered(schema: u32, payload: &[u8]) -> Option<Cow<'_, [u8]>> {
        if schema < NEXT {
            return Some(Cow::Borrowed(payload));
        }
        let (length, rest) = payload.split_first_chunk::<4>()?;
        let is_whole = usize::try_from(u32::from_be_bytes(*length)) == Ok(rest.len());
        is_whole.then(|| Cow::Owned(rest.iter().rev().copied().collect()))
    }

    pub(in super::super::super) fn can_say(schema: u32, record: &OperationRecord) -> bool {
        schema >= NEXT || record.options.reason.as_deref() != Some(NEW)
    }
}

//! How many operations ended, and how: of those that are forgotten the database holds the numbers, so
//! that they never go down.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::{Change, Store, StoreError};
use crate::engine::record::OperationRecord;

const FORGOTTEN_KEY: &[u8] = b"m/forgotten";

/// Operations by kind and outcome.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Tally(pub BTreeMap<(String, String), u64>);

impl Tally {
    /// Counts one.
    pub fn add(&mut self, record: &OperationRecord) {
        let kind = record.request.kind().as_str().to_owned();
        let key = (kind, record.state.as_str().to_owned());
        *self.0.entry(key).or_default() += 1;
    }
}

impl Change {
    /// Remembers how many are forgotten.
    pub(super) fn forgotten(&mut self, tally: &Tally) -> Result<(), StoreError> {
        self.put(FORGOTTEN_KEY.to_vec(), tally)
    }
}

impl Store {
    /// How many are forgotten; none when that is damaged.
    pub(super) fn forgotten(&self) -> Tally {
        let read = self.get(FORGOTTEN_KEY).unwrap_or_else(|error| {
            tracing::error!("{error}");
            None
        });
        read.unwrap_or_default()
    }

    /// How many ended so far.
    pub fn ended(&self) -> Tally {
        let mut tally = self.forgotten();
        let all = self.operations().into_iter();
        all.filter(|it| it.state.is_final())
            .for_each(|it| tally.add(&it));
        tally
    }
}

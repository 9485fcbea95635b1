//! What the database holds about switches besides their journals: confirmations, plans, what was
//! found before, and which generations have proven themselves.

use std::collections::BTreeSet;

use nixctl_proto::OperationId;

use super::super::record::Before;
use super::change::{PROVEN, before_key, confirmed_key, plan_key};
use super::{Store, StoreError};

impl Store {
    /// Whether somebody confirmed what an operation did.
    ///
    /// # Errors
    /// When the value is damaged.
    pub fn is_confirmed(&self, id: &OperationId) -> Result<bool, StoreError> {
        Ok(self.get::<()>(&confirmed_key(id))?.is_some())
    }

    /// The plan of an operation as JSON.
    ///
    /// # Errors
    /// When the value is damaged.
    pub fn plan(&self, id: &OperationId) -> Result<Option<String>, StoreError> {
        self.get(&plan_key(id))
    }

    /// What a switch found before it began.
    ///
    /// # Errors
    /// When the value is damaged.
    pub fn before(&self, id: &OperationId) -> Result<Option<Before>, StoreError> {
        self.get(&before_key(id))
    }

    /// Store paths of the generations that have proven themselves.
    pub fn proven(&self) -> BTreeSet<String> {
        let keys = self.db.scan_prefix(PROVEN).keys().flatten();
        keys.filter_map(|key| {
            let text = std::str::from_utf8(&key).ok()?;
            text.strip_prefix(PROVEN).map(str::to_owned)
        })
        .collect()
    }
}

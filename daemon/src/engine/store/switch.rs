//! What the database holds about switches besides their journals: confirmations, plans, what was
//! found before, which generations have proven themselves, and how they stand with boots.

use std::collections::{BTreeMap, BTreeSet};

use nixctl_proto::OperationId;

use super::super::record::Before;
use super::change::{BOOT, PROVEN, before_key, boot_key, confirmed_key, plan_key};
use super::codec::decode;
use super::{Store, StoreError};
use crate::switch::boot::BootRecord;

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

    /// How a generation stands with boots.
    ///
    /// # Errors
    /// When the value is damaged.
    pub fn boot(&self, path: &str) -> Result<Option<BootRecord>, StoreError> {
        self.get(&boot_key(path))
    }

    /// How all generations stand with boots, by store path. Damaged ones are left out and logged.
    pub fn boots(&self) -> BTreeMap<String, BootRecord> {
        let mut all = BTreeMap::new();
        for item in self.db.scan_prefix(BOOT).flatten() {
            let (key, bytes) = item;
            let text = std::str::from_utf8(&key).ok();
            let Some(path) = text.and_then(|text| text.strip_prefix(BOOT)) else {
                continue;
            };
            match decode(&key, &bytes) {
                Ok(record) => drop(all.insert(path.to_owned(), record)),
                Err(error) => tracing::error!("{error}"),
            }
        }
        all
    }
}

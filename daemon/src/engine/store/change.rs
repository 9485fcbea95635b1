//! Changes that become durable together, and the keys of the values.

use nixctl_proto::OperationId;
use serde::Serialize;

use super::super::record::{Before, Earlier, Entry, Judgement, OperationRecord, Owned};
use super::super::step::PlannedStep;
use super::StoreError;
use super::codec::encode;
use crate::payload::Release;
use crate::resource::Resource;
use crate::switch::boot::BootRecord;

/// Key of the number of the schema.
pub(super) const SCHEMA_KEY: &[u8] = b"m/schema";
/// Key of the last judgement.
pub(super) const JUDGEMENT_KEY: &[u8] = b"m/health";
/// Beginning of the keys of generations that have proven themselves.
pub(super) const PROVEN: &str = "g/";

/// Beginning of the keys of where releases were fetched from.
pub(super) const FETCHED: &str = "f/";

/// Beginning of the keys of what is known of boots into generations.
pub(super) const BOOT: &str = "a/";

/// Changes that become durable together.
#[derive(Debug, Default)]
pub struct Change {
    /// Keys with their new values; `None` removes. Of two for one key the later counts.
    writes: Vec<(Vec<u8>, Option<Vec<u8>>)>,
}

impl Change {
    /// Whether it changes nothing.
    pub fn is_empty(&self) -> bool {
        self.writes.is_empty()
    }

    /// Adds what comes after it.
    pub fn append(&mut self, later: Change) {
        self.writes.extend(later.writes);
    }

    /// Stores an operation.
    pub fn operation(&mut self, record: &OperationRecord) -> Result<(), StoreError> {
        self.put(operation_key(&record.id), record)
    }

    /// Stores a planned step.
    pub fn step(
        &mut self,
        id: &OperationId,
        step: u32,
        planned: &PlannedStep,
    ) -> Result<(), StoreError> {
        self.put(numbered("s/", id, step), planned)
    }

    /// Adds a journal record.
    pub fn entry(
        &mut self,
        id: &OperationId,
        sequence: u32,
        entry: &Entry,
    ) -> Result<(), StoreError> {
        self.put(numbered("j/", id, sequence), entry)
    }

    /// Owns a resource.
    pub fn own(&mut self, owned: &Owned) -> Result<(), StoreError> {
        self.put(owned_key(&owned.resource.describe().id), owned)
    }

    /// Owns a resource no more. Where a release was fetched from is forgotten with it.
    pub fn disown(&mut self, resource: &Resource) {
        self.remove(owned_key(&resource.describe().id));
        if let Resource::Payload(payload) = resource {
            self.remove(fetched_key(&payload.archive.sha256));
        }
    }

    /// Remembers where a release was fetched from.
    pub fn fetched(&mut self, release: &Release) -> Result<(), StoreError> {
        self.put(fetched_key(&release.sha256), release)
    }

    /// Remembers which operation a user's request id became.
    pub fn request_id(&mut self, uid: u32, text: &str, id: &OperationId) -> Result<(), StoreError> {
        self.put(request_key(uid, text), id)
    }

    /// Remembers what was owned before a step.
    pub fn earlier(
        &mut self,
        id: &OperationId,
        step: u32,
        earlier: &Earlier,
    ) -> Result<(), StoreError> {
        self.put(numbered("e/", id, step), earlier)
    }

    /// Forgets what was owned before a step: it is owned again.
    pub fn drop_earlier(&mut self, id: &OperationId, step: u32) {
        self.remove(numbered("e/", id, step));
    }

    /// Remembers that the daemon was asked to go down while an operation was at work.
    pub fn paused(&mut self, id: &OperationId) -> Result<(), StoreError> {
        self.put(paused_key(id), &())
    }

    /// Forgets that again.
    pub fn drop_paused(&mut self, id: &OperationId) {
        self.remove(paused_key(id));
    }

    /// Remembers that somebody confirmed what an operation did.
    pub fn confirmed(&mut self, id: &OperationId) -> Result<(), StoreError> {
        self.put(confirmed_key(id), &())
    }

    /// Stores a plan as people see it, as JSON, which later versions can read, too.
    pub fn plan(&mut self, id: &OperationId, json: &str) -> Result<(), StoreError> {
        self.put(plan_key(id), &json)
    }

    /// Remembers what a switch found before it began.
    pub fn before(&mut self, id: &OperationId, before: &Before) -> Result<(), StoreError> {
        self.put(before_key(id), before)
    }

    /// Forgets the confirmation, the plan and what was before.
    pub fn drop_switch(&mut self, id: &OperationId) {
        for key in [confirmed_key(id), plan_key(id), before_key(id)] {
            self.remove(key);
        }
    }

    /// Remembers that a generation has proven itself.
    pub fn proven(&mut self, path: &str, by: &OperationId) -> Result<(), StoreError> {
        self.put(format!("{PROVEN}{path}").into_bytes(), by)
    }

    /// Remembers how a generation stands with boots.
    pub fn boot(&mut self, path: &str, record: &BootRecord) -> Result<(), StoreError> {
        self.put(boot_key(path), record)
    }

    /// Forgets that.
    pub fn drop_boot(&mut self, path: &str) {
        self.remove(boot_key(path));
    }

    /// Remembers how the machine was judged.
    pub fn judgement(&mut self, judgement: &Judgement) -> Result<(), StoreError> {
        self.put(JUDGEMENT_KEY.to_vec(), judgement)
    }

    pub(super) fn put<T: Serialize>(&mut self, key: Vec<u8>, value: &T) -> Result<(), StoreError> {
        let bytes = encode(&key, value)?;
        self.insert(key, bytes);
        Ok(())
    }

    pub(super) fn insert(&mut self, key: Vec<u8>, value: Vec<u8>) {
        self.writes.push((key, Some(value)));
    }

    pub(super) fn remove(&mut self, key: Vec<u8>) {
        self.writes.push((key, None));
    }

    pub(super) fn into_batch(self) -> sled::Batch {
        let mut batch = sled::Batch::default();
        for (key, value) in self.writes {
            match value {
                Some(value) => batch.insert(key, value),
                None => batch.remove(key),
            }
        }
        batch
    }
}

pub(super) fn operation_key(id: &OperationId) -> Vec<u8> {
    format!("o/{id}").into_bytes()
}

pub(super) fn owned_key(resource: &str) -> Vec<u8> {
    format!("w/{resource}").into_bytes()
}

fn fetched_key(sha256: &str) -> Vec<u8> {
    format!("{FETCHED}{sha256}").into_bytes()
}

/// Key of a user's request id.
pub(in super::super) fn request_key(uid: u32, text: &str) -> Vec<u8> {
    format!("r/{uid}/{text}").into_bytes()
}

pub(super) fn paused_key(id: &OperationId) -> Vec<u8> {
    format!("d/{id}").into_bytes()
}

pub(super) fn confirmed_key(id: &OperationId) -> Vec<u8> {
    format!("c/{id}").into_bytes()
}

pub(super) fn plan_key(id: &OperationId) -> Vec<u8> {
    format!("p/{id}").into_bytes()
}

pub(super) fn boot_key(path: &str) -> Vec<u8> {
    format!("{BOOT}{path}").into_bytes()
}

pub(super) fn before_key(id: &OperationId) -> Vec<u8> {
    format!("b/{id}").into_bytes()
}

pub(super) fn numbered(prefix: &str, id: &OperationId, number: u32) -> Vec<u8> {
    let mut key = format!("{prefix}{id}/").into_bytes();
    key.extend_from_slice(&number.to_be_bytes());
    key
}

//! The database: the only code that knows sled and the bytes of its values.
//!
//! Every change is one batch, committed as apply, `flush`, and `fsync` of the database file through
//! a second descriptor, because sled 0.34's flush alone does not survive a power cut on Linux
//! (it ends in `sync_file_range`; `facts/daemons.md` 8.3). A value is a version byte, bincode and a
//! CRC-32 of both. One process opens it at a time; sled's own file lock sees to that.
//!
//! Keys: `m/schema`; `m/health` the last judgement; `o/ID` operations; `s/ID/STEP` planned steps;
//! `j/ID/SEQUENCE` journal; `e/ID/STEP` what was owned before a step; `d/ID` asked to go down while
//! at work; `w/RESOURCE` what is owned; `f/SHA256` where a release was fetched from; `r/UID/REQUEST` operation of a user's request id; of switches
//! `c/ID` confirmed, `p/ID` plan, `b/ID` what was before, `g/PATH` generations that have proven themselves, `a/PATH` how each stands with boots;
//! `h/` health; `u/` releases.

use std::collections::BTreeSet;
use std::ffi::OsString;
use std::fs::File;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};

use futures_util::FutureExt;
use nixctl_proto::OperationId;
use serde::de::DeserializeOwned;

use super::legacy;
use super::record::{Earlier, Entry, Judgement, OperationRecord, Owned};
use super::step::PlannedStep;
use crate::payload::Release;
use crate::pulse;
use crate::resource::Resource;

mod change;
mod codec;
mod error;
mod files;
mod form;
pub mod health;
mod switch;
mod tally;
mod upgrade;

pub use change::Change;
pub(super) use change::request_key;
use change::*;
use codec::{decode, open_value, seal, shown};
pub(super) use codec::{from_bincode, to_bincode};
pub use error::StoreError;
use files::*;
pub(super) use form::can_say;
pub use form::{oldest_read, oldest_written, schema};
pub use health::Remembered;
pub use tally::Tally;

/// Version of the keys and values; a newer one is refused, an older one migrated.
pub const SCHEMA: u32 = 4;
/// Memory that sled may use for its cache, in bytes.
const CACHE_BYTES: u64 = 1 << 20;

/// The database of one daemon.
#[derive(Debug)]
pub struct Store {
    db: sled::Db,
    folder: PathBuf,
    file: File,
    synced_blobs: Mutex<BTreeSet<OsString>>,
    pub(super) commits: AtomicU64,
}

impl Store {
    /// Opens the database in `folder` (made with mode 0700 when it is not there), migrating an
    /// older schema.
    ///
    /// # Errors
    /// When it is in use, damaged, newer, or the disk refuses.
    pub fn open(folder: &Path) -> Result<Store, StoreError> {
        make_private(folder)?;
        let path = folder.join("db");
        // Opening writes, too.
        use_reserve_when_low(folder);
        let database = |action| {
            let path = path.clone();
            move |source| StoreError::Database {
                action,
                path,
                source,
            }
        };
        let config = sled::Config::new()
            .path(&path)
            .cache_capacity(CACHE_BYTES)
            .mode(sled::Mode::LowSpace)
            .flush_every_ms(None)
            .print_profile_on_drop(false);
        // Its threads look for work each second, and are started when there first is some.
        let opened = pulse::lazily(|| {
            let db = config.open()?;
            drop(db.flush_async().now_or_never());
            Ok(db)
        });
        let db = opened.map_err(|source: sled::Error| match &source {
            sled::Error::Io(io) if io.kind() == std::io::ErrorKind::WouldBlock => {
                StoreError::InUse { path: path.clone() }
            }
            sled::Error::Io(io) if io.to_string().contains("could not acquire lock") => {
                StoreError::InUse { path: path.clone() }
            }
            _ => database("open")(source),
        })?;
        let file = open_for_sync(&path.join("db"))?;
        let store = Store {
            db,
            folder: folder.to_owned(),
            file,
            synced_blobs: Mutex::default(),
            commits: AtomicU64::new(0),
        };
        // Every time: who made them may have been killed before it came to this.
        sync_folder(&path)?;
        sync_folder(folder)?;
        store.migrate()?;
        store.keep_reserve();
        Ok(store)
    }

    /// Moves a database that cannot be read beside itself and says where it went.
    ///
    /// # Errors
    /// When it cannot be moved.
    pub fn set_aside(folder: &Path, now: u64) -> Result<PathBuf, StoreError> {
        let (from, to) = (folder.join("db"), folder.join(format!("db.damaged-{now}")));
        let moved = match std::fs::rename(&from, &to) {
            // A folder of an image's lower layer cannot be renamed, what is in it can.
            Err(error) if error.kind() == std::io::ErrorKind::CrossesDevices => {
                move_content(&from, &to)
            }
            moved => moved,
        };
        moved.map_err(|source| StoreError::File {
            action: "set aside",
            path: from,
            source,
        })?;
        sync_folder(folder)?;
        Ok(to)
    }

    /// Makes a change durable: it is on the disk when this returns.
    ///
    /// # Errors
    /// When the disk refuses; then nothing of it may be relied on.
    pub fn commit(&self, change: Change) -> Result<(), StoreError> {
        use_reserve_when_low(&self.folder);
        let fail = |source| StoreError::Database {
            action: "write to",
            path: self.folder.join("db"),
            source,
        };
        self.db.apply_batch(change.into_batch()).map_err(fail)?;
        self.sync_blobs()?;
        self.db.flush().map_err(fail)?;
        self.file.sync_data().map_err(|source| StoreError::File {
            action: "sync",
            path: self.folder.join("db/db"),
            source,
        })?;
        let commits = self.commits.fetch_add(1, Ordering::SeqCst) + 1;
        super::fault::after_commit(commits);
        Ok(())
    }

    /// All operations, oldest first. Damaged ones are left out and logged.
    pub fn operations(&self) -> Vec<OperationRecord> {
        self.scan(b"o/")
    }

    /// One operation.
    ///
    /// # Errors
    /// When its value is damaged.
    pub fn operation(&self, id: &OperationId) -> Result<Option<OperationRecord>, StoreError> {
        self.get(&operation_key(id))
    }

    /// The planned steps of an operation, in order.
    ///
    /// # Errors
    /// When one is damaged or missing.
    pub fn steps(&self, id: &OperationId, count: u32) -> Result<Vec<PlannedStep>, StoreError> {
        (0..count)
            .map(|step| {
                let key = numbered("s/", id, step);
                self.get(&key)?.ok_or_else(|| StoreError::Damaged {
                    key: format!("s/{id}/{step}"),
                    why: "it is missing".to_owned(),
                })
            })
            .collect()
    }

    /// The journal of an operation, in order.
    pub fn journal(&self, id: &OperationId) -> Vec<Entry> {
        self.scan(format!("j/{id}/").as_bytes())
    }

    /// What is owned, in the order of making.
    pub fn owned(&self) -> Vec<Owned> {
        let mut owned: Vec<Owned> = self.scan(b"w/");
        owned.sort_by_key(|owned| owned.order);
        owned
    }

    /// The resources that are owned, in the order of making.
    pub fn resources(&self) -> Vec<Resource> {
        let owned = self.owned().into_iter();
        owned.map(|it| it.resource).collect()
    }

    /// Where the releases that are owned were fetched from.
    pub fn fetched(&self) -> Vec<Release> {
        self.scan(FETCHED.as_bytes())
    }

    /// The operation that a user's request id became.
    ///
    /// # Errors
    /// When the value is damaged.
    pub fn by_request_id(&self, uid: u32, text: &str) -> Result<Option<OperationId>, StoreError> {
        self.get(&request_key(uid, text))
    }

    /// What was owned before a step, if the step has changed that.
    ///
    /// # Errors
    /// When the value is damaged.
    pub fn earlier(&self, id: &OperationId, step: u32) -> Result<Option<Earlier>, StoreError> {
        self.get(&numbered("e/", id, step))
    }

    /// Whether the daemon was asked to go down while the operation was at work.
    ///
    /// # Errors
    /// When the value is damaged.
    pub fn was_paused(&self, id: &OperationId) -> Result<bool, StoreError> {
        Ok(self.get::<()>(&paused_key(id))?.is_some())
    }

    /// How the machine was judged last.
    ///
    /// # Errors
    /// When the value is damaged.
    pub fn judgement(&self) -> Result<Option<Judgement>, StoreError> {
        self.get(JUDGEMENT_KEY)
    }

    /// Forgets an ended operation, its plan and its journal.
    ///
    /// # Errors
    /// When the disk refuses.
    pub fn forget(&self, record: &OperationRecord) -> Result<(), StoreError> {
        let mut change = Change::default();
        change.remove(operation_key(&record.id));
        change.drop_paused(&record.id);
        change.drop_switch(&record.id);
        for prefix in ["s/", "j/", "e/"] {
            for key in self
                .db
                .scan_prefix(format!("{prefix}{}/", record.id))
                .keys()
                .flatten()
            {
                change.remove(key.to_vec());
            }
        }
        if let Some(text) = &record.options.request_id {
            change.remove(request_key(record.requested_by, text));
        }
        if record.state.is_final() {
            let mut forgotten = self.forgotten();
            forgotten.add(record);
            change.forgotten(&forgotten)?;
        }
        self.commit(change)
    }

    #[cfg(test)]
    pub(super) fn has_synced_all_of(&self, blobs: &Path) -> bool {
        let names = std::fs::read_dir(blobs).into_iter().flatten().flatten();
        let synced = self
            .synced_blobs
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        names.map(|e| e.file_name()).all(|n| synced.contains(&n))
    }

    /// Makes the reserve again when there is room for it; called when nothing is at work.
    pub fn keep_reserve(&self) {
        let path = self.folder.join("reserve");
        let there = std::fs::metadata(&path).is_ok_and(|meta| meta.len() == RESERVE_BYTES);
        if there || free_bytes(&self.folder).is_none_or(|free| free < LOW_BYTES + 2 * RESERVE_BYTES)
        {
            return;
        }
        if let Err(error) = write_reserve(&path) {
            tracing::warn!("cannot keep a reserve at {}: {error}", path.display());
            let _ = std::fs::remove_file(&path);
        }
    }

    /// sled puts what is larger than a part of a segment into a file of its own and never syncs it.
    /// That happens before the log that names it is flushed.
    fn sync_blobs(&self) -> Result<(), StoreError> {
        let folder = self.folder.join("db/blobs");
        let fail = |path: &Path| {
            let path = path.to_owned();
            move |source| StoreError::File {
                action: "sync",
                path,
                source,
            }
        };
        let names: BTreeSet<OsString> = std::fs::read_dir(&folder)
            .and_then(|entries| entries.map(|entry| Ok(entry?.file_name())).collect())
            .map_err(fail(&folder))?;
        let mut synced = self
            .synced_blobs
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        if *synced == names {
            return Ok(());
        }
        for name in names.difference(&synced) {
            let path = folder.join(name);
            match File::open(&path).and_then(|file| file.sync_all()) {
                Err(error) if error.kind() == std::io::ErrorKind::NotFound => {}
                result => result.map_err(fail(&path))?,
            }
        }
        sync_folder(&folder)?;
        *synced = names;
        Ok(())
    }

    fn migrate(&self) -> Result<(), StoreError> {
        let fail = |source| StoreError::Database {
            action: "read",
            path: self.folder.join("db"),
            source,
        };
        let found = match self.db.get(SCHEMA_KEY).map_err(fail)? {
            Some(bytes) => <[u8; 4]>::try_from(bytes.as_ref())
                .map(u32::from_be_bytes)
                .map_err(|_| StoreError::Damaged {
                    key: "m/schema".to_owned(),
                    why: "not a number".to_owned(),
                })?,
            None if self.db.is_empty() => schema(),
            None => 1,
        };
        if found > schema() {
            return Err(StoreError::Newer { found });
        }
        if (1..schema()).contains(&found) {
            let all = self.payloads(found)?;
            let migrated = legacy::migrated(found, all).map_err(damaged)?;
            return self.rewrite(schema(), migrated);
        }
        let mut change = Change::default();
        change.insert(SCHEMA_KEY.to_vec(), schema().to_be_bytes().to_vec());
        self.commit(change)
    }

    /// Writes the database in `folder` in an older schema, for the version of nixctl that comes next.
    /// Ended operations that it has no words for are left out; their ids are returned.
    ///
    /// # Errors
    /// When it cannot be opened or written, or when an operation that has not ended cannot be said.
    pub fn lower(folder: &Path, to: u32) -> Result<Vec<OperationId>, StoreError> {
        // Cut off after it was written, it is in the present schema again by now, and goes down once more.
        let store = Store::open(folder)?;
        let (lowered, left_out) = legacy::lowered(to, store.payloads(schema())?)?;
        store.rewrite(to, lowered)?;
        Ok(left_out)
    }

    /// The payloads of all values, which are of a schema.
    fn payloads(&self, schema: u32) -> Result<Vec<legacy::Pair>, StoreError> {
        let fail = |source| StoreError::Database {
            action: "read",
            path: self.folder.join("db"),
            source,
        };
        let mut all = Vec::new();
        for item in self.db.iter() {
            let (key, value) = item.map_err(fail)?;
            if key.as_ref() != SCHEMA_KEY {
                let payload = open_value(&key, &value, schema)?;
                all.push((key.to_vec(), payload.into_owned()));
            }
        }
        Ok(all)
    }

    /// Puts these payloads in the place of all values, in one commit.
    fn rewrite(&self, schema: u32, all: Vec<legacy::Pair>) -> Result<(), StoreError> {
        let mut change = Change::default();
        for key in self.db.iter().keys().flatten() {
            change.remove(key.to_vec());
        }
        for (key, payload) in all {
            change.insert(key, seal(schema, payload));
        }
        change.insert(SCHEMA_KEY.to_vec(), schema.to_be_bytes().to_vec());
        self.commit(change)
    }

    fn get<T: DeserializeOwned>(&self, key: &[u8]) -> Result<Option<T>, StoreError> {
        let fail = |source| StoreError::Database {
            action: "read",
            path: self.folder.join("db"),
            source,
        };
        self.db
            .get(key)
            .map_err(fail)?
            .map(|bytes| decode(key, &bytes))
            .transpose()
    }

    fn scan<T: DeserializeOwned>(&self, prefix: &[u8]) -> Vec<T> {
        let mut values = Vec::new();
        for item in self.db.scan_prefix(prefix) {
            match item {
                Ok((key, bytes)) => match decode(&key, &bytes) {
                    Ok(value) => values.push(value),
                    Err(error) => tracing::error!("{error}"),
                },
                Err(error) => tracing::error!("cannot read the database: {error}"),
            }
        }
        values
    }
}

fn damaged((key, why): (Vec<u8>, String)) -> StoreError {
    StoreError::Damaged {
        key: shown(&key),
        why,
    }
}

#[cfg(test)]
mod tests {
    use nixctl_proto::OperationState as State;
    use nixctl_proto::request::{OperationRequest, RequestOptions};

    use super::form::next::{NEW, NEXT};
    use super::*;
    use crate::engine::record::Record;

    /// What is in a database of that schema, as that schema reads it.
    fn seen(folder: &Path, schema: u32) -> (Vec<OperationRecord>, Vec<Entry>) {
        form::next::WRITES.set(schema);
        let store = Store::open(folder).unwrap();
        let operations = store.operations();
        let journal = operations.iter().flat_map(|it| store.journal(&it.id));
        let journal = journal.collect();
        drop(store);
        form::next::WRITES.set(SCHEMA);
        (operations, journal)
    }

    fn record(number: u32, state: State, reason: &str) -> OperationRecord {
        OperationRecord {
            id: OperationId::from_parts(u64::from(number), number),
            request: OperationRequest::SelfUninstall,
            options: RequestOptions {
                request_id: Some(format!("request-{number}")),
                reason: Some(reason.to_owned()),
                ..RequestOptions::default()
            },
            requested_by: 0,
            created: u64::from(number),
            finished: None,
            state,
            failure: None,
            kept: Vec::new(),
            notes: Vec::new(),
            next_sequence: 1,
            steps: 0,
            spent: 0,
            counted: None,
        }
    }

    fn put(folder: &Path, schema: u32, record: &OperationRecord) {
        form::next::WRITES.set(schema);
        let store = Store::open(folder).unwrap();
        let mut change = Change::default();
        change.operation(record).unwrap();
        let text = record.options.request_id.as_deref().unwrap();
        change.request_id(0, text, &record.id).unwrap();
        let entry = Entry {
            time: 7,
            record: Record::State {
                state: record.state,
            },
        };
        change.entry(&record.id, 0, &entry).unwrap();
        store.commit(change).unwrap();
        drop(store);
        form::next::WRITES.set(SCHEMA);
    }

    fn lower(folder: &Path) -> Result<Vec<OperationId>, StoreError> {
        form::next::WRITES.set(NEXT);
        let lowered = Store::lower(folder, SCHEMA);
        form::next::WRITES.set(SCHEMA);
        lowered
    }

    #[test]
    fn a_state_goes_up_to_the_next_schema_and_back() {
        let folder = tempfile::tempdir().unwrap();
        put(folder.path(), SCHEMA, &record(1, State::Succeeded, "old"));
        put(folder.path(), SCHEMA, &record(2, State::Running, "goes on"));
        let before = seen(folder.path(), SCHEMA);
        assert_eq!(before.0.len(), 2);
        assert_eq!(seen(folder.path(), NEXT), before);
        // The older one refuses what is newer, and does not damage it.
        assert!(matches!(
            Store::open(folder.path()),
            Err(StoreError::Newer { found: NEXT })
        ));
        put(
            folder.path(),
            NEXT,
            &record(3, State::Failed, "from up there"),
        );
        let above = seen(folder.path(), NEXT);
        // As often as it is cut off after it was written.
        for _ in 0..2 {
            assert_eq!(lower(folder.path()).unwrap(), []);
        }
        assert_eq!(seen(folder.path(), SCHEMA), above);
    }

    #[test]
    fn what_the_older_schema_has_no_words_for_is_left_out_when_it_has_ended() {
        let folder = tempfile::tempdir().unwrap();
        put(folder.path(), NEXT, &record(1, State::Succeeded, NEW));
        put(folder.path(), NEXT, &record(2, State::Succeeded, "old"));
        let gone = record(1, State::Succeeded, NEW).id;
        assert_eq!(lower(folder.path()).unwrap(), std::slice::from_ref(&gone));
        let (operations, journal) = seen(folder.path(), SCHEMA);
        assert_eq!(operations, [record(2, State::Succeeded, "old")]);
        assert_eq!(journal.len(), 1);
        let store = Store::open(folder.path()).unwrap();
        assert_eq!(store.journal(&gone), []);
        assert_eq!(store.by_request_id(0, "request-1").unwrap(), None);
        assert!(store.by_request_id(0, "request-2").unwrap().is_some());
        drop(store);
        put(folder.path(), NEXT, &record(3, State::Running, NEW));
        let error = lower(folder.path()).unwrap_err().to_string();
        assert!(error.contains("has not ended"), "{error}");
        assert_eq!(seen(folder.path(), NEXT).0.len(), 2);
    }

    #[test]
    fn a_folder_that_cannot_be_renamed_is_moved_by_its_content() {
        let folder = tempfile::tempdir().unwrap();
        let (from, to) = (folder.path().join("db"), folder.path().join("db.damaged"));
        std::fs::create_dir_all(from.join("blobs")).unwrap();
        std::fs::write(from.join("db"), "x").unwrap();
        std::fs::write(from.join("blobs/1"), "y").unwrap();
        // Cut off before: one file is there already.
        std::fs::create_dir(&to).unwrap();
        std::fs::write(to.join("conf"), "z").unwrap();
        move_content(&from, &to).unwrap();
        assert!(!from.exists());
        for (name, text) in [("db", "x"), ("blobs/1", "y"), ("conf", "z")] {
            assert_eq!(std::fs::read_to_string(to.join(name)).unwrap(), text);
        }
    }
}

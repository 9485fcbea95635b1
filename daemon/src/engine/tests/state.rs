//! The database: damage, refusals, earlier schemas.

use nixctl_proto::request::RollbackRequest;

use super::*;

#[test]
fn a_damaged_database_is_set_aside_and_said() {
    let fixture = Fixture::new();
    let state = fixture.state.path().join("state");
    stop(fixture.engine(Files(NAMES.to_vec())));
    let mut bytes = std::fs::read(state.join("db/conf")).unwrap();
    bytes.iter_mut().for_each(|byte| *byte ^= 0xff);
    std::fs::write(state.join("db/conf"), bytes).unwrap();
    let engine = fixture.engine(Files(NAMES.to_vec()));
    let aside = std::fs::read_dir(&state).unwrap().flatten();
    let aside: Vec<_> = aside
        .filter(|e| e.file_name().to_string_lossy().starts_with("db.damaged-"))
        .collect();
    assert_eq!(aside.len(), 1);
    stop(engine);
}

#[test]
fn two_daemons_do_not_share_a_database() {
    let fixture = Fixture::new();
    let engine = fixture.engine(Files(NAMES.to_vec()));
    let second = Engine::start(EngineParts {
        host: fixture.host(),
        state_dir: fixture.state.path().join("state"),
        settings: Settings::default(),
        planner: Box::new(Files(NAMES.to_vec())),
        worker: Box::new(Idle),
        switch: Box::new(crate::switch::carry::Machine),
        patience: Duration::ZERO,
        is_resident: false,
    });
    assert_eq!(second.unwrap_err().code, Code::Busy);
    stop(engine);
}

/// An operation of schema 1 as the first nixctld wrote it: version byte, bincode, CRC-32.
const OPERATION_V1: &[u8] = include_bytes!("../fixtures/operation-v1.bin");

#[test]
fn schema_1_is_migrated() {
    let fixture = Fixture::new();
    let state = fixture.state.path().join("state");
    std::fs::create_dir(&state).unwrap();
    let id = OperationId::from_parts(1_700_000_000_000, 7);
    let db = sled::open(state.join("db")).unwrap();
    db.insert(format!("o/{id}"), OPERATION_V1).unwrap();
    db.flush().unwrap();
    drop(db);
    let store = Store::open(&state).unwrap();
    let record = store.operation(&id).unwrap().unwrap();
    assert_eq!(record.state, State::Succeeded);
    assert_eq!(record.requested_by, 1000);
    assert!(record.notes.is_empty());
    drop(store);
    assert!(
        Store::open(Path::new(&state))
            .unwrap()
            .operation(&id)
            .unwrap()
            .is_some()
    );
}

/// Values of schema 2 as the nixctld before wrote them.
const OPERATION_V2: &[u8] = include_bytes!("../fixtures/operation-v2.bin");
const REQUEST_ID_V2: &[u8] = include_bytes!("../fixtures/request-id-v2.bin");
const ENTRY_V2: &[u8] = include_bytes!("../fixtures/entry-v2.bin");

#[test]
fn schema_2_is_migrated() {
    let fixture = Fixture::new();
    let state = fixture.state.path().join("state");
    std::fs::create_dir(&state).unwrap();
    let id = OperationId::from_parts(1_700_000_000_000, 8);
    let db = sled::open(state.join("db")).unwrap();
    db.insert("m/schema", &2u32.to_be_bytes()).unwrap();
    db.insert(format!("o/{id}"), OPERATION_V2).unwrap();
    db.insert("r/again", REQUEST_ID_V2).unwrap();
    let mut key = format!("j/{id}/").into_bytes();
    key.extend(2u32.to_be_bytes());
    db.insert(key, ENTRY_V2).unwrap();
    db.flush().unwrap();
    drop(db);
    for _ in 0..2 {
        let store = Store::open(&state).unwrap();
        let record = store.operation(&id).unwrap().unwrap();
        assert_eq!(record.state, State::Running);
        assert_eq!((record.kept.len(), record.notes.len()), (1, 1));
        assert_eq!((record.spent, record.counted), (0, None));
        assert_eq!(
            store.by_request_id(1000, "again").unwrap(),
            Some(id.clone())
        );
        assert_eq!(store.by_request_id(0, "again").unwrap(), None);
        let journal = store.journal(&id);
        assert!(matches!(
            journal[0].record,
            Record::Started { attempt: 3, .. }
        ));
    }
}

/// An operation of schema 3, and the id that it was asked for with.
const OPERATION_V3: &[u8] = include_bytes!("../fixtures/operation-v3.bin");

#[test]
fn schema_3_is_migrated() {
    let fixture = Fixture::new();
    let state = fixture.state.path().join("state");
    std::fs::create_dir(&state).unwrap();
    let id = OperationId::from_parts(1_700_000_000_000, 9);
    let db = sled::open(state.join("db")).unwrap();
    db.insert("m/schema", &3u32.to_be_bytes()).unwrap();
    db.insert(format!("o/{id}"), OPERATION_V3).unwrap();
    // Ids of requests are by user already.
    let mut version_3 = REQUEST_ID_V2.to_vec();
    let end = version_3.len() - 4;
    version_3[0] = 3;
    let crc = crc32fast::hash(&version_3[..end]);
    version_3.truncate(end);
    version_3.extend(crc.to_be_bytes());
    db.insert("r/0/again", version_3).unwrap();
    db.flush().unwrap();
    drop(db);
    for _ in 0..2 {
        let store = Store::open(&state).unwrap();
        let record = store.operation(&id).unwrap().unwrap();
        let expected = RollbackRequest {
            to: Some(42),
            ..RollbackRequest::default()
        };
        assert_eq!(record.request, OperationRequest::Rollback(expected));
        assert_eq!((record.steps, record.spent), (1, 7));
        assert!(store.by_request_id(0, "again").unwrap().is_some());
    }
}

#[test]
fn a_state_that_the_system_refuses_is_not_damaged() {
    let fixture = Fixture::new();
    let state = fixture.state.path().join("state");
    stop(fixture.engine(Files(NAMES.to_vec())));
    drop(reopen(&fixture));
    // A folder in the place of a file: EISDIR for everybody, root too.
    std::fs::rename(state.join("db/conf"), state.join("conf")).unwrap();
    std::fs::create_dir(state.join("db/conf")).unwrap();
    let failure = Engine::start(EngineParts {
        host: fixture.host(),
        state_dir: state.clone(),
        settings: Settings::default(),
        planner: Box::new(Files(NAMES.to_vec())),
        worker: Box::new(Idle),
        switch: Box::new(crate::switch::carry::Machine),
        patience: Duration::ZERO,
        is_resident: false,
    })
    .unwrap_err();
    assert_eq!(failure.code, Code::StateDamaged);
    let aside = std::fs::read_dir(&state).unwrap().flatten();
    let aside = aside.filter(|e| e.file_name().to_string_lossy().contains("damaged"));
    assert_eq!(aside.count(), 0);
}

#[test]
fn a_large_value_is_synced_with_the_rest() {
    let fixture = Fixture::new();
    let store = Store::open(&fixture.state.path().join("state")).unwrap();
    let id = OperationId::from_parts(1, 1);
    let kept = "x".repeat(3 << 20);
    let entry = Entry {
        time: 0,
        record: Record::Undone {
            step: 0,
            kept: Some(kept),
        },
    };
    let mut change = Batch::default();
    change.entry(&id, 0, &entry).unwrap();
    store.commit(change).unwrap();
    let blobs = fixture.state.path().join("state/db/blobs");
    assert_ne!(std::fs::read_dir(&blobs).unwrap().count(), 0);
    assert!(store.has_synced_all_of(&blobs));
    assert_eq!(store.journal(&id), [entry]);
}

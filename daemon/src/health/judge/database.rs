//! Whether Nix can read what it knows of the store.

use nixctl_proto::health::check::Check;

use super::Found;
use crate::health::look::database::{
    DATABASE, DatabaseCheck, DatabaseFacts, Head, Remains, SCHEMA, VERSIONS, number,
};
use crate::health::mend::Mend;
use crate::health::mend::aside::SetAside;
use crate::health::mend::content::Content;
use crate::health::mend::database::Restore;
use crate::health::mend::nix_repair::Register;
use crate::resource::Presence;
use crate::resource::registration::Registration;

const RECOVER: &str = "the Nix that nixctl installed is not there to register with: stop nix-daemon, \
     rebuild the database with `sqlite3 db.sqlite .recover | sqlite3 new.sqlite`, move the damaged \
     one aside, put the new one in its place, and run `nix-store --verify`";

pub(super) fn judge(facts: &DatabaseFacts) -> Vec<Found> {
    let mut found: Vec<Found> = facts.damaged_caches.iter().map(|it| cache(it)).collect();
    if facts.is_mount_missing || !facts.is_owned || !facts.folder.is_directory() {
        return found;
    }
    match broken(facts) {
        Some(broken) => found.push(broken),
        None => {
            found.extend(schema(facts));
            found.extend(unregistered(facts));
        }
    }
    found
}

fn cache(files: &[std::path::PathBuf]) -> Found {
    let path = files.last().map(|it| it.display().to_string());
    let found = Found::new(Check::CacheMalformed, path.unwrap_or_default())
        .seen("it is no database any more")
        .expected("a database");
    files.iter().fold(found, |found, file| {
        found.mend(Mend::SetAside(SetAside::beside(file)))
    })
}

/// The database itself.
fn broken(facts: &DatabaseFacts) -> Option<Found> {
    let damaged = |why: &str| {
        let found = Found::new(Check::Malformed, DATABASE).seen(why);
        restored(facts, found.expected("a database that can be read"))
    };
    let missing = |why: &str| {
        let found = Found::new(Check::DatabaseMissing, DATABASE).seen(why);
        restored(facts, found.expected("the database"))
    };
    match (&facts.head, &facts.check) {
        (Head::Absent, _) => Some(missing("it is not there")),
        (Head::Empty, _) => Some(missing("it has no content")),
        (Head::Damaged(why), _) => Some(damaged(why)),
        (Head::Sound, DatabaseCheck::Damaged(why)) => Some(damaged(why)),
        (Head::Sound, DatabaseCheck::Sound | DatabaseCheck::NotMade) => None,
    }
}

/// It is put back together, from a copy or from what is left.
fn restored(facts: &DatabaseFacts, found: Found) -> Found {
    let Remains {
        copies,
        nix,
        release,
    } = &facts.remains;
    let Some(nix) = nix else {
        return found.help(RECOVER);
    };
    // Nix would begin a new database over the copy. Without one it shall.
    let found = match schema(facts).filter(|_| !copies.is_empty()) {
        Some(schema) => schema.cures.into_iter().fold(found, Found::cure),
        None => found,
    };
    let found = found.mend(Mend::Database(Restore {
        nix: nix.clone(),
        copies: copies.clone(),
        at: 0,
    }));
    match release {
        Some(release) => found.mend(register(release)),
        None => found,
    }
}

fn register(release: &Registration) -> Mend {
    let sha256 = release.sha256.clone();
    Mend::Register(Register { sha256 })
}

/// The file with its version. The database is known to be sound, or is put back together.
fn schema(facts: &DatabaseFacts) -> Option<Found> {
    let text = facts.schema.as_deref();
    let newest = facts.newest;
    match number(text) {
        Some(version) if (*VERSIONS.start()..=newest).contains(&version) => None,
        Some(newer) if newer > newest => Some(
            Found::new(Check::SchemaTooNew, SCHEMA)
                .seen(format!("version {newer}"))
                .expected(format!("version {newest}"))
                .help("install the Nix that made it, or restore a copy from before"),
        ),
        _ => {
            let seen = match text {
                None => "it is not there".to_owned(),
                Some(text) if text.trim().is_empty() => "it has no content".to_owned(),
                Some(_) => "it does not hold a version".to_owned(),
            };
            Some(
                Found::new(Check::SchemaDamaged, SCHEMA)
                    .seen(seen)
                    .expected(format!("version {newest}"))
                    .mend(Mend::Content(Content {
                        path: SCHEMA.into(),
                        content: newest.to_string(),
                        mode: 0o644,
                    })),
            )
        }
    }
}

fn unregistered(facts: &DatabaseFacts) -> Option<Found> {
    let (registration, presence) = facts.registration.as_ref()?;
    let seen = match presence {
        Presence::Present => return None,
        Presence::Absent => "no path of Nix itself is registered",
        Presence::Drifted(seen) | Presence::Foreign(seen) => seen,
    };
    Some(
        Found::new(Check::Unregistered, DATABASE)
            .seen(seen)
            .expected("all paths of Nix itself")
            .mend(register(registration)),
    )
}

#[cfg(test)]
mod tests {
    use super::super::testing::{at, ids};
    use super::*;
    use crate::health::judge::Cure;
    use crate::host::fs::Kind;
    use crate::resource::registration::Registration;

    fn healthy() -> DatabaseFacts {
        let sha256 = "aa".to_owned();
        DatabaseFacts {
            is_owned: true,
            is_mount_missing: false,
            folder: at("/nix/var/nix/db", Kind::Directory, 0o755),
            database: at(DATABASE, Kind::File, 0o644),
            head: Head::Sound,
            check: DatabaseCheck::Sound,
            schema: Some("10".to_owned()),
            newest: 10,
            registration: Some((Registration { sha256 }, Presence::Present)),
            remains: Remains::default(),
            damaged_caches: Vec::new(),
        }
    }

    #[test]
    fn what_is_damaged_is_put_back_together_with_what_there_is() {
        let remains = |copies: &[&str]| Remains {
            copies: copies.iter().map(|it| (*it).to_owned()).collect(),
            nix: Some("/nix/store/x-nix".to_owned()),
            release: Some(Registration {
                sha256: "aa".to_owned(),
            }),
        };
        for (copies, schema, expected) in [
            (&["db-2", "db-1"][..], Some("10"), "db"),
            (&["db-2"], None, "sdb"),
            (&[], None, "db"),
        ] {
            for head in [Head::Absent, Head::Empty, Head::Damaged("x")] {
                let found = with(|facts| {
                    facts.head = head.clone();
                    facts.schema = schema.map(str::to_owned);
                    facts.remains = remains(copies);
                });
                let [found] = &found[..] else {
                    panic!("{found:?}")
                };
                let steps = found.cures.iter().map(|cure| match cure {
                    Cure::Mend(Mend::Content(_)) => "s",
                    Cure::Mend(Mend::Database(it)) if it.copies == copies => "d",
                    Cure::Mend(Mend::Register(_)) => "b",
                    other => panic!("{other:?}"),
                });
                assert_eq!(steps.collect::<String>(), expected, "{head:?}");
                assert!(found.help.is_empty());
            }
        }
    }

    fn with(change: impl FnOnce(&mut DatabaseFacts)) -> Vec<Found> {
        let mut facts = healthy();
        change(&mut facts);
        judge(&facts)
    }

    #[test]
    fn a_healthy_machine_has_no_finding() {
        assert_eq!(judge(&healthy()), []);
        // One that a newer Nix writes, which has told so.
        let newer = with(|facts| {
            facts.newest = 11;
            facts.schema = Some("11".to_owned());
        });
        assert_eq!(newer, []);
        for schema in ["10\n", "9"] {
            assert_eq!(with(|facts| facts.schema = Some(schema.to_owned())), []);
        }
        assert_eq!(with(|facts| facts.check = DatabaseCheck::NotMade), []);
        for change in [
            |facts: &mut DatabaseFacts| facts.is_mount_missing = true,
            |facts: &mut DatabaseFacts| facts.is_owned = false,
            |facts: &mut DatabaseFacts| facts.folder.meta = None,
        ] {
            let found = with(|facts| {
                facts.head = Head::Absent;
                change(facts);
            });
            assert_eq!(found, []);
        }
    }

    #[test]
    fn what_is_wrong_is_named() {
        type Change = fn(&mut DatabaseFacts);
        let table: [(Change, &str, usize); 9] = [
            (|facts| facts.head = Head::Absent, "database.missing", 0),
            (|facts| facts.head = Head::Empty, "database.missing", 0),
            (
                |facts| facts.head = Head::Damaged("x"),
                "database.malformed",
                0,
            ),
            (
                |facts| facts.check = DatabaseCheck::Damaged("x".to_owned()),
                "database.malformed",
                0,
            ),
            (|facts| facts.schema = None, "database.schema-damaged", 1),
            (
                |facts| facts.schema = Some(String::new()),
                "database.schema-damaged",
                1,
            ),
            (
                |facts| facts.schema = Some("1".to_owned()),
                "database.schema-damaged",
                1,
            ),
            (
                |facts| facts.schema = Some("11".to_owned()),
                "database.schema-too-new",
                0,
            ),
            (
                |facts| facts.registration.as_mut().unwrap().1 = Presence::Absent,
                "database.unregistered",
                1,
            ),
        ];
        for (change, expected, cures) in table {
            let found = with(change);
            assert_eq!(found.len(), 1, "{expected}");
            assert_eq!(found[0].check.id(), expected);
            assert_eq!(found[0].cures.len(), cures, "{expected}");
        }
    }

    #[test]
    fn the_version_is_not_written_over_a_database_that_is_damaged() {
        let found = with(|facts| {
            facts.head = Head::Empty;
            facts.schema = None;
        });
        assert!(found.iter().all(|it| it.cures.is_empty()), "{found:?}");
    }

    #[test]
    fn a_damaged_cache_is_set_aside_with_what_belongs_to_it() {
        let files = ["/root/.cache/nix/a.sqlite-wal", "/root/.cache/nix/a.sqlite"];
        let found = with(|facts| {
            facts.damaged_caches = vec![files.map(Into::into).to_vec()];
            facts.is_owned = false;
        });
        assert_eq!(
            ids(&found),
            ["database.cache-malformed /root/.cache/nix/a.sqlite"]
        );
        assert_eq!(found[0].cures.len(), 2);
    }
}

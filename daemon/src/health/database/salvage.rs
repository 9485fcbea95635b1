//! What a database that was set aside still says of store paths that its copy does not know.
//!
//! It is damaged, so nothing it says is believed once: of a path's references table and index must
//! say the same, and each must be registered or be found as well. Of what it does not know the files
//! are asked (see [`super::whole`]). What comes out is what `nix-store --load-db` reads.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use rusqlite::{Connection, Row};

use super::compare::SHOWN;
use super::examine::is_damage;
use super::open::failing;
use super::restore::aside_folder;
use super::{DatabaseError, Job, LOST, REGISTRATION, Report, UNREGISTERED};

/// Largest list of unregistered paths: a million of them.
const MAX_LIST_BYTES: u64 = 256 << 20;
/// Characters of a hash of 256 bits in base 16.
const HASH_CHARS: usize = 64;

/// One row of the table of paths.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Valid {
    pub id: i64,
    pub path: String,
    pub hash: String,
    pub deriver: String,
    pub size: u64,
}

/// What was found of one path.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Found {
    pub valid: Valid,
    pub references: BTreeSet<String>,
}

impl Job<'_> {
    /// Writes down what is known of the unregistered paths.
    pub(super) fn salvage(&self, aside: &str) -> Result<Report, DatabaseError> {
        let damaged = aside_folder(aside)?.join("db.sqlite");
        let list = self.fs.read(Path::new(UNREGISTERED), MAX_LIST_BYTES)?;
        let list = String::from_utf8_lossy(&list.unwrap_or_default()).into_owned();
        let wanted: BTreeSet<String> = list.lines().map(str::to_owned).collect();
        let registered = self.registered()?;
        let wanted: BTreeSet<String> = wanted.difference(&registered).cloned().collect();
        let mut found = match self.read_damaged(&damaged, &wanted) {
            // So damaged that nothing can be read.
            Err(DatabaseError::Sqlite { source, .. }) if is_damage(&source) => BTreeMap::new(),
            found => found?,
        };
        let lost = |found: &BTreeMap<String, Found>| -> BTreeSet<String> {
            let is_lost = |path: &&String| !found.contains_key(*path);
            wanted.iter().filter(is_lost).cloned().collect()
        };
        // A path that names one whose files are asked is found with it.
        let told: BTreeSet<String> = found.keys().cloned().collect();
        let known = registered.iter().chain(&told).cloned().collect();
        found.extend(self.whole(&lost(&found), &known)?);
        keep_closed(&mut found, &registered);
        let whole = found.keys().filter(|path| !told.contains(*path)).count();
        let lost = lost(&found);
        let lost: Vec<&String> = lost.iter().collect();
        self.write_list(LOST, &lost)?;
        let text: String = found.values().map(Found::registration).collect();
        let place = Path::new(REGISTRATION);
        self.fs.write(place, text.as_bytes(), 0o600, None)?;
        let number = |all: usize| u64::try_from(all).unwrap_or(u64::MAX);
        Ok(Report::Salvaged {
            found: number(found.len() - whole),
            whole: number(whole),
            lost: number(lost.len()),
            some_lost: lost.iter().take(SHOWN).map(|it| (*it).clone()).collect(),
        })
    }

    fn read_damaged(
        &self,
        damaged: &Path,
        wanted: &BTreeSet<String>,
    ) -> Result<BTreeMap<String, Found>, DatabaseError> {
        if self.fs.meta(damaged)?.is_none_or(|meta| meta.size == 0) {
            return Ok(BTreeMap::new());
        }
        let connection = self.open(damaged)?;
        let mut found = BTreeMap::new();
        self.watched(&connection, "read", damaged, || {
            let paths = paths(&connection).map_err(failing("read", damaged))?;
            let names: BTreeMap<i64, &str> =
                paths.values().map(|it| (it.id, it.path.as_str())).collect();
            let by_table = references(&connection).map_err(failing("read", damaged))?;
            for path in wanted {
                self.go_on()?;
                let Some(valid) = paths.get(path).filter(|it| it.makes_sense()) else {
                    continue;
                };
                let nothing = BTreeSet::new();
                let in_table = by_table.get(&valid.id).unwrap_or(&nothing);
                let in_index = references_by_index(&connection, valid.id);
                if in_index.ok().as_ref() != Some(in_table) {
                    continue;
                }
                let named = in_table.iter().map(|id| names.get(id).copied());
                let named: Option<BTreeSet<&str>> = named.collect();
                if let Some(named) = named {
                    let found_one = Found {
                        valid: valid.clone(),
                        references: named.into_iter().map(str::to_owned).collect(),
                    };
                    found.insert(path.clone(), found_one);
                }
            }
            Ok(())
        })?;
        Ok(found)
    }
}

impl Valid {
    fn read(row: &Row<'_>) -> rusqlite::Result<Valid> {
        let size: Option<i64> = row.get(4)?;
        Ok(Valid {
            id: row.get(0)?,
            path: row.get(1)?,
            hash: row.get(2)?,
            deriver: row.get::<_, Option<String>>(3)?.unwrap_or_default(),
            size: u64::try_from(size.unwrap_or(0)).unwrap_or(0),
        })
    }

    fn hash(&self) -> Option<&str> {
        let hash = self.hash.strip_prefix("sha256:")?;
        let is_hex = |byte: u8| byte.is_ascii_digit() || (b'a'..=b'f').contains(&byte);
        (hash.len() == HASH_CHARS && hash.bytes().all(is_hex)).then_some(hash)
    }

    fn makes_sense(&self) -> bool {
        let is_line = |text: &str| !text.chars().any(char::is_control);
        self.hash().is_some() && is_line(&self.path) && is_line(&self.deriver)
    }
}

impl Found {
    fn registration(&self) -> String {
        let Valid {
            path,
            deriver,
            size,
            ..
        } = &self.valid;
        let hash = self.valid.hash().unwrap_or_default();
        let number = self.references.len();
        let mut text = format!("{path}\n{hash}\n{size}\n{deriver}\n{number}\n");
        for reference in &self.references {
            text.push_str(reference);
            text.push('\n');
        }
        text
    }
}

/// Takes out what refers to something that nobody knows, until nothing does.
fn keep_closed(found: &mut BTreeMap<String, Found>, registered: &BTreeSet<String>) {
    loop {
        let known: BTreeSet<String> = found.keys().cloned().collect();
        let is_known = |it: &String| known.contains(it) || registered.contains(it);
        found.retain(|_, it| it.references.iter().all(is_known));
        if found.len() == known.len() {
            return;
        }
    }
}

/// All paths that can be read, from both ends up to what is damaged.
fn paths(connection: &Connection) -> rusqlite::Result<BTreeMap<String, Valid>> {
    let mut all = BTreeMap::new();
    for order in ["ASC", "DESC"] {
        let sql = format!(
            "SELECT id, path, hash, deriver, narSize FROM ValidPaths NOT INDEXED ORDER BY id {order}"
        );
        let mut statement = connection.prepare(&sql)?;
        let rows = statement.query_map([], Valid::read)?;
        let mut is_whole = true;
        for row in rows {
            match row {
                Ok(row) => drop(all.insert(row.path.clone(), row)),
                Err(error) if is_over(&error) => return Err(error),
                Err(_) => {
                    is_whole = false;
                    break;
                }
            }
        }
        if is_whole {
            break;
        }
    }
    Ok(all)
}

/// All references that can be read from the table, from both ends.
fn references(connection: &Connection) -> rusqlite::Result<BTreeMap<i64, BTreeSet<i64>>> {
    let mut all: BTreeMap<i64, BTreeSet<i64>> = BTreeMap::new();
    for order in ["ASC", "DESC"] {
        let sql =
            format!("SELECT referrer, reference FROM Refs NOT INDEXED ORDER BY rowid {order}");
        let mut statement = connection.prepare(&sql)?;
        let rows = statement.query_map([], |row| Ok((row.get(0)?, row.get(1)?)))?;
        for row in rows {
            match row {
                Ok((referrer, reference)) => {
                    all.entry(referrer).or_default().insert(reference);
                }
                Err(error) if is_over(&error) => return Err(error),
                Err(_) => break,
            }
        }
    }
    Ok(all)
}

fn references_by_index(connection: &Connection, id: i64) -> rusqlite::Result<BTreeSet<i64>> {
    let mut statement = connection.prepare(
        "SELECT reference FROM Refs INDEXED BY sqlite_autoindex_Refs_1 WHERE referrer = ?1",
    )?;
    let rows = statement.query_map([id], |row| row.get(0))?;
    rows.collect()
}

/// Whether reading ended because it was to.
fn is_over(error: &rusqlite::Error) -> bool {
    error.sqlite_error_code() == Some(rusqlite::ErrorCode::OperationInterrupted)
}

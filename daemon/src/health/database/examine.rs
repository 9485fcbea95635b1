//! Whether a database is sound.

use std::path::Path;

use rusqlite::{Connection, ErrorCode};
use serde::{Deserialize, Serialize};

use super::open::{Header, failing};
use super::{DatabaseError, Job};

/// Complaints that are kept.
const COMPLAINTS: usize = 20;
/// Tables without which it is not Nix's.
const TABLES: [&str; 2] = ["ValidPaths", "Refs"];

/// How a database is.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum State {
    /// As it should be.
    Sound,
    /// It is not there.
    Missing,
    /// It has no bytes, as after a power cut.
    Empty,
    /// Something else is in its place.
    Strange,
    /// SQLite complains.
    Damaged(Vec<String>),
}

impl State {
    /// What is wrong, in words; `None`: nothing.
    pub fn complaint(&self) -> Option<String> {
        match self {
            State::Sound => None,
            State::Missing => Some("it is not there".to_owned()),
            State::Empty => Some("it is empty".to_owned()),
            State::Strange => Some("it is not a database of SQLite".to_owned()),
            State::Damaged(complaints) => {
                let first = complaints.first().map_or("", String::as_str);
                Some(format!("it is damaged: {first}"))
            }
        }
    }
}

/// Whose database it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    /// Nix's, with its tables.
    Nix,
    /// Another one.
    Any,
}

impl Job<'_> {
    /// Looks whether a database of Nix is sound. Changes nothing of it.
    pub(super) fn examine(&self, path: &Path) -> Result<State, DatabaseError> {
        self.looked(path, Kind::Nix)
    }

    /// The same for any database.
    pub(super) fn looked(&self, path: &Path, kind: Kind) -> Result<State, DatabaseError> {
        match self.header(path)? {
            Header::Missing => return Ok(State::Missing),
            Header::Empty => return Ok(State::Empty),
            Header::Strange => return Ok(State::Strange),
            Header::Database { .. } => {}
        }
        let examined = self.open(path).and_then(|connection| {
            self.watched(&connection, "examine", path, || {
                complaints(&connection, kind).map_err(failing("examine", path))
            })
        });
        match examined {
            Ok(none) if none.is_empty() => Ok(State::Sound),
            Ok(some) => Ok(State::Damaged(some)),
            Err(DatabaseError::Sqlite { source, .. }) if is_damage(&source) => {
                Ok(State::Damaged(vec![source.to_string()]))
            }
            Err(error) => Err(error),
        }
    }

    /// The same, and an error when it is not.
    pub(super) fn must_be_sound(&self, path: &Path) -> Result<(), DatabaseError> {
        match self.examine(path)?.complaint() {
            None => Ok(()),
            Some(why) => {
                let path = path.to_owned();
                Err(DatabaseError::NotSound { path, why })
            }
        }
    }
}

fn complaints(connection: &Connection, kind: Kind) -> rusqlite::Result<Vec<String>> {
    let mut check = connection.prepare(&format!("PRAGMA quick_check({COMPLAINTS})"))?;
    let rows = check.query_map([], |row| row.get::<_, String>(0))?;
    let mut complaints = rows.collect::<rusqlite::Result<Vec<String>>>()?;
    complaints.retain(|it| it != "ok");
    if complaints.is_empty() && kind == Kind::Nix {
        let sql = "SELECT count(*) FROM sqlite_schema WHERE type = 'table' AND name = ?1";
        for table in TABLES {
            let number: i64 = connection.query_row(sql, [table], |row| row.get(0))?;
            if number == 0 {
                complaints.push(format!("it has no table {table}"));
            }
        }
    }
    Ok(complaints)
}

/// Whether an error says something of the database, and not of who looks at it.
pub(super) fn is_damage(error: &rusqlite::Error) -> bool {
    matches!(
        error.sqlite_error_code(),
        Some(ErrorCode::DatabaseCorrupt | ErrorCode::NotADatabase)
    )
}

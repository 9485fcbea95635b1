//! What Nix's database says, without row numbers and times: `nix:STORE-PATH` with hash, size,
//! deriver, signatures and references.
//!
//! The database is copied aside first, with its log, so that a running daemon is not disturbed.

use std::fs;
use std::path::Path;

use crate::error::{Context, Result};
use crate::exec::Run;
use crate::paths;

const QUERY: &str = "select path || char(9) || hash || ', ' || coalesce(narSize, '?') || ' bytes' \
    || coalesce(', deriver ' || deriver, '') || coalesce(', ultimate ' || ultimate, '') \
    || coalesce(', sigs ' || sigs, '') || coalesce(', ca ' || ca, '') \
    || coalesce(', refers to ' || (select group_concat(path, ' ') from (select r.path from Refs \
       join ValidPaths r on r.id = reference where referrer = v.id order by r.path)), '') \
    from ValidPaths v order by path;";

/// The facts of a database folder; none when there is no database.
pub fn facts(dir: &Path) -> Result<Vec<(String, String)>> {
    if !dir.join("db.sqlite").is_file() {
        return Ok(Vec::new());
    }
    let copy = paths::lab("scratch")?.join(paths::unique("db"));
    fs::create_dir_all(&copy).context(|| format!("create {}", copy.display()))?;
    for name in ["db.sqlite", "db.sqlite-wal"] {
        if dir.join(name).exists() {
            fs::copy(dir.join(name), copy.join(name)).context(|| format!("copy {name}"))?;
        }
    }
    let database = copy.join("db.sqlite");
    let output = Run::new(&["sqlite3", &database.to_string_lossy(), QUERY]).run();
    paths::remove_tree(&copy)?;
    let output = output?.ok()?;
    let facts = output
        .stdout
        .lines()
        .filter_map(|line| line.split_once('\t'));
    Ok(facts
        .map(|(path, text)| (format!("nix:{path}"), text.to_owned()))
        .collect())
}

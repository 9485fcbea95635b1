//! What the product's checks have to do about a damage, seen through the client alone.

use std::time::{Duration, Instant};

use serde_json::Value;

use super::patient::Patient;
use super::{Builds, Damage, Outcome};
use crate::error::Result;
use crate::exec::Output;
use crate::snapshot::Snapshot;
use crate::world::changes;

/// Whether nixctl has `check` and `repair`; until then only the damage itself is tried. To be set,
/// and then taken away, with the verbs.
pub const CHECKS: bool = false;

/// How long a repair may take.
const REPAIR: Duration = Duration::from_secs(60);
/// How often is looked whether it is done.
const TICK: Duration = Duration::from_millis(250);
/// What `nixctl check` ends with when something is wrong.
const FINDINGS: i32 = 6;

/// Does a damage and sees what becomes of it; returns what is wrong with that.
pub fn heal(patient: &mut Patient, damage: &Damage) -> Result<Vec<String>> {
    let before = sound(patient)?;
    patient.make(damage)?;
    let kept = patient.files(damage.kept)?;
    let mut wrong = Vec::new();
    let found = check(patient)?;
    if !is_found(patient, damage, &found) {
        wrong.push(format!("not found as {:?}: {found:?}", damage.checks));
    }
    let repair = patient.world.run("root", "nixctl repair </dev/null")?;
    match damage.outcome {
        Outcome::Repaired => {
            if is_there_still(patient, damage)? {
                wrong.push(format!("not repaired: {repair:?}"));
            }
            wrong.extend(differences(patient, &before, damage.differs)?);
        }
        Outcome::Asked => {
            if !patient.has(damage)? {
                wrong.push("repaired before somebody agreed".to_owned());
            }
            if patient.files(damage.kept)? != kept {
                wrong.push("changed before somebody agreed".to_owned());
            }
            let repair = patient.world.run("root", "nixctl repair --yes")?;
            if is_there_still(patient, damage)? {
                wrong.push(format!("not repaired: {repair:?}"));
            }
            wrong.extend(differences(patient, &before, damage.kept)?);
            return Ok(wrong);
        }
        Outcome::Explained => {
            patient.world.run("root", "nixctl repair --yes")?;
            if !patient.has(damage)? {
                wrong.push("what only a person can decide was changed".to_owned());
            }
            if check(patient)?.status != FINDINGS {
                wrong.push("it is there, and not told any more".to_owned());
            }
        }
    }
    if patient.files(damage.kept)? != kept {
        wrong.push(format!("somebody's files were changed: {:?}", damage.kept));
    }
    Ok(wrong)
}

/// Repairs several damages at once; returns those that are left, and what else is wrong.
pub fn all_gone(patient: &Patient, damages: &[&Damage]) -> Result<Vec<String>> {
    let found = check(patient)?;
    let mut wrong = Vec::new();
    // One can hide another: a mount that is missing, what is in it. One at least is to be seen.
    if !damages.is_empty() && !damages.iter().any(|one| is_found(patient, one, &found)) {
        wrong.push(format!("nothing was found: {found:?}"));
    }
    let repair = patient.world.run("root", "nixctl repair </dev/null")?;
    for damage in damages {
        if is_there_still(patient, damage)? {
            wrong.push(format!("{} is not repaired: {repair:?}", damage.name));
        }
    }
    wrong.extend(patient.builds_otherwise(Builds::Everybody)?);
    Ok(wrong)
}

/// What a check finds, a line each.
pub fn findings(patient: &Patient) -> Result<Vec<String>> {
    let output = check(patient)?;
    let mut ids = ids(&output);
    if ids.is_empty() && !output.success() {
        ids.push(format!("{output:?}"));
    }
    Ok(ids)
}

fn check(patient: &Patient) -> Result<Output> {
    patient.world.run("root", "nixctl check --json")
}

/// Whether a check names it, or has named it in the journal before it was repaired.
fn is_found(patient: &Patient, damage: &Damage, check: &Output) -> bool {
    let ids = ids(check);
    let log = patient.world.daemon_log();
    damage
        .checks
        .iter()
        .any(|id| ids.iter().any(|one| one == id) || log.contains(id))
}

/// Every id of a check in a document, wherever it stands.
fn ids(output: &Output) -> Vec<String> {
    fn collect(value: &Value, found: &mut Vec<String>) {
        match value {
            Value::Array(list) => list.iter().for_each(|one| collect(one, found)),
            Value::Object(map) => {
                if let Some(id) = map.get("check").and_then(Value::as_str) {
                    found.push(id.to_owned());
                }
                map.values().for_each(|one| collect(one, found));
            }
            _ => {}
        }
    }
    let mut found = Vec::new();
    if let Ok(value) = serde_json::from_str(&output.stdout) {
        collect(&value, &mut found);
    }
    found
}

/// Whether it is still there after the time that a repair may take.
fn is_there_still(patient: &Patient, damage: &Damage) -> Result<bool> {
    let until = Instant::now() + REPAIR;
    while patient.has(damage)? {
        if Instant::now() > until {
            return Ok(true);
        }
        std::thread::sleep(TICK);
    }
    Ok(false)
}

/// What a machine is like on which everybody builds.
fn sound(patient: &Patient) -> Result<Snapshot> {
    patient.builds_otherwise(Builds::Everybody)?;
    patient.world.snapshot()
}

/// Where a repaired machine differs from what it was, but for what may differ.
fn differences(patient: &Patient, before: &Snapshot, differs: &[&str]) -> Result<Vec<String>> {
    let mut wrong = patient.builds_otherwise(Builds::Everybody)?;
    let left = findings(patient)?;
    wrong.extend(left.into_iter().map(|id| format!("{id} is left")));
    let now = patient.world.snapshot_but(differs)?;
    let said = |line: &String| {
        let key = line.get(2..).unwrap_or_default();
        differs.iter().any(|one| key.starts_with(one)) || is_of_a_look(key)
    };
    let changed = changes(before, &now).into_iter();
    wrong.extend(changed.filter(|line| !said(line)));
    Ok(wrong)
}

/// What builds leave in the store, which no two looks have alike.
fn is_of_a_look(key: &str) -> bool {
    let path = key.strip_prefix("nix:").unwrap_or(key);
    let name = path.strip_prefix("/srv").unwrap_or(path);
    let name = name.strip_prefix("/nix/store/").unwrap_or_default();
    name.split_once('-')
        .is_some_and(|(_, rest)| rest.starts_with("look-"))
}

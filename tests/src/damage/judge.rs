//! The judge: what the product's checks have to do about a damage, seen through the client alone.

use std::collections::BTreeSet;
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
pub const CHECKS: bool = true;

/// How often is looked whether it is done.
const TICK: Duration = Duration::from_millis(250);
/// What people have made their own, and nixctl never writes to.
pub(super) const MINE: [&str; 3] = [
    "/etc/nix/nix.custom.conf",
    "/etc/nix/mine/file",
    "/etc/systemd/system/nix-daemon.service.d/mine.conf",
];

/// How long a repair may take.
#[derive(Debug, Clone, Copy)]
pub struct Judge(pub Duration);

impl Default for Judge {
    fn default() -> Self {
        Self(Duration::from_secs(25))
    }
}

impl Judge {
    /// Does a damage and sees what becomes of it; returns what is wrong with that.
    pub fn heal(self, patient: &mut Patient, damage: &Damage) -> Result<Vec<String>> {
        let before = Sound::now(patient)?;
        patient.make(damage)?;
        let somebodys = [damage.kept, &MINE].concat();
        let kept = patient.files(&somebodys)?;
        let mut wrong = Vec::new();
        let found = check(patient)?;
        if !is_found(patient, damage, &found) {
            wrong.push(format!("not found as {:?}: {found:?}", damage.checks));
        }
        let repair = patient.world.run("root", "nixctl repair </dev/null")?;
        match damage.outcome {
            Outcome::Repaired => {
                if self.is_there_still(patient, damage)? {
                    wrong.push(format!("not repaired: {repair:?}"));
                }
                wrong.extend(self.left(patient)?);
                wrong.extend(before.differences(patient, damage.differs)?);
            }
            Outcome::Asked => {
                if !patient.has(damage)? {
                    wrong.push("repaired before somebody agreed".to_owned());
                }
                if patient.files(&somebodys)? != kept {
                    wrong.push("changed before somebody agreed".to_owned());
                }
                let repair = patient.world.run("root", "nixctl repair --yes")?;
                if self.is_there_still(patient, damage)? {
                    wrong.push(format!("not repaired: {repair:?}"));
                }
                wrong.extend(self.left(patient)?);
                let differs = [damage.differs, damage.kept].concat();
                wrong.extend(before.differences(patient, &differs)?);
                return Ok(wrong);
            }
            Outcome::Explained => {
                patient.world.run("root", "nixctl repair --yes")?;
                if !patient.has(damage)? {
                    wrong.push("what only a person can decide was changed".to_owned());
                }
                let told = findings(patient)?;
                if !damage
                    .checks
                    .iter()
                    .any(|id| told.iter().any(|one| one == id))
                {
                    wrong.push("it is there, and not told any more".to_owned());
                }
            }
        }
        if patient.files(&somebodys)? != kept {
            wrong.push(format!("somebody's files were changed: {somebodys:?}"));
        }
        Ok(wrong)
    }

    /// Repairs several damages at once; returns those that are left, and what else is wrong.
    pub fn all_gone(self, patient: &Patient, damages: &[&Damage]) -> Result<Vec<String>> {
        let found = check(patient)?;
        let mut wrong = Vec::new();
        // One can hide another: a mount that is missing, what is in it. One at least is to be seen.
        if !damages.is_empty() && !damages.iter().any(|one| is_found(patient, one, &found)) {
            wrong.push(format!("nothing was found: {found:?}"));
        }
        let repair = patient.world.run("root", "nixctl repair </dev/null")?;
        for damage in damages {
            if self.is_there_still(patient, damage)? {
                wrong.push(format!("{} is not repaired: {repair:?}", damage.name));
            }
        }
        wrong.extend(patient.builds_otherwise(Builds::Everybody)?);
        Ok(wrong)
    }

    /// What is found although all should be well, after the time that a repair may take.
    pub(super) fn left(self, patient: &Patient) -> Result<Vec<String>> {
        let until = Instant::now() + self.0;
        loop {
            let found = findings(patient)?;
            if found.is_empty() || Instant::now() > until {
                return Ok(found
                    .into_iter()
                    .map(|id| format!("{id} is left"))
                    .collect());
            }
            std::thread::sleep(TICK);
        }
    }

    /// Whether it is still there after the time that a repair may take.
    fn is_there_still(self, patient: &Patient, damage: &Damage) -> Result<bool> {
        let until = Instant::now() + self.0;
        while patient.has(damage)? {
            if Instant::now() > until {
                return Ok(true);
            }
            std::thread::sleep(TICK);
        }
        Ok(false)
    }
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

/// What a machine is like on which everybody has built.
#[derive(Debug)]
pub struct Sound {
    machine: Snapshot,
    store: BTreeSet<String>,
}

impl Sound {
    /// Has everybody build, and looks.
    pub fn now(patient: &Patient) -> Result<Self> {
        patient.builds_otherwise(Builds::Everybody)?;
        Ok(Self {
            machine: patient.snapshot(&[])?,
            store: patient.listing()?,
        })
    }

    /// What is wrong with a machine that should be as it was: who cannot build, and where it differs
    /// although it may not.
    pub fn differences(&self, patient: &Patient, differs: &[&str]) -> Result<Vec<String>> {
        let mut wrong = patient.builds_otherwise(Builds::Everybody)?;
        let mut changed = changes(&self.machine, &patient.snapshot(differs)?);
        let store = patient.listing()?;
        let gone = self.store.difference(&store);
        changed.extend(gone.map(|line| format!("- {line}")));
        let new = store.difference(&self.store);
        changed.extend(new.map(|line| format!("+ {line}")));
        let said = |line: &String| {
            let key = line.get(2..).unwrap_or_default();
            differs.iter().any(|one| key.starts_with(one)) || is_of_a_look(key)
        };
        wrong.extend(changed.into_iter().filter(|line| !said(line)));
        Ok(wrong)
    }
}

/// What builds leave in the store, which no two looks have alike.
fn is_of_a_look(key: &str) -> bool {
    let path = key.strip_prefix("nix:").unwrap_or(key);
    let name = path.strip_prefix("/srv").unwrap_or(path);
    let name = name.strip_prefix("/nix/store/").unwrap_or_default();
    name.split_once('-')
        .is_some_and(|(_, rest)| rest.starts_with("look-"))
}

#[cfg(test)]
mod tests {
    use super::is_of_a_look;

    #[test]
    fn only_what_looks_build_may_be_new_in_the_store() {
        let hash = "4acn9msrn8apc3jyjx8b8vz0jl92bq7x";
        for path in ["/nix", "/srv/nix", "nix:/nix"] {
            for name in ["look-1", "look-12.drv: file 0444"] {
                assert!(is_of_a_look(&format!("{path}/store/{hash}-{name}")));
            }
            assert!(!is_of_a_look(&format!("{path}/store/{hash}-nix-2.26.3")));
        }
        assert!(!is_of_a_look("/etc/look-1"));
    }
}

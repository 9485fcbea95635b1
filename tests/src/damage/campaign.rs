//! Trials of damages: each on a machine of its own, the healthy one of its ground booted anew.

use std::collections::BTreeMap;

use super::ground::{Ground, Healthy};
use super::judge::{self, Sound};
use super::patient::Patient;
use super::{CHECKS, Damage, Judge, Outcome, Shows};
use crate::error::{Error, Result};
use crate::world::trials::{self, Verdict};

/// Only damages whose name contains one of these words (comma-separated) are tried, and all of those.
const ONLY: &str = "NIXCTL_LAB_DAMAGE";
/// How many at once in one combination.
const AT_ONCE: usize = 3;
/// How often is drawn for one combination.
const DRAWS: usize = 30;
/// How many healthy machines of each ground are tried when all are: over fifty in all.
const MACHINES: u64 = 17;
/// How many combinations are tried when all are.
const COMBINATIONS: u64 = 20;

/// The healthy machines of a campaign, made as they are needed.
#[derive(Debug, Default)]
struct Stable(BTreeMap<&'static str, Healthy>);

impl Stable {
    fn of(&mut self, ground: Ground) -> Result<&Healthy> {
        let name = ground.name();
        if !self.0.contains_key(name) {
            self.0.insert(name, ground.prepare()?);
        }
        let found = self.0.get(name);
        found.ok_or_else(|| Error::new("keep a healthy machine", "it was not kept"))
    }
}

/// Each damage, or a few that change from day to day: it is not there before it is made, it is there
/// afterwards, and those can build who should.
pub fn inject() -> Result<()> {
    each("damage is done", |patient, damage| {
        let mut problems = Vec::new();
        patient.without_daemon()?;
        if patient.has(damage)? {
            problems.push("it is there before it is made".to_owned());
        }
        patient.make(damage)?;
        if !patient.has(damage)? {
            problems.push("it was made, and is not there".to_owned());
        }
        problems.extend(patient.builds_otherwise(damage.builds)?);
        Ok(problems)
    })
}

/// Each damage, or a few: it is found, and becomes what it should. Nothing while the product has no
/// checks.
pub fn heal() -> Result<()> {
    if !CHECKS {
        return Ok(());
    }
    each("damage is healed", |patient, damage| {
        Judge::default().heal(patient, damage)
    })
}

/// Machines without any damage, each also after a reboot: no look sees one, everybody builds, nothing
/// differs from before the looks, and no check finds anything.
pub fn healthy(ground: Ground) -> Result<()> {
    let healthy = ground.prepare()?;
    let count = if crate::full() { MACHINES } else { 1 };
    let numbers: Vec<u64> = (1..=count).collect();
    let name = format!("healthy machines ({})", ground.name());
    trials::run(&name, "machine", &numbers, |_| {
        let mut patient = Patient::admit(&healthy)?;
        let before = Sound::now(&patient)?;
        let mut problems = Vec::new();
        for when in ["at once", "after a reboot"] {
            if when != "at once" {
                patient.world.machine.reboot()?;
            }
            for damage in Damage::all().filter(|damage| damage.on == ground) {
                if patient.has(damage)? {
                    problems.push(format!("{}: {when}", damage.name));
                }
            }
            problems.extend(before.differences(&patient, &[])?);
            if CHECKS {
                problems.extend(judge::findings(&patient)?);
            }
        }
        Ok(Verdict {
            words: "without damage".to_owned(),
            problems,
        })
    })
}

/// Three damages at once, at random: they are there, and all of it is healed once the product has
/// checks.
pub fn combine() -> Result<()> {
    let can = |one: &&Damage| {
        one.outcome == Outcome::Repaired && one.on == Ground::Plain && one.shows == Shows::AtOnce
    };
    let damages: Vec<&Damage> = Damage::all().filter(can).collect();
    let parts = if crate::full() {
        COMBINATIONS
    } else {
        AT_ONCE as u64
    };
    let numbers = trials::spread(0, u64::from(u32::MAX), parts);
    let mut stable = Stable::default();
    trials::run("three damages at once", "combination", &numbers, |number| {
        let mut patient = Patient::admit(stable.of(Ground::Plain)?)?;
        patient.without_daemon()?;
        let made = make_some(&mut patient, &damages, number)?;
        let names: Vec<&str> = made.iter().map(|damage| damage.name).collect();
        let mut problems = Vec::new();
        if made.len() < AT_ONCE {
            problems.push(format!("only {} of {AT_ONCE} could be made", made.len()));
        }
        if CHECKS {
            patient.with_daemon()?;
            problems.extend(Judge::default().all_gone(&patient, &made)?);
        }
        Ok(Verdict {
            words: names.join(" and "),
            problems,
        })
    })
}

/// Makes so many damages that are there together, drawn by this number: one may stand in the way of
/// another, and then the next is drawn.
fn make_some<'a>(
    patient: &mut Patient,
    damages: &[&'a Damage],
    number: u64,
) -> Result<Vec<&'a Damage>> {
    let mut made: Vec<&Damage> = Vec::new();
    let mut lot = number;
    for _ in 0..DRAWS {
        if made.len() == AT_ONCE {
            break;
        }
        // Knuth's generator for 64 bits; its upper half is the random one.
        lot = lot
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1_442_695_040_888_963_407);
        let index = usize::try_from(lot >> 33).unwrap_or(0) % damages.len().max(1);
        let Some(&damage) = damages.get(index) else {
            continue;
        };
        let twice = made.iter().any(|one| one.name == damage.name);
        if !twice && patient.make(damage).is_ok() && patient.has(damage)? {
            made.push(damage);
        }
    }
    Ok(made)
}

/// A trial of each damage, or of a few.
fn each(
    name: &str,
    mut trial: impl FnMut(&mut Patient, &Damage) -> Result<Vec<String>>,
) -> Result<()> {
    let damages: Vec<&Damage> = Damage::all().collect();
    let mut stable = Stable::default();
    trials::run(name, "damage", &chosen(&damages), |number| {
        let index = usize::try_from(number).unwrap_or(usize::MAX);
        let Some(damage) = damages.get(index) else {
            return Err(Error::new("try a damage", format!("there is no {number}")));
        };
        if let Some(missing) = damage.on.missing() {
            return Ok(Verdict {
                words: format!("{}: not here: {missing}", damage.name),
                problems: Vec::new(),
            });
        }
        let mut patient = Patient::admit(stable.of(damage.on)?)?;
        let problems = match trial(&mut patient, damage) {
            Ok(problems) => problems,
            Err(error) => vec![error.to_string()],
        };
        Ok(Verdict {
            words: damage.name.to_owned(),
            problems: problems
                .into_iter()
                .map(|problem| format!("{}: {problem}", damage.name))
                .collect(),
        })
    })
}

/// Those that are asked for by name, else all, else a few.
fn chosen(damages: &[&Damage]) -> Vec<u64> {
    let Ok(words) = std::env::var(ONLY) else {
        return trials::choose(0, damages.len() as u64 - 1);
    };
    let named = damages.iter().zip(0..);
    named
        .filter(|(damage, _)| words.split(',').any(|word| damage.name.contains(word)))
        .map(|(_, number)| number)
        .collect()
}

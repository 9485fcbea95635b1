//! What a change of a unit file means for the running unit: nothing, a reload or a restart.
//!
//! Every difference is classed by itself; the verdict is the gravest of them. The classes are those of
//! switch-to-configuration: bookkeeping keys of `[Unit]` mean nothing, `X-Reload-Triggers`, `ExecReload` and the
//! options of a mount mean a reload, all else (dependencies and conditions included) a restart.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

use serde::{Deserialize, Serialize};

use super::file::{Section, UnitFile};
use super::mode::Mode;

/// Keys of `[Unit]` that do not touch a running unit.
const BOOKKEEPING: [&str; 12] = [
    "Description",
    "Documentation",
    "OnFailure",
    "OnSuccess",
    "OnFailureJobMode",
    "IgnoreOnIsolate",
    "StopWhenUnneeded",
    "RefuseManualStart",
    "RefuseManualStop",
    "AllowIsolate",
    "CollectMode",
    "SourcePath",
];

/// The key of `[Unit]` that asks for a reload when it changes.
const RELOAD_TRIGGERS: &str = "X-Reload-Triggers";

/// How far a difference reaches, gravest last.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Verdict {
    /// The running unit is as good as the new one.
    Equal,
    /// The running unit must read its configuration again.
    Reload,
    /// Only a new start brings the change into effect.
    Restart,
}

/// What happened to a key.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum How {
    /// It is new.
    Added,
    /// It is gone.
    Removed,
    /// It has other values.
    Changed,
}

/// One difference between two unit files that means something.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Change {
    /// Section.
    pub section: String,
    /// Key; nothing when it is the section itself that came or went.
    pub key: Option<String>,
    /// What happened.
    pub how: How,
    /// How far it reaches.
    pub verdict: Verdict,
}

impl fmt::Display for Change {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "[{}]", self.section)?;
        if let Some(key) = &self.key {
            write!(f, " {key}")?;
        }
        f.write_str(match self.how {
            How::Added => " added",
            How::Removed => " removed",
            How::Changed => " changed",
        })
    }
}

/// Two unit files side by side.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Comparison {
    /// What is to be done.
    pub verdict: Verdict,
    /// The differences that gave the verdict.
    pub changes: Vec<Change>,
}

/// Compares a unit as it was with what it becomes.
#[must_use]
pub fn compare(old: &UnitFile, new: &UnitFile, mode: Mode) -> Comparison {
    let mut changes = Vec::new();
    let names: BTreeSet<&String> = old.sections().keys().chain(new.sections().keys()).collect();
    for name in names {
        // [Install] matters when a unit is enabled, never when it runs.
        if name != "Install" {
            let sides = (old.sections().get(name), new.sections().get(name));
            compare_section(name, sides, mode, &mut changes);
        }
    }
    if mode == Mode::Exact {
        refuse_two_new_sections(old, new, &mut changes);
    }
    let gravest = changes.iter().map(|change| change.verdict).max();
    let verdict = gravest.unwrap_or(Verdict::Equal);
    changes.retain(|change| change.verdict == verdict && verdict != Verdict::Equal);
    Comparison { verdict, changes }
}

fn compare_section(
    name: &str,
    (old, new): (Option<&Section>, Option<&Section>),
    mode: Mode,
    changes: &mut Vec<Change>,
) {
    let change = |key: Option<&String>, how, verdict| Change {
        section: name.into(),
        key: key.cloned(),
        how,
        verdict,
    };
    let how = if old.is_none() {
        How::Added
    } else {
        How::Removed
    };
    let empty = old.or(new).is_some_and(BTreeMap::is_empty);
    // switch-to-configuration takes a bare header for a change, except that it forgives [Unit].
    if (old.is_none() || new.is_none()) && empty {
        if mode == Mode::Exact && name != "Unit" {
            changes.push(change(None, how, Verdict::Restart));
        }
        return;
    }
    let none = Section::new();
    let (old, new) = (old.unwrap_or(&none), new.unwrap_or(&none));
    let keys: BTreeSet<&String> = old.keys().chain(new.keys()).collect();
    for key in keys {
        let how = match (old.get(key), new.get(key)) {
            (None, _) => How::Added,
            (_, None) => How::Removed,
            (old, new) if old != new => How::Changed,
            _ => continue,
        };
        changes.push(change(Some(key), how, weigh(name, key, how, mode)));
    }
}

fn weigh(section: &str, key: &str, how: How, mode: Mode) -> Verdict {
    match (section, key, how) {
        ("Unit", RELOAD_TRIGGERS, How::Removed) => Verdict::Equal,
        ("Unit", RELOAD_TRIGGERS, _) => Verdict::Reload,
        ("Unit", key, _) if BOOKKEEPING.contains(&key) => Verdict::Equal,
        // The process runs on, and there is nothing left to reload it with.
        ("Service", "ExecReload", How::Removed) => Verdict::Equal,
        ("Service", "ExecReload", _) => Verdict::Reload,
        ("Mount", "Options", How::Changed) => Verdict::Reload,
        // Added options are as good for a remount as changed ones.
        ("Mount", "Options", How::Added) if mode == Mode::Right => Verdict::Reload,
        _ => Verdict::Restart,
    }
}

/// switch-to-configuration looks into a new section only when it is the only one.
fn refuse_two_new_sections(old: &UnitFile, new: &UnitFile, changes: &mut Vec<Change>) {
    let is_new = |name: &&String| *name != "Install" && !old.sections().contains_key(*name);
    let added: Vec<&String> = new.sections().keys().filter(is_new).collect();
    if added.len() > 1 {
        changes.extend(added.into_iter().map(|section| Change {
            section: section.clone(),
            key: None,
            how: How::Added,
            verdict: Verdict::Restart,
        }));
    }
}

#[cfg(test)]
#[path = "compare_tests.rs"]
mod tests;

//! From findings to what is done about them: one plan, without doubles, in an order that works.
//!
//! Pure. Only two kinds of steps come out: [`Step::Ensure`] of something that nixctl owns already,
//! and [`Step::Mend`]. Neither deletes a store, a volume or a file of a user.
//!
//! What comes later needs what comes before: nothing below /nix is touched before it is mounted,
//! the store's folders need its group, Nix runs only with settings that it takes and a database
//! that it can read, nix-daemon is brought up when all of that is there, and what waited for it
//! is started last.

use nixctl_proto::health::{Finding, Policy, RemedyView};

use super::judge::{Cure, Found};
use super::mend::Mend;
use super::mend::aside::SetAside;
use crate::engine::Step;
use crate::resource::Resource;

/// Steps that a summary names.
const NAMED: usize = 3;

/// The steps that help against all of these findings; `now` (milliseconds since 1970) is part of
/// the names of what is set aside.
pub fn steps(found: &[Found], now: u64) -> Vec<Step> {
    let mut steps: Vec<Step> = Vec::new();
    for cure in found.iter().flat_map(|found| &found.cures) {
        let step = step(cure, now);
        if !steps.contains(&step) {
            steps.push(step);
        }
    }
    // Stable: within a stage the order is that of the findings, parents before what is in them.
    steps.sort_by_key(stage);
    steps
}

/// A finding as clients see it.
pub fn finding(found: &Found, policy: Policy, since: u64, now: u64) -> Finding {
    Finding {
        check: found.check.id(),
        subject: found.subject.clone(),
        severity: found.severity,
        seen: found.seen.clone(),
        expected: found.expected.clone(),
        why: found.check.explanation().to_owned(),
        help: found.help.clone(),
        since,
        remedy: view(found, policy, now),
    }
}

fn view(found: &Found, policy: Policy, now: u64) -> Option<RemedyView> {
    let lines: Vec<String> = steps(std::slice::from_ref(found), now)
        .iter()
        .map(|step| step.describe().summary)
        .collect();
    if lines.is_empty() {
        return None;
    }
    let mut summary = lines
        .iter()
        .take(NAMED)
        .cloned()
        .collect::<Vec<_>>()
        .join(", then ");
    if let Some(more) = lines.len().checked_sub(NAMED).filter(|more| *more > 0) {
        summary.push_str(&format!(", and {more} more"));
    }
    Some(RemedyView {
        summary,
        steps: lines,
        automatic: policy == Policy::Auto,
        held: String::new(),
    })
}

fn step(cure: &Cure, now: u64) -> Step {
    match cure {
        Cure::Ensure(resource) => Step::Ensure((**resource).clone()),
        Cure::Mend(mend) => Step::Mend(mend.clone().planned(now)),
        Cure::SetAside(path) => Step::Mend(Mend::SetAside(SetAside::apart(path, now))),
    }
}

/// When a step comes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Stage {
    /// The store is mounted.
    Mount,
    /// What stands in the way leaves its place.
    Clear,
    /// Folders outside /nix.
    Folders,
    /// Users and groups.
    Accounts,
    /// Folders below /nix.
    Tree,
    /// The store paths of Nix itself, without which the rest has no Nix to ask.
    Release,
    /// Settings and files.
    Files,
    /// The database.
    Database,
    /// Store paths, with a Nix that can read its settings and its database.
    Paths,
    /// The profile.
    Profile,
    /// Labels, of all that was written before.
    Labels,
    /// nix-daemon.
    Daemon,
    /// What waited for the store.
    Kick,
}

fn stage(step: &Step) -> Stage {
    match step {
        Step::Mend(mend) => mend_stage(mend),
        Step::Ensure(resource) | Step::Adopt(resource, _) | Step::Remove(resource, _) => {
            resource_stage(resource)
        }
        // No remedy has these.
        Step::Fetch(_)
        | Step::SelfTest(_)
        | Step::Discard(_)
        | Step::Switch(_)
        | Step::Upgrade(_)
        | Step::SelfUpgrade(_) => Stage::Kick,
    }
}

fn mend_stage(mend: &Mend) -> Stage {
    match mend {
        Mend::Start(it) if it.unit.ends_with(".mount") => Stage::Mount,
        Mend::Start(_) => Stage::Kick,
        Mend::Unmask(_) | Mend::SetAside(_) => Stage::Clear,
        Mend::GroupName(_) => Stage::Accounts,
        Mend::Rights(_) => Stage::Tree,
        Mend::ConfLine(_) | Mend::Managed(_) => Stage::Files,
        Mend::Content(_) | Mend::Database(_) | Mend::Register(_) => Stage::Database,
        Mend::Refetch(_) => Stage::Release,
        Mend::RepairPath(_) => Stage::Paths,
        Mend::Relabel(_) => Stage::Labels,
        Mend::Clear(_) | Mend::Restart(_) => Stage::Daemon,
    }
}

fn resource_stage(resource: &Resource) -> Stage {
    match resource {
        Resource::Directory(_) => Stage::Folders,
        Resource::Group(_) | Resource::BuildUsers(_) => Stage::Accounts,
        Resource::NixTree(_) => Stage::Tree,
        Resource::File(_)
        | Resource::Block(_)
        | Resource::NixConf(_)
        | Resource::Tmpfiles(_)
        | Resource::Program(_) => Stage::Files,
        Resource::Registration(_) => Stage::Database,
        Resource::Payload(_) => Stage::Paths,
        Resource::Profile(_) => Stage::Profile,
        Resource::Selinux(_) => Stage::Labels,
        Resource::Service(_) => Stage::Daemon,
    }
}

#[cfg(test)]
#[path = "remedy_tests.rs"]
mod tests;

//! From steps to a plan: what each would do to the machine as it is now.
//!
//! Planning probes and changes nothing. A plan whose checks fail still lists its steps, so that
//! people see what would be done once the obstacle is gone.

use std::path::Path;

use nixctl_proto::Failure;
use nixctl_proto::operation::OperationKind;
use nixctl_proto::plan::{Plan, PlanAction, PlanCheck, PlanStep};
use nixctl_proto::request::{InstallRequest, SelfInstallRequest, UninstallRequest};
use nixctl_proto::settings::InstallSettings;
use sha2::{Digest, Sha256};

use super::container::Shape;
use super::facts::{Facts, Manager};
use super::preflight::{self, Needs};
use super::{Planned, adopt, ids, linux, own, uninstall};
use crate::engine::step::PlannedStep;
use crate::engine::{Owned, Step};
use crate::health::database::COPIES_DIR;
use crate::host::Host;
use crate::payload::Release;
use crate::payload::files::hex;
use crate::resource::{Description, Presence, Resource, ResourceError, Result, Undo};

/// Largest program of ours.
const PROGRAM_LIMIT: u64 = 512 << 20;

/// Plans an install, or with `--adopt` a take-over. `release` is `None` when none was found (the
/// checks then say why) or when a take-over needs none.
///
/// # Errors
/// When the machine cannot be probed.
pub fn install_plan(
    host: &Host,
    facts: &Facts,
    request: &InstallRequest,
    settings: &InstallSettings,
    release: Option<&Release>,
    needs: &Needs,
) -> Result<Planned> {
    let mut checks = preflight::checks(facts, request, settings, release, needs);
    let adopted = adopt::parts(facts).filter(|_| request.adopt);
    let chosen = match Shape::of(facts, request) {
        Shape::SingleUser => None,
        _ => ids::choose(facts, settings).ok(),
    };
    let mut notes = linux::notes(facts, request, chosen.as_ref());
    let steps = match (adopted, &chosen, release) {
        (Some(parts), Some(ids), _) => {
            notes.extend(adopt::notes(parts));
            adopt::adopt(facts, parts, settings, request, ids)
        }
        (None, ids, Some(release)) if ids.is_some() || request.single_user => {
            linux::install(facts, release, settings, request, ids.as_ref())
        }
        // A check says what is missing.
        _ => Vec::new(),
    };
    let steps = without_needless(host, steps)?;
    let (steps, lines, in_the_way) = look(steps, &probe(host), &Step::describe)?;
    checks.push(in_the_way);
    let title = match (adopted, release) {
        (Some(parts), _) => format!("take over Nix {}", parts.version),
        (None, Some(release)) => {
            format!(
                "install Nix {} {}",
                release.version,
                Shape::of(facts, request).words()
            )
        }
        (None, None) => "install Nix".to_owned(),
    };
    let fetches = adopted.is_none();
    Ok(Planned {
        repair: None,
        steps,
        view: Plan {
            kind: OperationKind::Install,
            title,
            steps: lines,
            checks,
            bytes_needed: if fetches { needs.bytes(facts) } else { 0 },
            inodes_needed: if fetches { needs.store_inodes } else { 0 },
            notes,
            switch: None,
        },
    })
}

/// Plans taking Nix off. Nothing owned is a plan without steps.
///
/// # Errors
/// When the machine cannot be probed.
pub fn uninstall_plan(host: &Host, owned: &[Owned], request: &UninstallRequest) -> Result<Planned> {
    let copies = host.fs.meta(Path::new(COPIES_DIR))?.is_some();
    let steps = uninstall::uninstall(owned, request.keep_store, copies);
    let notes = match (steps.is_empty(), request.keep_store) {
        (true, _) => vec!["nixctl owns no Nix here: there is nothing to take off".to_owned()],
        (false, true) => {
            vec!["/nix stays in place; a later install takes it back".to_owned()]
        }
        (false, false) => Vec::new(),
    };
    simple(host, OperationKind::Uninstall, "take Nix off", steps, notes)
}

/// Plans putting the daemon itself on the machine.
///
/// # Errors
/// When the machine cannot be probed, or a program cannot be read.
pub fn self_install_plan(
    host: &Host,
    facts: &Facts,
    request: &SelfInstallRequest,
) -> Result<Planned> {
    let programs = [
        program(host, "nixctl", &request.client)?,
        program(host, "nixctld", &request.daemon)?,
    ];
    let mut notes = Vec::new();
    if matches!(facts.system.manager, Manager::None) {
        notes.push("no systemd runs here: nothing is registered to be started".to_owned());
    }
    if facts.places.programs.read_only {
        notes.push(format!(
            "/usr/local is read-only: programs go to {}",
            own::OTHER_PROGRAMS_DIR
        ));
    }
    let steps = own::install(facts, &programs);
    simple(
        host,
        OperationKind::SelfInstall,
        "put the daemon on this machine",
        steps,
        notes,
    )
}

/// Plans taking the daemon itself off.
///
/// # Errors
/// When the machine cannot be probed.
pub fn self_uninstall_plan(host: &Host, owned: &[Owned]) -> Result<Planned> {
    let steps = uninstall::self_uninstall(owned);
    let mut notes = Vec::new();
    if owned.iter().any(|owned| !own::is_own(&owned.resource)) {
        notes.push("Nix stays on this machine and is not looked after any more".to_owned());
    }
    simple(
        host,
        OperationKind::SelfUninstall,
        "take the daemon off this machine",
        steps,
        notes,
    )
}

fn simple(
    host: &Host,
    kind: OperationKind,
    title: &str,
    steps: Vec<Step>,
    notes: Vec<String>,
) -> Result<Planned> {
    let (steps, lines, in_the_way) = look(steps, &probe(host), &Step::describe)?;
    let view = Plan {
        kind,
        title: title.to_owned(),
        steps: lines,
        checks: vec![in_the_way],
        bytes_needed: 0,
        inodes_needed: 0,
        notes,
        switch: None,
    };
    Ok(Planned {
        steps,
        view,
        repair: None,
    })
}

/// A program with the hash of its content.
fn program(host: &Host, name: &'static str, from: &str) -> Result<own::Source> {
    let path = Path::new(from);
    let Some(content) = host.fs.read(path, PROGRAM_LIMIT)? else {
        let source = std::io::Error::from(std::io::ErrorKind::NotFound);
        return Err(crate::host::FsError {
            action: "read",
            path: path.to_owned(),
            source,
        }
        .into());
    };
    let sha256 = hex(&Sha256::digest(&content));
    Ok(own::Source {
        name,
        from: path.to_owned(),
        sha256,
    })
}

/// Leaves out the download when the release is there already, and the test when nothing would
/// change.
fn without_needless(host: &Host, steps: Vec<Step>) -> Result<Vec<Step>> {
    let probe = probe(host);
    let mut unpacked = false;
    let mut complete = true;
    for step in &steps {
        if let Step::Ensure(resource) | Step::Adopt(resource, _) = step {
            let present = probe(resource)? == Presence::Present;
            unpacked |= present && matches!(resource, Resource::Payload(_));
            complete &= present && matches!(step, Step::Ensure(_));
        }
    }
    Ok(needed(steps, unpacked, complete))
}

fn needed(steps: Vec<Step>, unpacked: bool, complete: bool) -> Vec<Step> {
    let keep = |step: &Step| match step {
        Step::Fetch(_) | Step::Discard(_) => !unpacked,
        Step::SelfTest(_) => !complete,
        Step::Ensure(_)
        | Step::Adopt(..)
        | Step::Remove(..)
        | Step::Switch(_)
        | Step::Mend(_)
        | Step::Upgrade(_)
        | Step::SelfUpgrade(_) => true,
    };
    steps.into_iter().filter(keep).collect()
}

fn probe(host: &Host) -> impl Fn(&Resource) -> Result<Presence> + '_ {
    |resource| resource.probe(host)
}

type Looked = (Vec<PlannedStep>, Vec<PlanStep>, PlanCheck);

/// Looks at the machine for every step, and at what is in the way of any.
fn look(
    steps: Vec<Step>,
    probe: &dyn Fn(&Resource) -> Result<Presence>,
    describe: &dyn Fn(&Step) -> Description,
) -> Result<Looked> {
    let mut planned = Vec::with_capacity(steps.len());
    let mut lines = Vec::with_capacity(steps.len());
    let mut failure = None;
    let takes_off = steps.iter().any(is_removal);
    for step in steps {
        let Description {
            id,
            summary,
            mut details,
        } = describe(&step);
        let action = match &step {
            Step::Ensure(resource) | Step::Adopt(resource, _) => match probe(resource)? {
                Presence::Present => PlanAction::Keep,
                Presence::Absent => PlanAction::Create,
                Presence::Drifted(seen) => {
                    details.push(seen);
                    PlanAction::Change
                }
                Presence::Foreign(seen) => {
                    if failure.is_none() && !replaces(resource) {
                        failure = Some(obstacle(&id, &seen));
                    }
                    details.push(seen);
                    PlanAction::Change
                }
            },
            // A list in which nothing goes would count as nothing to do, and all stay owned.
            Step::Remove(..) if takes_off && !is_removal(&step) => PlanAction::Keep,
            Step::Remove(..) => PlanAction::Remove,
            Step::Fetch(_)
            | Step::SelfTest(_)
            | Step::Discard(_)
            | Step::Switch(_)
            | Step::Mend(_)
            | Step::Upgrade(_)
            | Step::SelfUpgrade(_) => PlanAction::Run,
        };
        lines.push(PlanStep {
            id,
            action,
            summary,
            details,
        });
        planned.push(PlannedStep { step, action });
    }
    let seen = match &failure {
        None => "nothing foreign is in the place of anything".to_owned(),
        Some(Failure { message, .. }) => message.clone(),
    };
    Ok((
        planned,
        lines,
        PlanCheck {
            id: "in-the-way".to_owned(),
            seen,
            failure,
        },
    ))
}

/// Whether a step takes something off, rather than leaving what was there before or shall stay.
fn is_removal(step: &Step) -> bool {
    match step {
        Step::Remove(Resource::NixTree(tree), _) if tree.keep => false,
        Step::Remove(_, undo) => *undo != Undo::Nothing,
        _ => false,
    }
}

fn replaces(resource: &Resource) -> bool {
    matches!(resource, Resource::File(file) if file.replace)
}

fn obstacle(id: &str, seen: &str) -> Failure {
    ResourceError::Foreign {
        id: id.to_owned(),
        seen: seen.to_owned(),
    }
    .failure()
}

#[cfg(test)]
#[path = "plan_tests.rs"]
mod tests;

//! What an upgrade does: from what is owned and what is asked for to steps.

use std::cmp::Ordering;

use nixctl_proto::feed::compare;
use nixctl_proto::plan::{Plan, PlanAction, PlanCheck, PlanStep};
use nixctl_proto::request::{InstallRequest, UpgradeRequest};
use nixctl_proto::settings::Settings;
use nixctl_proto::{Code, Failure, OperationKind};

use super::back::{GoBack, Reopen, Returnable};
use super::copy::Copy;
use super::default::Exchange;
use super::forget::{Disown, Forget};
use super::kept::Keep;
use super::owned::{archives, current, previous};
use super::quiet::Quiet;
use super::restart::Restart;
use super::schema::{Readable, SCHEMA, number};
use super::step::UpgradeStep;
use crate::catalogue::container::Shape;
use crate::catalogue::existing::OWN_PROFILE;
use crate::catalogue::facts::Facts;
use crate::catalogue::{Needs, Planned, linux, preflight};
use crate::engine::step::PlannedStep;
use crate::engine::{Question, Step};
use crate::host::Host;
use crate::payload::{Archive, Manifest, Release, estimate, release};
use crate::resource::payload::Payload;
use crate::resource::profile::Profile;
use crate::resource::registration::Registration;
use crate::resource::{Description, Presence, Resource, ResourceError};

/// What an install would check that matters here as well.
const CHECKS: [&str; 7] = [
    "read-only",
    "noexec",
    "space",
    "tools",
    "clock",
    "network",
    "release",
];

/// What has to be known of the machine.
#[derive(Debug)]
struct Known<'a> {
    /// What is owned, in the order of making.
    owned: Vec<&'a Resource>,
    /// Which machine it is.
    facts: &'a Facts,
    settings: &'a Settings,
    /// Store path of the Nix in use.
    nix: String,
    /// Milliseconds since 1970.
    now: u64,
    /// The form of the database.
    form: Option<u32>,
}

/// Where it goes.
#[derive(Debug)]
enum Target {
    /// To a release that is fetched.
    Fetched(Release),
    /// To one that is still in the store.
    Kept(Archive),
    /// Nowhere: it cannot be found now, and the checks say why.
    Unknown,
}

/// Plans an upgrade. `facts` are completed with what looking for the release told.
///
/// # Errors
/// Nothing is installed, or the machine or the source cannot be read.
pub fn plan(
    question: &Question<'_>,
    request: &UpgradeRequest,
    mut facts: Facts,
    find: impl FnOnce(&InstallRequest, &mut Facts) -> Result<Option<Release>, Failure>,
) -> Result<Planned, Failure> {
    let owned: Vec<&Resource> = question.owned.iter().map(|it| &it.resource).collect();
    let Some(from) = current(owned.iter().copied()) else {
        let text = "cannot upgrade: nixctl has installed no Nix here";
        return Err(Failure::new(Code::NothingInstalled, text));
    };
    let settings = question.settings;
    let wanted = match &question.recorded.offer {
        None => request.wanted(),
        Some(Ok(offered)) => offered.wanted(),
        Some(Err(why)) => return Ok(nothing_newer(&from.version, why)),
    };
    let asked = release::asked_version(&wanted, &settings.install);
    let is_it = |archive: &Archive| match &wanted.sha256 {
        Some(sha256) => archive.sha256 == *sha256,
        None => wanted.source.is_none() && asked.as_ref() == Some(&archive.version),
    };
    if is_it(from) && !request.rollback {
        return Ok(nothing(&from.version));
    }
    let mut all = archives(owned.iter().copied()).into_iter();
    let kept = all.find(|it| is_it(it));
    let target = match request.rollback {
        true => Target::Kept(previous(owned.iter().copied()).ok_or_else(nowhere)?.clone()),
        false => match kept.filter(|it| is_whole(question.host, it)) {
            Some(archive) => Target::Kept(archive.clone()),
            None => match find(&wanted, &mut facts)? {
                Some(release) if release.sha256 == from.sha256 => {
                    return Ok(nothing(&from.version));
                }
                Some(release) => Target::Fetched(release),
                None => Target::Unknown,
            },
        },
    };
    let known = Known {
        nix: nix_of(question.host, from)?,
        now: question.host.clock.now(),
        form: number(question.host, SCHEMA.as_ref()).map_err(|error| error.failure())?,
        owned,
        facts: &facts,
        settings,
    };
    let checks = checks(question.host, &known, &wanted, from, &target, request);
    Ok(planned(&known, from, &target, request, checks))
}

fn nothing(version: &str) -> Planned {
    empty(format!("Nix {version} is here already"))
}

/// Nothing may be taken now, and why.
fn nothing_newer(version: &str, why: &str) -> Planned {
    empty(format!("Nix {version} stays: {why}"))
}

fn empty(title: String) -> Planned {
    Planned {
        repair: None,
        steps: Vec::new(),
        view: Plan {
            kind: OperationKind::Upgrade,
            title,
            steps: Vec::new(),
            checks: Vec::new(),
            bytes_needed: 0,
            inodes_needed: 0,
            notes: Vec::new(),
            switch: None,
        },
    }
}

fn nowhere() -> Failure {
    let text = "cannot go back: no other version of Nix is in the store";
    Failure::new(Code::NothingBefore, text)
}

/// Whether a release that was owned before is still all there.
fn is_whole(host: &Host, archive: &Archive) -> bool {
    let archive = archive.clone();
    matches!(
        Resource::Payload(Payload { archive }).probe(host),
        Ok(Presence::Present)
    )
}

fn nix_of(host: &Host, archive: &Archive) -> Result<String, Failure> {
    let manifest = Manifest::load(&host.fs, &archive.sha256);
    let manifest = manifest.map_err(|error| ResourceError::from(error).failure())?;
    let lost = || ResourceError::Drifted {
        id: format!("payload:{}", archive.sha256),
        seen: "the list of its store paths is gone".to_owned(),
    };
    Ok(manifest.ok_or_else(|| lost().failure())?.nix)
}

fn checks(
    host: &Host,
    known: &Known<'_>,
    wanted: &InstallRequest,
    from: &Archive,
    target: &Target,
    request: &UpgradeRequest,
) -> Vec<PlanCheck> {
    let install = &known.settings.install;
    let version = match target {
        Target::Fetched(release) => Some(&release.version),
        Target::Kept(archive) => Some(&archive.version),
        Target::Unknown => None,
    };
    let mut checks: Vec<PlanCheck> = version
        .map(|version| direction(&from.version, version, request))
        .into_iter()
        .collect();
    let release = match target {
        Target::Fetched(release) => Some(release),
        Target::Kept(_) => return checks,
        Target::Unknown => None,
    };
    let needs = needs(host, release, install.reserve_bytes);
    let all = preflight::checks(known.facts, wanted, install, release, &needs);
    checks.extend(all.into_iter().filter(|it| CHECKS.contains(&&*it.id)));
    checks
}

fn needs(host: &Host, release: Option<&Release>, reserve: u64) -> Needs {
    release.map_or_else(Needs::default, |release| {
        let needs = estimate::needs(&host.fs, release);
        Needs::exactly(
            needs.download_bytes,
            needs.store_bytes,
            needs.store_inodes,
            reserve,
        )
    })
}

/// Whether it may go that way.
fn direction(from: &str, to: &str, request: &UpgradeRequest) -> PlanCheck {
    let is_older = compare(to, from) == Ordering::Less;
    let failure = (is_older && !request.may_be_older).then(|| {
        let text = format!("cannot replace Nix {from} by {to}: it is older");
        Failure::new(Code::OlderRefused, text)
    });
    let way = match compare(to, from) {
        Ordering::Less => "older than",
        Ordering::Equal => "another one of",
        Ordering::Greater => "newer than",
    };
    PlanCheck {
        id: "direction".to_owned(),
        seen: format!("{to} is {way} {from}"),
        failure,
    }
}

fn planned(
    known: &Known<'_>,
    from: &Archive,
    target: &Target,
    request: &UpgradeRequest,
    checks: Vec<PlanCheck>,
) -> Planned {
    let install = &known.settings.install;
    let (steps, title) = match target {
        Target::Fetched(release) => {
            let archive = Archive {
                sha256: release.sha256.clone(),
                version: release.version.clone(),
                system: release.system.clone(),
                store_gid: from.store_gid,
            };
            let mut steps = vec![linux::fetch(release, install)];
            let payload = Resource::Payload(Payload {
                archive: archive.clone(),
            });
            steps.push(Step::Ensure(payload));
            steps.extend(replace(known, from, &archive, request));
            steps.push(Step::Discard(archive.path()));
            (steps, title(&from.version, &archive.version))
        }
        Target::Kept(archive) => (
            replace(known, from, archive, request),
            title(&from.version, &archive.version),
        ),
        Target::Unknown => (Vec::new(), format!("replace Nix {}", from.version)),
    };
    let lines: Vec<PlanStep> = steps.iter().map(line).collect();
    let bytes_needed = match target {
        Target::Fetched(release) => Needs::of(release, install.reserve_bytes).bytes(known.facts),
        _ => 0,
    };
    let steps = steps.into_iter().zip(&lines);
    Planned {
        steps: steps
            .map(|(step, line)| PlannedStep {
                step,
                action: line.action,
            })
            .collect(),
        view: Plan {
            kind: OperationKind::Upgrade,
            title,
            steps: lines,
            checks,
            bytes_needed,
            inodes_needed: 0,
            notes: Vec::new(),
            switch: None,
        },
        repair: None,
    }
}

fn title(from: &str, to: &str) -> String {
    format!("replace Nix {from} by {to}")
}

/// From the release in the store to one that serves. The new version touches the database only when
/// nobody uses it and a copy is made.
fn replace(known: &Known<'_>, from: &Archive, to: &Archive, request: &UpgradeRequest) -> Vec<Step> {
    let settings = known.settings;
    let sha256 = || to.sha256.clone();
    let upgrade = |step| Step::Upgrade(step);
    let has_users = known
        .owned
        .iter()
        .any(|it| matches!(it, Resource::BuildUsers(_)));
    let shape = Shape::of(
        known.facts,
        &InstallRequest {
            single_user: !has_users,
            ..InstallRequest::default()
        },
    );
    let seconds = request.drain.unwrap_or(settings.upgrade.drain_seconds);
    let is_back = request.restore_database && compare(&to.version, &from.version) == Ordering::Less;
    let mut steps = vec![
        upgrade(reads(to, is_back)),
        upgrade(UpgradeStep::Quiet(Quiet { seconds })),
        upgrade(UpgradeStep::Copy(Copy {
            nix: known.nix.clone(),
            keep: settings.health.database_copies,
            reserve: settings.health.low_space_bytes,
            at: known.now,
        })),
    ];
    if is_back {
        steps.push(upgrade(UpgradeStep::GoBack(GoBack {
            sha256: sha256(),
            version: to.version.clone(),
            at: known.now,
        })));
    }
    steps.extend([
        Step::Ensure(Resource::Registration(Registration { sha256: sha256() })),
        Step::Ensure(Resource::Profile(Profile {
            link: OWN_PROFILE.into(),
            sha256: sha256(),
        })),
        upgrade(UpgradeStep::Exchange(Exchange {
            from: from.sha256.clone(),
            to: sha256(),
        })),
    ]);
    if is_back {
        steps.push(upgrade(UpgradeStep::Reopen(Reopen {})));
    }
    steps.push(upgrade(UpgradeStep::Restart(Restart { seconds })));
    steps.extend(linux::self_test(
        known.facts,
        shape,
        &settings.install,
        &to.sha256,
    ));
    steps.extend(let_go(known, from, to));
    if let Some(before) = known.form {
        let at = known.now;
        steps.push(upgrade(UpgradeStep::Keep(Keep { before, at })));
    }
    steps
}

/// Whether the version that it goes to can work with the database, as it is or was.
fn reads(to: &Archive, is_back: bool) -> UpgradeStep {
    let (sha256, version) = (to.sha256.clone(), to.version.clone());
    match is_back {
        true => UpgradeStep::Returnable(Returnable { sha256, version }),
        false => UpgradeStep::Readable(Readable { sha256, version }),
    }
}

/// Releases that neither run from now on nor are what is gone back to.
fn let_go(known: &Known<'_>, from: &Archive, to: &Archive) -> Vec<Step> {
    let all = archives(known.owned.iter().copied()).into_iter();
    let needless = all.filter(|it| it.sha256 != from.sha256 && it.sha256 != to.sha256);
    needless
        .flat_map(|archive| {
            let sha256 = &archive.sha256;
            let belongs = |it: &&Resource| match it {
                Resource::Payload(it) => it.archive.sha256 == *sha256,
                Resource::Registration(it) => it.sha256 == *sha256,
                _ => false,
            };
            let things = known.owned.iter().copied().filter(belongs);
            let disown = things.map(|it| {
                let resource = Box::new(it.clone());
                Step::Upgrade(UpgradeStep::Disown(Disown { resource }))
            });
            let forget = Step::Upgrade(UpgradeStep::Forget(Forget {
                version: archive.version.clone(),
                sha256: sha256.clone(),
            }));
            std::iter::once(forget).chain(disown)
        })
        .collect()
}

/// Nothing is asked of the new version here: only to look, it would take the database over into
/// its own form.
fn line(step: &Step) -> PlanStep {
    let Description {
        id,
        summary,
        details,
    } = step.describe();
    let action = match step {
        Step::Ensure(Resource::Profile(_)) => PlanAction::Change,
        Step::Ensure(_) => PlanAction::Create,
        Step::Upgrade(UpgradeStep::Forget(_) | UpgradeStep::Disown(_)) => PlanAction::Remove,
        _ => PlanAction::Run,
    };
    PlanStep {
        id,
        action,
        summary,
        details,
    }
}

#[cfg(test)]
#[path = "plan_tests.rs"]
mod tests;

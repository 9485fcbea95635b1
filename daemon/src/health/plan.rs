//! The plan of a repair: what is found now, and the steps that help against what was asked for.
//!
//! The machine is looked at anew, because what was found before may be gone, or worse. Nothing is
//! probed beyond that: a step reads what undoing it needs at its own turn, when what it needs to
//! be there has been repaired.

use nixctl_proto::health::check::{Area, Check};
use nixctl_proto::health::{Policy, Target};
use nixctl_proto::plan::{Plan, PlanAction, PlanCheck, PlanStep};
use nixctl_proto::request::RepairRequest;
use nixctl_proto::settings::HealthSettings;
use nixctl_proto::{Code, Failure, OperationKind};

use super::judge::Found;
use super::known::Looked;
use super::look::{NO_FEED, Scene};
use super::remedy;
use super::round::{Stopped, relevant, round};
use super::sighting::Sighting;
use crate::catalogue::Planned;
use crate::engine::step::PlannedStep;
use crate::engine::{Question, Step};
use crate::resource::Resource;

/// What a repair was planned from.
#[derive(Debug, Clone, PartialEq)]
pub struct RepairPlan {
    /// The findings whose remedies it carries out.
    pub meant: Vec<Sighting>,
    /// What was seen of the machine.
    pub looked: Looked,
}

/// What is done about the findings of a check: as the settings say, else as the table does.
pub fn policy(settings: &HealthSettings, check: Check) -> Policy {
    let word = settings.policy.get(&check.id()).map(String::as_str);
    let known = [Policy::Auto, Policy::Ask, Policy::Off];
    let set = known.into_iter().find(|it| Some(it.as_str()) == word);
    set.unwrap_or_else(|| check.policy())
}

/// Plans the remedies that are asked for.
///
/// # Errors
/// When it was asked to stop while it looked.
pub fn plan(question: &Question<'_>, request: &RepairRequest) -> Result<Planned, Failure> {
    let owned: Vec<Resource> = question
        .owned
        .iter()
        .map(|it| it.resource.clone())
        .collect();
    let is_deep = is_deep(&request.targets);
    // What hangs is cancelled or retried by people, not mended; and no repair mends a feed.
    let areas: Vec<Area> = relevant(&question.host.fs, &Area::ALL, &owned)
        .into_iter()
        .filter(|area| !matches!(area, Area::Operations | Area::Upgrade))
        .collect();
    let scene = Scene {
        host: question.host,
        owned: &owned,
        fetched: &question.recorded.fetched,
        is_deep,
        operations: &[],
        unwatched: question.unwatched,
        feed: &NO_FEED,
        settings: question.settings,
        cancel: question.cancel,
    };
    let mut found = round(&scene, &areas, &|| {}).map_err(stopped)?;
    let health = &question.settings.health;
    found.retain(|it| policy(health, it.check) != Policy::Off);
    let now = question.host.clock.now();
    let looked = Looked {
        areas,
        is_deep,
        found,
    };
    Ok(planned(looked, &request.targets, now))
}

fn stopped(error: Stopped) -> Failure {
    Failure::from_error(Code::Cancelled, &error)
}

/// Whether these targets are seen only by who looks thoroughly.
pub fn is_deep(targets: &[Target]) -> bool {
    let check = |target: &Target| Check::by_id(&target.check);
    targets.is_empty() || targets.iter().filter_map(check).any(Check::is_deep)
}

/// The plan against what was found: pure.
fn planned(looked: Looked, targets: &[Target], now: u64) -> Planned {
    let is_meant = |it: &Found| {
        let means = |target: &Target| target.means(&it.check.id(), &it.subject);
        targets.is_empty() || targets.iter().any(means)
    };
    let meant = looked.found.iter().filter(|it| is_meant(it)).cloned();
    let (curable, others): (Vec<Found>, Vec<Found>) = meant.partition(|it| !it.cures.is_empty());
    let steps = remedy::steps(&curable, now);
    let mut notes: Vec<String> = others.iter().map(unhelped).collect();
    notes.extend(gone(targets, &curable, &others));
    let title = match curable.as_slice() {
        [] => "nothing to repair".to_owned(),
        [one] => format!("repair {}", sighting(one)),
        all => format!("repair {} findings", all.len()),
    };
    Planned {
        view: Plan {
            kind: OperationKind::Repair,
            title,
            steps: steps.iter().map(line).collect(),
            checks: curable.iter().map(seen).collect(),
            bytes_needed: 0,
            inodes_needed: 0,
            notes,
            switch: None,
        },
        steps: steps.into_iter().map(with_action).collect(),
        repair: Some(RepairPlan {
            meant: curable.iter().map(sighting).collect(),
            looked,
        }),
    }
}

/// What a finding is about.
pub fn sighting(found: &Found) -> Sighting {
    Sighting::new(found.check.id(), found.subject.clone())
}

fn unhelped(found: &Found) -> String {
    let help = match found.help.as_str() {
        "" => "there is no remedy",
        help => help,
    };
    format!("{}: {help}", sighting(found))
}

fn gone<'t>(
    targets: &'t [Target],
    curable: &'t [Found],
    others: &'t [Found],
) -> impl Iterator<Item = String> + 't {
    let found = move |target: &&Target| {
        let mut all = curable.iter().chain(others);
        !all.any(|it| target.means(&it.check.id(), &it.subject))
    };
    targets
        .iter()
        .filter(found)
        .map(|target| format!("{target}: nothing of it is found"))
}

fn seen(found: &Found) -> PlanCheck {
    PlanCheck {
        id: sighting(found).to_string(),
        seen: found.seen.clone(),
        failure: None,
    }
}

fn action(step: &Step) -> PlanAction {
    match step {
        Step::Ensure(_) => PlanAction::Change,
        _ => PlanAction::Run,
    }
}

fn line(step: &Step) -> PlanStep {
    let about = step.describe();
    PlanStep {
        id: about.id,
        action: action(step),
        summary: about.summary,
        details: about.details,
    }
}

fn with_action(step: Step) -> PlannedStep {
    let action = action(&step);
    PlannedStep { step, action }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::health::mend::Mend;
    use crate::health::mend::unit::Clear;

    fn curable(check: Check, subject: &str) -> Found {
        let unit = subject.to_owned();
        Found::new(check, subject).mend(Mend::Clear(Clear { unit }))
    }

    fn made(targets: &[&str]) -> (Vec<String>, Vec<String>) {
        let looked = Looked {
            areas: Area::ALL.to_vec(),
            is_deep: true,
            found: vec![
                curable(Check::NotMounted, "a"),
                curable(Check::NotMounted, "b"),
                Found::new(Check::ReadOnly, "/nix").help("replace the disk"),
            ],
        };
        let targets: Vec<Target> = targets.iter().map(|text| Target::from(*text)).collect();
        let planned = planned(looked, &targets, 7);
        assert_eq!(planned.steps.len(), planned.view.steps.len());
        let meant = planned.repair.unwrap().meant;
        let meant = meant.iter().map(Sighting::to_string).collect();
        (meant, planned.view.notes)
    }

    #[test]
    fn what_is_meant_is_mended_and_the_rest_is_told() {
        let id = Check::NotMounted.id();
        let (a, b) = (format!("{id} (a)"), format!("{id} (b)"));
        let help = format!("{} (/nix): replace the disk", Check::ReadOnly.id());
        assert_eq!(made(&[]), (vec![a.clone(), b.clone()], vec![help]));
        assert_eq!(made(&[&id]).0, [a, b.clone()]);
        assert_eq!(made(&[&format!("{id}:b")]), (vec![b], vec![]));
        let other = format!("{id}:c");
        let gone = format!("{other}: nothing of it is found");
        assert_eq!(made(&[&other]), (vec![], vec![gone]));
    }

    #[test]
    fn settings_win_over_the_table() {
        let mut settings = HealthSettings::default();
        let (check, policy_of) = (Check::NotMounted, Policy::Off);
        assert_eq!(policy(&settings, check), check.policy());
        let word = policy_of.as_str().to_owned();
        settings.policy.insert(check.id(), word);
        assert_eq!(policy(&settings, check), policy_of);
    }

    #[test]
    fn only_what_needs_it_is_looked_at_thoroughly() {
        let deep = |ids: &[String]| {
            let targets: Vec<Target> = ids.iter().map(|id| Target::from(id.as_str())).collect();
            is_deep(&targets)
        };
        assert!(deep(&[]) && !deep(&[Check::NotMounted.id()]));
        let thorough = Check::ALL.iter().find(|check| check.is_deep()).unwrap();
        assert!(deep(&[thorough.id()]));
    }
}

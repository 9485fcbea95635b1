//! Plans: what would be made, changed, kept and removed, what it needs, and why it cannot be done.

use nixctl_proto::OperationKind;
use nixctl_proto::plan::{Plan, PlanAction, PlanStep};

use super::style::Style;
use super::text::{bytes, clean, counted, grouped};

/// The groups of steps, in the order in which they are shown: action, heading, mark.
const GROUPS: [(PlanAction, &str, &str); 5] = [
    (PlanAction::Create, "make", "+"),
    (PlanAction::Change, "change", "~"),
    (PlanAction::Remove, "remove", "-"),
    (PlanAction::Run, "run", ">"),
    (PlanAction::Keep, "already right", "="),
];

/// Lines of a plan; with `detailed` each step's details and each check too.
pub fn lines(plan: &Plan, detailed: bool, style: Style) -> Vec<String> {
    let mut lines = vec![style.bold(&clean(&plan.title))];
    lines.extend(steps(plan, detailed, style));
    if detailed {
        lines.extend(passed(plan));
    }
    lines.extend(notes(plan, style));
    lines
}

/// The steps by what they do, and what they need.
pub fn steps(plan: &Plan, detailed: bool, style: Style) -> Vec<String> {
    let mut lines = Vec::new();
    for (action, heading, mark) in GROUPS {
        let steps: Vec<&PlanStep> = plan
            .steps
            .iter()
            .filter(|step| step.action == action)
            .collect();
        if !steps.is_empty() {
            let heading = match (action, takes_off(plan)) {
                (PlanAction::Keep, true) => "stays",
                _ => heading,
            };
            lines.push(format!("  {heading} ({}):", steps.len()));
            for step in steps {
                lines.push(format!(
                    "    {} {}",
                    paint(action, mark, style),
                    clean(&step.summary)
                ));
                if detailed {
                    lines.extend(
                        step.details
                            .iter()
                            .map(|text| format!("        {}", style.dim(&clean(text)))),
                    );
                }
            }
        }
    }
    // The title says so itself.
    let is_told = matches!(
        plan.kind,
        OperationKind::Repair | OperationKind::Upgrade | OperationKind::SelfUpgrade
    );
    if plan.is_empty() && !is_told {
        lines.push("  nothing to do".to_owned());
    }
    lines.extend(needs(plan));
    lines
}

/// The checks that passed.
pub fn passed(plan: &Plan) -> impl Iterator<Item = String> {
    let passed = plan.checks.iter().filter(|check| check.failure.is_none());
    passed.map(|check| format!("  checked {}: {}", check.id, clean(&check.seen)))
}

/// What the user should know.
pub fn notes(plan: &Plan, style: Style) -> impl Iterator<Item = String> {
    let label = style.dim("note:");
    let notes = plan.notes.iter();
    notes.map(move |note| format!("  {label} {}", clean(note)))
}

/// What is kept by a plan that takes things off is not right or wrong: it stays.
fn takes_off(plan: &Plan) -> bool {
    match plan.kind {
        OperationKind::Uninstall | OperationKind::SelfUninstall => true,
        OperationKind::Install
        | OperationKind::SelfInstall
        | OperationKind::Switch
        | OperationKind::Rollback
        | OperationKind::Repair
        | OperationKind::Upgrade
        | OperationKind::SelfUpgrade => false,
    }
}

/// Two plans carried out one after the other, as one.
pub fn joined(first: Plan, second: Plan) -> Plan {
    let join = |mut a: Vec<String>, b: Vec<String>| {
        a.extend(
            b.into_iter()
                .filter(|text| !a.contains(text))
                .collect::<Vec<_>>(),
        );
        a
    };
    let mut steps = first.steps;
    steps.extend(second.steps);
    let mut checks = first.checks;
    checks.extend(second.checks);
    Plan {
        kind: second.kind,
        title: format!("{}, then {}", first.title, second.title),
        steps,
        checks,
        bytes_needed: first.bytes_needed.saturating_add(second.bytes_needed),
        inodes_needed: first.inodes_needed.saturating_add(second.inodes_needed),
        notes: join(first.notes, second.notes),
        switch: None,
    }
}

/// What the plan needs of the store's file system.
fn needs(plan: &Plan) -> Option<String> {
    let mut parts = Vec::new();
    if plan.bytes_needed > 0 {
        parts.push(bytes(plan.bytes_needed));
    }
    if plan.inodes_needed > 0 {
        let noun = if plan.inodes_needed == 1 {
            "inode"
        } else {
            "inodes"
        };
        parts.push(format!("{} {noun}", grouped(plan.inodes_needed)));
    }
    let steps = plan
        .steps
        .iter()
        .filter(|step| step.action != PlanAction::Keep)
        .count();
    (!parts.is_empty()).then(|| {
        format!(
            "  {}; needs {}",
            counted(steps, "step"),
            parts.join(" and ")
        )
    })
}

fn paint(action: PlanAction, mark: &str, style: Style) -> String {
    match action {
        PlanAction::Create => style.good(mark),
        PlanAction::Change => style.warning(mark),
        PlanAction::Remove => style.bad(mark),
        PlanAction::Keep | PlanAction::Run => style.dim(mark),
    }
}

#[cfg(test)]
mod tests {
    use nixctl_proto::plan::PlanCheck;
    use nixctl_proto::{Code, Failure};

    use super::*;

    fn step(action: PlanAction, summary: &str) -> PlanStep {
        PlanStep {
            id: summary.to_owned(),
            action,
            summary: summary.to_owned(),
            details: vec![format!("because of {summary}")],
        }
    }

    fn plan() -> Plan {
        Plan {
            kind: OperationKind::Install,
            title: "install Nix 2.26.3 for systemd".to_owned(),
            steps: vec![
                step(PlanAction::Run, "fetch the release"),
                step(PlanAction::Create, "create the directory /nix"),
                step(PlanAction::Keep, "keep the group nixbld"),
                step(PlanAction::Change, "add a block to /etc/bashrc"),
                step(PlanAction::Create, "create 32 build users"),
            ],
            checks: vec![
                PlanCheck {
                    id: "space".into(),
                    seen: "5 GiB are free".into(),
                    failure: None,
                },
                PlanCheck {
                    id: "clock".into(),
                    seen: "it is off".into(),
                    failure: Some(Failure::new(Code::ClockOff, "cannot go on")),
                },
            ],
            bytes_needed: 327_155_712,
            inodes_needed: 12_345,
            notes: vec!["the sandbox is on: user namespaces work".to_owned()],
            switch: None,
        }
    }

    #[test]
    fn steps_are_grouped() {
        assert_eq!(
            lines(&plan(), false, Style::PLAIN),
            [
                "install Nix 2.26.3 for systemd",
                "  make (2):",
                "    + create the directory /nix",
                "    + create 32 build users",
                "  change (1):",
                "    ~ add a block to /etc/bashrc",
                "  run (1):",
                "    > fetch the release",
                "  already right (1):",
                "    = keep the group nixbld",
                "  4 steps; needs 312 MiB and 12,345 inodes",
                "  note: the sandbox is on: user namespaces work",
            ]
        );
    }

    #[test]
    fn what_an_uninstall_keeps_stays() {
        let plan = Plan {
            kind: OperationKind::Uninstall,
            steps: vec![
                step(PlanAction::Remove, "remove the group nixbld"),
                step(
                    PlanAction::Keep,
                    "leave the directory /etc, which was there before",
                ),
            ],
            ..plan()
        };
        let lines = lines(&plan, false, Style::PLAIN);
        let stays = "    = leave the directory /etc, which was there before";
        assert_eq!(lines[3..5], ["  stays (1):", stays]);
    }

    #[test]
    fn details_are_shown_when_asked_for() {
        let lines = lines(&plan(), true, Style::PLAIN);
        assert!(lines.contains(&"        because of fetch the release".to_owned()));
        assert!(lines.contains(&"  checked space: 5 GiB are free".to_owned()));
        assert!(!lines.iter().any(|line| line.contains("it is off")));
    }

    #[test]
    fn nothing_to_do_is_said() {
        let empty = Plan {
            steps: vec![step(PlanAction::Keep, "keep /nix")],
            bytes_needed: 0,
            inodes_needed: 0,
            notes: Vec::new(),
            switch: None,
            ..plan()
        };
        assert_eq!(
            lines(&empty, false, Style::PLAIN)[1..],
            ["  already right (1):", "    = keep /nix", "  nothing to do"]
        );
        let repair = Plan {
            kind: OperationKind::Repair,
            title: "nothing to repair".to_owned(),
            steps: Vec::new(),
            notes: vec!["clock.wrong clock: set it".to_owned()],
            ..empty
        };
        assert_eq!(
            lines(&repair, false, Style::PLAIN),
            ["nothing to repair", "  note: clock.wrong clock: set it"]
        );
    }

    #[test]
    fn two_plans_become_one() {
        let both = joined(plan(), plan());
        assert_eq!(both.steps.len(), 10);
        assert_eq!(both.notes.len(), 1);
        assert_eq!(both.bytes_needed, 2 * plan().bytes_needed);
        assert_eq!(
            both.refusal().map(|failure| failure.code),
            Some(Code::ClockOff)
        );
    }
}

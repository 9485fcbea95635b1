//! What is wrong, for people: a block for each finding, the worst first, and a line that sums up.

use nixctl_proto::health::{Finding, Findings, Severity};
use nixctl_proto::status::Health;

use super::style::Style;
use super::text::{ago, clean, counted};

/// Findings that `nixctl status` names.
const AT_A_GLANCE: usize = 5;

/// What is shown, and how.
#[derive(Debug, Clone, Copy)]
pub struct Look {
    /// Whether only some checks were asked for.
    pub some: bool,
    /// Whether the reasons and the steps of the remedies are shown.
    pub detailed: bool,
    /// What time it is, in milliseconds since 1970.
    pub now: u64,
    /// Colours.
    pub style: Style,
}

/// Lines of `nixctl check`.
pub fn lines(found: &Findings, look: Look) -> Vec<String> {
    let mut lines = Vec::new();
    for finding in worst_first(&found.findings) {
        lines.extend(block(finding, look));
        lines.push(String::new());
    }
    lines.push(summary(found, look));
    if !found.note.is_empty() {
        let label = look.style.dim("note:");
        lines.push(format!("{label} {}", clean(&found.note)));
    }
    lines
}

/// The findings in a line each, and how many more there are.
pub fn at_a_glance(findings: &[Finding], style: Style) -> Vec<String> {
    let all = worst_first(findings);
    let mut lines: Vec<String> = all
        .iter()
        .take(AT_A_GLANCE)
        .map(|finding| format!("  {}: {}", title(finding, style), clean(&finding.seen)))
        .collect();
    match all.len().saturating_sub(AT_A_GLANCE) {
        0 => {}
        more => lines.push(format!("  and {more} more; `nixctl check` shows all")),
    }
    lines
}

/// Whether somebody should look: something is not only worth knowing.
pub fn need_attention(findings: &[Finding]) -> bool {
    let mut severities = findings.iter().map(|finding| finding.severity);
    severities.any(|severity| severity >= Severity::Warning)
}

/// `healthy`, `degraded`, ... as they are coloured everywhere.
pub fn health(health: Health, style: Style) -> String {
    let word = health.as_str();
    match health {
        Health::Healthy => style.good(word),
        Health::Degraded => style.warning(word),
        Health::Broken => style.bad(word),
        Health::Unknown => style.dim(word),
    }
}

/// The severity as it is coloured everywhere.
pub fn severity(severity: Severity, style: Style) -> String {
    let word = severity.as_str();
    match severity {
        Severity::Info => style.dim(word),
        Severity::Warning => style.warning(word),
        Severity::Error | Severity::Critical => style.bad(word),
    }
}

fn worst_first(findings: &[Finding]) -> Vec<&Finding> {
    let mut all: Vec<&Finding> = findings.iter().collect();
    all.sort_by_key(|finding| std::cmp::Reverse(finding.severity));
    all
}

/// `critical mounts.not-mounted (/nix)`
fn title(finding: &Finding, style: Style) -> String {
    let word = severity(finding.severity, style);
    let check = style.bold(&clean(&finding.check));
    match finding.subject.as_str() {
        "" => format!("{word} {check}"),
        subject => format!("{word} {check} ({})", clean(subject)),
    }
}

fn block(finding: &Finding, look: Look) -> Vec<String> {
    let mut rows = vec![("seen", clean(&finding.seen))];
    let mut row = |label, text: &str| {
        if !text.is_empty() {
            rows.push((label, clean(text)));
        }
    };
    row("expected", &finding.expected);
    if look.detailed {
        row("why", &finding.why);
    }
    if finding.since > 0 {
        row("since", &ago(look.now, finding.since));
    }
    if let Some(remedy) = &finding.remedy {
        let by = match (remedy.automatic, remedy.held.is_empty()) {
            (true, true) => "nixctld does it by itself".to_owned(),
            _ => format!("`nixctl repair {}`", finding.check),
        };
        row("remedy", &format!("{} ({by})", remedy.summary));
        if look.detailed {
            remedy.steps.iter().for_each(|step| row("step", step));
        }
        row("held", &remedy.held);
    }
    row("help", &finding.help);
    let mut lines = vec![title(finding, look.style)];
    lines.extend(rows.into_iter().map(|(label, text)| {
        let label = look.style.dim(&format!("{label:8}"));
        format!("  {label}  {text}")
    }));
    lines
}

/// `broken: 2 findings, 1 critical and 1 warning; looked at just now`
fn summary(found: &Findings, look: Look) -> String {
    let health = health(found.health, look.style);
    let when = match found.seen {
        0 => "not looked at yet".to_owned(),
        seen => format!("looked at {}", ago(look.now, seen)),
    };
    let what = match (found.findings.len(), look.some) {
        (0, true) => "nothing found by the checks that were asked for".to_owned(),
        (0, false) if found.health != Health::Healthy && !found.reason.is_empty() => {
            clean(&found.reason)
        }
        (0, false) => "no findings".to_owned(),
        (number, _) => format!("{}, {}", counted(number, "finding"), tally(&found.findings)),
    };
    format!("{health}: {what}; {when}")
}

/// `1 critical and 2 warning`
fn tally(findings: &[Finding]) -> String {
    let counts = Severity::ALL.iter().rev().filter_map(|severity| {
        let count = findings.iter().filter(|it| it.severity == *severity);
        let count = count.count();
        (count > 0).then(|| format!("{count} {severity}"))
    });
    let counts: Vec<String> = counts.collect();
    match counts.split_last() {
        Some((last, [])) => last.clone(),
        Some((last, first)) => format!("{} and {last}", first.join(", ")),
        None => String::new(),
    }
}

#[cfg(test)]
pub mod tests {
    use nixctl_proto::health::RemedyView;

    use super::*;

    const NOW: u64 = 1_763_723_172_999;
    const LOOK: Look = Look {
        some: false,
        detailed: false,
        now: NOW,
        style: Style::PLAIN,
    };

    /// A finding with a remedy.
    pub fn finding(check: &str, severity: Severity) -> Finding {
        Finding {
            check: check.to_owned(),
            subject: "/nix".to_owned(),
            severity,
            seen: "nothing is mounted".to_owned(),
            expected: "/dev/vdb, as /etc/fstab says".to_owned(),
            why: "the store is empty without it".to_owned(),
            help: String::new(),
            since: NOW - 300_000,
            remedy: Some(RemedyView {
                summary: "mount /nix".to_owned(),
                steps: vec!["start nix.mount".to_owned()],
                automatic: true,
                held: String::new(),
            }),
        }
    }

    /// What was found a moment ago.
    pub fn found(findings: Vec<Finding>) -> Findings {
        Findings {
            health: nixctl_proto::health::health(&findings),
            reason: "nothing is mounted".to_owned(),
            seen: NOW - 20_000,
            note: String::new(),
            findings,
        }
    }

    #[test]
    fn a_healthy_machine_is_one_line() {
        assert_eq!(
            lines(&found(Vec::new()), LOOK),
            ["healthy: no findings; looked at 20 s ago"]
        );
        let unknown = Findings {
            health: Health::Unknown,
            reason: "nixctl has installed nothing here".to_owned(),
            seen: 0,
            note: "an operation\nis at work".to_owned(),
            findings: Vec::new(),
        };
        assert_eq!(
            lines(&unknown, LOOK),
            [
                "unknown: nixctl has installed nothing here; not looked at yet",
                "note: an operation is at work"
            ]
        );
        let some = Look { some: true, ..LOOK };
        assert_eq!(
            lines(&found(Vec::new()), some),
            ["healthy: nothing found by the checks that were asked for; looked at 20 s ago"]
        );
    }

    #[test]
    fn the_worst_comes_first_and_says_what_helps() {
        let mut asked = finding("tree.rights", Severity::Warning);
        asked.subject = String::new();
        if let Some(remedy) = &mut asked.remedy {
            remedy.automatic = false;
        }
        let mut helpless = finding("clock.wrong", Severity::Info);
        helpless.remedy = None;
        helpless.since = 0;
        helpless.help = "set it\u{1b}[31m".to_owned();
        let mut held = finding("mounts.not-mounted", Severity::Critical);
        if let Some(remedy) = &mut held.remedy {
            remedy.held = "it did not help three times; tried again in 4 h".to_owned();
        }
        assert_eq!(
            lines(&found(vec![helpless, asked, held]), LOOK),
            [
                "critical mounts.not-mounted (/nix)",
                "  seen      nothing is mounted",
                "  expected  /dev/vdb, as /etc/fstab says",
                "  since     5 min ago",
                "  remedy    mount /nix (`nixctl repair mounts.not-mounted`)",
                "  held      it did not help three times; tried again in 4 h",
                "",
                "warning tree.rights",
                "  seen      nothing is mounted",
                "  expected  /dev/vdb, as /etc/fstab says",
                "  since     5 min ago",
                "  remedy    mount /nix (`nixctl repair tree.rights`)",
                "",
                "info clock.wrong (/nix)",
                "  seen      nothing is mounted",
                "  expected  /dev/vdb, as /etc/fstab says",
                "  help      set it\u{fffd}[31m",
                "",
                "broken: 3 findings, 1 critical, 1 warning and 1 info; looked at 20 s ago",
            ]
        );
    }

    #[test]
    fn details_are_the_reason_and_the_steps() {
        let detailed = Look {
            detailed: true,
            ..LOOK
        };
        let all = lines(
            &found(vec![finding("tree.rights", Severity::Error)]),
            detailed,
        );
        for line in [
            "  why       the store is empty without it",
            "  remedy    mount /nix (nixctld does it by itself)",
            "  step      start nix.mount",
        ] {
            assert!(all.contains(&line.to_owned()), "{all:?}");
        }
    }

    #[test]
    fn colours_are_for_the_words_that_matter() {
        let colour = Look {
            style: Style::COLOUR,
            ..LOOK
        };
        let all = lines(&found(vec![finding("a.b", Severity::Critical)]), colour);
        assert_eq!(all[0], "\x1b[1;31mcritical\x1b[0m \x1b[1ma.b\x1b[0m (/nix)");
    }

    #[test]
    fn a_glance_names_five() {
        let mut seven = vec![finding("a.b", Severity::Info); 6];
        seven.push(finding("c.d", Severity::Error));
        let lines = at_a_glance(&seven, Style::PLAIN);
        assert_eq!(lines.len(), 6);
        assert_eq!(lines[0], "  error c.d (/nix): nothing is mounted");
        assert_eq!(lines[5], "  and 2 more; `nixctl check` shows all");
        assert_eq!(at_a_glance(&seven[..5], Style::PLAIN).len(), 5);
    }

    #[test]
    fn what_is_only_worth_knowing_needs_no_attention() {
        for (severity, expected) in [
            (Severity::Info, false),
            (Severity::Warning, true),
            (Severity::Error, true),
            (Severity::Critical, true),
        ] {
            assert_eq!(need_attention(&[finding("a.b", severity)]), expected);
        }
        assert!(!need_attention(&[]));
    }
}

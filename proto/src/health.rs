//! What `nixctl check` shows: findings, how bad they are, and what would be done about them.
//!
//! A finding is about one check and one subject (a unit, a path, a user); the two together tell it
//! from every other, so that its history can be followed. Whatever is said here is for people, but
//! for the ids, which are stable: `area.name`, each word in kebab-case.

pub mod area;
pub mod check;

use std::fmt;

use serde::{Deserialize, Serialize};

use crate::operation::OperationId;
use crate::status::Health;

/// How bad a finding is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Severity {
    /// Worth knowing; nothing is wrong.
    Info,
    /// Works, and will not for ever.
    Warning,
    /// A part of Nix does not work.
    Error,
    /// Nix does not work at all.
    Critical,
}

impl Severity {
    /// Every severity, the mildest first.
    pub const ALL: [Severity; 4] = [
        Severity::Info,
        Severity::Warning,
        Severity::Error,
        Severity::Critical,
    ];

    /// The word used in JSON and on D-Bus.
    pub fn as_str(self) -> &'static str {
        match self {
            Severity::Info => "info",
            Severity::Warning => "warning",
            Severity::Error => "error",
            Severity::Critical => "critical",
        }
    }

    /// What a machine is whose worst finding is this bad.
    pub fn health(self) -> Health {
        match self {
            Severity::Info => Health::Healthy,
            Severity::Warning | Severity::Error => Health::Degraded,
            Severity::Critical => Health::Broken,
        }
    }
}

impl fmt::Display for Severity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// What the daemon does by itself about the findings of a check.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Policy {
    /// Carries out the remedy.
    Auto,
    /// Tells, and waits until somebody asks for the remedy.
    Ask,
    /// Does not look.
    Off,
}

impl Policy {
    /// The word used in settings and JSON.
    pub fn as_str(self) -> &'static str {
        match self {
            Policy::Auto => "auto",
            Policy::Ask => "ask",
            Policy::Off => "off",
        }
    }
}

impl fmt::Display for Policy {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// What would be done about a finding.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct RemedyView {
    /// All of it in one line, imperative.
    pub summary: String,
    /// Each step as a sentence, in order.
    pub steps: Vec<String>,
    /// Whether the daemon carries it out without being asked.
    pub automatic: bool,
    /// Why the daemon does not try it by itself for now, and for how long; empty when it does.
    pub held: String,
}

/// Something that is not as it should be.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Finding {
    /// Id of the check: `area.name`.
    pub check: String,
    /// What it is about: a unit, a path, a user.
    pub subject: String,
    /// How bad it is.
    pub severity: Severity,
    /// What was seen, one sentence.
    pub seen: String,
    /// What should have been seen.
    pub expected: String,
    /// Why that matters.
    pub why: String,
    /// What a person can do when the daemon has no remedy; empty when it has.
    pub help: String,
    /// Since when it is so, milliseconds since 1970.
    pub since: u64,
    /// What the daemon can do about it, if anything.
    pub remedy: Option<RemedyView>,
}

/// What is wrong with a machine, as of a moment.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Findings {
    /// The judgement.
    pub health: Health,
    /// One line on why.
    pub reason: String,
    /// When the daemon looked, milliseconds since 1970; 0: not yet.
    pub seen: u64,
    /// What limits this answer, such as an operation at work; empty for nothing.
    pub note: String,
    /// The findings, the worst first.
    pub findings: Vec<Finding>,
}

/// What became of a finding.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum HealthEventKind {
    /// It was not there before.
    Appeared,
    /// A remedy was begun.
    Tried,
    /// It was still there after the remedy.
    DidNotHelp,
    /// It is not there any more.
    Gone,
}

impl HealthEventKind {
    /// Every kind.
    pub const ALL: [HealthEventKind; 4] = [
        HealthEventKind::Appeared,
        HealthEventKind::Tried,
        HealthEventKind::DidNotHelp,
        HealthEventKind::Gone,
    ];

    /// The word used in JSON and on D-Bus.
    pub fn as_str(self) -> &'static str {
        match self {
            HealthEventKind::Appeared => "appeared",
            HealthEventKind::Tried => "tried",
            HealthEventKind::DidNotHelp => "did-not-help",
            HealthEventKind::Gone => "gone",
        }
    }
}

/// One line of the health's history.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct HealthEvent {
    /// Counts up; no two have the same.
    pub number: u64,
    /// Milliseconds since 1970.
    pub time: u64,
    /// Id of the check.
    pub check: String,
    /// What it is about.
    pub subject: String,
    /// What happened.
    pub what: HealthEventKind,
    /// The operation that carried the remedy out, if one did.
    pub operation: Option<OperationId>,
    /// Why it did not help, or how many milliseconds it was there.
    pub detail: String,
}

/// Which findings are meant: all of a check, or the one about a subject.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Target {
    /// Id of the check.
    pub check: String,
    /// What it is about; `None`: whatever it is.
    pub subject: Option<String>,
}

impl Target {
    /// Whether a finding is meant.
    pub fn means(&self, check: &str, subject: &str) -> bool {
        self.check == check && self.subject.as_deref().is_none_or(|it| it == subject)
    }
}

impl From<&str> for Target {
    /// From `area.name` or `area.name:subject`.
    fn from(text: &str) -> Self {
        match text.split_once(':') {
            Some((check, subject)) => Target {
                check: check.to_owned(),
                subject: Some(subject.to_owned()),
            },
            None => Target {
                check: text.to_owned(),
                subject: None,
            },
        }
    }
}

impl fmt::Display for Target {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.check)?;
        match &self.subject {
            Some(subject) => write!(f, ":{subject}"),
            None => Ok(()),
        }
    }
}

/// What a machine is that has these findings.
pub fn health(findings: &[Finding]) -> Health {
    let worst = findings.iter().map(|finding| finding.severity).max();
    worst.map_or(Health::Healthy, Severity::health)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn finding(severity: Severity) -> Finding {
        Finding {
            check: "mounts.not-mounted".to_owned(),
            subject: "/nix".to_owned(),
            severity,
            seen: "nothing is mounted at /nix".to_owned(),
            expected: "/dev/vdb, as /etc/fstab says".to_owned(),
            why: "the store is empty without it".to_owned(),
            help: String::new(),
            since: 1_700_000_000_000,
            remedy: Some(RemedyView {
                summary: "mount /nix".to_owned(),
                steps: vec!["start nix.mount".to_owned()],
                automatic: true,
                held: String::new(),
            }),
        }
    }

    #[test]
    fn the_json_shape_is_fixed() {
        let expected = concat!(
            r#"{"check":"mounts.not-mounted","subject":"/nix","severity":"critical","#,
            r#""seen":"nothing is mounted at /nix","#,
            r#""expected":"/dev/vdb, as /etc/fstab says","#,
            r#""why":"the store is empty without it","help":"","since":1700000000000,"#,
            r#""remedy":{"summary":"mount /nix","steps":["start nix.mount"],"automatic":true,"held":""}}"#,
        );
        let one = finding(Severity::Critical);
        assert_eq!(serde_json::to_string(&one).unwrap(), expected);
        assert_eq!(serde_json::from_str::<Finding>(expected).unwrap(), one);
        let without = Finding {
            remedy: None,
            ..one
        };
        let text = serde_json::to_string(&without).unwrap();
        assert!(text.ends_with(r#""remedy":null}"#), "{text}");
    }

    #[test]
    fn words_are_those_of_the_json() {
        for severity in [
            Severity::Info,
            Severity::Warning,
            Severity::Error,
            Severity::Critical,
        ] {
            let json = serde_json::to_string(&severity).unwrap();
            assert_eq!(json, format!("\"{severity}\""));
        }
        for policy in [Policy::Auto, Policy::Ask, Policy::Off] {
            let json = serde_json::to_string(&policy).unwrap();
            assert_eq!(json, format!("\"{policy}\""));
        }
    }

    #[test]
    fn the_worst_finding_makes_the_health() {
        for (severities, expected) in [
            (&[][..], Health::Healthy),
            (&[Severity::Info], Health::Healthy),
            (&[Severity::Info, Severity::Warning], Health::Degraded),
            (&[Severity::Error], Health::Degraded),
            (&[Severity::Critical, Severity::Info], Health::Broken),
        ] {
            let all: Vec<Finding> = severities.iter().map(|it| finding(*it)).collect();
            assert_eq!(health(&all), expected, "{severities:?}");
        }
    }
}

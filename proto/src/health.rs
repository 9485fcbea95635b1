//! What `nixctl check` shows: findings, how bad they are, and what would be done about them.
//!
//! A finding is about one check and one subject (a unit, a path, a user); the two together tell it
//! from every other, so that its history can be followed. Whatever is said here is for people, but
//! for the ids, which are stable: `area.name`, each word in kebab-case.

use std::fmt;

use serde::{Deserialize, Serialize};

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
    /// The word used in JSON.
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
            r#""remedy":{"summary":"mount /nix","steps":["start nix.mount"],"automatic":true}}"#,
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

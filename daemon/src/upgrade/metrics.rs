//! What a monitoring system reads: Prometheus' text format, version 0.0.4.
//!
//! The text is made from plain facts, each name with its help and type, in an order that never
//! changes. Nothing is sent: it is answered where somebody asks, and written to the folder of the
//! node_exporter where the settings name a file. Moments are told as such and not as ages, which a
//! file could not keep up with.

use std::collections::BTreeMap;
use std::fmt::Write;
use std::path::Path;

use nixctl_proto::health::Severity;
use nixctl_proto::status::Health;

use super::hold::Hold;
use crate::host::{Fs, FsError};

/// Its readers run as other users.
const MODE: u32 = 0o644;
const HEALTH: [Health; 4] = [
    Health::Healthy,
    Health::Degraded,
    Health::Broken,
    Health::Unknown,
];

/// What is told. What is not known is left out.
#[derive(Debug, Clone, PartialEq)]
pub struct Facts {
    /// Version of the daemon.
    pub nixctld_version: String,
    /// Version of the Nix that nixctl owns.
    pub nix_version: Option<String>,
    /// Newest version that the feed offers this machine, by product.
    pub available: BTreeMap<String, String>,
    /// Overall judgement.
    pub health: Health,
    /// Findings that stand, by id of the check and severity.
    pub findings: BTreeMap<(String, Severity), u64>,
    /// Operations that ended since the daemon's state begins, by kind and outcome.
    pub operations: BTreeMap<(String, String), u64>,
    /// This machine's position in the rollout of the release that is offered.
    pub rollout_position: Option<f64>,
    /// The share of machines that the rollout has come to.
    pub rollout_share: Option<f64>,
    /// Share of the target that is reached, 0 to 1.
    pub convergence: f64,
    /// [`Hold::kind`] of what holds the upgrade that is offered.
    pub hold: Option<&'static str>,
    /// Serial number of the last feed that was accepted.
    pub feed_serial: Option<u64>,
    /// When it was fetched, in milliseconds since 1970.
    pub feed_fetched: Option<u64>,
    /// What the feed of `[system] follow` means here: group, state and generation.
    pub follow: Option<[String; 3]>,
}

/// The facts as text.
pub fn text(facts: &Facts) -> String {
    let mut page = Page::default();
    versions(&mut page, facts);
    health(&mut page, facts);
    upgrades(&mut page, facts);
    page.0
}

/// Replaces the file that the settings name.
///
/// # Errors
/// It cannot be written; the old one is untouched then.
pub fn write(fs: &Fs, path: &Path, facts: &Facts) -> Result<(), FsError> {
    fs.write(path, text(facts).as_bytes(), MODE, None)
}

fn versions(page: &mut Page, facts: &Facts) {
    page.family("nixctl_build_info", "gauge", "Version of nixctld.")
        .sample(&[("version", &facts.nixctld_version)], 1);
    if let Some(version) = &facts.nix_version {
        page.family(
            "nixctl_nix_info",
            "gauge",
            "Version of Nix that nixctl owns.",
        )
        .sample(&[("version", version)], 1);
    }
    if !facts.available.is_empty() {
        let help = "Newest version that the release feed offers.";
        let mut family = page.family("nixctl_available_info", "gauge", help);
        for (product, version) in &facts.available {
            family.sample(&[("product", product), ("version", version)], 1);
        }
    }
}

fn health(page: &mut Page, facts: &Facts) {
    let help = "Overall judgement of the machine's Nix: 1 for the state that it is in.";
    let mut family = page.family("nixctl_health", "gauge", help);
    for state in HEALTH {
        family.sample(
            &[("state", state.as_str())],
            u8::from(state == facts.health),
        );
    }
    let mut family = page.family("nixctl_findings", "gauge", "Findings that stand.");
    for ((check, severity), count) in &facts.findings {
        family.sample(&[("check", check), ("severity", severity.as_str())], count);
    }
    let help = "Operations that ended.";
    let mut family = page.family("nixctl_operations_total", "counter", help);
    for ((kind, outcome), count) in &facts.operations {
        family.sample(&[("kind", kind), ("outcome", outcome)], count);
    }
    let help = "Share of the target generation that is reached.";
    page.family("nixctl_convergence_ratio", "gauge", help)
        .sample(&[], facts.convergence);
}

fn upgrades(page: &mut Page, facts: &Facts) {
    let ratios = [
        (
            "nixctl_rollout_position_ratio",
            "This machine's place in the rollout of the release on offer.",
            facts.rollout_position,
        ),
        (
            "nixctl_rollout_share_ratio",
            "Share of machines that the rollout has come to.",
            facts.rollout_share,
        ),
    ];
    for (name, help, value) in ratios {
        if let Some(value) = value {
            page.family(name, "gauge", help).sample(&[], value);
        }
    }
    let help = "What holds the upgrade on offer: 1 for the reason, if any.";
    let mut family = page.family("nixctl_upgrade_hold", "gauge", help);
    for kind in Hold::KINDS {
        family.sample(&[("kind", kind)], u8::from(facts.hold == Some(kind)));
    }
    if let Some(serial) = facts.feed_serial {
        let help = "Serial number of the last release feed that was accepted.";
        page.family("nixctl_feed_serial", "gauge", help)
            .sample(&[], serial);
    }
    if let Some(fetched) = facts.feed_fetched {
        let help = "When that feed was fetched, in seconds since 1970.";
        page.family("nixctl_feed_fetched_timestamp_seconds", "gauge", help)
            .sample(&[], fetched / 1000);
    }
    if let Some([group, state, toplevel]) = &facts.follow {
        let help =
            "What the feed of `[system] follow` names for this machine, and how far that is.";
        let labels = [("group", group), ("state", state), ("toplevel", toplevel)];
        page.family("nixctl_follow_info", "gauge", help)
            .sample(&labels.map(|(name, value)| (name, value.as_str())), 1);
    }
}

#[derive(Debug, Default)]
struct Page(String);

/// The samples of one name.
struct Family<'a> {
    page: &'a mut String,
    name: &'static str,
}

impl Page {
    fn family(&mut self, name: &'static str, kind: &str, help: &str) -> Family<'_> {
        let page = &mut self.0;
        // Writing to a text cannot fail.
        let _ = write!(page, "# HELP {name} {help}\n# TYPE {name} {kind}\n");
        Family { page, name }
    }
}

impl Family<'_> {
    fn sample(&mut self, labels: &[(&str, &str)], value: impl std::fmt::Display) {
        self.page.push_str(self.name);
        for (place, (label, text)) in labels.iter().enumerate() {
            let before = if place == 0 { '{' } else { ',' };
            let _ = write!(self.page, "{before}{label}=\"{}\"", escaped(text));
        }
        let end = if labels.is_empty() { "" } else { "}" };
        let _ = writeln!(self.page, "{end} {value}");
    }
}

fn escaped(text: &str) -> String {
    let mut escaped = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '\\' => escaped.push_str("\\\\"),
            '"' => escaped.push_str("\\\""),
            '\n' => escaped.push_str("\\n"),
            other => escaped.push(other),
        }
    }
    escaped
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn none() -> Facts {
        Facts {
            nixctld_version: "0.1.0".to_owned(),
            nix_version: None,
            available: BTreeMap::new(),
            health: Health::Unknown,
            findings: BTreeMap::new(),
            operations: BTreeMap::new(),
            rollout_position: None,
            rollout_share: None,
            convergence: 1.0,
            hold: None,
            feed_serial: None,
            feed_fetched: None,
            follow: None,
        }
    }

    fn all() -> Facts {
        let named = |pairs: &[(&str, &str)]| {
            let owned = pairs
                .iter()
                .map(|(a, b)| ((*a).to_owned(), (*b).to_owned()));
            owned.collect::<Vec<_>>()
        };
        Facts {
            nix_version: Some("2.26.3".to_owned()),
            available: named(&[("nixctl", "0.2.0"), ("nix", "2.34.8")])
                .into_iter()
                .collect(),
            health: Health::Degraded,
            findings: BTreeMap::from([
                (("tree.rights".to_owned(), Severity::Error), 1),
                (("conf.syntax".to_owned(), Severity::Warning), 3),
            ]),
            operations: named(&[
                ("switch", "succeeded"),
                ("install", "succeeded"),
                ("install", "reverted"),
            ])
            .into_iter()
            .zip([7, 1, 2])
            .collect(),
            rollout_position: Some(0.731),
            rollout_share: Some(0.25),
            convergence: 0.5,
            hold: Some("rollout-later"),
            feed_serial: Some(42),
            feed_fetched: Some(1_700_000_000_999),
            follow: Some(["web", "there", "/nix/store/x-web"].map(str::to_owned)),
            ..none()
        }
    }

    #[test]
    fn the_page_is_as_it_was() {
        assert_eq!(text(&all()), include_str!("testdata/all.prom"));
        assert_eq!(text(&none()), include_str!("testdata/none.prom"));
    }

    #[test]
    fn every_name_and_reason_is_explained() {
        let manual = include_str!("../../../docs/fleet.md");
        let page = text(&all());
        let families = page.lines().filter_map(|it| it.strip_prefix("# TYPE "));
        let names = families.filter_map(|it| it.split(' ').next());
        for word in names.chain(Hold::KINDS) {
            assert!(manual.contains(&format!("`{word}`")), "{word}");
        }
    }

    #[test]
    fn a_label_cannot_break_out() {
        let version = "2\"} 1\nevil{a=\"\\";
        let facts = Facts {
            nix_version: Some(version.to_owned()),
            ..none()
        };
        let line = r#"nixctl_nix_info{version="2\"} 1\nevil{a=\"\\"} 1"#;
        let page = text(&facts);
        assert!(page.lines().any(|it| it == line), "{page}");
        assert!(!page.lines().any(|it| it.starts_with("evil")));
    }

    #[test]
    fn the_file_is_replaced_as_a_whole() {
        use std::os::unix::fs::PermissionsExt;
        let dir = tempfile::tempdir().unwrap();
        let (fs, path) = (Fs::at(dir.path()), Path::new("/nixctl.prom"));
        for facts in [none(), all()] {
            write(&fs, path, &facts).unwrap();
            let real = dir.path().join("nixctl.prom");
            assert_eq!(std::fs::read_to_string(&real).unwrap(), text(&facts));
            assert_eq!(real.metadata().unwrap().permissions().mode() & 0o777, 0o644);
        }
        assert_eq!(std::fs::read_dir(dir.path()).unwrap().count(), 1);
        assert!(write(&fs, Path::new("/no/folder.prom"), &none()).is_err());
    }

    proptest! {
        /// Whatever the names are: each line is a comment or one sample of a family told before.
        #[test]
        fn every_line_is_one_of_the_format(
            words in proptest::collection::vec(".*", 4), count in any::<u64>(), share in 0.0..1.0f64,
        ) {
            let facts = Facts {
                available: BTreeMap::from([(words[0].clone(), words[1].clone())]),
                findings: BTreeMap::from([((words[2].clone(), Severity::Info), count)]),
                operations: BTreeMap::from([((words[3].clone(), words[0].clone()), count)]),
                rollout_share: Some(share),
                ..none()
            };
            let page = text(&facts);
            prop_assert!(page.ends_with('\n'));
            let mut family = String::new();
            for line in page.strip_suffix('\n').unwrap().split('\n') {
                if let Some(typed) = line.strip_prefix("# TYPE ") {
                    family = typed.split(' ').next().unwrap().to_owned();
                } else if !line.starts_with("# HELP ") {
                    let rest = line.strip_prefix(family.as_str()).unwrap();
                    prop_assert!(rest.starts_with(['{', ' ']), "{line}");
                    let (_, value) = line.rsplit_once(' ').unwrap();
                    prop_assert!(value.parse::<f64>().is_ok(), "{line}");
                }
            }
        }
    }
}

//! `nixctl status` for people.

use nixctl_proto::health::Finding;
use nixctl_proto::status::Status;

use super::findings;
use super::operation::activity;
use super::style::Style;
use super::table;
use super::text::{clean, counted};

/// Lines of the status, with the worst of the findings.
pub fn lines(status: &Status, findings: &[Finding], style: Style) -> Vec<String> {
    let mut rows = vec![
        vec!["Nix".to_owned(), nix(status)],
        vec!["health".to_owned(), health(status, style)],
        vec!["nixctld".to_owned(), clean(&status.version)],
    ];
    if let Some(upgrade) = upgrade(status) {
        rows.push(vec!["upgrade".to_owned(), upgrade]);
    }
    if !status.upgrade.feed_trouble.is_empty() {
        let trouble = style.warning(&clean(&status.upgrade.feed_trouble));
        rows.push(vec!["feed".to_owned(), trouble]);
    }
    if !status.upgrade.fleet_lock.is_empty() {
        rows.push(vec!["fleet".to_owned(), clean(&status.upgrade.fleet_lock)]);
    }
    if !status.upgrade.following.is_empty() {
        rows.push(vec!["follows".to_owned(), clean(&status.upgrade.following)]);
    }
    for inhibitor in &status.upgrade.inhibitors {
        rows.push(vec!["held up".to_owned(), clean(inhibitor)]);
    }
    if status.current_generation > 0 {
        rows.push(vec!["system".to_owned(), system(status, style)]);
    }
    if !status.boot_failure.is_empty() {
        let left = style.warning(&clean(&status.boot_failure));
        rows.push(vec!["boot".to_owned(), left]);
    }
    if let Some(target) = target(status) {
        rows.push(vec!["target".to_owned(), target]);
    }
    if let Some(active) = &status.active {
        rows.push(vec![
            "at work".to_owned(),
            format!("{} {}: {}", active.kind, active.id, activity(active)),
        ]);
    }
    if status.queued > 0 {
        let waiting = counted(status.queued as usize, "operation");
        rows.push(vec!["queue".to_owned(), format!("{waiting} waiting")]);
    }
    let mut lines = table::lines(&["", ""], &rows, None);
    lines.extend(findings::at_a_glance(findings, style));
    lines
}

fn nix(status: &Status) -> String {
    if status.nix_version.is_empty() {
        "not installed by nixctl".to_owned()
    } else {
        clean(&status.nix_version)
    }
}

/// What there is to upgrade to, and what it waits for.
fn upgrade(status: &Status) -> Option<String> {
    let (available, waits) = (&status.upgrade.available, &status.upgrade.waits);
    match (available.is_empty(), waits.is_empty()) {
        (true, true) => None,
        (true, false) => Some(clean(waits)),
        (false, true) => Some(format!("Nix {} is there", clean(available))),
        (false, false) => Some(format!("Nix {}: {}", clean(available), clean(waits))),
    }
}

/// The generation that runs, and whether that is all of it.
fn system(status: &Status, style: Style) -> String {
    let generation = format!("generation {}", status.current_generation);
    if status.reboot_needed {
        format!("{generation}, {}", style.warning("reboot needed"))
    } else {
        generation
    }
}

/// How far the target is; `None` when it is reached.
fn target(status: &Status) -> Option<String> {
    let percent = (status.converged.clamp(0.0, 1.0) * 100.0).floor();
    let far = match (status.convergence.as_str(), status.converged < 1.0) {
        ("", false) => None,
        ("", true) => Some(format!("{percent} % reached")),
        (words, _) => Some(clean(words)),
    };
    let moves = ![0, status.current_generation].contains(&status.target_generation);
    match (moves, far) {
        (true, Some(far)) => Some(format!("generation {}: {far}", status.target_generation)),
        (true, None) => Some(format!("generation {}", status.target_generation)),
        (false, far) => far,
    }
}

fn health(status: &Status, style: Style) -> String {
    let word = findings::health(status.health, style);
    if status.health_reason.is_empty() {
        word
    } else {
        format!("{word} ({})", clean(&status.health_reason))
    }
}

#[cfg(test)]
pub mod tests {
    use nixctl_proto::health::Severity;
    use nixctl_proto::status::{Health, UpgradeStatus};

    use super::*;
    use crate::render::findings::tests::finding;
    use crate::render::operation::tests::view;

    /// Of a machine where nothing goes on.
    pub fn status() -> Status {
        Status {
            version: "0.1.0".to_owned(),
            nix_version: "2.26.3".to_owned(),
            health: Health::Healthy,
            health_reason: String::new(),
            converged: 1.0,
            active: None,
            queued: 0,
            current_generation: 0,
            target_generation: 0,
            reboot_needed: false,
            boot_failure: String::new(),
            convergence: String::new(),
            health_seen: 0,
            health_note: String::new(),
            findings: 0,
            upgrade: Default::default(),
        }
    }

    #[test]
    fn an_idle_machine() {
        let status = status();
        assert_eq!(
            lines(&status, &[], Style::PLAIN),
            ["Nix      2.26.3", "health   healthy", "nixctld  0.1.0"]
        );
        let wrong = [finding("tree.rights", Severity::Error)];
        assert_eq!(
            lines(&status, &wrong, Style::PLAIN)[3..],
            ["  error tree.rights (/nix): nothing is mounted"]
        );
    }

    #[test]
    fn a_machine_at_work() {
        let status = Status {
            nix_version: String::new(),
            health: Health::Unknown,
            health_reason: "nothing is owned".to_owned(),
            converged: 0.256,
            active: Some(view()),
            queued: 2,
            current_generation: 41,
            target_generation: 42,
            reboot_needed: true,
            boot_failure: "generation 40 was left: redis.service has failed".to_owned(),
            convergence: "12 of 40 components, waiting: needs 83 MiB more on /nix".to_owned(),
            ..status()
        };
        assert_eq!(
            lines(&status, &[], Style::PLAIN),
            [
                "Nix      not installed by nixctl",
                "health   unknown (nothing is owned)",
                "nixctld  0.1.0",
                "system   generation 41, reboot needed",
                "boot     generation 40 was left: redis.service has failed",
                "target   generation 42: 12 of 40 components, waiting: needs 83 MiB more on /nix",
                "at work  install 0000000001000001: step 3 of 12: unpack the release",
                "queue    2 operations waiting",
            ]
        );
    }

    #[test]
    fn what_an_upgrade_waits_for_is_shown() {
        let mut status = status();
        *status.upgrade = UpgradeStatus {
            available: "2.34.8".to_owned(),
            waits: "the machine is on battery".to_owned(),
            feed_trouble: "cannot fetch it".to_owned(),
            fleet_lock: "has the slot".to_owned(),
            inhibitors: vec!["backup (user 0) holds up upgrades: it copies".to_owned()],
            following: "web: /nix/store/x-web is there".to_owned(),
            ..UpgradeStatus::default()
        };
        assert_eq!(
            lines(&status, &[], Style::PLAIN)[3..],
            [
                "upgrade  Nix 2.34.8: the machine is on battery",
                "feed     cannot fetch it",
                "fleet    has the slot",
                "follows  web: /nix/store/x-web is there",
                "held up  backup (user 0) holds up upgrades: it copies",
            ]
        );
        *status.upgrade = UpgradeStatus {
            available: "2.34.8".to_owned(),
            ..UpgradeStatus::default()
        };
        let shown = lines(&status, &[], Style::PLAIN);
        assert_eq!(shown[3..], ["upgrade  Nix 2.34.8 is there"]);
    }

    #[test]
    fn the_target_is_shown_until_it_is_reached() {
        let at = |converged, convergence: &str, target_generation| Status {
            converged,
            current_generation: 7,
            target_generation,
            convergence: convergence.to_owned(),
            ..status()
        };
        for (status, expected) in [
            (at(1.0, "", 7), None),
            (at(1.0, "", 0), None),
            (at(1.0, "", 8), Some("generation 8")),
            (at(0.256, "", 7), Some("25 % reached")),
            (at(0.3, "3 of 9 components", 0), Some("3 of 9 components")),
        ] {
            assert_eq!(target(&status).as_deref(), expected);
        }
    }
}

//! `nixctl status` for people.

use nixctl_proto::status::{Health, Status};

use super::operation::activity;
use super::style::Style;
use super::table;
use super::text::{clean, counted};

/// Lines of the status.
pub fn lines(status: &Status, style: Style) -> Vec<String> {
    let mut rows = vec![
        vec!["Nix".to_owned(), nix(status)],
        vec!["health".to_owned(), health(status, style)],
        vec!["nixctld".to_owned(), clean(&status.version)],
    ];
    if status.converged < 1.0 {
        let percent = (status.converged.clamp(0.0, 1.0) * 100.0).floor();
        rows.push(vec!["target".to_owned(), format!("{percent} % reached")]);
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
    table::lines(&["", ""], &rows, None)
}

fn nix(status: &Status) -> String {
    if status.nix_version.is_empty() {
        "not installed by nixctl".to_owned()
    } else {
        clean(&status.nix_version)
    }
}

fn health(status: &Status, style: Style) -> String {
    let word = status.health.as_str();
    let word = match status.health {
        Health::Healthy => style.good(word),
        Health::Degraded => style.warning(word),
        Health::Broken => style.bad(word),
        Health::Unknown => style.dim(word),
    };
    if status.health_reason.is_empty() {
        word
    } else {
        format!("{word} ({})", clean(&status.health_reason))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::render::operation::tests::view;

    #[test]
    fn an_idle_machine() {
        let status = Status {
            version: "0.1.0".to_owned(),
            nix_version: "2.26.3".to_owned(),
            health: Health::Healthy,
            health_reason: String::new(),
            converged: 1.0,
            active: None,
            queued: 0,
        };
        assert_eq!(
            lines(&status, Style::PLAIN),
            ["Nix      2.26.3", "health   healthy", "nixctld  0.1.0"]
        );
    }

    #[test]
    fn a_machine_at_work() {
        let status = Status {
            version: "0.1.0".to_owned(),
            nix_version: String::new(),
            health: Health::Unknown,
            health_reason: "nothing is owned".to_owned(),
            converged: 0.256,
            active: Some(view()),
            queued: 2,
        };
        assert_eq!(
            lines(&status, Style::PLAIN),
            [
                "Nix      not installed by nixctl",
                "health   unknown (nothing is owned)",
                "nixctld  0.1.0",
                "target   25 % reached",
                "at work  install 0000000001000001: step 3 of 12: unpack the release",
                "queue    2 operations waiting",
            ]
        );
    }
}

//! What became of findings: when they appeared, what was tried, and whether it helped.

use nixctl_proto::health::{HealthEvent, HealthEventKind};

use super::table;
use super::text::{clean, duration, moment};

/// Lines of the history, an event each.
pub fn lines(events: &[HealthEvent], width: Option<usize>) -> Vec<String> {
    let rows: Vec<Vec<String>> = events.iter().map(row).collect();
    table::lines(&["TIME", "FINDING", "WHAT HAPPENED"], &rows, width)
}

fn row(event: &HealthEvent) -> Vec<String> {
    let finding = match event.subject.as_str() {
        "" => event.check.clone(),
        subject => format!("{} ({subject})", event.check),
    };
    vec![moment(event.time), clean(&finding), clean(&words(event))]
}

fn words(event: &HealthEvent) -> String {
    let by = |what: &str| match &event.operation {
        Some(id) => format!("{what} {id}"),
        None => what.to_owned(),
    };
    match event.what {
        HealthEventKind::Appeared => "appeared".to_owned(),
        HealthEventKind::Tried => format!("{} began", by("repair")),
        HealthEventKind::DidNotHelp => match event.detail.as_str() {
            "" => format!("{} did not help", by("repair")),
            why => format!("{} did not help: {why}", by("repair")),
        },
        HealthEventKind::Gone => {
            let after = match event.detail.parse() {
                Ok(milliseconds) => format!("gone after {}", duration(milliseconds)),
                Err(_) => "gone".to_owned(),
            };
            match &event.operation {
                Some(id) => format!("{after}: repair {id} helped"),
                None => format!("{after}, without a repair"),
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use nixctl_proto::OperationId;

    use super::*;

    #[test]
    fn what_broke_what_was_done_and_whether_it_helped() {
        let id = OperationId::from_parts(1, 1);
        let event = |what, operation: Option<&OperationId>, detail: &str| HealthEvent {
            number: 0,
            time: 1_763_723_172_999,
            check: "mounts.not-mounted".to_owned(),
            subject: "/nix".to_owned(),
            what,
            operation: operation.cloned(),
            detail: detail.to_owned(),
        };
        let events = [
            event(HealthEventKind::Gone, Some(&id), "12000"),
            event(HealthEventKind::Gone, None, "185000"),
            event(HealthEventKind::DidNotHelp, Some(&id), "NIX2005: no device"),
            event(HealthEventKind::Tried, Some(&id), ""),
            event(HealthEventKind::Appeared, None, ""),
        ];
        let lines = lines(&events, None);
        let told: Vec<&str> = lines
            .iter()
            .map(|line| line.split_at(49).1.trim())
            .collect();
        assert_eq!(
            lines[5],
            "2025-11-21 11:06:12Z  mounts.not-mounted (/nix)  appeared"
        );
        assert_eq!(
            told,
            [
                "WHAT HAPPENED".to_owned(),
                format!("gone after 12 s: repair {id} helped"),
                "gone after 3 min 5 s, without a repair".to_owned(),
                format!("repair {id} did not help: NIX2005: no device"),
                format!("repair {id} began"),
                "appeared".to_owned(),
            ]
        );
    }
}

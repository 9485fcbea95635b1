//! The journal of an operation in words.

use nixctl_proto::operation::JournalLine;

use super::record::{Entry, Record};
use super::step::PlannedStep;

/// Each record as a line.
pub fn of(entries: &[Entry], steps: &[PlannedStep]) -> Vec<JournalLine> {
    entries
        .iter()
        .zip(0u32..)
        .map(|(entry, sequence)| line(entry, sequence, steps))
        .collect()
}

fn line(entry: &Entry, sequence: u32, steps: &[PlannedStep]) -> JournalLine {
    let named = |step: u32| {
        steps
            .get(step as usize)
            .map_or_else(String::new, |planned| planned.step.describe().summary)
    };
    let (record, step, text) = match &entry.record {
        Record::Planned { title } => ("planned", None, title.clone()),
        Record::Started {
            step, attempt: 1, ..
        } => ("started", Some(*step), named(*step)),
        Record::Started { step, attempt, .. } => (
            "started",
            Some(*step),
            format!("{} (attempt {attempt})", named(*step)),
        ),
        Record::Done { step } => ("done", Some(*step), named(*step)),
        Record::Failed { step, failure } => (
            "failed",
            *step,
            format!("{}: {}", failure.code, failure.message),
        ),
        Record::Undone { step, kept: None } => ("undone", Some(*step), named(*step)),
        Record::Undone {
            step,
            kept: Some(kept),
        } => ("undone", Some(*step), kept.clone()),
        Record::State { state } => ("state", None, state.to_string()),
        Record::Planning { attempt } => {
            ("planning", None, format!("plan again (attempt {attempt})"))
        }
        Record::Waiting { reason, tries, .. } => {
            ("waiting", None, format!("{reason} (for the {tries}. time)"))
        }
        Record::Rebooted { step } => (
            "rebooted",
            Some(*step),
            format!("{}: gone with the restart of the machine", named(*step)),
        ),
        Record::Superseded { by } => ("superseded", None, format!("operation {by} goes on")),
        Record::Paused { step: None } => ("paused", None, "while planning".to_owned()),
        Record::Paused { step: Some(step) } => ("paused", Some(*step), named(*step)),
    };
    JournalLine {
        sequence,
        time: entry.time,
        record: record.to_owned(),
        step: step.map(|step| step + 1),
        text,
    }
}

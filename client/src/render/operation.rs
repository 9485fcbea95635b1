//! Operations: one line in a list, all there is to know of one, and how it ended.

use nixctl_proto::operation::JournalLine;
use nixctl_proto::{Failure, OperationKind, OperationState, OperationView};

use super::style::Style;
use super::text::{bytes, clean, duration, moment};
use super::{error, table};

/// What an operation does right now, in one line.
pub fn activity(view: &OperationView) -> String {
    let what = clean(&view.description);
    let waiting = view
        .waiting_for
        .as_deref()
        .map(clean)
        .filter(|text| !text.is_empty());
    match view.state {
        OperationState::Queued => match waiting {
            Some(waiting) => format!("queued behind {waiting}"),
            None => "queued".to_owned(),
        },
        OperationState::Planning => "looking at the machine".to_owned(),
        OperationState::Waiting => match waiting {
            Some(waiting) => format!("waiting: {waiting}"),
            None => "waiting".to_owned(),
        },
        OperationState::Running if what.is_empty() => "starting".to_owned(),
        OperationState::Running if view.steps == 0 => what,
        OperationState::Running => format!("step {} of {}: {what}", view.step, view.steps),
        OperationState::Reverting if what.is_empty() => "undoing".to_owned(),
        OperationState::Reverting => format!("undoing: {what}"),
        OperationState::Soaking => match waiting {
            Some(waiting) => format!("waiting: {waiting}"),
            None if what.is_empty() => "watching the result".to_owned(),
            None => what,
        },
        OperationState::Committing => "making it the default".to_owned(),
        OperationState::Succeeded
        | OperationState::Reverted
        | OperationState::Failed
        | OperationState::Cancelled
        | OperationState::Attention => ended(view.state).to_owned(),
    }
}

/// The table of `nixctl operations`.
pub fn list(views: &[OperationView], width: Option<usize>) -> Vec<String> {
    let rows: Vec<Vec<String>> = views
        .iter()
        .map(|view| {
            vec![
                view.id.to_string(),
                view.kind.to_string(),
                view.state.to_string(),
                moment(view.created),
                took(view).unwrap_or_else(|| "-".to_owned()),
                remark(view),
            ]
        })
        .collect();
    table::lines(
        &["OPERATION", "KIND", "STATE", "ASKED FOR", "TOOK", "REMARK"],
        &rows,
        width,
    )
}

/// Everything about one operation, and its journal.
pub fn details(
    view: &OperationView,
    user: &str,
    journal: &[JournalLine],
    style: Style,
) -> Vec<String> {
    let mut rows = vec![
        ("operation", view.id.to_string()),
        ("kind", view.kind.to_string()),
        ("state", state(view.state, style)),
        ("asked for", format!("{} by {user}", moment(view.created))),
    ];
    if !view.reason.is_empty() {
        rows.push(("reason", clean(&view.reason)));
    }
    if let Some(finished) = view.finished {
        let took = took(view)
            .map(|took| format!(" (took {took})"))
            .unwrap_or_default();
        rows.push(("ended", format!("{}{took}", moment(finished))));
    } else if !view.state.is_final() {
        rows.push(("now", activity(view)));
        rows.push(("done", progress(view)));
        rows.push((
            "cancel",
            if view.cancellable {
                "possible"
            } else {
                "not possible"
            }
            .to_owned(),
        ));
    }
    let rows: Vec<Vec<String>> = rows
        .into_iter()
        .map(|(key, value)| vec![key.to_owned(), value])
        .collect();
    let mut lines = table::lines(&["", ""], &rows, None);
    lines.extend(remarks(view, style));
    if let Some(failure) = &view.failure {
        lines.extend(error::lines(&error::about(failure, &view.id), &[], style));
    }
    if !journal.is_empty() {
        lines.push(String::new());
        lines.extend(journal_lines(journal));
    }
    lines
}

/// Notes and what was kept.
pub fn remarks(view: &OperationView, style: Style) -> Vec<String> {
    let kept = view
        .kept
        .iter()
        .map(|text| format!("  {} {}", style.warning("kept:"), clean(text)));
    let notes = view
        .notes
        .iter()
        .map(|text| format!("  {} {}", style.dim("note:"), clean(text)));
    kept.chain(notes).collect()
}

/// How an operation that failed ended: the failure to show, and what became of the machine.
pub fn failure(view: &OperationView) -> (Failure, &'static str) {
    let failure = match &view.failure {
        Some(failure) => error::about(failure, &view.id),
        None => {
            let code = match view.state {
                OperationState::Cancelled => nixctl_proto::Code::Cancelled,
                OperationState::Attention => nixctl_proto::Code::NotUndone,
                _ => nixctl_proto::Code::Internal,
            };
            error::about(&Failure::new(code, ended(view.state)), &view.id)
        }
    };
    (failure, machine(view.state))
}

/// What became of the machine.
fn machine(state: OperationState) -> &'static str {
    match state {
        OperationState::Failed => "nothing was changed",
        OperationState::Reverted | OperationState::Cancelled => "the machine is as before",
        OperationState::Attention => "not all of it could be undone: somebody must look",
        OperationState::Succeeded => "the machine is as asked",
        _ => "the operation goes on",
    }
}

fn ended(state: OperationState) -> &'static str {
    match state {
        OperationState::Succeeded => "done",
        OperationState::Reverted => "failed and undone",
        OperationState::Failed => "failed before anything was changed",
        OperationState::Cancelled => "cancelled and undone",
        OperationState::Attention => "failed and not undone completely",
        _ => "not ended",
    }
}

/// What was done, for the message at the end.
pub fn achievement(kind: OperationKind) -> &'static str {
    match kind {
        OperationKind::Install => "Nix is installed",
        OperationKind::Uninstall => "Nix is taken off",
        OperationKind::SelfInstall => "nixctld is installed",
        OperationKind::SelfUninstall => "nixctld is taken off",
        OperationKind::Switch => "the system is at the target",
        OperationKind::Rollback => "the system is back",
        OperationKind::Repair => "the repair is done",
        OperationKind::Upgrade => "Nix is replaced",
        OperationKind::SelfUpgrade => "nixctl is replaced",
    }
}

fn journal_lines(journal: &[JournalLine]) -> Vec<String> {
    let rows: Vec<Vec<String>> = journal
        .iter()
        .map(|line| {
            vec![
                line.sequence.to_string(),
                moment(line.time),
                clean(&line.record),
                line.step.map(|step| step.to_string()).unwrap_or_default(),
                clean(&line.text),
            ]
        })
        .collect();
    table::lines(&["SEQ", "TIME", "RECORD", "STEP", "WHAT"], &rows, None)
}

fn state(state: OperationState, style: Style) -> String {
    let word = state.as_str();
    match state {
        OperationState::Succeeded => style.good(word),
        OperationState::Attention | OperationState::Failed | OperationState::Reverted => {
            style.bad(word)
        }
        OperationState::Cancelled | OperationState::Waiting => style.warning(word),
        _ => style.bold(word),
    }
}

fn progress(view: &OperationView) -> String {
    let percent = (view.progress.clamp(0.0, 1.0) * 100.0).floor();
    match (view.bytes_done, view.bytes_total) {
        (0, 0) => format!("{percent} %"),
        (done, 0) => format!("{percent} % ({} of this step)", bytes(done)),
        (done, total) => format!(
            "{percent} % ({} of {} of this step)",
            bytes(done),
            bytes(total)
        ),
    }
}

fn remark(view: &OperationView) -> String {
    match &view.failure {
        Some(failure) => format!("{}: {}", failure.code, clean(&failure.message)),
        None if !view.state.is_final() => activity(view),
        None => clean(&view.reason),
    }
}

fn took(view: &OperationView) -> Option<String> {
    view.finished
        .map(|finished| duration(finished.saturating_sub(view.created)))
}

#[cfg(test)]
pub mod tests {
    use nixctl_proto::{Code, OperationId};

    use super::*;

    /// The same at another step.
    pub fn at(step: u32, bytes_done: u64) -> OperationView {
        OperationView {
            step,
            bytes_done,
            ..view()
        }
    }

    /// An install in the middle of its work.
    pub fn view() -> OperationView {
        OperationView {
            id: OperationId::from_parts(1, 1),
            kind: OperationKind::Install,
            state: OperationState::Running,
            waiting_for: None,
            requested_by: 1000,
            reason: String::new(),
            created: 1_763_723_172_000,
            finished: None,
            step: 3,
            steps: 12,
            description: "unpack the release".to_owned(),
            bytes_done: 5 << 20,
            bytes_total: 20 << 20,
            progress: 0.257,
            cancellable: true,
            failure: None,
            kept: Vec::new(),
            notes: Vec::new(),
        }
    }

    /// The same, ended.
    pub fn ended_view(state: OperationState) -> OperationView {
        OperationView {
            state,
            finished: Some(1_763_723_184_500),
            ..view()
        }
    }

    #[test]
    fn every_state_says_what_happens() {
        let waiting = Some("the network".to_owned());
        for (state, waiting_for, expected) in [
            (OperationState::Queued, None, "queued"),
            (OperationState::Queued, waiting, "queued behind the network"),
            (OperationState::Planning, None, "looking at the machine"),
            (
                OperationState::Waiting,
                Some("needs 83 MiB more on /nix".to_owned()),
                "waiting: needs 83 MiB more on /nix",
            ),
            (OperationState::Soaking, None, "unpack the release"),
            (
                OperationState::Soaking,
                Some("somebody to confirm it within 20 s".to_owned()),
                "waiting: somebody to confirm it within 20 s",
            ),
            (
                OperationState::Running,
                None,
                "step 3 of 12: unpack the release",
            ),
            (
                OperationState::Reverting,
                None,
                "undoing: unpack the release",
            ),
            (OperationState::Succeeded, None, "done"),
            (
                OperationState::Attention,
                None,
                "failed and not undone completely",
            ),
        ] {
            assert_eq!(
                activity(&OperationView {
                    state,
                    waiting_for,
                    ..view()
                }),
                expected
            );
        }
        let mut hostile = view();
        hostile.description = "\x1b]0;title\x07".to_owned();
        assert!(!activity(&hostile).contains('\x1b'));
    }

    #[test]
    fn the_list_is_a_table() {
        let mut failed = ended_view(OperationState::Reverted);
        failed.failure = Some(Failure::new(Code::DiskFull, "cannot write /nix: no space"));
        assert_eq!(
            list(&[view(), failed], None),
            [
                "OPERATION         KIND     STATE     ASKED FOR             TOOK  REMARK",
                "0000000001000001  install  running   2025-11-21 11:06:12Z  -     step 3 of 12: unpack the release",
                "0000000001000001  install  reverted  2025-11-21 11:06:12Z  12 s  NIX2004: cannot write /nix: no space",
            ]
        );
    }

    #[test]
    fn one_operation_in_full() {
        let line = JournalLine {
            sequence: 0,
            time: 1_763_723_172_000,
            record: "planned".to_owned(),
            step: None,
            text: "12 steps".to_owned(),
        };
        assert_eq!(
            details(&view(), "alice", &[line], Style::PLAIN),
            [
                "operation  0000000001000001",
                "kind       install",
                "state      running",
                "asked for  2025-11-21 11:06:12Z by alice",
                "now        step 3 of 12: unpack the release",
                "done       25 % (5.0 MiB of 20.0 MiB of this step)",
                "cancel     possible",
                "",
                "SEQ  TIME                  RECORD   STEP  WHAT",
                "0    2025-11-21 11:06:12Z  planned        12 steps",
            ]
        );
    }

    #[test]
    fn an_ended_operation_in_full() {
        let mut view = ended_view(OperationState::Attention);
        view.reason = "a try".to_owned();
        view.kept = vec!["/etc/nix/nix.conf: changed by hand".to_owned()];
        view.failure = Some(Failure::new(Code::NotUndone, "cannot undo"));
        assert_eq!(
            details(&view, "root", &[], Style::PLAIN)[3..],
            [
                "asked for  2025-11-21 11:06:12Z by root",
                "reason     a try",
                "ended      2025-11-21 11:06:24Z (took 12 s)",
                "  kept: /etc/nix/nix.conf: changed by hand",
                "error[NIX2010]: cannot undo",
                "  help: see `nixctl show 0000000001000001` for what is left, repair the cause, then `nixctl retry 0000000001000001`",
            ]
        );
    }

    #[test]
    fn every_bad_end_says_what_became_of_the_machine() {
        for (state, code, expected) in [
            (
                OperationState::Failed,
                Code::Internal,
                "nothing was changed",
            ),
            (
                OperationState::Reverted,
                Code::Internal,
                "the machine is as before",
            ),
            (
                OperationState::Cancelled,
                Code::Cancelled,
                "the machine is as before",
            ),
            (
                OperationState::Attention,
                Code::NotUndone,
                "not all of it could be undone: somebody must look",
            ),
        ] {
            let (failure, machine) = failure(&ended_view(state));
            assert_eq!((failure.code, machine), (code, expected));
        }
    }
}

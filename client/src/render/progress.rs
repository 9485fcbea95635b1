//! Progress: one live line on a terminal, plain lines in a log, one document an event in JSON.
//!
//! The live line is drawn at most every [`DRAW_EVERY`] however fast events come. A log gets one
//! line for each step and, in a long one, one every [`LOG_EVERY`]. Time is given from outside, so
//! that the tests need not wait.

use std::time::{Duration, Instant};

use nixctl_proto::{OperationState, OperationView};

use super::operation::activity;
use super::rate::Rate;
use super::terminal::Terminal;
use super::text::{ascii, bytes, clean, cut};

/// Least time between two drawings of the live line: 10 a second are enough for the eye.
pub const DRAW_EVERY: Duration = Duration::from_millis(100);
/// Least time between two lines about the same step in a log.
const LOG_EVERY: Duration = Duration::from_secs(10);
/// Width of the bar.
const BAR: usize = 20;
/// Signs that show that something lives.
const SPINNER: [char; 4] = ['|', '/', '-', '\\'];

/// Shows the progress of one operation.
#[derive(Debug)]
pub struct Progress {
    mode: Mode,
    rate: Rate,
}

#[derive(Debug)]
enum Mode {
    /// One line that is drawn over and over.
    Live {
        latest: Option<OperationView>,
        turn: usize,
    },
    /// Lines.
    Log(Log),
    /// Documents; the last one is kept so that none is printed twice.
    Json(Option<OperationView>),
    /// Nothing.
    Silent,
}

/// What was last said in a log.
#[derive(Debug, Default)]
struct Log {
    said: Option<(OperationState, u32, Instant)>,
}

impl Progress {
    /// As it suits the output.
    pub fn new(terminal: &Terminal, json: bool, quiet: bool) -> Progress {
        let mode = match (json, quiet, terminal.live) {
            (true, _, _) => Mode::Json(None),
            (false, true, _) => Mode::Silent,
            (false, false, true) => Mode::Live {
                latest: None,
                turn: 0,
            },
            (false, false, false) => Mode::Log(Log::default()),
        };
        Progress {
            mode,
            rate: Rate::default(),
        }
    }

    /// Whether [`Progress::tick`] should be called every [`DRAW_EVERY`].
    pub fn is_live(&self) -> bool {
        matches!(self.mode, Mode::Live { .. })
    }

    /// Shows a snapshot.
    pub fn view(&mut self, terminal: &mut Terminal, view: &OperationView, now: Instant) {
        self.rate.feed(view, now);
        match &mut self.mode {
            Mode::Live { latest, .. } => {
                let first = latest.is_none();
                *latest = Some(view.clone());
                if first {
                    self.tick(terminal);
                }
            }
            Mode::Log(log) => {
                if let Some(line) = log.line(view, self.rate.per_second(), now) {
                    terminal.line(&line);
                }
            }
            Mode::Json(last) => {
                if last.as_ref() != Some(view) {
                    terminal.json(view);
                    *last = Some(view.clone());
                }
            }
            Mode::Silent => {}
        }
    }

    /// Draws the live line again.
    pub fn tick(&mut self, terminal: &mut Terminal) {
        if let Mode::Live {
            latest: Some(view),
            turn,
        } = &mut self.mode
        {
            let sign = SPINNER[*turn % SPINNER.len()];
            *turn += 1;
            // The last column stays empty: a full line would wrap on some terminals.
            let width = terminal.width().unwrap_or(usize::MAX).saturating_sub(1);
            terminal.draw(&live_line(
                view,
                self.rate.per_second(),
                sign,
                width,
                terminal.ascii,
            ));
        }
    }
}

impl Log {
    /// The line that a snapshot is worth, if any.
    fn line(&mut self, view: &OperationView, rate: Option<u64>, now: Instant) -> Option<String> {
        if view.state.is_final() {
            return None;
        }
        let same = self
            .said
            .filter(|said| (said.0, said.1) == (view.state, view.step));
        let line = match same {
            None => log_activity(view),
            Some((_, _, when)) if now.duration_since(when) < LOG_EVERY => return None,
            Some(_) => match amount(view) {
                Some(amount) => format!("{}: {amount}{}", place(view), per_second(rate)),
                None => format!("{} (still at it)", log_activity(view)),
            },
        };
        self.said = Some((view.state, view.step, now));
        Some(line)
    }
}

fn log_activity(view: &OperationView) -> String {
    match view.state {
        OperationState::Running if view.steps > 0 && !view.description.is_empty() => {
            format!("{}: {}", place(view), clean(&view.description))
        }
        _ => activity(view),
    }
}

/// `step 3/12`
fn place(view: &OperationView) -> String {
    format!("step {}/{}", view.step, view.steps)
}

/// `25 % (5.0 MiB of 20.0 MiB)`, of the step at work.
fn amount(view: &OperationView) -> Option<String> {
    if view.bytes_total > 0 {
        let percent = u128::from(view.bytes_done) * 100 / u128::from(view.bytes_total);
        let (done, total) = (bytes(view.bytes_done), bytes(view.bytes_total));
        Some(format!("{} % ({done} of {total})", percent.min(100)))
    } else {
        (view.bytes_done > 0).then(|| bytes(view.bytes_done))
    }
}

fn per_second(rate: Option<u64>) -> String {
    rate.map(|rate| format!(", {}/s", bytes(rate)))
        .unwrap_or_default()
}

/// The live line in at most `width` columns: what matters less goes first when it is narrow.
fn live_line(
    view: &OperationView,
    rate: Option<u64>,
    sign: char,
    width: usize,
    only_ascii: bool,
) -> String {
    let mark = if only_ascii { "..." } else { "…" };
    let place = match view.steps {
        0 => format!("{sign} "),
        steps => format!("{sign} [{}/{steps}] ", view.step),
    };
    let what = match view.state {
        OperationState::Running if !view.description.is_empty() => clean(&view.description),
        _ => activity(view),
    };
    let what = if only_ascii { ascii(&what) } else { what };
    let mut tail = vec![format!("  {}", bar(view.progress, only_ascii))];
    tail.push(format!(
        " {:3} %",
        (view.progress.clamp(0.0, 1.0) * 100.0).floor()
    ));
    if view.bytes_total > 0 {
        tail.push(format!(
            "  {} of {}",
            bytes(view.bytes_done),
            bytes(view.bytes_total)
        ));
    } else if view.bytes_done > 0 {
        tail.push(format!("  {}", bytes(view.bytes_done)));
    }
    if let Some(rate) = rate.filter(|_| view.bytes_done > 0) {
        tail.push(format!("  {}/s", bytes(rate)));
    }
    fit(&place, &what, &tail, width, mark)
}

/// As many pieces of the tail as leave the words at least half of the width.
fn fit(place: &str, what: &str, tail: &[String], width: usize, mark: &str) -> String {
    let length = |text: &str| text.chars().count();
    let wanted = length(what).min(width / 2);
    let mut room = width.saturating_sub(length(place) + wanted);
    let mut end = String::new();
    for piece in tail {
        if length(piece) > room {
            break;
        }
        room -= length(piece);
        end.push_str(piece);
    }
    let what = cut(
        what,
        width.saturating_sub(length(place) + length(&end)),
        mark,
    );
    cut(&format!("{place}{what}{end}"), width, "")
}

fn bar(share: f64, only_ascii: bool) -> String {
    let (full, empty) = if only_ascii {
        ('#', '-')
    } else {
        ('█', '░')
    };
    let filled = (share.clamp(0.0, 1.0) * BAR as f64).floor() as usize;
    let cells = (0..BAR).map(|cell| if cell < filled { full } else { empty });
    if only_ascii {
        format!("[{}]", cells.collect::<String>())
    } else {
        cells.collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::render::operation::tests::{at, ended_view, view};

    #[test]
    fn the_live_line_fits_the_width() {
        for (width, expected) in [
            (
                120,
                "| [3/12] unpack the release  █████░░░░░░░░░░░░░░░  25 %  5.0 MiB of 20.0 MiB  1.0 MiB/s",
            ),
            (
                79,
                "| [3/12] unpack the release  █████░░░░░░░░░░░░░░░  25 %  5.0 MiB of 20.0 MiB",
            ),
            (
                60,
                "| [3/12] unpack the release  █████░░░░░░░░░░░░░░░  25 %",
            ),
            (40, "| [3/12] unpack the release"),
            (20, "| [3/12] unpack the…"),
            (5, "| [3/"),
        ] {
            let line = live_line(&view(), Some(1 << 20), '|', width, false);
            assert_eq!(line, expected);
            assert!(line.chars().count() <= width);
        }
    }

    #[test]
    fn the_live_line_can_do_with_ascii() {
        let mut view = view();
        view.description = "unpack größe".to_owned();
        assert_eq!(
            live_line(&view, None, '|', 79, true),
            "| [3/12] unpack gr??e  [#####---------------]  25 %  5.0 MiB of 20.0 MiB"
        );
    }

    #[test]
    fn other_states_have_words() {
        let planning = OperationView {
            state: OperationState::Planning,
            step: 0,
            steps: 0,
            bytes_done: 0,
            bytes_total: 0,
            progress: 0.0,
            ..view()
        };
        assert_eq!(
            live_line(&planning, None, '/', 79, false),
            "/ looking at the machine  ░░░░░░░░░░░░░░░░░░░░   0 %"
        );
    }

    #[test]
    fn a_log_has_a_line_for_each_step_and_few_more() {
        let start = Instant::now();
        let mut log = Log::default();
        let mut said = Vec::new();
        for (view, seconds) in [
            (
                OperationView {
                    state: OperationState::Queued,
                    ..at(0, 0)
                },
                0,
            ),
            (
                OperationView {
                    state: OperationState::Planning,
                    ..at(0, 0)
                },
                0,
            ),
            (at(1, 0), 1),
            (at(1, 1 << 20), 2),
            (at(1, 5 << 20), 12),
            (at(1, 6 << 20), 13),
            (at(2, 0), 14),
            (
                OperationView {
                    bytes_total: 0,
                    ..at(2, 0)
                },
                25,
            ),
            (
                OperationView {
                    state: OperationState::Reverting,
                    ..at(2, 0)
                },
                26,
            ),
            (ended_view(OperationState::Reverted), 27),
        ] {
            said.extend(log.line(&view, Some(1 << 20), start + Duration::from_secs(seconds)));
        }
        assert_eq!(
            said,
            [
                "queued",
                "looking at the machine",
                "step 1/12: unpack the release",
                "step 1/12: 25 % (5.0 MiB of 20.0 MiB), 1.0 MiB/s",
                "step 2/12: unpack the release",
                "step 2/12: unpack the release (still at it)",
                "undoing: unpack the release",
            ]
        );
    }
}

//! Operations that are not over, and the clock.

use nixctl_proto::health::check::Check;

use super::Found;
use crate::health::look::operations::{Open, OpenState};
use crate::payload::date;

/// Milliseconds since 1970 of a day before this program was written: an earlier clock is wrong.
pub const EARLIEST_NOW: u64 = 1_735_689_600_000;

pub(super) fn judge(open: &[Open]) -> Vec<Found> {
    open.iter().filter_map(one).collect()
}

fn one(open: &Open) -> Option<Found> {
    let (id, what) = (&open.id, &open.what);
    match &open.state {
        OpenState::Attention(why) => Some(
            Found::new(Check::Attention, id)
                .seen(format!("{what}: {why}"))
                .expected("done or undone")
                .help(format!(
                    "see `nixctl show {id}`, repair the cause, then: nixctl retry {id}"
                )),
        ),
        OpenState::Waiting(what_for) => Some(
            Found::new(Check::Unfinished, id)
                .seen(format!("{what}: it waits for {what_for}"))
                .expected("done")
                .help(format!("follow it with `nixctl watch {id}`")),
        ),
        OpenState::Running => None,
    }
}

pub(super) fn clock(now: u64) -> Vec<Found> {
    if now >= EARLIEST_NOW {
        return Vec::new();
    }
    let day = |millis: u64| date::day(millis / 1000);
    vec![
        Found::new(Check::ClockWrong, "clock")
            .seen(format!("the clock says {}", day(now)))
            .expected(format!("a day after {}", day(EARLIEST_NOW)))
            .help("set the clock: timedatectl set-ntp true"),
    ]
}

#[cfg(test)]
mod tests {
    use super::super::testing::ids;
    use super::*;

    #[test]
    fn what_waits_or_failed_is_named() {
        let open = |state| Open {
            id: "01".to_owned(),
            what: "switch".to_owned(),
            state,
        };
        let why = || "x".to_owned();
        assert_eq!(judge(&[open(OpenState::Running)]), []);
        let found = judge(&[
            open(OpenState::Attention(why())),
            open(OpenState::Waiting(why())),
        ]);
        assert_eq!(
            ids(&found),
            ["operations.attention 01", "operations.unfinished 01"]
        );
    }

    #[test]
    fn a_clock_before_this_program_is_wrong() {
        assert_eq!(clock(EARLIEST_NOW), []);
        let found = clock(0);
        assert_eq!(ids(&found), ["clock.wrong clock"]);
        assert_eq!(found[0].seen, "the clock says 1970-01-01");
    }
}

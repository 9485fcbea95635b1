//! The last lines that a unit wrote to the journal.

use std::time::Duration;

use crate::host::{Cancel, Command};
use crate::resource::Context;

/// Lines that an error shows.
const LINES: &str = "20";

/// Reading the end of a journal is quick, unless the disk is not.
const DEADLINE: Duration = Duration::from_secs(10);

/// Characters of a line that are shown.
const MAX_LINE: usize = 300;

/// The last lines of a unit in this boot; none where there is no journal.
pub fn last_lines(context: &Context<'_>, unit: &str) -> Vec<String> {
    let words = ["-b", "-q", "-n", LINES, "-o", "cat", "--no-pager", "-u"];
    let command = Command::new("journalctl")
        .args(words)
        .arg(unit)
        .deadline(DEADLINE);
    // Also when the operation is being cancelled: this is what people will want to see.
    let Ok(output) = context.host.exec.output(&command, &Cancel::default()) else {
        return Vec::new();
    };
    let text = output.text();
    let lines = text.lines().filter(|line| !line.trim().is_empty());
    lines
        .map(|line| line.chars().take(MAX_LINE).collect())
        .collect()
}

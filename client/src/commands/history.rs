//! `nixctl history`

use nixctl_proto::Exit;

use super::{Context, Outcome};
use crate::render::history;

/// Shows what became of findings, the newest first.
pub async fn run(context: &mut Context, limit: u32) -> Outcome {
    let events = context
        .connected(async |_, connection| Ok(connection.history(limit).await?))
        .await?;
    if context.json {
        context.terminal.json(&events);
    } else if events.is_empty() {
        context.remark("nothing was found to be wrong so far");
    } else {
        let lines = history::lines(&events, context.terminal.width());
        context.terminal.lines(lines);
    }
    Ok(Exit::Done)
}

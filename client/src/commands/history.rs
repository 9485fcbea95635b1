//! `nixctl history`

use nixctl_proto::Exit;

use super::{Context, Outcome};
use crate::render::history;

/// Shows what became of findings, the newest first.
pub async fn run(context: &mut Context, limit: u32) -> Outcome {
    let events = context
        .connected(async |_, connection| Ok(connection.history(limit).await?))
        .await?;
    let none = "nothing was found to be wrong so far";
    context.list(&events, none, history::lines);
    Ok(Exit::Done)
}

//! `nixctl generations`

use nixctl_proto::Exit;

use super::{Context, Outcome};
use crate::render::generations;

/// Lists the generations of the system.
pub async fn run(context: &mut Context) -> Outcome {
    let all = context
        .connected(async |_, connection| Ok(connection.generations().await?))
        .await?;
    if context.json {
        context.terminal.json(&all);
    } else if all.is_empty() {
        context.remark("the system has no generations");
    } else {
        let width = context.terminal.width();
        context.terminal.lines(generations::lines(&all, width));
    }
    Ok(Exit::Done)
}

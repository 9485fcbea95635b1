//! `nixctl operations`

use nixctl_proto::Exit;

use super::{Context, Outcome};
use crate::cli::Operations;
use crate::render::operation;

/// Lists the newest operations.
pub async fn run(context: &mut Context, operations: &Operations) -> Outcome {
    let limit = operations.limit;
    let views = context
        .connected(async |_, connection| Ok(connection.list(limit).await?))
        .await?;
    if context.json {
        context.terminal.json(&views);
    } else if views.is_empty() {
        context.remark("there are no operations");
    } else {
        let lines = operation::list(&views, context.terminal.width());
        context.terminal.lines(lines);
    }
    Ok(Exit::Done)
}

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
    context.list(&views, "there are no operations", operation::list);
    Ok(Exit::Done)
}

//! `nixctl cancel`

use nixctl_proto::{Exit, OperationId};

use super::{Context, Outcome};

/// Asks for an operation to be stopped and undone; its end can be watched.
pub async fn run(context: &mut Context, id: &OperationId) -> Outcome {
    let view = context
        .connected(async |context, connection| {
            connection.cancel(id).await?;
            if context.json {
                Ok(Some(connection.show(id).await?))
            } else {
                Ok(None)
            }
        })
        .await?;
    match view {
        Some(view) => context.terminal.json(&view),
        None => context.remark(&format!(
            "operation {id} stops at its next step and is undone; see `nixctl watch {id}`"
        )),
    }
    Ok(Exit::Done)
}

//! `nixctl watch`

use nixctl_proto::Exit;

use super::follow::{self, Wait};
use super::{Context, Outcome};
use crate::cli::Watch;

/// Follows an operation, or the one at work.
pub async fn run(context: &mut Context, watch: Watch) -> Outcome {
    context
        .connected(async |context, connection| {
            let id = match watch.operation {
                Some(id) => id,
                None => match connection.status().await?.active {
                    Some(active) => active.id,
                    None if context.json => {
                        context.terminal.json(&());
                        return Ok(Exit::Done);
                    }
                    None => {
                        context.remark("no operation is at work");
                        return Ok(Exit::Done);
                    }
                },
            };
            follow::to_end(context, connection, &id, Wait::at_most(watch.timeout)).await
        })
        .await
}

//! `nixctl status`

use nixctl_proto::Exit;

use super::{Context, Outcome};
use crate::render::status;

/// Shows how this machine's Nix is.
pub async fn run(context: &mut Context) -> Outcome {
    let status = context
        .connected(async |_, connection| Ok(connection.status().await?))
        .await?;
    if context.json {
        context.terminal.json(&status);
    } else {
        context
            .terminal
            .lines(status::lines(&status, context.terminal.out));
    }
    Ok(Exit::Done)
}

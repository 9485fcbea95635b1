//! `nixctl metrics`

use nixctl_proto::Exit;

use super::{Context, Outcome};

/// Prints the numbers for a monitoring system.
pub async fn run(context: &mut Context) -> Outcome {
    let text = context
        .connected(async |_, connection| Ok(connection.metrics().await?))
        .await?;
    match context.json {
        true => context.terminal.json(&text),
        // The format is the same for people and programs.
        false => context.terminal.raw(text.as_bytes()),
    }
    Ok(Exit::Done)
}

//! `nixctl status`

use nixctl_proto::Exit;

use super::{Context, Outcome};
use crate::render::status;

/// Shows how this machine's Nix is.
pub async fn run(context: &mut Context) -> Outcome {
    let is_shown = !context.json;
    let (status, findings) = context
        .connected(async |_, connection| {
            let status = connection.status().await?;
            let findings = match status.findings > 0 && is_shown {
                true => connection.findings().await?.findings,
                false => Vec::new(),
            };
            Ok((status, findings))
        })
        .await?;
    if context.json {
        context.terminal.json(&status);
    } else {
        let style = context.terminal.out;
        let lines = status::lines(&status, &findings, style);
        context.terminal.lines(lines);
    }
    Ok(Exit::Done)
}

//! `nixctl generations`

use nixctl_proto::Exit;

use super::{Context, Outcome};
use crate::render::generations;

/// Lists the generations of the system.
pub async fn run(context: &mut Context) -> Outcome {
    let all = context
        .connected(async |_, connection| Ok(connection.generations().await?))
        .await?;
    let none = "the system has no generations";
    context.list(&all, none, generations::lines);
    Ok(Exit::Done)
}

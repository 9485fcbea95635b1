//! `nixctl show`

use nixctl_proto::operation::JournalLine;
use nixctl_proto::{Exit, OperationId, OperationView};
use serde::Serialize;

use super::{Context, Outcome};
use crate::render::operation;

/// The JSON document.
#[derive(Serialize)]
struct Document {
    operation: OperationView,
    journal: Vec<JournalLine>,
}

/// Shows one operation and its journal.
pub async fn run(context: &mut Context, id: &OperationId) -> Outcome {
    let (view, journal) = context
        .connected(async |_, connection| {
            Ok((connection.show(id).await?, connection.journal(id).await?))
        })
        .await?;
    if context.json {
        context.terminal.json(&Document {
            operation: view,
            journal,
        });
    } else {
        let style = context.terminal.out;
        let user = user_name(view.requested_by);
        context
            .terminal
            .lines(operation::details(&view, &user, &journal, style));
    }
    Ok(Exit::Done)
}

/// Name of a user, or the number where there is none.
fn user_name(uid: u32) -> String {
    match nix::unistd::User::from_uid(uid.into()) {
        Ok(Some(user)) => user.name,
        _ => format!("user {uid}"),
    }
}

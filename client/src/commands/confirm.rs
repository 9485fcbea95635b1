//! `nixctl confirm`

use nixctl_proto::{Code, Exit, Failure, OperationId};

use super::{Context, Outcome};

/// Says that the switch which waits for it is right: this process is a connection of its own.
pub async fn run(context: &mut Context, operation: Option<OperationId>) -> Outcome {
    let (id, view) = context
        .connected(async |context, connection| {
            let id = match operation {
                Some(id) => id,
                None => match connection.status().await?.active {
                    Some(active) => active.id,
                    None => return Err(nothing()),
                },
            };
            connection.confirm(&id).await?;
            let view = match context.json {
                true => Some(connection.show(&id).await?),
                false => None,
            };
            Ok((id, view))
        })
        .await?;
    match view {
        Some(view) => context.terminal.json(&view),
        None => context
            .terminal
            .line(&format!("operation {id} is confirmed")),
    }
    Ok(Exit::Done)
}

fn nothing() -> Failure {
    let message = "cannot confirm: no operation is at work";
    Failure::new(Code::NotConfirmable, message)
        .with_help("see what happened with `nixctl operations`")
}

#[cfg(test)]
mod tests {
    use std::sync::{Arc, Mutex};

    use nixctl_proto::request::{Reply, Request};
    use nixctl_proto::status::Status;

    use super::*;
    use crate::cli::Global;
    use crate::connect::fake::{Fake, Reaction};
    use crate::render::operation::tests::view;
    use crate::render::status::tests::status;

    async fn confirm(active: bool, operation: Option<OperationId>) -> (Outcome, Vec<OperationId>) {
        let seen = Arc::new(Mutex::new(Vec::new()));
        let log = Arc::clone(&seen);
        let fake = Fake::start(move |request| {
            vec![Reaction::Last(match request {
                Request::Confirm(id) => {
                    log.lock().unwrap().push(id);
                    Reply::Done
                }
                _ => Reply::Status(Status {
                    active: active.then(view),
                    ..status()
                }),
            })]
        });
        let mut context = Context::new(&Global {
            socket: Some(fake.path()),
            quiet: true,
            ..Global::default()
        });
        let outcome = run(&mut context, operation).await;
        let seen = seen.lock().unwrap().clone();
        (outcome, seen)
    }

    #[tokio::test]
    async fn without_an_id_the_one_at_work_is_meant() {
        assert_eq!(confirm(true, None).await, (Ok(Exit::Done), vec![view().id]));
        let other = OperationId::from_parts(5, 5);
        let named = confirm(false, Some(other.clone())).await;
        assert_eq!(named, (Ok(Exit::Done), vec![other]));
        let (outcome, seen) = confirm(false, None).await;
        assert_eq!(outcome.unwrap_err().code, Code::NotConfirmable);
        assert!(seen.is_empty());
    }
}

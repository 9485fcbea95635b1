//! `nixctl retry`

use super::follow::{self, Wait};
use super::{Context, Outcome};
use crate::cli::Retry;

/// Tries a failed operation again.
pub async fn run(context: &mut Context, retry: &Retry) -> Outcome {
    context
        .connected(async |context, connection| {
            let id = connection.retry(&retry.operation).await?;
            follow::to_end(context, connection, &id, Wait::new(&retry.waiting)).await
        })
        .await
}

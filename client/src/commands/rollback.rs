//! `nixctl rollback`

use nixctl_proto::Failure;
use nixctl_proto::request::{OperationRequest, RollbackRequest};

use super::{Context, Outcome, switch};
use crate::cli;

/// Moves the system back, also in the middle of a switch.
pub async fn run(context: &mut Context, rollback: cli::Rollback) -> Outcome {
    let request = request(rollback.what)?;
    switch::go(context, request, &rollback.picture, &rollback.going).await
}

/// The request.
///
/// # Errors
/// A folder to copy from that is not there.
pub fn request(what: cli::RollbackWhat) -> Result<OperationRequest, Failure> {
    Ok(OperationRequest::Rollback(RollbackRequest {
        to: what.to,
        from: what.from.map(switch::store).transpose()?,
        after_boot: None,
    }))
}

//! `nixctl repair`

use nixctl_proto::request::{OperationRequest, RepairRequest};

use super::{Context, Outcome, change};
use crate::cli;
use crate::connect::Connection;

/// Carries out the remedies of findings.
pub async fn run(context: &mut Context, repair: cli::Repair) -> Outcome {
    change::check_consent(context, &repair.going)?;
    let connection = Connection::open(&context.options).await?;
    let request = request(repair.what);
    change::run(context, connection, request, &repair.going, None).await
}

/// The request.
pub fn request(what: cli::RepairWhat) -> OperationRequest {
    OperationRequest::Repair(RepairRequest {
        targets: what.findings,
        automatic: false,
    })
}

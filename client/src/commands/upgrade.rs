//! `nixctl upgrade`

use nixctl_proto::plan::Plan;
use nixctl_proto::request::{OperationRequest, UpgradeRequest};
use nixctl_proto::{Exit, Failure};
use serde::Serialize;

use super::{Context, Outcome, change, install};
use crate::cli;
use crate::connect::Connection;

/// What `--check` says.
#[derive(Debug, Serialize)]
struct Check<'a> {
    /// Version that is there.
    current: &'a str,
    /// Whether there is another one to go to.
    available: bool,
    /// What going there would do.
    plan: &'a Plan,
}

/// Replaces Nix.
pub async fn run(context: &mut Context, upgrade: cli::Upgrade) -> Outcome {
    let request = request(upgrade.what)?;
    if upgrade.check {
        return check(context, &request).await;
    }
    change::check_consent(context, &upgrade.going)?;
    let connection = Connection::open(&context.options).await?;
    change::run(context, connection, request, &upgrade.going, None).await
}

/// The request, with a path as the daemon must see it.
pub fn request(what: cli::UpgradeWhat) -> Result<OperationRequest, Failure> {
    let source = what.source.as_deref().map(install::absolute).transpose()?;
    Ok(OperationRequest::Upgrade(UpgradeRequest {
        version: what.to,
        source,
        sha256: what.sha256,
        rollback: what.rollback,
        drain: what.drain,
        may_be_older: false,
    }))
}

async fn check(context: &mut Context, request: &OperationRequest) -> Outcome {
    let (current, plan) = context
        .connected(async |_, connection| {
            let current = connection.status().await?.nix_version;
            Ok((current, connection.plan(request).await?))
        })
        .await?;
    if context.json {
        context.terminal.json(&Check {
            current: &current,
            available: !plan.is_empty(),
            plan: &plan,
        });
        return Ok(Exit::Done);
    }
    if let Some(failure) = plan.refusal() {
        return Err(failure.clone());
    }
    context.terminal.lines(vec![plan.title]);
    Ok(Exit::Done)
}

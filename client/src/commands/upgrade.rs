//! `nixctl upgrade`, and `nixctl daemon upgrade` for nixctl itself

use nixctl_proto::plan::Plan;
use nixctl_proto::request::{OperationRequest, SelfUpgradeRequest, UpgradeRequest};
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
    /// What holds the machine from going there by itself; empty: nothing does.
    waits: &'a str,
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

/// Replaces nixctl itself.
pub async fn run_of_nixctl(context: &mut Context, upgrade: cli::SelfUpgrade) -> Outcome {
    let request = of_nixctl(upgrade.what)?;
    if upgrade.check {
        return check(context, &request).await;
    }
    change::check_consent(context, &upgrade.going)?;
    let connection = Connection::open(&context.options).await?;
    change::run(context, connection, request, &upgrade.going, None).await
}

/// The request for nixctl itself, with a path as the daemon must see it.
pub fn of_nixctl(what: cli::SelfUpgradeWhat) -> Result<OperationRequest, Failure> {
    let source = what.source.as_deref().map(install::absolute).transpose()?;
    Ok(OperationRequest::SelfUpgrade(SelfUpgradeRequest {
        version: what.to,
        source,
        sha256: what.sha256,
        rollback: what.rollback,
        may_be_older: false,
    }))
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
        restore_database: what.restore_database,
    }))
}

async fn check(context: &mut Context, request: &OperationRequest) -> Outcome {
    let (status, plan) = context
        .connected(async |_, connection| {
            // The plan first: it has the release feed read.
            let plan = connection.plan(request).await?;
            Ok((connection.status().await?, plan))
        })
        .await?;
    if context.json {
        context.terminal.json(&Check {
            current: match request {
                OperationRequest::SelfUpgrade(_) => &status.version,
                _ => &status.nix_version,
            },
            available: !plan.is_empty(),
            waits: match request {
                // What holds an upgrade of Nix.
                OperationRequest::SelfUpgrade(_) => "",
                _ => &status.upgrade.waits,
            },
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

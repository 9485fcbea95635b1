//! `nixctl plan`

use nixctl_proto::request::OperationRequest;
use nixctl_proto::{Code, Failure};

use super::{
    Context, Outcome, bootstrap, change, install, plan_instance, repair, rollback, switch,
    uninstall, upgrade,
};
use crate::cli;
use crate::connect::Connection;

/// Shows what would be done; the exit code says whether it could be.
pub async fn run(context: &mut Context, what: cli::PlanWhat) -> Outcome {
    match (what.kind, what.order.instance.clone()) {
        (Some(kind), None) => operation(context, kind).await,
        (None, Some(file)) => plan_instance::run(context, &file, &what.order),
        _ => {
            let message = "cannot plan an operation and an instance at once";
            Err(Failure::new(Code::InvalidArgument, message).with_help("leave one of them out"))
        }
    }
}

async fn operation(context: &mut Context, plan: cli::Plan) -> Outcome {
    let (request, picture) = match plan {
        cli::Plan::Install(what) => (install::request(what)?, None),
        cli::Plan::Uninstall(what) => (uninstall::request(&what), None),
        cli::Plan::Upgrade(what) => (upgrade::request(what)?, None),
        cli::Plan::DaemonUpgrade(what) => (upgrade::of_nixctl(what)?, None),
        cli::Plan::Switch(plan) => (switch::request(plan.what)?, plan.picture.file),
        cli::Plan::Rollback(plan) => (rollback::request(plan.what)?, plan.picture.file),
        cli::Plan::Repair(what) => (repair::request(what), None),
    };
    let begins = matches!(
        request,
        OperationRequest::Install(_) | OperationRequest::Uninstall(_)
    );
    let (connection, requests) = match Connection::open(&context.options).await {
        Ok(connection) => (connection, vec![request]),
        // Without nixctld an install begins with it; root can look at that too.
        Err(failure)
            if begins
                && failure.code == Code::Unreachable
                && context.options.socket.is_none()
                && nix::unistd::geteuid().is_root() =>
        {
            (
                Connection::own(&context.options).await?,
                vec![bootstrap::self_install()?, request],
            )
        }
        Err(failure) => return Err(failure),
    };
    context
        .with(connection, async |context, connection| {
            let mut plans = Vec::new();
            for request in &requests {
                plans.push(connection.plan(request).await?);
            }
            for plan in &plans {
                change::draw(plan, picture.as_deref())?;
            }
            change::show(context, &plans)
        })
        .await
}

//! `nixctl plan`

use nixctl_proto::Code;

use super::{Context, Outcome, bootstrap, change, install, uninstall};
use crate::cli;
use crate::connect::Connection;

/// Shows what would be done; the exit code says whether it could be.
pub async fn run(context: &mut Context, plan: cli::Plan) -> Outcome {
    let request = match plan {
        cli::Plan::Install(what) => install::request(what)?,
        cli::Plan::Uninstall(what) => uninstall::request(&what),
    };
    let (connection, requests) = match Connection::open(&context.options).await {
        Ok(connection) => (connection, vec![request]),
        // Without nixctld an install begins with it; root can look at that too.
        Err(failure)
            if failure.code == Code::Unreachable
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
            change::show(context, &plans)
        })
        .await
}

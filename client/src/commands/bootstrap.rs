//! Putting nixctld itself on a machine, and Nix behind it, as one plan.
//!
//! An own daemon does the first part, because no other is there yet. It must be gone before the
//! service can open the state that both of them own, so it is closed before the service is asked.

use nixctl_proto::request::{OperationRequest, SelfInstallRequest};
use nixctl_proto::{Code, Exit, Failure, SOCKET_PATH};
use tokio::time::{Instant, sleep};

use super::follow::{self, Wait};
use super::{Context, Outcome, change};
use crate::cli::Going;
use crate::connect::{COME_BACK, Connection, Options, TRY_EVERY, private, systemd};

/// Installs nixctld, then carries out the request with it.
pub async fn install(context: &mut Context, request: OperationRequest, going: &Going) -> Outcome {
    let own = self_install()?;
    let plans = [own.clone(), request.clone()];
    if let Some(exit) = with_own(context, &own, &plans, going, Wait::ToEnd).await? {
        return Ok(exit);
    }
    let connection = reach(context).await?;
    let options = change::options(going);
    context
        .with(connection, async |context, connection| {
            let wait = Wait::new(&going.waiting);
            change::carry_out(context, connection, &request, &options, wait).await
        })
        .await
}

/// Changes only nixctld itself. A service that runs is stopped for it, and started again when it
/// is still there afterwards and does not run.
pub async fn daemon(context: &mut Context, request: OperationRequest, going: &Going) -> Outcome {
    let plans = [request.clone()];
    let wait = Wait::new(&going.waiting);
    let runs = systemd::service()
        .await
        .is_some_and(|unit| unit.active == "active");
    if !runs {
        return Ok(with_own(context, &request, &plans, going, wait)
            .await?
            .unwrap_or(Exit::Done));
    }
    // The bus has no word for what changes the daemon itself.
    let socket = Options {
        socket: Some(SOCKET_PATH.into()),
        ..context.options.clone()
    };
    let connection = Connection::open(&socket).await?;
    let consent = context
        .with(connection, async |context, connection| {
            consent(context, connection, &plans, going).await
        })
        .await?;
    if let Some(exit) = consent {
        return Ok(exit);
    }
    if let Err(failure) = systemd::stop().await {
        // What was stopped by then runs again; why it could not be stopped is what is told.
        let _ = systemd::start().await;
        return Err(failure);
    }
    let agreed = Going {
        yes: true,
        ..going.clone()
    };
    // It was shown already.
    let ended = with_own(context, &request, &[], &agreed, wait).await;
    systemd::start().await?;
    Ok(ended?.unwrap_or(Exit::Done))
}

/// The request to put both programs, as they are now, on the machine.
pub fn self_install() -> Result<OperationRequest, Failure> {
    let cannot = |why: &dyn std::fmt::Display| {
        Failure::new(
            Code::InvalidArgument,
            format!("cannot install nixctld: {why}"),
        )
    };
    let client = std::env::current_exe().map_err(|error| cannot(&error))?;
    let text = |path: std::path::PathBuf| {
        path.into_os_string()
            .into_string()
            .map_err(|_| cannot(&"its path is not UTF-8"))
    };
    Ok(OperationRequest::SelfInstall(SelfInstallRequest {
        client: text(client)?,
        daemon: text(private::find_program()?)?,
    }))
}

/// Shows all plans, asks, and does the first with an own daemon. An exit code when that is all.
async fn with_own(
    context: &mut Context,
    request: &OperationRequest,
    plans: &[OperationRequest],
    going: &Going,
    wait: Wait,
) -> Result<Option<Exit>, Failure> {
    let connection = Connection::own(&context.options).await?;
    context
        .with(connection, async |context, connection| {
            if let Some(exit) = consent(context, connection, plans, going).await? {
                return Ok(Some(exit));
            }
            let options = change::options(going);
            let id = change::submit(context, connection, request, &options).await?;
            let end = follow::follow(context, connection, &id, wait).await?;
            let exit = follow::finish(context, connection, &id, end).await?;
            Ok((exit != Exit::Done).then_some(exit))
        })
        .await
}

/// Shows the plans and asks, unless that was agreed to before. An exit code when that is all.
async fn consent(
    context: &mut Context,
    connection: &Connection,
    plans: &[OperationRequest],
    going: &Going,
) -> Result<Option<Exit>, Failure> {
    if going.yes && !going.dry_run {
        for request in plans.iter().filter(|request| change::takes_off(request)) {
            change::show_only(context, connection, request).await?;
        }
        return Ok(None);
    }
    let mut shown = Vec::new();
    for request in plans {
        shown.push(connection.plan(request).await?);
    }
    let exit = change::show(context, &shown)?;
    if going.dry_run || exit != Exit::Done {
        return Ok(Some(exit));
    }
    if !context.terminal.ask("Go on?") {
        return Ok(Some(change::declined(context)));
    }
    Ok(None)
}

/// Waits for the service that was just installed.
async fn reach(context: &mut Context) -> Result<Connection, Failure> {
    let end = Instant::now() + COME_BACK;
    loop {
        match Connection::open(&context.options).await {
            Ok(connection) => return Ok(connection),
            Err(failure) if Instant::now() >= end || failure.code != Code::Unreachable => {
                return Err(failure
                    .with_help("see `systemctl status nixctld`, then run `nixctl install` again"));
            }
            Err(_) => sleep(TRY_EVERY).await,
        }
    }
}

//! `nixctl uninstall`

use nixctl_proto::Code;
use nixctl_proto::Exit;
use nixctl_proto::request::{OperationRequest, UninstallRequest};

use super::{Context, Outcome, change};
use crate::cli;
use crate::connect::Connection;

/// Takes off what install put there; where there is nothing, that is as asked too.
pub async fn run(context: &mut Context, uninstall: cli::Uninstall) -> Outcome {
    let request = request(&uninstall.what);
    change::check_consent(context, &uninstall.going)?;
    let connection = match Connection::open(&context.options).await {
        // The daemon itself may be off already: root can do without.
        Err(failure)
            if failure.code == Code::Unreachable
                && context.options.socket.is_none()
                && nix::unistd::geteuid().is_root() =>
        {
            Connection::own(&context.options).await?
        }
        connection => connection?,
    };
    match change::run(context, connection, request, &uninstall.going, None).await {
        Err(failure) if failure.code == Code::NothingInstalled => {
            let text = "nothing to take off: nixctl has not installed Nix on this machine";
            if context.json {
                context
                    .terminal
                    .json(&serde_json::json!({ "nothing_to_do": text }));
            } else {
                context.terminal.line(text);
            }
            Ok(Exit::Done)
        }
        outcome => outcome,
    }
}

/// The request.
pub fn request(what: &cli::UninstallWhat) -> OperationRequest {
    OperationRequest::Uninstall(UninstallRequest {
        keep_store: what.keep_store,
    })
}

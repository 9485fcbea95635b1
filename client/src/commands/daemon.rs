//! `nixctl daemon`

use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::Command;

use nixctl_proto::request::OperationRequest;
use nixctl_proto::{Code, Exit, Failure, SOCKET_PATH};
use serde::Serialize;

use super::{Context, Outcome, bootstrap, change, upgrade};
use crate::cli::DaemonVerb;
use crate::connect::systemd::{self, Unit};
use crate::connect::{Connection, Options, bus, private};
use crate::render::Style;
use crate::render::table;
use crate::render::text::clean;

/// Runs, installs, takes off or shows the daemon.
pub async fn run(context: &mut Context, verb: Option<DaemonVerb>) -> Outcome {
    match verb {
        None | Some(DaemonVerb::Status) => status(context).await,
        Some(DaemonVerb::Run) => foreground(context),
        Some(DaemonVerb::Install(going)) => {
            change::check_consent(context, &going)?;
            bootstrap::daemon(context, bootstrap::self_install()?, &going).await
        }
        Some(DaemonVerb::Upgrade(upgrade)) => upgrade::run_of_nixctl(context, upgrade).await,
        Some(DaemonVerb::Uninstall(going)) => {
            change::check_consent(context, &going)?;
            bootstrap::daemon(context, OperationRequest::SelfUninstall, &going).await
        }
    }
}

/// Becomes the daemon.
fn foreground(context: &Context) -> Outcome {
    let program = private::find_program()?;
    let mut command = Command::new(&program);
    command.arg("serve");
    if let Some(root) = &context.options.root {
        command.arg("--root").arg(root);
    }
    let error = command.exec();
    let message = format!("cannot run {}: {error}", program.display());
    Err(Failure::new(Code::Unreachable, message))
}

/// What is known of the daemon; a document of its own.
#[derive(Debug, Serialize)]
struct Document {
    /// Version of this client.
    client: &'static str,
    /// Version of the daemon that answers; empty when none does.
    daemon: String,
    /// State of the service; `None` where systemd does not answer.
    unit: Option<Unit>,
    /// Ways to reach the daemon.
    transports: Vec<Transport>,
    /// Other versions of both programs that are kept: what `nixctl daemon upgrade` goes back to.
    kept: Vec<String>,
}

#[derive(Debug, Serialize)]
struct Transport {
    name: &'static str,
    /// Version of the daemon behind it.
    version: Option<String>,
    /// Why it cannot be reached.
    problem: Option<String>,
}

async fn status(context: &mut Context) -> Outcome {
    let transports = vec![over_bus().await, over_socket().await];
    let daemon = transports
        .iter()
        .find_map(|transport| transport.version.clone());
    let document = Document {
        client: nixctl_proto::version(),
        daemon: daemon.clone().unwrap_or_default(),
        unit: systemd::service().await,
        transports,
        kept: kept(nixctl_proto::version()),
    };
    if context.json {
        context.terminal.json(&document);
    } else {
        context
            .terminal
            .lines(lines(&document, context.terminal.out));
    }
    Ok(if daemon.is_some() {
        Exit::Done
    } else {
        Exit::Unreachable
    })
}

/// Versions that are kept beside this program but for its own; what cannot be read is none.
fn kept(own: &str) -> Vec<String> {
    let program = std::env::current_exe().unwrap_or_default();
    let library = match program.parent().and_then(Path::to_str) {
        Some("/usr/local/bin") => "/usr/local/lib/nixctl",
        Some("/opt/nixctl/bin") => "/opt/nixctl/lib",
        _ => return Vec::new(),
    };
    let entries = std::fs::read_dir(library).into_iter().flatten().flatten();
    let mut versions: Vec<String> = entries
        .filter_map(|entry| {
            let name = entry.file_name().into_string().ok()?;
            Some(name.rsplit_once('-')?.0.to_owned())
        })
        .filter(|version| version != own)
        .collect();
    versions.sort();
    versions.dedup();
    versions
}

async fn over_bus() -> Transport {
    let version = match bus::Bus::open(false).await {
        Ok(bus) => match bus.status().await {
            Ok(status) => Ok(status.version),
            Err(trouble) => Err(trouble.to_string()),
        },
        Err(why) => Err(why),
    };
    Transport::new("bus", version)
}

async fn over_socket() -> Transport {
    let options = Options {
        socket: Some(SOCKET_PATH.into()),
        ..Options::default()
    };
    let version = match Connection::open(&options).await {
        Ok(connection) => match connection.status().await {
            Ok(status) => Ok(status.version),
            Err(trouble) => Err(trouble.to_string()),
        },
        Err(failure) => Err(failure.causes.first().cloned().unwrap_or(failure.message)),
    };
    Transport::new("socket", version)
}

impl Transport {
    fn new(name: &'static str, version: Result<String, String>) -> Transport {
        match version {
            Ok(version) => Transport {
                name,
                version: Some(version),
                problem: None,
            },
            Err(problem) => Transport {
                name,
                version: None,
                problem: Some(problem),
            },
        }
    }
}

fn lines(document: &Document, style: Style) -> Vec<String> {
    let mut rows = vec![vec![
        "service".to_owned(),
        service(document.unit.as_ref(), style),
    ]];
    for transport in &document.transports {
        let text = match (&transport.version, &transport.problem) {
            (Some(version), _) => style.good(&format!("answers, version {}", clean(version))),
            (None, problem) => format!("no answer: {}", clean(problem.as_deref().unwrap_or("-"))),
        };
        rows.push(vec![transport.name.to_owned(), text]);
    }
    let mut client = document.client.to_owned();
    if !document.daemon.is_empty() && document.daemon != document.client {
        let warning = format!("differs from the daemon's {}", clean(&document.daemon));
        client = format!("{client} ({})", style.warning(&warning));
    }
    rows.push(vec!["client".to_owned(), client]);
    if !document.kept.is_empty() {
        let kept = clean(&document.kept.join(", "));
        rows.push(vec!["kept".to_owned(), kept]);
    }
    table::lines(&["", ""], &rows, None)
}

fn service(unit: Option<&Unit>, style: Style) -> String {
    match unit {
        None => "unknown: systemd does not answer".to_owned(),
        Some(unit) if unit.load == "not-found" => "not installed".to_owned(),
        Some(unit) => {
            let state = format!("{} ({})", unit.active, unit.sub);
            let state = match unit.active.as_str() {
                "active" => style.good(&state),
                "failed" => style.bad(&state),
                _ => state,
            };
            if unit.enabled.is_empty() {
                state
            } else {
                format!("{state}, {}", unit.enabled)
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_running_daemon_of_another_version() {
        let unit = Unit {
            load: "loaded".to_owned(),
            active: "active".to_owned(),
            sub: "running".to_owned(),
            enabled: "enabled".to_owned(),
        };
        let document = Document {
            client: "0.2.0",
            daemon: "0.1.0".to_owned(),
            unit: Some(unit),
            transports: vec![
                Transport::new("bus", Ok("0.1.0".to_owned())),
                Transport::new("socket", Err("permission denied".to_owned())),
            ],
            kept: vec!["0.1.9".to_owned()],
        };
        assert_eq!(
            lines(&document, Style::PLAIN),
            [
                "service  active (running), enabled",
                "bus      answers, version 0.1.0",
                "socket   no answer: permission denied",
                "client   0.2.0 (differs from the daemon's 0.1.0)",
                "kept     0.1.9",
            ]
        );
    }

    #[test]
    fn a_machine_without_a_daemon() {
        let document = Document {
            client: "0.1.0",
            daemon: String::new(),
            unit: None,
            transports: Vec::new(),
            kept: Vec::new(),
        };
        assert_eq!(
            lines(&document, Style::PLAIN),
            [
                "service  unknown: systemd does not answer",
                "client   0.1.0"
            ]
        );
    }
}

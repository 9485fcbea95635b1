//! `nixctl report`

use std::path::Path;

use nixctl_proto::{Code, Exit, Failure};

use super::{Context, Outcome, save};
use crate::cli::Report;
use crate::connect::Connection;
use crate::render::text::clean;
use crate::report::make;
use crate::report::names::Names;

/// Only the user reads it, until it is handed on.
const MODE: u32 = 0o600;

/// Shows what a bug report needs, and writes it when that is agreed to. Without a daemon it says
/// what can be said.
pub async fn run(context: &mut Context, report: &Report) -> Outcome {
    let is_only_shown = report.output == Path::new("-");
    let can_ask = context.terminal.can_ask() && !context.json;
    if !is_only_shown && !report.yes && !can_ask {
        let message = "cannot ask whether to write the report: there is no terminal to ask on";
        return Err(Failure::new(Code::InvalidArgument, message)
            .with_help("pass --yes, or --output - to have it on standard output only"));
    }
    let root = context.options.root.clone().unwrap_or_else(|| "/".into());
    let connection = Connection::open(&context.options).await;
    let made = make(connection.as_ref(), &root, &Names::of_this_machine()).await;
    if let Ok(connection) = connection {
        connection.close().await;
    }
    let internal = |error: serde_json::Error| {
        let message = format!("internal error: the report is not JSON: {error}");
        Failure::new(Code::Internal, message)
    };
    let document = made.map_err(internal)?;
    let text = serde_json::to_string_pretty(&document).map_err(internal)?;
    if context.json {
        context.terminal.json(&document);
    } else if !(context.quiet && report.yes) {
        context.terminal.lines(text.lines().map(clean));
    }
    if is_only_shown {
        return Ok(Exit::Done);
    }
    let file = report.output.display();
    if !report.yes && !context.terminal.ask(&format!("Write this to {file}?")) {
        context.remark("nothing was written");
        return Ok(Exit::Refused);
    }
    save::replace(&report.output, format!("{text}\n").as_bytes(), MODE).map_err(|error| {
        let message = format!("cannot write {file}: {error}");
        Failure::new(Code::FileFailed, message).with_help("name a file that can be written")
    })?;
    context.remark(&format!(
        "written to {file}; nothing was sent, read it before you hand it on"
    ));
    Ok(Exit::Done)
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;
    use crate::cli::Global;

    /// A report in a folder of its own, and no daemon.
    fn report(folder: &tempfile::TempDir, yes: bool, global: Global) -> (Context, Report) {
        let output = folder.path().join("report.json");
        let context = Context::new(&Global {
            socket: Some(folder.path().join("nobody")),
            ..global
        });
        (context, Report { output, yes })
    }

    #[tokio::test]
    async fn it_is_written_for_the_user_alone_and_without_a_daemon_too() {
        let folder = tempfile::tempdir().unwrap();
        let quiet = Global {
            quiet: true,
            ..Global::default()
        };
        let (mut context, report) = report(&folder, true, quiet);
        assert_eq!(run(&mut context, &report).await, Ok(Exit::Done));
        let meta = std::fs::metadata(&report.output).unwrap();
        assert_eq!(meta.permissions().mode() & 0o777, 0o600);
        let text = std::fs::read_to_string(&report.output).unwrap();
        let document: serde_json::Value = serde_json::from_str(&text).unwrap();
        assert_eq!(document["status"]["error"]["code"], "Unreachable");
    }

    #[tokio::test]
    async fn nothing_is_written_unasked() {
        let folder = tempfile::tempdir().unwrap();
        let json = Global {
            json: true,
            ..Global::default()
        };
        let (mut context, report) = report(&folder, false, json);
        let failure = run(&mut context, &report).await.unwrap_err();
        assert_eq!(failure.code.exit(), Exit::Usage);
        assert!(!report.output.exists());
    }
}

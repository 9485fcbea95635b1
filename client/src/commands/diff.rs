//! `nixctl diff`

use nixctl_proto::Exit;
use nixctl_proto::plan::DiffEntry;
use serde::Serialize;

use super::{Context, Outcome, toplevel};
use crate::cli;
use crate::render::diff;

/// The JSON document.
#[derive(Serialize)]
struct Document {
    from: String,
    to: String,
    bytes: i64,
    packages: Vec<DiffEntry>,
}

/// Shows how the packages of two generations differ.
pub async fn run(context: &mut Context, what: cli::Diff) -> Outcome {
    let (from, to, packages) = context
        .connected(async |_, connection| {
            let words = [&what.from, &what.to];
            let generations = match words.iter().any(|word| toplevel::number(word).is_some()) {
                true => connection.generations().await?,
                false => Vec::new(),
            };
            let [from, to] = words.map(|word| toplevel::resolve_or_number(word, &generations));
            let (from, to) = (from?, to?);
            let packages = connection.diff(&from, &to).await?;
            Ok((from, to, packages))
        })
        .await?;
    if context.json {
        let bytes = diff::total(&packages);
        context.terminal.json(&Document {
            from,
            to,
            bytes,
            packages,
        });
    } else {
        let style = context.terminal.out;
        let width = context.terminal.width();
        let lines = diff::lines(&packages, None, width, style);
        context.terminal.lines(lines);
    }
    Ok(Exit::Done)
}

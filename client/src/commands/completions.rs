//! `nixctl completions`

use clap::CommandFactory;
use clap_complete::Shell;
use nixctl_proto::Exit;

use super::{Context, Outcome};
use crate::cli::Cli;

/// Prints the completions of a shell.
pub fn run(context: &mut Context, shell: Shell) -> Outcome {
    // Into memory first: the generator panics when it cannot write.
    let mut script = Vec::new();
    clap_complete::generate(shell, &mut Cli::command(), "nixctl", &mut script);
    context.terminal.raw(&script);
    Ok(Exit::Done)
}

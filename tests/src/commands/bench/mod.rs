//! `bench`: measurements on throw-away machines, each beside what others need for the same.
//!
//! Everything that is compared is measured in one run, in turns, on machines of the same kind, with
//! the programs as they are released. Medians count; the spread is shown.

mod install;
mod service;
mod table;

use std::process::ExitCode;

use nixctl_lab::Result;

use super::build;
use table::Table;

/// Options of `bench`.
#[derive(Debug, clap::Args)]
pub struct Arguments {
    #[command(subcommand)]
    what: What,
}

#[derive(Debug, Clone, Copy, clap::Subcommand)]
enum What {
    /// The install beside its floor, users, daemon start, memory, and the time of `nixctl status`.
    Install {
        /// How often each is measured.
        #[arg(long, default_value_t = 5)]
        runs: usize,
        /// Take the development build, which is made quickly and whose numbers do not count.
        #[arg(long)]
        dev: bool,
    },
}

/// Runs the command.
pub fn run(arguments: &Arguments) -> Result<ExitCode> {
    let What::Install { runs, dev } = arguments.what;
    super::prepare::run()?;
    let built = if dev {
        build::debug(&[])?
    } else {
        println!("lab: building the programs as they are released (this takes a while)");
        build::release()?
    };
    if !built {
        return Ok(ExitCode::FAILURE);
    }
    let mut table = Table::default();
    install::measure(&mut table, runs.max(1))?;
    service::measure(&mut table, runs.max(1))?;
    println!("\n{table}");
    if dev {
        println!("lab: these are numbers of a development build; goals do not apply to it");
    }
    Ok(ExitCode::SUCCESS)
}

//! `bench`: measurements on throw-away machines, each beside what others need for the same.
//!
//! Everything that is compared is measured in one run, in turns, on machines of the same kind, with
//! the programs as they are released. Medians count; the spread is shown.

mod idle;
mod install;
mod service;
mod switch;
mod table;

use std::path::PathBuf;
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

/// A release that is installed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
enum Archive {
    /// One of an official release's size.
    Official,
    /// The one that the tests use.
    Lab,
}

#[derive(Debug, clap::Subcommand)]
enum What {
    /// The install beside its floor, users, daemon start, memory, and the time of `nixctl status`.
    Install {
        #[command(flatten)]
        runs: Runs,
        /// The releases that are installed.
        #[arg(long, value_enum, default_values_t = [Archive::Official, Archive::Lab])]
        archive: Vec<Archive>,
        /// Nothing but the install and its floor.
        #[arg(long)]
        only_ratio: bool,
    },
    /// What the daemon costs when nothing happens, beside other services of the same machine.
    Idle {
        #[command(flatten)]
        programs: Programs,
        /// How long it is measured.
        #[arg(long, default_value_t = 600)]
        seconds: u64,
    },
    /// The stepwise switch beside the one at once and a random order, and a switch without changes.
    Switch {
        #[command(flatten)]
        runs: Runs,
        /// Nothing but the switch without changes.
        #[arg(long)]
        only_units: bool,
    },
}

#[derive(Debug, Clone, clap::Args)]
struct Runs {
    /// How often each is measured.
    #[arg(long, default_value_t = 5)]
    runs: usize,
    #[command(flatten)]
    programs: Programs,
}

#[derive(Debug, Clone, clap::Args)]
struct Programs {
    /// Take the development build, which is made quickly and whose numbers do not count.
    #[arg(long)]
    dev: bool,
    /// Take the programs of this folder, and build nothing.
    #[arg(long, conflicts_with = "dev")]
    programs: Option<PathBuf>,
}

/// Lets the lab choose the order of a switch.
const ORDER: [&str; 2] = ["--features", "nixctld/fault-injection"];

/// Runs the command.
pub fn run(arguments: &Arguments) -> Result<ExitCode> {
    let (options, features, runs) = match &arguments.what {
        What::Idle { programs, .. } => (programs, &[][..], 1),
        What::Install { runs, .. } => (&runs.programs, &[][..], runs.runs.max(1)),
        What::Switch { runs, .. } => (&runs.programs, &ORDER[..], runs.runs.max(1)),
    };
    let dev = options.dev;
    super::prepare::run()?;
    let built = match &options.programs {
        Some(folder) => {
            nixctl_lab::product::use_folder(folder);
            true
        }
        None if dev => build::debug(features)?,
        None => {
            println!("lab: building the programs as they are released (this takes a while)");
            build::release(features)?
        }
    };
    if !built {
        return Ok(ExitCode::FAILURE);
    }
    let mut table = Table::default();
    match &arguments.what {
        What::Idle { seconds, .. } => idle::measure(&mut table, *seconds)?,
        What::Switch { only_units, .. } => {
            super::prepare::generations()?;
            if !only_units {
                switch::measure(&mut table, runs)?;
            }
            switch::unchanged(&mut table, runs)?;
        }
        What::Install {
            archive,
            only_ratio,
            ..
        } => {
            for archive in archive {
                install::measure(&mut table, runs, *archive, *only_ratio)?;
            }
            if !only_ratio {
                install::users(&mut table, runs)?;
                service::measure(&mut table, runs)?;
            }
        }
    }
    println!("\n{table}");
    if dev {
        println!("lab: these are numbers of a development build; goals do not apply to it");
    }
    Ok(ExitCode::SUCCESS)
}

//! One file per command.

mod bench;
mod build;
mod clean;
mod demo;
mod narrator;
mod prepare;
mod shell;
mod test;

use std::process::ExitCode;

use clap::{Parser, Subcommand};
use nixctl_lab::Result;

/// Throw-away machines for nixctl: real systemd, real bus, real Nix.
#[derive(Debug, Parser)]
#[command(name = "cargo lab", bin_name = "cargo lab", version)]
pub struct Commands {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Install what the lab needs on this host, and build the images and Nix releases.
    Prepare,
    /// Show the main job on a throw-away machine: install, crash, recovery, a build, uninstall.
    Demo,
    /// Boot a machine and open a shell in it; it is thrown away afterwards.
    Shell(shell::Arguments),
    /// Check everything: format, lints, unit tests, machine tests.
    Test(test::Arguments),
    /// Measure, beside what others need for the same.
    Bench(bench::Arguments),
    /// Remove machines that were kept or left over.
    Clean,
}

impl Commands {
    /// Runs the command that was given.
    pub fn run(self) -> Result<ExitCode> {
        match self.command {
            Command::Prepare => prepare::run(),
            Command::Demo => demo::run_demo(),
            Command::Shell(arguments) => shell::run(&arguments),
            Command::Test(arguments) => test::run(&arguments),
            Command::Bench(arguments) => bench::run(&arguments),
            Command::Clean => clean::run(),
        }
    }
}

//! `clean`: removes machines that were kept with `NIXCTL_LAB_KEEP` or that nobody owns any more.

use std::process::ExitCode;

use nixctl_lab::{Result, machine};

/// Runs the command.
pub fn run() -> Result<ExitCode> {
    machine::sweep_kept()?;
    Ok(ExitCode::SUCCESS)
}
